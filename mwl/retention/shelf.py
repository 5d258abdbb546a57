"""A table of which rows go when they are long over."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, Table, delete, func, select
from sqlmodel import Session

from mwl.outbox import State
from mwl.outbox.rows import TABLE as _DELIVERY

_OVER = (State.DONE.value, State.DROPPED.value)


class Shelf(NamedTuple):
    """Which rows may go, and how one goes.

    `find` (connection, after, upto, before) lists numbers, ascending, of what is over since
    `before`; `remove` (session, number, before, now) looks again, and tells whether it went.
    """

    name: str
    table: Table
    find: Callable[[Connection, int, int, datetime], Sequence[int]]
    remove: Callable[[Session, int, datetime, datetime], bool]


def is_to_be_told(conn: Connection, subject: str) -> bool:
    """Tell whether something about `subject` is still to be delivered."""
    open_ = select(_DELIVERY.c.id).where(
        _DELIVERY.c.subject == subject, _DELIVERY.c.state.not_in(_OVER)
    )
    return conn.scalar(open_.limit(1)) is not None


def forget_deliveries(conn: Connection, subject: str) -> None:
    """Remove what was delivered about `subject`."""
    newest = select(func.max(_DELIVERY.c.id)).scalar_subquery()
    old = _DELIVERY.c.subject == subject
    conn.execute(
        delete(_DELIVERY).where(old, _DELIVERY.c.state.in_(_OVER), _DELIVERY.c.id < newest)
    )


def has_newest(conn: Connection, table: Table, rows: Iterable[int]) -> bool:
    """Tell whether the newest row of a table is among some."""
    return conn.scalar(select(func.max(table.c.id))) in set(rows)
