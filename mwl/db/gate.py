"""One writer at a time, and everybody's turn comes: the gate before SQLite's write lock.

SQLite lets waiting writers poll, and the one that has just written is always there first:
three busy processes starve one another for seconds. So there are two locks beside the
database, as in a turnstile. Who wants to write first takes the *queue*, then waits inside
it for the *gate*, and only then leaves the queue. Who leaves the gate finds the queue taken
by the next one and must line up behind it.

The locks are advice. Should somebody delete their files, only fairness is lost: what may
not happen twice at once is still guarded by BEGIN IMMEDIATE.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mwl.errors import Outage

# flock(2) knows no time-out, so we ask again. A short transaction takes about a
# millisecond: asking much less often would leave the gate idle, much more often burns CPU.
_POLL_S = 0.000_2
# Somebody holds it for longer than any of our own transactions: ask less often.
_PATIENCE_S = 0.25
_SLOW_POLL_S = 0.005


class FileGate:
    """A fair lock between processes, and between gates of one process.

    Not for two threads on one gate: a file has one lock, whoever asks.
    """

    def __init__(self, database: Path) -> None:
        """Name the lock files after `database`; they are opened at the first use."""
        self._names = [database.with_name(f"{database.name}-{n}.lock") for n in ("queue", "gate")]
        self._files: list[int] = []

    @contextmanager
    def held(self, deadline: float) -> Iterator[None]:
        """Hold the gate; `deadline` is an instant of time.monotonic(). Raises Outage."""
        if not self._files:
            self._open()
        queue, gate = self._files
        _lock(queue, deadline)
        try:
            _lock(gate, deadline)
        finally:
            fcntl.flock(queue, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(gate, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the files, and with them the locks."""
        while self._files:
            os.close(self._files.pop())

    def _open(self) -> None:
        try:
            for name in self._names:
                self._files.append(os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            self.close()
            raise Outage(f"database: {error.strerror}: {error.filename}") from None


def _lock(file: int, deadline: float) -> None:
    slow = None
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            now = time.monotonic()
            slow = slow or now + _PATIENCE_S
            if now >= deadline:
                raise Outage("database: no turn to write in time") from None
            time.sleep(_POLL_S if now < slow else _SLOW_POLL_S)
        else:
            return
