"""PS3.8 table 9-10, event by event: what our acceptor and our requestor do in each state.

A timer that isn't ARTIM is one of ours: the peer rests, or doesn't answer, for too long.

The table's other states last no time here. Sta1 and Sta4 are those before and while the
transport connection is made. The acceptor answers an A-ASSOCIATE-RQ before it reads on, so
that what came meanwhile is met in Sta6 or Sta13, not in Sta3. Who releases at the same time
as the requestor is answered at once, so that Sta9 is Sta11; Sta10 and Sta12 are an acceptor's
that releases, which ours leaves to its peers.
"""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace

import pytest

from mwl.net.admission import Admission
from mwl.net.association import Association, PeerReleased
from mwl.net.codec import HEADER, encode
from mwl.net.dimse import CommandField, Element, Message
from mwl.net.ending import PeerAborted
from mwl.net.framing import ConnectionLost, ReadTimeout
from mwl.net.limits import DEFAULTS
from mwl.net.pdu import (
    Abort,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ContextAnswer,
    DataTransfer,
    Pdu,
    PduError,
    PduType,
    ProposedContext,
    ReleaseRequest,
    ReleaseResponse,
    UserInformation,
    title_bytes,
)
from mwl.net.requestor import Refused, associate
from mwl.net.server import AssociationServer
from mwl.net.status import SUCCESS
from tests.dicom_client import (
    MODALITY_WORKLIST_FIND,
    VERIFICATION,
    DicomClient,
    proposal,
    request,
)
from tests.dicom_server import (  # noqa: F401
    BOTH,
    IDENTIFIER,
    IMPLICIT,
    Dial,
    Finder,
    Serve,
    dial_fixture,
    serve_fixture,
)

PATIENCE_S = 10.0
BRIEF = replace(
    DEFAULTS,
    associate_timeout_s=0.1,
    idle_timeout_s=0.1,
    response_timeout_s=0.1,
    release_timeout_s=0.1,
    close_timeout_s=0.1,
)

# --- events of the table

AC, RJ, RQ = "A-ASSOCIATE-AC", "A-ASSOCIATE-RJ", "A-ASSOCIATE-RQ"
DATA, ABORT = "P-DATA-TF", "A-ABORT"
RELEASE_RQ, RELEASE_RP = "A-RELEASE-RQ", "A-RELEASE-RP"
CLOSED, ARTIM = "transport closed", "timer expired"
UNRECOGNIZED, INVALID = "unrecognized PDU", "invalid PDU"

ACCEPT = AssociateAccept(
    title_bytes("PEER"),
    title_bytes("MWL"),
    (ContextAnswer(1, 0, IMPLICIT),),
    UserInformation(16384, "2.25.1"),
)
BYTES = {
    AC: encode(ACCEPT),
    RJ: encode(AssociateReject(1, 1, 1)),
    RQ: proposal("MWL", "MODALITY", BOTH, (IMPLICIT,), 16384),
    DATA: request(1, CommandField.C_ECHO, VERIFICATION, 7),
    ABORT: encode(Abort(0, 0)),
    RELEASE_RQ: encode(ReleaseRequest()),
    RELEASE_RP: encode(ReleaseResponse()),
    UNRECOGNIZED: HEADER.pack(0x5A, 4) + bytes(4),
    INVALID: HEADER.pack(PduType.RELEASE_RP, 5) + bytes(5),
}

# What our side says, each PDU as a word; an A-ABORT with source and reason (PS3.8 9.3.8).
BY_USER = "A-ABORT 0 0"
BY_PROVIDER = "A-ABORT 2 0"
BY_EVENT = {UNRECOGNIZED: "A-ABORT 2 1", INVALID: "A-ABORT 2 6"}
UNEXPECTED = "A-ABORT 2 2"

# Actions that close the connection, at once or because it is closed; the others wait for more.
CLOSING = frozenset({"AA-2", "AA-3", "AA-4", "AA-5", "AE-4", "AR-3", "AR-5"})

Row = tuple[str, ...]  # the action, then what our side says


def aborted(action: str, *events: str) -> dict[str, Row]:
    """Answer these events by an A-ABORT of the service provider: AA-7 and AA-8."""
    return {event: (action, BY_EVENT.get(event, UNEXPECTED)) for event in events}


