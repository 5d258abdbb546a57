"""The worklist's pages: what they list, what people do there, what they record."""

import re
from datetime import timedelta

import pytest
from sqlmodel import select

from mwl.accounts import Role
from mwl.db.tables import (
    AuditEvent,
    Device,
    ImagingOrder,
    Patient,
    RequestedProcedure,
    ScheduledStep,
)
from mwl.sightings import keep
from tests.web_app import WebApp
from tests.worklist_rows import NOW, insert_items, item

HOSTILE = "<script>alert(1)</script><b>&quot;"
FORM = {
    "patient_id": "4712",
    "patient_name": "Doe, Jane",
    "birth_date": "1980-01-01",
    "sex": "F",
    "modality": "ct",
    "accession_number": "ACC-9",
    "description": "Head",
    "start": "2030-01-02T14:30",
}


@pytest.fixture
def app(sqlite_database, tmp_path):
    return WebApp(sqlite_database, tmp_path)


def put(app, *items):
    return app.database.write(lambda session: insert_items(session, items))


def register(app, title, modality="CT"):
    row = Device(
        ae_title=title, modality=modality, may=["worklist"], created_at=NOW, updated_at=NOW
    )
    app.database.write(lambda session: session.add(row))


def all_of(app, table):
    with app.database.read() as session:
        found = list(session.exec(select(table).order_by(table.id)))
        session.expunge_all()
        return found


def states(app):
    return [step.state for step in all_of(app, ScheduledStep)]


def audited(app):
    return [(e.who, e.action, e.subject, e.detail) for e in all_of(app, AuditEvent)]


def test_today_is_listed_by_the_sites_clock(app):
    put(
        app,
        item(1, patient={"patient_name": "Doe^Jane"}),
        item(2, patient={"patient_name": "Roe^Tom"}, step={"start_local": "20300103000500"}),
    )
    page = app.signed_in().get("/worklist").text
    assert "Doe, Jane" in page
    assert "Roe, Tom" not in page
    app.now = NOW.replace(hour=23, minute=30)  # past midnight in Berlin
    page = app.signed_in().get("/worklist").text
    assert "Roe, Tom" in page
    assert "Doe, Jane" not in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("day=2030-01-03", {2}),
        ("day=any", {1, 2, 3, 4}),
        ("day=&day=any", {1, 2, 3, 4}),
        ("text=ACC2", {2}),
        ("text=doe,+num", {1, 2, 4}),
        ("text=doe,+num&day=2030-01-03", {2}),
        ("flagged=1", {4}),
        ("modality=MR", {3}),
        ("state=CANCELED", {3}),
        ("state=completed", set()),
        ("device=CT1", {1}),
        ("sort=changed", {1, 3, 4}),
    ],
)
def test_the_filters_stand_in_the_url(app, query, found):
    register(app, "CT1")
    put(
        app,
        item(1, "CT1"),
        item(2, step={"start_local": "20300103080000"}),
        item(3, patient={"patient_name": "Roe"}, step={"modality": "MR", "state": "CANCELED"}),
        item(4, "CT2", order={"flags": ["an odd thing"]}),
    )
    page = app.signed_in().get(f"/worklist?{query}").text
    assert {int(n) for n in re.findall(r">P(\d)[ <·]", page)} == found


@pytest.mark.parametrize(
    "query",
    ["day=yesterday", "state=ASLEEP", "after=x", "after=1~x", "day=2030-13-01", "after=~"],
)
def test_a_filter_that_means_nothing_is_refused_in_words(app, query):
    answer = app.signed_in().get(f"/worklist?{query}")
    assert answer.status_code in (400, 409)
    assert "Traceback" not in answer.text


def test_pages_follow_one_another(app):
    put(
        app,
        *(item(n, step={"start_local": f"20300102{n // 60:02}{n % 60:02}00"}) for n in range(120)),
    )
    person = app.signed_in()
    path, numbers = "/worklist", []
    while path:
        page = person.get(path).text
        numbers += [int(n) for n in re.findall(r">P(\d+)[ <·]", page)]
        further = re.search(r'rel="next" href="(\?after[^"]+)"', page)
        path = "/worklist" + further[1].replace("&amp;", "&") if further else ""
    assert numbers == list(range(120))


