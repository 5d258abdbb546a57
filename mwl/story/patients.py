"""What is on file of one patient: identifiers, merges, orders, studies, MPPS, reports."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, or_, select
from sqlmodel import Session

from mwl import reports
from mwl.db.tables import ImagingOrder, RequestedProcedure, ScheduledStep, Study
from mwl.story import performed, subjects
from mwl.story.subjects import Row
from mwl.worklist.linked import linked_with
from mwl.worklist.patients import merges

_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]
_STUDY = Study.__table__  # type: ignore[attr-defined]

_MOST = 200
_LONGEST_TRAIL = 64  # of merges; as worklist.demographics has it


@dataclass(frozen=True, slots=True)
class PatientRecord:
    """A patient with all identifiers; `survivor` where this one was merged into another.

    `merges` are all that they were in, those taken back too.
    """

    patient: Row
    survivor: Row | None
    aliases: list[Row]
    orders: Sequence[Any]
    studies: Sequence[Any]
    reports: Sequence[Any]
    mpps: Sequence[Any]
    merges: Sequence[Any]
    links: Sequence[Any]


def patient(session: Session, row: int) -> PatientRecord | None:
    """Read what is on file of a patient, the latest first; None: there is none."""
    conn = session.connection()
    found = subjects.one_patient(conn, row)
    if found is None:
        return None
    survivor = _survivor(conn, found["merged_into"])
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
        found,
        survivor,
        others,
        conn.execute(orders).all(),
        _studies(session, [found, *others]),
        reports.of_patient(session, rows),
        performed.of_patient(session, [found, *others]),
        merges(session, rows),
        linked_with(session, rows),
    )


def _survivor(conn: Connection, merged: int | None) -> Row | None:
    """Follow the trail of merges to its end."""
    found = None
    for _ in range(_LONGEST_TRAIL):
        if merged is None:
            break
        found = subjects.one_patient(conn, merged)
        merged = None if found is None else found["merged_into"]
    return found


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
