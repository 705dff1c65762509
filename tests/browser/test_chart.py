"""The chart of the last hours: our use and the Meeting Server's own, and the peak that leads to its meetings."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.async_api import Page, expect

from cdr_service.simulator.api_licenses import Rules
from tests.browser.conftest import Opened
from tests.feed import Feed, Record, call_start, join, leave
from tests.integration.command import Service
from tests.integration.servers import eventually
from tests.integration.test_reconciling import BOB, begin, beside_one_that, past_uses

DAY = "2024-03-12"


def ago(minutes: float) -> str:
    """Return the time of day so many minutes ago."""
    return (datetime.now(UTC) - timedelta(minutes=minutes)).strftime("%H:%M:%S")


def lately(service: Service, feed: Feed, *records: Record) -> None:
    """Push a document whose records are of the last hours, though their times name no day."""
    now = datetime.now(UTC)

    def dated(found: re.Match[str]) -> str:
        day = now if found[1] <= now.strftime("%H:%M:%S") else now - timedelta(days=1)
        return f"{day:%Y-%m-%d}T{found[1]}Z"

    body = re.sub(DAY + r"T(\d\d:\d\d:\d\d)Z", dated, feed.document(*records).decode())
    assert service.post(body.encode()) == 200


async def dots(page: Page, which: str) -> int:
    """Return how many moments of the Meeting Server's are drawn."""
    path = await page.locator(f"figure.{which} .their-dots").get_attribute("d")
    return (path or "").count("M")


async def test_the_peak_leads_to_its_meetings(service: Service, opened: Opened) -> None:
    """It is marked where the API says that it was, and opened by Enter it lists the meetings that made it."""
    feed = Feed("s", "bridge-1")
    lately(
        service,
        feed,
        call_start("c1", ago(40), name="Planning"),
        join("bob-1", "c1", ago(40)),
        call_start("c2", ago(30), name="Gateway", callType="forwarding"),
        join("guest-2", "c2", ago(30)),
        leave("guest-2", ago(20)),
        call_start("c3", ago(10), name="Paid"),
        join("alice-3", "c3", ago(10)),
    )
    page = await opened(service)
    peak: dict[str, Any] = service.get("/v1/usage/peak")
    assert peak["shared_sixths"] == 7
    mark = page.locator("button.peak-tag")
    await expect(mark).to_have_text("1⅙")
    await expect(page.locator("figure.smp .most")).to_have_text(f"at most 1⅙ at {peak['at'][11:16]}")
    await expect(page.locator("figure.pmp .most")).to_contain_text("at most 1 at")
    await expect(page.locator("#chart-theirs")).not_to_be_visible()
    await mark.focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#peak h2")).to_have_text(f"1⅙ SMP+ at {peak['at'][11:19]}")
    names = page.locator("#peak .name")
    await expect(names).to_have_text([one["name"] for one in peak["meetings"]])
    await expect(page.locator("#peak .badge")).to_have_text(["SMP+", "⅙ SMP+"])
    await names.nth(1).click()
    await expect(page.locator("#detail h2")).to_have_text("Gateway")
    await page.keyboard.press("Escape")
    await page.keyboard.press("Escape")
    await expect(page.locator("#peak")).not_to_be_visible()
    await expect(mark).to_be_focused()


async def test_what_the_meeting_server_counted_is_beside_it(tmp_path: Path, opened: Opened) -> None:
    """Both of its lines are drawn where it told, and nobody asks it anew for that."""
    with beside_one_that(tmp_path, Rules()) as (server, service):
        begin(server, "call-1", "space-alice")
        server.join("leg-1", "call-1", BOB)
        begin(server, "call-2", "space-bob")
        server.join("leg-2", "call-2", BOB)
        server.push(service)
        licenses, now = server.deployment.licenses, datetime.now(UTC)
        licenses.entries[:] = [(now - timedelta(minutes=5), ()), (now, licenses.at(now))]
        eventually(lambda: len(past_uses(service)) == 2, "what the server tells is read")
        newest, *_ = past_uses(service)
        assert (newest["personal"], newest["shared_licenses"]) == (1, 1)
        page = await opened(service)
        await expect(page.locator("#chart-theirs")).to_be_visible()
        assert [await dots(page, which) for which in ("smp", "pmp")] == [2, 2]
