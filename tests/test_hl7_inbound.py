import threading
import time
from datetime import UTC, datetime

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hl7 import profile
from hl7.er7 import Message
from hl7.inbound import Inbound
from hl7.profiles import Profiles
from mwl import journal, worklist
from mwl.errors import Outage
from mwl.journal import REUSED
from tests.builders import adt_a08, adt_a40, omi, orm
from tests.hl7_mapping import BERLIN, DEFAULT

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
PEER = "127.0.0.1:4711"
TABLES = ("patient", "imaging_order", "requested_procedure", "scheduled_step", "step_station")


def inbound(database, **options):
    return Inbound(
        database, Profiles.single(profile.load(DEFAULT), BERLIN), clock=lambda: NOW, **options
    )


@pytest.fixture
def way_in(database):
    return inbound(database)


def send(way_in, message: str | bytes) -> Message:
    raw = message if isinstance(message, bytes) else message.encode()
    answer = way_in.receive(raw, PEER)
    assert answer is not None
    return Message.parse(answer.decode())


def code(answer: Message) -> str:
    return answer.text("MSA-1")


def errors(answer: Message) -> list[tuple[str, str]]:
    """Give the place (segment-field) and the code of each ERR."""
    return [
        (f"{err.get(2, 1, 1)}-{err.get(2, 1, 3)}", str(err.get(3))) for err in answer.all("ERR")
    ]


def rows(database, table: str) -> list[dict]:
    with database.read() as session:
        found = session.connection().exec_driver_sql(f"SELECT * FROM {table} ORDER BY 1")
        return [dict(row) for row in found.mappings()]


def everything(database) -> dict[str, list[dict]]:
    return {table: rows(database, table) for table in TABLES}


def messages(database):
    with database.read() as session:
        return journal.search(session)


def test_of_a_message_too_long_to_be_read_the_beginning_is_kept(way_in, database):
    beginning = orm(MSH_10="LONG1").encode()[:200]
    answer = way_in.refuse(beginning, PEER)
    assert answer is not None
    told = Message.parse(answer.decode())
    assert (code(told), told.text("MSA-2"), told.text("ERR-3")) == ("AE", "LONG1", "104")
    (kept,) = messages(database)
    assert (kept.state, kept.control_id) == ("rejected", "LONG1")
    assert rows(database, "message")[0]["raw"] == beginning
    assert not any(everything(database).values())
    nameless = way_in.refuse(b"x" * 9, PEER)
    assert nameless is not None
    assert code(Message.parse(nameless.decode())) == "AE"


# ---- taken ------------------------------------------------------------------------------


def test_an_order_is_answered_aa_and_stands_on_the_worklist(way_in, database):
    text = orm()
    answer = send(way_in, text)
    assert (code(answer), answer.text("MSA-2")) == ("AA", Message.parse(text).text("MSH-10"))
    (step,) = rows(database, "scheduled_step")
    assert (step["sps_id"], step["modality"], step["start_local"]) == (
        "SPS1",
        "CT",
        "20300102093000",
    )
    (procedure,) = rows(database, "requested_procedure")
    assert procedure["accession_number"] == "ACC1"
    (patient,) = rows(database, "patient")
    assert patient["patient_name"] == "Doe^Jane^Q"


def test_the_journal_holds_the_bytes_the_answer_and_what_they_did(way_in, database):
    raw = orm(MSH_18="8859/1", PID_5="Björk^Åse").encode("latin-1")
    answer = way_in.receive(raw, PEER)
    (message,) = rows(database, "message")
    assert bytes(message["raw"]) == raw
    assert bytes(message["ack"]) == answer
    assert (message["state"], message["ack_code"], message["error"]) == ("applied", "AA", "")
    assert (message["source"], message["type"], message["peer"]) == (
        "RIS^HOSPITAL",
        "ORM^O01",
        PEER,
    )
    assert message["imaging_order"] == rows(database, "imaging_order")[0]["id"]
    assert message["patient"] == rows(database, "patient")[0]["id"]
    assert rows(database, "patient")[0]["patient_name"] == "Björk^Åse"


