"""A message rehearsed: told in full, and nothing stays of it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlmodel import SQLModel

from hl7 import profile
from hl7.inbound import Inbound
from hl7.intake import Intake
from hl7.profiles import Profiles
from hl7.rehearsal import Rehearsal
from mwl import outbox
from mwl.config import Forward as Table
from mwl.journal import State
from mwl.outbox import Destination, Destinations, Forwards
from tests.builders import adt, adt_a08, adt_a40, orm
from tests.hl7_mapping import BERLIN, DEFAULT, document

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
TOLD = Destinations((Destination("archive", frozenset({"IP", "CM", "DC"})),))


class Desk:
    """A way in, and somebody who asks what would happen."""

    def __init__(self, database):
        profiles = Profiles.single(profile.load(DEFAULT), BERLIN)
        self.database = database
        self.intake = Intake(profiles, told=TOLD)
        self._inbound = Inbound(database, profiles, told=TOLD, clock=lambda: NOW)

    def send(self, message):
        return self._inbound.receive(message.encode(), "127.0.0.1:4711").split(b"\rMSA|")[1][:2]

    def rehearse(self, message):
        incoming = self.intake.open(message.encode(), "explain", NOW)
        return Rehearsal(self.database, self.intake)(incoming)

    def contents(self):
        """Give every row of every table."""
        with self.database.read() as session:
            conn = session.connection()
            return {
                name: conn.exec_driver_sql(f'SELECT * FROM "{name}"').all()
                for name in sorted(SQLModel.metadata.tables)
            }


@pytest.fixture
def desk(database):
    return Desk(database)


def by_kind(rehearsed):
    return {each.kind: each for each in rehearsed.differences}


def test_a_new_order_is_told_with_all_its_values_and_leaves_no_row(desk):
    before = desk.contents()
    done = desk.rehearse(orm(OBR_20="", ZDS_1=""))
    assert desk.contents() == before
    assert (done.settled.state, done.settled.ack_code) == (State.APPLIED, "AA")
    found = by_kind(done)
    assert {kind: each.what for kind, each in found.items()} == dict.fromkeys(
        ("patient", "order", "procedure", "step"), "created"
    )
    assert found["patient"].name == "PID1 ADT1"
    assert found["patient"].columns["patient_name"] == (None, "Doe^Jane^Q")
    assert found["order"].columns["patient"] == (None, "PID1 ADT1")
    assert found["procedure"].columns["accession_number"] == (None, "ACC1")
    step = found["step"].columns
    assert (step["modality"], step["start_local"]) == ((None, "CT"), (None, "20300102093000"))
    # What is made by chance is not told as if it were known.
    made = "(made when it is applied)"
    assert step["sps_id"] == step["study_instance_uid"] == (None, made)
    assert found["step"].row is None


def test_a_change_is_told_before_and_after(desk):
    desk.send(orm())
    before = desk.contents()
    done = desk.rehearse(orm(ORC_1="XO", ORC_7="^^^20300102140000^^R", PID_8="O"))
    assert desk.contents() == before
    found = by_kind(done)
    assert {(kind, each.what, each.row) for kind, each in found.items()} == {
        ("patient", "changed", 1),
        ("step", "changed", 1),
    }
    assert found["step"].columns == {"start_local": ("20300102093000", "20300102140000")}
    assert found["patient"].columns == {"sex": ("F", "O")}


def test_a_cancellation_is_told(desk):
    desk.send(orm())
    found = by_kind(desk.rehearse(orm(ORC_1="CA", ORC_5="CA")))
    assert found["order"].columns == {"status": ("SCHEDULED", "CANCELED")}
    assert found["step"].columns == {"state": ("SCHEDULED", "CANCELED")}


def test_a_merge_is_told_with_the_orders_that_it_moves(desk):
    desk.send(adt_a08())
    desk.send(orm(PID_3="PID2^^^ADT1^MR"))
    before = desk.contents()
    done = desk.rehearse(adt_a40())
    assert desk.contents() == before
    found = by_kind(done)
    assert found["order"].columns == {"patient": ("PID2 ADT1", "PID1 ADT1")}
    assert found["patient"].columns == {"merged_into": (None, "PID1 ADT1")}


def test_what_others_would_be_told_is_told_and_they_are_not(desk):
    first = "OBR|1|PO1|FO1|A^A^L||||||||||||||ACC1|RP1|S1||||CT"
    second = "OBR|1|PO1|FO1|B^B^L||||||||||||||ACC2|RP2|S2||||CT"
    desk.send(orm(OBR=[first]))
    desk.send(orm(OBR=[second], ZDS_1="1.2.3.4", ORC_1="XO"))
    # A scanner has done one of the two, and that was told; the RIS takes the other away.
    done = "UPDATE scheduled_step SET state = 'COMPLETED' WHERE sps_id = 'S1'"
    desk.database.write(lambda session: session.connection().exec_driver_sql(done))
    desk.database.write(lambda session: outbox.status_facts(session, TOLD, 1, "IP", NOW))
    before = desk.contents()
    cancelled = desk.rehearse(orm(OBR=[second], ZDS_1="1.2.3.4", ORC_1="CA"))
    assert desk.contents() == before
    told = by_kind(cancelled)["delivery"]
    assert (told.what, told.name) == ("created", "archive")
    assert told.columns["subject"] == (None, "order:1")


def test_a_fault_that_only_the_rows_show_is_told_as_it_would_be_answered(desk):
    desk.send(orm())
    before = desk.contents()
    done = desk.rehearse(orm(PID_5="Roe^Richard", PID_7="19700101"))
    assert desk.contents() == before
    assert (done.settled.state, done.settled.ack_code) == (State.REJECTED, "AE")
    assert [fault.where for fault in done.faults] == ["PID-3"]
    assert done.differences == []
    assert b"\rERR|" in done.settled.ack


def test_a_step_that_collides_is_told(desk):
    desk.send(orm())
    done = desk.rehearse(orm(ORC_2="PO2", ORC_3="FO2", OBR_2="PO2", OBR_3="FO2"))
    assert (done.settled.ack_code, [fault.where for fault in done.faults]) == ("AE", ["OBR-20"])


def test_what_was_accepted_before_is_told_to_be_a_repeat(desk):
    message = orm()
    assert desk.send(message) == b"AA"
    done = desk.rehearse(message)
    assert (done.repeat_of, done.differences) == (1, [])


def test_a_control_id_used_again_is_flagged_as_it_would_be(desk):
    desk.send(orm(MSH_10="SAME"))
    done = desk.rehearse(orm(MSH_10="SAME", PID_8="O"))
    assert any("control ID came before" in flag for flag in done.settled.flags)


def test_an_order_that_comes_at_the_same_time_is_taken(desk):
    done = desk.database.rehearse(lambda _session: 7)
    assert done == 7
    assert desk.send(orm()) == b"AA"
    with pytest.raises(ZeroDivisionError):
        desk.database.rehearse(lambda _session: 1 / 0)
    assert desk.send(orm(ORC_1="XO")) == b"AA"


def test_a_report_is_told_and_kept_nowhere(desk):
    before = desk.contents()
    raw = (Path(__file__).parent / "data" / "hl7" / "ORU_R01-PDF.hl7").read_bytes()
    incoming = desk.intake.open(raw, "explain", NOW)
    done = Rehearsal(desk.database, desk.intake)(incoming)
    assert desk.contents() == before
    assert by_kind(done)["report"].what == "created"


@pytest.mark.parametrize("ignored", [False, True])
def test_to_whom_it_would_be_forwarded_is_told(database, ignored):
    given = document()
    if ignored:
        given["event"] = [{"message": "ADT^A08", "when": {"PID-8": "F"}, "is": "ignore"}]
    profiles = Profiles.single(profile.parse(given, "test"), BERLIN)
    desk = Desk(database)
    forwards = Forwards.of([Table(name="his", host="127.0.0.1", port=1)])
    desk.intake = Intake(profiles, forwards=forwards)
    before = desk.contents()
    done = desk.rehearse(adt_a08())
    assert desk.contents() == before
    assert by_kind(done)["delivery"].name == "his"
    assert ("patient" in by_kind(done)) is not ignored


def test_a_link_of_patients_is_told_and_what_is_said_of_it(desk):
    def both(event, at):
        second = "PID|||PID2^^^ADT1^MR"
        return adt(event, without=["PV1"], after=[second], MSH_7=f"203001010600{at:02}")

    desk.send(adt_a08(PID_3="PID3^^^ADT1^MR"))
    desk.send(adt("A24", without=["PV1"], after=["PID|||PID3^^^ADT1^MR"]))
    link = by_kind(desk.rehearse(both("A24", 1)))["link"]
    assert (link.what, link.name, link.row) == ("created", "PID1 ADT1 and PID2 ADT1", None)
    assert link.columns["said"] == (None, "may be one person")
    desk.send(both("A24", 1))
    assert desk.rehearse(both("A24", 2)).differences == []
    (link,) = desk.rehearse(both("A37", 3)).differences
    assert (link.kind, link.what) == ("link", "changed")
    assert dict(link.columns) == {"said": ("may be one person", "are two people")}
