"""Every field of Query and Mutation, called by everybody (matrix.yaml): who is let in, and what others learn."""

import re
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import yaml
from graphql import GraphQLObjectType

from access.credentials import create_key, new_secret
from graph.schema import schema
from graph.types.node import global_id
from models import CanaryKey, KeyScope, Role, User, copying, notices, operators, sources
from models.notices import Notice
from models.sources import NewSource
from tests.conftest import Caller, NewCaller, without_cost
from tests.graph.test_mutations import contents
from tests.statements import statements_of
from tests.uploads import announced

TABLE: dict[str, dict[str, str]] = yaml.safe_load(Path(__file__).with_name("matrix.yaml").read_text())
CALLERS = ["stranger", "operator", "member", "VIEW", "EDIT", "ADMIN", "READ", "admin"]
OUTSIDERS = ["stranger", "operator", "member"]


def fields(*roots: str) -> list[str]:
    found = []
    for name in roots:
        root = schema._schema.type_map[name]
        assert isinstance(root, GraphQLObjectType)
        found += [f"{name}.{field}" for field in root.fields]
    return found


def test_every_field_has_an_entry_for_every_caller() -> None:
    roots = [name for name in ("Query", "Mutation", "Subscription") if name in schema._schema.type_map]
    assert set(TABLE) == set(fields(*roots))
    assert {len(entry["gets"].split()) for entry in TABLE.values()} == {len(CALLERS)}


NEEDS = ["any credential", "`VIEW`", "`EDIT`", "`ADMIN`", "an admin of the tenant", "an operator"]


def test_readme_says_what_each_field_takes() -> None:
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", Path("README.md").read_text(), re.MULTILINE))
    said = {name: needs for needs in NEEDS for name in re.findall(r"`([a-z]\w+)`", rows[needs])}
    assert said == {field.partition(".")[2]: what_it_takes(entry["gets"]) for field, entry in TABLE.items()}


def what_it_takes(gets: str) -> str:
    of = dict(zip(CALLERS, gets.split(), strict=True))
    if of["operator"] == "ok":
        return "an operator"
    if of["member"] == of["VIEW"] == "ok":
        return "any credential"
    return next((f"`{level}`" for level in ("VIEW", "EDIT", "ADMIN") if of[level] == "ok"), "an admin of the tenant")


@dataclass
class World:
    callers: dict[str, Caller]
    variables: dict[str, str]

    @property
    def owner(self) -> Caller:
        return self.callers["admin"]

    async def ask(self, field: str, caller: str) -> httpx.Response:
        call = TABLE[field]["call"]
        named = {name: value for name, value in self.variables.items() if f"${name}:" in call}
        return await self.callers[caller].post(call, **named)


async def world(new_caller: NewCaller) -> World:
    owner, stranger = await new_caller(), await new_caller()
    await owner.create_batch("b", {"other": [("secret", "hidden")]})
    await owner.create_batch("whole", {"one": [("secret", "hidden")]})
    upload = await announced(owner, b"hello", "file")
    await owner.execute(
        'mutation { createObjects(input: {batchId: "b", objects: [{objectId: "o", data: [{key: "secret",'
        ' value: "hidden"}], file: {name: "a", contentType: "a/b", size: 1}}]}) { objects { id } } }'
    )
    callers = {"stranger": stranger, "admin": owner}
    for name in ("member", "VIEW", "EDIT", "ADMIN"):
        callers[name] = await new_caller(owner.tenant, role=Role.MEMBER)
    callers["READ"] = replace(owner, key=await create_key(owner.user, "r", KeyScope.READ))
    callers["operator"] = replace(owner, key=await operator_key())
    failed = await failed_sync(owner)
    target = await User.create(tenant=owner.tenant, name="target", role=Role.MEMBER)
    users = {level: global_id("User", callers[level].user.id) for level in ("VIEW", "EDIT", "ADMIN")}
    await owner.execute(GRANT_ALL, target=global_id("User", target.id), **users)  # costs less than ten requests
    ids = await owner.execute('{ batch(batchId: "b") { id } object(objectId: "o") { id } }')
    variables = {
        "batch": ids["batch"]["id"],
        "object": ids["object"]["id"],
        "upload": upload["id"],
        "sync": global_id("Sync", failed),
        "user": global_id("User", target.id),
        "key": (await create_key(target, "t")).split("_")[1],
        "slug": owner.tenant.slug,
        "new": f"t-{secrets.token_hex(6)}",
    }
    return World(callers, variables)


GRANTS = [
    f"{level}{number}: grantAccess(input: {{userId: ${level}, level: {level}, {thing}}}) {{ grant {{ id }} }}"
    for level in ("VIEW", "EDIT", "ADMIN")
    for number, thing in enumerate(('batchId: "b"', 'batchId: "whole"', 'objectId: "file"'))
]
GRANT_ALL = f"""mutation($VIEW: ID!, $EDIT: ID!, $ADMIN: ID!, $target: ID!) {{ {" ".join(GRANTS)}
  target: grantAccess(input: {{userId: $target, level: VIEW, batchId: "b"}}) {{ grant {{ id }} }} }}"""


