"""The reports on the page: what the API tells, by keyboard and as files, with nothing of it in a URL but what it is."""

import re
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import HOLDERS, Opened
from tests.browser.test_page import CONTRASTS, HOSTILE, ROWS, TOKEN, escaped, post
from tests.feed import Feed, Record, call_end, call_start, join, leave
from tests.integration.command import Service, running

KEPT = "all that is kept"


def morning(service: Service) -> None:
    """Have carol, who holds PMP+, pay a meeting, and two spaces take SMP+: one for an hour and one for half of that."""
    feed = Feed("s", "bridge-1")
    space = {"callType": "coSpace"}
    post(
        service,
        feed,
        call_start("one", name="Planning", coSpace="space-1", **space),
        join("bob-1", "one"),
        call_start("two", "09:30:00", name="Review", coSpace="space-2", **space),
        join("bob-2", "two", "09:30:00"),
        call_start("three", "09:30:00", name="Paid", coSpace="space-3", **space),
        join("carol-3", "three", "09:30:00"),
    )
    gone = [leave(leg, "10:00:00") for leg in ("bob-1", "bob-2", "carol-3")]
    post(service, feed, *gone, *(call_end(call, "10:00:00") for call in ("one", "two", "three")))


async def shown(page: Page, service: Service, report: str, path: str) -> list[dict[str, Any]]:
    """Wait until a report has as many rows as the API tells; return what that tells."""
    items: list[dict[str, Any]] = service.get(path)["items"]
    await expect(page.locator(f"{report} tbody tr")).to_have_count(len(items))
    return items


def saved(file: str) -> bytes:
    """Return what was saved."""
    return Path(file).read_bytes()


def told_as_csv(service: Service, path: str) -> bytes:
    """Return what the API answers to who has the token."""
    request = Request(f"{service.api_url}/v1/reports/{path}", headers={"Authorization": f"Bearer {TOKEN}"})
    with urlopen(request) as answer:
        return bytes(answer.read())


def cells(page: Page, report: str, row: int) -> Locator:
    """Return the cells of a row."""
    return page.locator(f"{report} tbody tr").nth(row).locator("td")


async def test_the_reports_are_those_of_the_api(service: Service, opened: Opened) -> None:
    """Linked from the live page, by keyboard alone: what took SMP+ by space and owner, and how each PMP+ is used."""
    morning(service)
    page = await opened(service)
    await page.get_by_role("link", name="Reports").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#report-shared .said")).to_have_text("No SMP+ was taken in that time.")
    await expect(page.locator("#report-what-if .said")).to_contain_text("Name the users who would hold PMP+")
    await expect(page.locator("#live")).not_to_be_visible()
    await page.get_by_label("of the").select_option(KEPT)
    first, second = await shown(page, service, "#report-shared", "/v1/reports/shared")
    assert [first["name"], second["name"]] == ["Planning", "Review"]
    await expect(cells(page, "#report-shared", 0)).to_have_text(["Planning", "1.0 h", "1.0 h", "1", "1 (50%)"])
    await expect(cells(page, "#report-shared", 1)).to_have_text(["Review", "30 min", "30 min", "1", "1 (50%)"])
    holders = await shown(page, service, "#report-holders", "/v1/reports/holders")
    assert [one["user"] for one in holders] == ["carol@example.com", "alice@example.com"]
    told = ["carol@example.com", "1", "30 min", "1", "12 Mar 10:00:00"]
    await expect(cells(page, "#report-holders", 0)).to_have_text(told)
    await expect(cells(page, "#report-holders", 1)).to_have_text(["alice@example.com", "0", "0", "0", "never"])
    await expect(page.locator("#report-holders .said")).to_have_text("1 PMP+ was not used in that time.")
    await page.get_by_role("radio", name="Spaces").focus()
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_role("radio", name="Owners")).to_be_checked()
    await shown(page, service, "#report-shared", "/v1/reports/shared?by=owner")
    await expect(cells(page, "#report-shared", 0).first).to_have_text("owner not known")
    await page.get_by_role("radio", name="People").focus()
    await page.keyboard.press("Space")
    await expect(page.locator("#report-shared tbody button")).to_have_text(["bob@example.com"])
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator("#ended button .name")).to_have_text(["Review", "Planning"])
    await expect(page.locator("#find")).to_have_value("bob@example.com")


