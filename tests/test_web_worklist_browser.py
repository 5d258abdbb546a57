"""The worklist as a person sees and uses it, with and without script, wide and narrow."""

from datetime import UTC, datetime, timedelta

import pytest

from mwl.accounts import Role
from mwl.db.tables import Device, ScheduledStep
from mwl.sightings import keep
from tests.browser import VIEWS, live
from tests.closing_rows import report
from tests.test_web_mpps import commit
from tests.test_web_worklist import all_of, put, states
from tests.web_app import WebApp
from tests.worklist_rows import NOW, item

NAMES = [
    "Doe^Jane",
    "Müller^Änne",
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "Иванов^Пётр",
    "Doe^Number^Q^Dr",
    "Nguyễn^Văn An",
    "O'Neil^Shaun",
    "Vonundzuhohenlinden-Schwarzenbergstein^Maximilian Alexander",
]
EXAMS = [
    "CT of the head",
    "MR of the knee",
    "Chest, two views",
    "Abdomen with contrast, late phase",
]
MODALITIES = ["CT", "MR", "DX", "CT"]
STATES = (
    *("SCHEDULED", "SCHEDULED", "ARRIVED", "STARTED"),
    *("COMPLETED", "CANCELED", "SCHEDULED", "HELD"),
)


@pytest.fixture
def app(sqlite_database, tmp_path):
    made = WebApp(sqlite_database, tmp_path)
    for title, modality in (("CT1", "CT"), ("MR1", "MR"), ("DX1", "DX")):
        row = Device(
            ae_title=title, modality=modality, may=["worklist"], created_at=NOW, updated_at=NOW
        )
        made.database.write(lambda session, row=row: session.add(row))
    put(made, *(entry(number) for number in range(8)))
    return made


def entry(number):
    modality = MODALITIES[number % 4]
    state = STATES[number]
    start = datetime(2030, 1, 2, 7, 30, tzinfo=UTC) + timedelta(minutes=45 * number)
    return item(
        number + 1,
        f"{modality}1",
        patient={
            "patient_name": NAMES[number],
            "patient_id": f"47{number:02}",
            "birth_date": f"19{50 + number}0229",
            "sex": "FM"[number % 2],
        },
        order={
            "status": "COMPLETED" if state == "COMPLETED" else "SCHEDULED",
            "flags": ["images that the MPPS lists have not come: 3"] if number == 4 else [],
            "source": "manual" if number == 6 else "RIS^HOSPITAL",
        },
        step={
            "modality": modality,
            "state": state,
            "start_at": start,
            "start_local": f"{start + timedelta(hours=1):%Y%m%d%H%M%S}",
            "description": EXAMS[number % 4],
        },
    )


@VIEWS
def test_a_patient_is_found_arrives_and_is_cancelled(chromium, app, width, dark, script):
    with live(app) as site:
        page = site.open(
            chromium, Role.TECHNOLOGIST, "/worklist", width=width, dark=dark, script=script
        )
        assert page.locator("h1").inner_text() == "Worklist"
        assert page.locator("tbody tr").count() == 8
        site.look(page)
        site.shoot(page, "worklist")
        page.fill("#text", "doe, ja")
        page.press("#text", "Enter")
        page.wait_for_url("**text=doe*")
        assert page.locator("tbody tr").count() == 1
        page.get_by_role("button", name="Arrived").click()
        page.wait_for_selector("[role=status]")
        assert "ARRIVED" in page.locator("tbody tr").inner_text()
        assert states(app)[0] == "ARRIVED"
        site.look(page)
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Cancel").click()
        page.wait_for_selector("text=no longer show it")
        assert states(app)[0] == "CANCELED"


def test_cancelling_asks_first(chromium, app):
    with live(app) as site:
        page = site.open(chromium, Role.TECHNOLOGIST, "/worklist?text=doe,+ja")
        asked = []
        page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
        page.get_by_role("button", name="Cancel").click()
        assert asked == ["Cancel this entry? Scanners will no longer show it."]
        assert states(app)[0] == "SCHEDULED"


def test_a_filter_that_is_chosen_is_applied(chromium, app):
    with live(app) as site:
        page = site.open(chromium, Role.VIEWER, "/worklist")
        page.select_option("#modality", "MR")
        page.wait_for_url("**modality=MR*")
        assert page.locator("tbody tr").count() == 2
        page.select_option("#state", "CANCELED")
        page.wait_for_url("**state=CANCELED*")
        assert page.locator("tbody tr").count() == 1
        page.get_by_role("link", name="The day after").click()
        page.wait_for_url("**day=2030-01-03*")
        assert "Nothing here under these filters" in page.locator("main").inner_text()
        site.look(page)
        page.get_by_role("link", name="All days").click()
        page.wait_for_url("**day=any*")
        assert page.locator("tbody tr").count() == 1
        page.select_option("#modality", "")
        page.wait_for_url("**modality=&**")
        assert page.locator("tbody tr").count() == 1  # all days still
        site.look(page)


