"""Data sets that go to a sink as they come."""

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from mwl.net.association import Association
from mwl.net.codec import HEADER, encode
from mwl.net.dimse import Command, CommandField, Context, Message
from mwl.net.limits import DEFAULTS
from mwl.net.pdu import Abort, ReleaseRequest
from mwl.net.sinks import Sink
from mwl.net.status import SUCCESS, UNRECOGNIZED_OPERATION
from mwl.scp.guarded import Guarded
from tests.dicom_client import VERIFICATION, DicomClient, request, status
from tests.dicom_server import (  # noqa: F401
    IMPLICIT,
    SHORT,
    Dial,
    Serve,
    assert_serves,
    dial_fixture,
    last_words,
    serve_fixture,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
LONG = bytes(range(256)) * 4096  # 1 MiB


@dataclass
class Jar:
    """A sink that keeps what it is given, and what was done to it."""

    data: bytearray = field(default_factory=bytearray)
    pieces: int = 0
    closed: int = 0
    aborted: threading.Event = field(default_factory=threading.Event)
    aborts: int = 0
    fails: bool = False

    def write(self, fragment: memoryview) -> None:
        if self.fails:
            raise RuntimeError("a defect")
        assert isinstance(fragment, memoryview)
        assert not self.closed
        self.data += fragment
        self.pieces += 1

    def close(self) -> None:
        self.closed += 1

    def abort(self) -> None:
        self.aborts += 1
        self.aborted.set()


@dataclass
class Shelf:
    """A storage service that gives each request a jar; None: its data set stays in memory."""

    make: Callable[[], Jar | None] = Jar
    abstract_syntaxes: tuple[str, ...] = (CT,)
    transfer_syntaxes: tuple[str, ...] = (IMPLICIT,)
    operations: frozenset[CommandField] = frozenset({CommandField.C_STORE})
    jars: list[Jar] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    in_handle: Callable[[Jar], None] = lambda jar: None

    def receive(self, association: Association, context: Context, command: Command) -> Sink | None:
        jar = self.make()
        if jar is not None:
            self.jars.append(jar)
        return jar

    def handle(self, association: Association, message: Message) -> None:
        self.messages.append(message)
        if isinstance(message.sink, Jar):
            assert not message.sink.aborts
            self.in_handle(message.sink)
        association.send_response(message, SUCCESS)


def store(data_set: bytes | None, message_id: int = 1, max_pdu_bytes: int = 16384) -> bytes:
    return request(1, CommandField.C_STORE, CT, message_id, data_set, max_pdu_bytes)


def test_a_data_set_of_any_length_goes_to_the_sink_of_its_request(serve: Serve) -> None:
    shelf = Shelf()
    # Far less may be kept in memory than comes.
    server = serve(shelf, limits=replace(DEFAULTS, max_data_set_bytes=1024))
    with DicomClient(server.address) as client:
        client.associate((CT,))
        for number, data_set in enumerate((LONG, b"", b"ab", LONG), start=1):
            client.send(store(data_set, number))
            assert status(client.read_message()[0]) == SUCCESS
    assert [bytes(jar.data) for jar in shelf.jars] == [LONG, b"", b"ab", LONG]
    assert shelf.jars[0].pieces > 60
    for message, jar in zip(shelf.messages, shelf.jars, strict=True):
        assert message.sink is jar
        assert message.data_set is None
        assert jar.closed == 1
        # After the service too: whoever kept what came has nothing to lose by it.
        assert jar.aborts == 1


def test_a_service_may_want_a_data_set_in_memory(serve: Serve) -> None:
    shelf = Shelf(lambda: None)
    with DicomClient(serve(shelf).address) as client:
        client.associate((CT,))
        client.send(store(b"abcd"))
        assert status(client.read_message()[0]) == SUCCESS
    assert shelf.messages[0].data_set == b"abcd"
    assert shelf.messages[0].sink is None


def test_a_request_without_a_data_set_has_no_sink(serve: Serve) -> None:
    shelf = Shelf()
    with DicomClient(serve(shelf).address) as client:
        client.associate((CT,))
        client.send(store(None))
        assert status(client.read_message()[0]) == SUCCESS
    assert shelf.jars == []


@pytest.mark.parametrize("farewell", ["close", "reset", "abort", "release"])
@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.9999])
def test_a_peer_that_goes_at_any_byte_aborts_the_sink(
    serve: Serve, dial: Dial, part: float, farewell: str
) -> None:
    shelf = Shelf()
    server = serve(shelf)
    client = dial(server).associate((CT,))
    whole = store(LONG)
    (_, length) = HEADER.unpack_from(whole)
    command = HEADER.size + length
    client.send(whole[: command + int(part * (len(whole) - command))])
    if farewell == "reset":
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    elif farewell == "abort":
        client.send(encode(Abort(0, 0)))
    elif farewell == "release":
        client.send(encode(ReleaseRequest()))
    client.close()
    while server.live():
        threading.Event().wait(0.01)
    assert all(jar.aborted.wait(5) and not jar.closed for jar in shelf.jars)
    assert shelf.messages == []
    if part and farewell == "close":
        assert len(shelf.jars) == 1
    assert_serves(server)


