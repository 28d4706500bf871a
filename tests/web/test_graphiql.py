"""GraphiQL in a real browser, on the real service."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from tests.conftest import Caller, free_port
from waybill.app import create_app
from waybill.settings import Settings

if TYPE_CHECKING:  # to import it takes a second, in each of the processes that run tests
    from playwright.async_api import Browser, Locator, Page, Route

EDITOR = ".graphiql-query-editor"
HEADERS = ".graphiql-editor-tool .graphiql-editor:not(.hidden)"
QUERY = '{ objects(where: {data: [{key: "state", value: {eq: "AK"}}]}) { nodes { objectId } } }'


def expect(locator: "Locator") -> Any:
    from playwright.async_api import expect

    return expect(locator)


@dataclass
class Visit:
    """One visit to the page: ``elsewhere`` are the requests to other origins, all refused."""

    page: "Page"
    origin: str
    elsewhere: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    async def open(self) -> None:
        await self.page.context.route("**/*", self._own_origin_only)
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        await self.reload()

    async def reload(self) -> None:
        await self.page.goto(f"{self.origin}/graphql")
        await expect(self.page.locator(".graphiql-query-editor .view-line").first).to_be_visible(timeout=30_000)

    async def _own_origin_only(self, route: "Route") -> None:
        if route.request.url.startswith(f"{self.origin}/"):
            await route.continue_()
        else:
            self.elsewhere.append(route.request.url)
            await route.abort()

    async def write(self, editor: str, text: str) -> None:
        await self.page.locator(f"{editor} .view-lines").click()
        await self.page.keyboard.press("Control+a")
        await self.page.keyboard.press("Delete")
        await self.page.keyboard.type(text)

    async def tab(self, name: str) -> None:
        await self.page.get_by_role("tab", name=name).click()

    async def headers(self) -> Any:
        await self.page.get_by_role("button", name="Headers").click()
        return json.loads(await self.text("request-headers.json"))

    async def answer(self) -> Any:
        """Presses Run and gives the answer; Monaco draws only the lines in sight, so it comes from its model."""
        await self.page.get_by_role("button", name="Execute query").click()
        async with asyncio.timeout(15):
            while not (answer := await self.text("response.json")):
                await self.page.wait_for_timeout(50)
        return json.loads(answer)

    async def text(self, model: str) -> str:
        value = await self.page.evaluate(
            "name => __MONACO.editor.getModels().find(model => model.uri.path.endsWith(name)).getValue()", model
        )
        return str(value)


@pytest.fixture
async def airports(admin: Caller) -> Caller:
    await admin.create_batch(
        "airports-AK",
        {
            "BRW": [("state", "AK"), ("latitude", "71.2854456")],
            "JNU": [("state", "AK"), ("latitude", "58.35496889")],
        },
    )
    return admin


@pytest.fixture
async def visit(browser: "Browser", airports: Caller, settings: Settings) -> AsyncIterator[Visit]:
    """A first visit to a service that puts its key into the page, as `waybill dev` does."""
    app = create_app(settings, graphiql_key=airports.key)
    # The lifespan, and with it the database, is that of the fixture http.
    server = uvicorn.Server(uvicorn.Config(app, port=free_port(), lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve())
    async with await browser.new_context() as context:
        visit = Visit(await context.new_page(), f"http://127.0.0.1:{server.config.port}")
        await visit.open()
        yield visit
    server.should_exit = True
    await serving


@pytest.fixture
async def stranger(browser: "Browser", service_url: str) -> AsyncIterator[Visit]:
    """A first visit to a service that does not."""
    async with await browser.new_context() as context:
        visit = Visit(await context.new_page(), service_url)
        await visit.open()
        yield visit


async def test_a_typed_query_shows_rows_and_nothing_leaves_the_origin(visit: Visit, airports: Caller) -> None:
    await visit.write(EDITOR, QUERY)
    await visit.page.keyboard.press("Control+Enter")
    await expect(visit.page.locator(".graphiql-response")).to_contain_text('"objectId": "BRW"')
    assert await visit.headers() == {"Authorization": f"Bearer {airports.key}"}
    assert visit.elsewhere == []
    assert visit.complaints == []


async def test_every_example_runs(visit: Visit) -> None:
    answers = {}
    for tab in await visit.page.get_by_role("tab").all_inner_texts():
        await visit.tab(tab)
        answers[tab] = await visit.answer()
    assert [tab for tab, answer in answers.items() if "errors" in answer] == []
    data = {tab: answer["data"] for tab, answer in answers.items()}
    assert data["Welcome"]["viewer"]["user"]["role"] == "ADMIN"
    assert "airports-AK" in [batch["batchId"] for batch in data["Batches"]["batches"]["nodes"]]
    assert [found["objectId"] for found in data["FindObjects"]["objects"]["nodes"]] == ["BRW"]
    assert {"value": "AK", "count": 2} in data["Facets"]["dataValues"]
    assert data["CreateBatch"]["createBatch"]["batch"]["batchId"] == "graphiql-example"
    updated = {pair["key"]: pair["value"] for pair in data["UpdateData"]["updateObjectData"]["object"]["data"]}
    assert updated == {"name": "Ny-Ålesund", "country": "Norway", "iata": "LYN"}
    assert data["DeleteBatch"]["deleteBatch"]["deletedBatchId"] == "graphiql-example"
    assert visit.complaints == []


async def test_the_key_is_not_left_in_the_browser(visit: Visit, airports: Caller) -> None:
    await visit.write(EDITOR, QUERY)
    await visit.answer()
    await visit.headers()
    await visit.write(HEADERS, json.dumps({"Authorization": f"Bearer {airports.key}", "X-Note": "mine"}))
    await visit.tab("Batches")
    await visit.answer()
    await visit.page.wait_for_timeout(1000)  # GraphiQL stores half a second after a change
    stored = await visit.page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
    assert "FindObjects" in stored
    assert airports.key not in stored
    assert "X-Note" not in stored
    await visit.reload()
    assert await visit.headers() == {"Authorization": f"Bearer {airports.key}"}


async def test_without_a_key_the_page_says_what_is_missing(stranger: Visit) -> None:
    assert await stranger.headers() == {"Authorization": "Bearer <your key>"}
    answer = await stranger.answer()
    assert answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    await expect(stranger.page.locator(".graphiql-response")).to_contain_text("A valid API key or token is needed")


async def test_a_typed_key_serves_every_tab_and_the_documentation(stranger: Visit, airports: Caller) -> None:
    await stranger.write(HEADERS, json.dumps({"Authorization": f"Bearer {airports.key}"}))
    await stranger.tab("Batches")
    assert "errors" not in await stranger.answer()
    await stranger.page.get_by_role("button", name="Show Documentation Explorer").click()
    await expect(stranger.page.locator(".graphiql-doc-explorer")).to_contain_text("Mutation", timeout=10_000)
