"""Sockets whose waits the kernel bounds, on a real pair."""

import socket
import threading
import time
from contextlib import closing

import pytest

from mwl.sockets import TimedSocket

SHORT_S = 0.05


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with closing(TimedSocket(ours)) as timed, closing(theirs):
        yield timed, theirs


def test_a_read_gives_what_is_there(pair):
    timed, theirs = pair
    theirs.sendall(b"abc")
    buffer = memoryview(bytearray(8))
    assert timed.recv_into(buffer, 1.0) == 3
    theirs.sendall(b"de")
    assert timed.recv(8, 1.0) == b"de"
    theirs.close()
    assert timed.recv(8, 1.0) == b""


@pytest.mark.parametrize("seconds", [SHORT_S, 0.0, -1.0])
def test_a_read_waits_no_longer_than_it_may(pair, seconds):
    timed, _ = pair
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        timed.recv(1, seconds)
    assert time.monotonic() - began >= max(0.0, seconds) * 0.9


def test_the_bound_may_change_from_read_to_read(pair):
    timed, theirs = pair
    with pytest.raises(TimeoutError):
        timed.recv(1, SHORT_S)
    threading.Timer(SHORT_S * 2, theirs.sendall, [b"x"]).start()
    assert timed.recv(1, 30.0) == b"x"
    with pytest.raises(TimeoutError):
        timed.recv(1, SHORT_S)


def test_a_shorter_bound_that_is_still_set_does_not_end_a_longer_wait(pair, monkeypatch):
    monkeypatch.setattr("mwl.sockets._A_WHILE_S", SHORT_S / 2)
    test_the_bound_may_change_from_read_to_read(pair)


def test_looking_does_not_wait(pair):
    timed, theirs = pair
    buffer = memoryview(bytearray(8))
    assert timed.recv_waiting(buffer) is None
    theirs.sendall(b"abc")
    assert timed.recv_waiting(buffer) == 3
    theirs.close()
    assert timed.recv_waiting(buffer) == 0


def test_a_long_write_arrives_whole(pair):
    timed, theirs = pair
    data = bytes(range(256)) * 40_000
    came = bytearray()

    def read():
        while len(came) < len(data):
            came.extend(theirs.recv(65_536))

    reader = threading.Thread(target=read)
    reader.start()
    timed.sendall(data, 30.0)
    reader.join()
    assert came == data


def test_a_peer_that_reads_slowly_has_one_deadline_for_all_of_it(pair):
    timed, theirs = pair
    stop = threading.Event()

    def dribble():
        while not stop.wait(0.02):
            theirs.recv(1_000)

    reader = threading.Thread(target=dribble)
    reader.start()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        timed.sendall(bytes(50_000_000), 0.3)
    assert time.monotonic() - began < 5
    stop.set()
    reader.join()


def test_a_read_that_waits_ends_when_another_thread_shuts_the_socket(pair):
    timed, _ = pair
    threading.Timer(SHORT_S, timed.shutdown, [socket.SHUT_RD]).start()
    assert timed.recv(1, 30.0) == b""
