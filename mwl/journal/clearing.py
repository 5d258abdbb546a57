"""What makes room in the journal: by age, then by size.

By age, when a message is older than `keep_days`: one that tells what happened to an order,
or that changed a patient, loses its text; its row stays, with its answer, and so does its
place in the order's story. Any other one goes altogether, refused ones too. What an order
needs that is not over (`_OPEN`) stays as it came; so does what another table refers to.

By size, when all of them take more than `max_bytes`: the oldest go altogether, but for those
of orders that are still to be done (`_TO_BE_DONE`), until it fits.

Both go by number, which is how messages came, in transactions of few rows with pauses between
them, so that orders that come in meanwhile hardly notice. A message that must stay is passed
by, and noted in `journal_held`; those are looked at again, some in every run. The last message
never goes: SQLite would give its number again.

What is gone answers no repeat: the same bytes are then taken as a message that is old, and
change nothing that something newer has changed.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import cache
from typing import Any, Final

from sqlalchemy import Column, Connection, delete, func, select, update
from sqlmodel import Session, SQLModel

from mwl import audit
from mwl.audit import Action, Actor, Event
from mwl.config import Journal
from mwl.db import Database
from mwl.db.tables import ImagingOrder, JournalDay, MessageOrder
from mwl.journal.counting import (
    HELD,
    MESSAGE,
    add,
    change,
    count_some,
    inserting,
    move,
    progress,
    total_bytes,
    weight,
)
from mwl.journal.keeping import State

_ORDER: Final = ImagingOrder.__table__  # type: ignore[attr-defined]
_FURTHER: Final = MessageOrder.__table__  # type: ignore[attr-defined]
_DAY: Final = JournalDay.__table__  # type: ignore[attr-defined]

_TO_BE_DONE: Final = ("SCHEDULED", "IN_PROGRESS")
_OPEN: Final = (*_TO_BE_DONE, "COMPLETED")  # completed, but its images are not all here
_AT_ONCE: Final = 20  # rows of a transaction, which is to be as short as an order's
_HELD_AT_ONCE: Final = 1_000  # looked at again in every run
_BUDGET_S: Final = 4.0  # who ends us waits for it
_REST: Final = 6.0  # times as long as a transaction took: orders have the rest of the time
_LEAST_REST_S: Final = 0.005
_CLAIM: Final = timedelta(seconds=60)
_WHO: Final = Actor("mwl", "job")


class _Fate(Enum):
    HOLD = 0
    EMPTY = 1
    REMOVE = 2


_Judged = tuple[Any, _Fate]  # a message's row, and what becomes of it


@dataclass(frozen=True, slots=True)
class Cleared:
    """What went in a run."""

    emptied: int = 0  # messages whose text went
    removed: int = 0  # messages that went altogether
    refused: int = 0  # of these, rejected or failed ones
    bytes: int = 0

    def __add__(self, other: "Cleared") -> "Cleared":
        return Cleared(
            self.emptied + other.emptied,
            self.removed + other.removed,
            self.refused + other.refused,
            self.bytes + other.bytes,
        )


def clear(
    database: Database,
    settings: Journal,
    now: datetime,
    *,
    budget_s: float = _BUDGET_S,
    pause: Callable[[float], None] = time.sleep,
) -> Cleared:
    """Count what has come and make room, for so long; give what went. Raises Outage.

    One node does it at a time; nothing is done, and nothing given, where another one does.
    """
    if not database.write(lambda session: _claim(session, now)):
        return Cleared()
    end = time.monotonic() + budget_s
    done = Cleared()
    while time.monotonic() < end and count_some(database, now):
        pass
    for step in (_by_age, _by_size, _again):
        while time.monotonic() < end:
            began = time.monotonic()
            went = database.write(lambda session, step=step: step(session, settings, now))  # type: ignore[misc]
            if went is None:
                break
            done += went
            pause(max(_LEAST_REST_S, _REST * (time.monotonic() - began)))
    database.write(lambda session: _end(session, done, now))
    return done


def _claim(session: Session, now: datetime) -> bool:
    conn = session.connection()
    at = progress(conn, to_change=True)
    if at.claimed_until is not None and now < at.claimed_until < now + 2 * _CLAIM:
        return False
    move(conn, claimed_until=now + _CLAIM)
    return True


def _end(session: Session, done: Cleared, now: datetime) -> None:
    conn = session.connection()
    conn.execute(delete(_DAY).where(_DAY.c.messages <= 0))
    move(conn, claimed_until=None)
    if done.emptied or done.removed:
        detail = {
            "texts removed": done.emptied,
            "messages removed": done.removed,
            "of them refused": done.refused,
            "bytes": done.bytes,
        }
        audit.record(session, _WHO, Event(Action.REMOVE, "journal", detail), now=now)


# ---- each is one transaction; None: it finds nothing more to do --------------------------


def _by_age(session: Session, settings: Journal, now: datetime) -> Cleared | None:
    """Let the next messages go that are too old."""
    conn = session.connection()
    at = progress(conn, to_change=True)
    limit = _limit(settings, now)
    if limit is None:
        return None
    oldest_kept = select(MESSAGE.c.id).where(MESSAGE.c.received_at < limit)
    due = conn.scalar(oldest_kept.order_by(MESSAGE.c.received_at.desc()).limit(1)) or 0
    rows = _next(conn, at.emptied_to, min(due, _last(conn, at)))
    if not rows:
        return None
    move(conn, emptied_to=rows[-1].id)
    return _settle(conn, _fates(conn, rows, _OPEN, lambda row: _aged(row, limit)))


def _by_size(session: Session, settings: Journal, now: datetime) -> Cleared | None:
    """Let the oldest messages go while all of them are too large."""
    del now
    conn = session.connection()
    at = progress(conn, to_change=True)
    over = total_bytes(conn) - settings.max_bytes
    if over <= 0 or not settings.max_bytes:
        return None
    rows = _next(conn, at.removed_to, _last(conn, at))
    if not rows:
        return None
    fates: list[_Judged] = []
    for row, fate in _fates(conn, rows, _TO_BE_DONE, lambda _row: _Fate.REMOVE):
        if over <= 0:
            break
        fates.append((row, fate))
        over -= row.weight if fate is _Fate.REMOVE else 0
    reached = fates[-1][0].id
    move(conn, removed_to=reached, emptied_to=max(at.emptied_to, reached))
    return _settle(conn, fates)


def _again(session: Session, settings: Journal, now: datetime) -> Cleared | None:
    """Look again at the next messages that were held; a run looks at so many."""
    conn = session.connection()
    at = progress(conn, to_change=True)
    limit = _limit(settings, now)
    held = select(HELD.c.message).where(HELD.c.message > at.held_to)
    numbers = conn.scalars(held.order_by(HELD.c.message).limit(_HELD_AT_ONCE)).all()
    if not numbers:
        move(conn, held_to=0)
        return None
    rows = conn.execute(_rows().where(MESSAGE.c.id.in_(numbers))).all()
    is_over = [row for row in rows if row.id <= at.removed_to]
    is_old = [row for row in rows if row.id > at.removed_to]
    fates = _fates(conn, is_over, _TO_BE_DONE, lambda _row: _Fate.REMOVE)
    # The one are those of lower numbers.
    fates += _fates(conn, is_old, _OPEN, lambda row: _aged(row, limit))
    free = [(row, fate) for row, fate in fates if fate is not _Fate.HOLD]
    if len(free) > _AT_ONCE:
        free = free[:_AT_ONCE]
        numbers = [number for number in numbers if number <= free[-1][0].id]
    move(conn, held_to=numbers[-1])
    gone = {*numbers} - {row.id for row in rows} | {row.id for row, _ in free}
    conn.execute(delete(HELD).where(HELD.c.message.in_(gone)))
    return _settle(conn, free) if free else None


# ---- what becomes of which ----------------------------------------------------------------


def _limit(settings: Journal, now: datetime) -> datetime | None:
    """Tell since when messages are kept: from a day's beginning on, by UTC; None: all are."""
    if not settings.keep_days:
        return None
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return (now if settings.keep_days < 1 else day) - timedelta(days=settings.keep_days)


