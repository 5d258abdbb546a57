"""What was forwarded goes when its time is over: it is a copy of what came in, kept elsewhere.

Only what was taken or given up goes, and no other kind of delivery: those are small, and part
of their orders' stories.
"""

from datetime import datetime, timedelta
from typing import Final, Protocol

from sqlalchemy import delete, func, select, text
from sqlmodel import Session

from mwl.db import Database
from mwl.outbox.rows import TABLE, State

_AT_ONCE: Final = 200  # rows of a transaction
_LOOKED_AT: Final = 1_000  # of one system, the oldest first
_MOST_SYSTEMS: Final = 100
_IS_FORWARDED: Final = text("kind IN ('forward', 'mpps')")  # as its index says it
_OVER: Final = (State.DONE.value, State.DROPPED.value)


class _Keep(Protocol):
    """What is asked of the table `[journal]`."""

    @property
    def keep_days(self) -> float: ...


def clear(database: Database, keep: _Keep, now: datetime) -> int:
    """Remove what was forwarded more than `keep_days` ago (0: nothing); return how many rows.

    A run's work is bounded; what is left is the next one's.
    """
    if not keep.keep_days:
        return 0
    before = now - timedelta(days=keep.keep_days)
    with database.read() as session:
        found = [row for name in _systems(session) for row in _old(session, name, before)]
    for start in range(0, len(found), _AT_ONCE):
        some = found[start : start + _AT_ONCE]
        database.write(lambda session, some=some: _remove(session, some))  # type: ignore[misc]
    return len(found)


def _systems(session: Session) -> list[str]:
    """Name everybody to whom something was forwarded: one step of an index for each."""
    names: list[str] = []
    while len(names) < _MOST_SYSTEMS:
        last = names[-1] if names else ""
        following = select(func.min(TABLE.c.destination)).where(
            _IS_FORWARDED, TABLE.c.destination > last
        )
        name = session.connection().scalar(following)
        if name is None:
            break
        names.append(name)
    return names


def _old(session: Session, name: str, before: datetime) -> list[int]:
    oldest = (
        select(TABLE.c.id, TABLE.c.kind, TABLE.c.state, TABLE.c.created_at)
        .where(TABLE.c.destination == name, _IS_FORWARDED)
        .order_by(TABLE.c.id)
        .limit(_LOOKED_AT)
        .subquery()
    )
    over = select(oldest.c.id).where(oldest.c.state.in_(_OVER), oldest.c.created_at < before)
    return list(session.connection().scalars(over))


def _remove(session: Session, rows: list[int]) -> None:
    # Its state again: a person may have it sent once more just now.
    is_over = TABLE.c.id.in_(rows) & TABLE.c.state.in_(_OVER)
    session.connection().execute(delete(TABLE).where(is_over))
