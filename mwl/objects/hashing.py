"""SHA-256 beside the disk: while one core waits for it, another one hashes what it is given.

Of one association that stores, a seventh of the time. Where no core is left to spare, each
hashes for itself: handing over costs more than it brings then.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread

_LEAST = 64 * 1024  # bytes; below, hashing is done before another thread has woken up


class Beside:
    """Threads that hash, at most `threads` of them; they start when they are needed."""

    def __init__(self, threads: int) -> None:
        """Begin with none."""
        self._jobs: SimpleQueue[tuple[Digest, memoryview, Lock]] = SimpleQueue()
        self._mutex = Lock()
        self._unborn = threads
        self._idle = 0

    def take(self, digest: Digest, data: memoryview) -> Lock | None:
        """Have `data` hashed by a thread that is idle; None: there is none.

        The lock is released when it is done.
        """
        with self._mutex:
            if self._idle:
                self._idle -= 1
            elif self._unborn:
                self._unborn -= 1
                Thread(target=self._work, name="hash", daemon=True).start()
            else:
                return None
        done = Lock()
        done.acquire()
        self._jobs.put((digest, data, done))
        return done

    def _work(self) -> None:
        while True:
            digest, data, done = self._jobs.get()
            digest.update(data)
            with self._mutex:
                self._idle += 1
            done.release()
            del digest, data, done  # nothing of it is kept while waiting


def _fresh() -> Beside:
    return Beside((os.cpu_count() or 1) - 1)


# One for the process, since its cores are.
_beside = _fresh()


def _renew() -> None:
    global _beside  # noqa: PLW0603 - threads don't come along into a child
    _beside = _fresh()


with suppress(AttributeError):  # where there is no fork
    os.register_at_fork(after_in_child=_renew)


class Digest:
    """A SHA-256 of pieces, hashed while their owner goes on. Not for several threads."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._hash = hashlib.sha256()
        self._pending: Lock | None = None

    def begin(self, data: memoryview) -> None:
        """Take the next piece, which has to stay as it is until `wait()` returns."""
        self.wait()
        if len(data) >= _LEAST:
            self._pending = _beside.take(self, data)
        if self._pending is None:
            self._hash.update(data)

    def update(self, data: memoryview) -> None:
        """Hash a piece here and now."""
        self._hash.update(data)

    def wait(self) -> None:
        """Return once all that was begun is hashed."""
        if self._pending is not None:
            self._pending.acquire()
            self._pending = None

    def digest(self) -> bytes:
        """Tell the SHA-256 of all pieces."""
        self.wait()
        return self._hash.digest()
