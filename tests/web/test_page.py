"""The page and its files as they are sent, without a browser."""

import json
import re
from pathlib import Path
from shutil import copy

import pytest
from graphql import build_schema, get_operation_ast, parse, validate
from graphql.execution.values import get_variable_values
from httpx import ASGITransport, AsyncClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount

from graph.schema import schema
from waybill.graphiql import GraphiqlAssets, graphiql_page

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "web/examples").glob("*.graphql"))


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """What Vite leaves, as far as the server looks at it."""
    copy(ROOT / "web/index.html", tmp_path)
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/main-0a1b2c3d.js").write_text("export {}")
    return tmp_path


def page(key: str | None, static: Path) -> Response:
    return graphiql_page(key, static)(Request({"type": "http"}))


def config(html: str) -> object:
    (block,) = re.findall(r'<script type="application/json" id="waybill">(.*?)</script>', html)
    return json.loads(block)


@pytest.mark.parametrize("key", [None, "wb_1_secret", "</script><script>alert('&')</script>", "<!--", "\u2028é"])
def test_the_configuration_comes_back_whatever_it_holds(built: Path, key: str | None) -> None:
    html = bytes(page(key, built).body).decode()
    assert config(html) == {"endpoint": "/graphql", "key": key}
    assert "alert('&')" not in html


def test_the_page_may_load_from_its_own_origin_only(built: Path) -> None:
    headers = page(None, built).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["worker-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "http" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


def test_where_it_was_not_built_the_page_comes_from_a_cdn(tmp_path: Path) -> None:
    response = page("wb_1_secret", tmp_path)
    html = bytes(response.body).decode()
    assert config(html) == {"endpoint": "/graphql", "key": "wb_1_secret"}
    assert {*re.findall(r"https://([^/]+)/", html)} == {"esm.sh"}
    assert "connect-src 'self';" in response.headers["content-security-policy"]
    (imports,) = re.findall(r'<script type="importmap">(.*?)</script>', html, re.DOTALL)
    assert "graphiql" in json.loads(imports)["imports"]


def serve(static: Path) -> AsyncClient:
    app = Starlette(routes=[Mount("/graphiql/assets", GraphiqlAssets(static))])
    return AsyncClient(transport=ASGITransport(app), base_url="http://service/graphiql/assets/")


async def test_hashed_files_are_kept_by_browsers_and_others_are_not_there(built: Path) -> None:
    async with serve(built) as client:
        script = await client.get("main-0a1b2c3d.js")
        assert script.status_code == 200
        assert script.headers["content-type"].startswith("text/javascript")
        assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert script.headers["x-content-type-options"] == "nosniff"
        assert (await client.get("%2e%2e/index.html")).status_code == 404


async def test_where_it_was_not_built_there_are_no_files(tmp_path: Path) -> None:
    async with serve(tmp_path) as client:
        assert (await client.get("main-0a1b2c3d.js")).status_code == 404


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
        ("application/json", "application/json"),
        ("application/graphql-response+json", "application/graphql-response+json"),
        ("*/*", "application/json"),
    ],
)
async def test_the_page_is_for_browsers(http: AsyncClient, accept: str, answer: str) -> None:
    response = await http.get("/graphql", headers={"Accept": accept})
    assert response.headers["content-type"].partition(";")[0] == answer


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_fit_the_schema(example: Path) -> None:
    types = build_schema(schema.as_str())
    document = parse(example.read_text())
    assert validate(types, document) == []
    operation = get_operation_ast(document)
    assert operation
    variables = example.with_suffix(".json")
    inputs = json.loads(variables.read_text()) if variables.exists() else {}
    assert not isinstance(get_variable_values(types, operation.variable_definitions or (), inputs), list)


def test_the_lock_file_names_no_host() -> None:
    packages = json.loads((ROOT / "web/package-lock.json").read_text())["packages"]
    assert [name for name, package in packages.items() if "resolved" in package] == []