def test_what_comes_from_outside_stays_text(app):
    (step,) = put(
        app,
        item(
            1,
            "<i>CT1</i>",
            patient={"patient_name": HOSTILE, "patient_id": HOSTILE, "birth_date": HOSTILE},
            order={"flags": [HOSTILE]},
            procedure={"accession_number": HOSTILE},
            step={"description": HOSTILE, "modality": "<b>"},
        ),
    )
    rows = [
        {
            "step": step,
            "ae_title": "<u>",
            "address": "<s>",
            "count": 1,
            "first_at": NOW,
            "last_at": NOW,
            "shown": {"PatientName": HOSTILE + "old"},
        }
    ]
    app.database.write(lambda session: keep(session, rows))
    person = app.signed_in(Role.TECHNOLOGIST)
    for path in (
        "/worklist",
        f"/worklist?day=any&text={HOSTILE}",
        f"/worklist?modality={HOSTILE}&device={HOSTILE}",
        f"/worklist/{step}/edit",
        f"/worklist/{step}/why",
        f"/worklist/{step}/why?device=<b>1</b>",
    ):
        page = person.get(path).text
        assert "<script>alert" not in page, path
        assert "<b>" not in page, path
        assert "&lt;" in page, path


def test_a_patient_arrives(app):
    (step,) = put(app, item(1))
    person = app.signed_in(Role.TECHNOLOGIST)
    answer = person.post(f"/worklist/{step}/arrive?next=/worklist?day=2030-01-02")
    assert (answer.status_code, answer.location) == (302, "/worklist?day=2030-01-02")
    assert states(app) == ["ARRIVED"]
    assert audited(app)[-1] == (
        "technologist",
        "arrive",
        "order:1",
        {"step": "SPS1", "was": "SCHEDULED"},
    )


@pytest.mark.parametrize(
    ("act", "before", "after", "recorded"),
    [
        ("cancel", "SCHEDULED", "CANCELED", "cancel"),
        ("reopen", "CANCELED", "SCHEDULED", "reopen"),
        ("arrive", "SCHEDULED", "ARRIVED", "arrive"),
        ("ready", "ARRIVED", "READY", "ready"),
        ("depart", "STARTED", "DEPARTED", "depart"),
    ],
)
def test_an_act_is_done_and_recorded_in_one_transaction(app, act, before, after, recorded):
    (step,) = put(app, item(1, step={"state": before}))
    person = app.signed_in(Role.TECHNOLOGIST)
    assert f"/worklist/{step}/{act}?" in person.get("/worklist?day=2030-01-02").text
    assert person.post(f"/worklist/{step}/{act}").status_code == 302
    assert states(app) == [after]
    assert audited(app)[-1][1] == recorded
    again = person.post(f"/worklist/{step}/{act}")
    assert again.status_code == 409
    assert [each[1] for each in audited(app)] == ["view", recorded]


def test_a_completed_order_is_closed_by_hand(app):
    (step,) = put(app, item(1, order={"status": "COMPLETED"}, step={"state": "COMPLETED"}))
    person = app.signed_in(Role.TECHNOLOGIST)
    assert person.post(f"/worklist/{step}/close").status_code == 302
    assert all_of(app, ImagingOrder)[0].status == "CLOSED"
    assert audited(app)[-1][1:3] == ("close", "order:1")


@pytest.mark.parametrize("act", ["arrive", "ready", "depart", "cancel", "reopen", "close", "edit"])
def test_a_viewer_changes_nothing(app, act):
    (step,) = put(app, item(1))
    viewer = app.signed_in(Role.VIEWER)
    assert viewer.post(f"/worklist/{step}/{act}", data=FORM).status_code == 403
    assert viewer.post("/worklist/new", data=FORM).status_code == 403
    assert "Cancel" not in viewer.get("/worklist").text
    assert states(app) == ["SCHEDULED"]


@pytest.mark.parametrize("act", ["arrive", "ready", "depart", "cancel", "reopen", "close"])
def test_what_is_not_there_is_not_found(app, act):
    person = app.signed_in(Role.TECHNOLOGIST)
    assert person.post(f"/worklist/4711/{act}").status_code == 404
    assert person.get("/worklist/4711/edit").status_code == 404
    assert person.get("/worklist/4711/why").status_code == 404


