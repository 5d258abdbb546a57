import contextlib
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from hl7 import mllp
from hl7.server import Handle, Limits, MllpServer, Peer, listen

MESSAGE = b"MSH|^~\\&|A\rPID|||SECRET\r"


def echo(raw: bytes, peer: Peer) -> bytes:
    return b"MSH|ACK " + raw


@contextmanager
def serving(
    handle: Handle = echo,
    drain_s: float = 5,
    refuse: Handle = lambda _beginning, _peer: None,
    **limits: float,
) -> Iterator[MllpServer]:
    with listen("127.0.0.1", 0) as listener:
        given = Limits(**limits)  # type: ignore[arg-type]
        server = MllpServer(listener, handle, given, refuse=refuse)
        server.start()
        try:
            yield server
        finally:
            server.stop(drain_s)


@contextmanager
def connected(server: MllpServer) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield sock


def answers(sock: socket.socket, count: int) -> list[bytes]:
    """Read that many answers."""
    framer, got = mllp.Framer(10_000_000), list[bytes]()
    while len(got) < count:
        data = sock.recv(65_536)
        assert data, f"the connection ended after {len(got)} answers"
        got += framer.feed(data)
    return got


def ended(sock: socket.socket) -> bool:
    """Wait for the server to end the connection, without another byte."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def serves(server: MllpServer) -> None:
    with connected(server) as sock:
        sock.sendall(mllp.frame(MESSAGE))
        assert answers(sock, 1) == [echo(MESSAGE, Peer("", 0))]


def test_a_connection_carries_many_messages() -> None:
    with serving() as server, connected(server) as sock:
        for number in range(100):
            sock.sendall(mllp.frame(MESSAGE + b"%d" % number))
            assert answers(sock, 1) == [b"MSH|ACK " + MESSAGE + b"%d" % number]


def test_a_defect_while_accepting_costs_one_connection_and_not_the_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving() as server, capture_logs() as logs:
        with monkeypatch.context() as patch:
            patch.setattr(server, "_welcome", lambda *_: 1 / 0)
            with connected(server) as sock:
                assert ended(sock)
        serves(server)
    assert "mllp.accept_defect" in [line["event"] for line in logs]


def test_pipelined_messages_are_answered_in_order() -> None:
    messages = [MESSAGE + b"%d" % number for number in range(500)]
    with serving() as server, connected(server) as sock:
        sock.sendall(b"".join(map(mllp.frame, messages)))
        assert answers(sock, 500) == [b"MSH|ACK " + message for message in messages]


def test_a_message_may_come_byte_by_byte() -> None:
    with serving() as server, connected(server) as sock:
        for byte in mllp.frame(MESSAGE):
            sock.sendall(bytes([byte]))
        assert answers(sock, 1) == [b"MSH|ACK " + MESSAGE]


@pytest.mark.parametrize("rest", [b"", mllp.frame(MESSAGE) * 100])
@pytest.mark.parametrize("size", [2_000, 5_000_000])
def test_a_message_that_is_too_long_is_refused_with_an_answer(size: int, rest: bytes) -> None:
    def refuse(beginning: bytes, _peer: Peer) -> bytes:
        return b"MSH|REFUSED " + beginning[:8]

    with (
        capture_logs() as logs,
        serving(max_message_bytes=size // 2, refuse=refuse) as server,
        connected(server) as sock,
    ):
        # A sender looks for the answer when it has sent everything.
        sock.sendall(mllp.frame(MESSAGE) + mllp.frame(MESSAGE.ljust(size, b"x")) + rest)
        refused = b"MSH|REFUSED " + MESSAGE[:8]
        assert answers(sock, 2) == [echo(MESSAGE, Peer("", 0)), refused]
        sock.shutdown(socket.SHUT_WR)
        assert ended(sock)
        serves(server)
    assert f"a message of more than {size // 2} bytes" in {log.get("reason") for log in logs}


def test_a_message_of_many_megabytes_passes() -> None:
    big = b"MSH|" + os.urandom(4_000_000).hex().encode()
    with serving(lambda raw, peer: b"%d" % len(raw)) as server, connected(server) as sock:
        sock.sendall(mllp.frame(big))
        framer = mllp.Framer(100)
        assert framer.feed(sock.recv(100)) == [b"8000004"]


def test_a_sender_may_end_its_side_and_still_be_answered() -> None:
    with serving() as server, connected(server) as sock:
        sock.sendall(b"\x0b" + MESSAGE)
        sock.shutdown(socket.SHUT_WR)
        assert answers(sock, 1) == [b"MSH|ACK " + MESSAGE]
        assert ended(sock)


def test_the_handler_knows_the_peer() -> None:
    peers = []

    def handle(raw: bytes, peer: Peer) -> bytes:
        peers.append(peer)
        return b"MSH"

    with serving(handle) as server, connected(server) as sock:
        sock.sendall(mllp.frame(MESSAGE))
        answers(sock, 1)
        assert peers == [Peer(*sock.getsockname())]
    assert str(Peer("::1", 7)) == "[::1]:7"


def test_no_answer_closes_the_connection_and_the_server_lives_on() -> None:
    def handle(raw: bytes, peer: Peer) -> bytes | None:
        return None if b"outage" in raw else echo(raw, peer)

    with serving(handle) as server:
        with connected(server) as sock:
            sock.sendall(mllp.frame(MESSAGE) + mllp.frame(b"MSH outage") + mllp.frame(MESSAGE))
            assert answers(sock, 1) == [b"MSH|ACK " + MESSAGE]
            assert ended(sock)
        serves(server)


def test_an_exception_closes_the_connection_and_tells_no_patient_data() -> None:
    def handle(raw: bytes, peer: Peer) -> bytes:
        if b"bug" in raw:
            raise ValueError(raw.decode())
        return echo(raw, peer)

    with capture_logs() as logs, serving(handle) as server:
        with connected(server) as sock:
            sock.sendall(mllp.frame(MESSAGE + b"bug"))
            assert ended(sock)
        serves(server)
    (failure,) = (line for line in logs if line["event"] == "mllp.handle_failed")
    assert failure["error"] == "ValueError"
    assert "test_hl7_server.py" in failure["at"]
    assert "SECRET" not in str(logs)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"\x0b" + b"x" * 2000, "a message of more than 1000 bytes"),
        (b"GET / HTTP/1.1\r\n" * 100, "no message within 1000 bytes"),
        (b"\x0b", "half a message, then silence"),
        (b"M", "half a message, then silence"),
        (b"x", "half a message, then silence"),
        (b"\x0bMSH|^~\\&|SECRET", "half a message, then silence"),
    ],
    ids=["oversized", "garbage", "VT", "one byte", "one byte of garbage", "half a message"],
)
def test_what_is_no_message_ends_the_connection_and_is_logged(sent: bytes, reason: str) -> None:
    limits = {"max_message_bytes": 1000, "message_timeout_s": 0.2}
    with capture_logs() as logs, serving(**limits) as server:
        with connected(server) as sock:
            sock.sendall(sent)
            assert ended(sock)
        serves(server)
    closed = [line for line in logs if line["event"] == "mllp.closed"]
    assert reason in [line["reason"] for line in closed if line["log_level"] == "warning"]
    assert "SECRET" not in str(logs)


def test_half_a_message_at_the_end_is_not_handled() -> None:
    handled = []

    def handle(raw: bytes, peer: Peer) -> bytes:
        handled.append(raw)
        return b"MSH"

    with capture_logs() as logs, serving(handle) as server, connected(server) as sock:
        sock.sendall(b"\x0b" + MESSAGE + b"OBR|||F")
        sock.shutdown(socket.SHUT_WR)
        assert ended(sock)
    assert handled == []
    assert "half a message, then the end" in [line.get("reason") for line in logs]


def test_messages_before_an_oversized_one_are_answered() -> None:
    with serving(max_message_bytes=1000) as server, connected(server) as sock:
        sock.sendall(mllp.frame(MESSAGE) + b"\x0b" + b"x" * 1100)
        assert answers(sock, 1) == [b"MSH|ACK " + MESSAGE]
        assert ended(sock)


def trickled_to_the_end(sock: socket.socket) -> bool:
    """Send a byte every 20 ms until the server ends the connection."""
    sock.settimeout(0.02)
    for _ in range(500):
        try:
            sock.sendall(b"x")
            return sock.recv(1) == b""
        except TimeoutError:
            continue
        except ConnectionError:
            return True
    return False


def test_a_trickle_does_not_outlast_the_time_for_one_message() -> None:
    with serving(message_timeout_s=0.3) as server, connected(server) as sock:
        start = time.monotonic()
        sock.sendall(b"\x0bMSH")
        assert trickled_to_the_end(sock)
        assert 0.2 < time.monotonic() - start < 5


def test_silence_between_messages_has_a_time_limit_of_its_own() -> None:
    with serving(idle_timeout_s=0.3, message_timeout_s=30) as server, connected(server) as sock:
        sock.sendall(mllp.frame(MESSAGE) + b"\r\n")
        answers(sock, 1)
        start = time.monotonic()
        assert ended(sock)
        assert time.monotonic() - start < 5


def test_the_time_a_message_takes_to_handle_is_not_the_senders() -> None:
    def handle(raw: bytes, peer: Peer) -> bytes:
        time.sleep(0.4)
        return echo(raw, peer)

    with serving(handle, message_timeout_s=0.2) as server, connected(server) as sock:
        second = mllp.frame(MESSAGE)
        sock.sendall(mllp.frame(MESSAGE) + second[:5])
        answers(sock, 1)
        sock.sendall(second[5:])
        answers(sock, 1)


def test_a_peer_that_reads_no_answer_is_given_up() -> None:
    handling = threading.Event()
    threads = []

    def handle(raw: bytes, peer: Peer) -> bytes:
        threads.append(threading.current_thread())
        handling.set()
        return b"x" * 8_000_000

    with (
        capture_logs() as logs,
        serving(handle, write_timeout_s=0.3) as server,
        connected(server) as sock,
    ):
        sock.sendall(mllp.frame(MESSAGE))
        assert handling.wait(10)
        threads[0].join(10)
        assert not threads[0].is_alive()
    assert "write timeout" in [line.get("reason") for line in logs]


def test_an_answer_that_nobody_asked_for_is_not_sent_and_the_connection_stays() -> None:
    def handle(raw: bytes, peer: Peer) -> bytes:
        return b"" if b"quiet" in raw else echo(raw, peer)

    with serving(handle) as server, connected(server) as sock:
        sock.sendall(mllp.frame(MESSAGE + b"quiet") + mllp.frame(MESSAGE))
        assert answers(sock, 1) == [b"MSH|ACK " + MESSAGE]


def test_several_answers_to_a_message_are_framed_apart() -> None:
    with (
        serving(lambda _raw, _peer: mllp.join([b"MSH|CA", b"MSH|AA"])) as server,
        connected(server) as sock,
    ):
        sock.sendall(mllp.frame(MESSAGE))
        assert answers(sock, 2) == [b"MSH|CA", b"MSH|AA"]


@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_address"])
@pytest.mark.parametrize("begun", [b"", b"\x0b", b"\x0b" + MESSAGE], ids=["silent", "VT", "half"])
def test_a_hundred_that_send_no_message_keep_nobody_out(limit: str, begun: bytes) -> None:
    with capture_logs() as logs, serving(**{limit: 20}) as server:
        silent = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(100)]
        for sock in silent:
            with contextlib.suppress(ConnectionError):  # those that had to make way
                sock.sendall(begun)
        start = time.monotonic()
        serves(server)
        assert time.monotonic() - start < 2
        assert ended(silent[0])
        for sock in silent:
            sock.close()
    events = [line["event"] for line in logs]
    assert events.count("mllp.made_way") == 81
    assert "mllp.refused" not in events


def test_a_silent_one_of_another_address_does_not_make_way() -> None:
    with capture_logs() as logs, serving(max_connections_per_address=1) as server:
        place = ("127.0.0.1", server.port)
        with (
            socket.create_connection(place, 10, ("127.0.0.2", 0)) as other,
            connected(server) as first,
        ):
            with connected(server) as second:
                assert ended(first)
                second.sendall(mllp.frame(MESSAGE))
                answers(second, 1)
            other.sendall(mllp.frame(MESSAGE))
            answers(other, 1)
    assert [line["event"] for line in logs].count("mllp.made_way") == 1


@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_address"])
def test_connections_beyond_the_limit_are_refused_until_one_ends(limit: str) -> None:
    threads = []

    def handle(raw: bytes, peer: Peer) -> bytes:
        threads.append(threading.current_thread())
        return echo(raw, peer)

    with (
        capture_logs() as logs,
        serving(handle, **{limit: 2}) as server,
        connected(server) as first,
        connected(server) as second,
    ):
        for sock in (first, second):
            sock.sendall(mllp.frame(MESSAGE))
            answers(sock, 1)
        with connected(server) as third:
            assert ended(third)
        first.shutdown(socket.SHUT_WR)
        threads[0].join(10)
        serves(server)
    assert [line["event"] for line in logs].count("mllp.refused") == 1


def test_addresses_are_counted_apart() -> None:
    with listen("127.0.0.1", 0) as listener:
        server = MllpServer(listener, echo, Limits(max_connections_per_address=1))
        server.start()
        try:
            socks = [
                socket.create_connection(("127.0.0.1", server.port), 10, (source, 0))
                for source in ("127.0.0.1", "127.0.0.2")
            ]
            for sock in socks:
                sock.sendall(mllp.frame(MESSAGE))
                answers(sock, 1)
                sock.close()
        finally:
            server.stop(5)


def test_stopping_answers_the_message_in_hand_and_no_other() -> None:
    entered, leave, handled = threading.Event(), threading.Event(), []

    def handle(raw: bytes, peer: Peer) -> bytes:
        handled.append(raw)
        entered.set()
        assert leave.wait(10)
        return echo(raw, peer)

    with listen("127.0.0.1", 0) as listener:
        server = MllpServer(listener, handle)
        server.start()
        # Connections are accepted in order: when the last is served, all are.
        with connected(server) as idle, connected(server) as half, connected(server) as sock:
            half.sendall(b"\x0b" + MESSAGE)
            sock.sendall(mllp.frame(MESSAGE) + mllp.frame(MESSAGE + b"2"))
            assert entered.wait(10)
            stopper = threading.Thread(target=server.stop, args=(10,))
            stopper.start()
            assert ended(idle)
            assert ended(half)
            leave.set()
            assert answers(sock, 1) == [b"MSH|ACK " + MESSAGE]
            assert ended(sock)
            stopper.join(10)
            assert not stopper.is_alive()
    assert handled == [MESSAGE]


def test_stopping_cuts_off_what_does_not_end_in_time() -> None:
    entered, leave = threading.Event(), threading.Event()

    def handle(raw: bytes, peer: Peer) -> bytes:
        entered.set()
        leave.wait(10)
        return b"too late"

    with listen("127.0.0.1", 0) as listener:
        server = MllpServer(listener, handle)
        server.start()
        with connected(server) as sock:
            sock.sendall(mllp.frame(MESSAGE))
            assert entered.wait(10)
            start = time.monotonic()
            server.stop(0.1)
            assert time.monotonic() - start < 5
            assert ended(sock)
            leave.set()


def test_idle_connections_cost_no_cpu_time() -> None:
    with serving() as server:
        socks = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(50)]
        for sock in socks:
            sock.sendall(mllp.frame(MESSAGE))
            answers(sock, 1)
        before = resource.getrusage(resource.RUSAGE_SELF)
        time.sleep(0.5)
        after = resource.getrusage(resource.RUSAGE_SELF)
        for sock in socks:
            sock.close()
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used < 0.02


def test_eight_connections_at_once_each_get_their_own_answers() -> None:
    errors = []

    def talk(server: MllpServer, name: int) -> None:
        try:
            with connected(server) as sock:
                for number in range(100):
                    body = b"MSH|%d|%d" % (name, number)
                    sock.sendall(mllp.frame(body))
                    assert answers(sock, 1) == [b"MSH|ACK " + body]
        except (AssertionError, OSError) as error:
            errors.append(error)

    with serving() as server:
        threads = [threading.Thread(target=talk, args=(server, name)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert errors == []
