"""What real senders put on the wire, from the socket to the journal and back."""

import socket
from collections.abc import Callable, Iterator

import pytest

from hl7 import batches, explain, mllp, profile
from hl7.er7 import Message
from hl7.inbound import Inbound
from hl7.profiles import Profiles
from hl7.server import Limits, MllpServer, listen
from tests.builders import orm
from tests.hl7_mapping import BERLIN, DEFAULT
from tests.test_hl7_batches import BHS, order, rows

VT, FS, CR = b"\x0b", b"\x1c", b"\r"
MOST_BYTES = 5_000
A, B = order(1), order(2)


@pytest.fixture
def way_in(sqlite_database) -> Inbound:
    return Inbound(sqlite_database, Profiles.single(profile.load(DEFAULT), BERLIN))


@pytest.fixture
def port(way_in) -> Iterator[int]:
    limits = Limits(max_message_bytes=MOST_BYTES, message_timeout_s=2)
    with listen("127.0.0.1", 0) as listener:
        server = MllpServer(listener, way_in.receive, limits, refuse=way_in.refuse)
        server.start()
        yield server.port
        server.stop(5)


def conversation(port: int, stream: bytes, cut: int = 1 << 20) -> list[Message]:
    """Send a stream in pieces of `cut` bytes, end it, and give all that comes back."""
    framer, got = mllp.Framer(1_000_000), list[bytes]()
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(stream), cut):
            sock.sendall(stream[start : start + cut])
        sock.shutdown(socket.SHUT_WR)
        while data := sock.recv(65_536):
            got += framer.feed(data)
    return [Message.parse(each.decode()) for frame in got for each in explain.split(frame)]


def said(answers: list[Message]) -> list[str]:
    return [f"{each.text('MSA-1')} {each.text('MSA-2')}" for each in answers]


def lines(end: bytes) -> Callable[[bytes], bytes]:
    return lambda message: message.replace(b"\r", end)


STREAMS = {
    "as it should be": (mllp.frame(A), ["AA M1"]),
    "LF for CR": (mllp.frame(lines(b"\n")(A)), ["AA M1"]),
    "CRLF for CR": (mllp.frame(lines(b"\r\n")(A)), ["AA M1"]),
    "CR doubled": (mllp.frame(lines(b"\r\r")(A)), ["AA M1"]),
    "no CR at the end of the last segment": (mllp.frame(A.rstrip()), ["AA M1"]),
    "BOM": (mllp.frame(b"\xef\xbb\xbf" + A), ["AA M1"]),
    "BOM before the frame": (b"\xef\xbb\xbf" + mllp.frame(A), ["AA M1"]),
    "blank lines first": (mllp.frame(b"\r\n \r\n" + A), ["AA M1"]),
    "VT missing": (A + FS + CR, ["AA M1"]),
    "VT doubled": (VT + mllp.frame(A), ["AA M1"]),
    "FS missing before the next": (VT + A + mllp.frame(B), ["AA M1", "AA M2"]),
    "FS and CR missing at the end": (VT + A, ["AA M1"]),
    "FS doubled": (VT + A + FS + FS + CR, ["AA M1"]),
    "CR missing behind FS": (VT + A + FS + VT + B + FS, ["AA M1", "AA M2"]),
    "LF for CR behind FS": (VT + A + FS + b"\n" + VT + B + FS + b"\n", ["AA M1", "AA M2"]),
    "neither VT nor FS": (A, ["AA M1"]),
    "several messages in one segment": (mllp.frame(A) + mllp.frame(B), ["AA M1", "AA M2"]),
    "several messages in one frame": (mllp.frame(A + B), ["AA M1", "AA M2"]),
    "an empty frame before it": (mllp.frame(b"") + mllp.frame(A), ["AA M1"]),
    "half a message, begun again": (VT + A[:99] + mllp.frame(A), ["AA M1"]),
    "half a message, then the end": (VT + A[:99], []),
    "a batch": (mllp.frame(BHS + A + B + b"BTS|2\r"), ["AA M1", "AA M2"]),
    "a batch without VT": (BHS + A + B + b"BTS|2\r" + FS + CR, ["AA M1", "AA M2"]),
    "NUL": (mllp.frame(A + b"\0"), ["AE M1"]),
    "no HL7": (mllp.frame(b"hello"), ["AE "]),
    "too long": (mllp.frame(A.ljust(MOST_BYTES + 1, b"x")), ["AE M1"]),
    "a good one, then one too long": (
        mllp.frame(A) + mllp.frame(B.ljust(MOST_BYTES + 1, b"x")),
        ["AA M1", "AE M2"],
    ),
    "other delimiters": (
        mllp.frame(A.translate(bytes.maketrans(b"|^~\\&", b"#@*!%"))),
        ["AA M1"],
    ),
    "truncation character of 2.7": (mllp.frame(A.replace(b"^~\\&", b"^~\\&#", 1)), ["AA M1"]),
    "Z segments anywhere": (
        mllp.frame(A.replace(b"\rPID", b"\rZAA|1^2\rPID").replace(b"\rOBR", b"\rZBB|x\rOBR")),
        ["AA M1"],
    ),
    "a segment that nobody knows": (mllp.frame(A + b"QQ9|1|2\r"), ["AA M1"]),
}


