"""A RIS that listens: a real MLLP receiver, which answers as a test tells it.

    with Ris() as ris:
        ris.port
        ris.answers(AE("101"), LATER, SILENCE)   # the next ones; then AA
        ris.wait(3)                              # until so many messages have come
        ris.messages                             # their bytes, in order
        ris.ids                                  # their MSH-10

An answer is a function of the message that gives the bytes to send; None sends nothing;
CLOSE ends the connection instead.
"""

import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from hl7 import er7, mllp

PATIENCE_S = 30.0

Answer = Callable[[bytes], bytes | None]


class CloseConnection(Exception):
    """Send these bytes, and end the connection."""

    def __init__(self, last: bytes = b"") -> None:
        super().__init__()
        self.last = last


def control_id(message: bytes) -> str:
    header = er7.header(message)
    assert header is not None
    return header.text("MSH-10")


def answer(code: str, condition: str = "", text: str = "") -> Answer:
    """Answer with MSA-1, and ERR-3 where a condition is given."""

    def write(message: bytes) -> bytes:
        err = f"ERR||PID^1^3|{condition}^x^HL70357|E||||{text}\r" if condition else ""
        msh = "MSH|^~\\&|RIS||MWL||20300101||ACK|A1|P|2.5.1\r"
        return mllp.frame(f"{msh}MSA|{code}|{control_id(message)}\r{err}".encode())

    return write


AA = answer("AA")
AE = answer("AE", "101", "no such patient: Doe^Jane")
LOCKED = answer("AR", "206")
TROUBLE = answer("AR", "207")
GARBAGE: Answer = lambda _message: mllp.frame(b"what?")  # noqa: E731
BINARY: Answer = lambda _message: mllp.frame(b"MSH|^~\\&\0\xff\rMSA|AA|\xfe\r")  # noqa: E731
ENDLESS: Answer = lambda _message: b"\x0bMSH|^~\\&|" + b"x" * 1_100_000  # noqa: E731


def silence(_message: bytes) -> None:
    """Say nothing."""


def late(message: bytes) -> bytes:
    """First acknowledge something else."""
    return mllp.frame(b"MSH|^~\\&|||||||ACK|9|P|2.5.1\rMSA|AE|some-other\r") + AA(message)


def close(_message: bytes) -> bytes:
    raise CloseConnection


def close_half_way(message: bytes) -> bytes:
    whole = AA(message)
    assert whole is not None
    raise CloseConnection(whole[: len(whole) // 2])


class Ris:
    """Records whatever comes and answers AA, or as told."""

    def __init__(self, port: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.together = 0  # the most connections that were in an exchange at once
        self.delay_s = 0.0  # before each answer
        self._messages: list[bytes] = []
        self._answers: deque[Answer] = deque()
        self._always: Answer = AA
        self._busy = 0
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Hear no more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()

    def hang_up(self) -> None:
        """End all connections."""
        with self._changed:
            for sock in list(self._open):
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    @property
    def messages(self) -> list[bytes]:
        with self._changed:
            return list(self._messages)

    @property
    def ids(self) -> list[str]:
        return [control_id(message) for message in self.messages]

    def parsed(self) -> list[er7.Message]:
        """Give the messages, read as UTF-8."""
        return [er7.Message.parse(message.decode()) for message in self.messages]

    def answers(self, *answers: Answer, always: Answer | None = None) -> None:
        """Set the next answers, and what comes after them."""
        with self._changed:
            self._answers.extend(answers)
            self._always = always or self._always

    def wait(self, count: int) -> None:
        """Wait until so many messages have come."""
        deadline = time.monotonic() + PATIENCE_S
        with self._changed:
            while len(self._messages) < count:
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise AssertionError(f"{len(self._messages)} of {count} messages came")

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                with self._changed:
                    self.connections += 1
                    self._open.add(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        framer = mllp.Framer(10_000_000)
        try:
            with sock, suppress(OSError):
                while data := sock.recv(65_536):
                    for message in framer.feed(data):
                        self._exchange(sock, message)
        except CloseConnection:
            pass
        finally:
            with self._changed:
                self._open.discard(sock)

    def _exchange(self, sock: socket.socket, message: bytes) -> None:
        with self._changed:
            self._messages.append(message)
            reply = self._answers.popleft() if self._answers else self._always
            self._busy += 1
            self.together = max(self.together, self._busy)
            self._changed.notify_all()
        try:
            if self.delay_s:
                time.sleep(self.delay_s)
            said = reply(message)
        except CloseConnection as end:
            sock.sendall(end.last)
            raise
        finally:
            with self._changed:
                self._busy -= 1
        if said is not None:
            sock.sendall(said)