def _aged(row: Any, limit: datetime | None) -> _Fate:
    if limit is None or row.received_at >= limit:
        return _Fate.HOLD
    return _Fate.EMPTY if row.imaging_order is not None or row.changes else _Fate.REMOVE


def _last(conn: Connection, at: Any) -> int:
    """Give the last message that may go: it is counted, and not the last of all."""
    newest = conn.scalar(select(func.max(MESSAGE.c.id))) or 0
    last: int = min(at.counted_to, newest - 1)
    return last


def _rows() -> Any:
    names = ("id", "received_at", "state", "imaging_order", "changes")
    text_bytes = func.length(MESSAGE.c.raw).label("text_bytes")
    return select(*(MESSAGE.c[name] for name in names), text_bytes, weight()).order_by(MESSAGE.c.id)


def _next(conn: Connection, after: int, last: int) -> Sequence[Any]:
    found = _rows().where(MESSAGE.c.id > after, MESSAGE.c.id <= last)
    return conn.execute(found.limit(_AT_ONCE)).all()


def _fates(
    conn: Connection, rows: Sequence[Any], open_: Iterable[str], fate: Callable[[Any], _Fate]
) -> list[_Judged]:
    """Tell what becomes of each: what is needed is held."""
    needed = _needed(conn, [row.id for row in rows], open_)
    return [(row, _Fate.HOLD if row.id in needed else fate(row)) for row in rows]


