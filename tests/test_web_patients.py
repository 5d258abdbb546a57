"""The pages, the API and the commands of patients: who is on file, merges taken back, conflicts."""

import json

import pytest
from sqlalchemy import select

from mwl.accounts import Role
from mwl.db.tables import AuditEvent, Patient
from tests.builders import adt, adt_a08, adt_a40, orm
from tests.feeding import Feed
from tests.web_app import WebApp

EVENTS = AuditEvent.__table__
STRANGER = {"PID_5": "Zoe^Ada", "PID_7": "19330303"}


@pytest.fixture
def app(sqlite_database, tmp_path):
    app = WebApp(sqlite_database, tmp_path)
    feed = Feed(sqlite_database, now=app.now)
    feed.send(orm(PID_3="PID2^^^ADT1^MR"))
    feed.send(adt_a08())
    feed.send(adt_a40())
    app.feed = feed
    return app


def audited(app, action):
    return [row for row in app.feed.rows(EVENTS) if row.action == action]


def row_of(app, number):
    table = Patient.__table__
    with app.database.read() as session:
        return session.connection().scalar(select(table.c.id).where(table.c.patient_id == number))


def api_conflicts(person):
    return person.get("/api/v1/patients/conflicts").json["items"]


def test_patients_are_found_by_number_and_name(app):
    person = app.signed_in()
    assert "PID2" in person.get("/patients").text
    assert "PID2" in person.get("/patients?text=doe,jane").text
    found = person.get("/patients?text=PID1").text
    assert "PID1" in found
    assert "PID2" not in found
    assert "None." in person.get("/patients?text=nobody").text
    assert person.get("/patients?after=x").status_code == 400


def test_a_patients_page_tells_merges_links_and_mpps(app):
    both = {"without": ["PV1"], "after": ["PID|||PID7^^^ADT1||Doe^Jo"]}
    app.feed.send(adt("A24", **both))
    page = app.signed_in().get(f"/patients/{row_of(app, 'PID1')}").text
    assert "May be the same person as" in page
    assert "PID7" in page
    assert "Merged into this one" in page
    assert "in force" in page
    assert "orders 1" in page
    alias = app.signed_in().get(f"/patients/{row_of(app, 'PID2')}").text
    assert "was merged into" in alias


def test_an_admin_takes_a_merge_back_once(app):
    admin = app.signed_in(Role.ADMIN)
    assert "Undo" in admin.get("/patients/merges").text
    done = admin.post("/patients/merges/1/undo", follow_redirects=True)
    assert "Undone. Given back: orders 1, studies 0." in done.text
    assert "ACC1" in done.text
    again = admin.post("/patients/merges/1/undo")
    assert (again.status_code, "in force no longer: admin ended it" in again.text) == (409, True)
    assert admin.post("/patients/merges/9/undo").status_code == 404
    (event,) = audited(app, "unmerge")
    assert (event.who, event.subject) == ("admin", f"patient:{row_of(app, 'PID2')}")
    assert (event.detail["merge"], event.detail["orders"]) == (1, 1)
    (made,) = audited(app, "merge")
    assert (made.who, made.role) == ("RIS^HOSPITAL", "hl7")


def test_others_may_not_take_a_merge_back(app):
    person = app.signed_in(Role.TECHNOLOGIST)
    assert "Undo" not in person.get("/patients/merges").text
    assert person.post("/patients/merges/1/undo").status_code == 403


def test_a_conflict_is_listed_until_a_person_says_who_it_is(app):
    admin = app.signed_in(Role.ADMIN)
    assert "None." in admin.get("/patients/conflicts").text
    told = "A message that came lately names somebody else than is on file."
    assert told not in admin.get("/").text
    message = app.feed.send(adt_a08(**STRANGER))
    assert told in admin.get("/").text
    (conflict,) = api_conflicts(admin)
    assert (conflict["id"], conflict["patient_id"]) == (message, "PID1")
    assert "another name and birth date" in conflict["error"]
    assert f"/messages/{message}" in admin.get("/patients/conflicts").text
    assert "It is the patient on file" in admin.get(f"/messages/{message}").text
    refused = admin.post(f"/messages/{message}/replay", follow_redirects=True)
    assert "Replayed: rejected" in refused.text
    done = admin.post(f"/messages/{message}/replay", data={"patient": "1"}, follow_redirects=True)
    assert "Replayed: applied" in done.text
    assert "as a person confirmed" in done.text
    assert "Zoe" in admin.get(f"/patients/{row_of(app, 'PID1')}").text
    assert "None." in admin.get("/patients/conflicts").text
    assert told not in admin.get("/").text
    assert api_conflicts(admin) == []
    assert audited(app, "replay")[-1].detail["although another patient's"] is True


def test_programs_find_patients_and_take_merges_back(app):
    visitor = app.visitor()
    viewer, admin = app.bearer(), app.bearer(Role.ADMIN)
    found = visitor.get("/api/v1/patients?text=PID2", headers=viewer).json["items"]
    assert [(each["patient_id"], each["merged_into"]) for each in found] == [
        ("PID2", row_of(app, "PID1"))
    ]
    (merge,) = visitor.get("/api/v1/patients/merges", headers=viewer).json["items"]
    assert (merge["loser_id"], merge["survivor_id"], merge["orders"]) == ("PID2", "PID1", 1)
    path = "/api/v1/patients/merges/1/undo"
    assert visitor.post(path, headers=viewer).status_code == 403
    assert visitor.post(path, headers=admin).json["orders"] == 1
    assert visitor.post(path, headers=admin).status_code == 409
    assert visitor.post("/api/v1/patients/merges/9/undo", headers=admin).status_code == 404
    assert visitor.get("/api/v1/patients?after=x", headers=viewer).status_code == 400
    assert json.dumps(visitor.get("/api/v1/patients/merges", headers=viewer).json["items"][0])
