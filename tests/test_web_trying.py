"""What would this device see now? The page and the API, and how they look."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from mwl.accounts import Role
from mwl.db import Database
from tests.browser import VIEWS, live
from tests.test_web_api import Program
from tests.test_web_devices import SHOWN_TABLE, register, table, trail
from tests.web_app import WebApp
from tests.worklist_rows import insert_items, item

NAME = "Łukasiewicz^Żaneta"


@pytest.fixture
def app(sqlite_database: Database, tmp_path: Path) -> WebApp:
    return WebApp(sqlite_database, tmp_path)


def put(app: WebApp) -> list[int]:
    items = [
        item(1, "CT1"),
        item(2, "CT1", patient={"patient_name": NAME}),
        item(3, "CT2"),
        item(4, "CT1", step={"state": "HELD"}),
        item(5, "CT1", patient={"patient_name": "<b>Bold</b>^Eve"}),
        item(6, "CT1", step={"modality": "MR"}),
    ]
    return app.database.write(lambda session: insert_items(session, items))


def ask(app: WebApp, row: int, **keys: str) -> Any:
    return app.signed_in(Role.VIEWER).get(f"/devices/{row}/try", query_string=keys)


def test_a_page_shows_what_a_device_would_see(app: WebApp) -> None:
    steps = put(app)
    row = register(app, modality="CT", characters={"sets": ["ISO_IR 100"]})
    page = ask(app, row).text
    assert "3 entries</h2>" in page
    assert "<strong>Lukasiewicz, Zaneta</strong>" in page
    assert "PatientName is Łukasiewicz^Żaneta" in page
    assert "&lt;b&gt;Bold" in page
    assert 'value="2030-01-02"' in page
    # For another station, and held.
    for hidden in (steps[2], steps[3]):
        assert f"/worklist/{hidden}/why?device=CT1" in page
    assert f"/worklist/{steps[0]}/why" not in page
    assert f"/worklist/{steps[5]}/why" not in page  # nor asked for: it is MR
    ((_, action, subject, detail),) = trail(app)
    assert (action, subject, detail["page"]) == ("view", "device:CT1", "try")


def test_keys_may_be_given_or_any(app: WebApp) -> None:
    steps = put(app)
    row = register(app, modality="CT")
    assert "4 entries</h2>" in ask(app, row, modality="", day="2030-01-02").text
    assert "No entries</h2>" in ask(app, row, day="2030-01-03").text
    found = ask(app, row, patient_id="P3", station="").text
    assert "1 entry</h2>" in found
    assert f"/worklist/{steps[2]}/why" not in found


def test_it_is_told_how_a_query_fails_and_what_is_cut(app: WebApp) -> None:
    put(app)
    row = register(app, modality="CT", worklist={"max_answers": 2})
    page = ask(app, row).text
    assert "The query fails (A700)" in page
    assert "More than 2 match" in page
    assert ". The first 2 of 3 entries" in page
    cut = register(app, "CT9", modality="CT", worklist={"max_answers": 2, "beyond": "cut"})
    assert "2 of 3 entries</h2>" in ask(app, cut, station="CT1").text
    assert "The query fails (C001)" in ask(app, row, day="yesterday").text
    refused = register(app, "CT8", may=[])
    assert "It is not let ask:" in ask(app, refused).text
    wrong = ask(app, row, character_set="ISO_IR 7")
    assert wrong.status_code == 400
    assert "no such Specific Character Set" in wrong.text


def test_who_may_look_and_whom_there_is(app: WebApp) -> None:
    row = register(app)
    assert app.visitor().get(f"/devices/{row}/try").status_code == 302
    assert ask(app, row + 1).status_code == 404
    assert f'href="/devices/{row}/try"' in app.signed_in().get(f"/devices/{row}").text


def test_a_program_is_told_the_same(app: WebApp) -> None:
    steps = put(app)
    shown = {"max_answers": 2, "beyond": "cut"}
    row = register(app, modality="CT", characters={"sets": ["ISO_IR 100"]}, worklist=shown)
    path = f"/devices/{row}/worklist"
    program = Program(app)
    told = program.get(path)
    assert told["asked"] == {
        **dict.fromkeys(("patient_id", "patient_name", "accession_number", "character_set"), ""),
        "day": "20300102",
        "modality": "CT",
        "station": "CT1",
    }
    assert (told["status"], told["count"], told["matching"], told["cut"]) == ("0000", 2, 3, True)
    first, second = told["answers"]
    assert (first["entry"], first["attributes"]["PatientID"]) == (steps[0], "P1")
    assert second["character_set"] == "ISO_IR 100"
    assert second["attributes"]["PatientName"] == "Lukasiewicz^Zaneta"
    assert second["rewritten"] == {"PatientName": NAME}
    assert [each["sps_id"] for each in told["hidden"]] == ["SPS3", "SPS4", "SPS5"]
    (one,) = program.get(f"{path}?patient_id=P3&station=&day=")["answers"]
    assert one["attributes"]["ScheduledStationAETitle"] == "CT2"
    assert program.get(f"{path}?day=x")["status"] == "C001"
    assert program.get(f"{path}?character_set=x", 422)["error"].startswith("character_set: ")
    assert program.get(f"{path}?modalty=CT", 422)["error"].startswith("modalty: ")
    assert program.get(f"/devices/{row + 1}/worklist", 404)


@VIEWS
def test_the_page_looks_well(
    chromium: Browser, app: WebApp, width: int, dark: bool, script: bool
) -> None:
    put(app)
    register(app, modality="CT", characters={"sets": ["ISO_IR 100"]}, location="ROOM 1")
    with live(app) as site:
        page = site.open(chromium, Role.VIEWER, "/devices", width=width, dark=dark, script=script)
        page.get_by_role("link", name="CT1").click()
        page.get_by_role("link", name="What it would see now").click()
        page.get_by_role("heading", name="3 entries").wait_for()
        page.get_by_text("all of it").first.click()
        assert page.get_by_text("StudyInstanceUID").first.is_visible()
        site.look(page)
        site.shoot(page, "try")
        page.fill("#patient_id", "P3")
        page.get_by_role("button", name="Ask").click()
        page.get_by_role("heading", name="No entries").wait_for()
        page.get_by_role("link", name="Why? does CT1 not see SPS3").click()
        page.get_by_role("heading", name="CT1 is not shown this entry").wait_for()
        assert site.troubles == []


@VIEWS
def test_the_form_is_sent_as_it_is_shown(
    chromium: Browser, app: WebApp, width: int, dark: bool, script: bool
) -> None:
    row = register(app, "CT7", modality="CT", **SHOWN_TABLE)
    before = table(app, row)
    with live(app) as site:
        path = f"/devices/{row}"
        page = site.open(chromium, Role.ADMIN, path, width=width, dark=dark, script=script)
        site.look(page)
        site.shoot(page, "device-form")
        page.get_by_role("button", name="Save").click()
        assert page.get_by_role("status").inner_text() == "CT7 is changed."
        assert table(app, row) == before
        page.get_by_label("Only these modalities").fill("pt")
        page.get_by_label("The patient has left").uncheck()
        page.get_by_role("button", name="Save").click()
        page.get_by_text("only PT", exact=True).wait_for()
        assert trail(app)[1][3] == {"worklist.modalities": ["PT"], "worklist.hide": ["STARTED"]}
        page.get_by_label("Hours back").fill("-3")
        page.get_by_role("button", name="Save").click()
        page.get_by_text("greater than or equal to 0").wait_for()
        site.troubles.clear()  # it is answered 400
        site.look(page)


def test_groups_of_the_form_open_where_something_is_set(app: WebApp) -> None:
    row, admin = register(app, "CT7", modality="CT"), app.signed_in(Role.ADMIN)
    opened = '<details class="group" open>'
    assert admin.get(f"/devices/{row}").text.count(opened) == 0
    set_ = {"ae_title": "CT7", "worklist.hours_back": "12", "characters.beyond": "transliterate"}
    assert admin.post(f"/devices/{row}", data=set_).status_code == 303
    assert admin.get(f"/devices/{row}").text.count(opened) == 1
    assert table(app, row)["worklist"] == {"hours_back": 12}