@pytest.mark.parametrize("name", STREAMS)
def test_what_senders_do_to_frames_and_lines_is_allowed_for(port, way_in, name):
    stream, expected = STREAMS[name]
    answers = conversation(port, stream)
    assert said(answers) == expected
    if len(answers) == 1 and expected[0].startswith("AA"):
        # The network may cut it anywhere.
        assert said(conversation(port, stream, 7)) == expected


def test_each_order_of_a_stream_is_on_the_worklist_once(port, sqlite_database):
    stream = mllp.frame(A) + VT + B + mllp.frame(order(3)) + mllp.frame(order(4) + order(5))
    expected = [f"AA M{number}" for number in range(1, 6)]
    assert said(conversation(port, stream, 100)) == expected
    assert said(conversation(port, stream)) == expected
    numbers = [row["order_number"] for row in rows(sqlite_database, "imaging_order")]
    assert sorted(numbers) == ["FO1", "FO2", "FO3", "FO4", "FO5"]
    messages = rows(sqlite_database)
    assert len(messages) == 5
    # Nobody can tell whether there was more of those whose end did not come.
    unended = [row["control_id"] for row in messages if batches.UNENDED in row["flags"]]
    assert sorted(unended) == ["M2", "M4"]


def test_a_message_too_long_says_so_with_its_reason(port):
    (answer,) = conversation(port, mllp.frame(A.ljust(MOST_BYTES * 3, b"x")))
    assert (answer.text("MSA-2"), answer.text("ERR-3")) == ("M1", "104")
    asked = orm(MSH_10="L", MSH_15="AL", MSH_16="NE").encode()
    (answer,) = conversation(port, mllp.frame(asked.ljust(MOST_BYTES * 3, b"x")))
    assert (answer.text("MSA-1"), answer.text("ERR-3")) == ("CE", "104")


def test_a_sender_that_wants_no_answer_keeps_its_connection(port, sqlite_database):
    quiet = order(1, MSH_15="NE", MSH_16="NE")
    both = order(2, MSH_15="AL", MSH_16="AL")
    answers = conversation(port, mllp.frame(quiet) + mllp.frame(both) + mllp.frame(order(3)))
    assert said(answers) == ["CA M2", "AA M2", "AA M3"]
    assert len(rows(sqlite_database, "imaging_order")) == 3


def test_messages_of_a_batch_get_what_each_asks_for(port):
    quiet, both = order(1, MSH_15="NE", MSH_16="NE"), order(2, MSH_15="AL", MSH_16="AL")
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(mllp.frame(BHS + quiet + both + order(3) + b"BTS|3\r"))
        framer, got = mllp.Framer(10_000), list[bytes]()
        while not got:
            got = framer.feed(sock.recv(10_000))
        (frame,) = got
        assert [line for line in frame.split(b"\r") if line.startswith((b"MSA", b"BTS"))] == [
            b"MSA|CA|M2",
            b"MSA|AA|M2",
            b"MSA|AA|M3",
            b"BTS|3",
        ]
        # Of a batch that asks for nothing nothing comes back, and the connection stays.
        sock.sendall(mllp.frame(BHS + quiet + b"BTS|1\r") + mllp.frame(order(4)))
        (alone,) = framer.feed(sock.recv(10_000))
        assert b"MSA|AA|M4" in alone
