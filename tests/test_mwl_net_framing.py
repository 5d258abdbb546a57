"""A socket as a stream of PDUs: every length and every wait has its bound."""

import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import pytest

from mwl.net.codec import HEADER, encode
from mwl.net.ending import let_close
from mwl.net.framing import ConnectionLost, ReadTimeout, Transport, WriteTimeout
from mwl.net.limits import Limits
from mwl.net.pdu import PduError, PduType, ReleaseRequest

LIMITS = replace(
    Limits(),
    max_receive_pdu_bytes=100_000,
    write_timeout_s=0.2,
    close_timeout_s=0.2,
)
RELEASE = encode(ReleaseRequest())
SLACK_S = 2.0  # how late a busy machine may be


def data_pdu(size: int) -> bytes:
    return HEADER.pack(PduType.DATA_TF, size) + bytes(range(256)) * (size // 256 + 1)


@pytest.fixture
def pair() -> Iterator[tuple[Transport, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    with ours, theirs:
        yield Transport(ours, LIMITS), theirs


def test_pdus_are_read_however_the_bytes_arrive(pair: tuple[Transport, socket.socket]) -> None:
    transport, peer = pair
    stream = RELEASE + data_pdu(40_000)[:40_006] + RELEASE + data_pdu(3)[:9]

    def dribble() -> None:
        for start in range(0, len(stream), 997):
            peer.sendall(stream[start : start + 997])

    sender = threading.Thread(target=dribble)
    sender.start()
    frames = [(kind, bytes(body)) for kind, body in (transport.read(5, 5) for _ in range(4))]
    sender.join()
    assert frames == [
        (PduType.RELEASE_RQ, bytes(4)),
        (PduType.DATA_TF, data_pdu(40_000)[6:40_006]),
        (PduType.RELEASE_RQ, bytes(4)),
        (PduType.DATA_TF, bytes([0, 1, 2])),
    ]


@pytest.mark.parametrize("size", range(1, 10))
def test_a_pdu_may_come_in_two_halves(pair: tuple[Transport, socket.socket], size: int) -> None:
    transport, peer = pair
    peer.sendall(RELEASE[:size])
    assert transport.poll() is None
    peer.sendall(RELEASE[size:])
    kind, body = transport.read(5)
    assert (kind, bytes(body)) == (PduType.RELEASE_RQ, bytes(4))


def test_the_memory_of_a_long_pdu_is_given_back_and_nothing_is_lost(
    pair: tuple[Transport, socket.socket],
) -> None:
    transport, peer = pair
    sent = data_pdu(90_000)[:90_006] + RELEASE[:4]
    sender = threading.Thread(target=peer.sendall, args=(sent,))
    tracemalloc.start()
    try:
        sender.start()
        assert transport.read(5, 5)[0] == PduType.DATA_TF
        sender.join()
        assert transport.poll() is None
        transport.shrink()  # half a PDU is here: not now
        peer.sendall(RELEASE[4:])
        assert transport.read(5, 5)[0] == PduType.RELEASE_RQ
        assert tracemalloc.get_traced_memory()[0] > 90_000
        transport.shrink()
        assert tracemalloc.get_traced_memory()[0] < 40_000
    finally:
        tracemalloc.stop()
    peer.sendall(RELEASE)
    assert transport.read(5, 5)[0] == PduType.RELEASE_RQ


def test_the_longest_pdu_is_read_and_one_byte_more_is_refused(
    pair: tuple[Transport, socket.socket],
) -> None:
    transport, peer = pair
    threading.Thread(target=peer.sendall, args=(data_pdu(100_000)[:100_006],)).start()
    assert len(transport.read(5, 5)[1]) == 100_000
    peer.sendall(HEADER.pack(PduType.DATA_TF, 100_001))
    with pytest.raises(PduError):
        transport.read(5)


@pytest.mark.parametrize(
    ("kind", "length"),
    [
        (PduType.ASSOCIATE_RQ, Limits().max_associate_bytes + 1),
        (PduType.ASSOCIATE_AC, 0xFFFFFFFF),
        (PduType.ASSOCIATE_RJ, 5),
        (PduType.RELEASE_RQ, 5),
        (PduType.RELEASE_RP, 5),
        (PduType.ABORT, 0xFFFFFFFF),
    ],
)
def test_a_length_is_judged_by_the_header_alone(
    pair: tuple[Transport, socket.socket], kind: PduType, length: int
) -> None:
    transport, peer = pair
    peer.sendall(HEADER.pack(kind, length))
    with pytest.raises(PduError):
        transport.read(5)


@pytest.mark.parametrize("first", [0, 8, ord("G"), 0x16, 0xFF])
def test_an_unknown_type_is_refused_by_its_first_byte(
    pair: tuple[Transport, socket.socket], first: int
) -> None:
    transport, peer = pair
    peer.sendall(bytes([first]))
    with pytest.raises(PduError) as caught:
        transport.read(5)
    assert caught.value.reason == 1


def test_silence_ends_a_read(pair: tuple[Transport, socket.socket]) -> None:
    start = time.monotonic()
    with pytest.raises(ReadTimeout):
        pair[0].read(0.1, 60)
    assert 0.1 <= time.monotonic() - start < SLACK_S


def test_one_byte_and_silence_ends_a_read(pair: tuple[Transport, socket.socket]) -> None:
    transport, peer = pair
    peer.sendall(RELEASE[:1])
    start = time.monotonic()
    with pytest.raises(ReadTimeout):
        transport.read(60, 0.1)
    assert 0.1 <= time.monotonic() - start < SLACK_S


def test_half_a_pdu_found_by_a_look_is_not_waited_for_longer(
    pair: tuple[Transport, socket.socket],
) -> None:
    transport, peer = pair
    peer.sendall(RELEASE[:7])
    assert transport.poll() is None
    start = time.monotonic()
    with pytest.raises(ReadTimeout):
        transport.read(60, 0.1)
    assert time.monotonic() - start < SLACK_S


def test_dripping_bytes_dont_extend_the_time_for_a_pdu(
    pair: tuple[Transport, socket.socket],
) -> None:
    transport, peer = pair
    over = threading.Event()

    def drip() -> None:
        for byte in data_pdu(200):
            peer.sendall(bytes([byte]))
            if over.wait(0.05):
                return

    dripping = threading.Thread(target=drip)
    dripping.start()
    start = time.monotonic()
    with pytest.raises(ReadTimeout):
        transport.read(60, 0.3)
    took = time.monotonic() - start
    over.set()
    dripping.join()
    assert 0.3 <= took < 0.3 + SLACK_S


def test_a_peer_that_closes_ends_a_read(pair: tuple[Transport, socket.socket]) -> None:
    transport, peer = pair
    peer.sendall(RELEASE[:3])
    peer.close()
    with pytest.raises(ConnectionLost):
        transport.read(5)


def test_a_look_finds_a_peer_that_closed(pair: tuple[Transport, socket.socket]) -> None:
    transport, peer = pair
    peer.sendall(RELEASE)
    peer.close()
    assert transport.poll() is not None
    with pytest.raises(ConnectionLost):
        transport.poll()


def test_a_look_takes_one_pdu_at_a_time_and_never_waits(
    pair: tuple[Transport, socket.socket],
) -> None:
    transport, peer = pair
    start = time.monotonic()
    assert transport.poll() is None
    peer.sendall(RELEASE * 2)
    assert transport.poll() is not None
    assert transport.poll() is not None
    assert transport.poll() is None
    assert time.monotonic() - start < SLACK_S


def test_a_peer_that_doesnt_read_is_given_up(pair: tuple[Transport, socket.socket]) -> None:
    start = time.monotonic()
    with pytest.raises(WriteTimeout):
        pair[0].send(bytes(50_000_000))
    assert 0.2 <= time.monotonic() - start < SLACK_S


def test_writing_to_a_peer_that_is_gone_is_a_lost_connection(
    pair: tuple[Transport, socket.socket],
) -> None:
    transport, peer = pair
    peer.close()
    with pytest.raises(ConnectionLost):
        transport.send(RELEASE)


def test_finishing_lets_the_peer_read_the_last_word(
    pair: tuple[Transport, socket.socket],
) -> None:
    transport, peer = pair
    peer.sendall(HEADER.pack(PduType.DATA_TF, 50_000) + bytes(50_000))  # which nobody reads
    transport.send(RELEASE)
    finishing = threading.Thread(target=let_close, args=(transport,))
    finishing.start()
    assert peer.recv(100) == RELEASE
    peer.close()
    finishing.join(5)
    assert not finishing.is_alive()


def test_finishing_waits_no_longer_than_its_timer(pair: tuple[Transport, socket.socket]) -> None:
    start = time.monotonic()
    let_close(pair[0])
    assert 0.2 <= time.monotonic() - start < SLACK_S
    assert pair[1].recv(1) == b""


def test_an_interrupt_wakes_a_read_in_another_thread(
    pair: tuple[Transport, socket.socket],
) -> None:
    transport, _ = pair
    threading.Timer(0.05, transport.interrupt).start()
    with pytest.raises(ConnectionLost):
        transport.read(30)
