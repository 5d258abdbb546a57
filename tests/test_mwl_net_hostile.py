"""Peers that are broken or mean no good, against every service there is.

Each does its worst within `nothing_left`: what is left of it, and what was logged, is looked
at there.
"""

import socket
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path
from struct import pack

import pytest

from mwl.net.codec import COMMAND, HEADER, LAST, VALUE
from mwl.net.dimse import (
    CommandField,
    Element,
    encode_command,
    fragments,
)
from mwl.net.pdu import (
    Abort,
    AssociateReject,
    PduType,
)
from mwl.net.server import AssociationServer
from mwl.net.status import (
    CANNOT_UNDERSTAND,
    PROCESSING_FAILURE,
    RESOURCE_LIMITATION,
    SUCCESS,
    UNABLE_TO_PROCESS,
)
from mwl.scp.mpps.service import MODALITY_PERFORMED_PROCEDURE_STEP as MPPS
from mwl.scp.query import STUDY_ROOT_FIND
from mwl.scp.storage import inflate
from tests import storing
from tests.dicom_client import (
    MODALITY_WORKLIST_FIND,
    VERIFICATION,
    DicomClient,
    Refused,
    proposal,
    request,
    status,
)
from tests.dicom_server import IMPLICIT, last_words
from tests.hostile import SHORT, Bridge, assert_serves, nothing_left, until
from tests.identifiers import element
from tests.storing import CT, EXPLICIT

DEFLATED = "1.2.840.10008.1.2.1.99"
SOP_CLASSES = (VERIFICATION, MODALITY_WORKLIST_FIND, CT, STUDY_ROOT_FIND)
ECHO = request(1, CommandField.C_ECHO, VERIFICATION)
FIND_COMMAND = encode_command(
    {
        Element.AFFECTED_SOP_CLASS_UID: MODALITY_WORKLIST_FIND,
        Element.COMMAND_FIELD: CommandField.C_FIND,
        Element.MESSAGE_ID: 1,
        Element.PRIORITY: 0,
        Element.DATA_SET_TYPE: 1,
    }
)
PROPOSAL = proposal("MWL", "CT1", SOP_CLASSES, (IMPLICIT,), 16384)
RESET = pack("ii", 1, 0)  # SO_LINGER: close() resets


@pytest.fixture(scope="module")
def bridge(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    made = Bridge(sqlite_template, tmp_path_factory.mktemp("bridge"))
    yield made
    made.close()


Serve = Callable[..., AssociationServer]
Dial = Callable[..., DicomClient]


@pytest.fixture
def serve(bridge: Bridge) -> Iterator[Serve]:
    servers: list[AssociationServer] = []

    def start(**limits: float) -> AssociationServer:
        servers.append(bridge.serve(replace(SHORT, **limits)))
        return servers[-1]

    yield start
    for server in servers:
        server.stop(0)


@pytest.fixture
def dial() -> Iterator[Callable[..., DicomClient]]:
    with ExitStack() as stack:

        def connect(server: AssociationServer, source: str = "") -> DicomClient:
            return stack.enter_context(closing(DicomClient(server.address, source=source)))

        yield connect


def ending(client: DicomClient) -> object:
    """Read to the end: the PDU that came last; None: nothing but the end."""
    try:
        return last_words(client)
    except ConnectionError:
        return None
    finally:
        client.close()


# --- before the association


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param({}, id="room for all"),
        pytest.param({"max_associations": 100}, id="room for a hundred"),
        pytest.param({"max_associations_per_address": 100}, id="room for a hundred of an address"),
        pytest.param({"max_associations": 5}, id="room for five"),
    ],
)
def test_a_hundred_that_say_one_byte_keep_nobody_waiting(
    bridge: Bridge, serve: Serve, limits: dict[str, int]
) -> None:
    """Nor do they take anybody's place: the oldest of them makes way."""
    server = serve(associate_timeout_s=1.0, **limits)
    with nothing_left(bridge, server), ExitStack() as stack:
        for _ in range(100):
            silent = stack.enter_context(closing(DicomClient(server.address)))
            silent.send(b"\x01")
        began = time.monotonic()
        for _ in range(3):
            assert_serves(server)
        assert time.monotonic() - began < 1.0  # what was promised, not how fast it is
        until(lambda: not server.live(), "the ARTIM timer")


