"""An association over real sockets: what a peer may do, and what else it tries."""

import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from mwl.errors import Outage
from mwl.net.admission import Admission, Applicant
from mwl.net.association import Association
from mwl.net.codec import COMMAND, HEADER, LAST, encode, encode_value
from mwl.net.dimse import CommandField, Element, Message, encode_command, fragments
from mwl.net.limits import DEFAULTS
from mwl.net.pdu import (
    Abort,
    AssociateReject,
    AssociateRequest,
    PduType,
    ReleaseRequest,
    ReleaseResponse,
    title_bytes,
)
from mwl.net.status import PENDING, SUCCESS
from tests.dicom_client import (
    MODALITY_WORKLIST_FIND,
    VERIFICATION,
    DicomClient,
    Refused,
    proposal,
    request,
)
from tests.dicom_server import (  # noqa: F401
    BOTH,
    IDENTIFIER,
    IMPLICIT,
    SHORT,
    Dial,
    Finder,
    Serve,
    answer,
    assert_serves,
    dial_fixture,
    last_words,
    serve_fixture,
)

PROPOSAL = proposal("MWL", "MODALITY", (VERIFICATION,), (IMPLICIT,), 16384)

# --- before the association


@pytest.mark.parametrize(
    "first",
    [
        encode(ReleaseRequest()),
        encode(ReleaseResponse()),
        encode(AssociateReject(1, 1, 1)),
        encode_value(1, COMMAND | LAST, b"ab"),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",  # a TLS ClientHello
        HEADER.pack(PduType.ASSOCIATE_RQ, 0xFFFFFFFF),
        HEADER.pack(PduType.ASSOCIATE_RQ, 10) + bytes(10),
        PROPOSAL[:76] + b"\xff\xff" + PROPOSAL[78:],  # an item longer than the PDU
        HEADER.pack(0xEE, 4) + bytes(4),
    ],
)
def test_a_wrong_first_pdu_is_aborted_by_the_service_user(
    serve: Serve, dial: Dial, first: bytes
) -> None:
    server = serve()
    client = dial(server)
    client.send(first)
    assert last_words(client) == Abort(0, 0)  # PS3.8 AA-1
    assert_serves(server)


def test_an_abort_before_the_association_is_met_with_silence(serve: Serve, dial: Dial) -> None:
    server = serve()
    client = dial(server)
    client.send(encode(Abort(0, 0)))
    assert last_words(client) is None
    assert_serves(server)


def test_a_request_cut_short_anywhere_leaves_the_server_serving(serve: Serve, dial: Dial) -> None:
    server = serve()
    for size in range(len(PROPOSAL)):
        client = dial(server)
        client.send(PROPOSAL[:size])
        client.close()
    assert_serves(server)


@pytest.mark.parametrize("sent", [b"", PROPOSAL[:1], PROPOSAL[:-1]], ids=len)
def test_who_never_finishes_its_request_is_closed_by_the_timer(
    serve: Serve, dial: Dial, sent: bytes
) -> None:
    server = serve(limits=SHORT)
    client = dial(server)
    client.send(sent)
    assert last_words(client) is None  # PS3.8 AA-2
    assert_serves(server)


@pytest.mark.parametrize(
    ("admission", "reason"),
    [
        (Admission.CALLED_UNKNOWN, (1, 1, 7)),
        (Admission.CALLING_UNKNOWN, (1, 1, 3)),
        (Admission.NOT_IDENTIFIED, (1, 2, 1)),
        (Admission.BUSY, (2, 3, 1)),
    ],
)
def test_who_is_not_admitted_is_told_why(
    serve: Serve, dial: Dial, admission: Admission, reason: tuple[int, int, int]
) -> None:
    server = serve(admit=lambda _: admission)
    client = dial(server)
    with capture_logs() as logs, pytest.raises(Refused) as caught:
        client.associate()
    assert caught.value.answer == AssociateReject(*reason)
    assert "association.rejected" in {line["event"] for line in logs}


