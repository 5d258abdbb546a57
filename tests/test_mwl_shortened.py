"""Identifiers that are too long: a short one stands for them, and leads back."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from hl7 import profile
from hl7.explain import Explainer
from hl7.intake import Intake
from hl7.outbound.status import Style, render
from hl7.profiles import Profiles
from mwl import story, worklist
from mwl.db.tables import (
    Delivery,
    Message,
    Patient,
    RequestedProcedure,
    ScheduledStep,
    ShortIdentifier,
)
from mwl.db.tables import Report as ReportRow
from mwl.errors import Rejected
from mwl.journal.search import Wanted, search
from mwl.shortened import known_as, may_stand_for, shorten
from mwl.worklist.listing import listing
from tests.builders import adt_a08, adt_a40, orm, oru
from tests.feeding import Feed
from tests.hl7_mapping import BERLIN, NOW, document, mapper, order, wheres

KEPT = ShortIdentifier.__table__
PROCEDURE = RequestedProcedure.__table__
STEP = ScheduledStep.__table__
PATIENT = Patient.__table__
MESSAGE = Message.__table__
ACCESSION = "2030-RADIOLOGY-0000004711"
PROCEDURE_ID = "RP-2030-RADIOLOGY-0000004711"
STEP_ID = "SPS-2030-RADIOLOGY-0000004711"
PATIENT_ID = "PAT-" + "0123456789" * 7
MAP = {
    "accession_number": "map",
    "requested_procedure_id": "map",
    "sps_id": "map",
    "patient_id": "map",
}


def by(**tables):
    return profile.parse(document(lengths=MAP, **tables), "test.toml")


def long_order(**fields: str) -> str:
    given = {
        "OBR_18": f"{ACCESSION}^RIS",
        "OBR_19": PROCEDURE_ID,
        "OBR_20": STEP_ID,
        "PID_3": f"{PATIENT_ID}^^^HOSP^PI",
    }
    return orm(**{**given, **fields})


# ---- what stands for what ---------------------------------------------------------------


@pytest.mark.parametrize(("length", "most"), [(16, 16), (64, 64)])
def test_a_short_one_fits_is_the_same_each_time_and_differs_for_others(length, most):
    found = {shorten(f"{ACCESSION}{number}", length) for number in range(2_000)}
    assert len(found) == 2_000
    assert all(len(each) <= most and may_stand_for(each) for each in found)
    assert shorten(ACCESSION, length) == shorten(ACCESSION, length)
    assert shorten("2030-RADIOLOGY-0000004711", 16) == "L-" + shorten(ACCESSION, 64)[2:16]


def test_what_is_short_is_known_as_itself_alone():
    assert known_as("ACC1") == ["ACC1"]
    assert known_as(ACCESSION) == [ACCESSION, shorten(ACCESSION, 16)]
    assert len(known_as(PATIENT_ID)) == 3
    assert not may_stand_for("ACC1")
    assert not may_stand_for("L-1")


# ---- messages in ------------------------------------------------------------------------


def test_without_the_option_what_is_too_long_is_refused():
    assert wheres(long_order()) == [
        ("too long", "PID-3.1"),
        ("too long", "OBR-19"),
        ("too long", "OBR-20"),
        ("too long", "OBR-18"),
    ]


def test_each_identifier_has_an_option_of_its_own():
    reader = mapper(lengths={"accession_number": "map"})
    assert wheres(long_order(), reader) == [
        ("too long", "PID-3.1"),
        ("too long", "OBR-19"),
        ("too long", "OBR-20"),
    ]


def test_a_short_one_stands_for_what_is_too_long_and_is_flagged():
    change = order(long_order(), mapper(lengths=MAP))
    (procedure,) = change.procedures
    assert procedure.fields["accession_number"] == shorten(ACCESSION, 16)
    assert procedure.fields["accession_issuer"] == "RIS"
    assert procedure.requested_procedure_id == shorten(PROCEDURE_ID, 16)
    assert procedure.steps[0].sps_id == shorten(STEP_ID, 16)
    assert change.patient.id.id == shorten(PATIENT_ID, 64)
    assert dict(change.shortened) == {
        shorten(ACCESSION, 16): ACCESSION,
        shorten(PROCEDURE_ID, 16): PROCEDURE_ID,
        shorten(STEP_ID, 16): STEP_ID,
        shorten(PATIENT_ID, 64): PATIENT_ID,
    }
    wanted = "OBR-18: longer than 16 characters: a short one of ours stands for it"
    assert wanted in change.flags


def test_what_fits_is_as_it_was_and_nothing_is_kept():
    change = order(orm(), mapper(lengths=MAP))
    assert change.shortened == ()
    assert change == order(orm(), mapper())


@pytest.mark.parametrize("text", ["A" * 1_001, "A\\X0D\\" + "B" * 20])
def test_what_is_no_identifier_is_refused_all_the_same(text):
    assert ("too long", "OBR-18") in wheres(orm(OBR_18=text), mapper(lengths=MAP))


# ---- kept, found, given back ------------------------------------------------------------


def test_later_messages_mean_the_same_rows(database):
    feed = Feed(database, now=NOW, by=by())
    feed.send(long_order())
    feed.send(long_order(ORC_1="XO", OBR_24="MR"))
    feed.send(adt_a08(PID_3=f"{PATIENT_ID}^^^HOSP^PI"))
    (procedure,), (planned,) = feed.rows(PROCEDURE), feed.rows(STEP)
    assert procedure.accession_number == shorten(ACCESSION, 16)
    assert (planned.sps_id, planned.modality) == (shorten(STEP_ID, 16), "MR")
    (patient,) = feed.rows(PATIENT)
    assert patient.patient_id == shorten(PATIENT_ID, 64)
    with database.read() as session:
        kept = {row.short: row.long for row in session.connection().execute(select(KEPT))}
    assert kept == {shorten(PATIENT_ID, 64): PATIENT_ID} | {
        shorten(each, 16): each for each in (ACCESSION, PROCEDURE_ID, STEP_ID)
    }
    assert [row.ack_code for row in feed.rows(MESSAGE)] == ["AA"] * 3


def test_a_merge_names_patients_by_their_long_numbers(sqlite_database):
    feed = Feed(sqlite_database, now=NOW, by=by())
    feed.send(long_order())
    other = PATIENT_ID + "9"
    feed.send(adt_a40(PID_3=f"{other}^^^HOSP^PI", MRG_1=f"{PATIENT_ID}^^^HOSP^PI"))
    merged = {row.patient_id: row.merged_into for row in feed.rows(PATIENT)}
    assert merged[shorten(PATIENT_ID, 64)] is not None
    assert merged[shorten(other, 64)] is None


def test_a_report_finds_the_order_by_its_long_number(sqlite_database):
    feed = Feed(sqlite_database, now=NOW, by=by())
    feed.send(long_order())
    feed.send(oru(OBR_2=None, OBR_3=None, OBR_18=ACCESSION, PID_3=f"{PATIENT_ID}^^^HOSP^PI"))
    (report,) = feed.rows(ReportRow.__table__)
    assert report.imaging_order is not None
    assert report.accession_number == shorten(ACCESSION, 16)


def test_a_short_one_that_stands_for_another_is_refused(database):
    feed = Feed(database, now=NOW, by=by())
    taken = {"short": shorten(ACCESSION, 16), "long": "another", "created_at": NOW}
    database.write(lambda session: session.connection().execute(KEPT.insert(), [taken]))
    feed.send(long_order())
    (message,) = feed.rows(MESSAGE)
    assert message.ack_code == "AE"
    assert "stands for another" in message.error
    assert feed.rows(STEP) == []


def test_it_is_kept_once_and_for_good(database):
    pairs = ((shorten(ACCESSION, 16), ACCESSION),)
    now = datetime(2030, 1, 1, tzinfo=UTC)
    for _ in range(2):
        database.write(lambda session: worklist.remember(session, pairs, now))
    other = ((shorten(ACCESSION, 16), "another"),)
    with pytest.raises(Rejected):
        database.write(lambda session: worklist.remember(session, other, now))


def test_it_is_found_by_both(database):
    feed = Feed(database, now=NOW, by=by())
    row = feed.send(long_order())
    feed.send(orm(ORC_3="FO2", OBR_3="FO2", ORC_2="PO2", OBR_2="PO2", ZDS_1="1.2.9"))
    for text in (ACCESSION, shorten(ACCESSION, 16), PATIENT_ID, shorten(PATIENT_ID, 64)):
        with database.read() as session:
            found = search(session, Wanted(text=text))
        assert [each.id for each in found] == [row]
    for text in (ACCESSION, shorten(ACCESSION, 16)):
        (entry,) = listing(database, zone=BERLIN, accession=text)
        assert entry["accession_number"] == shorten(ACCESSION, 16)
    with database.read() as session:
        for text in (ACCESSION, shorten(ACCESSION, 16)):
            assert story.by_accession(session, text) == [1]


def test_other_systems_are_given_the_long_ones(database):
    feed = Feed(database, now=NOW, by=by())
    feed.send(long_order())
    row = feed.tell("IP")
    with database.read() as session:
        table = Delivery.__table__
        fact = session.connection().scalar(select(table.c.payload).where(table.c.id == row))
    for kind, version in (("ORM^O01", "2.3.1"), ("OMI^O23", "2.5.1")):
        sent = render(fact, Style(kind, version), control_id="1", now=NOW, zone=BERLIN).decode()
        for text in (ACCESSION, PROCEDURE_ID, STEP_ID, PATIENT_ID):
            assert text in sent
        assert "L-" not in sent


def test_an_explanation_shows_it_with_its_field_and_flag():
    profiles = Profiles.single(by(), BERLIN)
    told = Explainer(profiles, Intake(profiles), None)(long_order().encode(), NOW)
    shown = {(each.column, each.value): each.place for each in told.values}
    assert shown["accession_number", shorten(ACCESSION, 16)] == "OBR-18.1"
    assert "OBR-18: longer than 16 characters: a short one of ours stands for it" in told.flags
    assert told.ack_code == "AA"