def test_who_has_associated_makes_way_for_nobody(bridge: Bridge, serve: Serve, dial: Dial) -> None:
    server = serve(max_associations=2, idle_timeout_s=5.0)
    with nothing_left(bridge, server):
        served, silent = dial(server).associate(), dial(server)
        until(lambda: len(server.live()) == 2, "both")
        late = dial(server).associate()
        assert silent.socket.recv(1) == b""
        stranger = dial(server)
        with pytest.raises(Refused):
            stranger.associate()
        assert served.echo() == late.echo() == SUCCESS
        for client in (served, late):
            client.release()
        for client in (served, late, silent, stranger):
            client.close()
        until(lambda: not server.live(), "their end")


@pytest.mark.parametrize("kind", range(1, 8))
@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFFF, 0x10000000])
def test_a_pdu_that_claims_gigabytes_costs_no_memory(
    bridge: Bridge, serve: Serve, dial: Dial, kind: int, length: int
) -> None:
    server = serve()
    with nothing_left(bridge, server):
        tracemalloc.start()
        try:
            for client in (dial(server), dial(server).associate()):
                client.send(HEADER.pack(kind, length) + bytes(1000))
                assert isinstance(ending(client), Abort)
            assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("items", [1, 20_000, 60_000])
@pytest.mark.parametrize("kind", [0x10, 0x20, 0x50, 0x54, 0x99])
def test_an_a_associate_of_very_many_items_is_answered_or_refused(
    bridge: Bridge, serve: Serve, dial: Dial, items: int, kind: int
) -> None:
    body = {
        0x20: pack(">BxHBxxx", 0x20, 4, 1),
        0x54: pack(">BxHH", 0x50, 8, 0x5400) + pack(">xHxx", 4)[:6],
    }.get(kind, pack(">BxH", kind, 0))
    most = (256 * 1024 - 100) // len(body)
    data = PROPOSAL[6:74] + body * min(items, most) + PROPOSAL[74:]
    server = serve()
    with nothing_left(bridge, server):
        client = dial(server)
        client.send(HEADER.pack(PduType.ASSOCIATE_RQ, len(data)) + data)
        client.read_frame()
        client.close()


def test_an_a_associate_of_a_hundred_thousand_items_is_over_its_limit(
    bridge: Bridge, serve: Serve, dial: Dial
) -> None:
    data = PROPOSAL[6:] + pack(">BxH", 0x99, 0) * 100_000
    server = serve()
    with nothing_left(bridge, server):
        client = dial(server)
        with suppress(ConnectionError):
            client.send(HEADER.pack(PduType.ASSOCIATE_RQ, len(data)) + data)
        assert ending(client) in {Abort(0, 0), None}


@pytest.mark.parametrize("limit", ["max_associations", "max_associations_per_address"])
def test_over_a_limit_is_refused_as_transient(
    bridge: Bridge, serve: Serve, dial: Dial, limit: str
) -> None:
    server = serve(**{limit: 3}, idle_timeout_s=5.0)
    with nothing_left(bridge, server):
        clients = [dial(server).associate() for _ in range(3)]
        for _ in range(3):
            stranger = dial(server)
            with pytest.raises(Refused) as refused:
                stranger.associate()
            assert refused.value.answer == AssociateReject(2, 3, 2)
            stranger.close()
        for client in clients:
            client.release()
            client.close()
        until(lambda: not server.live(), "their end")


# --- PDUs and data values that lie


def value(context_id: int, control: int, data: bytes, length: int | None = None) -> bytes:
    """Write a presentation data value whose length may lie."""
    return VALUE.pack(len(data) + 2 if length is None else length, context_id, control) + data


def pdu(*values: bytes, length: int | None = None) -> bytes:
    body = b"".join(values)
    return HEADER.pack(PduType.DATA_TF, len(body) if length is None else length) + body


ECHO_COMMAND = ECHO[12:]
INVALID, NOT_OURS = Abort(2, 6), Abort(0, 0)

