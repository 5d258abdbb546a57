"""The outbox for people, page by page, and one delivery with what stands around it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, select, text
from sqlmodel import Session

from mwl.errors import Fault, Reason, Rejected
from mwl.outbox.rows import IS_OPEN, TABLE, State, named_state

_SHOWN = (
    *("id", "kind", "destination", "subject", "payload", "state", "control_id", "attempts"),
    *("next_at", "claimed_by", "claimed_until", "error", "created_at", "done_at"),
)
_OPEN = (State.WAITING, State.BLOCKED, State.PARKED)
_MOST_DESTINATIONS = 1_000
_MOST_COUNTED = 10_000
_MOST_AROUND = 50


@dataclass(frozen=True, slots=True)
class Inspected:
    """A delivery; `row` has all of its columns.

    `ahead` waits before it in its channel, `behind` after it: counts, at most 10,000. `fellows`
    are other deliveries of its subject to its destination, the earliest first; `blocker` is
    the parked one among them that it waits for.
    """

    row: Any
    ahead: int
    behind: int
    fellows: Sequence[Any]
    blocker: int | None


def page(  # noqa: PLR0913 - the ways to narrow it, by name
    session: Session,
    *,
    state: str = "",
    destination: str = "",
    after: int | None = None,
    before: int | None = None,
    limit: int,
) -> Sequence[Any]:
    """List deliveries, the newest first: those after a row, or right before one.

    Raises Rejected for no state.
    """
    statement = _of(select(*(TABLE.c[name] for name in _SHOWN)), state, destination)
    conn = session.connection()
    if before is not None:
        newer = statement.where(TABLE.c.id > before).order_by(TABLE.c.id)
        return conn.execute(newer.limit(limit)).all()[::-1]
    if after is not None:
        statement = statement.where(TABLE.c.id < after)
    return conn.execute(statement.order_by(TABLE.c.id.desc()).limit(limit)).all()


def counts(session: Session) -> dict[str, int]:
    """Count what is not done, by state; at most 10,000 each."""
    conn = session.connection()
    return {state.value: _count(conn, _of(select(TABLE.c.id), state, "")) for state in _OPEN}


def destinations(session: Session) -> list[str]:
    """List who was ever told something: one step of an index for each."""
    conn = session.connection()
    found: list[str] = []
    while len(found) < _MOST_DESTINATIONS:
        last = found[-1] if found else ""
        following = conn.scalar(
            select(func.min(TABLE.c.destination)).where(TABLE.c.destination > last)
        )
        if following is None:
            break
        found.append(following)
    return found


def failing(session: Session, destinations: Iterable[str]) -> list[Any]:
    """List what was tried in vain and keeps others waiting: the first of each destination.

    Rows of id, destination and error.
    """
    conn = session.connection()
    columns = (TABLE.c.id, TABLE.c.destination, TABLE.c.error)
    waiting = select(*columns).where(text("state = 'waiting'"))  # as its index is asked
    firsts = [
        conn.execute(
            waiting.where(TABLE.c.destination == name).order_by(TABLE.c.kind, TABLE.c.id).limit(1)
        ).first()
        for name in destinations
    ]
    return [row for row in firsts if row is not None and row.error]


def inspect(session: Session, delivery: int) -> Inspected:
    """Give one delivery, and what stands around it. Raises Rejected where there is none."""
    conn = session.connection()
    row = conn.execute(select(TABLE).where(TABLE.c.id == delivery)).first()
    if row is None:
        raise Rejected(Fault(Reason.UNKNOWN_KEY, f"delivery {delivery}", "there is none"))
    fellows = _fellows(conn, row)
    parked = [each.id for each in fellows if each.state == State.PARKED and each.id < row.id]
    waiting = _of(select(TABLE.c.id), State.WAITING, row.destination).where(
        TABLE.c.kind == row.kind
    )
    return Inspected(
        row,
        _count(conn, waiting.where(TABLE.c.id < row.id)),
        _count(conn, waiting.where(TABLE.c.id > row.id)),
        fellows,
        parked[0] if parked and row.state == State.BLOCKED else None,
    )


def _of(statement: Select[Any], state: str, destination: str) -> Select[Any]:
    if state:
        named = named_state(state)
        statement = statement.where(TABLE.c.state == named.value)
        if named is not State.DONE:
            statement = statement.where(IS_OPEN)
    if destination:
        statement = statement.where(TABLE.c.destination == destination)
    return statement


def _fellows(conn: Connection, row: Any) -> Sequence[Any]:
    if not row.subject:
        return []
    columns = ("id", "kind", "state", "payload", "created_at")
    statement = select(*(TABLE.c[name] for name in columns)).where(
        TABLE.c.subject == row.subject,
        TABLE.c.kind == row.kind,
        TABLE.c.destination == row.destination,
        TABLE.c.id != row.id,
    )
    return conn.execute(statement.order_by(TABLE.c.id).limit(_MOST_AROUND)).all()


def _count(conn: Connection, statement: Select[Any]) -> int:
    some = statement.limit(_MOST_COUNTED).subquery()
    return int(conn.scalar(select(func.count()).select_from(some)) or 0)
