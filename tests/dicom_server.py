"""Real servers for tests of the upper layer, as fixtures `serve` and `dial`.

A test module takes them by importing `serve_fixture` and `dial_fixture`.
"""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

import pytest

from mwl.net.admission import Admission, Admit, Applicant
from mwl.net.association import Association
from mwl.net.dimse import CommandField, Message
from mwl.net.limits import DEFAULTS, Limits
from mwl.net.pdu import Pdu
from mwl.net.server import AssociationServer, listen
from mwl.net.service import Service
from mwl.net.status import CANCEL, SUCCESS
from mwl.scp.echo import EchoService
from tests.dicom_client import MODALITY_WORKLIST_FIND, VERIFICATION, DicomClient

IMPLICIT = "1.2.840.10008.1.2"
BOTH = (VERIFICATION, MODALITY_WORKLIST_FIND)
IDENTIFIER = b"\x08\0\x05\0\0\0\0\0"
SHORT = replace(
    DEFAULTS,
    associate_timeout_s=0.2,
    idle_timeout_s=0.2,
    pdu_timeout_s=0.2,
    write_timeout_s=0.2,
    close_timeout_s=0.5,
)


@dataclass
class Finder:
    """A worklist service that does what a test says."""

    perform: Callable[[Association, Message], None]
    abstract_syntaxes: tuple[str, ...] = (MODALITY_WORKLIST_FIND,)
    transfer_syntaxes: tuple[str, ...] = (IMPLICIT,)
    operations: frozenset[CommandField] = frozenset({CommandField.C_FIND})

    def handle(self, association: Association, message: Message) -> None:
        self.perform(association, message)


def answer(data_sets: list[bytes]) -> Finder:
    def perform(association: Association, message: Message) -> None:
        went = association.send_responses(message, data_sets)
        association.send_response(message, SUCCESS if went else CANCEL)

    return Finder(perform)


def many(association: Association, message: Message) -> None:
    """Answer for as long as nobody stops it, and for a minute at most."""
    end = time.monotonic() + 60
    endless = iter(lambda: b"ab" * 400 if time.monotonic() < end else None, None)
    went = association.send_responses(message, endless)
    association.send_response(message, SUCCESS if went else CANCEL)


def admit_all(_applicant: Applicant) -> Admission:
    return Admission.ACCEPTED


Serve = Callable[..., AssociationServer]


@pytest.fixture(name="serve")
def serve_fixture() -> Iterator[Serve]:
    servers: list[AssociationServer] = []

    def start(
        *services: Service, limits: Limits = DEFAULTS, admit: Admit = admit_all
    ) -> AssociationServer:
        server = AssociationServer(
            listen("127.0.0.1", 0), [EchoService(), *services], admit=admit, limits=limits
        )
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop(0)
        assert server.live() == ()


Dial = Callable[..., DicomClient]


@pytest.fixture(name="dial")
def dial_fixture() -> Iterator[Dial]:
    with ExitStack() as stack:

        def connect(server: AssociationServer, source: str = "") -> DicomClient:
            return stack.enter_context(closing(DicomClient(server.address, source=source)))

        yield connect


def assert_serves(server: AssociationServer) -> None:
    with DicomClient(server.address) as client:
        assert client.associate().echo() == SUCCESS


def last_words(client: DicomClient) -> Pdu | None:
    """Read what the server says last, and see that it closes; None: it says nothing."""
    try:
        pdu = client.read_pdu()
    except EOFError:
        return None
    client.socket.shutdown(socket.SHUT_WR)
    with pytest.raises(EOFError):
        client.read_frame()
    return pdu
