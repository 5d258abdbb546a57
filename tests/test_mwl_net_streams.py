"""While answers flow: C-CANCEL, release, abort, and peers that don't read."""

import socket
import threading
import time

import pytest

from mwl.net.association import Association
from mwl.net.codec import HEADER, encode
from mwl.net.dimse import CommandField, Element, Message
from mwl.net.ending import PeerAborted
from mwl.net.framing import ConnectionLost
from mwl.net.limits import DEFAULTS
from mwl.net.pdu import Abort, PduType, ReleaseRequest, ReleaseResponse
from mwl.net.status import CANCEL, PENDING, SUCCESS
from tests.dicom_client import (
    MODALITY_WORKLIST_FIND,
    VERIFICATION,
    DicomClient,
    cancel_request,
    request,
)
from tests.dicom_server import (  # noqa: F401
    BOTH,
    IDENTIFIER,
    SHORT,
    Dial,
    Finder,
    Serve,
    answer,
    assert_serves,
    dial_fixture,
    many,
    serve_fixture,
)


def test_a_cancel_stops_the_stream(serve: Serve) -> None:
    server = serve(Finder(many))
    with DicomClient(server.address) as client:
        client.associate(BOTH)
        found = client.find(IDENTIFIER, message_id=7)
        assert next(found) == (PENDING, b"ab" * 400)
        client.send(cancel_request(3, message_id=7))
        *_, (status, _) = found
        assert status == CANCEL
        assert client.echo() == SUCCESS


def test_a_cancel_that_came_with_the_request_lets_sixteen_answers_go(serve: Serve) -> None:
    server = serve(Finder(many))
    with DicomClient(server.address) as client:
        client.associate(BOTH)
        client.send(
            request(3, CommandField.C_FIND, MODALITY_WORKLIST_FIND, 7, IDENTIFIER)
            + cancel_request(3, 7)
        )
        found = 0
        while client.read_message()[1] is not None:
            found += 1
        assert found <= DEFAULTS.max_answers_between_looks


def test_a_cancel_in_one_pdu_with_its_request_is_seen(serve: Serve) -> None:
    server = serve(Finder(many))
    separate = request(
        3, CommandField.C_FIND, MODALITY_WORKLIST_FIND, 7, IDENTIFIER
    ) + cancel_request(3, 7)
    values = b""
    while separate:
        _, length = HEADER.unpack_from(separate)
        end = HEADER.size + length
        values, separate = values + separate[HEADER.size : end], separate[end:]
    with DicomClient(server.address) as client:
        client.associate(BOTH)
        client.send(HEADER.pack(PduType.DATA_TF, len(values)) + values)
        found = [client.read_message()[0] for _ in range(DEFAULTS.max_answers_between_looks + 1)]
        assert found[-1].number(Element.STATUS) == CANCEL


def test_a_cancel_of_another_operation_stops_nothing(serve: Serve) -> None:
    server = serve(answer([b"ab"] * 100))
    with DicomClient(server.address) as client:
        client.associate(BOTH)
        client.send(
            request(3, CommandField.C_FIND, MODALITY_WORKLIST_FIND, 7, IDENTIFIER)
            + cancel_request(3, 8)
        )
        found = [client.read_message() for _ in range(101)]
        assert found[-1][0].number(Element.STATUS) == SUCCESS


def test_a_cancel_that_comes_late_doesnt_stop_the_next_of_that_number(serve: Serve) -> None:
    server = serve(answer([b"ab"] * 100))
    with DicomClient(server.address) as client:
        client.associate(BOTH)
        for _ in range(2):
            assert client.count_pending(IDENTIFIER) == 100
            client.send(cancel_request(3, message_id=1))


def test_a_service_may_look_for_a_cancel_itself(serve: Serve) -> None:
    def wait(association: Association, message: Message) -> None:
        association.send_response(message, PENDING, data_set=b"ab")
        end = time.monotonic() + 10
        while not association.cancelled(message.command.message_id) and time.monotonic() < end:
            pass
        assert not association.cancelled(message.command.message_id + 1)
        cancelled = association.cancelled(message.command.message_id)
        association.send_response(message, CANCEL if cancelled else SUCCESS)

    server = serve(Finder(wait))
    with DicomClient(server.address) as client:
        client.associate((MODALITY_WORKLIST_FIND,))
        found = client.find(IDENTIFIER)
        next(found)
        client.send(cancel_request(1))
        assert next(found) == (CANCEL, None)


def test_a_release_while_answers_flow_waits_for_the_last(serve: Serve, dial: Dial) -> None:
    server = serve(answer([b"ab"] * 100))
    client = dial(server).associate((MODALITY_WORKLIST_FIND,))
    client.send(
        request(1, CommandField.C_FIND, MODALITY_WORKLIST_FIND, 1, IDENTIFIER)
        + encode(ReleaseRequest())
    )
    for _ in range(101):
        client.read_message()
    assert client.read_pdu() == ReleaseResponse()


@pytest.mark.parametrize(
    ("farewell", "error"), [(encode(Abort(0, 0)), PeerAborted), (b"", ConnectionLost)]
)
def test_a_peer_that_goes_while_answers_flow_ends_the_service(
    serve: Serve, dial: Dial, farewell: bytes, error: type[Exception]
) -> None:
    ended: list[BaseException] = []
    over = threading.Event()

    def perform(association: Association, message: Message) -> None:
        try:
            many(association, message)
        except BaseException as reason:
            ended.append(reason)
            raise
        finally:
            over.set()

    server = serve(Finder(perform))
    client = dial(server).associate((MODALITY_WORKLIST_FIND,))
    next(client.find(IDENTIFIER))
    client.send(farewell)
    client.socket.shutdown(socket.SHUT_WR)
    assert over.wait(10)
    assert isinstance(ended[0], error)
    assert_serves(server)


def test_a_peer_that_reads_nothing_loses_its_association_in_bounded_time(
    serve: Serve, dial: Dial
) -> None:
    over = threading.Event()

    def perform(association: Association, message: Message) -> None:
        try:
            many(association, message)
        finally:
            over.set()

    server = serve(Finder(perform), limits=SHORT)
    client = dial(server).associate((MODALITY_WORKLIST_FIND,))
    client.send(request(1, CommandField.C_FIND, MODALITY_WORKLIST_FIND, 1, IDENTIFIER))
    assert over.wait(10)
    assert_serves(server)


def test_half_a_message_while_answers_flow_is_kept_for_its_rest(serve: Serve) -> None:
    reached, resume = threading.Event(), threading.Event()

    def perform(association: Association, message: Message) -> None:
        reached.set()
        assert resume.wait(10)
        assert not association.cancelled(message.command.message_id)
        association.send_response(message, SUCCESS)

    server = serve(Finder(perform))
    echo = request(1, CommandField.C_ECHO, VERIFICATION, 2)
    with DicomClient(server.address) as client:
        client.associate(BOTH)
        client.send(request(3, CommandField.C_FIND, MODALITY_WORKLIST_FIND, 1, IDENTIFIER))
        assert reached.wait(10)
        client.send(echo[:20])
        resume.set()
        assert client.read_message()[0].message_id == 1
        client.send(echo[20:])
        assert client.read_message()[0].message_id == 2