def test_the_list_refreshes_itself_while_nobody_is_busy_with_it(chromium, app):
    with live(app) as site:
        page = site.open(chromium, Role.VIEWER, "/worklist?state=STARTED")
        page.clock.install()
        page.reload()
        assert page.locator("tbody tr").count() == 1
        put(app, item(99, step={"state": "STARTED"}))
        page.clock.fast_forward(11_000)
        page.wait_for_selector("text=SPS99", state="attached", timeout=15_000)
        assert page.locator("tbody tr").count() == 2
        site.look(page)


@VIEWS
def test_an_entry_is_made_and_changed(chromium, app, width, dark, script):
    with live(app) as site:
        page = site.open(
            chromium, Role.TECHNOLOGIST, "/worklist/new", width=width, dark=dark, script=script
        )
        page.fill("#patient_id", "4799")
        page.fill("#patient_name", "Doe, John")
        page.fill("#birth_date", "1980-01-01")
        page.fill("#modality", "c t")
        page.fill("#description", "CT of the chest")
        page.get_by_label("CT1").check()
        page.get_by_role("button", name="Save").click()
        page.wait_for_selector(".invalid-feedback")
        assert "is a code of A-Z" in page.locator(".invalid-feedback").inner_text()
        assert page.input_value("#patient_name") == "Doe, John"
        assert page.get_by_label("CT1").is_checked()
        assert all("400" in each for each in site.troubles)  # the browser's word for "refused"
        site.troubles.clear()
        site.look(page)
        site.shoot(page, "entry")
        page.fill("#modality", "ct")
        page.get_by_role("button", name="Save").click()
        page.wait_for_url("**/worklist?day=2030-01-02")
        row = page.locator("tbody tr", has_text="Doe, John")
        assert "by hand" in row.inner_text()
        row.get_by_role("link", name="Edit").click()
        page.wait_for_url("**/edit")
        site.look(page)
        assert page.input_value("#patient_name") == "Doe^John"
        page.fill("#start", "2030-01-02T18:15")
        page.get_by_role("button", name="Save").click()
        page.wait_for_url("**/worklist?day=2030-01-02")
        assert all_of(app, ScheduledStep)[-1].start_local == "20300102181500"
        site.look(page)


def test_why_a_scanner_does_not_see_an_entry_can_be_asked(chromium, app):
    shown = {
        "step": 6,
        "ae_title": "MR1",
        "address": "10.0.0.7",
        "count": 12,
        "first_at": NOW,
        "last_at": NOW,
        "shown": {"PatientName": "Nguyen^Van An", "PatientID": "4705"},
    }
    app.database.write(lambda session: keep(session, [shown]))
    with live(app) as site:
        page = site.open(chromium, Role.TECHNOLOGIST, "/worklist?state=CANCELED")
        page.get_by_role("link", name="Why?").click()
        page.wait_for_url("**/why")
        assert "MR1 is not shown this entry" in page.locator("main").inner_text()
        page.fill("#device", "CT1")
        page.get_by_role("button", name="Ask").click()
        page.wait_for_url("**device=CT1")
        assert page.locator(".answer li").count() == 3  # its state, modality, station
        site.look(page)
        site.shoot(page, "why")
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Reopen").click()
        page.wait_for_selector("[role=status]")
        page.goto("/worklist/6/why?device=MR1")
        assert "MR1 is shown this entry" in page.locator("main").inner_text()
        site.look(page)


@VIEWS
def test_a_stuck_step_is_ended(chromium, app, width, dark, script):
    long_ago = app.now - timedelta(hours=app.settings.mpps.stuck_h, minutes=1)

    def fill(session):
        told = {"patient_id": "4703", "patient_name": "Doe^Jane", "modality": "CT"}
        report(session, ["SPS4"], "IN PROGRESS", at=long_ago, **told)
        report(session, [], "COMPLETED", at=NOW, unscheduled=True, flags=["no such order"], **told)

    app.database.write(fill)
    with live(app) as site:
        page = site.open(
            chromium, Role.TECHNOLOGIST, "/mpps", width=width, dark=dark, script=script
        )
        assert page.locator("tbody tr").count() == 2
        page.locator("summary", has_text="End").click()
        site.look(page)
        site.shoot(page, "mpps")
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="The work was done").click()
        page.wait_for_selector("[role=status]")
        assert states(app)[3] == "COMPLETED"
        site.look(page)


def test_commitments_are_listed(chromium, app):
    commit(app, failures=(0, 0, 0x112))
    commit(app, "MR1", "waiting", failures=(None,))
    with live(app) as site:
        page = site.open(chromium, Role.TECHNOLOGIST, "/commitments")
        assert page.locator("tbody tr").count() == 2
        site.look(page)
        site.shoot(page, "commitments")
