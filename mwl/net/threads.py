"""Threads that are kept for the next connection.

A scanner opens an association for each question it asks. Starting a thread takes 0.17 ms,
waking a parked one 0.02 to 0.08: of an association with one C-ECHO that is a quarter.
"""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class ParkedThreads(Generic[T]):
    """Run `work(item)` in a thread of its own, one that has nothing to do if there is one.

    At most `max_parked` threads wait; a parked thread costs no time. `work` must not raise.
    """

    def __init__(self, work: Callable[[T], None], max_parked: int, name: str) -> None:
        self._work = work
        self._max_parked = max_parked
        self._name = name
        self._lock = Lock()
        self._parked = 0  # threads that wait, less items that are on their way to one
        self._closed = False
        self._items: SimpleQueue[T | None] = SimpleQueue()

    def run(self, item: T) -> None:
        """Start work on `item` and return. RuntimeError: the system has no thread left."""
        with self._lock:
            parked = self._parked > 0
            self._parked -= parked
        if parked:
            self._items.put(item)
        else:
            Thread(target=self._loop, args=(item,), name=self._name, daemon=True).start()

    def close(self) -> None:
        """Let parked threads end, and the others after their work."""
        with self._lock:
            self._closed = True
            parked, self._parked = self._parked, 0
        for _ in range(parked):
            self._items.put(None)

    def _loop(self, item: T | None) -> None:
        while item is not None:
            self._work(item)
            item = None  # nothing of the last connection is kept while waiting
            with self._lock:
                if self._closed or self._parked >= self._max_parked:
                    return
                self._parked += 1
            item = self._items.get()
