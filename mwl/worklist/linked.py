"""Patients who are said to be one person, and are kept apart (ADT^A24, A37).

A link is shown and changes nothing else: orders, studies and reports stay whose they are. It is
between the numbers that the message names, whatever has been merged since. What was said last,
by its MSH-7, holds.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, or_, select, update
from sqlmodel import Session

from mwl.db import Insertion, Prepared
from mwl.db.tables import Patient, PatientLink
from mwl.errors import Fault, Reason, Rejected
from mwl.patients import PatientChange
from mwl.patients import PatientLink as Link
from mwl.worklist import demographics
from mwl.worklist.changed import Changes, join
from mwl.worklist.demographics import Resolved
from mwl.worklist.locks import patient_key, take
from mwl.worklist.outcome import Applied, Outcome

_PATIENT = Patient.__table__  # type: ignore[attr-defined]
_LINK = PatientLink.__table__  # type: ignore[attr-defined]

_MOST = 200  # of one patient
_INSERT = Insertion(_LINK)
_BETWEEN = Prepared(
    select(_LINK).where(_LINK.c.one == bindparam("first"), _LINK.c.other == bindparam("second"))
)


def link_patients(session: Session, link: Link, *, now: datetime) -> Applied:
    """Note that two patients may be one person, or are not after all.

    Raises Rejected where they are one already, by a merge or by name.
    """
    conn = session.connection()
    take(conn, patient_key(link.patient.id), patient_key(link.other.id))
    changes: Changes = {}
    one, other = (_resolve(conn, link, each, now, changes) for each in (link.patient, link.other))
    if one.row == other.row:
        text = "these are one patient here: a merge made them so"
        raise Rejected(Fault(Reason.DUPLICATE_KEY, "PID-3", text, 2))
    flags = [*link.flags, *one.flags, *other.flags]
    rows = sorted((one.stated, other.stated))
    outcome = _state(conn, rows, link, now)
    if outcome is Outcome.STALE:
        flags.append("something newer was said of this link: not applied")
    else:
        changes[f"patient:{rows[0]}"] = _told(changes, rows[0], "linked with", rows[1], link)
    return Applied(outcome, patient=one.row, flags=flags, changes=changes)


def _resolve(
    conn: Connection, link: Link, change: PatientChange, now: datetime, changes: Changes
) -> Resolved:
    asked = demographics.ask(conn, change.id)
    found = demographics.resolve(conn, asked, link.source, change, link.at, now)
    join(changes, found.changes)
    return found


def _state(conn: Connection, rows: list[int], link: Link, now: datetime) -> Outcome:
    said_at = link.at or now
    found = _BETWEEN.first(conn, {"first": rows[0], "second": rows[1]})
    values = {"linked": link.linked, "source": link.source, "stated_at": said_at}
    if found is None:
        _INSERT.send(conn, {"one": rows[0], "other": rows[1], **values})
        return Outcome.APPLIED
    if said_at < found.stated_at:
        return Outcome.STALE
    conn.execute(update(_LINK).where(_LINK.c.id == found.id).values(values))
    return Outcome.NOTED if found.linked == link.linked else Outcome.APPLIED


def _told(changes: Changes, row: int, what: str, other: int, link: Link) -> Any:
    known = changes.get(f"patient:{row}", {})
    if not isinstance(known, dict):
        return known  # it is new, and that says all
    pair = [None, other] if link.linked else [other, None]
    return {**known, what: pair}


def linked_with(session: Session, patients: Sequence[int]) -> Sequence[Any]:
    """List those whom some patients, by row, are linked with, and since when."""
    statement = (
        select(_PATIENT, _LINK.c.source, _LINK.c.stated_at)
        .join(
            _LINK,
            or_(
                _LINK.c.one.in_(patients) & (_LINK.c.other == _PATIENT.c.id),
                _LINK.c.other.in_(patients) & (_LINK.c.one == _PATIENT.c.id),
            ),
        )
        .where(_LINK.c.linked)
        .order_by(_LINK.c.id)
        .limit(_MOST)
    )
    return session.connection().execute(statement).all()
