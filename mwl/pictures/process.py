"""A child process that reads objects, as its parent sees it.

It is started by exec, for threads exist here, with an empty environment: no password of ours
is in it. Each wait has an end; who is late is killed.
"""

import os
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from select import POLLERR, POLLHUP, POLLIN, POLLOUT, poll

from mwl.errors import MwlError
from mwl.pictures.wire import HEAD, WISH, Kind, message

_START_S = 30.0
_PIECE = 1024 * 1024
_LONGEST_ANSWER = 128 * 1024 * 1024
_COMMAND = (sys.executable, "-I", "-m", "mwl.pictures.child")
# A pool of threads each, of a library that here never multiplies matrices.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"}

Read = Callable[[int, int], bytes]  # from where, how many bytes at most


@dataclass(frozen=True, slots=True)
class Limits:
    """What reading one object may take."""

    seconds: int = 10
    bytes: int = 1024**3  # of memory, above what the program itself takes


class Lost(MwlError):
    """The child is of no use any more; the text says what it died of."""


class Child:
    """One child. Whoever gets `Lost`, or anything else but an answer, must end() it."""

    def __init__(self, limits: Limits, command: Sequence[str] = _COMMAND) -> None:
        """Start it, and wait until it can work. Raises Lost."""
        self._limits = limits
        arguments = [str(limits.seconds), str(limits.bytes)]
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [*command, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._into, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        for descriptor in (self._into, self._from):
            os.set_blocking(descriptor, False)
        self._end = weakref.finalize(self, _end, self._process)
        if self._take(time.monotonic() + _START_S)[0] is not Kind.READY:
            raise Lost("it could not be started")

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        """Kill it, whatever it does."""
        self._end()

    def ask(self, request: bytes, read: Read) -> tuple[Kind, bytes]:
        """Have a request answered; `read` gives pieces of the object. Raises Lost.

        Gives ANSWER, WRONG or LAST, and what belongs to it.
        """
        until = time.monotonic() + self._limits.seconds
        self._give(message(Kind.ASK, request), until)
        while True:
            kind, payload = self._take(until)
            if kind is not Kind.WANT:
                if kind not in {Kind.ANSWER, Kind.WRONG, Kind.LAST}:
                    raise Lost("it spoke out of turn")
                return kind, payload
            if len(payload) != WISH.size:
                raise Lost("it wanted nothing that there is")
            start, length = WISH.unpack(payload)
            self._give(message(Kind.PIECE, read(start, min(length, _PIECE))), until)

    def _take(self, until: float) -> tuple[Kind, bytes]:
        number, length = HEAD.unpack(self._receive(HEAD.size, until))
        if length > _LONGEST_ANSWER or number not in set(Kind):
            raise Lost("it said more than there can be to say")
        return Kind(number), self._receive(length, until)

    def _receive(self, length: int, until: float) -> bytes:
        pieces: list[bytes] = []
        while length:
            self._wait(self._from, POLLIN, until)
            try:
                piece = os.read(self._from, min(length, _PIECE))
            except BlockingIOError:
                continue
            if not piece:
                raise Lost("the decoder died of it")
            pieces.append(piece)
            length -= len(piece)
        return b"".join(pieces)

    def _give(self, data: bytes, until: float) -> None:
        left = memoryview(data)
        while left:
            self._wait(self._into, POLLOUT, until)
            try:
                left = left[os.write(self._into, left) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise Lost("the decoder died of it") from None

    def _wait(self, descriptor: int, what: int, until: float) -> None:
        waiting = poll()
        waiting.register(descriptor, what | POLLERR | POLLHUP)
        left = until - time.monotonic()
        if left <= 0 or not waiting.poll(left * 1000):
            raise Lost(f"it takes longer than {self._limits.seconds} seconds")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
