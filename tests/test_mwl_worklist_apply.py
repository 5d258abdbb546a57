"""What a change does to the rows of the worklist, on both databases."""

import threading
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlmodel import select

from mwl import worklist
from mwl.db.tables import (
    Device,
    ImagingOrder,
    Patient,
    RequestedProcedure,
    ScheduledStep,
    StepStation,
)
from mwl.errors import Reason, Rejected
from mwl.orders import Action, OrderChange, ProcedureChange, StepChange, StudyUidPolicy
from mwl.patients import Identifier, PatientChange, PatientMerge, PatientUpdate
from mwl.worklist import Outcome, numbers

NOW = datetime(2026, 7, 1, 8, 0, tzinfo=UTC)
START = datetime(2026, 7, 1, 10, 30, tzinfo=UTC)
ZONE = ZoneInfo("Europe/Berlin")


def patient(number="P1", name="Doe^Jane", birth_date="19800101", issuer="HOSP"):
    fields = {"patient_name": name, "birth_date": birth_date, "sex": "F"}
    return PatientChange(Identifier(number, issuer), fields=fields)


def step(sps_id="S1", start=START, stations=None, **fields):
    return StepChange(sps_id, start, stations, {"modality": "CT", **fields})


def procedure(key="RP1", *steps, uid="1.2.3", snapshot=False, **fields):
    return ProcedureChange(
        key=key,
        requested_procedure_id=key,
        study_uid=uid,
        snapshot=snapshot,
        fields={"accession_number": "A1", **fields},
        steps=list(steps) or [step()],
    )


def order(action=Action.CREATE, minute=0, number="F1", **overrides):
    values = {
        "source": "RIS",
        "action": action,
        "number": Identifier(number, "RIS"),
        "patient": patient(),
        "at": NOW + timedelta(minutes=minute),
        "procedures": [procedure()],
    }
    return OrderChange(**{**values, **overrides})


def apply(database, change, now=NOW):
    return database.write(lambda s: worklist.apply(s, change, now=now, zone=ZONE))


def update(database, change):
    return database.write(lambda s: worklist.update_patient(s, change, now=NOW))


def merge(database, change):
    return database.write(lambda s: worklist.merge_patients(s, change, now=NOW))


def rows(database, table):
    with database.read() as session:
        found = session.exec(select(table)).all()
        session.expunge_all()
        return found


def states(database):
    return {s.sps_id: s.state for s in rows(database, ScheduledStep)}


def rejected(database, change, do=apply):
    with pytest.raises(Rejected) as caught:
        do(database, change)
    return caught.value.faults[0].reason


# ---- create, change --------------------------------------------------------------------


def test_a_new_order_becomes_patient_order_procedure_and_step(database):
    done = apply(database, order(fields={"referring_physician": "House^Gregory"}))
    assert done.outcome is Outcome.APPLIED
    assert done.flags == []
    (who,) = rows(database, Patient)
    (what,) = rows(database, ImagingOrder)
    (which,) = rows(database, RequestedProcedure)
    (when,) = rows(database, ScheduledStep)
    assert (who.patient_id, who.issuer, who.patient_name) == ("P1", "HOSP", "Doe^Jane")
    assert (what.order_number, what.status, what.referring_physician) == (
        "F1",
        "SCHEDULED",
        "House^Gregory",
    )
    assert (which.accession_number, which.study_instance_uid) == ("A1", "1.2.3")
    assert (when.sps_id, when.state, when.modality) == ("S1", "SCHEDULED", "CT")
    assert when.start_at == START
    assert when.start_local == "20260701123000"  # summer time at the site


def test_applying_a_message_twice_equals_once(database):
    apply(database, order())
    before = rows(database, ScheduledStep), rows(database, RequestedProcedure)
    apply(database, order())
    assert (rows(database, ScheduledStep), rows(database, RequestedProcedure)) == before


def test_what_a_message_leaves_out_stays_and_a_delete_empties(database):
    both = {"description": "Head", "location": "Room 1"}
    apply(database, order(procedures=[procedure("RP1", step(**both))]))
    change = procedure("RP1", step(start=None, description=None))
    apply(database, order(Action.UPDATE, 1, procedures=[change]))
    (kept,) = rows(database, ScheduledStep)
    assert (kept.description, kept.location, kept.start_at) == ("", "Room 1", START)


