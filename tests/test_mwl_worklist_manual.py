"""What a person does to the worklist by hand, on both databases."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import update
from sqlmodel import select

from mwl import worklist
from mwl.db.tables import ImagingOrder, Patient, RequestedProcedure, ScheduledStep
from mwl.errors import Reason, Rejected
from mwl.orders import Action, OrderChange, ProcedureChange, StepChange, StepState
from mwl.patients import Identifier, PatientChange
from mwl.worklist import manual
from mwl.worklist.manual import Entry, Which

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
ZONE = ZoneInfo("Europe/Berlin")
ENTRY = Entry(
    patient_id="P1",
    patient_name="Doe^Jane",
    birth_date="19800101",
    sex="F",
    accession_number="A1",
    modality="CT",
    description="Head",
)


def add(database, **overrides):
    entry = replace(ENTRY, **overrides)
    return database.write(lambda s: manual.add(s, entry, now=NOW, zone=ZONE))


def change(database, which, **stated):
    entry = Entry(**stated)
    return database.write(lambda s: manual.change(s, which, entry, now=NOW, zone=ZONE))


def cancel(database, which):
    return database.write(lambda s: manual.cancel(s, which, now=NOW))


def reopen(database, which):
    return database.write(lambda s: manual.reopen(s, which, now=NOW))


def only(database, table):
    with database.read() as session:
        found = session.exec(select(table)).one()
        session.expunge_all()
        return found


def reasons(caught):
    return [fault.reason for fault in caught.value.faults]


def test_an_entry_made_by_hand_is_on_the_worklist(database):
    done = add(database)
    step = only(database, ScheduledStep)
    assert done.sps_ids == [step.sps_id]
    assert (step.state, step.modality, step.start_local) == ("SCHEDULED", "CT", "20260105090000")
    assert only(database, ImagingOrder).source == "manual"
    assert only(database, RequestedProcedure).accession_number == "A1"
    assert only(database, Patient).patient_name == "Doe^Jane"


def test_everything_missing_is_named_at_once(database):
    with pytest.raises(Rejected) as caught:
        add(database, patient_id=None, patient_name="", modality=None)
    assert reasons(caught) == [Reason.MISSING] * 3


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("patient_id", "P" * 65, Reason.TOO_LONG),
        ("accession_number", "A" * 17, Reason.TOO_LONG),
        ("accession_number", "A\\B", Reason.MALFORMED),
        ("modality", "C\nT", Reason.MALFORMED),
        ("modality", "C-T", Reason.MALFORMED),
        ("modality", "BÄNANE", Reason.MALFORMED),
        ("modality", "  ", Reason.MISSING),
        ("patient_id", "  ", Reason.MISSING),
        ("patient_name", "  ", Reason.MISSING),
        ("patient_name", " ^ ^", Reason.MISSING),
        ("stations", (" ",), Reason.MALFORMED),
        ("patient_name", "D" * 65, Reason.MALFORMED),
        ("stations", ("A" * 17,), Reason.MALFORMED),
        ("stations", ("",), Reason.MALFORMED),
        ("birth_date", "1980-01-01", Reason.MALFORMED),
        ("birth_date", "198011", Reason.MALFORMED),
        ("birth_date", "19801301", Reason.MALFORMED),
        ("sex", "X", Reason.UNKNOWN_CODE),
    ],
)
def test_a_value_that_dicom_cannot_hold_is_refused(database, field, value, reason):
    with pytest.raises(Rejected) as caught:
        add(database, **{field: value})
    assert reasons(caught) == [reason]


def test_spaces_around_values_and_small_letters_of_the_modality_are_mended(database):
    add(database, patient_id=" P1 ", modality=" ct ", accession_number=" A1", stations=(" CT1 ",))
    step = only(database, ScheduledStep)
    assert (step.modality, step.station_ae_titles) == ("CT", "CT1")
    assert only(database, RequestedProcedure).accession_number == "A1"
    assert only(database, Patient).patient_id == "P1"


@pytest.mark.parametrize("stated", [{"patient_name": ""}, {"patient_name": " ^"}, {"modality": ""}])
def test_a_change_does_not_empty_what_is_needed(database, stated):
    add(database)
    with pytest.raises(Rejected) as caught:
        change(database, Which(accession_number="A1"), **stated)
    assert reasons(caught) == [Reason.MISSING]
    assert only(database, ScheduledStep).modality == "CT"
    assert only(database, Patient).patient_name == "Doe^Jane"


def test_an_accession_number_that_is_on_the_worklist_already_is_noted(database):
    note = ["the accession number is on the worklist already"]
    first = add(database)
    assert first.flags == []
    second = add(database)
    assert second.flags == note
    third = add(database, accession_number="A3")
    changed = change(database, Which(sps_id=third.sps_ids[0]), accession_number="A1")
    assert changed.flags == note
    for each in (first, second):
        cancel(database, Which(sps_id=each.sps_ids[0]))
    assert change(database, Which("A1", third.sps_ids[0]), accession_number="A1").flags == []
    assert add(database, accession_number=None).flags == []


def test_a_change_touches_only_what_it_states(database):
    add(database)
    start = NOW + timedelta(days=1)
    change(database, Which(accession_number="A1"), start=start, stations=("CT1",))
    step = only(database, ScheduledStep)
    assert (step.start_at, step.station_ae_titles, step.description) == (start, "CT1", "Head")


def test_a_change_of_the_ris_entry_does_not_block_its_next_message(database):
    def message(minute, description):
        step = StepChange("S1", NOW, None, {"modality": "CT", "description": description})
        return OrderChange(
            source="RIS",
            action=Action.CREATE,
            number=Identifier("F1"),
            patient=PatientChange(Identifier("P1", "HOSP")),
            at=NOW + timedelta(minutes=minute),
            procedures=[ProcedureChange("RP1", "RP1", "1.2.3", steps=[step])],
        )

    database.write(lambda s: worklist.apply(s, message(0, "Head"), now=NOW, zone=ZONE))
    change(database, Which(sps_id="S1"), description="Neck", patient_name="Doe^Jane")
    assert only(database, ScheduledStep).description == "Neck"
    database.write(lambda s: worklist.apply(s, message(1, "Chest"), now=NOW, zone=ZONE))
    assert only(database, ScheduledStep).description == "Chest"


def test_an_entry_does_not_change_its_patient(database):
    add(database)
    with pytest.raises(Rejected) as caught:
        change(database, Which(accession_number="A1"), patient_id="P2")
    assert reasons(caught) == [Reason.OTHER_PATIENT]


def test_cancel_and_reopen_move_the_entry_and_its_order(database):
    add(database)
    cancel(database, Which(accession_number="A1"))
    assert only(database, ScheduledStep).state == "CANCELED"
    assert only(database, ImagingOrder).status == "CANCELED"
    with pytest.raises(Rejected) as caught:
        cancel(database, Which(accession_number="A1"))
    assert reasons(caught) == [Reason.FINAL]
    reopen(database, Which(accession_number="A1"))
    assert only(database, ScheduledStep).state == "SCHEDULED"
    assert only(database, ImagingOrder).status == "SCHEDULED"
    with pytest.raises(Rejected) as caught:
        reopen(database, Which(accession_number="A1"))
    assert reasons(caught) == [Reason.FINAL]


def test_a_name_that_fits_none_or_several_entries_is_refused(database):
    add(database)
    with pytest.raises(Rejected) as caught:
        cancel(database, Which(accession_number="A9"))
    assert reasons(caught) == [Reason.UNKNOWN_KEY]
    done = add(database)
    with pytest.raises(Rejected) as caught:
        cancel(database, Which(accession_number="A1"))
    assert reasons(caught) == [Reason.DUPLICATE_KEY]
    with pytest.raises(Rejected) as caught:
        cancel(database, Which())
    assert reasons(caught) == [Reason.MISSING]
    cancel(database, Which("A1", done.sps_ids[0]))


def arrive(database, which):
    return database.write(lambda s: manual.arrive(s, which, now=NOW + timedelta(minutes=5)))


def test_a_patient_who_has_come_is_marked_arrived(database):
    (sps_id,) = add(database).sps_ids
    assert arrive(database, Which("A1")).sps_ids == [sps_id]
    step = only(database, ScheduledStep)
    assert (step.state, step.state_at) == ("ARRIVED", NOW + timedelta(minutes=5))
    assert only(database, ImagingOrder).status == "SCHEDULED"


@pytest.mark.parametrize("state", sorted(set(StepState) - {StepState.SCHEDULED}))
def test_nobody_arrives_for_what_is_not_scheduled(database, state):
    add(database)
    database.write(lambda s: s.connection().execute(update(ScheduledStep).values(state=state)))
    with pytest.raises(Rejected, match=state) as caught:
        arrive(database, Which("A1"))
    assert reasons(caught) == [Reason.FINAL]
    assert only(database, ScheduledStep).state == state


def test_nobody_arrives_for_what_has_expired(database):
    add(database)
    database.write(lambda s: s.connection().execute(update(ScheduledStep).values(expired=True)))
    with pytest.raises(Rejected, match="EXPIRED"):
        arrive(database, Which("A1"))


@pytest.mark.parametrize(
    ("do", "before", "after"),
    [
        (manual.ready, {"SCHEDULED", "ARRIVED"}, "READY"),
        (manual.depart, {"STARTED"}, "DEPARTED"),
    ],
)
def test_a_patient_is_led_on_by_one_stage(sqlite_database, do, before, after):
    add(sqlite_database)
    write = sqlite_database.write
    for state in StepState:
        write(
            lambda s, state=state: s.connection().execute(update(ScheduledStep).values(state=state))
        )
        if state in before:
            write(lambda s: do(s, Which("A1"), now=NOW))
            assert only(sqlite_database, ScheduledStep).state == after
        else:
            with pytest.raises(Rejected, match=state):
                write(lambda s: do(s, Which("A1"), now=NOW))
            assert only(sqlite_database, ScheduledStep).state == state


def test_an_entry_is_also_found_by_its_row(database):
    add(database)
    add(database, accession_number="A2", patient_id="P2")
    with database.read() as session:
        rows = list(session.exec(select(ScheduledStep.id).order_by(ScheduledStep.id)))
    arrive(database, Which(row=rows[1]))
    with database.read() as session:
        states = list(session.exec(select(ScheduledStep.state).order_by(ScheduledStep.id)))
    assert states == ["SCHEDULED", "ARRIVED"]
    with pytest.raises(Rejected) as caught:
        arrive(database, Which(row=4711))
    assert reasons(caught) == [Reason.UNKNOWN_KEY]
