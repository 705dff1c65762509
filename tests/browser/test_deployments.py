"""Several deployments on the page: each is shown by itself, though both may have the same ids."""

import re
from pathlib import Path

from playwright.async_api import expect

from tests.browser.conftest import HOLDERS, Opened
from tests.browser.test_page import ROWS
from tests.feed import Feed, call_start, join
from tests.integration.command import running


async def test_the_same_call_in_two_deployments(tmp_path: Path, opened: Opened) -> None:
    """A Call Bridge that pushes to two is told apart: what is shown is of the chosen one."""
    holders, config = tmp_path / "holders.csv", tmp_path / "config.toml"
    holders.write_text(HOLDERS)
    config.write_text(f"holders = '{holders}'\n[deployments.branch]\nholders = '{holders}'\npolicy = 'owner'\n")
    settings = {"CDR_CONFIG": str(config), "CDR_DATA_DIR": str(tmp_path / "data")}
    with running(tmp_path, "serve", settings=settings) as service:
        feed = Feed("s", "bridge-1")
        body = feed.document(call_start("c1", name="Planning"), join("bob-1", "c1"), join("alice-1", "c1", "09:05:00"))
        assert service.post(body) == 200
        assert service.post(body, "/branch") == 200
        page = await opened(service)
        license_ = page.locator(f"{ROWS} td.license")
        await expect(license_).to_have_text(["PMP+"])
        await page.get_by_label("Deployment").select_option("branch")
        await expect(license_).to_have_text(["SMP+"])
        await expect(page.locator("#policy")).to_have_text("by the policy owner")
        await page.locator(f"{ROWS} button").click()
        await expect(page.locator("#detail .policy.decides h4")).to_have_text("ownerdecides")
        await expect(page).to_have_url(re.compile("#meeting=m-c1&deployment=branch$"))
        address = page.url
        assert service.post(feed.document(join("carol-1", "c1", "09:06:00")), "/branch") == 200
        await expect(page.locator("#detail .stay")).to_have_count(3)
        await page.keyboard.press("Escape")
        await expect(page.locator("td.participants")).to_have_text(["3"])
        again = await opened(service, path=address.partition(service.api_url)[2])
        await expect(again.locator("#detail .policy.decides h4")).to_have_text("ownerdecides")
        await again.keyboard.press("Escape")
        await again.get_by_role("link", name="Reports").click()
        await again.get_by_label("of the").select_option("all that is kept")
        await expect(again.locator("#report-shared tbody tr")).to_have_count(1)
        await again.get_by_role("button", name="The peak and who made it").click()
        await expect(again.locator("#peak .facts")).to_contain_text("by the policy owner")
        await again.keyboard.press("Escape")
        await again.get_by_label("Deployment").select_option("default")
        await expect(again.locator("#report-holders tbody td").nth(1)).to_have_text("1")
