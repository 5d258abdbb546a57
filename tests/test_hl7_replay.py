from datetime import UTC, datetime

import pytest

from hl7 import profile
from hl7.inbound import Inbound
from hl7.intake import Intake
from hl7.profiles import Profiles
from hl7.replay import Replay
from mwl import audit, journal, worklist
from mwl.audit import Actor, Wanted
from mwl.errors import Fault, Outage, Reason, Rejected
from mwl.journal import Overrides, State
from tests.builders import adt_a08, orm
from tests.hl7_mapping import BERLIN, DEFAULT

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
LATER = datetime(2030, 1, 1, 13, 0, tzinfo=UTC)
ANNA = Actor("anna", "admin", "10.0.0.1")
PLAIN, AGAIN, BOTH = Overrides(), Overrides(accepted=True), Overrides(accepted=True, older=True)


class Journal:
    """A way in, and a person who replays."""

    def __init__(self, database):
        loaded = Profiles.single(profile.load(DEFAULT), BERLIN)
        self.database = database
        self._inbound = Inbound(database, loaded, clock=lambda: NOW)
        self._replay = Replay(database, Intake(loaded))

    def send(self, message: str | bytes) -> int:
        """Take a message as from the wire; give its row."""
        raw = message if isinstance(message, bytes) else message.encode()
        self._inbound.receive(raw, "127.0.0.1:4711")
        return int(self.messages()[0].id)

    def replay(self, row, overrides=PLAIN):
        return self._replay(row, ANNA, overrides, now=LATER)

    def messages(self):
        with self.database.read() as session:
            found = journal.search(session)
        return sorted(found, key=lambda row: row.id, reverse=True)

    def value(self, sql: str):
        with self.database.read() as session:
            return session.connection().exec_driver_sql(sql).scalar()

    def events(self):
        with self.database.read() as session:
            return audit.listing(session, Wanted(), limit=10)


@pytest.fixture
def kept(database):
    return Journal(database)


@pytest.fixture
def breaks_down(monkeypatch):
    """Let whatever comes fail by a defect of ours, until it is mended."""

    def apply(*_args, **_more):
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(worklist, "apply", apply)
        yield patch


def test_what_failed_is_applied_once_it_is_mended(kept, breaks_down):
    failed = kept.send(orm())
    breaks_down.undo()
    done = kept.replay(failed)
    assert (done.state, done.ack_code, done.error) == (State.APPLIED, "AA", "")
    row = kept.messages()[0]
    assert (row.id, row.replay_of, row.peer, row.received_at) == (done.row, failed, "replay", LATER)
    assert (row.state, row.ack_code, row.imaging_order) == ("applied", "AA", 1)
    assert row.flags == [f"replay of message {failed} by anna"]
    assert kept.value("SELECT accession_number FROM requested_procedure") == "ACC1"


def test_its_sender_s_repeat_gets_the_answer_of_the_replay(kept, breaks_down):
    message = orm()
    failed = kept.send(message)
    breaks_down.undo()
    done = kept.replay(failed)
    kept.send(message)
    assert [row.id for row in kept.messages()] == [done.row, failed]
    assert kept.messages()[0].repeats == 1


def test_a_replay_is_audited_in_its_own_transaction(kept, breaks_down):
    failed = kept.send(orm())
    breaks_down.undo()
    done = kept.replay(failed)
    (event,) = kept.events()
    assert (event.who, event.action, event.subject) == ("anna", "replay", f"message:{failed}")
    assert (event.detail["replay"], event.detail["state"]) == (done.row, "applied")


def test_what_was_accepted_is_not_applied_again_unless_a_person_wants_it(kept):
    accepted = kept.send(orm(ORC_16="", OBR_24="CT"))
    with pytest.raises(Rejected, match="accepted before"):
        kept.replay(accepted)
    assert len(kept.messages()) == 1
    assert kept.events() == []
    done = kept.replay(accepted, AGAIN)
    assert (done.state, done.ack_code) == (State.APPLIED, "AA")
    # The AA that there is goes on answering.
    assert [(row.id, row.ack_code) for row in kept.messages()] == [(done.row, ""), (accepted, "AA")]