def test_several_orders_of_a_message_are_applied_together(way_in, database):
    second = ["ORC|NW||FO2^RIS", "OBR|||FO2^RIS|X^y^L" + "|" * 14 + "ACC2|RP2|S2||||MR"]
    assert code(send(way_in, orm(after=second))) == "AA"
    assert [row["order_number"] for row in rows(database, "imaging_order")] == ["FO1", "FO2"]


def test_if_one_order_of_a_message_is_refused_none_is_applied(way_in, database):
    assert code(send(way_in, orm())) == "AA"
    before = everything(database)
    text = orm(
        ORC_3="FO2^RIS",
        OBR_3="FO2^RIS",
        OBR_19="RP2",
        OBR_20="S2",
        ZDS_1="1.2.3",
        PID_3="PID9^^^ADT1",
        after=["ORC|NW||FO1^RIS", "OBR|||FO1^RIS|X^y^L"],
    )
    answer = send(way_in, text)
    assert code(answer) == "AE"
    assert errors(answer) == [("PID-3", "205")]
    assert everything(database) == before
    assert [message.state for message in messages(database)] == ["rejected", "applied"]


def test_stale_and_needless_messages_are_accepted_and_said_to_be(way_in, database):
    send(way_in, orm(MSH_7="20300101120000"))
    assert code(send(way_in, orm(MSH_7="20291231120000", PID_5="Old^Name"))) == "AA"
    assert code(send(way_in, orm(MSH_7="20300101120000", ORC_1="NA", ORC_5=None))) == "AA"
    states = [message.state for message in reversed(messages(database))]
    assert states == ["applied", "stale", "noted"]
    assert rows(database, "patient")[0]["patient_name"] == "Doe^Jane^Q"


def test_a_time_far_ahead_makes_nothing_stale_that_comes_later(way_in, database):
    """NOW is noon; a day's grace is for clocks and zones that are wrong."""
    send(way_in, orm(MSH_7="20310101120000"))
    send(way_in, orm(MSH_7="20300101120000", PID_5="Doe^Janet"))
    assert [message.state for message in messages(database)] == ["applied", "applied"]
    assert rows(database, "patient")[0]["patient_name"] == "Doe^Janet"
    (flag,) = messages(database)[-1].flags
    assert flag.startswith("MSH-7: more than a day ahead")


def test_demographics_and_merges_are_applied(way_in, database):
    send(way_in, orm(PID_3="PID2^^^ADT1^MR"))
    assert code(send(way_in, adt_a08(PID_5="Doe^Janet"))) == "AA"
    assert code(send(way_in, adt_a40())) == "AA"
    by_id = {row["patient_id"]: row for row in rows(database, "patient")}
    assert by_id["PID2"]["merged_into"] == by_id["PID1"]["id"]
    assert rows(database, "imaging_order")[0]["patient"] == by_id["PID1"]["id"]


def test_ipcs_are_a_snapshot_of_their_procedure(way_in, database):
    first, second = (f"IPC|ACC1|RP1|1.2.3|S{n}|CT|||| CT{n} " for n in (1, 2))
    send(way_in, omi(IPC=[first, second]))
    send(way_in, omi(IPC=[second], ORC_1="XO", MSH_7="20300101130000"))
    states = {row["sps_id"]: row["state"] for row in rows(database, "scheduled_step")}
    assert states == {"S1": "CANCELED", "S2": "SCHEDULED"}


def test_a_change_without_obr_speaks_of_all_of_its_order(way_in, database):
    second = "OBR||PO1^RIS|FO1^RIS|MRKNEE^Knee^99RIS||||||||||||||ACC1|RP2|SPS2||||MR"
    send(way_in, orm(after=second))
    start = {"ORC_1": "XO", "ORC_7": "^^^20300103110000^^S", "MSH_7": "20300101130000"}
    assert code(send(way_in, orm(without=["OBR", "ZDS"], **start))) == "AA"
    steps = rows(database, "scheduled_step")
    assert [row["start_local"] for row in steps] == ["20300103110000"] * 2
    procedures = rows(database, "requested_procedure")
    assert [row["priority"] for row in procedures] == ["STAT", "STAT"]
    assert [row["code_value"] for row in procedures] == ["CTHEAD", "MRKNEE"]