def test_an_older_message_is_not_applied(database):
    apply(database, order(minute=5))
    late = order(Action.CANCEL, minute=4)
    assert apply(database, late).outcome is Outcome.STALE
    assert states(database) == {"S1": "SCHEDULED"}


@pytest.mark.parametrize("at", [NOW, None])
def test_equal_or_missing_times_go_by_arrival(database, at):
    apply(database, order(at=at))
    apply(database, order(Action.CANCEL, at=at))
    assert states(database) == {"S1": "CANCELED"}


def test_a_change_before_its_order_creates_it_and_says_so(database):
    done = apply(database, order(Action.UPDATE))
    assert states(database) == {"S1": "SCHEDULED"}
    assert "created" in done.flags[0]


def test_identifiers_of_ours_fit_their_attributes_and_stay(database):
    bare = procedure("CODE", step(sps_id=None), uid=None)
    bare.requested_procedure_id = None
    apply(database, order(procedures=[bare]))
    (first,) = rows(database, RequestedProcedure)
    (one,) = rows(database, ScheduledStep)
    assert first.study_instance_uid.startswith("2.25.")
    assert len(first.study_instance_uid) <= 64
    assert 0 < len(first.requested_procedure_id) <= 16
    assert 0 < len(one.sps_id) <= 16
    apply(database, order(Action.UPDATE, 1, procedures=[bare]))
    assert rows(database, RequestedProcedure) == [first]
    assert rows(database, ScheduledStep) == [one]


def test_a_study_uid_from_the_accession_number_is_the_same_each_time(database):
    def made(number):
        bare = procedure("RP1", step(sps_id=number), uid=None)
        policy = StudyUidPolicy.FROM_ACCESSION
        apply(database, order(number=number, procedures=[bare], study_uid_policy=policy))
        return rows(database, RequestedProcedure)[-1].study_instance_uid

    assert made("F1") == made("F2")


def test_an_order_without_a_study_uid_is_refused_where_the_policy_says_so(database):
    bare = procedure("RP1", uid=None)
    change = order(procedures=[bare], study_uid_policy=StudyUidPolicy.REJECT)
    assert rejected(database, change) is Reason.MISSING
    assert rows(database, ImagingOrder) == []


def test_without_a_start_the_step_is_scheduled_for_now_and_flagged(database):
    done = apply(database, order(procedures=[procedure("RP1", step(start=None))]))
    (now,) = rows(database, ScheduledStep)
    assert now.start_at == NOW
    assert any("start" in flag for flag in done.flags)


# ---- identity ------------------------------------------------------------------------------


def test_several_procedures_and_steps_of_one_order_are_items_of_their_own(database):
    two = procedure("RP2", step("S2"), step("S3"), uid="1.2.4")
    apply(database, order(procedures=[procedure(), two]))
    assert states(database) == dict.fromkeys(("S1", "S2", "S3"), "SCHEDULED")


def test_a_message_with_only_the_order_number_speaks_of_all_its_procedures(database):
    apply(database, order(procedures=[procedure(), procedure("RP2", step("S2"), uid="1.2.4")]))
    apply(database, order(Action.CANCEL, 1, procedures=[]))
    assert states(database) == {"S1": "CANCELED", "S2": "CANCELED"}
    assert rows(database, ImagingOrder)[0].status == "CANCELED"


def test_a_cancel_that_names_a_procedure_spares_the_others(database):
    apply(database, order(procedures=[procedure(), procedure("RP2", step("S2"), uid="1.2.4")]))
    named = ProcedureChange("RP2", "RP2")
    apply(database, order(Action.CANCEL, 1, procedures=[named]))
    assert states(database) == {"S1": "SCHEDULED", "S2": "CANCELED"}
    assert rows(database, ImagingOrder)[0].status == "SCHEDULED"


def test_a_procedure_known_by_its_code_is_found_when_its_id_arrives(database):
    bare = procedure("CTHEAD", step(), code_value="CTHEAD")
    bare.requested_procedure_id = None
    apply(database, order(procedures=[bare]))
    apply(database, order(Action.UPDATE, 1, procedures=[procedure("RP9", code_value="CTHEAD")]))
    (one,) = rows(database, RequestedProcedure)
    assert (one.key, one.requested_procedure_id) == ("RP9", "RP9")