ACCEPTOR: Mapping[str, Mapping[str, Row]] = {
    "Sta2": {
        RQ: ("AE-6", AC),
        **dict.fromkeys(
            (AC, RJ, DATA, RELEASE_RQ, RELEASE_RP, UNRECOGNIZED, INVALID), ("AA-1", BY_USER)
        ),
        ABORT: ("AA-2",),
        CLOSED: ("AA-5",),
        ARTIM: ("AA-2",),
    },
    "Sta6": {
        DATA: ("DT-2", DATA),
        RELEASE_RQ: ("AR-2", RELEASE_RP),
        ABORT: ("AA-3",),
        CLOSED: ("AA-4",),
        ARTIM: ("AA-8", BY_PROVIDER),  # of ours
        **aborted("AA-8", AC, RJ, RQ, RELEASE_RP, UNRECOGNIZED, INVALID),
    },
    "Sta8": {
        ABORT: ("AA-3",),
        CLOSED: ("AA-4",),
        **aborted("AA-8", AC, RJ, RQ, DATA, RELEASE_RQ, RELEASE_RP, UNRECOGNIZED, INVALID),
    },
    "Sta13": {
        **dict.fromkeys((AC, RJ, DATA, RELEASE_RQ, RELEASE_RP), ("AA-6",)),
        ABORT: ("AA-2",),
        CLOSED: ("AR-5",),
        ARTIM: ("AA-2",),
        **aborted("AA-7", RQ, UNRECOGNIZED, INVALID),
    },
}
REQUESTOR: Mapping[str, Mapping[str, Row]] = {
    "Sta5": {
        AC: ("AE-3",),
        RJ: ("AE-4",),
        ABORT: ("AA-3",),
        CLOSED: ("AA-4",),
        ARTIM: ("AA-1", BY_USER),  # of ours
        **aborted("AA-8", RQ, DATA, RELEASE_RQ, RELEASE_RP, UNRECOGNIZED, INVALID),
    },
    "Sta6": {
        RELEASE_RQ: ("AR-2", RELEASE_RP),
        ABORT: ("AA-3",),
        CLOSED: ("AA-4",),
        ARTIM: ("AA-8", BY_PROVIDER),  # of ours
        **aborted("AA-8", AC, RJ, RQ, RELEASE_RP, UNRECOGNIZED, INVALID),
    },
    "Sta7": {
        DATA: ("AR-6",),
        RELEASE_RQ: ("AR-8", RELEASE_RP),
        RELEASE_RP: ("AR-3",),
        ABORT: ("AA-3",),
        CLOSED: ("AA-4",),
        ARTIM: ("AA-8", BY_PROVIDER),  # of ours
        **aborted("AA-8", AC, RJ, RQ, UNRECOGNIZED, INVALID),
    },
    "Sta11": {
        RELEASE_RP: ("AR-3",),
        ABORT: ("AA-3",),
        CLOSED: ("AA-4",),
        **aborted("AA-8", AC, RJ, RQ, DATA, RELEASE_RQ, UNRECOGNIZED, INVALID),
    },
    "Sta13": ACCEPTOR["Sta13"],
}


def rows(table: Mapping[str, Mapping[str, Row]]) -> list[object]:
    return [
        pytest.param(state, event, action, list(says), id=f"{state} {event} -> {action}")
        for state, events in table.items()
        for event, (action, *says) in events.items()
    ]


NAMES = {
    AssociateAccept: AC,
    AssociateReject: RJ,
    AssociateRequest: RQ,
    DataTransfer: DATA,
    ReleaseRequest: RELEASE_RQ,
    ReleaseResponse: RELEASE_RP,
}


def said(pdu: Pdu) -> str:
    """Name a PDU of ours as the tables above do."""
    if isinstance(pdu, Abort):
        return f"A-ABORT {pdu.source} {pdu.reason}"
    return NAMES[type(pdu)]


def happens(peer: DicomClient, event: str) -> None:
    """Let the peer do it; a timer expires by itself."""
    if event == CLOSED:
        peer.socket.shutdown(socket.SHUT_WR)
    elif event != ARTIM:
        peer.send(BYTES[event])


def heard(peer: DicomClient, count: int, action: str) -> list[str]:
    """Read so many PDUs, and all that comes until the connection is closed.

    Where the action doesn't close it, the peer does.
    """
    words = [said(peer.read_pdu()) for _ in range(count)]
    if action not in CLOSING:
        peer.socket.shutdown(socket.SHUT_WR)
    while True:
        try:
            words.append(said(peer.read_pdu()))
        except EOFError:
            return words


# --- our acceptor


