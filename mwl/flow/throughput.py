"""What came in, hour by hour: messages, examinations begun, images."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Column, bindparam, func, select, text
from sqlmodel import Session

from mwl.db import Prepared
from mwl.db.tables import Instance, Message, PerformedStep
from mwl.performed import PerformedState

_MESSAGE = Message.__table__  # type: ignore[attr-defined]
_PERFORMED = PerformedStep.__table__  # type: ignore[attr-defined]
_INSTANCE = Instance.__table__  # type: ignore[attr-defined]

HOURS = 24
_AN_HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class Hour:
    """What came in during an hour."""

    begins: datetime
    messages: int
    examinations: int  # MPPS created
    images: int


def hours(session: Session, *, until: datetime) -> Sequence[Hour]:
    """Count what came in during the day up to now, the hour that `until` lies in the last.

    Hours begin where they do on a clock that shows `until` in its zone.
    """
    last = until.replace(minute=0, second=0, microsecond=0)
    # By instants: where clocks change, an hour is lost or comes twice on them alone.
    first = last.timestamp() - _AN_HOUR_S * (HOURS - 1)
    bounds = [
        datetime.fromtimestamp(first + _AN_HOUR_S * number, until.tzinfo)
        for number in range(HOURS + 1)
    ]
    params = {f"from_{number}": bounds[number] for number in range(HOURS)} | {
        f"to_{number}": bounds[number + 1] for number in range(HOURS)
    }
    conn = session.connection()
    replies = [statement.send(conn, params) for statement in _statements()]
    messages, examinations, images = (reply.first() for reply in replies)
    return [
        Hour(bounds[number], messages[number], examinations[number], images[number])
        for number in range(HOURS)
    ]


@cache
def _statements() -> tuple[Prepared, Prepared, Prepared]:
    # The index is by state first, so all states are named.
    states = ", ".join(f"'{state.value}'" for state in PerformedState)
    return (
        _counts(_MESSAGE.c.received_at),
        _counts(_PERFORMED.c.created_at, text(f"performed_step.state IN ({states})")),
        _counts(_INSTANCE.c.created_at),
    )


def _counts(at: Column[Any], *conditions: Any) -> Prepared:
    """Count the rows of each hour: ranges of an index, where a GROUP BY would sort the day."""
    counts = [
        select(func.count())
        .select_from(at.table)
        .where(at >= bindparam(f"from_{number}"), at < bindparam(f"to_{number}"), *conditions)
        .scalar_subquery()
        .label(f"count_{number}")
        for number in range(HOURS)
    ]
    return Prepared(select(*counts))
