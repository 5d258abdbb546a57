"""Messages and deliveries as a person sees them."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from mwl.accounts import Role
from mwl.db import Database
from tests.browser import VIEWS, Site, live
from tests.builders import adt_a08, omi, orm
from tests.feeding import MESSAGE, Feed
from tests.test_mwl_mpps_forwarding import Site as Forwarded
from tests.test_mwl_mpps_forwarding import to
from tests.web_app import WebApp

EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">'\""
_ANSWER = b"MSH|^~\\&|RIS|H|MWL|R|20300101||ACK|A1|P|2.5.1\rMSA|AE|OUT1|no such order\r"


@pytest.fixture
def app(sqlite_database: Database, tmp_path: Path) -> WebApp:
    return WebApp(sqlite_database, tmp_path)


@pytest.fixture
def feed(app: WebApp) -> Feed:
    """A day's messages: taken, refused, flagged; and what the RIS was told."""
    feed = Feed(app.database, now=app.now)
    feed.send(omi(MSH_10="MSG00001", PID_3="4711^^^HOSP&1.2.276&ISO^MR~A12^^^KK^PI"))
    feed.send(adt_a08(MSH_10="MSG00002", PID_3="4711^^^HOSP^MR"))
    feed.send(orm(MSH_10="MSG00003", PID_3="", OBR_18="ACC2"))
    other = {"ORC_2": "7^RIS", "ORC_3": "8^RIS", "OBR_2": "", "OBR_3": "", "ZDS_1": "1.2.9"}
    feed.send(
        orm(MSH_10="MSG00004", PID_3="4712^^^HOSP", PID_5="Roe^Richard", **other, OBR_24="X9")
    )
    feed.tell(
        "IP", state="done", attempts=1, done_at=app.now, control_id="OUT0", body=b"MSH|^~\\&|"
    )
    feed.tell(
        "CM",
        state="parked",
        attempts=1,
        error="answered AE, 204 at ORC-2",
        control_id="OUT1",
        body=orm(MSH_10="OUT1", ORC_1="SC", ORC_5="CM").encode(),
        answer=_ANSWER,
    )
    feed.tell("CLOSED")
    return feed


@VIEWS
def test_a_lost_order_is_found_and_replayed(
    chromium: Browser, app: WebApp, feed: Feed, width: int, dark: bool, script: bool
) -> None:
    with live(app) as site:
        look = {"width": width, "dark": dark, "script": script}
        page = site.open(chromium, Role.ADMIN, "/messages", **look)
        site.look(page)
        site.shoot(page, "messages")
        page.fill("#text", "ACC2")
        page.click("text=Show")
        page.wait_for_url("**/messages?text=ACC2**")
        page.click("table a >> nth=0")
        page.wait_for_url("**/messages/3")
        assert "MSG00003" in page.locator("h1").inner_text()
        site.look(page)
        site.shoot(page, "message-refused")
        page.on("dialog", lambda dialog: dialog.accept())
        page.click("summary:has-text('Replay it')")
        page.get_by_role("button", name="Replay").click()
        page.wait_for_url("**/messages/5")
        assert "This is the replay." in page.locator("[role=status]").inner_text()
        site.look(page)


@VIEWS
def test_a_message_is_read_field_by_field(
    chromium: Browser, app: WebApp, feed: Feed, width: int, dark: bool, script: bool
) -> None:
    with live(app) as site:
        look = {"width": width, "dark": dark, "script": script}
        page = site.open(chromium, Role.VIEWER, "/messages/1", **look)
        place = page.locator("tr", has=page.get_by_text("PID-3.4.2", exact=True))
        assert place.locator("td").all_inner_texts() == ["PID-3.4.2", "Universal ID", "1.2.276"]
        assert page.get_by_role("button", name="Replay").count() == 0
        site.look(page)
        site.shoot(page, "message")


@VIEWS
def test_a_parked_delivery_is_sent_again(
    chromium: Browser, app: WebApp, feed: Feed, width: int, dark: bool, script: bool
) -> None:
    with live(app) as site:
        look = {"width": width, "dark": dark, "script": script}
        page = site.open(chromium, Role.ADMIN, "/deliveries", **look)
        site.look(page)
        site.shoot(page, "deliveries")
        page.click("text=1 parked")
        page.wait_for_url("**/deliveries?state=parked")
        page.click("table a >> nth=0")
        page.wait_for_url("**/deliveries/2")
        site.look(page)
        site.shoot(page, "delivery")
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Send again").click()
        page.wait_for_load_state()
        assert "waits to be sent again" in page.locator("[role=status]").inner_text()
        site.look(page)


@VIEWS
def test_a_forwarded_mpps_is_read_line_by_line(
    chromium: Browser, app: WebApp, width: int, dark: bool, script: bool
) -> None:
    forwarded = Forwarded(app.database, to("dose"))
    forwarded.begin()
    forwarded.set()
    with live(app) as site:
        look = {"width": width, "dark": dark, "script": script}
        page = site.open(chromium, Role.ADMIN, "/deliveries/2", **look)
        assert "N-SET COMPLETED of CT1, forwarded" in page.locator("h1").inner_text()
        site.look(page)
        site.shoot(page, "delivery-mpps")


def test_what_a_person_does_not_confirm_is_not_done(
    chromium: Browser, app: WebApp, feed: Feed
) -> None:
    with live(app) as site:
        page = site.open(chromium, Role.ADMIN, "/messages/3")
        page.on("dialog", lambda dialog: dialog.dismiss())
        page.click("summary:has-text('Replay it')")
        page.get_by_role("button", name="Replay").click()
        assert page.url == f"{site.url}/messages/3"
        assert len(feed.rows(MESSAGE)) == 4


@pytest.mark.parametrize("message", ["every field", "no message at all"])
def test_markup_in_every_field_stays_text(
    chromium: Browser, app: WebApp, feed: Feed, message: str
) -> None:
    rows = [feed.send(_evil() if message == "every field" else EVIL.encode())]
    delivery = feed.tell(
        "CM",
        destination=EVIL,
        state="parked",
        control_id=EVIL,
        error=EVIL,
        body=_evil(),
        answer=_ANSWER.replace(b"no such order", EVIL.encode()),
    )
    paths = [
        *("/messages", "/deliveries", f"/deliveries/{delivery}"),
        *(f"/messages/{row}" for row in rows),
    ]
    with live(app) as site:
        for path in paths:
            page = site.open(chromium, Role.ADMIN, path)
            _is_harmless(site, page)


def _evil() -> bytes:
    """Put markup into every field of every segment that lets one in."""
    head, *rest = orm(MSH_3=EVIL, MSH_4=EVIL, MSH_10=EVIL).split("\r")
    lines = [
        "|".join([name, *([EVIL] * max(len(fields), 12))])
        for name, *fields in (line.split("|") for line in rest if line)
    ]
    return "\r".join([head, *lines, f"ZZZ|{EVIL}"]).encode()


def _is_harmless(site: Site, page) -> None:
    assert page.locator("main img").count() == 0
    assert page.locator("main script").count() == 0
    assert page.title() != "owned"
    site.look(page)
