"""Associations over TLS, beside plain ones: who doesn't shake hands holds up nobody."""

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pynetdicom import AE
from structlog.testing import capture_logs

from mwl.net.acceptor import Connection
from mwl.net.admission import Admission, Admit, Applicant
from mwl.net.association import Association
from mwl.net.dimse import CommandField, Message
from mwl.net.limits import DEFAULTS, Limits
from mwl.net.pdu import Abort, AssociateReject
from mwl.net.server import AssociationServer, TlsListener, listen
from mwl.net.service import Service
from mwl.net.status import CANCEL, SUCCESS
from mwl.scp.echo import EchoService
from mwl.tls import Files, Keys
from mwl.tls.contexts import ClientMode
from tests.certificates import Authority, Pair
from tests.dicom_client import VERIFICATION, DicomClient, Refused, cancel_request, request
from tests.dicom_server import BOTH, IDENTIFIER, admit_all, answer, assert_serves, many
from tests.peers import dcmtk
from tests.test_mwl_net_server import wait_for

SHORT = replace(DEFAULTS, tls_handshake_timeout_s=0.5, close_timeout_s=0.5)


@dataclass
class Place:
    """An authority, our certificate, and one of a scanner."""

    authority: Authority
    ours: Pair
    scanner: Pair

    def keys(self, mode: ClientMode = "none", pair: Pair | None = None) -> Keys:
        pair = pair or self.ours
        ca = self.authority.certificate
        return Keys(Files("dicom.tls", pair.certificate, pair.key, ca=ca), mode)

    def context(self, pair: Pair | None = None) -> ssl.SSLContext:
        """What a peer calls us with."""
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        if pair is not None:
            context.load_cert_chain(pair.certificate, pair.key)
        return context


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    authority = Authority(tmp_path_factory.mktemp("tls"))
    ours = authority.issue("bridge", dns=["localhost"], ip=["127.0.0.1"], use_rsa=True)
    return Place(authority, ours, authority.issue("ct1", dns=["ct1.example"], use_rsa=True))


class Secured:
    """A server that speaks TLS on a second port."""

    def __init__(
        self, place: Place, keys: Keys, services: tuple[Service, ...], admit: Admit, limits: Limits
    ) -> None:
        self.place = place
        listener = listen("127.0.0.1", 0)
        self.port: int = listener.getsockname()[1]
        self.server = AssociationServer(
            listen("127.0.0.1", 0),
            [EchoService(), *services],
            admit=admit,
            limits=limits,
            tls=TlsListener(listener, keys),
        )
        self.server.start()
        self._stack = ExitStack()

    def raw(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), 10)
        return self._stack.enter_context(closing(sock))

    def dial(self, pair: Pair | None = None, context: ssl.SSLContext | None = None) -> DicomClient:
        client = DicomClient(("127.0.0.1", self.port))
        self._stack.enter_context(closing(client))
        context = context or self.place.context(pair)
        client.socket = context.wrap_socket(client.socket, server_hostname="localhost")
        return client

    def serves(self) -> bool:
        client = self.dial().associate()
        assert client.echo() == SUCCESS
        client.release()
        client.close()
        assert_serves(self.server)
        return True

    def close(self) -> None:
        self.server.stop(0)
        self._stack.close()
        assert self.server.live() == ()


@pytest.fixture
def secured(place: Place) -> Iterator[type]:
    with ExitStack() as stack:

        def start(
            *services: Service,
            keys: Keys | None = None,
            admit: Admit = admit_all,
            limits: Limits = DEFAULTS,
        ) -> Secured:
            server = Secured(place, keys or place.keys(), services, admit, limits)
            stack.callback(server.close)
            return server

        yield start


def events(logs: list) -> list[tuple[str, str]]:
    return [(line["event"], line.get("error", "")) for line in logs]


# --- side by side


def test_plain_and_tls_are_served_side_by_side(secured) -> None:
    server = secured()
    plain, over = DicomClient(server.server.address).associate(), server.dial().associate()
    assert [each.tls for each in server.server.live()] == [False, True]
    for client in (over, plain, over):
        assert client.echo() == SUCCESS
    for client in (over, plain):
        client.release()
        client.close()
    wait_for(lambda: not server.server.live())