@pytest.mark.parametrize("fields", [{"without": ["OBR", "ZDS"]}, {"OBR_4": None, "OBR_19": None}])
@pytest.mark.parametrize("is_cancelled", [True, False])
def test_nothing_is_scheduled_of_which_nobody_says_what(way_in, database, fields, is_cancelled):
    if is_cancelled:
        send(way_in, orm(ORC_1="CA"))
    answer = send(way_in, orm(ORC_1="XO", **fields))
    assert (code(answer), errors(answer)) == ("AE", [("OBR-None", "101")])
    assert rows(database, "scheduled_step") == []


def test_of_two_procedures_of_one_code_a_change_names_the_one(way_in, database):
    second = "OBR||PO1^RIS|FO1^RIS|CTHEAD^CT head^99RIS||||||||||||||ACC1|RP2|SPS2||||CT"
    send(way_in, orm(after=second))
    change = {"ORC_1": "XO", "OBR_19": None, "without": ["ZDS"], "OBR_31": "^Fall"}
    answer = send(way_in, orm(**change, OBR_20=None))
    assert (code(answer), errors(answer)) == ("AE", [("OBR-19", "101")])
    assert code(send(way_in, orm(**change, OBR_20="SPS2"))) == "AA"
    found = rows(database, "requested_procedure")
    assert [(row["key"], row["reason"]) for row in found] == [("RP1", ""), ("RP2", "Fall")]


# ---- repeats ----------------------------------------------------------------------------


def test_a_repeat_gets_the_same_answer_and_changes_nothing(way_in, database):
    raw = orm().encode()
    first = way_in.receive(raw, PEER)
    before = everything(database)
    assert way_in.receive(raw, "127.0.0.1:9") == first
    assert everything(database) == before
    (message,) = messages(database)
    assert (message.state, message.repeats) == ("applied", 1)


def test_a_repeat_gets_its_answer_whatever_came_between(way_in, database):
    raw = orm().encode()
    first = way_in.receive(raw, PEER)
    send(way_in, orm(ORC_1="CA", ORC_5="CA", MSH_7="20300101130000"))
    send(way_in, adt_a40(PID_3="PID7^^^ADT1", MRG_1="PID1^^^ADT1", MSH_7="20300101140000"))
    before = everything(database)
    assert way_in.receive(raw, PEER) == first
    assert everything(database) == before


def test_a_repeat_of_what_is_refused_by_now_gets_the_old_answer(database):
    raw = orm().encode()
    first = inbound(database).receive(raw, PEER)
    strict = profile.load(DEFAULT).model_copy(update={"events": {"ADT^A08": "update_patient"}})
    assert Inbound(database, Profiles.single(strict, BERLIN)).receive(raw, PEER) == first


def test_what_was_refused_is_tried_again(way_in, database):
    send(way_in, orm())
    raw = orm(ORC_3="FO1^RIS", PID_3="PID9^^^ADT1", PID_5="Roe^Ann", PID_7="19700101").encode()
    assert code(send(way_in, raw)) == "AE"
    send(way_in, adt_a40(PID_3="PID1^^^ADT1", MRG_1="PID9^^^ADT1"))
    assert code(send(way_in, raw)) == "AA"
    states = [m.state for m in messages(database) if m.type == "ORM^O01"]
    assert sorted(states) == ["applied", "applied", "rejected"]


def test_a_control_id_with_other_content_is_processed_and_flagged(way_in, database):
    send(way_in, orm(MSH_10="SAME"))
    send(way_in, orm(MSH_10="SAME", OBR_31="R10^Pain"))
    newest, oldest = messages(database)
    assert (newest.flags, oldest.flags) == ([REUSED], [])
    assert rows(database, "requested_procedure")[0]["reason"] == "Pain"


def test_the_same_message_on_many_connections_is_applied_once(way_in, database):
    raw = orm().encode()
    answers: list[bytes | None] = []
    barrier = threading.Barrier(8)

    def one() -> None:
        barrier.wait()
        answers.append(way_in.receive(raw, PEER))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert len(set(answers)) == 1
    (message,) = messages(database)
    assert (message.ack_code, message.repeats) == ("AA", 7)
    assert len(rows(database, "scheduled_step")) == 1


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["NW", "XO", "CA", "DC", "HD", "RL", "SC"]),
            st.sampled_from(["", "SC", "IP", "CM", "CA"]),
            st.sampled_from(["1", "2"]),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_applying_each_message_twice_equals_once(sqlite_database, sent):
    way_in = inbound(sqlite_database)
    for control, status, minute in sent:
        raw = orm(ORC_1=control, ORC_5=status, MSH_7=f"203001011200{minute}0").encode()
        first = way_in.receive(raw, PEER)
        once = everything(sqlite_database)
        assert way_in.receive(raw, PEER) == first
        assert everything(sqlite_database) == once


