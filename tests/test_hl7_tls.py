"""HL7 over TLS, in and out: certificates asked for and shown, and what is no TLS."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from hl7 import mllp
from hl7.client import Connection, reach, send
from hl7.server import Limits, MllpServer, Peer, listen
from mwl.errors import Outage
from mwl.tls import Files, Keys
from mwl.tls.contexts import ClientMode
from tests.builders import orm
from tests.certificates import Authority, Pair
from tests.mllp_peer import AA


class Site:
    """An authority that both sides believe, and one that nobody does."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder, "ca")
        self.stranger = Authority(folder, "other")
        self.ours = self.authority.issue("bridge", dns=["localhost"], ip=["127.0.0.1"])
        self.ris = self.authority.issue("ris.example")
        self.forged = self.stranger.issue("ris.example", file="forged")

    def keys(
        self, pair: Pair | None, mode: ClientMode = "none", authority: Authority | None = None
    ) -> Keys:
        ca = (authority or self.authority).certificate
        shown = (pair.certificate, pair.key) if pair else (None, None)
        return Keys(Files("hl7.tls", *shown, ca=ca), mode)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("tls"))


def acknowledge(raw: bytes, _peer: Peer) -> bytes:
    (answer,) = mllp.Framer(10_000).feed(AA(raw) or b"")
    return answer


@contextmanager
def serving(keys: Keys, **limits: float) -> Iterator[MllpServer]:
    with listen("127.0.0.1", 0) as listener:
        given = Limits(**limits)  # type: ignore[arg-type]
        server = MllpServer(listener, acknowledge, given, keys=keys)
        server.start()
        try:
            yield server
        finally:
            server.stop(5)


def message(control_id: str) -> bytes:
    return orm(MSH_10=control_id).encode()


def exchanged(server: MllpServer, keys: Keys, rule: str = "") -> str:
    """Send a message and give MSA-1, or why there is none."""
    tls = lambda: keys.verifier(rule)  # noqa: E731
    try:
        (ack,) = send("127.0.0.1", server.port, [message("7")], 5, tls)
    except Outage as error:
        return str(error)
    return ack.code


def test_messages_go_over_one_connection_as_without_tls(site: Site) -> None:
    ours, theirs = site.keys(site.ours), site.keys(None)
    big = orm(MSH_10="big", NTE_3="x" * 3_000_000).encode()
    with serving(ours) as server:
        found = list(
            send("localhost", server.port, [message("1"), big, message("2")], 10, theirs.verifier)
        )
    assert [(ack.code, ack.control_id) for ack in found] == [
        ("AA", "1"),
        ("AA", "big"),
        ("AA", "2"),
    ]


@pytest.mark.parametrize(
    ("mode", "shown", "told"),
    [
        ("none", None, "AA"),
        ("none", "ris", "AA"),
        ("optional", None, "AA"),
        ("optional", "ris", "AA"),
        ("optional", "forged", "does not know who signed our certificate"),
        ("required", "ris", "AA"),
        ("required", None, "asks for a certificate of ours"),
        ("required", "forged", "does not know who signed our certificate"),
    ],
)
def test_senders_show_a_certificate_where_they_have_to(
    site: Site, mode: ClientMode, shown: str | None, told: str
) -> None:
    pair = getattr(site, shown) if shown else None
    with capture_logs() as logs, serving(site.keys(site.ours, mode)) as server:
        assert told in exchanged(server, site.keys(pair))
        assert exchanged(server, site.keys(site.ris)) == "AA"
    refused = [line for line in logs if str(line.get("reason")).startswith("no TLS: ")]
    assert len(refused) == (told != "AA")


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("", "AA"),
        ("bridge", "AA"),
        ("another", "not another, as we know it"),
        ("sha256:" + "0" * 64, "as we know it"),
    ],
)
def test_a_receiver_is_known_by_its_host_or_by_its_certificate(
    site: Site, rule: str, told: str
) -> None:
    with serving(site.keys(site.ours)) as server:
        assert told in exchanged(server, site.keys(None), rule)
        assert exchanged(server, site.keys(None), f"sha256:{site.ours.fingerprint}") == "AA"


def test_a_receiver_that_somebody_else_signed_for_is_not_spoken_to(site: Site) -> None:
    with serving(site.keys(site.ours)) as server:
        told = exchanged(server, site.keys(None, authority=site.stranger))
    assert "signed by an authority that we don't trust: add it to ca" in told


