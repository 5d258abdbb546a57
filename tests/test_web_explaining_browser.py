"""A message explained, and many replayed, as a person sees them."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from mwl.accounts import Role
from mwl.db import Database
from tests.browser import VIEWS, Site, live
from tests.builders import omi, orm
from tests.feeding import Feed
from tests.web_app import WebApp


@pytest.fixture
def app(sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WebApp:
    monkeypatch.setattr("hl7.ranges.LONGEST_HELD_S", 60)  # a busy machine may take its time
    made = WebApp(sqlite_database, tmp_path)
    feed = Feed(made.database, now=made.now)
    feed.send(omi(MSH_10="MSG00001", PID_3="4711^^^HOSP&1.2.276&ISO^MR~A12^^^KK^PI"))
    feed.send(orm(MSH_10="MSG00002", PID_3="", OBR_18="ACC2"))
    feed.send(orm(MSH_10="MSG00003", ORC_3="FO3^RIS", PID_7="yesterday", ZDS_1="1.2.3"))
    return made


@VIEWS
def test_a_pasted_message_is_explained(
    chromium: Browser, app: WebApp, width: int, dark: bool, script: bool
) -> None:
    with live(app) as site:
        look = {"width": width, "dark": dark, "script": script}
        page = site.open(chromium, Role.TECHNOLOGIST, "/messages", **look)
        page.click("text=Explain a message")
        page.wait_for_url("**/messages/explain")
        _see(site, page, "explain-form")
        pasted = omi(
            MSH_10="NEW1",
            PID_3="4711^^^HOSP&1.2.276&ISO^MR",
            PID_8="?",
            ORC_1="XO",
            TQ1_7="20300102140000",
            IPC_9="",
            ZZZ_3="of the sender's own^and more",
        )
        page.fill("#text", pasted.replace("\r", "\n"))
        page.get_by_role("button", name="Explain").click()
        page.wait_for_selector("h2")
        assert "NEW1" in page.locator("h2").first.inner_text()
        assert (
            "20300102140000" in page.locator("table[aria-label='What would change']").inner_text()
        )
        assert "Scheduled Station AE Title" in page.locator("main").inner_text()
        _see(site, page, "explain")
        page.goto("/messages/3")
        page.click("text=Explain this message")
        page.wait_for_url("**/messages/3/explain")
        assert "no date" in page.locator(".alert-danger").inner_text()
        _see(site, page, "explain-refused")


@VIEWS
def test_many_are_looked_at_and_replayed(
    chromium: Browser, app: WebApp, width: int, dark: bool, script: bool
) -> None:
    with live(app) as site:
        look = {"width": width, "dark": dark, "script": script}
        page = site.open(chromium, Role.ADMIN, "/messages?source=RIS^HOSPITAL", **look)
        page.on("dialog", lambda dialog: dialog.accept())
        page.click("text=Replay these")
        page.wait_for_url("**/messages/replay**")
        page.check("#accepted")
        page.get_by_role("button", name="Look what it would do").click()
        page.wait_for_selector("text=What that would do")
        assert "2 refused as before" in page.locator(".figures").inner_text().replace("\n", " ")
        _see(site, page, "replay-look")
        page.get_by_role("button", name="Apply these 3").click()
        page.wait_for_selector("h2:has-text('Done')")
        _see(site, page, "replay-done")
        page.goto("/messages/1/replay?accepted=1")
        _see(site, page, "replay-one")


def _see(site: Site, page, name: str) -> None:
    site.look(page)
    site.shoot(page, name)
