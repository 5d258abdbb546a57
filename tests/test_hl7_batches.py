"""Batches: found, counted, taken message by message, answered as the standard has it."""

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hl7 import batches, explain, mllp, profile
from hl7.er7 import Message
from hl7.inbound import Inbound
from hl7.profiles import Profiles
from mwl.errors import Outage, Rejected
from tests.builders import orm
from tests.hl7_mapping import BERLIN, DEFAULT

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
A = b"MSH|^~\\&|A\rPID|||1\r"
B = b"MSH|^~\\&|B\rPID|||2\r"
BHS, FHS = (
    b"BHS|^~\\&|RIS|HOSPITAL|MWL|RADIOLOGY|2030||||B7\r",
    b"FHS|^~\\&|RIS|HOSPITAL|||||||F9\r",
)


def found(raw: bytes) -> list[list[bytes]]:
    file = batches.split(raw)
    assert file is not None
    return [batch.messages for batch in file.batches]


def flags(raw: bytes) -> list[str]:
    file = batches.split(raw)
    assert file is not None
    return [*file.flags, *(flag for batch in file.batches for flag in batch.flags)]


@pytest.mark.parametrize(
    ("raw", "messages"),
    [
        (BHS + A + B + b"BTS|2\r", [[A, B]]),
        (FHS + BHS + A + b"BTS|1\r" + BHS + B + b"BTS|1\rFTS|2\r", [[A], [B]]),
        (FHS + A + B + b"FTS|1", [[A, B]]),
        (BHS + A + b"BTS|1\r" + B, [[A], [B]]),
        (A + B, [[A, B]]),
        (A + B + b"BTS|2\r", [[A, B]]),
        (b"\xef\xbb\xbf\r\n" + BHS + A + b"BTS\r", [[A]]),
        ((BHS + A + B + b"BTS|2").replace(b"\r", b"\r\n"),
         [[A.replace(b"\r", b"\r\n"), B.replace(b"\r", b"\r\n")]]),
        ((BHS + A + B + b"BTS|2").replace(b"\r", b"\n"),
         [[A.replace(b"\r", b"\n"), B.replace(b"\r", b"\n")]]),
        (b"BHS#@~\\&#X\r" + A + b"BTS#1#\r", [[A]]),
        (BHS + b"BTS|0\r", [[]]),
        (BHS + A + b"NTE|||BTS-7 is no trailer\rMSH is none\rBTS - nor that\rBTS|1\r",
         [[A + b"NTE|||BTS-7 is no trailer\rMSH is none\rBTS - nor that\r"]]),
    ],
    ids=["one batch", "file of two", "file without BHS", "BTS, then no BHS", "no header at all",
         "trailer alone", "BOM", "CRLF", "LF", "other delimiters", "empty", "texts"],
)  # fmt: skip
def test_messages_are_found_byte_for_byte(raw: bytes, messages: list[list[bytes]]) -> None:
    assert found(raw) == messages


@pytest.mark.parametrize(
    "raw",
    [
        A,
        A + b"OBX|1|ED|||x^MSH|^~\\&|y\r",
        A + b"NTE|||a line\rMSH of the text\r",
        b"",
        b"MSH",
        b"hello MSH|^~\\&|",
        b"PID|1\rMSH|^~\\&|",
    ],
)
def test_what_is_one_message_at_most_is_no_batch(raw: bytes) -> None:
    assert batches.split(raw) is None


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (BHS + b"PID|||1\r" + A + b"BTS|1\r", "behind BHS"),
        (BHS + A + b"BTS|1\rPID|||2\r", "behind BTS"),
        (FHS + BHS + A + b"BTS|1\rFTS|1\r" + B, "MSH behind FTS"),
        (A + FHS + B, "FHS is not at its beginning"),
        (FHS + FHS + A, "FHS is not at its beginning"),
        (b"BHS\r" + A + B, "delimiters of its header"),
        (BHS + b"BTS|3\r", "no message, and its trailers count some"),
        (FHS + BHS, "no message"),
        (A * (batches.MAX_MESSAGES + 1), "more than 10000 messages"),
    ],
)
def test_what_would_lose_a_segment_refuses_the_whole(raw: bytes, text: str) -> None:
    with pytest.raises(Rejected, match=text):
        batches.split(raw)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (BHS + A + B + b"BTS|2\r", []),
        (BHS + A + B + b"BTS\r", []),
        (BHS + A + B + b"BTS|3\r", ["BTS-1 says 3 messages, and 2 came"]),
        (BHS + A, ["the batch has no BTS: there may have been more of it"]),
        (FHS + BHS + A + b"BTS|1\rFTS|2\r", ["FTS-1 says 2 batches, and 1 came"]),
        (FHS + BHS + A + b"BTS|1\r", ["the file has no FTS: there may have been more of it"]),
        (A + B, []),
    ],
)
def test_counts_that_are_wrong_are_flagged(raw: bytes, told: list[str]) -> None:
    assert flags(raw) == told


@given(st.lists(st.sampled_from([FHS, BHS, A, B, b"BTS|1\r", b"FTS|1\r", b"x\r", b"MSH"])))
def test_nothing_is_lost_however_headers_stand(pieces: list[bytes]) -> None:
    raw = b"".join(pieces)
    try:
        file = batches.split(raw)
    except Rejected:
        return
    if file is None:
        return
    messages = [each for batch in file.batches for each in batch.messages]
    segments = {line for line in raw.split(b"\r") if line[:3] not in {b"FHS", b"BHS", b"BTS"}}
    kept = {line for message in messages for line in message.split(b"\r")}
    assert {line for line in segments if line and line[:3] != b"FTS"} <= kept