def test_what_is_no_tls_ends_at_once_and_silence_in_bounded_time(site: Site) -> None:
    keys = site.keys(site.ours)
    with (
        capture_logs() as logs,
        serving(keys, handshake_timeout_s=0.3, max_connections=2) as server,
    ):
        place = ("127.0.0.1", server.port)
        with socket.create_connection(place, 10) as plain:
            plain.sendall(mllp.frame(message("1")))
            assert b"MSA" not in plain.recv(1000)
        with socket.create_connection(place, 10) as silent, socket.create_connection(place) as half:
            half.sendall(b"\x16\x03\x01\x02\x00")
            start = time.monotonic()
            assert (silent.recv(1), half.recv(1)) == (b"", b"")
            assert 0.1 < time.monotonic() - start < 5
        assert exchanged(server, site.keys(None)) == "AA"
    reasons = [line.get("reason") for line in logs if line["event"] == "mllp.closed"]
    assert "no TLS: it speaks no TLS, and this port nothing else" in reasons
    assert reasons.count("no TLS handshake in time") == 2


def test_handshakes_that_hang_keep_nobody_waiting(site: Site) -> None:
    with serving(site.keys(site.ours), max_connections_per_address=20) as server:
        hanging = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(60)]
        start = time.monotonic()
        assert exchanged(server, site.keys(None)) == "AA"
        assert time.monotonic() - start < 3
        for sock in hanging:
            sock.close()


def test_another_implementation_of_tls_talks_to_it(site: Site) -> None:
    context = ssl.create_default_context(cafile=str(site.authority.certificate))
    context.load_cert_chain(site.ris.certificate, site.ris.key)
    with (
        serving(site.keys(site.ours, "required")) as server,
        socket.create_connection(("127.0.0.1", server.port), 10) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as wrapped,
    ):
        framer = mllp.Framer(10_000)
        for number in range(3):
            wrapped.sendall(mllp.frame(message(str(number))))
            got: list[bytes] = []
            while not got:
                got = framer.feed(wrapped.recv(10_000))
            assert got == [acknowledge(message(str(number)), Peer("", 0))]


def test_a_certificate_that_was_renewed_is_shown_to_the_next(site: Site, tmp_path: Path) -> None:
    pair = Authority(tmp_path, "third").issue(
        "old", dns=["localhost"], ip=["127.0.0.1"], file="pair"
    )
    keys = site.keys(pair)
    with serving(keys) as server:
        assert "don't trust" in exchanged(server, site.keys(None))
        renewed = site.authority.issue("new", dns=["localhost"], ip=["127.0.0.1"], file="renewed")
        pair.certificate.write_bytes(renewed.certificate.read_bytes())
        pair.key.write_bytes(renewed.key.read_bytes())
        keys.reload()
        assert exchanged(server, site.keys(None)) == "AA"


def test_reaching_a_receiver_says_what_is_wrong_with_tls(site: Site) -> None:
    theirs = site.keys(None)
    with serving(site.keys(site.ours)) as server:
        place = ("127.0.0.1", server.port)
        well = reach(*place, tls=theirs.verifier())
        assert (well.well, ", TLS)" in well.text) == (True, True)
        wrong = reach(*place, tls=theirs.verifier("other"))
        assert (wrong.well, "as we know it" in wrong.text) == (False, True)
    with serving(site.keys(site.ours, "required")) as server:
        refused = reach("127.0.0.1", server.port, tls=theirs.verifier())
        assert (refused.well, "certificate of ours" in refused.text) == (False, True)
    with listen("127.0.0.1", 0) as deaf:
        silent = reach("127.0.0.1", deaf.getsockname()[1], 0.2, theirs.verifier())
        assert (silent.well, "does it speak TLS there?" in silent.text) == (False, True)


def test_a_connection_over_tls_is_kept_and_opened_anew_after_a_restart(site: Site) -> None:
    theirs = site.keys(None)
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with Connection("127.0.0.1", port, 5, tls=theirs.verifier) as connection:
            for number in range(2):
                server = MllpServer(listener, acknowledge, keys=site.keys(site.ours))
                server.start()
                for name in ("a", "b"):
                    assert connection.exchange(message(f"{number}{name}")).accepted
                server.stop(5)
