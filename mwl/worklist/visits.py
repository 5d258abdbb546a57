"""Where a patient is, and since when: what ADT messages tell of a visit.

The rules that this module bears:

1. A visit is known by its number (PV1-19, else PID-18). What is said of one reaches the open
   orders of that visit, and those that name none, which are of that visit from then on. It
   never touches an order of another visit. Without a number only orders without one are meant.
2. A patient who has come (ADT^A10) has come for the steps of that visit; where no order was
   made for it, for the steps of that day, by the site's clock, but those of other visits.
   Nothing goes backwards: only what is SCHEDULED becomes ARRIVED.
3. What was said last counts, by the clock of who said it. An order keeps when its visit was
   told last; a patient keeps the visits, so that an older order that comes later has them too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select, text, update

from mwl.db import Prepared
from mwl.db.tables import ImagingOrder, Patient, RequestedProcedure, ScheduledStep
from mwl.orders import Action, StepState, onward
from mwl.patients import VisitChange
from mwl.worklist import standing
from mwl.worklist.changed import Changes, note

Row = dict[str, Any]

COLUMNS: Final = (
    *("admission_id", "admission_issuer"),
    *("current_patient_location", "route_of_admissions", "pregnancy_status"),
    *("institution", "visit_status", "admitting_date", "admitting_diagnoses", "admitting_codes"),
)
"""Columns of an order that tell of its visit."""

_MOST_VISITS: Final = 16  # of a patient, the latest
_MOST_ORDERS: Final = 200  # open ones of a patient
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_PATIENT = Patient.__table__  # type: ignore[attr-defined]
_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]

_KEPT = Prepared(select(_PATIENT.c.visits).where(_PATIENT.c.id == bindparam("row")))
_KEEP = Prepared(
    update(_PATIENT)
    .where(_PATIENT.c.id == bindparam("row"))
    .values(visits=bindparam("new_visits", type_=_PATIENT.c.visits.type))
)
_IS_OPEN = text("imaging_order.status IN ('SCHEDULED', 'IN_PROGRESS')")
_OPEN = Prepared(
    select(_ORDER)
    .where(_ORDER.c.patient == bindparam("patient"), _IS_OPEN)
    .order_by(_ORDER.c.id.desc())
    .limit(_MOST_ORDERS)
)
_TELL = Prepared(
    update(_ORDER)
    .where(_ORDER.c.id == bindparam("row"))
    .values(
        {
            name: bindparam(f"new_{name}", type_=_ORDER.c[name].type)
            for name in (*COLUMNS, "visit_at", "updated_at")
        }
    )
)
_STEPS = Prepared(
    select(_STEP)
    .join(_PROCEDURE, _STEP.c.procedure == _PROCEDURE.c.id)
    .where(_PROCEDURE.c.imaging_order == bindparam("order_row"))
    .order_by(_STEP.c.id)
)
_MOVE = Prepared(
    update(_STEP)
    .where(_STEP.c.id == bindparam("row"))
    .values(
        state=bindparam("new_state"),
        state_at=bindparam("new_state_at", type_=_STEP.c.state_at.type),
    )
)


@dataclass(frozen=True, slots=True)
class Visited:
    """What a visit changed."""

    changes: Changes = field(default_factory=dict)


def state(  # noqa: PLR0913 - whose, what, when
    conn: Connection,
    patient: int,
    change: VisitChange,
    at: datetime | None,
    now: datetime,
    zone: tzinfo,
) -> Visited:
    """Tell the open orders of the patient in row `patient` what is said of a visit."""
    said_at = at or now
    stated = {name: value or "" for name, value in change.fields.items()}
    entry = _keep(conn, patient, stated, said_at, arrived=change.arrived)
    visited = Visited()
    held = [_held(conn, row.id) for row in reversed(_OPEN.all(conn, {"patient": patient}))]
    if change.arrived:
        day = f"{said_at.astimezone(zone):%Y%m%d}"
        for order, steps in _expecting(conn, held, stated, entry, day):
            _arrive(conn, order, steps, now, visited.changes)
    for order in held:
        told = _told(order, stated, said_at)
        if told:
            if not order["admission_id"] and stated.get("admission_id"):
                entry["adopted"] = [*entry.get("adopted", ()), order["id"]][-_MOST_ORDERS:]
            _tell(conn, order, told, said_at, now, visited.changes)
    _save(conn, patient, stated, entry)
    return visited


def _held(conn: Connection, order: int) -> Row:
    row: Row = standing.hold(conn, order).first()._asdict()
    return row


def is_of(order: Mapping[str, Any], visit: Mapping[str, str]) -> bool:
    """Tell whether an order is of a visit: by number, and issuer where both name one."""
    if order.get("admission_id", "") != visit.get("admission_id", ""):
        return False
    one = set(filter(None, (order.get("admission_issuer") or "").split("^")[:2]))
    other = set(filter(None, (visit.get("admission_issuer") or "").split("^")[:2]))
    return not one or not other or bool(one & other)


def _told(order: Row, stated: Row, at: datetime) -> Row:
    """Give what a visit tells of an order; nothing, if it is of another one, or knows better."""
    if order["admission_id"] and not is_of(order, stated):
        return {}
    if order["visit_at"] is not None and at < order["visit_at"]:
        return {}
    return stated


def _tell(  # noqa: PLR0913 - one row, and what became of it
    conn: Connection, order: Row, told: Row, at: datetime, now: datetime, changes: Changes
) -> None:
    before = dict(order)
    order |= {**told, "visit_at": at, "updated_at": now}
    names = (*COLUMNS, "visit_at", "updated_at")
    _TELL.send(conn, {"row": order["id"], **{f"new_{name}": order[name] for name in names}})
    note(changes, "order", before, {name: order[name] for name in COLUMNS})


def catch_up(
    conn: Connection, patient: int, visits: Mapping[str, Any], now: datetime, zone: tzinfo
) -> Changes:
    """Tell the open orders that a merge brought what was said before of their visits."""
    changes: Changes = {}
    if not visits:
        return changes
    for row in reversed(_OPEN.all(conn, {"patient": patient})):
        order = _held(conn, row.id)
        told = since(visits, order, order["visit_at"] or order["applied_at"])
        if told:
            said_at = told.pop("visit_at")
            _tell(conn, order, told, said_at, now, changes)
        days = came_since(visits, order, order["applied_at"], zone)
        if days is None or days:
            steps = [step._asdict() for step in _STEPS.all(conn, {"order_row": order["id"]})]
            those = [each for each in steps if days is None or each["start_local"][:8] in days]
            _arrive(conn, order, those, now, changes)
    return changes


# ---- arrivals


def _expecting(
    conn: Connection, orders: Sequence[Row], visit: Row, entry: Row, day: str
) -> Iterable[tuple[Row, list[Row]]]:
    """Find the steps that a patient who has come has come for, by order."""
    adopted = entry.get("adopted", ())
    made_for_it = [
        order
        for order in orders
        if visit.get("admission_id") and is_of(order, visit) and order["id"] not in adopted
    ]
    for order in made_for_it or [each for each in orders if _may_be_of(each, visit)]:
        steps = [row._asdict() for row in _STEPS.all(conn, {"order_row": order["id"]})]
        yield order, [each for each in steps if made_for_it or each["start_local"][:8] == day]


def _may_be_of(order: Row, visit: Row) -> bool:
    return not (order["admission_id"] and visit.get("admission_id")) or is_of(order, visit)


def _arrive(
    conn: Connection, order: Row, steps: Sequence[Row], now: datetime, changes: Changes
) -> None:
    moved = False
    for step in steps:
        after = onward(Action.ARRIVE, StepState(step["state"]))
        if after is not None and not step["expired"]:
            _MOVE.send(conn, {"row": step["id"], "new_state": after, "new_state_at": now})
            note(changes, "step", step, {**step, "state": after})
            moved = True
    if moved:
        standing.settle(conn, order, now)


# ---- what a patient keeps


def _keep(conn: Connection, patient: int, stated: Row, at: datetime, *, arrived: bool) -> Row:
    """Give what is kept of a visit, with what is said of it now."""
    kept = _KEPT.scalar(conn, {"row": patient}).get(_key(stated), {})
    entry: Row = {"fields": {}, "at": 0, **kept}
    told_at = _micros(at)
    if told_at >= entry["at"]:
        entry |= {"fields": {**entry["fields"], **stated}, "at": told_at}
    if arrived:
        entry["arrived"] = max(told_at, entry.get("arrived", 0))
    return entry


def _save(conn: Connection, patient: int, stated: Row, entry: Row) -> None:
    kept = {**_KEPT.scalar(conn, {"row": patient}), _key(stated): entry}
    latest = sorted(kept.items(), key=lambda item: item[1]["at"])[-_MOST_VISITS:]
    _KEEP.send(conn, {"row": patient, "new_visits": dict(latest)})


def _key(visit: Mapping[str, str]) -> str:
    issuer = visit.get("admission_issuer") or ""
    return f"{visit.get('admission_id', '')}\x1f{issuer.split('^')[0]}"


def since(visits: Mapping[str, Any], order: Row, at: datetime | None) -> Row:
    """Give what was said of an order's visit since `at`, when the order was made."""
    if not visits or at is None:
        return {}
    made = _micros(at)
    entries = sorted(visits.values(), key=lambda entry: entry["at"])
    found: Row = {}
    for entry in entries:
        fields = entry["fields"]
        said_of = {**order, **found}
        if entry["at"] > made and (not said_of.get("admission_id") or is_of(said_of, fields)):
            found |= {**fields, "visit_at": _EPOCH + timedelta(microseconds=entry["at"])}
    return found


def came_since(
    visits: Mapping[str, Any], order: Row, at: datetime | None, zone: tzinfo
) -> Sequence[str] | None:
    """Tell whether the patient has come since `at`, when the order was made.

    The days, YYYYMMDD by the clock of `zone`, whose steps that means; None: any day's.
    """
    if not visits or at is None:
        return ()
    made, days = _micros(at), []
    for entry in visits.values():
        arrived, fields = entry.get("arrived", 0), entry["fields"]
        if arrived <= made:
            continue
        if fields.get("admission_id") and order.get("admission_id"):
            if is_of(order, fields):
                return None
            continue
        days.append(f"{(_EPOCH + timedelta(microseconds=arrived)).astimezone(zone):%Y%m%d}")
    return days


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


__all__ = ["COLUMNS", "Visited", "came_since", "is_of", "since", "state"]