LIES = {
    "a value longer than its PDU": (pdu(value(1, 3, ECHO_COMMAND, 4000)), INVALID),
    "a value of 4 GiB": (pdu(value(1, 3, ECHO_COMMAND, 0xFFFFFFFF)), INVALID),
    "a value of one byte": (pdu(value(1, 3, b"", 1)), INVALID),
    "a value of no byte": (pdu(value(1, 3, b"", 0)), INVALID),
    "a PDU shorter than its value": (pdu(value(1, 3, ECHO_COMMAND), length=20), INVALID),
    "a PDU without a value": (pdu(), INVALID),
    "half a value behind a whole one": (pdu(value(1, 3, ECHO_COMMAND), b"\0\0"), INVALID),
    "an unknown context": (pdu(value(9, 3, ECHO_COMMAND)), INVALID),
    "the last fragment first": (
        pdu(value(3, LAST, b"ab")) + pdu(value(3, COMMAND | LAST, FIND_COMMAND)),
        INVALID,
    ),
    "a command within a data set": (
        pdu(value(3, COMMAND | LAST, FIND_COMMAND), value(3, 0, b"ab"), value(3, COMMAND, b"ab")),
        INVALID,
    ),
    "a data set within a command": (
        pdu(value(3, COMMAND, FIND_COMMAND[:20]), value(3, 0, b"ab")),
        INVALID,
    ),
    "a data set without a command": (pdu(value(3, LAST, element(0x00100010, b"A"))), INVALID),
    "a data set that no command announced": (ECHO + pdu(value(1, LAST, b"ab")), INVALID),
    "two commands at once": (
        pdu(value(3, COMMAND, FIND_COMMAND[:20]), value(1, COMMAND, ECHO_COMMAND[:20])),
        INVALID,
    ),
    "a command without a data set, and the next": (
        pdu(value(3, COMMAND | LAST, FIND_COMMAND)) + ECHO,
        INVALID,
    ),
    "a command that is none": (pdu(value(1, 3, b"GET / HTTP/1.1\r\n\r\n")), NOT_OURS),
    "an empty command": (pdu(value(1, 3, b"")), NOT_OURS),
    "a command of another group": (pdu(value(1, 3, element(0x00080005, b"ab"))), NOT_OURS),
    "a command element of 4 GiB": (pdu(value(1, 3, element(0x100, b"ab", 0xFFFFFFFF))), NOT_OURS),
    "a command too long": (
        b"".join(fragments(1, COMMAND, element(0x00000102, bytes(17 * 1024)), 16384)),
        NOT_OURS,
    ),
    "a command of very many fragments that never ends": (
        pdu(*(value(1, COMMAND, b"a") for _ in range(6000))) * 3,
        NOT_OURS,
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_aborted_with_its_reason(
    bridge: Bridge, serve: Serve, dial: Dial, lie: str
) -> None:
    sent, expected = LIES[lie]
    server = serve()
    with nothing_left(bridge, server):
        client = dial(server).associate(SOP_CLASSES)
        with suppress(ConnectionError):
            client.send(sent)
        if sent.startswith(ECHO):
            assert status(client.read_message()[0]) == SUCCESS
        assert ending(client) == expected


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(pdu(value(3, COMMAND | LAST, FIND_COMMAND)), id="a command without its data"),
        pytest.param(pdu(value(3, COMMAND, FIND_COMMAND)), id="a command without its end"),
        pytest.param(pdu(value(3, COMMAND, b"ab"), length=100), id="a PDU longer than told"),
        pytest.param(
            pdu(value(3, COMMAND | LAST, FIND_COMMAND)) + pdu(value(3, 0, b"ab")),
            id="a data set without its end",
        ),
    ],
)
def test_what_never_ends_is_ended_by_the_time_out(
    bridge: Bridge, serve: Serve, dial: Dial, sent: bytes
) -> None:
    server = serve()
    with nothing_left(bridge, server):
        client = dial(server).associate(SOP_CLASSES)
        client.send(sent)
        assert ending(client) == Abort(2, 0)


# --- two at once


