"""Performed steps and commitments: what they list, and what a person ends, links, reports."""

import re
from datetime import timedelta

import pytest
from sqlmodel import select

from mwl.accounts import Role
from mwl.db.tables import (
    AuditEvent,
    Commitment,
    CommitmentItem,
    Delivery,
    Device,
    PerformedStep,
    ScheduledStep,
)
from tests.closing_rows import report
from tests.web_app import WebApp
from tests.worklist_rows import NOW, insert_items, item

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def app(database, tmp_path):
    return WebApp(database, tmp_path)


def put(app, *items):
    return app.database.write(lambda session: insert_items(session, items))


def performed(app, steps=(), state="IN PROGRESS", **stated):
    return app.database.write(lambda s: report(s, steps, state, **{"at": app.now, **stated}))


def all_of(app, table):
    with app.database.read() as session:
        found = list(session.exec(select(table).order_by(table.id)))
        session.expunge_all()
        return found


def patients(page):
    return re.findall(r'text-body-secondary">(P\d+)<', page)


def test_performed_steps_come_the_latest_first_each_with_its_order(app):
    put(app, item(1))
    performed(app, ["SPS1"], "COMPLETED", patient_id="P1", patient_name="Doe^Jane")
    performed(app, patient_id="P2", unscheduled=True, modality="CT")
    page = app.signed_in().get("/mpps").text
    assert patients(page) == ["P2", "P1"]
    assert 'href="/orders/1"' in page
    assert "none found" in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=stuck", ["P1"]),
        ("state=IN+PROGRESS", ["P3", "P1"]),
        ("state=COMPLETED", ["P2"]),
        ("unscheduled=1", ["P3"]),
        ("text=P2", ["P2"]),
        ("text=ACC1", ["P1"]),
        ("text=nobody", []),
    ],
)
def test_performed_steps_are_found(app, query, found):
    long_ago = app.now - timedelta(hours=app.settings.mpps.stuck_h, seconds=1)
    performed(app, patient_id="P1", accession_number="ACC1", at=long_ago)
    performed(app, state="COMPLETED", patient_id="P2")
    performed(app, patient_id="P3", unscheduled=True)
    assert patients(app.signed_in().get(f"/mpps?{query}").text) == found


def test_pages_of_performed_steps_follow_one_another(app):
    for number in range(60):
        performed(app, patient_id=f"P{number}")
    person = app.signed_in()
    first = person.get("/mpps").text
    further = re.search(r'rel="next" href="([^"]+)"', first)[1]
    second = person.get("/mpps" + further).text
    back = re.search(r'rel="prev" href="([^"]+)"', second)[1]
    assert patients(first) + patients(second) == [f"P{n}" for n in reversed(range(60))]
    assert patients(person.get("/mpps" + back).text) == patients(first)


def test_a_stuck_step_is_ended_in_its_scanners_stead(app):
    put(app, item(1, step={"state": "STARTED"}))
    row = performed(app, ["SPS1"], patient_id="P1")
    person = app.signed_in(Role.TECHNOLOGIST)
    answer = person.post(f"/mpps/{row}/end?state=stuck", data={"state": "COMPLETED"})
    assert (answer.status_code, answer.location) == (302, "/mpps?state=stuck")
    (step,) = all_of(app, PerformedStep)
    assert (step.state, step.ended_by) == ("COMPLETED", "technologist")
    assert all_of(app, ScheduledStep)[0].state == "COMPLETED"
    event = all_of(app, AuditEvent)[-1]
    assert (event.action, event.subject) == ("change", f"mpps:{row}")
    again = person.post(f"/mpps/{row}/end", data={"state": "COMPLETED"})
    assert again.status_code == 409
    assert "ended already" in again.text


@pytest.mark.parametrize("state", ["", "IN PROGRESS", "FINISHED"])
def test_a_step_ends_as_done_or_given_up_and_nothing_else(app, state):
    row = performed(app)
    person = app.signed_in(Role.TECHNOLOGIST)
    assert person.post(f"/mpps/{row}/end", data={"state": state}).status_code == 400
    assert all_of(app, PerformedStep)[0].state == "IN PROGRESS"


def test_a_step_of_no_order_is_linked_with_one(app):
    put(app, item(1))
    row = performed(app, state="COMPLETED", patient_id="P1", unscheduled=True)
    person = app.signed_in(Role.TECHNOLOGIST)
    wrong = person.post(f"/mpps/{row}/link", data={"accession": "ACC9"})
    assert wrong.status_code == 409
    assert "no entry on file answers to that" in wrong.text
    assert person.post(f"/mpps/{row}/link", data={"accession": "ACC1"}).status_code == 302
    assert all_of(app, ScheduledStep)[0].state == "COMPLETED"
    assert all_of(app, AuditEvent)[-1].action == "link"


