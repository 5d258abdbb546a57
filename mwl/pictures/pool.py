"""The children of one process: so many and no more, each used by one thread at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mwl.errors import MwlError
from mwl.pictures.process import Child, Limits, Read
from mwl.pictures.wire import Kind


class Busy(MwlError):
    """Too many ask at once: ask again in a moment."""


class Lent:
    """A child that is lent; it goes back unless it is of no use any more."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.is_well = True

    def ask(self, request: bytes, read: Read) -> tuple[Kind, bytes]:
        """Have a request answered; see `Child.ask`."""
        self.is_well = False
        kind, payload = self.child.ask(request, read)
        self.is_well = kind is not Kind.LAST
        return kind, payload


class Pool:
    """Threads may share it; no child is started until one is wanted."""

    def __init__(self, children: int, limits: Limits | None, **child: Any) -> None:
        self._limits, self._child = limits or Limits(), child
        self._working = threading.BoundedSemaphore(children)
        self._lock = threading.Lock()
        self._idle: list[Child] = []

    @contextmanager
    def lend(self, wait_s: float) -> Iterator[Lent]:
        """Lend a child, waiting so long for one. Raises Busy, Lost."""
        if not self._working.acquire(timeout=wait_s):
            raise Busy("other pictures take long")
        try:
            lent = Lent(self._take())
            try:
                yield lent
            finally:
                # Whoever stops between two questions leaves it as good as it was.
                self._take_back(lent)
        finally:
            self._working.release()

    def close(self) -> None:
        """End the children that are idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.end()

    def _take(self) -> Child:
        while True:
            with self._lock:
                child = self._idle.pop() if self._idle else None
            if child is None:
                return Child(self._limits, **self._child)
            if child.is_alive():
                return child
            child.end()

    def _take_back(self, lent: Lent) -> None:
        if not lent.is_well:
            lent.child.end()
            return
        with self._lock:
            self._idle.append(lent.child)
