"""Local copies in a real browser: what is shown, and that nothing in them runs. Its requests go to the application."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ORIGIN
from tests.sync.copied import Copies, copies, root, with_root
from tests.sync.test_thumbnails import noise

if TYPE_CHECKING:  # to import it takes a second, in each of the processes that run tests
    from playwright.async_api import Browser, Page, Route

__all__ = ["copies", "root", "with_root"]  # fixtures

API = "https://waybill.example"
RUNS = b"<!doctype html><title>ran</title><script>document.title = 'ran'; fetch('https://app.example/ran')</script>"


@pytest.fixture
async def page(browser: "Browser", copies: Copies) -> AsyncIterator["Page"]:
    """On a page of another origin than the service's."""

    async def service(route: "Route") -> None:
        answer = await copies.http.get(route.request.url.removeprefix(API))
        await route.fulfill(status=answer.status_code, headers=dict(answer.headers), body=answer.content)

    async def app(route: "Route") -> None:
        await route.fulfill(content_type="text/html", body="<!doctype html>")

    async with await browser.new_context() as context:
        await context.route(f"{API}/**", service)
        await context.route(f"{ORIGIN}/**", app)
        page = await context.new_page()
        await page.goto(f"{ORIGIN}/")
        yield page


async def test_thumbnail_is_shown_on_a_page_of_another_origin(page: "Page", copies: Copies) -> None:
    await copies.add("o", noise(300, 150), "a.png", "image/png")
    url = (await copies.urls("o", w=64))["thumbnail"]["url"]
    size = await page.evaluate(
        """async url => { const image = new Image(); image.src = url; await image.decode();
        return [image.naturalWidth, image.naturalHeight]; }""",
        API + url,
    )
    assert size == [64, 32]


async def test_page_is_saved_and_never_run(page: "Page", copies: Copies) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for name, file_type in (("page", "text/html"), ("picture", "image/png"), ("text", "text/plain")):
        await copies.add(name, RUNS, "a.html", file_type)
    url = API + await copies.url("page", d="INLINE")
    async with page.expect_download() as saving:
        await page.evaluate("url => { location = url; }", url)
    saved = await (await saving.value).path()
    assert await asyncio.to_thread(saved.read_bytes) == RUNS
    assert page.url == f"{ORIGIN}/"
    for name in ("picture", "text"):
        await page.goto(API + await copies.url(name, d="INLINE"))
        assert await page.title() != "ran"
    assert f"{ORIGIN}/ran" not in asked