def test_no_act_leads_elsewhere(app):
    (step,) = put(app, item(1))
    person = app.signed_in(Role.TECHNOLOGIST)
    answer = person.post(f"/worklist/{step}/arrive?next=https://evil.example/")
    assert answer.location == "/"


def test_an_entry_is_made_by_hand(app):
    register(app, "CT1")
    person = app.signed_in(Role.TECHNOLOGIST)
    answer = person.post("/worklist/new", data=FORM)
    assert (answer.status_code, answer.location) == (302, "/worklist?day=2030-01-02")
    (step,), (patient,) = all_of(app, ScheduledStep), all_of(app, Patient)
    assert (patient.patient_name, patient.birth_date) == ("Doe^Jane", "19800101")
    assert (step.modality, step.start_local) == ("CT", "20300102143000")
    assert step.station_ae_titles == "CT1"
    who, action, subject, detail = audited(app)[-1]
    assert (who, action, subject) == ("technologist", "create", "order:1")
    assert detail["step"] == step.sps_id
    assert "Doe, Jane" in person.get(answer.location).text


def test_a_wrong_form_is_shown_again_with_each_fault_beside_its_field(app):
    person = app.signed_in(Role.TECHNOLOGIST)
    wrong = {**FORM, "patient_id": "", "modality": "no code", "sex": "X", "start": "tomorrow"}
    answer = person.post("/worklist/new", data=wrong)
    assert answer.status_code == 400
    assert "write it like" in answer.text
    assert 'value="Doe, Jane"' in answer.text
    answer = person.post("/worklist/new", data={**wrong, "start": ""})
    assert answer.status_code == 400
    for name in ("modality", "sex"):
        assert re.search(rf'is-invalid" id="{name}"', answer.text), name
    answer = person.post("/worklist/new", data={**FORM, "patient_id": "", "modality": ""})
    for name in ("patient_id", "modality"):
        assert re.search(rf'is-invalid" id="{name}"', answer.text), name
    assert all_of(app, ScheduledStep) == []


def test_a_known_number_of_somebody_else_is_refused_beside_the_number(app):
    person = app.signed_in(Role.TECHNOLOGIST)
    person.post("/worklist/new", data=FORM)
    other = {**FORM, "patient_name": "Roe, Tom", "birth_date": "1955-05-05"}
    answer = person.post("/worklist/new", data=other)
    assert answer.status_code == 400
    assert 'is-invalid" id="patient_id"' in answer.text
    assert len(all_of(app, ScheduledStep)) == 1


def test_an_entry_is_changed_and_what_was_not_touched_stays(app):
    register(app, "CT1")
    register(app, "CT2")
    (step,) = put(
        app,
        item(
            1, "CT1", patient={"patient_name": "Yamada^Tarou=山田^太郎", "birth_date": "19800229"}
        ),
    )
    person = app.signed_in(Role.TECHNOLOGIST)
    page = person.get(f"/worklist/{step}/edit").text
    form = {
        name: re.search(rf'id="{name}"[^>]*value="([^"]*)"', page)[1]
        for name in ("patient_name", "birth_date", "modality", "accession_number", "start")
    }
    form |= {"sex": "F", "description": "Knee", "stations": ["CT2"]}
    assert form["patient_name"] == "Yamada^Tarou=山田^太郎"
    answer = person.post(f"/worklist/{step}/edit", data=form)
    assert answer.status_code == 302
    (row,), (patient,) = all_of(app, ScheduledStep), all_of(app, Patient)
    assert patient.patient_name == "Yamada^Tarou=山田^太郎"
    assert (row.description, row.station_ae_titles) == ("Knee", "CT2")
    _, action, subject, detail = audited(app)[-1]
    assert (action, subject) == ("change", "order:1")
    assert detail["description"] == "Knee"
    assert detail["was"]["description"] == "Head without contrast"
    assert "patient_name" not in detail


def test_saving_without_a_change_changes_nothing(app):
    (step,) = put(app, item(1, "CT1"))
    person = app.signed_in(Role.TECHNOLOGIST)
    person.get(f"/worklist/{step}/edit")
    answer = person.post(f"/worklist/{step}/edit", data={"stations": ["CT1"]})
    assert answer.status_code == 302
    assert [event[1] for event in audited(app)] == ["view"]


