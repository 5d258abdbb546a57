"""What is on file of one patient: identifiers, orders, studies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, or_, select
from sqlmodel import Session

from mwl.db.tables import ImagingOrder, RequestedProcedure, ScheduledStep, Study
from mwl.story import subjects
from mwl.story.subjects import Row

_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]
_STUDY = Study.__table__  # type: ignore[attr-defined]

_MOST = 200


@dataclass(frozen=True, slots=True)
class PatientRecord:
    """A patient with all identifiers; `survivor` where this one was merged into another."""

    patient: Row
    survivor: Row | None
    aliases: list[Row]
    orders: Sequence[Any]
    studies: Sequence[Any]


def patient(session: Session, row: int) -> PatientRecord | None:
    """Read what is on file of a patient, the latest first; None: there is none."""
    conn = session.connection()
    found = subjects.one_patient(conn, row)
    if found is None:
        return None
    merged = found["merged_into"]
    survivor = None if merged is None else subjects.one_patient(conn, merged)
    others = subjects.aliases(conn, row)
    rows = [row, *(each["id"] for each in others)]
    orders = (
        select(
            _ORDER.c.id,
            _ORDER.c.status,
            _ORDER.c.created_at,
            func.max(_PROCEDURE.c.accession_number).label("accession_number"),
            func.max(_PROCEDURE.c.description).label("description"),
            func.max(_STEP.c.modality).label("modality"),
            func.max(_STEP.c.start_local).label("start_local"),
        )
        .outerjoin(_PROCEDURE, _PROCEDURE.c.imaging_order == _ORDER.c.id)
        .outerjoin(_STEP, _STEP.c.procedure == _PROCEDURE.c.id)
        .where(_ORDER.c.patient.in_(rows))
        .group_by(_ORDER.c.id, _ORDER.c.status, _ORDER.c.created_at)
        .order_by(_ORDER.c.id.desc())
        .limit(_MOST)
    )
    return PatientRecord(
        found, survivor, others, conn.execute(orders).all(), _studies(session, [found, *others])
    )


def _studies(session: Session, patients: list[Row]) -> Sequence[Any]:
    """Find studies that name the patient, or that one of the patient's orders asked for."""
    conn = session.connection()
    procedures = (
        select(_PROCEDURE.c.id)
        .join(_ORDER, _PROCEDURE.c.imaging_order == _ORDER.c.id)
        .where(_ORDER.c.patient.in_([each["id"] for each in patients]))
        .order_by(_PROCEDURE.c.id.desc())
        .limit(_MOST)
    )
    its = set(conn.execute(procedures).scalars())
    statement = (
        select(_STUDY)
        .where(
            or_(
                _STUDY.c.requested_procedure.in_(its),
                _STUDY.c.patient_id.in_([each["patient_id"] for each in patients]),
            )
        )
        .order_by(_STUDY.c.id.desc())
        .limit(_MOST)
    )
    # Another issuer's patient may have the same number.
    issuers = {"", *(each["issuer"].strip().casefold() for each in patients)}
    return [
        row
        for row in conn.execute(statement)
        if row.requested_procedure in its
        or (row.requested_procedure is None and row.patient_id_issuer.strip().casefold() in issuers)
    ]