# ---- refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "answer", "expected"),
    [
        ({"PID_3": None}, "AE", [("PID-3", "101")]),
        ({"PID_7": "x"}, "AE", [("PID-7", "102")]),
        ({"ORC_1": "ZZ"}, "AE", [("ORC-1", "103")]),
        ({"OBR_20": "x" * 17}, "AE", [("OBR-20", "104")]),
        ({"OBR_20": "x" * 17, "PID_7": "x"}, "AE", [("PID-7", "102"), ("OBR-20", "104")]),
        ({"MSH_9": "MDM^T02"}, "AR", [("MSH-9", "200")]),
        ({"MSH_9": "ADT^A18"}, "AR", [("MSH-9", "201")]),
        ({"MSH_11": "D"}, "AR", [("MSH-11", "202")]),
        ({"MSH_10": None}, "AE", [("MSH-10", "101")]),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, dict) else "",
)
def test_a_fault_is_answered_and_kept_and_nothing_is_applied(
    way_in, database, fields, answer, expected
):
    raw = orm(**fields).encode()
    found = send(way_in, raw)
    assert (code(found), errors(found)) == (answer, expected)
    (message,) = rows(database, "message")
    assert (message["state"], message["ack_code"], bytes(message["raw"])) == (
        "rejected",
        answer,
        raw,
    )
    assert all(not found for found in everything(database).values())


def test_an_unknown_patients_update_after_a_merge_is_an_unknown_key(way_in):
    send(way_in, adt_a40())
    answer = send(way_in, adt_a08(PID_3="PID2^^^ADT1^MR"))
    assert (code(answer), errors(answer)) == ("AR", [("PID-3", "204")])


def test_a_merge_of_a_patient_into_itself_is_refused(way_in):
    answer = send(way_in, adt_a40(MRG_1="PID1^^^ADT1^MR"))
    assert (code(answer), errors(answer)) == ("AE", [("MRG-1", "102")])


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        (b"hello", 0),
        (b"", 0),
        (b"\x00\x01\x02", 0),
        (b"PID|||1\rMSH|^~\\&|", 0),
        (b"FHS|^~\\&|RIS\rBHS|^~\\&|RIS\r", 1),
        (b"MSH", 1),
        (b"MSH|^~\\&", 1),
        (b"MSH||||||", 1),
        (b"MSHA^~\\&AB", 1),
        (b"MSH|^~\\&|" + b"A" * 5_000, 1),
        (orm().encode() + b"\0", 1),
        (orm(MSH_3="x" * 3_000, MSH_10="y" * 4_000).encode(), 1),
        (orm(PID_3="~".join("1^^^A" for _ in range(1_200))).encode(), 1),
    ],
    ids=range(13),
)
def test_garbage_is_answered_and_kept_if_it_has_a_header(way_in, database, raw, kept):
    assert code(send(way_in, raw)) in ("AE", "AR", "AA")
    found = rows(database, "message")
    assert len(found) == kept
    assert all(bytes(message["raw"]) == raw for message in found)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 60))
def test_no_bytes_go_unanswered(sqlite_database, noise, at, cut):
    raw = orm().encode()
    answer = inbound(sqlite_database).receive(raw[:at] + noise + raw[at + cut :], PEER)
    assert answer is not None
    assert b"MSA" in answer
    assert not [m for m in messages(sqlite_database) if m.state == "failed"]


def test_log_lines_hold_nothing_of_the_patient(sqlite_database):
    with structlog.testing.capture_logs() as logs:
        send(inbound(sqlite_database), orm(PID_7="x", PID_3="SECRET1" * 20, OBR_20="SECRET2" * 9))
    assert logs
    assert not any(word in str(logs) for word in ("SECRET", "Doe", "Jane"))


