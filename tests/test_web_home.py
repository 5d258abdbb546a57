"""Home says whether it flows, in words, and where to go."""

import dataclasses
import re
from datetime import datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from mwl import devices
from mwl.accounts import Role
from mwl.config import (
    Archive,
    DeviceTable,
    Settings,
    Site,
    Worklist,
    WorklistExport,
    WorklistSource,
)
from mwl.db import Database
from mwl.devices import Visit
from mwl.flow import Hour
from mwl.objects import Room, room
from mwl.worklist import exports, sources
from tests.browser import VIEWS, live
from tests.closing_rows import report, set_aside, store
from tests.test_mwl_flow import delivery, message, unlinked_report
from tests.web_app import WebApp
from tests.worklist_rows import insert_items, item
from web.bars import charts

HOUR = timedelta(hours=1)
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def app(database: Database, tmp_path: Path) -> WebApp:
    return WebApp(database, tmp_path)


def write(app: WebApp, *works: Any) -> None:
    for work in works:
        app.database.write(lambda s, work=work: work(s) and None)


def home(app: WebApp) -> str:
    answer = app.signed_in().get("/")
    assert answer.status_code == 200
    return answer.text


def links(page: str) -> dict[str, str]:
    """Give the verdict's links, by their texts."""
    verdict = page.split('aria-label="Verdict"')[1].split("</section>", maxsplit=1)[0]
    found = re.findall(r'<a href="([^"]+)">([^<]+)</a>', verdict)
    return {unescape(text): unescape(url) for url, text in found}


def test_all_is_well_where_nothing_is_wrong(app: WebApp) -> None:
    write(app, lambda s: message(s, "RIS^A", "applied", app.now - HOUR))
    page = home(app)
    assert "All well." in page
    assert "<title>All well" in page
    assert links(page) == {}


def test_what_is_wrong_is_said_with_the_rows_behind_it(app: WebApp) -> None:
    now = app.now
    write(
        app,
        lambda s: delivery(s, "parked", now, 2),
        lambda s: delivery(s, "waiting", now - HOUR, 3),
        lambda s: message(s, "RIS^A", "failed", now),
        lambda s: message(s, "RIS^A", "rejected", now, 2),
        lambda s: insert_items(s, [item(1, order={"flags": ["look"]})]),
        lambda s: report(s, [], "IN PROGRESS", at=now - 20 * HOUR),
        lambda s: store(s, "1.2.3", "1.2", at=now),
        lambda s: set_aside(s, "1.2.4", at=now),
        lambda s: unlinked_report(s, at=now),
        lambda s: devices.knocked(s, {Visit("CT8", "MWL", "10.0.0.8", False): 4}, now=now),
    )
    page = home(app)
    assert "Not all of it." in page
    assert links(page) == {
        "3 waiting to be delivered, the first queued 60 min ago.": "/deliveries?state=waiting",
        "2 deliveries were refused by their receivers.": "/deliveries?state=parked",
        "A message failed here lately.": "/messages?state=failed",
        "2 messages got an error for an answer lately.": "/messages?state=rejected",
        "An order wants to be looked at.": "/worklist?flagged=1&day=any",
        "An examination was begun and never ended.": "/mpps?state=stuck",
        "A study belongs to no order.": "/studies?unmatched=1",
        "A report that came lately belongs to no order.": "/reports?unlinked=1",
        "An image contradicts what is stored.": "/quarantine",
        "An unknown device was refused lately.": "/devices#knocks",
    }


def test_what_only_waits_for_a_person_is_no_stop(app: WebApp) -> None:
    write(app, lambda s: store(s, "1.2.3", "1.2", at=app.now))
    page = home(app)
    assert "Yes; but something waits for a person." in page
    assert "flowing-waits" in page


def test_a_delivery_that_has_just_been_queued_is_nothing_to_tell(app: WebApp) -> None:
    write(app, lambda s: delivery(s, "waiting", app.now - timedelta(minutes=5)))
    page = home(app)
    assert "All well." in page
    assert '<a href="/deliveries?state=waiting">1</a>' in page


def test_midnight_hides_no_error(app: WebApp) -> None:
    app.now = datetime.fromisoformat("2030-01-02T00:30:00+01:00")
    write(app, lambda s: message(s, "RIS^A", "failed", app.now - HOUR))
    assert "A message failed here lately." in home(app)
    app.now += 24 * HOUR
    assert "All well." in home(app)