def test_a_peer_that_stops_in_a_data_set_aborts_the_sink_in_bounded_time(
    serve: Serve, dial: Dial
) -> None:
    shelf = Shelf()
    client = dial(serve(shelf, limits=SHORT)).associate((CT,))
    client.send(store(LONG)[:200_000])
    assert isinstance(last_words(client), Abort)
    assert shelf.jars[0].aborted.wait(5)


def test_a_data_set_over_its_limit_ends_the_association(serve: Serve, dial: Dial) -> None:
    shelf = Shelf()
    server = serve(shelf, limits=replace(DEFAULTS, max_streamed_bytes=500_000))
    client = dial(server).associate((CT,))
    client.send(store(LONG)[:700_000])
    assert isinstance(last_words(client), Abort)
    assert shelf.jars[0].aborted.wait(5)
    assert len(shelf.jars[0].data) <= 500_000
    assert_serves(server)


def test_a_sink_or_service_that_raises_ends_its_association_alone(serve: Serve, dial: Dial) -> None:
    def fail(jar: Jar) -> None:
        raise RuntimeError("a defect")

    for shelf in (Shelf(lambda: Jar(fails=True)), Shelf(in_handle=fail)):
        server = serve(shelf)
        client = dial(server).associate((CT,))
        client.send(store(b"abcd"))
        assert isinstance(last_words(client), Abort)
        assert shelf.jars[0].aborted.wait(5)
        assert_serves(server)


def test_what_the_service_doesnt_do_is_read_to_its_end_and_refused(serve: Serve) -> None:
    shelf = Shelf()
    server = serve(shelf, limits=replace(DEFAULTS, max_data_set_bytes=1024))
    with DicomClient(server.address) as client:
        client.associate((CT, VERIFICATION))
        client.send(request(1, CommandField.N_SET, CT, 1, LONG))
        assert status(client.read_message()[0]) == UNRECOGNIZED_OPERATION
        assert client.echo() == SUCCESS
    assert shelf.jars == []


def test_who_may_not_is_read_to_the_end_and_refused(serve: Serve) -> None:
    shelf = Shelf()
    server = serve(
        Guarded(shelf, lambda peer: peer.calling_title == "CT1"),
        limits=replace(DEFAULTS, max_data_set_bytes=1024),
    )
    for calling, code in (("STRANGER", 0x0124), ("CT1", SUCCESS)):
        with DicomClient(server.address) as client:
            client.associate((CT,), calling=calling)
            client.send(store(LONG))
            assert status(client.read_message()[0]) == code
    assert len(shelf.jars) == len(shelf.messages) == 1


def test_requests_sent_without_waiting_have_few_sinks_at_once(serve: Serve, dial: Dial) -> None:
    shelf = Shelf()
    client = dial(serve(shelf)).associate((CT,))
    # All in one PDU: none of them is performed before all of them are read.
    values = b""
    for number in range(1, 100):
        pdus = store(b"ab", number)
        while pdus:
            _, length = HEADER.unpack_from(pdus)
            values, pdus = values + pdus[6 : 6 + length], pdus[6 + length :]
    client.send(HEADER.pack(4, len(values)) + values)
    assert isinstance(last_words(client), Abort)
    assert len(shelf.jars) == DEFAULTS.max_waiting_streams
    assert all(jar.aborted.wait(5) for jar in shelf.jars)


def test_the_compressed_transfer_syntax_that_the_requestor_names_first_is_taken_of_images(
    serve: Serve,
) -> None:
    explicit, jpeg = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.70"
    shelf = Shelf(transfer_syntaxes=(explicit, IMPLICIT, jpeg))
    compressed, plain = ("1.2.3", jpeg, IMPLICIT, explicit), (IMPLICIT, jpeg, explicit)
    for theirs, offered, agreed in (
        ({CT}, compressed, jpeg),
        ({CT}, plain, explicit),
        (set(), compressed, explicit),
    ):
        shelf.theirs_first = theirs  # type: ignore[attr-defined]
        with DicomClient(serve(Guarded(shelf, lambda _: True)).address) as client:
            client.associate((CT,), transfer_syntaxes=offered)
            assert client.accept is not None
            assert client.accept.contexts[0].transfer_syntax == agreed
