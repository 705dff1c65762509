"""The live page shows what the API tells, keeps showing it, and lets no text become anything but text."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.browser.conftest import HOLDERS, Opened
from tests.feed import Feed, Record, call_end, call_start, join, leave
from tests.integration.command import Service, running
from tests.integration.servers import eventually, free_port, store_server

ROWS = "#meetings tbody tr"
HOSTILE = "<img src=x onerror=alert(1)>\"'&<script>document.title='owned'</script>\u202etxt{{7*7}}"
TOKEN = "a-token-of-the-api"


def escaped(text: str) -> str:
    """Return text as it stands in XML."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def post(service: Service, feed: Feed, *records: Record) -> None:
    """Push a document."""
    assert service.post(feed.document(*records)) == 200


async def shows(page: Page, service: Service) -> None:
    """Fail unless the page comes to show exactly what the API tells."""
    (usage,) = service.get("/v1/usage")["items"]
    calls = service.get("/v1/calls")["items"]
    rows = {
        (call["name"], str(call["participants"]), call["license"]["type"] if call["license"] else "none")
        for call in calls
    }
    await expect(page.locator("[data-value=smp]")).to_have_text(str(usage["shared"]["sixths"] // 6))
    await expect(page.locator("[data-value=pmp]")).to_have_text(str(len(usage["personal"]["holders"])))
    await expect(page.locator(".gauge.pmp .notes")).to_contain_text(f"for {usage['personal']['meetings']} meeting")
    await expect(page.locator(".gauge.plain .value").first).to_have_text(str(usage["participants"]))
    await expect(page.locator(ROWS)).to_have_count(len(calls))
    for name, people, license_ in rows:
        row = page.locator(ROWS, has=page.get_by_role("button", name=name, exact=True))
        await expect(row.locator("td.participants")).to_have_text(people)
        await expect(row.locator("td.license")).to_have_text(license_)


async def test_the_numbers_are_those_of_the_api(service: Service, opened: Opened) -> None:
    """While calls come and go, on the page is what the API tells: gauges, each meeting, switches, Call Bridges."""
    feed = Feed("s", "bridge-1")
    again = feed.document(call_start("c0", name="Before"), join("bob-0", "c0"))
    assert service.post(again) == 200
    page = await opened(service)
    await shows(page, service)
    post(service, feed, call_start("c1", name="Planning"), join("bob-1", "c1"), join("guest-1", "c1"))
    await shows(page, service)
    post(service, feed, join("alice-1", "c1", "09:01:00"))
    await shows(page, service)
    await expect(page.locator("#feed li").first).to_contain_text("alice@example.com, who holds PMP+, joined")
    for number in range(2, 14):
        name = f"Meeting {number}"
        post(service, feed, call_start(f"c{number}", name=name), join(f"bob-{number}", f"c{number}"))
    await shows(page, service)
    post(service, feed, leave("alice-1", "09:30:00"), *(call_end(f"c{number}") for number in range(2, 12)))
    await shows(page, service)
    post(service, feed, leave("bob-0"), call_end("c0"))
    await shows(page, service)
    (bridge,) = service.get("/v1/bridges")["items"]
    told = f"{bridge['records']} records · none missing · "
    await expect(page.locator("#bridges li")).to_contain_text(f"{told}no duplicates")
    assert service.post(again) == 200
    eventually(lambda: service.get("/v1/bridges")["items"][0]["duplicates"] == 2, "the count is written")
    await expect(page.locator("#bridges li")).to_contain_text(f"{told}2 duplicates", timeout=20_000)


async def test_sixths_are_shown_exactly(service: Service, opened: Opened) -> None:
    """A whole license and a sixth, which a gateway call takes, are shown as one and a sixth, and the sixth as that."""
    feed = Feed()
    post(service, feed, call_start("c1", name="Planning"), join("bob-1", "c1"))
    post(service, feed, call_start("c2", name="Gateway", callType="forwarding"), join("guest-2", "c2"))
    (usage,) = service.get("/v1/usage")["items"]
    assert usage["shared"]["sixths"] == 7
    page = await opened(service)
    await expect(page.locator("[data-value=smp]")).to_have_text("1⅙")
    await expect(page.get_by_role("meter").first).to_have_attribute("aria-valuetext", "1⅙ of 3")
    await expect(page.locator(ROWS, has_text="Gateway").locator("td.license")).to_have_text("⅙ SMP+")


async def test_a_reconnect_loses_nothing(
    tmp_path: Path, opened: Opened, context: BrowserContext, faults: list[str]
) -> None:
    """While the service is away the page says so; when it is back, what happened meanwhile is there."""
    holders = tmp_path / "holders.csv"
    holders.write_text(HOLDERS)
    settings = {
        "CDR_HOLDERS": str(holders),
        "CDR_API_BIND": f"127.0.0.1:{free_port()}",
        "CDR_DATA_DIR": str(tmp_path / "data"),
    }
    feed = Feed()
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with running(first, "serve", settings=settings) as service:
        post(service, feed, call_start("c1", name="Planning"), join("bob-1", "c1"))
        page = await opened(service)
        await shows(page, service)
        service.end()
        await expect(page.locator("#status")).to_have_text("no connection")
        await expect(page.locator(ROWS)).to_have_count(1)
    # It comes back only when all has happened.
    await context.route("**/v1/events*", lambda route: route.abort())
    with running(second, "serve", settings=settings) as service:
        post(service, feed, join("alice-1", "c1", "09:05:00"), call_start("c2", name="Later"), join("bob-2", "c2"))
        await context.unroute("**/v1/events*")
        await shows(page, service)
        await expect(page.locator("#status")).to_have_text("live")
        await expect(page.locator("#feed li .why").first).to_contain_text("alice@example.com")
        await page.evaluate("window.kept = true")
        post(service, feed, leave("bob-2"))
        await shows(page, service)
        assert await page.evaluate("window.kept"), "it was never loaded anew"
    assert all("ERR_" in fault for fault in faults), "a browser says when nobody answers"
    faults.clear()


async def test_a_store_that_is_away_is_said(tmp_path: Path, opened: Opened, faults: list[str]) -> None:
    """What is shown while the store does not answer is not passed off as live; it goes on when the store is back."""
    with store_server(unix=True) as store:
        settings = {"CDR_REDIS_URL": store.url}
        with running(tmp_path, "serve", settings=settings) as service:
            feed = Feed()
            post(service, feed, call_start("c1", name="Planning"), join("bob-1", "c1"))
            page = await opened(service)
            await shows(page, service)
            store.kill()
            await expect(page.locator("#status")).to_have_text("no answer", timeout=20_000)
            await expect(page.locator(ROWS)).to_have_count(1)
            store.start()
            eventually(lambda: service.status("/v1/usage") == 200, "the store is back")
            post(service, feed, join("bob-2", "c1", "09:01:00"))
            await expect(page.locator("#status")).to_have_text("live", timeout=20_000)
            await shows(page, service)
    assert all("503" in fault for fault in faults), "a browser says what failed"
    faults.clear()


async def test_hostile_names_stay_text(service: Service, opened: Opened) -> None:
    """Whatever a name holds is shown as it is, in the table, in a meeting and when it is looked for."""
    title = "Licenses in use"
    feed = Feed("s", "<b>bridge</b>".replace("<", "&lt;"))
    name = escaped(HOSTILE)
    leg = join("bob-1", "c1", displayName=name, remoteParty=name)
    post(service, feed, call_start("c1", name=name, ownerName=name), leg, join("alice-1", "c1", "09:01:00"))
    page = await opened(service)
    await expect(page.locator(f"{ROWS} button")).to_have_text(HOSTILE)
    await page.locator(f"{ROWS} button").click()
    await expect(page.locator("#detail h2")).to_have_text(HOSTILE)
    await expect(page.locator("#detail .who").first).to_contain_text("<img src=x")
    await expect(page.locator("#bridges .name")).to_have_text("<b>bridge</b>")
    await page.keyboard.press("Escape")
    post(service, feed, leave("bob-1"), leave("alice-1"), call_end("c1"))
    await page.locator("#find").fill("<img src=x")
    await expect(page.locator("#ended button .name")).to_have_text(HOSTILE)
    assert await page.locator("img, script:not([src]), #detail b").count() == 0
    assert await page.title() == title


async def test_the_policy_lets_nothing_in(service: Service, opened: Opened, faults: list[str]) -> None:
    """No script in the page, no markup from text, no request to elsewhere: the browser itself refuses."""
    page = await opened(service)
    told = await page.evaluate(
        """async () => {
            const refused = [];
            document.addEventListener("securitypolicyviolation", (event) => refused.push(event.effectiveDirective));
            try { document.body.innerHTML = "<p>"; } catch { refused.push("markup"); }
            const script = document.createElement("script");
            script.type = "text/javascript";
            try { script.textContent = "window.ran = true"; } catch { refused.push("script"); }
            document.body.append(script);
            await fetch("http://localhost:9/").catch(() => refused.push("elsewhere"));
            await new Promise((resolve) => setTimeout(resolve, 200));
            return [refused, window.ran ?? false];
        }"""
    )
    refused, ran = told
    assert {"markup", "elsewhere", "require-trusted-types-for", "connect-src"} <= set(refused)
    assert not ran
    assert all(re.search(r"Content Security Policy|Trusted(HTML|Script)", fault) for fault in faults)
    faults.clear()


async def test_everything_comes_from_the_service(service: Service, opened: Opened, context: BrowserContext) -> None:
    """The page asks nobody but the service, so it works without internet access."""
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    await opened(service)
    assert len(asked) > 5
    assert all(url.startswith(f"{service.api_url}/") for url in asked)


async def test_a_meeting_is_told_whole(service: Service, opened: Opened) -> None:
    """A meeting shows each stay, the license as a band, each change with its reason, and both policies; and goes on."""
    feed = Feed()
    post(service, feed, call_start("c1", name="Planning"), join("bob-1", "c1"), join("alice-1", "c1", "09:05:00"))
    post(service, feed, leave("alice-1", "09:10:00"))
    page = await opened(service)
    await page.locator(f"{ROWS} button").click()
    detail = page.locator("#detail")
    await expect(detail.locator(".stay")).to_have_count(2)
    await expect(detail.locator(".person.holds .who")).to_contain_text("alice@example.com")
    meeting = service.get("/v1/meetings/m-c1")
    await expect(detail.locator(".period")).to_have_count(len(meeting["transitions"]))
    changes = detail.locator(".changes li")
    await expect(changes).to_have_count(len(meeting["transitions"]))
    await expect(changes.nth(1)).to_contain_text("alice@example.com, who holds PMP+, joined")
    await expect(detail.locator(".policy h4")).to_have_text(["joindecides", "ownerfor comparison"])
    post(service, feed, join("carol-1", "c1", "09:20:00"))
    await expect(detail.locator(".stay")).to_have_count(3)
    post(service, feed, leave("bob-1"), leave("carol-1"), call_end("c1"))
    await expect(detail.locator("header .badge")).to_have_text("ended")
    await expect(detail.locator(".facts")).to_contain_text("at most 2 in at once")
    await expect(changes.last.locator(".why")).to_have_text("the last participant left")
    await expect(detail.locator(".policy h4")).to_have_text(["joindecides", "ownerfor comparison"])
    address = page.url
    assert address.endswith("#meeting=m-c1")
    await page.keyboard.press("Escape")
    await expect(detail).not_to_be_visible()
    again = await opened(service, path="/#meeting=m-c1")
    await expect(again.locator("#detail h2")).to_have_text("Planning")


async def test_it_is_found_by_what_people_remember(service: Service, opened: Opened) -> None:
    """One field finds live and ended meetings by a person, a number or a name; emptied, it shows all."""
    feed = Feed()
    post(service, feed, call_start("c1", name="Planning"), join("bob-1", "c1"))
    post(service, feed, call_start("c2", name="Review"), join("guest-2", "c2", displayName="Guest from 5550123"))
    post(service, feed, call_start("c3", name="Over"), join("bob-3", "c3"), leave("bob-3"), call_end("c3"))
    page = await opened(service)
    await page.locator("#find").fill("bob")
    await expect(page.locator(f"{ROWS} button")).to_have_text(["Planning"])
    await expect(page.locator("#ended button .name")).to_have_text(["Over"])
    await page.locator("#find").fill("5550123")
    await expect(page.locator(f"{ROWS} button")).to_have_text(["Review"])
    await page.locator("#find").fill("nobody of that name")
    await expect(page.locator("#meetings .empty")).to_have_text("No live meeting is found so.")
    await page.locator("#find").fill("")
    await expect(page.locator(ROWS)).to_have_count(2)


async def test_each_switch_of_the_last_minutes_is_counted(service: Service, opened: Opened) -> None:
    """On a busy deployment too, the page counts and lists every switch of the last five minutes."""
    feed = Feed()
    now = datetime.now(UTC)
    times = {
        f"2024-03-12T{time}Z": (now - timedelta(seconds=ago)).strftime("%Y-%m-%dT%H:%M:%SZ")
        for time, ago in (("09:00:00", 20), ("09:05:00", 10))
    }
    for number in range(60):
        bob, alice, call = f"bob-{number}", f"alice-{number}", f"c{number}"
        begun = (call_start(call), join(bob, call), join(alice, call, "09:05:00"))
        ended = (leave(alice, "09:05:00"), leave(bob, "09:05:00"), call_end(call, "09:05:00"))
        document = feed.document(*begun, *ended).decode()
        for told, meant in times.items():
            document = document.replace(told, meant)
        assert service.post(document.encode()) == 200
    page = await opened(service)
    await expect(page.locator("#feed > li")).to_have_count(60)
    await expect(page.locator(".gauge.plain .value").nth(1)).to_have_text("60")


async def test_the_keyboard_leads_everywhere(service: Service, opened: Opened) -> None:
    """Without a mouse: find, sort, go through the table, open a meeting, close it, and be where one was."""
    feed = Feed()
    for number, name in enumerate(("Bravo", "Alpha", "Charlie")):
        post(service, feed, call_start(f"c{number}", name=name), join(f"bob-{number}", f"c{number}"))
    page = await opened(service)
    await expect(page.locator(ROWS)).to_have_count(3)
    await page.keyboard.press("/")
    await expect(page.locator("#find")).to_be_focused()
    await page.locator("th.name button").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("th.name")).to_have_attribute("aria-sort", "ascending")
    names = page.locator(f"{ROWS} button")
    await expect(names).to_have_text(["Alpha", "Bravo", "Charlie"])
    await page.keyboard.press("Enter")
    await expect(names).to_have_text(["Charlie", "Bravo", "Alpha"])
    for _ in range(6):
        await page.keyboard.press("Tab")
    await expect(names.first).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await expect(names.nth(1)).to_be_focused()
    post(service, feed, join("guest-1", "c1", "09:02:00"))
    await expect(page.locator("td.participants", has_text=re.compile("^2$"))).to_have_count(1)
    await expect(names.nth(1)).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#detail h2")).to_have_text("Bravo")
    await expect(page.locator("#detail .close")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(names.nth(1)).to_be_focused()


async def test_the_token_is_asked_for_and_in_no_url(tmp_path: Path, opened: Opened, faults: list[str]) -> None:
    """Without the token there is no data; a wrong one is asked for again; the right one stays out of every URL."""
    settings = {"CDR_API_TOKEN": TOKEN, "CDR_DATA_DIR": str(tmp_path / "data")}
    with running(tmp_path, "serve", settings=settings) as service:
        post(service, Feed(), call_start("c1", name="Planning"), join("bob-1", "c1"))
        page = await opened(service, live=False)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        dialog = page.locator("#token")
        await expect(dialog).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(dialog).to_be_visible()
        await page.locator("#token-value").fill("a-wrong-one")
        await page.keyboard.press("Enter")
        await expect(page.locator("#token-said")).to_contain_text("does not take this token")
        await page.locator("#token-value").fill(TOKEN)
        await page.keyboard.press("Enter")
        await expect(dialog).not_to_be_visible()
        await expect(page.locator(f"{ROWS} button")).to_have_text(["Planning"])
        await page.reload()
        await expect(page.locator(f"{ROWS} button")).to_have_text(["Planning"])
        assert not [url for url in asked if TOKEN in url]
        assert await page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        assert all("401" in fault for fault in faults), "a browser says what was refused"
        faults.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_text_can_be_read(service: Service, opened: Opened, scheme: str) -> None:
    """In both themes each text stands out from what is behind it, 4.5 to 1 (WCAG 2.2, 1.4.3)."""
    feed = Feed("s", "bridge-1")
    post(service, feed, call_start("c1", name="Planning"), join("bob-1", "c1"), join("alice-1", "c1", "09:05:00"))
    post(service, feed, call_start("c2", name="Review"), join("bob-2", "c2"))
    page = await opened(service)
    await page.emulate_media(color_scheme=scheme)
    await expect(page.locator(ROWS)).to_have_count(2)
    await page.locator(f"{ROWS} button").first.click()
    await page.locator("#detail .policy").first.wait_for()
    assert await page.evaluate(CONTRASTS) == []


CONTRASTS = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const parts = (color, under) => {
    canvas.clearRect(0, 0, 1, 1);
    if (under) { canvas.fillStyle = under; canvas.fillRect(0, 0, 1, 1); }
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const color = getComputedStyle(one).backgroundColor;
      if (parts(color)[3] > 250) return color;
    }
    return "white";
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = Array.from(element.childNodes).some((node) => node.nodeType === 3 && node.textContent.trim());
    const told = own && element.checkVisibility() && !element.closest(".hidden, noscript, .plot, [aria-hidden]");
    if (!told) continue;
    const back = behind(element);
    const [a, b] = [light(parts(getComputedStyle(element).color, back)), light(parts(back))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) poor.push([element.className, element.textContent.slice(0, 30), contrast.toFixed(2)]);
  }
  return poor;
}"""
