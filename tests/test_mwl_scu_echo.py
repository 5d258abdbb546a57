"""C-ECHO to DCMTK's storescp, to our own server, and to peers that are none."""

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from hl7 import client
from mwl.net.admission import Admission
from mwl.scu import Peer, echo
from tests.dicom_server import serve_fixture  # noqa: F401 - a fixture
from tests.peers import dcmtk

SHORT_S = 0.5


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def storescp(*options: str) -> Iterator[int]:
    """Run DCMTK's storescp as the device CT1; give its port."""
    port = free_port()
    command = [dcmtk("storescp"), "--aetitle", "CT1", "--ignore", *options, str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port)
            yield port
        finally:
            process.terminate()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
    pytest.fail("storescp does not listen")


@contextmanager
def peer_that(says: bytes | None, then_closes: bool = True) -> Iterator[int]:
    """Listen, say something when asked (None: at once close), and hang up or not."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        done = threading.Event()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                if says is not None:
                    connection.recv(65_536)
                    connection.sendall(says)
                if not then_closes:
                    done.wait(30)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            done.set()
            thread.join(30)


def ask(port: int, title: str = "CT1", wait_s: float = 5.0):
    return echo(Peer(title, "127.0.0.1", port), "MWL", wait_s)


def test_dcmtk_answers() -> None:
    with storescp() as port:
        result = ask(port)
    assert result.well
    assert result.text.startswith("answered in ")
    assert result.text.endswith(" ms")


def test_dcmtk_refuses_everybody() -> None:
    with storescp("--refuse") as port:
        result = ask(port)
    assert not result.well
    assert result.text == "it refuses the association: it gives no reason"


def test_our_own_server_answers(serve) -> None:
    result = ask(serve().address[1], title="MWL")
    assert result.well
    assert result.text.startswith("answered in ")


@pytest.mark.parametrize(
    ("admission", "says"),
    [
        (Admission.CALLED_UNKNOWN, "it refuses CT1, as we call it: called AE title not recognised"),
        (Admission.CALLING_UNKNOWN, "it refuses MWL, our AE title: calling AE title not recogn"),
    ],
)
def test_a_refusal_names_the_title_that_is_wrong(serve, admission: Admission, says: str) -> None:
    server = serve(admit=lambda _: admission)
    result = ask(server.address[1])
    assert not result.well
    assert result.text.startswith(says)


def test_a_closed_port_is_named() -> None:
    port = free_port()
    result = ask(port)
    assert not result.well
    assert result.text == f"nobody listens at 127.0.0.1:{port}: connection refused"


def test_a_host_that_is_none_is_named() -> None:
    result = echo(Peer("CT1", "no-such-host.invalid", 104), "MWL", SHORT_S)
    assert (result.well, result.text) == (
        False,
        "no machine is called no-such-host.invalid: check the host",
    )
    assert not echo(Peer("CT1", "a..b", 104), "MWL", SHORT_S).well


def test_a_silent_peer_is_not_waited_for_long() -> None:
    with peer_that(b"", then_closes=False) as port:
        began = time.monotonic()
        result = ask(port, wait_s=SHORT_S)
        assert time.monotonic() - began < 5
    assert not result.well
    assert f"127.0.0.1:{port} takes connections, but said nothing within 0.5 s" in result.text


@pytest.mark.parametrize("says", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x02\0\0\0\0\x01\0", b""])
def test_who_is_no_dicom_peer_is_told(says: bytes) -> None:
    with peer_that(says) as port:
        result = ask(port)
    assert not result.well
    assert f"127.0.0.1:{port} takes connections, but does not speak DICOM" in result.text


def test_an_abort_is_told() -> None:
    with peer_that(b"\x07\0\0\0\0\x04\0\0\x02\0") as port:
        result = ask(port)
    assert (result.well, result.text) == (False, "it aborted the association before it began")


def test_a_peer_without_echo_is_there_all_the_same() -> None:
    # A-ASSOCIATE-AC that refuses the one context (PS3.8 table 9-18: 3).
    context = b"\x21\0\0\x08\x01\0\x03\0\x40\0\0\0"
    user = b"\x50\0\0\x08\x51\0\0\x04\0\0\x40\0"
    body = b"\0\1\0\0" + b"CT1".ljust(16) + b"MWL".ljust(16) + bytes(32) + context + user
    with peer_that(b"\x02\0" + len(body).to_bytes(4, "big") + body) as port:
        result = ask(port)
    assert result.well
    assert result.text.endswith("C-ECHO is nothing that it does")


def test_mllp_says_that_somebody_listens_and_sends_nothing() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        result = client.reach("127.0.0.1", port)
        connection, _ = server.accept()
        with connection:
            assert connection.recv(100) == b""
    assert result.well
    assert result.text.startswith("takes connections (")
    assert result.text.endswith("nothing was sent")


def test_mllp_names_what_is_wrong() -> None:
    port = free_port()
    closed = client.reach("127.0.0.1", port)
    assert (closed.well, closed.text) == (
        False,
        f"nobody listens at 127.0.0.1:{port}: connection refused",
    )
    with peer_that(None) as port:
        hung_up = client.reach("127.0.0.1", port)
    assert not hung_up.well
    assert "took the connection and closed it" in hung_up.text
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"220 mail\r\n")
                connection.recv(100)

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        chatty = client.reach("127.0.0.1", server.getsockname()[1])
        thread.join(30)
    assert not chatty.well
    assert "speaks first" in chatty.text