def test_a_procedure_known_by_its_id_is_found_by_its_code(database):
    apply(database, order(procedures=[procedure("RP9", code_value="CTHEAD")]))
    apply(database, order(Action.CANCEL, 1, procedures=[ProcedureChange("CTHEAD")]))
    assert states(database) == {"S1": "CANCELED"}


def test_the_same_number_from_another_sender_or_namespace_is_another_order(database):
    apply(database, order())
    other = [procedure("RP1", step("S2"))]
    apply(database, order(source="OTHER", procedures=other))
    third = order(procedures=[procedure("RP1", step("S3"))])
    third.number = Identifier("F1", "ELSEWHERE")
    apply(database, third)
    assert len(rows(database, ImagingOrder)) == 3


def numbered(action, minute, filler=None, placer=None, *steps, **overrides):
    """A change that names its order by these numbers."""
    given = {
        name: n if isinstance(n, Identifier) or n is None else Identifier(n, "RIS")
        for name, n in (("filler", filler), ("placer", placer))
    }
    procedures = overrides.pop("procedures", [procedure("RP1", *steps)])
    change = order(action, minute, procedures=procedures, **given, **overrides)
    change.number = given["filler"] or given["placer"]
    return change


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (("F1", "P1"), (None, "P1")),
        (("F1", "P1"), ("F1", None)),
        ((None, "P1"), ("F1", "P1")),
        (("F1", None), ("F1", "P1")),
        ((Identifier("F1"), None), ("F1", None)),
        ((Identifier("F1", "RIS", "1.2", "ISO"), None), (Identifier("F1", "", "1.2", "ISO"), None)),
    ],
)
def test_an_order_is_found_by_whichever_number_a_message_brings(database, first, then):
    apply(database, numbered(Action.CREATE, 0, *first))
    apply(database, numbered(Action.CANCEL, 1, *then, procedures=[]))
    assert states(database) == {"S1": "CANCELED"}
    assert len(rows(database, ImagingOrder)) == 1


def test_an_order_known_by_its_placer_is_known_by_its_filler_from_then_on(database):
    apply(database, numbered(Action.CREATE, 0, None, "P1"))
    apply(database, numbered(Action.UPDATE, 1, "F1", "P1"))
    (one,) = rows(database, ImagingOrder)
    assert (one.order_number, one.filler_number, one.placer_number) == ("F1", "F1", "P1")
    apply(database, numbered(Action.CANCEL, 2, "F1", None, procedures=[]))
    assert states(database) == {"S1": "CANCELED"}


def test_an_imported_order_is_taken_over_by_its_ris(database):
    apply(database, numbered(Action.CREATE, 0, None, "P1", source="import", at=None))
    apply(database, numbered(Action.UPDATE, 1, "F1", "P1"))
    (one,) = rows(database, ImagingOrder)
    assert (one.source, one.order_number) == ("RIS", "F1")
    apply(database, numbered(Action.CANCEL, 2, "F1", None, procedures=[]))
    assert states(database) == {"S1": "CANCELED"}


def test_filler_orders_of_one_placer_order_stay_apart(database):
    apply(database, numbered(Action.CREATE, 0, "F1", "P1"))
    apply(database, numbered(Action.CREATE, 1, "F2", "P1", step("S2")))
    assert len(rows(database, ImagingOrder)) == 2
    doubtful = numbered(Action.CANCEL, 2, None, "P1", procedures=[])
    assert rejected(database, doubtful) is Reason.DUPLICATE_KEY
    assert states(database) == {"S1": "SCHEDULED", "S2": "SCHEDULED"}


def test_a_tombstone_is_found_by_the_placers_number_too(database):
    apply(database, numbered(Action.CANCEL, 5, "F1", "P1", procedures=[]))
    assert apply(database, numbered(Action.CREATE, 4, None, "P1")).outcome is Outcome.STALE
    assert states(database) == {}


def test_a_cancel_of_a_procedure_that_is_not_there_is_refused(database):
    apply(database, order())
    other = ProcedureChange("RP7", "RP7")
    assert rejected(database, order(Action.CANCEL, 1, procedures=[other])) is Reason.UNKNOWN_KEY
    wrong_step = ProcedureChange("RP1", "RP1", steps=[StepChange("S7")])
    refused = order(Action.CANCEL, 1, procedures=[wrong_step])
    assert rejected(database, refused) is Reason.UNKNOWN_KEY
    assert states(database) == {"S1": "SCHEDULED"}


