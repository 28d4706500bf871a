"""Debian's Chromium, for the tests of pages."""

import os
import shutil
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from waybill.graphiql import STATIC

if TYPE_CHECKING:  # to import it takes a second, in each of the processes that run tests
    from playwright.async_api import Browser

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-features=LocalNetworkAccessChecks",  # a page of any origin may ask servers of this machine
]


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator["Browser"]:
    """Debian's Chromium. Where it or the built page is missing the tests are skipped, but CI has to have both."""
    path = shutil.which("chromium")
    if path is None or not (STATIC / "index.html").exists():
        reason = "needs Chromium (apt-get install chromium) and the built page (Node.js 20.19 or newer, make install)"
        pytest.fail(reason) if "CI" in os.environ else pytest.skip(reason)
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        await browser.close()
