"""Performed steps as rows: the statements that every MPPS takes."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from mwl.db import Insertion, Prepared, Reply
from mwl.db.tables import PerformedInstance, PerformedLink, PerformedMessage, PerformedStep
from mwl.outbox import Operation
from mwl.performed import LinkedBy, Listed

Row = dict[str, Any]

_STEP = PerformedStep.__table__  # type: ignore[attr-defined]
_MESSAGE = PerformedMessage.__table__  # type: ignore[attr-defined]
_LINK = PerformedLink.__table__  # type: ignore[attr-defined]
_INSTANCE = PerformedInstance.__table__  # type: ignore[attr-defined]

_INSERT = Insertion(_STEP, flags=[], requests=[], unscheduled=False)
_INSERT_MESSAGE = Insertion(_MESSAGE)
_INSERT_LINK = Prepared(insert(_LINK).values({c.name: bindparam(c.name) for c in _LINK.c}))
_INSERT_INSTANCE = Prepared(
    insert(_INSTANCE).values({c.name: bindparam(c.name) for c in _INSTANCE.c})
)
_CLEAR_INSTANCES = Prepared(delete(_INSTANCE).where(_INSTANCE.c.performed_step == bindparam("row")))
# Whoever changes an MPPS holds its row; SQLite has one writer, and leaves FOR UPDATE out.
_HOLD_BY_UID = Prepared(
    select(_STEP).where(_STEP.c.sop_instance_uid == bindparam("uid")).with_for_update()
)
_HOLD_BY_ROW = Prepared(select(_STEP).where(_STEP.c.id == bindparam("row")).with_for_update())
_CHANGED = ("state", "discontinuation", "end_local", "flags", "ended_by", "updated_at", "final_at")
_CHANGE = Prepared(
    update(_STEP)
    .where(_STEP.c.id == bindparam("row"))
    .values({name: bindparam(name) for name in (*_CHANGED, "unscheduled")})
)
# An MPPS that a hundred messages complained about has told its story.
_MOST_FLAGS = 100
_FEW = 32  # rows that are sent one by one sooner than SQLAlchemy has made a batch of them


def create(conn: Connection, values: Row, duplicate: Callable[[], Exception]) -> int:
    """Insert an MPPS; `duplicate` makes the error where its UID is known."""
    return _INSERT.send(conn, values, duplicate)


def hold(conn: Connection, uid: str) -> Reply:
    """Keep everybody else from an MPPS until the transaction ends; the reply is its row."""
    return _HOLD_BY_UID.send(conn, {"uid": uid})


def hold_row(conn: Connection, row: int) -> Reply:
    """Hold an MPPS as `hold` does, by its number."""
    return _HOLD_BY_ROW.send(conn, {"row": row})


def change(conn: Connection, performed: Row) -> None:
    """Write what may change of an MPPS that is held."""
    values = {name: performed[name] for name in (*_CHANGED, "unscheduled")}
    _CHANGE.send(conn, {**values, "row": performed["id"]})


def keep(conn: Connection, row: int, operation: Operation, now: datetime) -> None:
    """Keep a data set as received."""
    values = {
        "performed_step": row,
        "operation": operation.name,
        "ae_title": operation.calling,
        "received_at": now,
        "transfer_syntax": operation.transfer_syntax,
        "data_set": operation.data_set,
    }
    _INSERT_MESSAGE.send(conn, values)


def link(conn: Connection, row: int, step: int, by: LinkedBy) -> None:
    """Note that an MPPS carries out a scheduled step."""
    _INSERT_LINK.send(conn, {"performed_step": row, "scheduled_step": step, "by": by})


def list_instances(
    conn: Connection, row: int, listed: Sequence[Listed], *, again: bool = False
) -> None:
    """Keep which instances an MPPS lists; `again` where it may have listed others."""
    if again:
        _CLEAR_INSTANCES.send(conn, {"row": row})
    once = {each.sop_instance_uid: each for each in listed}.values()
    rows = [
        {
            "performed_step": row,
            "sop_instance_uid": each.sop_instance_uid,
            "sop_class_uid": each.sop_class_uid,
            "series_instance_uid": each.series_instance_uid,
        }
        for each in once
    ]
    if len(rows) > _FEW:
        conn.execute(insert(_INSTANCE), rows)
        return
    for values in rows:
        _INSERT_INSTANCE.send(conn, values)


def remember(old: Sequence[str], new: Iterable[str]) -> list[str]:
    """Add flags to those that are there, each once."""
    return [*old, *(flag for flag in dict.fromkeys(new) if flag not in old)][-_MOST_FLAGS:]