def test_a_cancel_by_another_code_means_the_only_procedure(database):
    apply(database, order())
    coded = ProcedureChange("OTHER", steps=[StepChange()])
    apply(database, order(Action.CANCEL, 1, procedures=[coded]))
    assert states(database) == {"S1": "CANCELED"}


def test_a_cancel_with_an_id_that_the_first_message_lacked_means_the_only_procedure(database):
    bare = procedure("CTHEAD", step(sps_id=None), code_value="CTHEAD")
    bare.requested_procedure_id = None
    apply(database, order(procedures=[bare]))
    named = ProcedureChange("RP9", "RP9", steps=[StepChange("S9")])
    apply(database, order(Action.CANCEL, 1, procedures=[named]))
    assert list(states(database).values()) == ["CANCELED"]


def test_a_step_that_had_no_id_takes_the_one_that_comes_later(database):
    apply(database, order(procedures=[procedure("RP1", step(sps_id=None))]))
    apply(database, order(Action.UPDATE, 1, procedures=[procedure("RP1", step("S9"))]))
    assert states(database) == {"S9": "SCHEDULED"}


def test_a_change_without_a_procedure_creates_no_order(database):
    assert rejected(database, order(Action.UPDATE, procedures=[])) is Reason.MISSING
    assert rows(database, ImagingOrder) == []


def test_steps_of_two_orders_that_collide_are_refused_and_nothing_is_overwritten(database):
    apply(database, order())
    before = rows(database, ScheduledStep)
    assert rejected(database, order(number="F2")) is Reason.DUPLICATE_KEY
    assert rows(database, ScheduledStep) == before
    assert len(rows(database, ImagingOrder)) == 1


def test_a_new_study_uid_is_taken_before_the_start_and_flagged_after(database):
    apply(database, order())
    apply(database, order(Action.UPDATE, 1, procedures=[procedure(uid="1.2.9")]))
    assert rows(database, ScheduledStep)[0].study_instance_uid == "1.2.9"
    apply(database, order(Action.START, 2))
    done = apply(database, order(Action.UPDATE, 3, procedures=[procedure(uid="1.2.10")]))
    assert rows(database, RequestedProcedure)[0].study_instance_uid == "1.2.9"
    assert any("Study Instance UID" in flag for flag in done.flags)


def test_a_snapshot_cancels_the_steps_it_leaves_out(database):
    full = procedure("RP1", step("S1"), step("S2"), snapshot=True)
    apply(database, order(procedures=[full]))
    apply(database, order(Action.UPDATE, 1, procedures=[procedure(snapshot=True)]))
    assert states(database) == {"S1": "SCHEDULED", "S2": "CANCELED"}


def test_an_orm_is_no_snapshot(database):
    apply(database, order(procedures=[procedure("RP1", step("S1"), step("S2"))]))
    apply(database, order(Action.UPDATE, 1))
    assert states(database) == {"S1": "SCHEDULED", "S2": "SCHEDULED"}


# ---- cancel, states ------------------------------------------------------------------------


def test_a_cancelled_order_leaves_its_rows(database):
    apply(database, order())
    apply(database, order(Action.CANCEL, 1))
    assert states(database) == {"S1": "CANCELED"}


def test_a_cancel_after_the_start_changes_nothing_and_is_flagged(database):
    apply(database, order())
    apply(database, order(Action.START, 1))
    done = apply(database, order(Action.CANCEL, 2))
    assert states(database) == {"S1": "STARTED"}
    assert done.flags
    assert rows(database, ImagingOrder)[0].flags == done.flags


def test_a_new_time_after_the_start_is_not_taken(database):
    apply(database, order())
    apply(database, order(Action.START, 1))
    moved = [procedure("RP1", step(start=START + timedelta(hours=1)))]
    done = apply(database, order(Action.UPDATE, 2, procedures=moved))
    assert rows(database, ScheduledStep)[0].start_at == START
    assert any("start" in flag for flag in done.flags)


def test_a_cancel_of_an_unknown_order_keeps_the_older_order_from_scheduling(database):
    assert apply(database, order(Action.CANCEL, 5)).outcome is Outcome.NOTED
    assert apply(database, order(minute=4)).outcome is Outcome.STALE
    assert states(database) == {}
    assert rows(database, ImagingOrder)[0].status == "CANCELED"


