"""Walk along the tables, a part in every run, and remove what is long over."""

import time
from collections import Counter
from collections.abc import Callable
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
_BUDGET_S: Final = 4.0  # who ends us waits for it
_REST: Final = 4.0  # times as long as a transaction took: orders have the rest of the time
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

    def run(self, now: datetime) -> Counter[str]:
        """Go on for so long; give how many of what were removed. Raises Outage."""
        removed: Counter[str] = Counter()
        if not self._keep.keep_days or (self._next_at is not None and now < self._next_at):
            return removed
        before = now - timedelta(days=self._keep.keep_days)
        end = time.monotonic() + self._budget_s
        while time.monotonic() < end:
            if self._shelf == len(_SHELVES):
                removed["sightings"] += self._database.write(lambda s: sights.remove(s, before))
                self._shelf, self._passed, self._next_at = 0, 0, now + _REST_BETWEEN
                break
            self._walk(_SHELVES[self._shelf], before, now, end, removed)
        removed += Counter()  # leaves out what is none
        if removed:
            log.info("worklist.cleared", **removed)
        return removed

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
            began = time.monotonic()
            removed[shelf.name] += self._remove(shelf, row, before, now)
            self._passed = row
            self._pause(max(_LEAST_REST_S, _REST * (time.monotonic() - began)))
        self._passed = upto
        if upto >= last:
            self._shelf, self._passed = self._shelf + 1, 0

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
