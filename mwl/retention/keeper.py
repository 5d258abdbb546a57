"""Walk along the tables, a part in every run, and remove what is long over."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog
from sqlalchemy import Connection, func, select
from sqlmodel import Session

from mwl.db import Database
from mwl.errors import Outage
from mwl.retention import commitments, orders, performed, sights
from mwl.retention.shelf import Shelf

log = structlog.get_logger(__name__)

_SHELVES: Final = (orders.SHELF, performed.SHELF, commitments.SHELF)
_AT_ONCE: Final = 5_000  # numbers that one look spans, however few are over
_BUDGET_S: Final = 2.0  # who ends us waits for it
# Times as long as a transaction took, or waited for others: a fifth of the time at most is ours,
# and the less the more there is to do.
_REST: Final = 4.0
_LEAST_REST_S: Final = 0.005
_REST_BETWEEN: Final = timedelta(hours=1)  # from the end of a walk until the next


class Keep(Protocol):
    """What is asked of the table `[worklist]`."""

    @property
    def keep_days(self) -> float: ...


class Keeper:
    """Removes what is over since more than `keep_days` (0: nothing). For one thread.

    How far it has come is its own: a new one begins anew, and finds what is left.
    """

    def __init__(
        self,
        database: Database,
        keep: Keep,
        *,
        budget_s: float = _BUDGET_S,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._database, self._keep = database, keep
        self._budget_s, self._pause = budget_s, pause
        self._shelf, self._passed = 0, 0  # where the walk is, and the last number that it saw
        self._next_at: datetime | None = None
        self._removed: Counter[str] = Counter()  # by this walk

    def run(self, now: datetime) -> Counter[str]:
        """Go on for so long; give how many of what were removed. Raises Outage."""
        removed: Counter[str] = Counter()
        if not self._keep.keep_days or (self._next_at is not None and now < self._next_at):
            return removed
        before = now - timedelta(days=self._keep.keep_days)
        end = time.monotonic() + self._budget_s
        while time.monotonic() < end:
            if self._shelf < len(_SHELVES):
                self._walk(_SHELVES[self._shelf], before, now, end, removed)
            elif not self._forget_sights(before, removed):
                self._ended(now, removed)
                break
        else:
            self._removed += removed
        return +removed  # leaves out what is none

    def _ended(self, now: datetime, removed: Counter[str]) -> None:
        self._shelf, self._passed, self._next_at = 0, 0, now + _REST_BETWEEN
        self._removed += removed
        if self._removed:
            log.info("worklist.cleared", **self._removed)
        self._removed = Counter()

    def _walk(
        self, shelf: Shelf, before: datetime, now: datetime, end: float, removed: Counter[str]
    ) -> None:
        with self._database.read() as session:
            conn = session.connection()
            last, upto = newest(conn, shelf), self._passed + _AT_ONCE
            found = shelf.find(conn, self._passed, min(upto, last - 1), before)
        for row in found:
            if time.monotonic() > end:
                return
            with self._resting():
                removed[shelf.name] += self._remove(shelf, row, before, now)
            self._passed = row
        self._passed = upto
        if upto >= last:
            self._shelf, self._passed = self._shelf + 1, 0

    def _forget_sights(self, before: datetime, removed: Counter[str]) -> bool:
        """Remove some of what scanners were shown; tell whether there may be more."""
        with self._resting():
            gone = self._database.write(lambda session: sights.remove(session, before))
        removed["sightings"] += gone
        return gone == sights.AT_ONCE

    @contextmanager
    def _resting(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._pause(max(_LEAST_REST_S, _REST * (time.monotonic() - began)))

    def _remove(self, shelf: Shelf, row: int, before: datetime, now: datetime) -> bool:
        def work(session: Session) -> bool:
            return shelf.remove(session, row, before, now)

        try:
            return self._database.write(work)
        except Outage:
            raise
        except Exception:
            # It is needed by something that came just now, or by what we don't know of.
            log.exception("worklist.not_cleared", what=shelf.name, row=row)
            return False


def newest(conn: Connection, shelf: Shelf) -> int:
    """Give the highest number of a table; 0: it is empty."""
    return conn.scalar(select(func.max(shelf.table.c.id))) or 0
