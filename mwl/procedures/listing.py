"""Look at performed steps: as they were received, and as a list for people and programs."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import bindparam, func, select
from sqlmodel import Session

from mwl.db import Database, Prepared
from mwl.db.tables import PerformedInstance, PerformedLink, PerformedMessage, PerformedStep
from mwl.performed import PerformedState

_STEP = PerformedStep.__table__  # type: ignore[attr-defined]
_MESSAGE = PerformedMessage.__table__  # type: ignore[attr-defined]
_LINK = PerformedLink.__table__  # type: ignore[attr-defined]
_INSTANCE = PerformedInstance.__table__  # type: ignore[attr-defined]

_PAGE_ROWS: Final = 200
_MOST_MESSAGES: Final = 1_000  # of one MPPS that are read; scanners send two or three

_STATE = Prepared(
    select(_STEP.c.id, _STEP.c.state).where(_STEP.c.sop_instance_uid == bindparam("uid"))
)
_MESSAGES = Prepared(
    select(_MESSAGE.c.operation, _MESSAGE.c.transfer_syntax, _MESSAGE.c.data_set)
    .where(_MESSAGE.c.performed_step == bindparam("row"))
    .order_by(_MESSAGE.c.id)
    .limit(_MOST_MESSAGES)
)


@dataclass(frozen=True, slots=True)
class Received:
    """An MPPS as it was received: its state now, and (operation, transfer syntax, bytes) each."""

    state: PerformedState
    messages: tuple[tuple[str, str, bytes], ...]


def get(session: Session, uid: str) -> Received | None:
    """Read an MPPS with all that was received of it; None: there is none."""
    conn = session.connection()
    row = _STATE.first(conn, {"uid": uid})
    if row is None:
        return None
    found = _MESSAGES.all(conn, {"row": row.id})
    messages = tuple((each.operation, each.transfer_syntax, each.data_set) for each in found)
    return Received(PerformedState(row.state), messages)


def listing(
    database: Database,
    *,
    now: datetime,
    stuck: timedelta | None = None,
    unscheduled: bool = False,
    limit: int | None = None,
) -> Iterator[dict[str, Any]]:
    """List performed steps, the latest first, one dictionary each, read page by page.

    `stuck` lists those alone that have been IN PROGRESS for longer than that; `unscheduled`
    those that some order is still to be found for. Raises Outage.
    """
    statement = _statement(stuck is not None, unscheduled)
    values = {"since": now - (stuck or timedelta())}
    left = limit
    last = 2**31 - 1
    while left is None or left > 0:
        rows = _PAGE_ROWS if left is None else min(left, _PAGE_ROWS)
        with database.read() as session:
            page = statement.all(session.connection(), {**values, "before": last, "limit": rows})
        for row in page:
            yield _entry(row)
        if len(page) < rows:
            return
        left = None if left is None else left - rows
        last = page[-1].id


def _entry(row: Any) -> dict[str, Any]:
    return {
        "sop_instance_uid": row.sop_instance_uid,
        "status": row.state,
        "ae_title": row.ae_title,
        "modality": row.modality,
        "accession_number": row.accession_number,
        "patient_id": row.patient_id,
        "patient_name": row.patient_name,
        "study_instance_uid": row.study_instance_uid,
        "received_at": row.created_at.isoformat(timespec="seconds"),
        "ended_at": row.final_at.isoformat(timespec="seconds") if row.final_at else "",
        "ended_by": row.ended_by,
        "discontinuation": row.discontinuation,
        "steps": row.steps,
        "instances": row.instances,
        "scheduled": not row.unscheduled,
        "flags": row.flags,
    }


@lru_cache(maxsize=4)
def _statement(stuck: bool, unscheduled: bool) -> Prepared:
    steps = select(func.count()).where(_LINK.c.performed_step == _STEP.c.id).scalar_subquery()
    instances = (
        select(func.count()).where(_INSTANCE.c.performed_step == _STEP.c.id).scalar_subquery()
    )
    statement = (
        select(*_STEP.c, steps.label("steps"), instances.label("instances"))
        .where(_STEP.c.id < bindparam("before"))
        .order_by(_STEP.c.id.desc())
        .limit(bindparam("limit"))
    )
    if stuck:
        since = bindparam("since", type_=_STEP.c.created_at.type)
        statement = statement.where(
            _STEP.c.state == PerformedState.IN_PROGRESS, _STEP.c.created_at < since
        )
    if unscheduled:
        statement = statement.where(_STEP.c.unscheduled)
    return Prepared(statement)