def test_a_newer_order_schedules_over_a_tombstone(database):
    apply(database, order(Action.CANCEL, 5))
    apply(database, order(minute=6))
    assert states(database) == {"S1": "SCHEDULED"}
    assert rows(database, ImagingOrder)[0].status == "SCHEDULED"


def test_a_replayed_order_does_not_reopen_a_cancelled_one(database):
    apply(database, order())
    apply(database, order(Action.CANCEL, 1))
    done = apply(database, order(minute=2))
    assert states(database) == {"S1": "CANCELED"}
    assert "CANCELED" in done.flags[0]


def test_a_hold_hides_and_a_release_shows(database):
    apply(database, order())
    apply(database, order(Action.HOLD, 1))
    assert states(database) == {"S1": "HELD"}
    apply(database, order(Action.RELEASE, 2))
    assert states(database) == {"S1": "SCHEDULED"}


def test_a_status_of_an_unknown_order_is_noted(database):
    assert apply(database, order(Action.COMPLETE)).outcome is Outcome.NOTED
    assert rows(database, ImagingOrder) == []


# ---- stations ------------------------------------------------------------------------------


def device(database, title, modality):
    row = {"ae_title": title, "modality": modality, "created_at": NOW, "updated_at": NOW}
    database.write(lambda s: s.add(Device(**row)))


def test_a_step_goes_to_the_stations_that_the_message_names(database):
    named = step(stations=("CT1", "CT2"))
    apply(database, order(procedures=[procedure("RP1", named)]))
    assert rows(database, ScheduledStep)[0].station_ae_titles == "CT1\\CT2"
    assert {s.ae_title for s in rows(database, StepStation)} == {"CT1", "CT2"}


def test_a_step_without_a_station_goes_to_every_device_of_its_modality(database):
    device(database, "CT_B", "CT")
    device(database, "CT_A", "CT")
    device(database, "MR_A", "MR")
    apply(database, order())
    assert rows(database, ScheduledStep)[0].station_ae_titles == "CT_A\\CT_B"
    other = [procedure("RP1", step(modality="MR"))]
    apply(database, order(Action.UPDATE, 1, procedures=other))
    assert {s.ae_title for s in rows(database, StepStation)} == {"MR_A"}


def test_a_step_that_any_of_a_fleet_may_do_is_unassigned(sqlite_database):
    for number in range(65):
        device(sqlite_database, f"CT{number}", "CT")
    apply(sqlite_database, order())
    assert rows(sqlite_database, ScheduledStep)[0].station_ae_titles == ""
    assert rows(sqlite_database, StepStation) == []


def test_a_step_that_no_device_fits_is_unassigned(database):
    apply(database, order())
    assert rows(database, ScheduledStep)[0].station_ae_titles == ""


# ---- patients ------------------------------------------------------------------------------


def test_an_order_for_another_patient_is_refused(database):
    apply(database, order())
    stranger = order(Action.UPDATE, 1, patient=patient("P2", "Roe^Rita", "19700101"))
    assert rejected(database, stranger) is Reason.OTHER_PATIENT
    assert [p.patient_id for p in rows(database, Patient)] == ["P1"]


def test_the_same_identifier_with_another_name_and_birth_date_is_refused(database):
    apply(database, order())
    stranger = patient(name="Roe^Rita", birth_date="19700101")
    assert rejected(database, order(number="F2", patient=stranger)) is Reason.OTHER_PATIENT
    assert rejected(database, PatientUpdate("RIS", stranger), update) is Reason.OTHER_PATIENT


def test_identifiers_match_only_with_their_issuer(database):
    apply(database, order())
    other = [procedure("RP2", step("S2"))]
    apply(database, order(number="F2", patient=patient(issuer="CLINIC"), procedures=other))
    assert len(rows(database, Patient)) == 2


def test_new_demographics_reach_the_patient_and_older_ones_do_not(database):
    apply(database, order())
    update(database, PatientUpdate("RIS", patient(name="Doe-Roe^Jane"), NOW + timedelta(minutes=9)))
    stale = PatientUpdate("RIS", patient(name="Doe^J"), NOW + timedelta(minutes=8))
    assert update(database, stale).outcome is Outcome.STALE
    assert rows(database, Patient)[0].patient_name == "Doe-Roe^Jane"


def test_an_old_message_of_one_sender_says_nothing_of_anothers_time(database):
    update(database, PatientUpdate("RIS", patient(), NOW))
    hour_ago = NOW - timedelta(hours=1)
    done = update(database, PatientUpdate("ADT", patient(name="Doe^Janet"), hour_ago))
    assert done.outcome is Outcome.APPLIED