async def failed_sync(owner: Caller) -> int:
    """Of a file of "o", from the source "photos"."""
    new = NewSource("photos", {"bucket": "hidden", "prefix": "{oeid}/"}, {"directory": "photos"}, 1, b"sealed")
    source = await sources.create(owner.tenant.id, owner.user.id, new)
    [queued] = await notices.request(owner.tenant.id, source["id"], [Notice("b", "o", "hidden.jpg", "image/jpeg")])
    assert queued.sync_id is not None
    [token] = await taken(queued.sync_id)
    await copying.fail(token, queued.sync_id, "FILE_MISSING", "hidden")
    return queued.sync_id


async def taken(*syncs: int) -> list[UUID]:
    """The tokens by which these are somebody's now; what else was taken is put back."""
    token = uuid4()
    rows = {row["id"] for row in await copying.take(token, 10_000)}
    await copying.put_back(token, list(rows - set(syncs)))
    return [token] * len(rows & set(syncs))


async def operator_key() -> str:
    whole, secret = new_secret()
    await operators.create(f"op-{secrets.token_hex(6)}", secret)
    return whole


async def check(world: World, field: str, caller: str) -> None:
    expected = TABLE[field]["gets"].split()[CALLERS.index(caller)]
    before = await contents(world.owner)
    response = await world.ask(field, caller)
    answer = response.json()
    codes = {error["extensions"]["code"] for error in answer.get("errors", [])}
    assert codes == (set() if expected in ("ok", "nothing") else {expected}), (field, caller, answer)
    if expected not in ("ok", "nothing"):
        assert not any(leaves(answer.get("data")))
    if expected == "nothing":
        assert not any(leaves(answer["data"]))
    if caller in OUTSIDERS:
        text = re.sub(r'"(location|path)s?": \[.*?\]', "", str(answer))
        for secret in ("hidden", "target", world.owner.user.name):
            assert secret not in text
    if expected != "ok" or field.startswith("Query."):
        assert await contents(world.owner) == before


@pytest.fixture(scope="module")
def worlds() -> dict[str, World]:
    """One for all who only ask, or are refused."""
    return {}


@pytest.mark.parametrize("field", fields("Query"))
async def test_question(new_caller: NewCaller, worlds: dict[str, World], field: str) -> None:
    if not worlds:
        worlds["one"] = await world(new_caller)
    for caller in CALLERS:
        await check(worlds["one"], field, caller)


@pytest.mark.parametrize("field", fields("Mutation"))
async def test_change(new_caller: NewCaller, field: str) -> None:
    one = await world(new_caller)
    allowed = [name for name, gets in zip(CALLERS, TABLE[field]["gets"].split(), strict=True) if gets == "ok"]
    for caller in CALLERS:
        if caller not in allowed:
            await check(one, field, caller)
    for number, caller in enumerate(allowed):
        await check(one if number == 0 else await world(new_caller), field, caller)


async def test_nobody_and_canaries_get_the_same_401_for_everything(new_caller: NewCaller) -> None:
    one = await world(new_caller)
    whole, secret = new_secret()
    await CanaryKey.create(public_id=secret.public_id, note="")
    for field in TABLE:
        answers = []
        for credential in (None, f"Bearer {whole}", f"Bearer {new_secret()[0]}", "Bearer nonsense", "Basic x"):
            headers = {} if credential is None else {"Authorization": credential}
            body = {"query": TABLE[field]["call"], "variables": one.variables}
            answers.append(await one.owner.http.post("/graphql", json=body, headers=headers))
        assert {answer.status_code for answer in answers} == {401}
        assert len({answer.content for answer in answers}) == 1
        assert answers[0].json()["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}


HIDDEN = [field for field, entry in TABLE.items() if entry["gets"].split()[CALLERS.index("member")] == "NOT_FOUND"]


@pytest.mark.parametrize("field", HIDDEN)
async def test_invisible_cannot_be_told_from_absent(
    new_caller: NewCaller, worlds: dict[str, World], field: str
) -> None:
    """Neither by the answer nor by the number of statements, for a member as for a stranger."""
    if not worlds:
        worlds["one"] = await world(new_caller)
    one = worlds["one"]
    empty = await new_caller()
    absent_member = await new_caller(empty.tenant, role=Role.MEMBER)
    nowhere = World({"member": absent_member, "stranger": empty, "admin": empty}, one.variables)
    for caller in ("member", "stranger"):
        invisible, many = await statements_of(lambda c=caller: one.ask(field, c))  # type: ignore[misc]
        absent, few = await statements_of(lambda c=caller: nowhere.ask(field, c))  # type: ignore[misc]
        assert without_cost(invisible) == without_cost(absent)
        assert (invisible.status_code, many) == (absent.status_code, few)


def leaves(data: Any) -> list[Any]:
    if isinstance(data, dict):
        return [leaf for value in data.values() for leaf in leaves(value)]
    if isinstance(data, list):
        return [leaf for value in data for leaf in leaves(value)]
    return [data]
