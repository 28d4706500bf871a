"""What clients see of errors, and what the log does."""

import logging
from typing import Any

import pytest

from graph.errors import MASKED
from tests.conftest import Caller, without_cost
from tests.graph.tiny import Tiny, code, without_database

tiny = Tiny()


async def only_error(query: str, **variables: Any) -> dict[str, Any]:
    answer = await tiny.query(query, **variables)
    assert answer.status_code == 200
    [error] = answer.json()["errors"]
    return dict(error)


async def test_known_error_passes_with_its_message_code_and_place() -> None:
    error = await only_error('{ node { name }\n there: raises(error: "known") }')
    assert error == {
        "message": "no such thing",
        "locations": [{"line": 2, "column": 2}],
        "path": ["there"],
        "extensions": {"code": "NOT_FOUND", "id": "x"},
    }


async def test_data_beside_a_failed_field_is_given() -> None:
    answer = await tiny.query('{ hello raises(error: "known") }')
    assert answer.json()["data"] == {"hello": "hello world", "raises": None}
    assert next(iter(answer.json())) == "errors"


@pytest.mark.parametrize("query", ['{ raises(error: "unknown") }', '{ raises(error: "graphql") }', "{ notANumber }"])
async def test_unknown_error_is_masked_and_logged_once_with_its_trace(
    query: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await tiny.query(query)
    [error] = answer.json()["errors"]
    assert (error["message"], error["extensions"]["code"]) == (MASKED, "INTERNAL")
    assert error["extensions"]["requestId"] == answer.headers["x-request-id"]
    assert "path" in error
    assert "secret" not in answer.text
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info
    assert "the secret of the re" in str(record.exc_info[1])


async def test_fault_of_every_item_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    await tiny.query("{ nodes(count: 20) { fails } }")
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


async def test_number_of_errors_is_bounded() -> None:
    answer = await tiny.query("{ nodes(count: 120) { fails } }")
    errors = answer.json()["errors"]
    assert len(errors) == 50
    assert errors[-1]["message"] == f"{MASKED} (70 more errors are not shown)"
    unknown = await tiny.query("{" + " ".join(f"f{number}" for number in range(19)) + "}")
    assert len(unknown.json()["errors"]) == 19
    thing = {"name": "x", "pairs": [{} for _ in range(200)]}
    inputs = await tiny.query("query($thing: Thing!) { describe(thing: $thing) }", thing=thing)
    assert len(inputs.json()["errors"]) == 50


@pytest.mark.parametrize("error", ["unavailable", "refused"])
async def test_database_that_is_away_makes_the_whole_answer_unavailable(
    error: str, caplog: pytest.LogCaptureFixture
) -> None:
    for accept in ("application/json", "application/graphql-response+json"):
        body = {"query": f'{{ hello raises(error: "{error}") }}'}
        answer = await tiny.post(body, accept=accept)
        assert (answer.status_code, code(answer)) == (503, "UNAVAILABLE")
        assert answer.headers["retry-after"] == "1"
        assert "data" not in answer.json()
        assert "10.0.0.1" not in answer.text
    assert {record.levelname for record in caplog.records if record.name.startswith("graph")} == {"WARNING"}


async def test_database_that_is_away_while_authenticating_is_unavailable() -> None:
    answer = await Tiny(authenticate=without_database).post({"query": "{ hello }"})
    assert (answer.status_code, code(answer)) == (503, "UNAVAILABLE")
    assert answer.headers["retry-after"] == "1"


async def test_result_that_is_not_json_is_masked(caplog: pytest.LogCaptureFixture) -> None:
    answer = await tiny.query("{ odd }")
    assert (answer.status_code, code(answer)) == (500, "INTERNAL")
    assert answer.json()["errors"][0]["extensions"]["requestId"] == answer.headers["x-request-id"]
    assert [record for record in caplog.records if record.levelno == logging.ERROR]


@pytest.mark.parametrize(
    ("query", "variables", "status"),
    [
        ('query($name: String = "x") { hello(name: $name) }', {"name": None}, 200),
        ("query($skip: Boolean = true) { hello @skip(if: $skip) }", {"skip": None}, 200),
        ('{ describe(thing: {name: "x", note: null}) }', {}, 200),
        ("query($thing: Thing!) { describe(thing: $thing) }", {"thing": {"name": "x", "note": None}}, 400),
        ("query($thing: Thing!) { describe(thing: $thing) }", {"thing": {"name": 1}}, 400),
        ("query($choice: Choice!) { choose(choice: $choice) }", {"choice": {"word": "x", "number": 1}}, 400),
    ],
)
async def test_wrong_argument_is_bad_input_wherever_it_is_noticed(
    query: str, variables: dict[str, Any], status: int
) -> None:
    answer = await tiny.query(query, **variables)
    assert (answer.status_code, code(answer)) == (status, "BAD_INPUT")


@pytest.mark.parametrize("literal", ["1e309", "-1e309", "1" * 5000, "1" + "0" * 400 + ".5"])
async def test_float_that_is_not_finite_is_bad_input(admin: Caller, literal: str) -> None:
    error = await admin.error(f"{{ objects(where: {{data: [{{value: {{gt: {literal}}}}}]}}) {{ nodes {{ id }} }} }}")
    assert error["extensions"]["code"] == "BAD_INPUT"
    assert "not a finite number" in error["message"]
    assert len(error["message"]) < 200


async def test_largest_float_is_a_number(admin: Caller) -> None:
    query = "{ objects(where: {data: [{value: {lt: 1.7976931348623157e308}}]}) { nodes { id } } }"
    assert await admin.execute(query) == {"objects": {"nodes": []}}


async def test_float_of_a_variable_that_is_not_finite_is_no_json(admin: Caller) -> None:
    body = b'{"query": "query($x: Float) { viewer { access } }", "variables": {"x": 1e309}}'
    headers = admin.headers | {"Content-Type": "application/json"}
    answer = await admin.http.post("/graphql", content=body, headers=headers)
    assert (answer.status_code, code(answer)) == (400, "BAD_REQUEST")
    assert "infinity" in answer.text


@pytest.mark.parametrize("digits", [11, 5_000, 100_000])
@pytest.mark.parametrize(
    "query", ["{{ nodes(count: {0}) {{ name }} }}", "query($x: Int! = {0}) {{ nodes(count: $x) {{ name }} }}"]
)
async def test_int_of_many_digits_is_refused_as_any_other_that_is_too_large(query: str, digits: int) -> None:
    error = (await tiny.query(query.format("-" + "1" * digits))).json()["errors"][0]
    assert error["message"].startswith("Int cannot represent non 32-bit signed integer value: -111")
    assert error["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
    assert len(error["message"]) < 200


async def test_client_errors_leave_nothing_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    await tiny.post(b"{")
    for query in ("{", "{ nothing }", '{ raises(error: "known") }', "query($x: Int!) { spot(at: $x) }"):
        await tiny.query(query)
    assert {record.name for record in caplog.records} <= {"waybill.access", "httpx", "asyncio"}


async def test_suggestions_are_given_only_with_introspection() -> None:
    hidden = Tiny(introspection=False)
    for query, variables in (
        ("{ helo }", {}),
        ("{ hello(nam: 1) }", {}),
        ("query($t: Thing!) { describe(thing: $t) }", {"t": {"nam": "x"}}),
    ):
        assert "Did you mean" in (await tiny.query(query, **variables)).text
        assert "Did you mean" not in (await hidden.query(query, **variables)).text


async def test_introspection_can_be_switched_off() -> None:
    hidden = Tiny(introspection=False)
    for query in ("{ __schema { queryType { name fields { name } } } }", '{ __type(name: "Query") { name } }'):
        answer = await hidden.query(query)
        assert (answer.status_code, code(answer)) == (400, "GRAPHQL_VALIDATION_FAILED")
        assert "introspection has been disabled" in answer.text
    assert without_cost(await hidden.query("{ __typename }")) == {"data": {"__typename": "Query"}}