def _needed(conn: Connection, ids: Sequence[int], open_: Iterable[str]) -> set[int]:
    """Find those that open orders need, and those that other tables refer to."""
    is_open = _ORDER.c.status.in_([*open_])
    own = select(MESSAGE.c.id).join(_ORDER, _ORDER.c.id == MESSAGE.c.imaging_order)
    further = select(_FURTHER.c.message).join(_ORDER, _ORDER.c.id == _FURTHER.c.imaging_order)
    needed = {
        *conn.scalars(own.where(MESSAGE.c.id.in_(ids), is_open)),
        *conn.scalars(further.where(_FURTHER.c.message.in_(ids), is_open)),
    }
    for column in _referring():
        needed.update(conn.scalars(select(column).where(column.in_(ids))))
    return needed


@cache
def _referring() -> tuple[Column[Any], ...]:
    """List the columns that refer to messages, but for what goes with them."""
    return tuple(
        key.parent
        for table in SQLModel.metadata.tables.values()
        if table is not _FURTHER
        for key in table.foreign_keys
        if key.column is MESSAGE.c.id
    )


def _settle(conn: Connection, judged: Iterable[_Judged]) -> Cleared:
    """Let each have its fate."""
    of: dict[_Fate, list[Any]] = {fate: [] for fate in _Fate}
    for row, fate in judged:
        of[fate].append(row)
    held = [{"message": row.id} for row in of[_Fate.HOLD]]
    if held:
        conn.execute(inserting(conn, HELD).on_conflict_do_nothing(), held)
    return _empty(conn, [row for row in of[_Fate.EMPTY] if row.text_bytes]) + _remove(
        conn, of[_Fate.REMOVE]
    )


def _empty(conn: Connection, rows: Sequence[Any]) -> Cleared:
    """Take the text from messages: what they did stays, and what was answered."""
    if not rows:
        return Cleared()
    ids = [row.id for row in rows]
    conn.execute(update(MESSAGE).where(MESSAGE.c.id.in_(ids)).values(raw=b""))
    weights: Counter[str] = Counter()
    for row in rows:
        weights[row.received_at.date().isoformat()] -= row.text_bytes
    change(conn, Counter(), weights)
    return Cleared(emptied=len(rows), bytes=-weights.total())


def _remove(conn: Connection, rows: Sequence[Any]) -> Cleared:
    if not rows:
        return Cleared()
    ids = [row.id for row in rows]
    conn.execute(delete(_FURTHER).where(_FURTHER.c.message.in_(ids)))
    conn.execute(delete(MESSAGE).where(MESSAGE.c.id.in_(ids)))
    add(conn, rows, -1)
    refused = sum(row.state in {State.REJECTED, State.FAILED} for row in rows)
    return Cleared(removed=len(ids), refused=refused, bytes=sum(row.weight for row in rows))
