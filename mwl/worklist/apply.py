"""Apply what a message asks of one order.

The order of things, all in the caller's transaction: take the locks, find the order, drop
what is older than the last applied message, resolve the patient, write the order, then its
procedures and steps, and derive the order's state from them.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, bindparam, update
from sqlmodel import Session

from mwl.db import Insertion, Prepared, Reply, rewriting
from mwl.db.tables import ImagingOrder
from mwl.errors import Fault, Reason, Rejected
from mwl.orders import Action, OrderChange, OrderState, derive
from mwl.worklist import demographics, kept, numbers, standing, visits
from mwl.worklist.changed import note, note_new
from mwl.worklist.demographics import Resolved
from mwl.worklist.locks import order_key, patient_key, take
from mwl.worklist.outcome import Applied, Outcome
from mwl.worklist.procedures import PROCEDURE_NEEDED, Procedures
from mwl.worklist.stations import Devices

_TABLE = ImagingOrder.__table__  # type: ignore[attr-defined]
_INSERT = Insertion(_TABLE)
_UPDATE = rewriting(_TABLE, "created_at")
_SETTLE = Prepared(
    update(_TABLE)
    .where(_TABLE.c.id == bindparam("row"))
    .values(status=bindparam("new_status"), flags=bindparam("new_flags"))
)

# An order that a hundred messages complained about has told its story.
_MOST_FLAGS = 100
# What is created even if the order was unknown: it carries the whole order.
_CREATES = (
    *(Action.CREATE, Action.UPDATE, Action.HOLD, Action.RELEASE),
    *(Action.ARRIVE, Action.READY),
)
_ENDS = {
    Action.CANCEL: OrderState.CANCELED,
    Action.CANCELED: OrderState.CANCELED,
    Action.DISCONTINUE: OrderState.DISCONTINUED,
}

# What its sender knows of an order once it has reported it.
_REPORTED = {
    Action.COMPLETE: OrderState.COMPLETED,
    Action.DISCONTINUE: OrderState.DISCONTINUED,
}


def apply(session: Session, change: OrderChange, *, now: datetime, zone: ZoneInfo) -> Applied:
    """Apply `change`; `zone` is the site's, for the wall clock that scanners are shown.

    Raises Rejected: OTHER_PATIENT where the order is known for somebody else, DUPLICATE_KEY
    where its steps collide with another order's, MISSING where the policy wants a Study
    Instance UID and there is none.
    """
    conn = session.connection()
    take(
        conn,
        patient_key(change.patient.id),
        order_key(change.source, change.number),
        order_key(change.source, change.placer),
    )
    asked = _ask(conn, change)
    order = numbers.choose(asked.order, change)
    if order is None:
        return _first(conn, asked, change, now, zone)
    if _is_older(change.at, order["applied_at"]):
        flags = [*change.flags, "older than the order's last message: not applied"]
        return Applied(Outcome.STALE, order["id"], order["patient"], flags, undone=True)
    patient = _resolve(conn, asked, change, now)
    if patient.row != order["patient"]:
        raise Rejected(
            Fault(
                Reason.OTHER_PATIENT,
                change.patient.where,
                "this order belongs to another patient; merge the patients first",
            )
        )
    change = _with_flags(change, patient)
    held = standing.hold(conn, order["id"])
    procedures = Procedures.load(conn, order["id"], asked.devices, now, zone)
    applied = _next(conn, held.first()._asdict(), procedures, change, now)
    applied.changes.update(patient.changes)
    return applied


class _Asked(NamedTuple):
    """What a change needs to know, asked for in one go."""

    order: Reply
    patient: Reply
    devices: Devices


def _ask(conn: Connection, change: OrderChange) -> _Asked:
    order = numbers.ask(conn, change)
    patient = demographics.ask(conn, change.patient.id)
    devices = Devices(conn)
    for procedure in change.procedures:
        for step in procedure.steps:
            if not step.stations and (modality := step.fields.get("modality")):
                devices.ask(modality)
    return _Asked(order, patient, devices)


def _resolve(conn: Connection, asked: _Asked, change: OrderChange, now: datetime) -> Resolved:
    return demographics.resolve(conn, asked.patient, change.source, change.patient, change.at, now)


def _first(
    conn: Connection, asked: _Asked, change: OrderChange, now: datetime, zone: ZoneInfo
) -> Applied:
    patient = _resolve(conn, asked, change, now)
    change = _with_flags(change, patient)
    if change.action in _ENDS:
        if change.policy.knows_cancelled:
            raise Rejected(Fault(Reason.UNKNOWN_ORDER, change.where, "no such order is known here"))
        return _tombstone(conn, change, patient, now, zone)
    if change.action not in _CREATES:
        flags = [*change.flags, f"{change.control or change.action} for an unknown order"]
        undone = change.action is not Action.NOTE
        told = patient.changes
        return Applied(Outcome.NOTED, patient=patient.row, flags=flags, changes=told, undone=undone)
    if not change.procedures:
        raise Rejected(PROCEDURE_NEEDED)
    flags = list(change.flags)
    if change.action is not Action.CREATE:
        flags.append("a change came before its order: created")
    row = _insert(conn, change, patient, now, zone)
    procedures = Procedures(conn, row, asked.devices, now, zone)
    procedures.state(change)
    procedures.act(change)
    if patient.visits:
        stated = _stated(change)
        procedures.arrive(visits.came_since(patient.visits, stated, change.at, zone))
    flags += procedures.flags
    status = derive(procedures.states())
    if flags or status is not OrderState.SCHEDULED:
        # Most orders need no second statement: they are what they were inserted as.
        noted = _remember([], flags)
        _SETTLE.send(conn, {"row": row, "new_status": status, "new_flags": noted})
    note_new(patient.changes, "order", row)
    return Applied(Outcome.APPLIED, row, patient.row, flags, changes=patient.changes)


def _tombstone(
    conn: Connection, change: OrderChange, patient: Resolved, now: datetime, zone: ZoneInfo
) -> Applied:
    # Kept without procedures, so that the older NW, arriving later, does not schedule.
    flags = [*change.flags, f"{change.action} of an unknown order"]
    row = _insert(conn, change, patient, now, zone, _ENDS[change.action], flags)
    note_new(patient.changes, "order", row)
    return Applied(Outcome.NOTED, row, patient.row, flags, changes=patient.changes)


def _next(
    conn: Connection,
    order: dict[str, Any],
    procedures: Procedures,
    change: OrderChange,
    now: datetime,
) -> Applied:
    flags = list(change.flags)
    if order["expired_at"] is not None and change.action is not Action.NOTE:
        # Whoever still speaks of it wants it done.
        procedures.revive()
        order |= {"expired_at": None, "revived_at": now}
    if change.states:
        procedures.state(change)
    procedures.act(change)
    flags += procedures.flags
    values = {
        **order,
        **(_stated_since(change, order) if change.states else {}),
        **numbers.adopted(order, change),
        "profile": change.profile or order["profile"],
        # Without procedures it is a tombstone still: what was cancelled stays so.
        **(standing.columns(order, procedures.states(), now) if procedures.rows else {}),
        "applied_at": change.at or order["applied_at"],
        "flags": _remember(order["flags"], flags),
        "updated_at": now,
    }
    _UPDATE.send(conn, {**values, "row": order["id"]})
    note(procedures.changes, "order", order, values)
    outcome = Outcome.NOTED if change.action is Action.NOTE else Outcome.APPLIED
    ended = _ended(order["status"], values["status"], change.action)
    changes, undone = procedures.changes, procedures.undone
    return Applied(outcome, order["id"], order["patient"], flags, ended, changes, undone)


def _ended(before: str, after: str, action: Action) -> tuple[OrderState, OrderState] | None:
    if before == after or after not in _REPORTED.values() or _REPORTED.get(action) == after:
        return None
    return OrderState(before or OrderState.SCHEDULED), OrderState(after)


def _insert(  # noqa: PLR0913 - a row and where it comes from
    conn: Connection,
    change: OrderChange,
    patient: Resolved,
    now: datetime,
    zone: ZoneInfo,
    status: OrderState = OrderState.SCHEDULED,
    flags: Sequence[str] = (),
) -> int:
    stated = _stated(change)
    values = {
        **stated,
        "visit_at": change.at,
        **visits.since(patient.visits, stated, change.at),
        **numbers.identity(change),
        **_issued(change, zone),
        "profile": change.profile,
        "patient": patient.row,
        "stated_patient": patient.stated,
        "status": status,
        "applied_at": change.at,
        "flags": list(flags),
        "created_at": now,
        "updated_at": now,
    }
    return _INSERT.send(conn, values)


def _with_flags(change: OrderChange, patient: Resolved) -> OrderChange:
    return replace(change, flags=[*change.flags, *patient.flags]) if patient.flags else change


def _stated_since(change: OrderChange, order: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is said of the visit if something newer was (ADT^A02 and its like)."""
    stated = _stated(change)
    told_at = order["visit_at"]
    if change.at is None or not any(name in stated for name in visits.COLUMNS):
        return stated
    if told_at is not None and change.at < told_at:
        return {name: value for name, value in stated.items() if name not in visits.COLUMNS}
    return {**stated, "visit_at": change.at}


def _issued(change: OrderChange, zone: ZoneInfo) -> dict[str, Any]:
    """Tell when the order was made: a later message has the time of what it changes."""
    if change.issued is None:
        return {}
    return {"issued_local": change.issued.astimezone(zone).strftime("%Y%m%d%H%M%S")}


def _stated(change: OrderChange) -> dict[str, Any]:
    stated: dict[str, Any] = {name: value or "" for name, value in change.fields.items()}
    return kept.with_beside(stated) | numbers.stated(change)


def _is_older(at: datetime | None, applied_at: datetime | None) -> bool:
    # Equal or missing times go by arrival.
    return at is not None and applied_at is not None and at < applied_at


def _remember(old: list[str], new: list[str]) -> list[str]:
    return [*old, *(flag for flag in dict.fromkeys(new) if flag not in old)][-_MOST_FLAGS:]
