"""How large the journal is, without reading all of it.

Messages are counted day by day into `journal_day` after they came, by their numbers, so that
taking a message costs nothing more. What goes is taken off in the transaction that removes
it. A message counts as the bytes of it and of its answer, and ROW_BYTES.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Label, Table, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session

from mwl.db import Database
from mwl.db.tables import JournalDay, JournalHeld, JournalProgress, Message

MESSAGE: Final = Message.__table__  # type: ignore[attr-defined]
PROGRESS: Final = JournalProgress.__table__  # type: ignore[attr-defined]
HELD: Final = JournalHeld.__table__  # type: ignore[attr-defined]
_DAY: Final = JournalDay.__table__  # type: ignore[attr-defined]

# What a row takes with its indexes: 350 bytes in SQLite, 500 in PostgreSQL, and what it changed.
ROW_BYTES: Final = 600
_AT_ONCE: Final = 5_000
# A message's number is drawn before its commit, which comes later than that of others perhaps.
# By then it has long come, or was undone: no statement and no lock may wait for half of this.
_SETTLED: Final = timedelta(seconds=60)
_MOST_UNCOUNTED: Final = 10_000
_RATE_DAYS: Final = 7


@dataclass(frozen=True, slots=True)
class Size:
    """How large the journal is. `oldest` is the first of the messages whose text is here."""

    messages: int
    bytes: int
    daily_bytes: int  # what came in a day of the last week, on average
    first: datetime | None  # when the first message came of which something is known
    oldest: datetime | None
    held: int  # messages that would have gone, but something needs them
    is_whole: bool  # False: there are more, which are being counted


def size(session: Session, *, now: datetime) -> Size:
    """Tell how large the journal is: a row for each day that it holds is read, no message."""
    conn = session.connection()
    days = conn.execute(select(_DAY).order_by(_DAY.c.day)).all()
    at = progress(conn)
    since = (now - timedelta(days=_RATE_DAYS)).date().isoformat()
    latest = [day.bytes for day in days if since <= day.day < now.date().isoformat()]
    more = select(weight()).where(MESSAGE.c.id > at.counted_to).limit(_MOST_UNCOUNTED + 1)
    found = conn.scalars(more).all()
    first = select(MESSAGE.c.received_at).order_by(MESSAGE.c.id).limit(1)
    return Size(
        sum(day.messages for day in days) + len(found),
        sum(day.bytes for day in days) + sum(found),
        sum(latest) // _RATE_DAYS,
        conn.scalar(first),
        conn.scalar(first.where(MESSAGE.c.id > at.emptied_to)),
        conn.scalar(select(func.count()).select_from(HELD)) or 0,
        len(found) <= _MOST_UNCOUNTED,
    )


def progress(conn: Connection, *, to_change: bool = False) -> Any:
    """Give the row of how far it has come; `to_change` makes and locks it."""
    statement = select(PROGRESS)
    if to_change:
        conn.execute(inserting(conn, PROGRESS).values(id=1).on_conflict_do_nothing())
        statement = statement.with_for_update()
    return conn.execute(statement).first() or JournalProgress()


def move(conn: Connection, **values: Any) -> None:
    """Change the row of how far it has come."""
    conn.execute(update(PROGRESS).values(**values))


def inserting(conn: Connection, table: Table) -> Any:
    """Make an INSERT that may say what it does on a conflict."""
    return {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[conn.dialect.name](table)


def weight() -> Label[int]:
    """Give what a message counts as, in bytes."""
    sizes: ColumnElement[int] = func.length(MESSAGE.c.raw) + func.length(MESSAGE.c.ack)
    return (sizes + ROW_BYTES).label("weight")


def total_bytes(conn: Connection) -> int:
    """Give what all counted messages take."""
    return int(conn.scalar(select(func.coalesce(func.sum(_DAY.c.bytes), 0))) or 0)


def count_some(database: Database, now: datetime) -> bool:
    """Count some of what has come; tell whether there is more to count. Raises Outage."""
    with database.read() as session:
        conn = session.connection()
        at = progress(conn)
        rows = conn.execute(
            select(MESSAGE.c.id, MESSAGE.c.received_at, weight())
            .where(MESSAGE.c.id > at.counted_to, MESSAGE.c.id <= at.seen_to)
            .order_by(MESSAGE.c.id)
            .limit(_AT_ONCE)
        ).all()

    def keep(session: Session) -> bool:
        conn = session.connection()
        current = progress(conn, to_change=True)
        if current.counted_to != at.counted_to:
            return True  # another node was faster
        if rows:
            add(conn, rows)
            move(conn, counted_to=rows[-1].id)
            return True
        if current.seen_at is None or now - current.seen_at >= _SETTLED:
            last = conn.scalar(select(func.max(MESSAGE.c.id))) or 0
            move(conn, seen_at=now, seen_to=last)
        return False

    return database.write(keep)


def add(conn: Connection, rows: Iterable[Any], sign: int = 1) -> None:
    """Add to their days messages that have `received_at` and `weight`; sign -1 takes them off."""
    messages: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    for row in rows:
        day = row.received_at.astimezone(UTC).date().isoformat()
        messages[day] += sign
        weights[day] += sign * row.weight
    change(conn, messages, weights)


def change(conn: Connection, messages: Counter[str], weights: Counter[str]) -> None:
    """Change the counts of days."""
    for day in weights:
        statement = inserting(conn, _DAY).values(
            day=day, messages=messages[day], bytes=weights[day]
        )
        conn.execute(
            statement.on_conflict_do_update(
                index_elements=["day"],
                set_={
                    "messages": _DAY.c.messages + statement.excluded.messages,
                    "bytes": _DAY.c.bytes + statement.excluded.bytes,
                },
            )
        )