def test_what_has_begun_is_not_changed(app):
    (step,) = put(app, item(1, step={"state": "STARTED"}))
    person = app.signed_in(Role.TECHNOLOGIST)
    assert "can't be changed" in person.get(f"/worklist/{step}/edit").text.replace("&#39;", "'")
    answer = person.post(f"/worklist/{step}/edit", data={**FORM, "description": "Knee"})
    assert answer.status_code == 400
    assert "STARTED" in answer.text
    assert all_of(app, RequestedProcedure)[0].description == "CT head"


def test_why_a_scanner_does_not_see_an_entry_is_told_with_what_helps(app):
    register(app, "CT1")
    register(app, "MR1", "MR")
    (step,) = put(app, item(1, "CT1", step={"state": "CANCELED"}))
    person = app.signed_in(Role.TECHNOLOGIST)
    page = person.get(f"/worklist/{step}/why").text
    assert "CT1 is not shown this entry" in page
    assert "It is CANCELED" in page
    person.post(f"/worklist/{step}/reopen")
    page = person.get(f"/worklist/{step}/why?device=ct1").text
    assert "CT1 is shown this entry" in page
    page = person.get(f"/worklist/{step}/why?device=MR1").text
    assert "Its modality is CT, and MR1 asks for MR" in page
    assert "It is for CT1" in page
    assert person.get(f"/worklist/{step}/why?device={'X' * 17}").status_code == 400


def test_an_old_copy_on_a_scanner_is_pointed_out(app):
    (step,) = put(app, item(1, "CT1", patient={"patient_name": "Roe^Jane"}))
    row = {
        "step": step,
        "ae_title": "CT1",
        "address": "10.0.0.7",
        "count": 3,
        "first_at": NOW,
        "last_at": NOW,
        "shown": {"PatientName": "Doe^Jane", "ScheduledProcedureStepStartDateTime": "20300102"},
    }
    app.database.write(lambda session: keep(session, [row]))
    page = app.signed_in().get(f"/worklist/{step}/why").text
    assert "old copy" in page
    assert "name: <s>Doe^Jane</s> is now Roe^Jane" in page
    assert "start: <s>2030-01-02</s> is now 2030-01-02 09:30" in page


def test_a_list_that_refreshes_itself_is_one_view_an_hour(app):
    put(app, item(1))
    person = app.signed_in()
    person.get("/worklist")
    refresh = {"X-Refresh": "1"}
    for _ in range(3):
        person.get("/worklist", headers=refresh)
    assert len(audited(app)) == 1
    person.get("/worklist?text=doe", headers=refresh)  # asked for by hand: another list
    assert len(audited(app)) == 2
    for _ in range(3):
        app.now += timedelta(minutes=25)
        person.get("/account/password")  # a click, or the session would end
        person.get("/worklist?text=doe", headers=refresh)
    assert len(audited(app)) == 3
    assert app.signed_in(Role.ADMIN).get("/worklist", headers=refresh).status_code == 200
    assert len(audited(app)) == 4  # nobody else's view hides one's own


def test_an_administrator_downloads_what_the_filters_keep(app):
    put(app, item(1), item(2, step={"modality": "MR"}))
    admin = app.signed_in(Role.ADMIN)
    link = re.search(
        r'href="(/worklist/export\.csv[^"]*)"', admin.get("/worklist?day=any&modality=MR").text
    )
    answer = admin.get(link[1].replace("&amp;", "&"))
    assert answer.mimetype == "text/csv"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="worklist.csv"'
    lines = answer.text.splitlines()
    assert lines[0].startswith("\ufeffaccession_number,patient_id,")
    assert [line.split(",")[0] for line in lines[1:]] == ["ACC2"]
    (event,) = [each for each in all_of(app, AuditEvent) if each.detail.get("export") == "csv"]
    assert event.detail["modality"] == "MR"
    wrong = "?day=soon"
    refused = admin.get(f"/worklist/export.csv{wrong}").status_code
    assert refused == admin.get(f"/worklist{wrong}").status_code >= 400
    viewer = app.signed_in(Role.TECHNOLOGIST)
    assert viewer.get("/worklist/export.csv").status_code == 403
    assert "export.csv" not in viewer.get("/worklist").text