def test_lists_and_cancels_go_over_tls_too(secured) -> None:
    data_sets = [b"\x10\0\x10\0\x10\x27\0\0" + bytes(10_000)] * 300
    server = secured(answer(data_sets))
    client = server.dial().associate(BOTH, max_pdu_bytes=0)
    assert client.count_pending(IDENTIFIER) == 300
    client.release()
    server = secured(replace(answer([]), perform=many))
    client = server.dial().associate(BOTH)
    client.send(request(3, CommandField.C_FIND, BOTH[1], 1, IDENTIFIER) + cancel_request(3))
    codes = []
    while not codes or codes[-1] != CANCEL:
        command, _ = client.read_message()
        codes.append(command.number(0x0900))
    assert len(codes) <= DEFAULTS.max_answers_between_looks + 200
    client.release()


def test_large_data_sets_come_in_over_tls_at_every_size_of_pdu(secured) -> None:
    sizes = []

    def perform(association: Association, message: Message) -> None:
        sizes.append(len(message.data_set or b""))
        association.send_response(message, SUCCESS)

    server = secured(replace(answer([]), perform=perform))
    client = server.dial().associate(BOTH)
    data = bytes(1_000_000)
    for pdu in (4_096, 16_384, 131_072):
        client.send(request(3, CommandField.C_FIND, BOTH[1], 1, data, pdu))
        client.read_message()
    assert sizes == [1_000_000] * 3
    client.release()


# --- who does not shake hands


def test_sixty_silent_connections_hold_up_nobody_and_end_in_time(secured) -> None:
    server = secured(limits=SHORT)
    with capture_logs() as logs:
        silent = [server.raw() for _ in range(60)]
        began = time.monotonic()
        assert server.serves()
        assert time.monotonic() - began < 5
        for sock in silent:
            assert sock.recv(1) == b""
        wait_for(lambda: not server.server.live())
    ended = [each for each in events(logs) if each[0] == "association.no_tls"]
    assert ended == [("association.no_tls", "no TLS handshake came to its end in time")] * 60
    wait_for(lambda: threading.active_count() < 40)


def test_silent_connections_make_way_for_who_asks_for_something(secured) -> None:
    limits = replace(DEFAULTS, max_associations_per_address=3, close_timeout_s=0.5)
    server = secured(limits=limits)
    silent = [server.raw() for _ in range(3)]
    wait_for(lambda: len(server.server.live()) == 3)
    first, second = server.dial().associate(), server.dial().associate()
    assert silent[0].recv(1) == silent[1].recv(1) == b""
    with closing(DicomClient(server.server.address)) as plain:
        assert plain.associate().echo() == first.echo() == second.echo() == SUCCESS
    with pytest.raises(Refused) as caught:
        [server.dial().associate() for _ in range(3)]
    assert caught.value.answer == AssociateReject(2, 3, 2)


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (b"\x01\0\0\0\0\xcd\0\1", "it speaks no TLS, and this port nothing else"),
        (b"GET / HTTP/1.0\r\n\r\n", "it speaks no TLS, and this port nothing else"),
        (b"\x16\x03\x01\x00\x05junk!", "TLS failed"),
    ],
)
def test_what_is_no_tls_is_turned_away_at_once(secured, first: bytes, said: str) -> None:
    server = secured()
    with capture_logs() as logs:
        peer = server.raw()
        peer.sendall(first)
        peer.settimeout(5)
        while peer.recv(100):
            pass
        wait_for(lambda: not server.server.live())
    ((event, error),) = events(logs)
    assert event == "association.no_tls"
    assert said in error
    assert server.serves()


def test_tls_on_the_plain_port_is_turned_away_at_once(secured, place: Place) -> None:
    server = secured()
    with capture_logs() as logs:
        client = DicomClient(server.server.address)
        with pytest.raises(ssl.SSLError):
            place.context().wrap_socket(client.socket, server_hostname="localhost")
        client.close()
        wait_for(lambda: not server.server.live())
    assert events(logs) == [("association.aborted", "TLS where none is spoken: 0x16")]


def test_peer_that_goes_away_during_the_handshake_is_lost_quietly(secured, place: Place) -> None:
    server = secured()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = place.context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    first = outgoing.read()
    with capture_logs() as logs:
        for size in (0, 1, 5, 50, len(first)):
            peer = server.raw()
            peer.sendall(first[:size])
            peer.shutdown(socket.SHUT_WR)
        wait_for(lambda: len(logs) == 5 and not server.server.live())
    assert {event for event, _ in events(logs)} == {"association.lost"}


