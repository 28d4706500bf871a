"""Pages of local copies read as much as they show, of a tenant and sources that the planner knows nothing of."""

from datetime import timedelta

import pytest

from models import Role, SyncState, Tenant, User, database, drifting, grants, ids, notices, sources, syncs
from models.drifting import Entry, Listed
from models.filters import Granted
from models.grants import Thing
from models.notices import Notice
from models.pages import Bounds, Scope
from models.sources import NewSource
from models.syncs import Which
from tests.conftest import new_database
from tests.models.plans import blocks_read

COPIES = 6_000  # of the tenant that came last, in six batches
OLD = 3_000

# Which of the tenant's, as blocks are counted: states, source, batch, object, and whether the old ones only.
WHICH: dict[str, tuple[tuple[SyncState, ...] | None, str | None, str | None, str | None, bool]] = {
    "all": (None, None, None, None, False),
    "common": ((SyncState.SYNCED,), None, None, None, False),
    "rare": ((SyncState.FAILED,), None, None, None, False),
    "none": ((SyncState.RUNNING,), None, None, None, False),
    "source": (None, "main", None, None, False),
    "rare of source": ((SyncState.FAILED,), "main", None, None, False),
    "rare source": (None, "rare", None, None, False),
    "batch": (None, None, "b1", None, False),
    "rare in batch": ((SyncState.FAILED,), None, "b1", None, False),
    "rare source in batch": (None, "rare", "b5", None, False),
    "object": (None, None, None, "o77", False),
    "old": (None, None, None, None, True),
    "old of source": (None, "main", None, None, True),
}
WHO = ["everything", "nothing", "ten objects", "ten old objects", "many objects", "one batch", "all batches"]


async def fill(count: int) -> int:
    """The tenant's primary key. A hundredth of the copies FAILED, and ten old ones are of the rare source."""
    tenant = await Tenant.create(slug=f"t{count}")
    user = await User.create(tenant=tenant, name="owner", role=Role.ADMIN)
    for name in ("main", "rare"):
        new = NewSource(name, {"bucket": "bucket"}, {"directory": name}, 4, b"sealed")
        source = await sources.create(tenant.id, user.id, new)
        for batch in range(6) if name == "main" else (0,):
            numbers = range(batch * count // 6, (batch + 1) * count // 6) if name == "main" else range(10)
            asked = [Notice(f"b{batch}", f"o{n}", f"{name}.jpg", "image/jpeg") for n in numbers]
            await notices.request(tenant.id, source["id"], asked)
            await database.fetch("SELECT pg_sleep(0.002)")  # so that no two calls are of one moment
    await database.execute(
        "UPDATE syncs SET state = CASE WHEN id % 100 = 7 THEN 'FAILED' ELSE 'SYNCED' END, problem = 'FILE_MISSING',"
        " path = 'p', size_bytes = 1, sha256 = decode(repeat('00', 32), 'hex'), etag = 'e', synced_at = now()"
        " WHERE tenant_id = $1",
        tenant.id,
    )
    return int(tenant.id)


@pytest.fixture(scope="module")
async def shared() -> tuple[str, dict[str, Scope]]:
    """A database whose statistics are of another tenant, and the scopes of those who see much or little of the last."""
    url = await new_database()
    async with database.connected(database.config(url)):
        for table in ("syncs", "grants", "objects", "sync_sources"):
            await database.fetch(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
        await fill(OLD)
        await database.fetch("ANALYZE")
        tenant_id = await fill(COPIES)
        rows = await database.fetch("SELECT id, batch_pk FROM objects WHERE tenant_id = $1 ORDER BY id", tenant_id)
        every_other = [Thing(row["batch_pk"], row["id"]) for row in rows[::2]]
        batches = sorted({row["batch_pk"] for row in rows})
        given = {
            "nothing": [],
            "ten objects": every_other[::300],
            "ten old objects": every_other[:10],
            "many objects": every_other,
            "one batch": [Thing(batches[0])],
            "all batches": [Thing(batch) for batch in batches],
        }
        scopes = {"everything": Scope(tenant_id)}
        for name, things in given.items():
            user = await User.create(tenant_id=tenant_id, name=name, role=Role.MEMBER)
            async with database.transaction():
                await grants.give_each(tenant_id, user.id, things)
            scopes[name] = Scope(tenant_id, Granted(user.id))
    return url, scopes


@pytest.mark.parametrize("who", WHO)
async def test_a_page_reads_as_much_as_it_shows(shared: tuple[str, dict[str, Scope]], who: str) -> None:
    url, scopes = shared
    scope = scopes[who]
    async with database.connected(database.config(url)):
        keys = {name: row["id"] for name in ("main", "rare") if (row := await sources.named(scope.tenant_id, name))}
        [row] = await database.fetch("SELECT min(id) FROM syncs WHERE tenant_id = $1", scope.tenant_id)
    early = ids.created_at(row["min"]) + timedelta(milliseconds=2)
    # Of what somebody is granted, a thousand of the newest are looked at.
    most = 300 if who == "everything" else 6_000
    for name, (states, source, batch_id, object_id, is_old) in WHICH.items():
        which = Which(
            scope, states, keys[source] if source else None, batch_id, object_id, before=early if is_old else None
        )
        assert await blocks_read(url, syncs.page(which, Bounds(10))) < most, name


async def test_copies_of_objects_are_found_one_by_one(shared: tuple[str, dict[str, Scope]]) -> None:
    url, scopes = shared
    tenant_id = scopes["everything"].tenant_id
    async with database.connected(database.config(url)):
        rows = await database.fetch("SELECT id FROM objects WHERE tenant_id = $1 LIMIT 100", tenant_id)
    assert await blocks_read(url, syncs.copies(tenant_id, [row["id"] for row in rows])) < 1_500


async def test_comparison_reads_as_much_as_its_page(shared: tuple[str, dict[str, Scope]]) -> None:
    """Of copies, of what was listed a moment ago, and of paths and keys that are looked up."""
    url, scopes = shared
    tenant_id = scopes["everything"].tenant_id
    async with database.connected(database.config(url)):
        source = await sources.named(tenant_id, "main")
        assert source
        await database.fetch("ALTER TABLE drift_found SET (autovacuum_enabled = off)")
        held = await drifting.take(source, repair=False, verify=False)
        assert held
        names = [(f"b{n * 6 // COPIES}", f"o{n}", "main.jpg") for n in range(COPIES)]
        for place in (Listed.KEY, Listed.COPY):
            await drifting.add(held, place, [Entry("/".join(one), 1) for one in names])
        [middle] = await database.fetch("SELECT id FROM objects WHERE tenant_id = $1 OFFSET 3000 LIMIT 1", tenant_id)
    asked = {
        drifting.compared(held, "{oeid}/{ref_id}/", (middle["id"], ""), 100): 1_500,
        drifting.strangers(held, ["p"] * 100): 500,
        drifting.untold(held, names[:100]): 1_500,
    }
    for ask, most in asked.items():
        assert await blocks_read(url, ask) < most, ask