@dataclass
class Bench:
    """An acceptor that is brought into a state, and its peer."""

    serve: Serve
    dial: Dial
    hold: threading.Event = field(default_factory=threading.Event)

    def server(self, event: str, **more: object) -> AssociationServer:
        limits = BRIEF if event == ARTIM else replace(DEFAULTS, close_timeout_s=PATIENCE_S)
        return self.serve(Finder(self._look), limits=limits, **more)

    def in_state(self, state: str, event: str) -> DicomClient:
        """Bring an acceptor into a state; give its peer."""
        if state == "Sta2":
            return self.dial(self.server(event))
        if state == "Sta13":
            return self._refused(event)
        peer = self.dial(self.server(event)).associate(BOTH)
        if state == "Sta8":
            peer.send(request(3, CommandField.C_FIND, MODALITY_WORKLIST_FIND, 1, IDENTIFIER))
            peer.send(encode(ReleaseRequest()))
            assert self.hold.wait(PATIENCE_S)
        return peer

    def _refused(self, event: str) -> DicomClient:
        peer = self.dial(self.server(event, admit=lambda _: Admission.CALLED_UNKNOWN))
        peer.send(BYTES[RQ])
        assert peer.read_pdu() == AssociateReject(1, 1, 7)
        return peer

    def _look(self, association: Association, message: Message) -> None:
        """Perform for as long as the association lasts, and look at what comes."""
        pause = threading.Event()
        for _ in range(int(PATIENCE_S * 200)):
            association.cancelled(message.command.message_id)
            self.hold.set()
            pause.wait(0.005)


@pytest.mark.parametrize(("state", "event", "action", "says"), rows(ACCEPTOR))
def test_the_acceptor(
    serve: Serve, dial: Dial, state: str, event: str, action: str, says: list[str]
) -> None:
    peer = Bench(serve, dial).in_state(state, event)
    happens(peer, event)
    assert heard(peer, len(says), action) == says


def test_an_abort_after_the_release_was_asked_for_stops_an_operation(
    serve: Serve, dial: Dial
) -> None:
    bench = Bench(serve, dial)
    peer = bench.in_state("Sta8", ABORT)
    happens(peer, ABORT)
    assert heard(peer, 0, "AA-3") == []


@pytest.mark.parametrize("event", [DATA, RELEASE_RQ, RQ])
def test_what_comes_together_with_the_release_is_met_in_state_8(
    serve: Serve, dial: Dial, event: str
) -> None:
    peer = dial(serve()).associate()
    peer.send(encode(ReleaseRequest()) + BYTES[event])
    assert heard(peer, 1, "AA-8") == [UNEXPECTED]


def test_state_13_answers_each_new_proposal_and_goes_on(serve: Serve, dial: Dial) -> None:
    peer = Bench(serve, dial).in_state("Sta13", RQ)
    peer.send(BYTES[DATA] + BYTES[RQ] + BYTES[RELEASE_RQ] + BYTES[RQ] + BYTES[ABORT])
    assert heard(peer, 2, "AA-2") == [UNEXPECTED] * 2


def test_after_garbage_nothing_is_read_as_pdus(serve: Serve, dial: Dial) -> None:
    peer = dial(serve()).associate()
    peer.send(BYTES[UNRECOGNIZED] + BYTES[RQ] * 3 + BYTES[INVALID])
    assert heard(peer, 1, "AA-8") == ["A-ABORT 2 1"]


# --- our requestor


@contextmanager
def requestor(state: str, event: str) -> Iterator[tuple[DicomClient, list[Exception]]]:
    """Bring our requestor, in a thread of its own, into a state; give its peer, and what it raises.

    The list is complete when the block has been left.
    """
    limits = BRIEF if event == ARTIM else replace(DEFAULTS, close_timeout_s=PATIENCE_S)
    raised: list[Exception] = []
    with ExitStack() as stack:
        listener = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
        connection = socket.create_connection(listener.getsockname(), PATIENCE_S)
        peer = stack.enter_context(closing(DicomClient.over(listener.accept()[0])))

        def conduct() -> None:
            try:
                association = associate(
                    connection,
                    called="PEER",
                    calling="MWL",
                    contexts=[ProposedContext(1, VERIFICATION, (IMPLICIT,))],
                    limits=limits,
                )
                with association:
                    STATES[state](association)
            except Exception as error:
                raised.append(error)

        thread = threading.Thread(target=conduct, daemon=True)
        thread.start()
        assert said(peer.read_pdu()) == RQ
        BEFORE[state](peer)
        yield peer, raised
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        assert connection.fileno() == -1


def echo(association: Association) -> None:
    about: dict[int, int | str | bytes] = {
        Element.COMMAND_FIELD: CommandField.C_ECHO,
        Element.AFFECTED_SOP_CLASS_UID: VERIFICATION,
    }
    answer = association.request(1, about)
    assert answer.number(Element.STATUS) == SUCCESS