async def test_the_peak_of_a_span_is_told_with_its_meetings(service: Service, opened: Opened) -> None:
    """From the reports one comes to the peak of their span, to the meetings that made it, and back."""
    morning(service)
    page = await opened(service, path="/#reports")
    await page.get_by_label("of the").select_option(KEPT)
    await page.get_by_role("button", name="The peak and who made it").click()
    peak = service.get("/v1/usage/peak")
    await expect(page.locator("#peak h2")).to_have_text("2 SMP+ at 12 Mar 09:30:00")
    names = page.locator("#peak .name")
    await expect(names).to_have_text([one["name"] for one in peak["meetings"]])
    await expect(page.locator("#peak li button").first).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#detail h2")).to_have_text("Planning")
    assert page.url.endswith("#meeting=m-one")
    await page.keyboard.press("Escape")
    await expect(page.locator("#peak li button").first).to_be_focused()
    await expect(page).to_have_url(re.compile("#reports$"))
    await page.keyboard.press("Escape")
    await expect(page.locator("#peak")).not_to_be_visible()


async def test_what_if_others_held_it(service: Service, opened: Opened, faults: list[str]) -> None:
    """Named or suggested users are tried: the shared peak before and after is what the API says."""
    morning(service)
    page = await opened(service, path="/#reports")
    await page.get_by_label("of the").select_option(KEPT)
    await page.get_by_label("Who would hold PMP+?").fill("nobody")
    async with page.expect_console_message(lambda message: "400" in message.text):  # a browser says what was refused
        await page.keyboard.press("Enter")
    said = page.locator("#report-what-if .said")
    await expect(said).to_contain_text("assign must be addresses")
    (_,) = faults
    faults.clear()
    await page.get_by_label("Who would hold PMP+?").fill("")
    await page.get_by_role("button", name="Suggest people").click()
    await page.get_by_role("button", name="+ bob@example.com").press("Enter")
    await expect(page.get_by_label("Who would hold PMP+?")).to_have_value("bob@example.com")
    (item,) = service.get("/v1/reports/what-if?assign=bob@example.com")["items"]
    assert (item["before"]["shared_sixths"], item["after"]["shared_sixths"]) == (12, 0)
    await expect(page.locator(".use-of .value")).to_have_text(["2", "0"])
    await expect(page.locator(".use-of .notes").first).to_contain_text("at 12 Mar 09:30:00 · 1.5 h of SMP+ in all")
    await expect(page.locator(".use-of .notes").nth(1)).to_contain_text("at most 3 meetings on PMP+")
    await expect(said).to_have_text("2 of 3 meetings would have been charged otherwise.")


async def test_a_file_has_all_of_it_and_its_url_no_token(tmp_path: Path, opened: Opened, faults: list[str]) -> None:
    """What is saved is what the API answers as CSV; the token stays out of every URL that was asked for."""
    holders = tmp_path / "holders.csv"
    holders.write_text(HOLDERS)
    settings = {"CDR_HOLDERS": str(holders), "CDR_API_TOKEN": TOKEN, "CDR_DATA_DIR": str(tmp_path / "data")}
    with running(tmp_path, "serve", settings=settings) as service:
        morning(service)
        page = await opened(service, path="/#reports", live=False)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await page.locator("#token-value").fill(TOKEN)
        await page.keyboard.press("Enter")
        await page.get_by_label("of the").select_option(KEPT)
        await expect(page.locator("#report-shared tbody tr")).to_have_count(2)
        await page.get_by_label("Who would hold PMP+?").fill("bob@example.com")
        for name, path in (
            ("shared licenses", "shared?by=cospace&format=csv"),
            ("holders", "holders?format=csv"),
            ("what if", "what-if?assign=bob@example.com&format=csv"),
        ):
            async with page.expect_download() as saving:
                await page.get_by_role("button", name=f"Save {name} as CSV").click()
            file = await saving.value
            assert file.suggested_filename == f"{name.replace(' ', '-')}.csv"
            assert saved(str(await file.path())) == told_as_csv(service, path)
        assert len([url for url in asked if "/v1/reports/" in url]) >= 5
        assert not [url for url in asked if TOKEN in url]
    assert all("401" in fault or "ERR_" in fault for fault in faults), "a browser says what was refused"
    faults.clear()