def test_an_outage_while_admitting_is_a_transient_refusal(serve: Serve, dial: Dial) -> None:
    def admit(_applicant: Applicant) -> Admission:
        raise Outage("the database is locked")

    server = serve(admit=admit)
    with pytest.raises(Refused) as caught:
        dial(server).associate()
    assert caught.value.answer == AssociateReject(2, 3, 1)


@pytest.mark.parametrize(
    ("title", "text"),
    [
        (b"CT_1".ljust(16, b"\0"), "CT_1"),
        (b" " * 16, ""),
        (bytes(16), ""),
        ("RÖ".encode("latin-1").ljust(16), "RÖ"),
    ],
)
def test_titles_are_admitted_without_what_pads_them(
    serve: Serve, dial: Dial, title: bytes, text: str
) -> None:
    seen: list[tuple[str, str, str]] = []

    def admit(applicant: Applicant) -> Admission:
        seen.append((applicant.called, applicant.calling, applicant.address))
        return Admission.ACCEPTED

    server = serve(admit=admit)
    client = dial(server)
    client.send(encode(AssociateRequest(title, title, ())))
    accept = client.read_pdu()
    assert accept.called_title == title  # type: ignore[union-attr]
    assert seen == [(text, text, "127.0.0.1")]
    client.release()


def test_an_unknown_sop_class_is_a_result_and_the_others_work(serve: Serve) -> None:
    server = serve()
    with DicomClient(server.address) as client:
        client.associate(("1.2.3", VERIFICATION))
        assert client.accept is not None
        assert [each.result for each in client.accept.contexts] == [3, 0]
        assert client.echo() == SUCCESS


# --- on the association


@pytest.mark.parametrize(
    ("sent", "abort"),
    [
        (PROPOSAL, Abort(2, 2)),
        (encode(ReleaseResponse()), Abort(2, 2)),
        (HEADER.pack(0x2A, 4), Abort(2, 1)),
        (HEADER.pack(PduType.RELEASE_RQ, 5) + bytes(5), Abort(2, 6)),
        (HEADER.pack(PduType.DATA_TF, 0xFFFFFFFF), Abort(2, 6)),
        (HEADER.pack(PduType.DATA_TF, 0), Abort(2, 6)),
        (HEADER.pack(PduType.DATA_TF, 7) + b"\0\0\0\xff\1\3\0", Abort(2, 6)),
        (encode_value(9, COMMAND | LAST, b""), Abort(2, 6)),
        (encode_value(1, LAST, b""), Abort(2, 6)),
        (encode_value(1, COMMAND | LAST, b""), Abort(0, 0)),
        (encode_value(1, COMMAND | LAST, b"\0\0\0\1\2\0\0"), Abort(0, 0)),
        (encode_value(1, COMMAND, bytes(16 * 1024 + 2)), Abort(0, 0)),
    ],
)
def test_what_may_not_come_is_aborted_with_source_and_reason(
    serve: Serve, dial: Dial, sent: bytes, abort: Abort
) -> None:
    server = serve()
    client = dial(server).associate()
    client.send(sent)
    assert last_words(client) == abort
    assert_serves(server)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="idle"),
        pytest.param(encode(ReleaseRequest())[:1], id="one byte"),
        pytest.param(request(1, CommandField.C_ECHO, VERIFICATION)[:-1], id="half a PDU"),
        pytest.param(encode_value(1, COMMAND, b"abcd"), id="half a message"),
    ],
)
def test_silence_is_aborted_by_the_service_provider(serve: Serve, dial: Dial, sent: bytes) -> None:
    server = serve(limits=SHORT)
    client = dial(server).associate()
    client.send(sent)
    assert last_words(client) == Abort(2, 0)
    assert_serves(server)


def test_a_request_cut_short_anywhere_on_an_association_harms_no_other(
    serve: Serve, dial: Dial
) -> None:
    server = serve()
    whole = request(1, CommandField.C_ECHO, VERIFICATION)
    with DicomClient(server.address) as other:
        other.associate()
        for size in range(len(whole)):
            client = dial(server).associate()
            client.send(whole[:size])
            client.close()
        assert other.echo() == SUCCESS


