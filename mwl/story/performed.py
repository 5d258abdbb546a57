"""What scanners did for a patient."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import or_, select
from sqlmodel import Session

from mwl.db.tables import (
    ImagingOrder,
    PerformedLink,
    PerformedStep,
    RequestedProcedure,
    ScheduledStep,
)
from mwl.story.subjects import Row

_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]
_PERFORMED = PerformedStep.__table__  # type: ignore[attr-defined]
_LINK = PerformedLink.__table__  # type: ignore[attr-defined]

_MOST = 200


def of_patient(session: Session, patients: Sequence[Row]) -> Sequence[Any]:
    """List the MPPS of a patient's orders, and those of no order under one of their numbers.

    `patients` are the patient and its aliases. An MPPS is the patient's whose its order is,
    whomever it names: so it follows merges, there and back.
    """
    of_orders = (
        select(_LINK.c.performed_step)
        .join(_STEP, _LINK.c.scheduled_step == _STEP.c.id)
        .join(_PROCEDURE, _STEP.c.procedure == _PROCEDURE.c.id)
        .join(_ORDER, _PROCEDURE.c.imaging_order == _ORDER.c.id)
        .where(_ORDER.c.patient.in_([each["id"] for each in patients]))
    )
    numbers = [each["patient_id"] for each in patients]
    without_order = _PERFORMED.c.patient_id.in_(numbers) & _PERFORMED.c.unscheduled
    statement = select(_PERFORMED, _PERFORMED.c.id.in_(of_orders).label("is_of_order")).where(
        or_(_PERFORMED.c.id.in_(of_orders), without_order)
    )
    rows = session.connection().execute(statement.order_by(_PERFORMED.c.id.desc()).limit(_MOST))
    # Another issuer's patient may have the same number.
    issuers = {"", *(each["issuer"].strip().casefold() for each in patients)}
    return [
        row
        for row in rows
        if row.is_of_order or row.patient_id_issuer.strip().casefold() in issuers
    ]