def test_a_second_replay_is_of_something_accepted(kept, breaks_down):
    failed = kept.send(orm())
    breaks_down.undo()
    kept.replay(failed)
    with pytest.raises(Rejected, match="accepted before"):
        kept.replay(failed)
    assert kept.replay(failed, AGAIN).state is State.APPLIED


def test_an_older_message_is_not_applied_unless_a_person_overrides_that(kept):
    old = kept.send(orm(MSH_7="20250101120000", OBR_44="OLD"))
    kept.send(orm(MSH_7="20250101130000", OBR_44="NEW"))
    code = "SELECT code_value FROM requested_procedure"
    stale = kept.replay(old, AGAIN)
    assert (stale.state, kept.value(code)) == (State.STALE, "NEW")
    assert kept.replay(old, BOTH).state is State.APPLIED
    assert kept.value(code) == "OLD"
    # The mark of time stays: what its sender sends next is compared with what came last.
    newest = kept.send(orm(MSH_7="20250101123000", OBR_44="BETWEEN"))
    assert kept.messages()[0].state == "stale"
    assert kept.replay(newest, Overrides(accepted=True, older=False)).state is State.STALE


def test_what_is_still_at_fault_is_kept_as_a_replay_with_its_faults(kept):
    refused = kept.send(orm(PID_3=""))
    done = kept.replay(refused)
    assert (done.state, done.ack_code) == (State.REJECTED, "AE")
    assert "PID-3" in done.error
    row = kept.messages()[0]
    assert (row.id, row.replay_of, row.error) == (done.row, refused, done.error)
    assert len(kept.events()) == 1


def test_what_fails_again_is_kept_and_told(kept, breaks_down):
    failed = kept.send(orm())
    done = kept.replay(failed)
    assert (done.state, done.ack_code) == (State.FAILED, "AE")
    assert kept.messages()[0].replay_of == failed


def test_a_fault_that_only_the_rows_show_undoes_all_of_it(kept):
    kept.send(orm())
    refused = kept.send(orm(PID_3="PID7^^^ADT1^MR", PID_5="Roe^Richard", PID_7="19700101"))
    done = kept.replay(refused)
    assert (done.state, done.ack_code) == (State.REJECTED, "AE")
    assert kept.value("SELECT count(*) FROM patient") == 1


def test_an_outage_applies_nothing_and_is_told(kept, monkeypatch):
    refused = kept.send(orm(PID_3=""))

    def out(*_args, **_more):
        raise Outage("database: locked")

    monkeypatch.setattr(audit, "record", out)
    with pytest.raises(Outage):
        kept.replay(refused)
    assert len(kept.messages()) == 1


def test_there_is_nothing_to_replay_where_there_is_no_message(kept):
    with pytest.raises(Rejected) as caught:
        kept.replay(4711)
    assert caught.value.faults == (Fault(Reason.UNKNOWN_KEY, "message 4711", "there is none"),)


def test_what_is_no_message_is_told_so(kept):
    refused = kept.send(b"FHS|^~\\&|RIS\rBHS|^~\\&|RIS\r")
    done = kept.replay(refused)
    assert (done.state, "batch" in done.error) == (State.REJECTED, True)


@pytest.mark.parametrize(
    ("message", "patient", "accession"),
    [
        (orm(PID_7="yesterday", PID_3="P8^^^ADT1~P9"), "P8", "ACC1"),
        (orm(OBR_18="LONGER-THAN-16-CHARACTERS"), "PID1", "LONGER-THAN-16-CHARACTERS"),
        (adt_a08(MSH_9="ADT^Z99"), "PID1", ""),
        (orm(PID_3=""), "", "ACC1"),
    ],
)
def test_a_refused_message_is_found_by_whom_and_what_it_names(kept, message, patient, accession):
    refused = kept.send(message)
    row = kept.messages()[0]
    assert (row.state, row.patient_id, row.accession_number) == ("rejected", patient, accession)
    for wanted in (journal.Wanted(patient=patient), journal.Wanted(accession=accession)):
        with kept.database.read() as session:
            found = [each.id for each in journal.search(session, wanted)]
        assert found == [refused]


def test_an_accepted_message_names_nobody_in_columns_of_its_own(kept):
    kept.send(orm())
    row = kept.messages()[0]
    assert (row.state, row.patient_id, row.accession_number) == ("applied", "", "")