@pytest.mark.parametrize("contexts", [(5, 5), (5, 9)], ids=["one context", "two contexts"])
def test_two_c_stores_interleaved_are_aborted_and_neither_is_kept(
    bridge: Bridge, serve: Serve, dial: Dial, contexts: tuple[int, int]
) -> None:
    streams = [
        _pdus(
            storing.request(
                f"1.2.826.0.1.3680043.8.498.7.{number}",
                storing.encoded(storing.image(number)),
                context_id=context,
                message_id=number,
                max_pdu_bytes=1024,
            )
        )
        for number, context in enumerate(contexts, 1)
    ]
    server = serve()
    before = bridge.kept()
    with nothing_left(bridge, server):
        client = dial(server).associate((*SOP_CLASSES, CT), transfer_syntaxes=(EXPLICIT,))
        with suppress(ConnectionError):
            for pair in zip(*streams, strict=False):
                client.send(b"".join(pair))
        assert ending(client) in {INVALID, None}
    assert bridge.kept() == before


def _pdus(stream: bytes) -> list[bytes]:
    pdus = []
    while stream:
        end = HEADER.size + HEADER.unpack_from(stream)[1]
        pdus.append(stream[:end])
        stream = stream[end:]
    return pdus


# --- streams that have no end


@pytest.mark.parametrize("kind", [COMMAND, 0], ids=["command", "data set"])
@pytest.mark.parametrize("in_a_pdu", [1, 2000])
def test_empty_fragments_without_end_are_ended(
    bridge: Bridge, serve: Serve, dial: Dial, kind: int, in_a_pdu: int
) -> None:
    """Each comes within its time-out, and none brings the message any further."""
    server = serve()
    with nothing_left(bridge, server):
        client = dial(server).associate(SOP_CLASSES)
        if not kind:
            client.send(pdu(value(3, COMMAND | LAST, FIND_COMMAND)))
        empty = pdu(*[value(3, kind, b"")] * in_a_pdu)
        assert refused(client, empty)
        client.close()


def refused(client: DicomClient, data: bytes) -> bool:
    """Send the same again and again, until the server takes no more of it."""
    end = time.monotonic() + 5
    with suppress(ConnectionError):
        while time.monotonic() < end:
            client.send(data)
        return False
    return True


def test_thousands_of_tiny_fragments_make_a_message(
    bridge: Bridge, serve: Serve, dial: Dial
) -> None:
    uid = "1.2.826.0.1.3680043.8.498.8.1"
    made = storing.image(1, SOPInstanceUID=uid, StudyInstanceUID="1.2.826.0.1.3680043.8.498.8")
    data = storing.encoded(made)
    head = storing.request(uid, data, context_id=5)
    (_, length) = HEADER.unpack_from(head)
    tiny = [value(5, LAST * (at == len(data) - 1), data[at : at + 1]) for at in range(len(data))]
    server = serve()
    with nothing_left(bridge, server):
        client = dial(server).associate(SOP_CLASSES, transfer_syntaxes=(EXPLICIT,))
        client.send(head[: HEADER.size + length])
        client.send(b"".join(map(pdu, tiny)))
        assert status(client.read_message()[0]) == SUCCESS
        client.release()
        client.close()


def test_requests_without_end_are_each_answered_and_hold_no_memory(
    bridge: Bridge, serve: Serve, dial: Dial
) -> None:
    """More than one at a time was not agreed on; who sends them all the same has to read."""
    server = serve()
    with nothing_left(bridge, server):
        client = dial(server).associate()
        flood = ECHO * 2000
        tracemalloc.start()
        try:
            with suppress(ConnectionError, TimeoutError):
                for _ in range(5):
                    client.send(flood)
            assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
        finally:
            tracemalloc.stop()
        client.close()


# --- data sets


def nested(levels: int) -> bytes:
    """Make sequences in sequences (implicit VR, undefined lengths), all of them ended."""
    undefined = 0xFFFFFFFF
    begin = element(0x00081140, b"", undefined) + element(0xFFFEE000, b"", undefined)
    return begin * levels + (element(0xFFFEE00D, b"") + element(0xFFFEE0DD, b"")) * levels


