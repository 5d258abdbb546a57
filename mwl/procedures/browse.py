"""Browse performed steps, as people do: what is under way, stuck, or of no order that we know.

The latest come first, by their number, which grows as they come in.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Select, func, or_, select, text
from sqlmodel import Session

from mwl.db.tables import (
    ImagingOrder,
    Patient,
    PerformedInstance,
    PerformedLink,
    PerformedStep,
    RequestedProcedure,
    ScheduledStep,
)
from mwl.errors import Fault, Reason, Rejected
from mwl.patients import name_key
from mwl.performed import PerformedState

_PERFORMED = PerformedStep.__table__  # type: ignore[attr-defined]
_LINK = PerformedLink.__table__  # type: ignore[attr-defined]
_INSTANCE = PerformedInstance.__table__  # type: ignore[attr-defined]
_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PATIENT = Patient.__table__  # type: ignore[attr-defined]
_c = _PERFORMED.c
_MOST_OF_PATIENT: Final = 500

STUCK: Final = "stuck"
_IS_UNSCHEDULED = text("performed_step.unscheduled")  # as the partial index says it


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for; all that is given must hold.

    `state` is one of an MPPS, or "stuck": in progress since before `stuck_before`. `text`
    is a patient ID, that it names or its order's patient has now, an accession number or a UID
    as a whole.
    """

    state: str = ""
    text: str = ""
    unscheduled: bool = False
    stuck_before: datetime | None = None


class Performed(NamedTuple):
    """A performed step in a list; `orders` are the rows of those that it carries out.

    `patient_id` and `patient_name` are as the scanner says, `present_id` and `present_name`
    those of its order's patient now, whom merges and new names have changed.
    """

    id: int
    sop_instance_uid: str
    state: str
    ae_title: str
    modality: str
    patient_id: str
    patient_name: str
    accession_number: str
    discontinuation: str
    unscheduled: bool
    flags: list[str]
    ended_by: str
    created_at: datetime
    final_at: datetime | None
    instances: int
    orders: tuple[int, ...] = ()
    present_id: str = ""
    present_name: str = ""

    @property
    def is_renamed(self) -> bool:
        """Whether its order's patient is known otherwise now than as the scanner says."""
        if not self.present_id:
            return False
        names = name_key(self.patient_name), name_key(self.present_name)
        return self.present_id != self.patient_id or (all(names) and names[0] != names[1])

    def is_stuck(self, now: datetime, after: timedelta) -> bool:
        """Tell whether it has been in progress for longer than `after`."""
        return self.state == PerformedState.IN_PROGRESS and self.created_at < now - after


_LISTED = select(func.count()).where(_INSTANCE.c.performed_step == _c.id).scalar_subquery()
_COLUMNS = (*(_c[name] for name in Performed._fields[:-4]), _LISTED.label("instances"))


def page(
    session: Session,
    wanted: Wanted,
    *,
    after: int | None = None,
    backwards: bool = False,
    limit: int = 50,
) -> list[Performed]:
    """Read a page of performed steps: those behind row `after`, or before it.

    Raises Rejected (UNKNOWN_CODE) for a state that is none.
    """
    statement: Select[Any] = select(*_COLUMNS).limit(limit)
    if wanted.state == STUCK:
        # There are few in progress; they are found first, and sorted.
        stuck = select(_c.id).where(
            _c.state == PerformedState.IN_PROGRESS.value, _c.created_at < wanted.stuck_before
        )
        statement = statement.where(_c.id.in_(stuck))
    elif wanted.state:
        statement = statement.where(_c.state == _state(wanted.state).value)
    if wanted.unscheduled:
        statement = statement.where(_IS_UNSCHEDULED)
    if wanted.text:
        statement = statement.where(_named(session, wanted.text.replace("\0", "")))
    if after is not None:
        statement = statement.where(_c.id > after if backwards else _c.id < after)
    statement = statement.order_by(_c.id if backwards else _c.id.desc())
    conn = session.connection()
    rows = conn.execute(statement).all()
    orders = _orders(conn, [row.id for row in rows])
    people = _people(conn, [row.id for row in rows])
    found = [
        Performed._make((*row, tuple(orders.get(row.id, ())), *people.get(row.id, ("", ""))))
        for row in rows
    ]
    return found[::-1] if backwards else found


def uid(session: Session, performed: int) -> str | None:
    """Tell the UID of a performed step by its row; None: there is none."""
    found: str | None = session.connection().scalar(
        select(_c.sop_instance_uid).where(_c.id == performed)
    )
    return found


def row(session: Session, uid: str) -> int | None:
    """Tell the row of a performed step by its UID; None: there is none."""
    found: int | None = session.connection().scalar(select(_c.id).where(_c.sop_instance_uid == uid))
    return found


def _named(session: Session, typed: str) -> Any:
    columns = (_c.patient_id, _c.accession_number, _c.sop_instance_uid, _c.study_instance_uid)
    of_patient = _of_orders(_LINK.c.performed_step).where(_PATIENT.c.patient_id == typed)
    # First, so that the rest goes by indexes.
    rows = session.connection().execute(of_patient.limit(_MOST_OF_PATIENT)).scalars().all()
    return or_(*(column == typed for column in columns), _c.id.in_(rows))


def _of_orders(*columns: Any) -> Select[Any]:
    return (
        select(*columns)
        .select_from(_LINK)
        .join(_STEP, _STEP.c.id == _LINK.c.scheduled_step)
        .join(_PROCEDURE, _PROCEDURE.c.id == _STEP.c.procedure)
        .join(_ORDER, _ORDER.c.id == _PROCEDURE.c.imaging_order)
        .join(_PATIENT, _PATIENT.c.id == _ORDER.c.patient)
    )


def _people(conn: Connection, performed: Iterable[int]) -> dict[int, tuple[str, str]]:
    """Tell whose the orders of some performed steps are now: patient ID and name."""
    columns = (_LINK.c.performed_step, _PATIENT.c.patient_id, _PATIENT.c.patient_name)
    statement = _of_orders(*columns).where(_LINK.c.performed_step.in_(list(performed)))
    found = conn.execute(statement.order_by(_LINK.c.performed_step, _PATIENT.c.id.desc()))
    return {row.performed_step: (row.patient_id, row.patient_name) for row in found}


def _state(name: str) -> PerformedState:
    try:
        return PerformedState(name.upper())
    except ValueError:
        raise Rejected(
            Fault(Reason.UNKNOWN_CODE, "state", "there is no such state of an MPPS")
        ) from None


def _orders(conn: Connection, performed: Iterable[int]) -> dict[int, list[int]]:
    found = conn.execute(
        select(_LINK.c.performed_step, _PROCEDURE.c.imaging_order)
        .distinct()
        .join(_STEP, _STEP.c.id == _LINK.c.scheduled_step)
        .join(_PROCEDURE, _PROCEDURE.c.id == _STEP.c.procedure)
        .where(_LINK.c.performed_step.in_(list(performed)))
        .order_by(_LINK.c.performed_step, _PROCEDURE.c.imaging_order)
    )
    orders: dict[int, list[int]] = {}
    for row in found:
        orders.setdefault(row.performed_step, []).append(row.imaging_order)
    return orders