def test_damaged_conversations_leave_the_server_serving(serve: Serve) -> None:
    server = serve(answer([b"ab"] * 3), limits=SHORT)
    whole = (
        proposal("MWL", "MODALITY", BOTH, (IMPLICIT,), 16384)
        + request(1, CommandField.C_ECHO, VERIFICATION)
        + request(3, CommandField.C_FIND, MODALITY_WORKLIST_FIND, 2, IDENTIFIER)
        + encode(ReleaseRequest())
    )
    chance = random.Random(9)
    with capture_logs() as logs:
        for _ in range(150):
            damaged = bytearray(whole)
            for _ in range(chance.randint(1, 6)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            client = DicomClient(server.address)
            with suppress(OSError, EOFError):
                client.send(bytes(damaged))
                client.socket.shutdown(socket.SHUT_WR)
                while True:
                    client.read_frame()
            client.close()
        assert_serves(server)
    assert "association.failed" not in {line["event"] for line in logs}


def test_many_operations_take_turns_on_one_association(serve: Serve) -> None:
    server = serve(answer([b"ab"] * 3))
    with DicomClient(server.address) as client:
        client.associate(BOTH)
        for message_id in range(1, 20):
            assert client.echo(message_id) == SUCCESS
            found = list(client.find(IDENTIFIER, message_id=message_id))
            assert found == [(PENDING, b"ab")] * 3 + [(SUCCESS, None)]


def test_requests_sent_at_one_go_are_answered_in_order(serve: Serve) -> None:
    server = serve()
    with DicomClient(server.address) as client:
        client.associate()
        client.send(
            b"".join(
                request(1, CommandField.C_ECHO, VERIFICATION, number) for number in range(1, 50)
            )
        )
        answered = [client.read_message()[0].message_id for _ in range(1, 50)]
        assert answered == list(range(1, 50))


@pytest.mark.parametrize("data_set", [None, IDENTIFIER])
@pytest.mark.parametrize("field", [CommandField.C_FIND, CommandField.N_CREATE, 0x0777])
def test_an_unknown_operation_is_0211(serve: Serve, field: int, data_set: bytes | None) -> None:
    server = serve()
    with DicomClient(server.address) as client:
        client.associate()
        client.send(request(1, field, VERIFICATION, 5, data_set))
        command, _ = client.read_message()
        assert command.field == field | 0x8000
        assert command.message_id == 5
        assert command.number(Element.STATUS) == 0x0211
        assert client.echo() == SUCCESS


@pytest.mark.parametrize(
    ("operation", "status"),
    [(CommandField.C_FIND, 0x0122), (CommandField.N_GET, 0x0118)],
)
def test_another_sop_class_than_the_contexts_is_refused(
    serve: Serve, operation: CommandField, status: int
) -> None:
    server = serve(replace(answer([]), operations=frozenset({operation})))
    with DicomClient(server.address) as client:
        client.associate(BOTH)
        client.send(request(3, operation, "1.2.3", 5, IDENTIFIER))
        command, _ = client.read_message()
        assert command.number(Element.STATUS) == status
        assert client.echo() == SUCCESS


def test_a_response_that_nobody_asked_for_is_aborted(serve: Serve, dial: Dial) -> None:
    server = serve()
    client = dial(server).associate()
    response = encode_command(
        {
            Element.COMMAND_FIELD: CommandField.C_ECHO | 0x8000,
            Element.MESSAGE_ID_BEING_RESPONDED_TO: 1,
            Element.DATA_SET_TYPE: 0x0101,
            Element.STATUS: 0,
        }
    )
    client.send(b"".join(fragments(1, COMMAND, response, 16384)))
    assert last_words(client) == Abort(0, 0)


def test_answers_are_cut_to_the_peers_pdus(serve: Serve) -> None:
    data_sets = [bytes(range(256)) * 20, b"", b"ab" * 61, b"ab" * 62]
    server = serve(answer(data_sets))
    with DicomClient(server.address) as client:
        client.associate((MODALITY_WORKLIST_FIND,), max_pdu_bytes=128)
        found = list(client.find(IDENTIFIER))
        assert [data_set for _, data_set in found] == [*data_sets, None]


def test_no_pdu_is_longer_than_the_peers_maximum(serve: Serve, dial: Dial) -> None:
    server = serve(answer([bytes(1000)] * 3))
    client = dial(server)
    client.associate((MODALITY_WORKLIST_FIND,), max_pdu_bytes=300)
    client.send(request(1, CommandField.C_FIND, MODALITY_WORKLIST_FIND, 1, IDENTIFIER, 300))
    client.send(encode(ReleaseRequest()))
    sizes = []
    while (frame := client.read_frame())[0] == PduType.DATA_TF:
        sizes.append(len(frame[1]))
    assert max(sizes) == 300


def test_an_identifier_over_the_limit_is_aborted(serve: Serve, dial: Dial) -> None:
    server = serve(answer([]), limits=replace(DEFAULTS, max_data_set_bytes=1000))
    client = dial(server).associate((MODALITY_WORKLIST_FIND,))
    client.send(request(1, CommandField.C_FIND, MODALITY_WORKLIST_FIND, 1, bytes(1002)))
    assert last_words(client) == Abort(0, 0)
    assert_serves(server)


# --- a service that fails


def test_a_service_that_raises_ends_its_association_and_no_other(serve: Serve, dial: Dial) -> None:
    def fail(association: Association, message: Message) -> None:
        raise RuntimeError("DOE^JANE is not sortable")

    server = serve(Finder(fail))
    with DicomClient(server.address) as other, capture_logs() as logs:
        other.associate()
        client = dial(server).associate(BOTH)
        client.send(request(3, CommandField.C_FIND, MODALITY_WORKLIST_FIND, 1, IDENTIFIER))
        assert last_words(client) == Abort(2, 0)
        assert other.echo() == SUCCESS
    failed = [line for line in logs if line["event"] == "association.failed"]
    assert [line["error"] for line in failed] == ["RuntimeError"]
    assert "fail:" in failed[0]["at"]
    assert "DOE" not in repr(logs)


def test_a_query_that_fails_between_answers_may_still_be_answered(serve: Serve) -> None:
    def broken() -> Iterator[bytes]:
        yield b"ab"
        raise Outage("the database is gone")

    def perform(association: Association, message: Message) -> None:
        try:
            association.send_responses(message, broken())
        except Outage:
            association.send_response(message, 0xC001, elements={Element.ERROR_COMMENT: "later"})

    server = serve(Finder(perform))
    with DicomClient(server.address) as client:
        client.associate((MODALITY_WORKLIST_FIND,))
        client.send(request(1, CommandField.C_FIND, MODALITY_WORKLIST_FIND, 1, IDENTIFIER))
        command, _ = client.read_message()
        assert command.number(Element.STATUS) == 0xC001
        assert command.text(Element.ERROR_COMMENT) == "later"


def test_the_association_knows_its_peer(serve: Serve) -> None:
    known: list[tuple[str, str, str]] = []

    def perform(association: Association, message: Message) -> None:
        known.append((association.called_title, association.calling_title, association.address))
        association.send_response(message, SUCCESS)

    server = serve(Finder(perform))
    with DicomClient(server.address) as client:
        client.associate((MODALITY_WORKLIST_FIND,), called="RIS", calling="CT_1")
        list(client.find(IDENTIFIER))
    assert known == [("RIS", "CT_1", "127.0.0.1")]


def test_a_title_may_be_blank(serve: Serve) -> None:
    assert title_bytes("") == b" " * 16
    with DicomClient(serve().address) as client:
        assert client.associate(called="", calling="").echo() == SUCCESS
