import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from hl7 import mllp
from hl7.client import Connection, send
from mwl.errors import Outage, ProtocolError
from mwl.sockets import dial
from tests import mllp_peer
from tests.builders import orm
from tests.mllp_peer import AA, AE, Ris

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


def answers_another(sock: socket.socket) -> None:
    take(sock)
    sock.sendall(ack("other"))
    assert sock.recv(1) == b""


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
        (answers_another, Outage, "in time: the MSA-2 of what came is another's"),
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


# ---- one connection, kept open ------------------------------------------------------------


def test_one_connection_carries_all_messages() -> None:
    with Ris() as ris, Connection("127.0.0.1", ris.port, 5) as connection:
        for number in range(5):
            assert connection.exchange(message(str(number))).accepted
        assert (ris.connections, ris.ids) == (1, ["0", "1", "2", "3", "4"])


def test_the_kernel_asks_whether_a_receiver_that_rests_is_still_there() -> None:
    with Ris() as ris, dial("127.0.0.1", ris.port, 5) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 60


def test_a_receiver_that_was_started_anew_is_connected_to_anew() -> None:
    first = Ris()
    with Connection("127.0.0.1", first.port, 5) as connection:
        assert connection.exchange(message("1")).accepted
        first.stop()
        with pytest.raises(Outage, match="nobody listens"):
            connection.exchange(message("2"))
        with Ris(first.port) as second:
            assert connection.exchange(message("3")).accepted
            second.hang_up()
            assert connection.exchange(message("4")).accepted
            assert second.ids == ["3", "4"]


def test_a_connection_that_is_reset_when_it_is_used_again_is_opened_anew() -> None:
    """As after a crash: the receiver's system no longer knows the connection."""

    def script(sock: socket.socket) -> None:
        take(sock)
        sock.sendall(ack("1"))
        take(sock)  # and a close with the rest unread resets it
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        scripts = [script, says(ack("2"))]

        def play() -> None:
            for each in scripts:
                sock, _ = listener.accept()
                with sock:
                    each(sock)

        thread = threading.Thread(target=play, daemon=True)
        thread.start()
        with Connection("127.0.0.1", port, 5) as connection:
            assert connection.exchange(message("1")).accepted
            assert connection.exchange(message("2")).accepted
        thread.join(10)
        assert not thread.is_alive()


def test_what_comes_late_between_two_messages_is_passed_over() -> None:
    came = threading.Event()

    def script(sock: socket.socket) -> None:
        take(sock)
        sock.sendall(ack("1") + ack("1", "AE"))
        came.set()
        take(sock)
        sock.sendall(ack("2"))

    with receiver(script) as port, Connection("127.0.0.1", port, 5) as connection:
        assert connection.exchange(message("1")).code == "AA"
        assert came.wait(5)
        assert connection.exchange(message("2")).code == "AA"


# ---- enhanced mode ------------------------------------------------------------------------


def asking(accept: str, application: str, control_id: str = "7") -> bytes:
    return orm(MSH_10=control_id, MSH_15=accept, MSH_16=application).encode()


def codes(asked: bytes, *answers: mllp_peer.Answer | bytes, timeout_s: float = 5) -> str:
    """Send a message, and a plain one behind it; give MSA-1 of the first."""

    def both(taken: bytes) -> bytes:
        given = (each if isinstance(each, bytes) else each(taken) or b"" for each in answers)
        return b"".join(given)

    with Ris() as ris, Connection("127.0.0.1", ris.port, timeout_s) as connection:
        ris.answers(both)
        found = connection.exchange(asked)
        assert connection.exchange(message("8")).control_id == "8"
        assert ris.connections == 1
        return found.code


CA = mllp_peer.answer("CA")


def test_an_accept_acknowledgement_does_where_it_is_all_that_is_asked_for() -> None:
    assert codes(asking("AL", "NE"), CA) == "CA"
    assert codes(asking("AL", "ER"), CA) == "CA"
    assert codes(asking("AL", "NE"), mllp_peer.answer("CE", "101")) == "CE"
    assert codes(asking("AL", "NE"), AA) == "AA"  # a receiver in original mode


def test_the_application_acknowledgement_is_waited_for_where_it_is_asked_for() -> None:
    assert codes(asking("AL", "AL"), CA, AA) == "AA"
    assert codes(asking("AL", "AL"), CA, ack("other", "AE"), AE) == "AE"
    assert codes(asking("AL", "AL"), mllp_peer.answer("CR", "200")) == "CR"
    assert codes(asking("NE", "AL"), AA) == "AA"
    assert codes(asking("AL", "AL"), AA) == "AA"


def test_what_was_committed_is_taken_though_its_application_says_nothing() -> None:
    assert codes(asking("AL", "AL"), CA, timeout_s=0.3) == "CA"


def test_a_ca_that_nobody_asked_for_does_and_what_follows_it_is_late() -> None:
    assert codes(message("7"), CA, AA) == "CA"


def test_nothing_is_waited_for_where_nothing_is_asked_for() -> None:
    start = time.monotonic()
    assert codes(asking("NE", "NE"), mllp_peer.silence) == ""
    assert time.monotonic() - start < 2
    with Ris() as ris, Connection("127.0.0.1", ris.port, 0.3) as connection:
        ris.answers(always=mllp_peer.silence)
        quiet = connection.exchange(asking("NE", "ER"))
        assert (quiet.accepted, quiet.control_id) == (True, "7")
        with pytest.raises(Outage, match="gave no answer in time"):
            connection.exchange(asking("AL", "NE"))
        ris.answers(AE)
        assert connection.exchange(asking("NE", "ER")).code == "AE"
        ris.answers(mllp_peer.close)
        with pytest.raises(Outage, match="without an answer"):
            connection.exchange(asking("NE", "ER"))
