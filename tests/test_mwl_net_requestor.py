"""Associations that we ask for: what a peer's answer is worth, and what is asked on them."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest

from mwl.errors import ProtocolError
from mwl.net.association import Association, PeerReleased
from mwl.net.codec import COMMAND, encode
from mwl.net.dimse import (
    NO_DATA_SET,
    CommandField,
    Context,
    Element,
    Message,
    encode_command,
    fragments,
)
from mwl.net.framing import ReadTimeout
from mwl.net.limits import DEFAULTS, Limits
from mwl.net.messages import Elements
from mwl.net.negotiation import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION
from mwl.net.pdu import (
    Abort,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ContextAnswer,
    PduError,
    ProposedContext,
    ReleaseRequest,
    ReleaseResponse,
    Role,
    UserInformation,
    title_bytes,
)
from mwl.net.requestor import Refused, associate
from mwl.net.server import AssociationServer
from mwl.net.status import PENDING, SUCCESS
from mwl.sockets import dial
from tests.dicom_client import MODALITY_WORKLIST_FIND, VERIFICATION, DicomClient
from tests.dicom_server import (  # noqa: F401
    IDENTIFIER,
    IMPLICIT,
    Finder,
    Serve,
    answer,
    serve_fixture,
)

EXPLICIT = "1.2.840.10008.1.2.1"
COMMITMENT = "1.2.840.10008.1.20.1"
CONTEXTS = (
    ProposedContext(1, VERIFICATION, (IMPLICIT,)),
    ProposedContext(3, MODALITY_WORKLIST_FIND, (EXPLICIT, IMPLICIT)),
)
ECHO: Elements = {
    Element.COMMAND_FIELD: int(CommandField.C_ECHO),
    Element.AFFECTED_SOP_CLASS_UID: VERIFICATION,
}
FIND: Elements = {
    Element.COMMAND_FIELD: int(CommandField.C_FIND),
    Element.AFFECTED_SOP_CLASS_UID: MODALITY_WORKLIST_FIND,
    Element.PRIORITY: 0,
}


def opened(server: AssociationServer, limits: Limits = DEFAULTS) -> Association:
    connection = dial(*server.address, 10)
    return associate(connection, called="MWL", calling="BRIDGE", contexts=CONTEXTS, limits=limits)


@contextmanager
def peer(*words: bytes) -> Iterator[tuple[socket.socket, list[object]]]:
    """Connect to a peer that says each of these when it has read a PDU; give what it read."""
    read: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def converse() -> None:
            client = DicomClient.over(listener.accept()[0])
            with client.socket:
                try:
                    for word in words:
                        read.append(client.read_pdu())
                        client.send(word)
                    while not (read and isinstance(read[-1], Abort | ReleaseResponse)):
                        read.append(client.read_pdu())
                except (EOFError, ConnectionError):
                    pass

        thread = threading.Thread(target=converse, daemon=True)
        thread.start()
        yield socket.create_connection(listener.getsockname(), 10), read
        thread.join(10)
        assert not thread.is_alive()


def accept(
    *answers: ContextAnswer, roles: tuple[Role, ...] = (), max_pdu_bytes: int | None = 16384
) -> bytes:
    user = UserInformation(max_pdu_bytes, "2.25.1", roles=roles)
    return encode(AssociateAccept(title_bytes("ANY"), title_bytes("THING"), answers, user))


def asked(
    connection: socket.socket,
    contexts: Sequence[ProposedContext] = CONTEXTS,
    roles: Sequence[Role] = (),
) -> Association:
    return associate(
        connection,
        called="PEER",
        calling="BRIDGE",
        contexts=contexts,
        roles=roles,
        limits=replace(DEFAULTS, close_timeout_s=1, max_receive_pdu_bytes=65536),
    )


RELEASED = encode(ReleaseResponse())

# --- proposal and answer


def test_a_proposal_says_who_we_are() -> None:
    with peer(accept(), RELEASED) as (connection, read):
        roles = (Role(VERIFICATION, scu=True, scp=True),)
        with asked(connection, roles=roles) as association:
            assert (association.called_title, association.calling_title) == ("PEER", "BRIDGE")
            assert association.contexts == {}
    assert read[0] == AssociateRequest(
        title_bytes("PEER"),
        title_bytes("BRIDGE"),
        CONTEXTS,
        UserInformation(65536, IMPLEMENTATION_UID, IMPLEMENTATION_VERSION, roles=roles),
    )
    assert read[1:] == [ReleaseRequest()]


def test_contexts_are_those_that_were_accepted() -> None:
    answers = ContextAnswer(1, 3, ""), ContextAnswer(3, 0, IMPLICIT)
    with peer(accept(*answers), RELEASED) as (connection, _), asked(connection) as association:
        assert association.contexts == {3: Context(3, MODALITY_WORKLIST_FIND, IMPLICIT, True)}


@pytest.mark.parametrize(
    "answers",
    [
        [ContextAnswer(5, 0, IMPLICIT)],
        [ContextAnswer(1, 0, IMPLICIT), ContextAnswer(1, 0, IMPLICIT)],
        [ContextAnswer(1, 0, EXPLICIT)],
        [ContextAnswer(1, 0, "")],
    ],
    ids=["another context", "a context twice", "another syntax", "no syntax"],
)
def test_an_answer_to_what_was_not_proposed_is_aborted(answers: list[ContextAnswer]) -> None:
    with peer(accept(*answers)) as (connection, read):
        with pytest.raises(PduError):
            asked(connection)
        assert connection.fileno() == -1
    assert read[1:] == [Abort(2, 6)]


def test_a_peer_that_takes_tiny_pdus_only_is_none() -> None:
    with (
        peer(accept(max_pdu_bytes=16)) as (connection, read),
        pytest.raises(ProtocolError, match="few bytes"),
    ):
        asked(connection)
    assert read[1:] == [Abort(0, 0)]


@pytest.mark.parametrize(
    ("proposed", "accepted", "expected"),
    [
        (None, None, True),
        (None, (False, True), True),  # PS3.7 D.3.3.4: what was not proposed is not accepted
        ((True, True), None, True),  # no answer: the default roles
        ((True, True), (True, True), True),
        ((True, True), (False, True), False),
        ((False, True), (True, True), False),
        ((False, True), (False, True), False),
        ((False, True), None, True),
        ((False, True), (True, False), None),
        ((True, True), (False, False), None),
    ],
)
def test_roles_are_those_proposed_and_accepted(
    proposed: tuple[bool, bool] | None,
    accepted: tuple[bool, bool] | None,
    expected: bool | None,
) -> None:
    def items(roles: tuple[bool, bool] | None) -> tuple[Role, ...]:
        return (Role(COMMITMENT, *roles),) if roles else ()

    contexts = [ProposedContext(1, COMMITMENT, (IMPLICIT,))]
    word = accept(ContextAnswer(1, 0, IMPLICIT), roles=items(accepted))
    with (
        peer(word, RELEASED) as (connection, _),
        asked(connection, contexts, items(proposed)) as association,
    ):
        found = [context.may_invoke for context in association.contexts.values()]
    assert found == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    ("verdict", "says"),
    [
        (AssociateReject(1, 1, 7), "called AE title not recognised"),
        (AssociateReject(1, 1, 3), "calling AE title not recognised"),
        (AssociateReject(2, 3, 2), "as many associations as it takes"),
        (AssociateReject(1, 1, 1), "no reason given"),
        (AssociateReject(9, 9, 9), "no reason given"),
    ],
)
def test_a_refusal_says_why(verdict: AssociateReject, says: str) -> None:
    with peer(encode(verdict)) as (connection, read):
        with pytest.raises(Refused, match=says) as caught:
            asked(connection)
        assert caught.value.answer == verdict
    assert len(read) == 1


def test_a_title_that_is_too_long_leaves_no_socket() -> None:
    with peer() as (connection, _):
        with pytest.raises(ValueError, match="16"):
            associate(connection, called="P" * 17, calling="BRIDGE", contexts=CONTEXTS)
        assert connection.fileno() == -1


# --- operations


def test_requests_and_responses_go_over_one_association(serve: Serve) -> None:
    server = serve(answer([b"ab" * 30_000, b"cd"]))
    with opened(server) as association:
        for _ in range(3):
            assert association.request(1, ECHO).number(Element.STATUS) == SUCCESS
        *found, final = association.responses(3, FIND, IDENTIFIER)
        assert [message.data_set for message in found] == [b"ab" * 30_000, b"cd"]
        assert {message.command.number(Element.STATUS) for message in found} == {PENDING}
        assert (final.command.number(Element.STATUS), final.data_set) == (SUCCESS, None)
        assert association.request(1, ECHO).number(Element.STATUS) == SUCCESS


def test_responses_that_nobody_reads_to_their_end_can_still_be_released(serve: Serve) -> None:
    with opened(serve(answer([b"ab"] * 1000))) as association:
        assert next(iter(association.responses(3, FIND, IDENTIFIER))).data_set == b"ab"
        with pytest.raises(ProtocolError, match="isn't answered yet"):
            association.request(1, ECHO)
        association.release()
        association.release()  # once is enough


def test_one_response_is_due_where_there_is_one(serve: Serve) -> None:
    with pytest.raises(ProtocolError, match="pending"), opened(serve(answer([b"ab"]))) as it:
        it.request(3, FIND, IDENTIFIER)


def test_each_response_has_its_time(serve: Serve) -> None:
    pause = threading.Event()

    def slowly(association: Association, message: Message) -> None:
        for _ in range(4):
            pause.wait(0.15)
            association.send_response(message, PENDING, data_set=b"ab")
        association.send_response(message, SUCCESS)

    server = serve(Finder(slowly))
    with opened(server, replace(DEFAULTS, response_timeout_s=0.45)) as association:
        assert len(list(association.responses(3, FIND, IDENTIFIER))) == 5


def test_a_peer_that_does_not_answer_is_aborted(serve: Serve) -> None:
    silence = threading.Event()

    def keep_silent(*_: object) -> None:
        silence.wait(10)

    server = serve(Finder(keep_silent))
    with (
        pytest.raises(ReadTimeout),
        opened(server, replace(DEFAULTS, response_timeout_s=0.1, close_timeout_s=0.1)) as it,
    ):
        it.request(3, FIND, IDENTIFIER)
    silence.set()


def test_our_own_trouble_aborts_the_association(serve: Serve) -> None:
    server = serve()
    with pytest.raises(KeyError), opened(server):
        raise KeyError("ours")
    wait = threading.Event()
    for _ in range(1000):
        if not server.live():
            return
        wait.wait(0.01)
    raise AssertionError("it is still open")


def test_who_releases_is_answered(serve: Serve) -> None:
    word = accept(ContextAnswer(1, 0, IMPLICIT))
    with peer(word, encode(ReleaseRequest())) as (connection, read):
        with pytest.raises(PeerReleased), asked(connection) as association:
            association.request(1, ECHO)
        assert connection.fileno() == -1
    assert read[2:] == [ReleaseResponse()]


def test_what_the_peer_requests_is_answered(serve: Serve) -> None:
    def report(number: int) -> bytes:
        elements: dict[int, int | str | bytes] = {
            Element.AFFECTED_SOP_CLASS_UID: COMMITMENT,
            Element.COMMAND_FIELD: CommandField.N_EVENT_REPORT,
            Element.MESSAGE_ID: number,
            Element.DATA_SET_TYPE: NO_DATA_SET,
            Element.EVENT_TYPE_ID: 1,
        }
        return b"".join(fragments(1, COMMAND, encode_command(elements), 16384))

    contexts = [ProposedContext(1, COMMITMENT, (IMPLICIT,))]
    word = accept(ContextAnswer(1, 0, IMPLICIT)) + report(7)
    with (
        peer(word, report(8), RELEASED) as (connection, _),
        asked(connection, contexts) as association,
    ):
        for number in (7, 8):
            message = association.next_request()
            assert message is not None
            assert message.command.message_id == number
            association.send_response(message, SUCCESS)
