"""A Chromium that runs without a screen, and pages in it that let no fault pass."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright

from tests.integration.command import Service, running

CHROMIUM: Final = os.environ.get("CDR_TEST_CHROMIUM", "/usr/bin/chromium")
ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
)
HOLDERS: Final = "user,license\nalice@example.com,PMP+\nbob@example.com,\ncarol@example.com,PMP+\n"

Opened = Callable[..., Awaitable[Page]]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Run a service with two holders and three shared licenses."""
    holders = tmp_path / "holders.csv"
    holders.write_text(HOLDERS)
    settings = {"CDR_HOLDERS": str(holders), "CDR_LIMIT_SHARED": "3", "CDR_DATA_DIR": str(tmp_path / "data")}
    with running(tmp_path, "serve", settings=settings) as service:
        service.wait_for("service.started")
        yield service


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Run a Chromium of our own."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            await browser.close()


@pytest.fixture
async def context(browser: Browser) -> BrowserContext:
    """Make a window of a laptop's size, with nothing remembered."""
    return await browser.new_context(viewport={"width": 1440, "height": 900}, timezone_id="UTC", locale="en-GB")


@pytest.fixture
async def faults(context: BrowserContext) -> AsyncIterator[list[str]]:
    """Collect what the console says is wrong; the test fails on what is still there at its end."""
    found: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            found.append(f"{message.text} ({message.location.get('url')})")

    context.on("console", heard)
    context.on("weberror", lambda error: found.append(str(error.error)))
    yield found
    assert found == []


@pytest.fixture
def opened(context: BrowserContext, faults: list[str]) -> Opened:
    """Return what opens the live page of a service, and waits until it follows what happens."""

    async def open_page(service: Service, *, path: str = "/", live: bool = True) -> Page:
        page = await context.new_page()
        await page.goto(f"{service.api_url}{path}")
        if live:
            await page.locator("#status[data-state=live]").wait_for()
        assert faults == []
        return page

    return open_page
