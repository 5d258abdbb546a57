"""The page and the API of associations: who sees and ends them, and what is said."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from mwl import associations, audit, devices
from mwl.accounts import Role
from mwl.associations import Publisher, Served, Wanted
from mwl.config import DeviceTable
from mwl.db import Database
from tests.browser import VIEWS, live
from tests.test_web_api import Program
from tests.web_app import WebApp

IMPLICIT, EXPLICIT, JPEG_2000 = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.4.90",
)
CT, MR, PRIVATE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.3.12.2.1107.5.9.1"
STORING = ((CT, EXPLICIT), (CT, JPEG_2000), (MR, IMPLICIT), (PRIVATE, EXPLICIT))


@pytest.fixture
def app(database: Database, tmp_path: Path) -> WebApp:
    return WebApp(database, tmp_path)


@pytest.fixture
def small(sqlite_database: Database, tmp_path: Path) -> WebApp:
    return WebApp(sqlite_database, tmp_path)


def a_morning(app: WebApp) -> list[Served]:
    """Say what is open: a scanner that rests, one that sends, one that has not asked yet."""
    now = app.now
    return [
        Served(
            1,
            "10.0.0.21",
            now - timedelta(hours=3, minutes=20),
            "CT1",
            "MWL",
            contexts=(("1.2.840.10008.5.1.4.31", IMPLICIT),),
            received_bytes=12_400,
            sent_bytes=1_300_000,
            messages=212,
        ),
        Served(
            2,
            "10.0.0.22",
            now - timedelta(minutes=4),
            "MR_SUITE_2",
            "MWL",
            tls=True,
            contexts=STORING,
            operation="C-STORE",
            received_bytes=734_003_200,
            sent_bytes=96_000,
            messages=1_400,
        ),
        Served(3, "192.168.77.99", now - timedelta(seconds=12)),
    ]


def told(app: WebApp, served: Sequence[Served], place: str = "bridge-1:11112/0") -> None:
    Publisher(app.database, place, lambda: served, lambda _: None, clock=lambda: app.now).look()


def row_of(app: WebApp, calling: str) -> int:
    with app.database.read() as session:
        return associations.page(session, Wanted(app.now, calling), limit=1)[0].id


def trail(app: WebApp) -> list[tuple[str, str]]:
    with app.database.read() as session:
        return [(each.who, each.action) for each in audit.listing(session, audit.Wanted(), limit=9)]


def test_who_has_something_open_is_listed_the_longest_first(app: WebApp) -> None:
    told(app, a_morning(app))
    page = app.signed_in().get("/associations").text
    for text in (
        *("3 open now", "CT1", "10.0.0.21", "3 h 20 min", "rests", "1.3 MB", "212"),
        *("TLS", "4 min", "C-STORE", "734 MB", "(has not asked yet)", "12 s"),
        *("Modality Worklist Information Model", "3 SOP classes", "CT Image Storage"),
        *("Explicit VR Little Endian, JPEG 2000 Image Compression (Lossless Only)", PRIVATE),
    ):
        assert text in page
    assert page.index("CT1") < page.index("MR_SUITE_2") < page.index("192.168.77.99")
    assert "Served by" not in page  # there is one process
    assert "/abort" not in page  # a viewer may not
    told(app, [Served(1, "10.0.0.30", app.now, "US1")], "bridge-2:11112/0")
    page = app.signed_in().get("/associations").text
    assert "bridge-1:11112/0" in page
    assert "bridge-2:11112/0" in page


def test_where_nothing_is_open_the_page_says_so(small: WebApp) -> None:
    person = small.signed_in()
    assert "No peer has an association open." in person.get("/associations").text
    assert "No open association answers to that." in person.get("/associations?device=CT1").text


def test_peers_are_looked_for_by_title_and_address(app: WebApp) -> None:
    told(app, a_morning(app))
    person = app.signed_in()

    def rows(query: str) -> str:
        text: str = person.get(f"/associations?{query}").text.partition("<tbody>")[2]
        return text

    assert "CT1" in rows("device=ct1")
    assert "MR_SUITE_2" not in rows("device=ct1")
    assert "CT1" not in rows("text=suite")
    assert "192.168.77.99" in rows("text=168.77")
    assert person.get("/associations?after=x").status_code == 400


def test_devices_lead_to_what_they_have_open(app: WebApp) -> None:
    app.database.write(lambda s: devices.add(s, DeviceTable(ae_title="CT1"), now=app.now))
    told(app, a_morning(app))
    person = app.signed_in()
    assert '<a class="text-nowrap" href="/associations?device=CT1">1 open</a>' in (
        person.get("/devices").text
    )
    with app.database.read() as session:
        found = devices.lookup(session, "CT1")
    assert found is not None
    assert "Its associations (1)" in person.get(f"/devices/{found.id}").text
    assert f'<a href="/devices/{found.id}"><strong>CT1' in person.get("/associations").text


def test_an_administrator_ends_one_and_the_trail_tells(app: WebApp) -> None:
    told(app, a_morning(app))
    row = row_of(app, "CT1")
    assert app.signed_in().post(f"/associations/{row}/abort").status_code == 403
    assert trail(app) == []
    admin = app.signed_in(Role.ADMIN)
    answer = admin.post(f"/associations/{row}/abort?device=CT1")
    assert (answer.status_code, answer.location) == (303, "/associations?device=CT1")
    page = admin.get("/associations").text
    assert "CT1 at 10.0.0.21 is aborted within seconds." in page
    assert ">ending</span>" in page
    assert trail(app) == [("admin", "abort")]
    assert "/associations" in admin.get("/audit").text


def test_one_that_has_ended_meanwhile_is_told(small: WebApp) -> None:
    told(small, a_morning(small))
    row = row_of(small, "CT1")
    told(small, [])
    answer = small.signed_in(Role.ADMIN).post(f"/associations/{row}/abort")
    assert answer.status_code == 409
    assert "It is not open any more" in answer.text
    assert trail(small) == []


def test_programs_list_read_and_end_associations(app: WebApp) -> None:
    told(app, a_morning(app))
    viewer = Program(app)
    found = viewer.get("/associations?limit=2")
    assert [each["calling"] for each in found["items"]] == ["CT1", "MR_SUITE_2"]
    (silent,) = viewer.get(f"/associations?after={found['after']}")["items"]
    assert (silent["address"], silent["contexts"]) == ("192.168.77.99", [])
    (one,) = viewer.get("/associations?calling=ct1")["items"]
    assert one["contexts"] == [
        {
            "abstract_syntax": "1.2.840.10008.5.1.4.31",
            "abstract_name": "Modality Worklist Information Model - FIND",
            "transfer_syntax": IMPLICIT,
            "transfer_name": "Implicit VR Little Endian",
        }
    ]
    assert (one["received_bytes"], one["place"], one["ending"]) == (
        12_400,
        "bridge-1:11112/0",
        False,
    )
    assert viewer.get(f"/associations/{one['id']}") == one
    viewer.send("POST", f"/associations/{one['id']}/abort", status=403)
    admin = Program(app, Role.ADMIN)
    assert admin.send("POST", f"/associations/{one['id']}/abort", status=202)["ending"]
    for path in ("/associations/4711", "/associations/4711/abort"):
        assert admin.send("POST" if "abort" in path else "GET", path, status=404) == {
            "error": "there is no such association"
        }
    assert viewer.get("/associations?after=x", 400)["error"].startswith("after: ")
    assert viewer.get("/associations?after=1~2~3", 400)["error"].startswith("after: ")


@VIEWS
def test_a_person_looks_at_what_is_open_and_ends_one(
    chromium: Browser, small: WebApp, width: int, dark: bool, script: bool
) -> None:
    small.database.write(lambda s: devices.add(s, DeviceTable(ae_title="CT1"), now=small.now))
    with live(small) as site:
        page = site.open(
            chromium, Role.ADMIN, "/associations", width=width, dark=dark, script=script
        )
        site.look(page)
        site.shoot(page, "associations-none")
        told(small, a_morning(small))
        page.reload()
        page.get_by_text("3 SOP classes").click()
        assert page.get_by_text("JPEG 2000 Image Compression").is_visible()
        site.look(page)
        site.shoot(page, "associations")
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Abort CT1").click()
        assert "is aborted within seconds" in page.get_by_role("status").inner_text()
        assert page.get_by_text("ending", exact=True).is_visible()
        site.look(page)
        page.select_option("#device", "MR_SUITE_2")
        if not script:
            page.get_by_role("button", name="Show").click()
        page.wait_for_url("**/associations?*device=MR_SUITE_2*")
        assert page.get_by_role("button", name="Abort").count() == 1
        assert site.troubles == []
