"""What scanners were shown, from their C-FIND to who reads it."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import update
from sqlmodel import select

from mwl import sightings
from mwl.db.tables import Patient, Sighting
from mwl.errors import Outage
from mwl.scp.worklist import WorklistService
from mwl.sightings import Lookout
from tests.dicom_client import MODALITY_WORKLIST_FIND, cancel_request, request
from tests.dicom_client import status as status_of
from tests.dicom_server import dial_fixture, serve_fixture  # noqa: F401 - fixtures
from tests.identifiers import asking, encoded
from tests.test_mwl_scp_worklist import Scanner
from tests.worklist_rows import NOW, insert_items, item

ZONE = ZoneInfo("Europe/Berlin")
KEYS = ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber")
STEP = ("ScheduledProcedureStepID", "ScheduledProcedureStepStartDate")
COLUMNS = ("patient_name", "patient_id")


@pytest.fixture
def lookout(database):
    return Lookout(database)


def put(database, *items):
    return database.write(lambda session: insert_items(session, items))


def row(step, name="Doe^Jane", patient="P1"):
    return name, patient, "20300102093000", step


def of_step(database, step):
    with database.read() as session:
        return sightings.of_step(session, step)


def rename(database, name):
    database.write(lambda s: s.connection().execute(update(Patient).values(patient_name=name)))


def test_a_scanner_is_seen_to_have_been_shown_what_it_was_answered(database, lookout, serve, dial):
    (step,) = put(database, item(1, "CT1", patient={"patient_name": "Doe^Jane"}))
    service = WorklistService(database, ZONE, lookout.note, clock=lambda: NOW)
    scanner = Scanner(serve(service), dial)
    scanner.find(asking(*KEYS, step=STEP))
    scanner.find(asking(*KEYS, step=STEP))
    lookout.write()
    (seen,) = of_step(database, step)
    assert (seen.ae_title, seen.address, seen.count) == ("CT1", "127.0.0.1", 2)
    assert seen.shown == {
        "PatientName": "Doe^Jane",
        "PatientID": "P1",
        "PatientBirthDate": "19800229",
        "AccessionNumber": "ACC1",
        "ScheduledProcedureStepStartDateTime": "20300102093000",
    }
    assert not seen.is_stale


def test_only_what_was_asked_for_was_shown(database, lookout, serve, dial):
    (step,) = put(database, item(1, "CT1"))
    service = WorklistService(database, ZONE, lookout.note, clock=lambda: NOW)
    Scanner(serve(service), dial).find(asking("PatientSex", step=("ScheduledProcedureStepID",)))
    lookout.write()
    (seen,) = of_step(database, step)
    assert seen.shown == {}


def test_answers_that_a_scanner_cancelled_were_not_shown(database, lookout, serve, dial):
    put(database, *(item(n, "CT1") for n in range(400)))
    service = WorklistService(database, ZONE, lookout.note, clock=lambda: NOW)
    client = dial(serve(service)).associate((MODALITY_WORKLIST_FIND,), calling="CT1")
    client.send(
        request(1, 0x0020, MODALITY_WORKLIST_FIND, 1, encoded(asking(*KEYS), explicit=False))
    )
    client.send(cancel_request(1, 1))
    answers = 0
    while True:
        command, _ = client.read_message()
        if status_of(command) != 0xFF00:
            break
        answers += 1
    client.release()
    lookout.write()
    with database.read() as session:
        seen = session.exec(select(Sighting)).all()
    assert len(seen) == answers < 400


def test_a_changed_name_makes_a_scanners_copy_stale_until_it_asks_again(database, lookout):
    (step,) = put(database, item(1, patient={"patient_name": "Doe^Jane"}))
    lookout.note("CT1", "10.0.0.7", COLUMNS, [row(step)])
    lookout.write()
    rename(database, "Roe^Jane")
    (seen,) = of_step(database, step)
    assert seen.outdated == {"PatientName": ("Doe^Jane", "Roe^Jane")}
    lookout.note("CT1", "10.0.0.7", COLUMNS, [row(step, "Roe^Jane")])
    lookout.write()
    (seen,) = of_step(database, step)
    assert not seen.is_stale
    assert seen.count == 2
    assert seen.first_at < seen.last_at


def test_each_scanner_has_its_own_row_and_the_latest_comes_first(database, lookout):
    steps = put(database, item(1), item(2))
    lookout.note("CT1", "10.0.0.7", COLUMNS, [row(step) for step in steps])
    lookout.write()
    lookout.note("CT2", "10.0.0.8", COLUMNS, [row(steps[0])])
    lookout.write()
    assert [each.ae_title for each in of_step(database, steps[0])] == ["CT2", "CT1"]
    assert [each.ae_title for each in of_step(database, steps[1])] == ["CT1"]


def test_the_sightings_of_an_order_are_those_of_its_steps(database, lookout):
    one, other = put(database, item(1), item(2))
    lookout.note("CT1", "10.0.0.7", COLUMNS, [row(one), row(other)])
    lookout.write()
    with database.read() as session:
        found = sightings.of_order(session, 1)  # the first order's row
    assert [(each.step, each.sps_id) for each in found] == [(one, "SPS1")]


def test_a_step_was_shown_when_it_was_and_not_when_others_were(database, lookout):
    always, late, gone = put(database, item(1), item(2), item(3))
    lookout.note("CT1", "10.0.0.7", COLUMNS, [row(always), row(gone)])
    lookout.note("CT1", "10.0.0.7", COLUMNS[:1], [("Doe^Jane", "20300102093000", always)])
    lookout.note("CT1", "10.0.0.7", COLUMNS, [row(always), row(late)])
    lookout.write()
    times = {}
    for step in (always, late, gone):
        (seen,) = of_step(database, step)
        times[step] = seen.first_at, seen.last_at
    first, last = times[always]
    assert first < last
    assert (times[gone], times[late]) == ((first, first), (last, last))


def test_the_last_of_two_answers_counts_whatever_columns_they_had(database, lookout):
    (step,) = put(database, item(1))
    lookout.note("CT1", "10.0.0.7", COLUMNS, [row(step, "Old^Name")])
    lookout.note("CT1", "10.0.0.7", ("patient_name",), [("New^Name", "20300102093000", step)])
    lookout.write()
    (seen,) = of_step(database, step)
    assert seen.shown == {"PatientName": "New^Name"}
    assert seen.count == 2


def test_what_is_kept_between_two_writes_is_bounded(sqlite_database):
    lookout = Lookout(sqlite_database)
    (step,) = put(sqlite_database, item(1))
    lookout.note("CT1", "10.0.0.7", COLUMNS, [row(step)])
    lookout.note("CT1", "10.0.0.7", COLUMNS, [row(n) for n in range(100, 20_200)])
    assert lookout._kept == 1
    lookout.write()
    assert len(of_step(sqlite_database, step)) == 1


def test_an_outage_loses_sightings_and_nothing_else(sqlite_database, monkeypatch):
    lookout = Lookout(sqlite_database)
    (step,) = put(sqlite_database, item(1))

    def out(_work):
        raise Outage("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_database, "write", out)
        lookout.note("CT1", "10.0.0.7", COLUMNS, [row(step)])
        lookout.write()
    lookout.note("CT1", "10.0.0.7", COLUMNS, [row(step)])
    lookout.write()
    (seen,) = of_step(sqlite_database, step)
    assert seen.count == 1


def test_what_has_been_removed_since_takes_no_other_with_it(database, lookout):
    (step,) = put(database, item(1))
    lookout.note("CT1", "10.0.0.7", COLUMNS, [row(step + 1), row(step)])
    lookout.write()
    (seen,) = of_step(database, step)
    assert seen.count == 1


def test_the_thread_writes_what_is_left_when_it_is_stopped(sqlite_database):
    lookout = Lookout(sqlite_database)
    (step,) = put(sqlite_database, item(1))
    lookout.start()
    lookout.note("CT1", "10.0.0.7", COLUMNS, [row(step)])
    lookout.stop()
    (seen,) = of_step(sqlite_database, step)
    assert seen.last_at - seen.first_at == timedelta()