def test_a_large_report_that_holds_the_letters_is_not_slower() -> None:
    big = A + b"OBX|1|ED|||" + b"MSH|x \rMSH" * 900_000 + b"\r"
    start = time.process_time()
    assert batches.split(big) is None
    assert time.process_time() - start < 2


# ---- taken ------------------------------------------------------------------------------


def inbound(database, **options):
    profiles = Profiles.single(profile.load(DEFAULT), BERLIN)
    return Inbound(database, profiles, clock=lambda: NOW, **options)


def order(number: int, **fields) -> bytes:
    own = {"MSH_10": f"M{number}", "ORC_3": f"FO{number}^RIS", "OBR_3": f"FO{number}^RIS"}
    own |= {"OBR_18": f"ACC{number}", "OBR_19": f"RP{number}", "OBR_20": f"S{number}"}
    return orm(**{**own, "ZDS_1": f"1.2.{number}", **fields}).encode()


def framed(answer: bytes) -> list[bytes]:
    return mllp.Framer(1_000_000).feed(mllp.frame(answer))


def said(answer: bytes) -> list[tuple[str, str]]:
    """Give MSA-1 and MSA-2 of each acknowledgement in a frame."""
    parsed = [Message.parse(each.decode()) for each in explain.split(answer)]
    return [(each.text("MSA-1"), each.text("MSA-2")) for each in parsed]


def rows(database, table: str = "message") -> list[dict]:
    with database.read() as session:
        found = session.connection().exec_driver_sql(f"SELECT * FROM {table} ORDER BY 1")
        return [dict(row) for row in found.mappings()]


def test_each_message_of_a_batch_is_answered_and_kept_on_its_own(database):
    good, bad, other = order(1), order(2, PID_3=None), order(3)
    answer = inbound(database).receive(BHS + good + bad + other + b"BTS|3\r", "peer")
    assert answer is not None
    (frame,) = framed(answer)
    assert said(frame) == [("AA", "M1"), ("AE", "M2"), ("AA", "M3")]
    lines = frame.split(b"\r")
    assert lines[0].startswith(b"BHS|^~\\&|MWL|RADIOLOGY|RIS|HOSPITAL|20300101120000+0000||||")
    assert lines[0].endswith(b"-1|B7")  # BHS-12: theirs
    assert lines[-2:] == [b"BTS|3", b""]
    assert [(bytes(row["raw"]), row["ack_code"]) for row in rows(database)] == [
        (good, "AA"),
        (bad, "AE"),
        (other, "AA"),
    ]
    assert [row["order_number"] for row in rows(database, "imaging_order")] == ["FO1", "FO3"]


def test_a_file_is_answered_by_a_file(sqlite_database):
    raw = FHS + BHS + order(1) + b"BTS|1\r" + BHS + order(2) + b"BTS|1\rFTS|2\r"
    answer = inbound(sqlite_database).receive(raw, "peer")
    names = [line[:3] for line in answer.split(b"\r") if line]
    assert names == [b"FHS", *[b"BHS", b"MSH", b"MSA", b"BTS"] * 2, b"FTS"]
    assert answer.split(b"\r")[0].endswith(b"|F9")
    assert b"\rFTS|2\r" in answer


def test_messages_in_one_frame_without_headers_are_answered_as_if_framed_apart(sqlite_database):
    answer = inbound(sqlite_database).receive(order(1) + order(2), "peer")
    assert [said(each) for each in framed(answer)] == [[("AA", "M1")], [("AA", "M2")]]


def test_a_wrong_count_is_told_to_both_sides(sqlite_database):
    answer = inbound(sqlite_database).receive(BHS + order(1) + b"BTS|2\r", "peer")
    assert said(answer) == [("AA", "M1")]
    assert answer.endswith(b"\rBTS|1|BTS-1 says 2 messages, and 1 came\r")
    (row,) = rows(sqlite_database)
    assert "BTS-1 says 2 messages, and 1 came" in row["flags"]


def test_a_batch_that_can_not_be_read_is_refused_and_kept_whole(database):
    raw = BHS + b"PID|||1\r" + order(1) + b"BTS|1\r"
    answer = inbound(database).receive(raw, "peer")
    assert said(answer) == [("AE", "")]
    assert b"behind BHS are segments that belong to no message" in answer
    (row,) = rows(database)
    assert (row["state"], bytes(row["raw"])) == ("rejected", raw)
    assert rows(database, "imaging_order") == []


class Out:
    """A database that goes out after so many writes."""

    def __init__(self, database, writes: int) -> None:
        self._database, self._left = database, writes

    def write(self, work):
        if not self._left:
            raise Outage("database: it is shutting down (57P01)")
        self._left -= 1
        return self._database.write(work)


def test_an_outage_in_the_middle_answers_nothing_and_the_repeat_takes_the_rest(sqlite_database):
    raw = BHS + order(1) + order(2) + order(3) + b"BTS|3\r"
    impatient = inbound(Out(sqlite_database, 1), ack_timeout_s=0)
    assert impatient.receive(raw, "peer") is None
    assert [row["control_id"] for row in rows(sqlite_database)] == ["M1"]
    kept = bytes(rows(sqlite_database)[0]["ack"])
    answer = inbound(sqlite_database).receive(raw, "peer")
    assert said(answer) == [("AA", "M1"), ("AA", "M2"), ("AA", "M3")]
    assert kept in answer
    assert [row["repeats"] for row in rows(sqlite_database)] == [1, 0, 0]
