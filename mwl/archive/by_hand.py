"""A person says which order a study belongs to, whatever the rules made of it."""

from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, select, update
from sqlmodel import Session

from mwl.archive import following
from mwl.archive.patients import Patients
from mwl.db.tables import ImagingOrder, Patient, RequestedProcedure, Study
from mwl.errors import Fault, Reason, Rejected
from mwl.orders import OrderState
from mwl.studies import Likeness, MatchedBy

_STUDY = Study.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PATIENT = Patient.__table__  # type: ignore[attr-defined]

_MOST: Final = 50  # procedures that are looked at, and named at most
_OVER = frozenset({OrderState.CANCELED, OrderState.DISCONTINUED})


@dataclass(frozen=True, slots=True)
class Linked:
    """The order (a row of imaging_order) that a study now belongs to, and what to know of it."""

    imaging_order: int
    accession_number: str
    flags: list[str] = field(default_factory=list)


def link(
    session: Session, study_instance_uid: str, *, accession: str = "", order: int | None = None
) -> Linked:
    """Link a study to the order with this accession number, or in this row, or both.

    An earlier link is given up. Another patient's images may be linked, as those of an
    emergency have to be: a flag says so. They are shown as the order's patient's from then
    on, whatever they say.

    Raises Rejected: UNKNOWN_KEY where there is no such study or order, DUPLICATE_KEY where
    several orders have the accession number, MISSING without either.
    """
    if not accession and order is None:
        raise Rejected(Fault(Reason.MISSING, "--accession", "which order? Give it, or --order"))
    conn = session.connection()
    study = _study(conn, study_instance_uid)
    procedure = _procedure(conn, study, accession, order)
    flags = _flags(conn, study, procedure)
    _match(conn, study, procedure.id)
    return Linked(procedure.imaging_order, procedure.accession_number, flags)


def unlink(session: Session, study_instance_uid: str) -> int:
    """Take a study from its order; return that order (a row of imaging_order).

    No rule links it again, and it is as its images say until a person does.

    Raises Rejected (UNKNOWN_KEY) where there is no such study, or it has no order.
    """
    conn = session.connection()
    study = _study(conn, study_instance_uid)
    if study.requested_procedure is None:
        raise Rejected(Fault(Reason.UNKNOWN_KEY, "STUDY_UID", "the study belongs to no order"))
    order: int = conn.execute(
        select(_PROCEDURE.c.imaging_order).where(_PROCEDURE.c.id == study.requested_procedure)
    ).scalar_one()
    _match(conn, study, None)
    return order


def _match(conn: Connection, study: Any, procedure: int | None) -> None:
    conn.execute(
        update(_STUDY)
        .where(_STUDY.c.id == study.id)
        .values(requested_procedure=procedure, matched_by=MatchedBy.HAND.value, patient=None)
    )
    following.follow(conn, study.id)


def _study(conn: Connection, uid: str) -> Any:
    statement = select(_STUDY).where(_STUDY.c.study_instance_uid == uid).with_for_update()
    found = conn.execute(statement).first()
    if found is None:
        raise Rejected(
            Fault(Reason.UNKNOWN_KEY, "STUDY_UID", "no such study here; see `mwl study list`")
        )
    return found


def _procedure(conn: Connection, study: Any, accession: str, order: int | None) -> Any:
    rows = _PROCEDURE.join(_ORDER, _ORDER.c.id == _PROCEDURE.c.imaging_order)
    statement = (
        select(
            _PROCEDURE.c.id,
            _PROCEDURE.c.imaging_order,
            _PROCEDURE.c.accession_number,
            _PROCEDURE.c.study_instance_uid,
            _ORDER.c.status,
            _PATIENT.c.id.label("patient"),
            _PATIENT.c.patient_id,
            _PATIENT.c.patient_name,
            _PATIENT.c.birth_date,
            _PATIENT.c.other_ids,
        )
        .select_from(rows.join(_PATIENT, _PATIENT.c.id == _ORDER.c.patient))
        .order_by(_PROCEDURE.c.id)
        .limit(_MOST)
    )
    if accession:
        statement = statement.where(_PROCEDURE.c.accession_number == accession)
    if order is not None:
        statement = statement.where(_PROCEDURE.c.imaging_order == order)
    found = conn.execute(statement).all()
    orders = sorted({row.imaging_order for row in found})
    where = "--accession" if accession else "--order"
    if not orders:
        raise Rejected(Fault(Reason.UNKNOWN_KEY, where, "no order with a procedure has it"))
    if len(orders) > 1:
        rows_ = ", ".join(map(str, orders))
        raise Rejected(
            Fault(Reason.DUPLICATE_KEY, where, f"several orders have it: add --order, of {rows_}")
        )
    planned = [row for row in found if row.study_instance_uid == study.study_instance_uid]
    return (planned or found)[0]


def _flags(conn: Connection, study: Any, procedure: Any) -> list[str]:
    flags = []
    if Patients(conn, following.person_said(study)).likeness(procedure) is Likeness.OTHER:
        flags.append("the images name another patient than the order")
    if procedure.status in _OVER:
        flags.append(f"the order is {procedure.status}")
    if study.requested_procedure not in (None, procedure.id):
        flags.append("it was linked to another procedure before")
    return flags
