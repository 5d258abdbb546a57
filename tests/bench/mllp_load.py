"""A sender of HL7 messages that costs little: one thread, many connections.

It writes bytes that were made beforehand and looks at nothing of an answer but its frame's
end and MSA-1, so that what is measured is the server.
"""

import selectors
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hl7 import mllp
from tests.builders import orm

END = b"\x1c\r"


class Refused(Exception):
    pass


def order(name: str) -> bytes:
    """Frame an order of a new patient: nothing in it is known yet. `name` tells it from others."""
    text = orm(
        MSH_10=name,
        PID_3=f"PID{name}^^^ADT1^MR",
        ORC_2=f"PO{name}^RIS",
        ORC_3=f"FO{name}^RIS",
        OBR_2=f"PO{name}^RIS",
        OBR_3=f"FO{name}^RIS",
        OBR_18=f"ACC{name}",
        OBR_19=f"RP{name}",
        OBR_20=f"SPS{name}",
        ZDS_1=f"1.2.826.0.1.3680043.8.498.{int.from_bytes(name.encode())}",
    )
    return mllp.frame(text.encode())


def exchange(sock: socket.socket, frame: bytes) -> None:
    """Send one message and wait for its AA. Raises Refused."""
    sock.sendall(frame)
    answer = b""
    while not answer.endswith(END):
        answer += sock.recv(65536) or _give_up()
    _check(answer)


@contextmanager
def connections(port: int, count: int) -> Iterator[list[socket.socket]]:
    made = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(count)]
    for sock in made:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        yield made
    finally:
        for sock in made:
            sock.close()


def flood(port: int, frames: Sequence[bytes], count: int) -> tuple[float, list[float]]:
    """Send every frame, one unanswered a connection; seconds in all, seconds an answer."""
    with connections(port, count) as socks, selectors.DefaultSelector() as selector:
        queue = iter(frames)
        sent: dict[socket.socket, float] = {}
        buffers = dict.fromkeys(socks, b"")
        waits: list[float] = []
        began = time.perf_counter()
        for sock in socks:
            selector.register(sock, selectors.EVENT_READ)
            _send(sock, queue, sent)
        while sent:
            for key, _ in selector.select(30) or _give_up():
                sock = key.fileobj
                buffers[sock] += sock.recv(65536) or _give_up()
                if buffers[sock].endswith(END):
                    waits.append(time.perf_counter() - sent.pop(sock))
                    _check(buffers[sock])
                    buffers[sock] = b""
                    _send(sock, queue, sent)
        return time.perf_counter() - began, waits


def pace(port: int, frames: Sequence[bytes], count: int, rate: float) -> list[float]:
    """Send `rate` frames a second over `count` connections; seconds from due to answered.

    An answer is timed from when its message was due, so that a stall counts for every
    message that it delayed.
    """
    with connections(port, count) as socks, selectors.DefaultSelector() as selector:
        for sock in socks:
            selector.register(sock, selectors.EVENT_READ)
        free, due_at = deque(socks), dict.fromkeys(socks, 0.0)
        buffers = dict.fromkeys(socks, b"")
        waits: list[float] = []
        began = time.perf_counter()
        sent = 0
        while len(waits) < len(frames):
            due = began + sent / rate
            left = due - time.perf_counter()
            if sent < len(frames) and free and left <= 0:
                sock = free.popleft()
                due_at[sock] = due
                sock.sendall(frames[sent])
                sent += 1
                continue
            is_waiting = sent < len(frames) and free
            ready = selector.select(left if is_waiting else 30)
            if not ready and not is_waiting:
                _give_up()
            for key, _ in ready:
                sock = key.fileobj
                buffers[sock] += sock.recv(65536) or _give_up()
                if buffers[sock].endswith(END):
                    waits.append(time.perf_counter() - due_at[sock])
                    _check(buffers[sock])
                    buffers[sock] = b""
                    free.append(sock)
        return waits


def _send(sock: socket.socket, queue: Iterator[bytes], sent: dict[socket.socket, float]) -> None:
    if frame := next(queue, None):
        sent[sock] = time.perf_counter()
        sock.sendall(frame)


def _check(answer: bytes) -> None:
    if b"\rMSA|AA|" not in answer:
        raise Refused(answer.decode("latin-1"))


def _give_up() -> bytes:
    raise Refused("the server hung up or was silent for 30 s")