async def test_a_file_of_a_long_ranking_has_every_row_once(service: Service, opened: Opened) -> None:
    """The page shows the first hundred and says so; the file has all, under one heading."""
    feed, spaces = Feed("s", "bridge-1"), 510
    records: list[Record] = []
    for number in range(spaces):
        records.append(call_start(f"c{number}", name="Space", coSpace=f"space-{number}", callType="coSpace"))
        records += [join(f"bob-{number}", f"c{number}"), leave(f"bob-{number}"), call_end(f"c{number}")]
    post(service, feed, *records)
    page = await opened(service, path="/#reports")
    await page.get_by_label("of the").select_option(KEPT)
    await expect(page.locator("#report-shared tbody tr")).to_have_count(100)
    await expect(page.locator("#report-shared .said")).to_have_text("The first 100; the CSV has all.")
    async with page.expect_download() as saving:
        await page.get_by_role("button", name="Save shared licenses as CSV").click()
    heading, *rows = saved(str(await (await saving.value).path())).decode("utf-8-sig").splitlines()
    assert heading.startswith("deployment,by,key,")
    assert sorted(row.split(",")[2] for row in rows) == sorted(f"space-{number}" for number in range(spaces))


async def test_hostile_names_stay_text(service: Service, opened: Opened) -> None:
    """Whatever a space or a person is called is shown as it is, in the rankings and among the meetings of the peak."""
    feed = Feed("s", "bridge-1")
    name = escaped(HOSTILE)
    post(service, feed, call_start("one", name=name, coSpace="space-1", callType=name), join("bob-1", "one"))
    post(service, feed, leave("bob-1", "10:00:00"), call_end("one", "10:00:00"))
    page = await opened(service, path="/#reports")
    await page.get_by_label("of the").select_option(KEPT)
    await expect(page.locator("#report-shared tbody button")).to_have_text(HOSTILE)
    await page.get_by_role("radio", name="Kinds").click(force=True)
    await expect(cells(page, "#report-shared", 0).first).to_have_text(HOSTILE)
    await page.get_by_role("button", name="The peak and who made it").click()
    await expect(page.locator("#peak .name")).to_have_text(HOSTILE)
    assert await page.locator("img, script:not([src]), main b").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_text_can_be_read(service: Service, opened: Opened, scheme: str) -> None:
    """In both themes each text of the reports stands out from what is behind it, 4.5 to 1 (WCAG 2.2, 1.4.3)."""
    morning(service)
    page = await opened(service, path="/#reports")
    await page.emulate_media(color_scheme=scheme)
    await page.get_by_label("of the").select_option(KEPT)
    await page.get_by_label("Who would hold PMP+?").fill("bob@example.com")
    await page.get_by_role("button", name="Try").click()
    await page.get_by_role("button", name="Suggest people").click()
    await expect(page.locator(".use-of")).to_have_count(2)
    await page.locator(".person-choice").wait_for()
    await page.get_by_role("button", name="The peak and who made it").click()
    await page.locator("#peak li").first.wait_for()
    assert await page.evaluate(CONTRASTS) == []


async def test_a_search_in_the_reports_leads_to_meetings(service: Service, opened: Opened) -> None:
    """Whoever types into the field find sees what is found, and the way back to the reports keeps them."""
    feed = Feed("s", "bridge-1")
    post(service, feed, call_start("c1", name="Planning"), join("bob-1", "c1"))
    page = await opened(service, path="/#reports")
    await expect(page.locator("#reports")).to_be_visible()
    await page.keyboard.press("/")
    await page.keyboard.type("planning")
    await expect(page.locator(f"{ROWS} button")).to_have_text(["Planning"])
    await page.go_back()
    await expect(page.locator("#reports")).to_be_visible()
    await expect(page).to_have_url(re.compile("#reports$"))