STATES: Mapping[str, Callable[[Association], None]] = {
    "Sta5": lambda association: association.abort(PeerAborted()),  # it isn't our turn
    "Sta6": echo,
    "Sta7": lambda association: association.release(),
    "Sta11": lambda association: association.release(),
    "Sta13": lambda association: association.abort(),
}


def accept(peer: DicomClient, *then: str) -> None:
    """Accept the association, and read what our requestor says next."""
    peer.send(BYTES[AC])
    assert [said(peer.read_pdu()) for _ in then] == list(then)


def collide(peer: DicomClient) -> None:
    accept(peer, RELEASE_RQ)
    peer.send(BYTES[RELEASE_RQ])
    assert said(peer.read_pdu()) == RELEASE_RP


BEFORE: Mapping[str, Callable[[DicomClient], None]] = {
    "Sta5": lambda peer: None,
    "Sta6": lambda peer: accept(peer, DATA),
    "Sta7": lambda peer: accept(peer, RELEASE_RQ),
    "Sta11": collide,
    "Sta13": lambda peer: accept(peer, BY_USER),
}

# What the user of our requestor is told, by action.
TOLD: Mapping[str, type[Exception] | None] = {
    "AA-3": PeerAborted,
    "AA-4": ConnectionLost,
    "AA-8": PduError,
    "AE-4": Refused,
    "AR-2": PeerReleased,
    # The peer then closes without the answer that is due.
    "AR-6": ConnectionLost,
    "AR-8": ConnectionLost,
}


@pytest.mark.parametrize(("state", "event", "action", "says"), rows(REQUESTOR))
def test_the_requestor(state: str, event: str, action: str, says: list[str]) -> None:
    with requestor(state, event) as (peer, raised):
        happens(peer, event)
        closing = "AR-3" if action == "AE-3" else action  # the test itself ends it
        assert heard(peer, len(says), closing) == says
    told = ReadTimeout if event == ARTIM and state != "Sta13" else TOLD.get(action)
    assert len(raised) == (told is not None)
    assert all(told and isinstance(error, told) for error in raised)


def test_what_an_acceptor_still_sends_is_passed_over_while_we_release() -> None:
    with requestor("Sta7", DATA) as (peer, raised):
        peer.send(BYTES[DATA] * 3 + BYTES[RELEASE_RP])
        assert heard(peer, 0, "AR-3") == []
    assert raised == []


def test_who_releases_together_with_us_and_answers_is_released() -> None:
    with requestor("Sta7", RELEASE_RQ) as (peer, raised):
        peer.send(BYTES[RELEASE_RQ])
        assert said(peer.read_pdu()) == RELEASE_RP
        peer.send(BYTES[RELEASE_RP])
        assert heard(peer, 0, "AR-3") == []
    assert raised == []


# --- A-ASSOCIATE-RJ: result, source and reason (PS3.8 table 9-21)


@pytest.mark.parametrize(
    ("admission", "expected"),
    [
        (Admission.CALLED_UNKNOWN, AssociateReject(1, 1, 7)),
        (Admission.CALLING_UNKNOWN, AssociateReject(1, 1, 3)),
        (Admission.BUSY, AssociateReject(2, 3, 1)),
    ],
    ids=["called title", "calling title", "congestion"],
)
def test_a_rejection_says_why(
    serve: Serve, dial: Dial, admission: Admission, expected: AssociateReject
) -> None:
    peer = dial(serve(admit=lambda _: admission))
    peer.send(BYTES[RQ])
    assert peer.read_pdu() == expected


def test_a_limit_is_a_transient_rejection(serve: Serve, dial: Dial) -> None:
    server = serve(limits=replace(DEFAULTS, max_associations=1))
    dial(server).associate()
    peer = dial(server)
    peer.send(BYTES[RQ])
    assert peer.read_pdu() == AssociateReject(2, 3, 2)


def test_another_application_context_is_a_rejection(serve: Serve, dial: Dial) -> None:
    peer = dial(serve())
    proposed = AssociateRequest(
        title_bytes("MWL"),
        title_bytes("MODALITY"),
        (ProposedContext(1, VERIFICATION, (IMPLICIT,)),),
        UserInformation(16384, "2.25.1"),
        application_context="1.2.3",
    )
    peer.send(encode(proposed))
    assert peer.read_pdu() == AssociateReject(1, 1, 2)


def test_a_refused_presentation_context_is_a_result_of_the_accept(serve: Serve, dial: Dial) -> None:
    peer = dial(serve()).associate(("1.2.3.4", VERIFICATION), transfer_syntaxes=(IMPLICIT,))
    assert peer.accept is not None
    assert [(each.id, each.result) for each in peer.accept.contexts] == [(1, 3), (3, 0)]
