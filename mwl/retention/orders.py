"""Orders that are over, with their procedures and steps, and what scanners told of these."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, select
from sqlmodel import Session

from mwl import audit, journal
from mwl.audit import Action, Actor, Event
from mwl.db.tables import (
    ImagingOrder,
    PerformedLink,
    PerformedStep,
    Report,
    RequestedProcedure,
    ScheduledStep,
    Sighting,
    StepStation,
    Study,
)
from mwl.orders import OrderState
from mwl.outbox import subject
from mwl.patients import Identifier
from mwl.performed import PerformedState
from mwl.retention import performed
from mwl.retention.shelf import Shelf, forget_deliveries, has_newest, is_to_be_told
from mwl.worklist import standing
from mwl.worklist.locks import order_key, take

_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]
_STATION = StepStation.__table__  # type: ignore[attr-defined]
_SIGHTING = Sighting.__table__  # type: ignore[attr-defined]
_STUDY = Study.__table__  # type: ignore[attr-defined]
_REPORT = Report.__table__  # type: ignore[attr-defined]
_LINK = PerformedLink.__table__  # type: ignore[attr-defined]
_PERFORMED = PerformedStep.__table__  # type: ignore[attr-defined]

_WHO: Final = Actor("mwl", "job")
OVER: Final = (
    *(OrderState.CLOSED.value, OrderState.CANCELED.value),
    *(OrderState.DISCONTINUED.value, OrderState.EXPIRED.value),
)


def _is_over(before: datetime) -> ColumnElement[bool]:
    has_study = exists().where(
        _PROCEDURE.c.imaging_order == _ORDER.c.id, _STUDY.c.requested_procedure == _PROCEDURE.c.id
    )
    has_report = exists().where(_REPORT.c.imaging_order == _ORDER.c.id)
    is_running = exists().where(
        _PROCEDURE.c.imaging_order == _ORDER.c.id,
        _STEP.c.procedure == _PROCEDURE.c.id,
        _LINK.c.scheduled_step == _STEP.c.id,
        _PERFORMED.c.id == _LINK.c.performed_step,
        _PERFORMED.c.state == PerformedState.IN_PROGRESS.value,
    )
    old = _ORDER.c.updated_at < before
    return and_(_ORDER.c.status.in_(OVER), old, ~has_study, ~has_report, ~is_running)


def _find(conn: Connection, after: int, upto: int, before: datetime) -> Sequence[int]:
    numbers = select(_ORDER.c.id).where(_ORDER.c.id > after, _ORDER.c.id <= upto)
    return conn.scalars(numbers.where(_is_over(before)).order_by(_ORDER.c.id)).all()


def _remove(session: Session, row: int, before: datetime, now: datetime) -> bool:
    conn = session.connection()
    named = conn.execute(select(_ORDER).where(_ORDER.c.id == row)).first()
    if named is None:
        return False
    # A message about it waits until it is gone, or comes first.
    number = Identifier(named.order_number)
    take(conn, order_key(named.source, number), order_key(named.source, _placer(named)))
    standing.hold(conn, row).first()
    if conn.scalar(select(_ORDER.c.id).where(_ORDER.c.id == row, _is_over(before))) is None:
        return False
    procedures = conn.execute(select(_PROCEDURE).where(_PROCEDURE.c.imaging_order == row)).all()
    its = [each.id for each in procedures]
    steps = list(conn.scalars(select(_STEP.c.id).where(_STEP.c.procedure.in_(its))))
    if (
        is_to_be_told(conn, subject(row))
        or has_newest(conn, _ORDER, [row])
        or has_newest(conn, _PROCEDURE, its)
        or has_newest(conn, _STEP, steps)
    ):
        return False
    _remove_steps(conn, steps)
    conn.execute(delete(_PROCEDURE).where(_PROCEDURE.c.id.in_(its)))
    journal.leave(conn, row)
    forget_deliveries(conn, subject(row))
    conn.execute(delete(_ORDER).where(_ORDER.c.id == row))
    numbers = [each.accession_number for each in procedures if each.accession_number]
    detail = {"accession numbers": numbers, "status": named.status, "over since": named.updated_at}
    audit.record(session, _WHO, Event(Action.REMOVE, f"order:{row}", _told(detail)), now=now)
    return True


def _remove_steps(conn: Connection, steps: Sequence[int]) -> None:
    for table in (_SIGHTING, _STATION):
        conn.execute(delete(table).where(table.c.step.in_(steps)))
    of_steps = _LINK.c.scheduled_step.in_(steps)
    linked = sorted(conn.scalars(select(_LINK.c.performed_step).distinct().where(of_steps)))
    conn.execute(delete(_LINK).where(of_steps))
    for each in linked:
        performed.remove_needless(conn, each)
    conn.execute(delete(_STEP).where(_STEP.c.id.in_(steps)))


def _placer(order: Any) -> Identifier | None:
    return Identifier(order.placer_number) if order.placer_number else None


def _told(detail: dict[str, Any]) -> dict[str, Any]:
    return {**detail, "over since": detail["over since"].isoformat(timespec="seconds")}


SHELF: Final = Shelf("orders", _ORDER, _find, _remove)
