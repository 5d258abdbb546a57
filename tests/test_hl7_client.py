import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from hl7 import mllp
from hl7.client import send
from mwl.errors import Outage, ProtocolError
from tests.builders import orm

Script = Callable[[socket.socket], None]


@contextmanager
def receiver(script: Script) -> Iterator[int]:
    """Listen on a free port and play a script with the first connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def play() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(10)
                script(sock)

        thread = threading.Thread(target=play, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)
        assert not thread.is_alive()


def ack(control_id: str, code: str = "AA", more: str = "") -> bytes:
    text = f"MSH|^~\\&|||||20300101||ACK|1|P|2.5.1\rMSA|{code}|{control_id}\r{more}"
    return mllp.frame(text.encode())


def take(sock: socket.socket) -> None:
    """Read one framed message."""
    framer = mllp.Framer(100_000)
    while not framer.feed(sock.recv(65_536)):
        pass


def message(control_id: str) -> bytes:
    return orm(MSH_10=control_id).encode()


def test_each_message_waits_for_its_answer() -> None:
    def script(sock: socket.socket) -> None:
        for answer in (ack("1"), ack("2", "AE", "ERR||PID^1^3|101|E||||no & patient ID\r")):
            take(sock)
            sock.sendall(answer)

    with receiver(script) as port:
        first, second = send("127.0.0.1", port, [message("1"), message("2")], 10)
    assert (first.code, first.control_id, first.accepted) == ("AA", "1", True)
    assert (second.code, second.text, second.accepted) == ("AE", "no & patient ID", False)


def test_late_answers_to_other_messages_are_passed_over() -> None:
    def script(sock: socket.socket) -> None:
        take(sock)
        sock.sendall(ack("0", "AE") + ack("stray") + ack("7"))

    with receiver(script) as port:
        (answer,) = send("127.0.0.1", port, [message("7")], 10)
    assert answer.control_id == "7"


def test_an_answer_in_pieces_without_fs_counts_at_the_end_of_the_stream() -> None:
    def script(sock: socket.socket) -> None:
        take(sock)
        for byte in ack("7").removesuffix(b"\x1c\r"):
            sock.sendall(bytes([byte]))

    with receiver(script) as port:
        (answer,) = send("127.0.0.1", port, [message("7")], 10)
    assert answer.accepted


def test_an_answer_to_something_unreadable_has_no_msa_2() -> None:
    def script(sock: socket.socket) -> None:
        take(sock)
        sock.sendall(ack("", "AE"))

    with receiver(script) as port:
        (answer,) = send("127.0.0.1", port, [b"no HL7"], 10)
    assert answer.code == "AE"


def closes(sock: socket.socket) -> None:
    take(sock)


def stays_silent(sock: socket.socket) -> None:
    take(sock)
    assert sock.recv(1) == b""  # until the sender gives up


def answers_others(sock: socket.socket) -> None:
    take(sock)
    sock.sendall(ack("other") * 100)


def says(raw: bytes) -> Script:
    def script(sock: socket.socket) -> None:
        take(sock)
        sock.sendall(raw)

    return script


@pytest.mark.parametrize(
    ("script", "error", "text"),
    [
        (closes, Outage, "closed the connection without an answer"),
        (stays_silent, Outage, "gave no answer in time"),
        (answers_others, ProtocolError, "answered other messages"),
        (says(mllp.frame(b"hello")), ProtocolError, "no HL7 message"),
        (says(mllp.frame(message("7"))), ProtocolError, "without MSA-1"),
        (says(b"\x0b" + b"x" * 2_000_000), ProtocolError, "more than"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_whatever_is_no_answer_is_named(script: Script, error: type[Exception], text: str) -> None:
    def tolerant(sock: socket.socket) -> None:
        with suppress(ConnectionError):  # the sender may have left
            script(sock)

    with receiver(tolerant) as port, pytest.raises(error, match=text) as caught:
        list(send("127.0.0.1", port, [message("7")], 0.3))
    assert f"127.0.0.1:{port}" in str(caught.value)


def test_a_receiver_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Outage, match=f"nobody listens at 127.0.0.1:{port}"):
        list(send("127.0.0.1", port, [message("1")], 5))