def test_a_server_that_is_down_comes_first(sqlite_database: Database, tmp_path: Path) -> None:
    app = WebApp(sqlite_database, tmp_path)
    write(app, lambda s: store(s, "1.2.3", "1.2", at=app.now))
    key = "mwl"
    app.flask.extensions[key] = dataclasses.replace(
        app.flask.extensions[key], serving=lambda: {"dicom": False, "hl7": True}
    )
    page = home(app)
    first = page.index("The DICOM server is down: scanners can't reach us.".replace("'", "&#39;"))
    assert first < page.index("A study belongs to no order.")
    assert "dicom down, hl7 up" in page


def test_a_worklist_that_cant_be_brought_in_is_told(
    sqlite_database: Database, tmp_path: Path
) -> None:
    source = WorklistSource(name="ris", ae_title="RIS", host="127.0.0.1", port=104)
    app = WebApp(
        sqlite_database,
        tmp_path,
        Settings(data_dir=tmp_path, worklist=Worklist(source=(source,))),
    )
    often, then = timedelta(minutes=1), app.now - HOUR
    write(app, lambda s: sources.claim(s, "ris", then, then, at_once=True))
    write(app, lambda s: sources.succeeded(s, "ris", {}, app.now, often))
    write(app, lambda s: sources.failed(s, "ris", "it hangs", app.now, often))
    assert "All well." in home(app)
    write(app, lambda s: sources.succeeded(s, "ris", {}, then, often))
    write(app, lambda s: sources.failed(s, "ris", f"it says {HOSTILE}", app.now, often))
    page = home(app)
    assert "The worklist ris could not be brought in, last 60 min ago: it says &lt;script" in page
    assert HOSTILE not in page
    write(app, lambda s: sources.succeeded(s, "ris", {"losses": 30}, app.now, often))
    assert "30 entries are missing from its list and were kept" in home(app)
    write(app, lambda s: sources.succeeded(s, "ris", {"losses": 0}, app.now, often))
    assert "All well." in home(app)


def test_a_folder_that_can_t_be_kept_is_told(sqlite_database: Database, tmp_path: Path) -> None:
    export = WorklistExport(folder="lists")
    app = WebApp(
        sqlite_database,
        tmp_path,
        Settings(data_dir=tmp_path, worklist=Worklist(export=(export,))),
    )
    write(app, lambda s: exports.failed(s, "lists", f"no room {HOSTILE}", app.now - HOUR))
    write(app, lambda s: exports.failed(s, "others", "no room", app.now - HOUR))
    page = home(app)
    assert "The folder lists could not be kept for 1 h 0 min: no room &lt;script" in page
    assert "others" not in page
    write(app, lambda s: exports.well(s, "lists"))
    assert "All well." in home(app)
    write(app, lambda s: exports.failed(s, "lists", "no room", app.now))
    assert "All well." in home(app)


def test_a_full_disk_is_told(sqlite_database: Database, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, archive=Archive(min_free_bytes=2**62))
    app = WebApp(sqlite_database, tmp_path, settings)
    page = home(app)
    assert "Images are refused: the disk has" in page
    assert "Not all of it." in page


def test_room_is_known_of_a_folder_that_is_still_to_be_made(tmp_path: Path) -> None:
    left = room(Archive(objects="none/yet", min_free_bytes=1000), tmp_path)
    assert left is not None
    assert left == Room(left.free, left.free - 1000)
    assert left.free > 0
    assert room(Archive(objects="s3://bucket"), tmp_path) is None


def test_orders_of_the_sites_day_link_to_their_rows(
    sqlite_database: Database, tmp_path: Path
) -> None:
    settings = Settings(
        data_dir=tmp_path, site=Site(zone="Pacific/Auckland"), archive=Archive(min_free_bytes=0)
    )
    app = WebApp(sqlite_database, tmp_path, settings)  # it is 01:00 on the third there
    items = [
        item(1, step={"start_local": "20300103090000"}),
        item(2, step={"start_local": "20300102090000"}),
    ]
    write(app, lambda s: insert_items(s, items))
    page = home(app)
    link = '<a href="/worklist?day=2030-01-03&amp;state=SCHEDULED"><strong>1</strong> scheduled</a>'
    assert link in page


def test_feeds_and_scanners_are_listed_with_their_last_contact(app: WebApp) -> None:
    def device(session: Any) -> None:
        devices.add(session, DeviceTable(ae_title="CT1", modality="CT"), now=app.now)
        row = devices.listing(session)[0].id
        devices.seen(session, {row: "10.0.0.1"}, now=app.now - 3 * HOUR)
        knocks = {Visit("MR9", "MWL", "10.0.0.9", True): 1}
        devices.knocked(session, knocks, now=app.now)

    write(
        app,
        device,
        lambda s: message(s, "RIS^A&B", "applied", app.now - timedelta(minutes=7), 2),
        lambda s: message(s, "RIS^A&B", "rejected", app.now - 2 * HOUR),
    )
    page = home(app)
    assert '<a href="/messages?source=RIS%5EA%26B"><strong>RIS^A&amp;B</strong></a>' in page
    assert '<a href="/messages?source=RIS%5EA%26B&amp;state=rejected">1</a>' in page
    for said in ("7 min ago", "3 h ago", "10.0.0.1", "not registered", "just now"):
        assert said in page


