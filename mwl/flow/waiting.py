"""What waits: for its turn, or for a person."""

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import ScalarSelect, Table, bindparam, func, select, text
from sqlmodel import Session

from mwl.db import Prepared
from mwl.db.tables import (
    Delivery,
    ImagingOrder,
    Knock,
    Message,
    PerformedStep,
    Report,
    StoredObject,
    Study,
)
from mwl.worklist.patients import is_conflict


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much of what waits there is."""

    deliveries: int  # their turn has not come
    deliveries_since: datetime | None  # the oldest of them was queued
    parked: int  # refused by who was to be told
    blocked: int  # behind a parked one
    failed: int  # messages since a time that are our fault: state failed
    rejected: int  # messages since a time that were answered AE or AR, and not replayed since
    conflicts: int  # of them, those that name somebody else than is on file, not settled yet
    unmatched: int  # studies that no order asked for
    quarantined: int  # stored objects that contradict what is there
    stuck: int  # MPPS begun long ago and never ended
    flagged: int  # orders with something that a person should see
    unlinked: int  # reports since a time that belong to no order which is known
    refused: int  # strangers that were refused since a time


def waiting(session: Session, *, since: datetime, stuck_before: datetime) -> Waiting:
    """Count what waits.

    Messages, reports and refused strangers count since `since`; an MPPS is stuck that is in
    progress and began before `stuck_before`.
    """
    params = {
        **dict.fromkeys(("since", "since_knock", "since_report"), since),
        "stuck_before": stuck_before,
    }
    row = _statement().first(session.connection(), params)
    return Waiting(**{name: getattr(row, name) for name in Waiting.__dataclass_fields__})


@cache
def _statement() -> Prepared:
    # Conditions are written out as their partial indexes have them, or none would be used.
    counts = {
        "deliveries": _count(Delivery, "state = 'waiting'"),
        "parked": _count(Delivery, "state = 'parked' AND state <> 'done'"),
        "blocked": _count(Delivery, "state = 'blocked' AND state <> 'done'"),
        "failed": _messages("failed"),
        "rejected": _messages("rejected"),
        "conflicts": _conflicts(),
        "unmatched": _count(Study, "requested_procedure IS NULL"),
        "quarantined": _count(StoredObject, "state = 'quarantined' AND state <> 'served'"),
        "flagged": _count(ImagingOrder, "flags <> '[]'"),
    }
    performed, knock = _table(PerformedStep), _table(Knock)
    counts["stuck"] = _count(
        PerformedStep, "state = 'IN PROGRESS'", performed.c.created_at < bindparam("stuck_before")
    )
    counts["refused"] = _count(Knock, "NOT admitted", knock.c.last_at >= bindparam("since_knock"))
    report = _table(Report)
    counts["unlinked"] = _count(
        Report,
        "imaging_order IS NULL AND superseded_by IS NULL",
        report.c.received_at >= bindparam("since_report"),
    )
    columns: list[Any] = [count.label(name) for name, count in counts.items()]
    return Prepared(select(*columns, _oldest().label("deliveries_since")))


def _count(model: Any, condition: str, *further: Any) -> ScalarSelect[int]:
    table = _table(model)
    rows = select(func.count()).select_from(table).where(text(condition), *further)
    return rows.scalar_subquery()


def _messages(state: str) -> ScalarSelect[int]:
    table = _table(Message)
    replay = table.alias("replay")
    was_accepted = select(replay.c.id).where(
        replay.c.replay_of == table.c.id, text("replay.state NOT IN ('rejected', 'failed')")
    )
    since = table.c.received_at >= bindparam("since")
    condition = f"message.state = '{state}' AND message.state <> 'applied'"
    return _count(Message, condition, since, ~was_accepted.exists())


def _conflicts() -> ScalarSelect[int]:
    table = _table(Message)
    rows = select(func.count()).select_from(table)
    return rows.where(is_conflict(), table.c.received_at >= bindparam("since")).scalar_subquery()


def _oldest() -> ScalarSelect[datetime]:
    """Find since when the first in line has waited: rows are queued in the order of their ids."""
    table = _table(Delivery)
    of_it = select(table.c.created_at).where(text("state = 'waiting' AND state <> 'done'"))
    return of_it.order_by(table.c.id).limit(1).scalar_subquery()


def _table(model: Any) -> Table:
    table: Table = model.__table__
    return table