BROKEN = {
    "nested too deep": nested(5000),
    "nested without end": element(0x00081140, b"", 0xFFFFFFFF) * 5000,
    "claims 4 GB with 3 bytes behind it": element(0x00100010, b"abc", 0xFFFFFFF0),
    "claims 4 GB in a sequence": element(0x00081140, element(0xFFFEE000, b"abc", 0xFFFFFFF0)),
    "cut in a header": b"\x10\0\x10\0\1",
    "nothing but 0xFF": b"\xff" * 4096,
    "very many elements": element(0x00100010, b"") * 20_000,
}


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("sop_class", [MODALITY_WORKLIST_FIND, STUDY_ROOT_FIND, CT, MPPS])
def test_a_data_set_that_cannot_be_read_is_answered(
    bridge: Bridge, serve: Serve, dial: Dial, sop_class: str, what: str
) -> None:
    data = BROKEN[what]
    uid = "1.2.826.0.1.3680043.8.498.9.1"
    server = serve(pdu_timeout_s=5.0, idle_timeout_s=5.0)
    with nothing_left(bridge, server):
        client = dial(server).associate((sop_class, VERIFICATION))
        if sop_class == CT:
            client.send(storing.request(uid, data))
        elif sop_class == MPPS:
            client.send(request(1, CommandField.N_CREATE, MPPS, 1, data))
        else:
            client.send(request(1, CommandField.C_FIND, sop_class, 1, data))
        answered = status(client.read_message()[0])
        assert answered in {
            UNABLE_TO_PROCESS,
            CANNOT_UNDERSTAND,
            PROCESSING_FAILURE,
            RESOURCE_LIMITATION,
            0x0120,
            0xA900,
        }, f"{answered:04X}"
        assert client.echo(2) == SUCCESS
        client.release()
        client.close()


@pytest.mark.parametrize("sop_class", [MODALITY_WORKLIST_FIND, STUDY_ROOT_FIND, MPPS])
def test_what_is_held_in_memory_comes_never_deflated(
    bridge: Bridge, serve: Serve, dial: Dial, sop_class: str
) -> None:
    server = serve()
    with nothing_left(bridge, server):
        client = dial(server).associate((sop_class,), transfer_syntaxes=(DEFLATED,))
        assert client.accept is not None
        assert [each.result for each in client.accept.contexts] == [4]
        client.release()
        client.close()


def test_an_image_that_is_a_bomb_is_refused_and_not_kept(
    bridge: Bridge, serve: Serve, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inflate, "FREE_BYTES", 1_000_000)
    data = storing.encoded(storing.image(1, PixelData=bytes(10_000_000)))
    deflater = zlib.compressobj(wbits=-15)
    bomb = deflater.compress(data) + deflater.flush()
    server = serve(pdu_timeout_s=5.0, idle_timeout_s=5.0)
    with nothing_left(bridge, server):
        client = dial(server).associate((CT,), transfer_syntaxes=(DEFLATED,))
        client.send(storing.request("1.2.826.0.1.3680043.8.498.1.1", bomb))
        assert status(client.read_message()[0]) == CANNOT_UNDERSTAND
        client.release()
        client.close()


# --- peers that go, or don't read


@pytest.mark.parametrize("at", [0, 1, 500, 5000, 9000])
def test_a_reset_while_images_are_sent_harms_nobody(
    bridge: Bridge, serve: Serve, dial: Dial, at: int
) -> None:
    from tests.retriever import Retriever

    server = serve()
    with nothing_left(bridge, server):
        client = dial(server)
        retriever = Retriever(client, [(CT, EXPLICIT)])
        retriever.ask("STUDY", StudyInstanceUID="1.2.826.0.1.3680043.8.498.1")
        client.socket.settimeout(0.5)
        with suppress(TimeoutError):
            while at > 0 and (data := client.socket.recv(at)):
                at -= len(data)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()


def test_who_does_not_read_what_it_asked_for_holds_no_memory(
    bridge: Bridge, serve: Serve, dial: Dial
) -> None:
    server = serve(write_timeout_s=0.5)
    identifier = element(0x00100010, b"") + element(0x00400100, b"")
    with nothing_left(bridge, server):
        client = DicomClient(server.address)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.associate((MODALITY_WORKLIST_FIND,))
        ask = request(1, CommandField.C_FIND, MODALITY_WORKLIST_FIND, 1, identifier)
        tracemalloc.start()
        try:
            with suppress(ConnectionError, TimeoutError):
                client.socket.settimeout(2.0)
                for _ in range(5_000):
                    client.send(ask)
            until(lambda: not server.live(), "the write time-out")
            assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
        finally:
            tracemalloc.stop()
        client.close()