def test_a_chart_says_the_same_in_words_and_numbers(app: WebApp) -> None:
    write(
        app,
        lambda s: message(s, "RIS", "applied", app.now, 3),
        lambda s: message(s, "RIS", "applied", app.now - 5 * HOUR, 12),
    )
    page = home(app)
    assert "15 in 24 hours; most, 12, from 08:00." in page  # 13:00 in Berlin, five hours ago
    assert page.count("<rect") == 2
    rows = re.findall(r'<th scope="row">(\d\d:\d\d)</th><td class="num">(\d+)</td>', page)
    assert len(rows) == 24
    assert (dict(rows)["13:00"], dict(rows)["08:00"], dict(rows)["09:00"]) == ("3", "12", "0")


def test_bars_are_as_high_as_their_counts() -> None:
    begins = datetime.fromisoformat("2030-01-02T00:00:00+00:00")
    hours = [Hour(begins + number * HOUR, number, 0, 1000 * (number == 5)) for number in range(24)]
    messages, examinations, images = charts(hours)
    assert [bar.height for bar in messages.bars][:2] == [0, 3]
    assert messages.bars[-1].height == 72
    assert (messages.total, messages.most.label) == (276, "23:00")
    assert {bar.height for bar in examinations.bars} == {0}
    assert (images.bars[5].height, images.bars[5].y + 72) == (72, images.base)
    assert [label for _, label in messages.ticks] == ["00:00", "06:00", "12:00", "18:00"]


def test_markup_from_outside_stays_text(app: WebApp) -> None:
    write(
        app,
        lambda s: message(s, HOSTILE, "applied", app.now),
        lambda s: devices.knocked(s, {Visit(HOSTILE, "MWL", HOSTILE, True): 1}, now=app.now),
    )
    page = home(app)
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page


@VIEWS
def test_home_is_read_anywhere(
    chromium: Browser,
    sqlite_database: Database,
    tmp_path: Path,
    width: int,
    dark: bool,
    script: bool,
) -> None:
    app = WebApp(sqlite_database, tmp_path)
    with live(app) as site:
        page = site.open(chromium, Role.VIEWER, "/", width=width, dark=dark, script=script)
        assert page.get_by_text("All well.").is_visible()
        site.look(page)
        if script:
            site.shoot(page, "home-well")
        _a_day(app)
        page.reload()
        assert page.get_by_text("Not all of it.").is_visible()
        site.look(page)
        if script:
            site.shoot(page, "home")
        page.get_by_text("The same as numbers").click()
        assert page.locator("table.numbers tbody tr").count() == 24
        assert page.locator("table.numbers").is_visible()
        site.look(page)


def _a_day(app: WebApp) -> None:
    now = app.now

    def fill(session: Any) -> None:
        for number in range(24):
            at = now - number * HOUR
            busy = 4 if 7 <= at.hour <= 16 else 1
            message(session, "RIS^HOSPITAL", "applied", at, 9 * busy + number % 5)
            for _ in range(busy - 1):
                report(session, [], "COMPLETED", at=at)
            for image in range(7 * busy - number % 6):
                store(session, f"1.9.{number}.{image}", f"1.8.{number % 2}", at=at)
        message(session, "ADT^HOSPITAL", "noted", now - timedelta(minutes=12), 40)
        message(session, "RIS^HOSPITAL", "rejected", now - 2 * HOUR, 2)
        delivery(session, "parked", now - HOUR)
        states = ["SCHEDULED"] * 12 + ["IN_PROGRESS"] * 3 + ["CLOSED"] * 25 + ["CANCELED"] * 2
        insert_items(
            session,
            [item(n, order={"status": state}) for n, state in enumerate(states, start=1)],
        )
        for title in ("CT1", "MR1", "US1"):
            devices.add(session, DeviceTable(ae_title=title, modality=title[:2]), now=now)
        rows = {each.ae_title: each.id for each in devices.listing(session)}
        devices.seen(session, {rows["CT1"]: "10.0.0.1"}, now=now - timedelta(minutes=2))
        devices.seen(session, {rows["MR1"]: "10.0.0.2"}, now=now - 5 * HOUR)
        devices.knocked(session, {Visit("DX4", "MWL", "10.0.0.9", False): 9}, now=now)

    app.database.write(fill)
