"""Appointments on the worklist: made, moved, cancelled, missed; of orders known and unknown."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import update

from mwl.db.tables import ImagingOrder, RequestedProcedure, ScheduledStep
from tests.builders import orm, siu
from tests.feeding import MESSAGE, Feed

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
STEP = ScheduledStep.__table__  # type: ignore[attr-defined]
LATER = {"AIS_4": "20300103140000"}
OF_THE_ORDER = {"SCH_26": "PO1^RIS", "SCH_27": "FO1^RIS"}
NO_SERVICES = ["RGS", "AIS", "AIG", "AIL", "AIP"]


@pytest.fixture
def feed(database):
    return Feed(database, now=NOW)


def steps(feed):
    return [(row.state, row.start_local) for row in feed.rows(STEP)]


def last(feed):
    return feed.rows(MESSAGE)[-1]


def test_a_new_appointment_is_on_the_list_and_a_moved_one_is_flagged(feed):
    feed.send(siu())
    assert steps(feed) == [("SCHEDULED", "20300102093000")]
    feed.send(siu("S13", **LATER))
    assert steps(feed) == [("SCHEDULED", "20300103140000")]
    moved = "the appointment was moved from 2030-01-02 09:30"
    assert moved in last(feed).flags
    assert moved in feed.rows(ORDER)[0].flags
    assert len(feed.rows(ORDER)) == 1


def test_a_change_that_moves_nothing_is_not_flagged(feed):
    feed.send(siu())
    feed.send(siu("S14", AIL_3="RAD^R2"))
    assert feed.rows(STEP)[0].location == "R2"
    assert not any("moved" in flag for flag in last(feed).flags)


def test_a_moved_appointment_that_was_not_known_is_made_and_flagged(feed):
    feed.send(siu("S13"))
    assert steps(feed) == [("SCHEDULED", "20300102093000")]
    assert "a change came before its order: created" in last(feed).flags


def test_a_cancelled_appointment_leaves_the_list(feed):
    feed.send(siu())
    feed.send(siu("S15"))
    assert steps(feed) == [("CANCELED", "20300102093000")]
    assert feed.rows(ORDER)[0].status == "CANCELED"


def test_a_cancelled_appointment_that_was_not_known_is_remembered(feed):
    feed.send(siu("S15", MSH_7="20300101110000"))
    feed.send(siu(MSH_7="20300101100000"))
    assert steps(feed) == []
    assert (last(feed).state, last(feed).ack_code) == ("stale", "AA")


def test_who_did_not_come_leaves_the_list_and_is_back_with_the_next_appointment(feed):
    feed.send(siu())
    feed.send(siu("S26"))
    assert steps(feed) == [("HELD", "20300102093000")]
    feed.send(siu("S13", **LATER))
    assert steps(feed) == [("SCHEDULED", "20300103140000")]
    assert "a step that was held is released by its new appointment" in last(feed).flags


def test_a_patient_who_has_come_for_an_appointment_is_marked_arrived(feed):
    feed.send(siu("S12"))
    feed.send(siu("S14", SCH_25="Arrived", **LATER))
    assert steps(feed) == [("ARRIVED", "20300103140000")]
    feed.send(siu("S14", SCH_25="Booked"))
    assert steps(feed)[0][0] == "ARRIVED"


def test_who_comes_late_is_on_the_list_again_and_marked_arrived(feed):
    feed.send(siu("S12"))
    feed.send(siu("S26"))
    assert steps(feed)[0][0] == "HELD"
    feed.send(siu("S14", SCH_25="Arrived"))
    assert steps(feed)[0][0] == "ARRIVED"


def test_who_has_come_for_an_appointment_that_is_not_known_is_on_the_list(feed):
    feed.send(siu("S14", SCH_25="Arrived"))
    assert steps(feed)[0][0] == "ARRIVED"


def test_an_appointment_of_a_known_order_reschedules_that(feed):
    feed.send(orm())
    feed.send(siu(**OF_THE_ORDER, **LATER, AIS_3="SLOT30^CT slot of 30 minutes"))
    assert len(feed.rows(ORDER)) == 1
    (procedure,), (step,) = feed.rows(PROCEDURE), feed.rows(STEP)
    assert (procedure.code_value, procedure.description) == ("CTHEAD", "CT head")
    assert procedure.accession_number == "ACC1"
    assert procedure.reason == "After a fall"  # which the order had left open
    assert (step.start_local, step.modality, step.sps_id) == ("20300103140000", "CT", "SPS1")
    assert (step.location, step.description) == ("R1", "CT head")
    assert step.performing_physician == "House^Gregory"
    assert "the appointment was moved from 2030-01-02 09:30" in last(feed).flags


@pytest.mark.parametrize("named", [{"SCH_26": "PO1^RIS"}, {"SCH_27": "FO1^RIS"}])
def test_either_number_of_the_order_names_it(feed, named):
    feed.send(orm())
    feed.send(siu("S13", **named, **LATER))
    assert steps(feed) == [("SCHEDULED", "20300103140000")]


def test_an_appointments_own_service_may_be_exchanged(feed):
    feed.send(siu())
    feed.send(siu("S14", AIS_3="CTNECK^CT neck^99RIS"))
    (procedure,) = feed.rows(PROCEDURE)
    assert (procedure.code_value, procedure.description) == ("CTNECK", "CT neck")


def test_a_step_that_has_started_is_not_moved_but_flagged(feed, database):
    feed.send(siu())
    start = update(STEP).values(state="STARTED")
    database.write(lambda session: session.connection().execute(start))
    feed.send(siu("S13", **LATER))
    assert steps(feed) == [("STARTED", "20300102093000")]
    assert any("of a step that is STARTED: not taken" in flag for flag in last(feed).flags)
    feed.send(siu("S15"))
    assert steps(feed) == [("STARTED", "20300102093000")]
    assert "cancel after STARTED: not done" in last(feed).flags


def test_an_older_appointment_changes_nothing(feed):
    feed.send(siu(MSH_7="20300101110000"))
    feed.send(siu("S13", MSH_7="20300101100000", **LATER))
    assert steps(feed) == [("SCHEDULED", "20300102093000")]
    assert last(feed).state == "stale"


def test_one_of_two_services_is_cancelled_alone(feed):
    second = "AIS|2|A|MRHEAD^MR head|20300102103000"
    feed.send(siu(after=second))
    gone = "AIS|2|D|MRHEAD^MR head|20300102103000"
    feed.send(siu("S14", after=gone))
    assert [state for state, _ in steps(feed)] == ["SCHEDULED", "CANCELED"]
    assert feed.rows(ORDER)[0].status == "SCHEDULED"


def test_a_cancellation_of_a_service_that_is_not_there_is_refused(feed):
    second = "AIS|2|A|MRHEAD^MR head|20300102103000"
    feed.send(siu(after=second))
    feed.send(siu("S15", AIS_3="USABD^Ultrasound"))
    assert (last(feed).state, last(feed).ack_code) == ("rejected", "AR")
    assert "AIS-3" in last(feed).error
    assert [state for state, _ in steps(feed)] == ["SCHEDULED", "SCHEDULED"]


def test_without_services_all_of_the_appointment_is_cancelled(feed):
    feed.send(siu(after="AIS|2|A|MRHEAD^MR head|20300102103000"))
    feed.send(siu("S15", without=NO_SERVICES))
    assert [state for state, _ in steps(feed)] == ["CANCELED", "CANCELED"]


def test_what_was_cancelled_is_not_scheduled_again_but_flagged(feed):
    feed.send(siu())
    feed.send(siu("S15"))
    feed.send(siu("S12", **LATER))
    assert steps(feed) == [("CANCELED", "20300102093000")]
    assert "a step that is CANCELED is not scheduled again: reopen it" in last(feed).flags