def test_server_that_stops_waits_for_no_handshake(secured) -> None:
    server = secured()
    silent = [server.raw() for _ in range(5)]
    associated = server.dial().associate()
    wait_for(lambda: len(server.server.live()) == 6)
    began = time.monotonic()
    server.server.stop(0)
    assert time.monotonic() - began < DEFAULTS.close_timeout_s
    assert all(sock.recv(1) == b"" for sock in silent)
    assert isinstance(associated.read_pdu(), Abort)


def test_defect_in_one_listener_costs_one_connection(
    secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = secured()
    with capture_logs(), monkeypatch.context() as patch:
        patch.setattr(Connection, "__init__", lambda *_: 1 / 0)
        assert server.raw().recv(1) == b""
    assert server.serves()


# --- certificates


def test_application_is_told_whose_certificate_it_was(secured, place: Place) -> None:
    told: list[Applicant] = []

    def admit(applicant: Applicant) -> Admission:
        told.append(applicant)
        return Admission.ACCEPTED

    server = secured(keys=place.keys("optional"), admit=admit)
    for pair in (None, place.scanner):
        server.dial(pair).associate().release()
    first, second = (each.certificate for each in told)
    assert first is None
    assert second is not None
    assert second.names == ("ct1", "ct1.example")
    assert second.fingerprint == place.scanner.fingerprint


def test_new_certificates_are_for_new_connections(secured, place: Place, tmp_path: Path) -> None:
    other = Authority(tmp_path)
    mine = other.issue("moving", dns=["localhost"])
    trusting = ssl.create_default_context(cafile=str(other.certificate))
    keys = Keys(Files("dicom.tls", mine.certificate, mine.key))
    server = secured(keys=keys)
    old = server.dial(context=trusting).associate()
    first = old.socket.getpeercert(binary_form=True)
    other.issue("moving", dns=["localhost"])
    keys.reload()
    new = server.dial(context=trusting).associate()
    assert new.socket.getpeercert(binary_form=True) != first
    for client in (old, new):
        assert client.echo() == SUCCESS
        client.release()


# --- programs that nobody here wrote


def dcmtk_echo(server: Secured, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [dcmtk("echoscu"), "-v", "-to", "5", *options, "127.0.0.1", str(server.port)],
        capture_output=True,
        text=True,
        timeout=30,
    )


def shown(pair: Pair) -> list[str]:
    return ["+tls", str(pair.key), str(pair.certificate)]


@pytest.mark.parametrize("profile", [[], ["+py"], ["+px"], ["+pz"]])
def test_dcmtk_connects_by_its_profiles(secured, place: Place, profile: list[str]) -> None:
    server = secured()
    trusted = ["+cf", str(place.authority.certificate)]
    done = dcmtk_echo(server, "+tla", *profile, *trusted)
    assert done.returncode == 0, done.stderr
    done = dcmtk_echo(secured(keys=place.keys("required")), *shown(place.scanner), *trusted)
    assert done.returncode == 0, done.stderr


def test_dcmtk_without_a_certificate_or_with_a_strange_one_is_turned_away(
    secured, place: Place, tmp_path: Path
) -> None:
    server = secured(keys=place.keys("required"))
    trusted = ["+cf", str(place.authority.certificate)]
    stranger = Authority(tmp_path, "strange").issue("ct1")
    with capture_logs() as logs:
        assert dcmtk_echo(server, "+tla", *trusted).returncode != 0
        assert dcmtk_echo(server, *shown(stranger), *trusted).returncode != 0
        wait_for(lambda: not server.server.live())
    assert [error for _, error in events(logs)] == [
        "it showed no certificate",
        "its certificate was signed by an authority that we don't trust: add it to ca",
    ]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_pynetdicom_connects(secured, place: Place, version: ssl.TLSVersion) -> None:
    server = secured(keys=place.keys("required"))
    context = place.context(place.scanner)
    context.maximum_version = context.minimum_version = version
    entity = AE()
    entity.add_requested_context(VERIFICATION)
    association = entity.associate("localhost", server.port, tls_args=(context, "localhost"))
    assert association.is_established
    assert association.send_c_echo().Status == SUCCESS
    association.release()