def test_a_viewer_ends_and_links_and_reports_nothing(app):
    row = performed(app, unscheduled=True)
    viewer = app.signed_in()
    for path in (f"/mpps/{row}/end", f"/mpps/{row}/link", "/commitments/1/report"):
        assert viewer.post(path, data={"state": "COMPLETED"}).status_code == 403
    page = viewer.get("/mpps").text
    assert '<form class="form-card"' not in page
    person = app.signed_in(Role.TECHNOLOGIST)
    assert person.post("/mpps/4711/end", data={"state": "COMPLETED"}).status_code == 404
    assert person.post("/mpps/4711/link", data={"accession": "A"}).status_code == 404


def test_what_scanners_tell_stays_text(app):
    performed(
        app,
        patient_id=HOSTILE,
        patient_name=HOSTILE,
        accession_number=HOSTILE,
        ae_title=HOSTILE,
        modality=HOSTILE,
        discontinuation=HOSTILE,
        flags=[HOSTILE],
        unscheduled=True,
    )
    commit(app, ae_title=HOSTILE, transaction_uid=HOSTILE)
    person = app.signed_in(Role.TECHNOLOGIST)
    for path in ("/mpps", f"/mpps?text={HOSTILE}", "/commitments"):
        page = person.get(path).text
        assert "<script>alert" not in page
        assert "&lt;script&gt;" in page


@pytest.mark.parametrize("query", ["state=asleep", "after=x", "before=~"])
def test_a_filter_that_means_nothing_is_refused(app, query):
    person = app.signed_in()
    for path in ("/mpps", "/commitments"):
        assert person.get(f"{path}?{query}").status_code in (400, 409)


def commit(app, ae_title="CT1", state="reported", failures=(0, 0), **stated):
    def work(session):
        row = Commitment(
            **{
                "transaction_uid": f"1.2.{app.now.timestamp()}.{len(all_of(app, Commitment))}",
                "items_digest": b"",
                "ae_title": ae_title,
                "called_ae_title": "MWL",
                "state": state,
                "may_call": True,
                "received_at": app.now,
                "wait_until": app.now,
                "next_at": app.now,
                "reported_at": app.now if state == "reported" else None,
                **stated,
            }
        )
        session.add(row)
        session.flush()
        for number, failure in enumerate(failures):
            session.add(
                CommitmentItem(
                    commitment=row.id,
                    sop_class_uid="1.2",
                    sop_instance_uid=f"1.2.{number}",
                    failure=failure,
                )
            )
        return row.id

    return app.database.write(work)


def test_commitments_tell_what_was_not_committed_and_why(app):
    commit(app, failures=(0, 0, 0x112))
    commit(app, "CT2", "waiting", failures=(None,))
    page = app.signed_in().get("/commitments").text
    assert page.index("CT2") < page.index("CT1")
    assert "1: never came" in page
    assert "1 not decided yet" in page
    assert "CT2" not in app.signed_in().get("/commitments?state=reported").text


def test_pages_of_commitments_follow_one_another(app):
    rows = [commit(app, f"CT{number}", failures=()) for number in range(55)]
    person = app.signed_in()
    first = person.get("/commitments").text
    second = person.get("/commitments" + re.search(r'rel="next" href="([^"]+)"', first)[1]).text
    back = re.search(r'rel="prev" href="([^"]+)"', second)[1]
    told = [int(n) for n in re.findall(r"Transaction (\d+)", first + second)]
    assert told == rows[::-1]
    assert re.findall(r"Transaction (\d+)", person.get("/commitments" + back).text) == re.findall(
        r"Transaction (\d+)", first
    )


def test_a_report_is_told_once_more(app):
    row = commit(app)
    person = app.signed_in(Role.TECHNOLOGIST)
    refused = person.post(f"/commitments/{row}/report")
    assert refused.status_code == 409
    assert "CT1 has no address" in refused.text
    device = Device(ae_title="CT1", host="127.0.0.1", port=104, created_at=NOW, updated_at=NOW)
    app.database.write(lambda session: session.add(device))
    assert person.post(f"/commitments/{row}/report").status_code == 302
    assert len(all_of(app, Delivery)) == 1
    assert all_of(app, AuditEvent)[-1].subject == f"commitment:{row}"