def test_a_merge_moves_orders_and_leaves_an_alias(database):
    apply(database, order())
    done = merge(
        database, PatientMerge("RIS", patient("P2", "Doe^Jane M"), Identifier("P1", "HOSP"), NOW)
    )
    (what,) = rows(database, ImagingOrder)
    assert what.patient == done.patient
    survivor = next(p for p in rows(database, Patient) if p.id == done.patient)
    assert survivor.patient_id == "P2"
    # The old number leads to the survivor, and its old name does not overwrite the new one.
    apply(database, order(Action.UPDATE, 1))
    survivor = next(p for p in rows(database, Patient) if p.id == done.patient)
    assert survivor.patient_name == "Doe^Jane M"


def test_an_update_that_names_a_merged_identifier_is_refused(database):
    merge(database, PatientMerge("RIS", patient("P2"), Identifier("P1", "HOSP")))
    assert rejected(database, PatientUpdate("RIS", patient("P1")), update) is Reason.UNKNOWN_KEY


def test_a_merge_of_a_patient_with_itself_is_refused(database):
    same = PatientMerge("RIS", patient("P1"), Identifier("P1", "HOSP"))
    assert rejected(database, same, merge) is Reason.MALFORMED


def test_chains_repeats_and_inverse_merges_end_at_one_survivor(database):
    apply(database, order())
    merge(database, PatientMerge("RIS", patient("P2"), Identifier("P1", "HOSP")))
    done = merge(database, PatientMerge("RIS", patient("P3"), Identifier("P2", "HOSP")))
    again = merge(database, PatientMerge("RIS", patient("P2"), Identifier("P1", "HOSP")))
    inverse = merge(database, PatientMerge("RIS", patient("P1"), Identifier("P3", "HOSP")))
    assert again.outcome is inverse.outcome is Outcome.NOTED
    assert {done.patient} == {again.patient, inverse.patient}
    assert rows(database, ImagingOrder)[0].patient == done.patient
    apply(database, order(Action.UPDATE, 1))
    assert len(rows(database, Patient)) == 3


def test_demographics_of_a_survivor_do_not_undo_a_merge(database):
    merge(database, PatientMerge("RIS", patient("P2"), Identifier("P1", "HOSP")))
    update(database, PatientUpdate("RIS", patient("P2", name="Roe^Jane"), NOW))
    merged = {p.patient_id: p.merged_into is not None for p in rows(database, Patient)}
    assert merged == {"P1": True, "P2": False}


def test_orders_and_merges_at_the_same_time_leave_no_order_with_a_merged_patient(database):
    """A chain of merges while orders come in for every link of it."""
    threads = [
        threading.Thread(target=work, args=(database,)) for work in (_merge_chain, _order_chain)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    merged = {p.id for p in rows(database, Patient) if p.merged_into is not None}
    assert len(rows(database, ImagingOrder)) == 30
    assert not [o.id for o in rows(database, ImagingOrder) if o.patient in merged]


def _merge_chain(database):
    for link in range(10):
        merge(
            database, PatientMerge("RIS", patient(f"P{link + 1}"), Identifier(f"P{link}", "HOSP"))
        )


def _order_chain(database):
    for number in range(30):
        steps = [procedure("RP1", step(f"S{number}"))]
        who = patient(f"P{number % 11}")
        apply(database, order(number=f"F{number}", patient=who, procedures=steps))


def test_the_look_up_by_numbers_never_walks_the_table_however_small(postgresql_database):
    # A connection keeps its plan, and makes it while there are no orders yet.
    apply(postgresql_database, order())
    asked = numbers._BY_NUMBERS._plans["postgresql"].text
    with postgresql_database.read() as session:
        rows = session.connection().exec_driver_sql(f"EXPLAIN (GENERIC_PLAN) {asked}")
        plan = "\n".join(rows.scalars())
    assert plan.count("Index Scan") == 3, plan
    assert "Seq Scan" not in plan, plan


def test_an_order_that_answers_to_all_its_numbers_is_one_order(database):
    both = {"placer": Identifier("P1", "RIS"), "filler": Identifier("F1", "RIS")}
    apply(database, order(**both))
    again = apply(database, order(minute=1, number="P1", **both))
    assert again.outcome is Outcome.APPLIED
