"""What we request of a peer on its own association, and what the peer makes of it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from mwl.net.association import Association, PeerReleased
from mwl.net.codec import COMMAND, encode
from mwl.net.dimse import (
    NO_DATA_SET,
    RESPONSE,
    Command,
    CommandField,
    Element,
    Message,
    encode_command,
    fragments,
)
from mwl.net.limits import DEFAULTS
from mwl.net.negotiation import Agreement, Supported, negotiate
from mwl.net.outgoing import writes
from mwl.net.pdu import (
    Abort,
    AssociateRequest,
    PduType,
    ProposedContext,
    ReleaseRequest,
    Role,
    UserInformation,
    title_bytes,
)
from mwl.net.status import CANCEL, SUCCESS, UNRECOGNIZED_OPERATION
from tests.dicom_client import (
    MODALITY_WORKLIST_FIND,
    VERIFICATION,
    DicomClient,
    cancel_request,
    request,
    status,
)
from tests.dicom_server import (  # noqa: F401
    IDENTIFIER,
    IMPLICIT,
    SHORT,
    Dial,
    Finder,
    Serve,
    assert_serves,
    dial_fixture,
    last_words,
    serve_fixture,
)

CLASSES = (MODALITY_WORKLIST_FIND, VERIFICATION)
STORE = {
    Element.COMMAND_FIELD: int(CommandField.C_STORE),
    Element.AFFECTED_SOP_CLASS_UID: "1.2.840.10008.5.1.4.1.1.7",
    Element.AFFECTED_SOP_INSTANCE_UID: "2.25.17",
    Element.PRIORITY: 0,
}
REQUEST = request(1, CommandField.C_FIND, MODALITY_WORKLIST_FIND, 1, IDENTIFIER)
ECHO = request(3, CommandField.C_ECHO, VERIFICATION, 2)


@dataclass
class Requester:
    """A service that requests something, and tells in its final status how it went."""

    data_sets: list[object] = field(default_factory=lambda: [b"ab" * 10])
    answers: list[Command] = field(default_factory=list)
    raised: list[Exception] = field(default_factory=list)

    def service(self) -> Finder:
        return Finder(self.perform)

    def perform(self, association: Association, message: Message) -> None:
        for data_set in self.data_sets:
            try:
                self.answers.append(
                    association.request(message.context.id, STORE, data_set)  # type: ignore[arg-type]
                )
            except Exception as error:
                self.raised.append(error)
                if isinstance(error, KeyError):
                    continue
                raise
        cancelled = association.cancelled(message.command.message_id)
        association.send_response(message, CANCEL if cancelled else SUCCESS)


def stored(command: Command, code: int = SUCCESS) -> bytes:
    """Encode the response to a C-STORE-RQ."""
    elements: dict[int, int | str | bytes] = {
        Element.COMMAND_FIELD: command.field | RESPONSE,
        Element.MESSAGE_ID_BEING_RESPONDED_TO: command.message_id,
        Element.DATA_SET_TYPE: NO_DATA_SET,
        Element.STATUS: code,
    }
    return b"".join(fragments(1, COMMAND, encode_command(elements), 16384))


@pytest.fixture(name="ask")
def ask_fixture(serve: Serve, dial: Dial) -> Callable[..., DicomClient]:
    def ask(requester: Requester, **limits: float) -> DicomClient:
        server = serve(requester.service(), limits=replace(DEFAULTS, **limits))
        client = dial(server).associate(CLASSES, max_pdu_bytes=int(limits.pop("peer_pdu", 4096)))
        client.send(REQUEST)
        return client

    return ask


Ask = Callable[..., DicomClient]

# --- the writes of a message


@pytest.mark.parametrize("size", [0, 1, 2, 41, 42, 43, 84, 85, 126, 127, 1000, 1001])
@pytest.mark.parametrize("chunk", [1, 2, 41, 42, 84, 100, 5000])
def test_chunks_of_any_size_make_the_same_message(size: int, chunk: int) -> None:
    data = bytes(i % 251 for i in range(size))
    chunks = [data[at : at + chunk] for at in range(0, size, chunk)]
    parts = list(writes(b"HEAD", 7, chunks, max_pdu_bytes=48, write_bytes=100))
    assert b"".join(parts) == b"HEAD" + b"".join(fragments(7, 0, data, 48))
    assert all(len(part) < 100 + 6 * 48 for part in parts)


def test_nothing_is_written_before_the_first_write_is_full() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"a" * 99
        raise KeyError("gone")

    with pytest.raises(KeyError):
        next(writes(b"HEAD", 7, chunks(), max_pdu_bytes=48, write_bytes=100))


# --- one request


def test_a_request_carries_its_data_set_within_the_peers_pdus(ask: Ask) -> None:
    data_set = bytes(range(256)) * 1000
    requester = Requester([data_set, iter([data_set[:70_001], data_set[70_001:]]), None])
    client = ask(requester)
    for number, expected in enumerate([data_set, data_set, None], 1):
        command, received = client.read_message()
        assert (command.field, command.message_id) == (CommandField.C_STORE, number)
        assert (command.sop_instance, received) == ("2.25.17", expected)
        client.send(stored(command, 0xB000 + number))
    assert status(client.read_message()[0]) == SUCCESS
    assert [status(each) for each in requester.answers] == [0xB001, 0xB002, 0xB003]


def test_no_pdu_is_longer_than_the_peer_takes(ask: Ask) -> None:
    client = ask(Requester([b"ab" * 100_000]))
    received = 0
    while received < 200_000:
        _, body = client.read_frame()
        assert len(body) <= 4096
        received += (len(body) - 6) * (not body[5] & COMMAND)


def test_a_cancel_while_waiting_is_noted(ask: Ask) -> None:
    client = ask(Requester())
    command, _ = client.read_message()
    client.send(cancel_request(1, 1) + stored(command))
    assert status(client.read_message()[0]) == CANCEL


def test_another_request_while_waiting_has_its_turn_afterwards(ask: Ask) -> None:
    client = ask(Requester())
    command, _ = client.read_message()
    client.send(ECHO + stored(command))
    assert client.read_message()[0].field == CommandField.C_FIND | RESPONSE
    assert client.read_message()[0].field == CommandField.C_ECHO | RESPONSE
    client.release()


def test_more_requests_than_agreed_end_the_association(ask: Ask) -> None:
    client = ask(Requester())
    client.read_message()
    client.send(ECHO + ECHO)
    assert last_words(client) == Abort(0, 0)


def test_an_abort_while_waiting_ends_it_without_a_word(ask: Ask) -> None:
    client = ask(Requester())
    client.read_message()
    client.send(encode(Abort(0, 0)))
    assert last_words(client) is None


def test_who_releases_instead_of_answering_is_let_go(serve: Serve, dial: Dial) -> None:
    raised: list[Exception] = []

    def perform(association: Association, message: Message) -> None:
        for _ in range(2):
            try:
                association.request(1, STORE)
            except PeerReleased as error:
                raised.append(error)

    client = dial(serve(Finder(perform))).associate(CLASSES)
    client.send(REQUEST)
    client.read_message()
    client.send(encode(ReleaseRequest()))
    assert client.read_frame()[0] == PduType.RELEASE_RP
    assert len(raised) == 2


@pytest.mark.parametrize(
    "wrong", [{"message_id": 2}, {"field": CommandField.C_ECHO}, {"field": CommandField.C_FIND}]
)
def test_a_response_to_something_else_is_none(ask: Ask, wrong: dict[str, int]) -> None:
    requester = Requester()
    client = ask(requester, response_timeout_s=0.3)
    command, _ = client.read_message()
    client.send(stored(replace(command, **wrong)))
    assert isinstance(last_words(client), Abort)
    assert requester.answers == []


def test_a_second_response_is_one_that_nobody_asked_for(ask: Ask) -> None:
    client = ask(Requester())
    command, _ = client.read_message()
    client.send(stored(command) * 2)
    client.read_message()
    assert last_words(client) == Abort(0, 0)


# --- peers and data sets that fail


def test_who_never_answers_is_aborted(ask: Ask) -> None:
    client = ask(Requester(), response_timeout_s=0.2)
    client.read_message()
    assert last_words(client) == Abort(2, 0)


def test_what_else_is_sent_does_not_extend_the_time(ask: Ask) -> None:
    client = ask(Requester(), response_timeout_s=0.4)
    client.read_message()
    client.socket.settimeout(0.05)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        client.send(cancel_request(1, 1))
        try:
            assert isinstance(client.read_pdu(), Abort)
        except TimeoutError:
            continue
        return
    raise AssertionError("it waits for ever")


def test_who_stops_reading_is_given_up(serve: Serve, dial: Dial) -> None:
    requester = Requester([(b"ab" * 50_000 for _ in range(10_000))])
    server = serve(requester.service(), limits=SHORT)
    client = dial(server).associate(CLASSES)
    client.send(REQUEST)
    deadline = time.monotonic() + 30
    while server.live() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not server.live()
    assert_serves(server)


def test_a_data_set_that_fails_at_once_fails_alone(ask: Ask) -> None:
    def gone() -> Iterator[bytes]:
        yield b"ab"
        raise KeyError("gone")

    requester = Requester([gone(), b"cd"])
    client = ask(requester)
    command, data_set = client.read_message()
    assert data_set == b"cd"
    client.send(stored(command))
    assert status(client.read_message()[0]) == SUCCESS
    assert isinstance(requester.raised[0], KeyError)


def test_a_data_set_that_breaks_off_ends_the_association(ask: Ask) -> None:
    def breaks() -> Iterator[bytes]:
        for _ in range(100):
            yield b"ab" * 10_000
        raise KeyError("gone")

    client = ask(Requester([breaks()]))
    while (frame := client.read_frame())[0] == PduType.DATA_TF:
        assert frame[1][5] != 0x02, "the last fragment was sent"
    assert frame[0] == PduType.ABORT


def test_a_peer_that_goes_leaves_the_server_serving(serve: Serve, dial: Dial) -> None:
    server = serve(Requester([b"ab" * 1_000_000]).service())
    client = dial(server).associate(CLASSES)
    client.send(REQUEST)
    client.read_frame()
    client.close()
    assert_serves(server)


# --- who may be asked

CT, GET = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.2.2.3"


def negotiated(*classes: str, roles: tuple[Role, ...] = (), scu: bool = True) -> Agreement:
    supported = {
        CT: Supported((IMPLICIT,), requestor_may_be_scu=scu, requestor_may_be_scp=True),
        GET: Supported((IMPLICIT,), invokes=True),
    }
    contexts = tuple(ProposedContext(2 * i + 1, uid, (IMPLICIT,)) for i, uid in enumerate(classes))
    user = UserInformation(max_pdu_bytes=16384, roles=roles)
    proposal = AssociateRequest(title_bytes("MWL"), title_bytes("VIEWER"), contexts, user)
    agreement = negotiate(proposal, supported, DEFAULTS)
    assert isinstance(agreement, Agreement)
    return agreement


@pytest.mark.parametrize(
    ("classes", "roles", "accepted", "is_scp"),
    [
        ((CT,), (), True, False),
        ((CT,), (Role(CT, scu=True, scp=True),), True, True),
        ((CT, GET), (Role(CT, scu=False, scp=True),), True, True),
        ((CT, GET), (Role(CT, scu=True, scp=False),), True, False),
        ((CT, GET), (Role(CT, scu=False, scp=False),), False, False),
        ((CT, GET), (), True, True),  # as some viewers do
    ],
)
def test_roles_are_those_proposed_or_taken_for_granted(
    classes: tuple[str, ...], roles: tuple[Role, ...], accepted: bool, is_scp: bool
) -> None:
    agreement = negotiated(*classes, roles=roles)
    assert (1 in agreement.contexts) == accepted
    assert not accepted or agreement.contexts[1].may_invoke == is_scp
    # PS3.7 D.3.3.4: only what was proposed is answered.
    assert {role.sop_class for role in agreement.accept.user.roles} <= {r.sop_class for r in roles}


@pytest.mark.parametrize(
    ("classes", "accepted"), [((CT,), False), ((CT, GET), True), ((GET, CT), True)]
)
def test_a_class_that_nobody_serves_is_accepted_to_be_invoked_alone(
    classes: tuple[str, ...], accepted: bool
) -> None:
    agreement = negotiated(*classes, scu=False)
    spoken = {context.abstract_syntax for context in agreement.contexts.values()}
    assert (CT in spoken) == accepted


def test_a_request_for_a_class_that_is_only_invoked_is_refused(serve: Serve, dial: Dial) -> None:
    @dataclass
    class Invoking(Finder):
        invokes: dict[str, tuple[str, ...]] = field(default_factory=lambda: {CT: (IMPLICIT,)})

    server = serve(Invoking(lambda *_: None))
    client = dial(server).associate((MODALITY_WORKLIST_FIND, CT))
    client.send(request(3, CommandField.C_STORE, CT, 1))
    assert status(client.read_message()[0]) == UNRECOGNIZED_OPERATION
    client.release()