# ---- our own trouble ----------------------------------------------------------------------


class Flaky:
    """A database that is out for the first calls."""

    def __init__(self, database, outages: int) -> None:
        self._database, self.outages = database, outages

    def write(self, work):
        if self.outages:
            self.outages -= 1
            raise Outage("database: it is shutting down (57P01)")
        return self._database.write(work)


def test_a_short_outage_is_waited_for(sqlite_database):
    waited: list[float] = []
    way_in = inbound(Flaky(sqlite_database, 3), pause=waited.append)
    assert code(send(way_in, orm())) == "AA"
    assert waited == [0.1, 0.2, 0.4]
    assert len(messages(sqlite_database)) == 1


@pytest.mark.parametrize("text", [orm(), orm(PID_3=None)], ids=["good", "at fault"])
def test_a_long_outage_gets_no_answer_and_keeps_nothing(sqlite_database, text):
    way_in = inbound(Flaky(sqlite_database, 10**9), ack_timeout_s=0.25)
    assert way_in.receive(text.encode(), PEER) is None
    assert messages(sqlite_database) == []


@pytest.mark.parametrize("text", [orm(), orm(PID_3=None)], ids=["good", "at fault"])
def test_a_long_outage_may_be_answered_ar_207(sqlite_database, text):
    out = inbound(Flaky(sqlite_database, 10**9), ack_timeout_s=0.25, refuses_when_out=True)
    answer = send(out, text)
    assert (code(answer), [number for _, number in errors(answer)]) == ("AR", ["207"])
    assert answer.text("MSA-2") == Message.parse(text).text("MSH-10")
    assert messages(sqlite_database) == []
    # CA would say that it is in safe storage, CE and CR that it never will be.
    enhanced = orm(MSH_15="AL", MSH_16="AL").encode()
    assert out.receive(enhanced, PEER) is None
    # A batch would be waited with once for each of its messages.
    assert out.receive((orm() + orm()).encode(), PEER) is None


class Uncertain:
    """A database that is gone after its first commit, before it could say so."""

    def __init__(self, database) -> None:
        self._database, self._told = database, False

    def write(self, work):
        done = self._database.write(work)
        if not self._told:
            self._told = True
            raise Outage("database: the server closed the connection")
        return done


@pytest.mark.parametrize(
    "text", [orm(), orm(PID_3=None), orm(MSH_9="MDM^T02")], ids=["AA", "AE", "AR"]
)
def test_what_was_kept_before_an_outage_is_kept_once(database, text):
    answer = inbound(Uncertain(database), pause=lambda _: None).receive(text.encode(), PEER)
    (kept,) = rows(database, "message")
    assert bytes(kept["ack"]) == answer


def test_no_attempt_begins_that_would_end_after_the_deadline():
    attempts: list[float] = []

    class Locked:
        def write(self, _):
            attempts.append(time.monotonic())
            time.sleep(0.3)
            raise Outage("database: another program holds its write lock (SQLITE_BUSY)")

    assert inbound(Locked(), ack_timeout_s=0.5).receive(orm().encode(), PEER) is None
    assert len(attempts) == 1


def test_a_defect_of_ours_is_kept_and_answered_so_that_it_does_not_come_for_ever(
    database, monkeypatch
):
    def break_down(*_, **__):
        raise ZeroDivisionError("Doe^Jane")

    monkeypatch.setattr(worklist, "apply", break_down)
    with structlog.testing.capture_logs() as logs:
        answer = send(inbound(database), orm())
    assert (code(answer), [number for _, number in errors(answer)]) == ("AE", ["207"])
    (message,) = messages(database)
    assert (message.state, message.ack_code) == ("failed", "AE")
    assert logs[0]["error"] == "ZeroDivisionError"
    assert "Doe" not in str(logs)


def test_a_message_that_failed_is_processed_when_it_comes_again(database, monkeypatch):
    raw = orm().encode()
    with monkeypatch.context() as patch:
        patch.setattr(worklist, "apply", lambda *_, **__: 1 / 0)
        assert code(send(inbound(database), raw)) == "AE"
    assert code(send(inbound(database), raw)) == "AA"
    assert len(rows(database, "scheduled_step")) == 1
