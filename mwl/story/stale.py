"""Scanners that hold an old copy of what is to be done: they will work under what it says."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, select

from mwl.audit import Action
from mwl.db.tables import AuditEvent
from mwl.orders import FINAL
from mwl.sightings import Seen
from mwl.story.subjects import Subject

_EVENT = AuditEvent.__table__  # type: ignore[attr-defined]

# What of a row makes that old which a scanner was told.
_COLUMNS = {
    "PatientName": ("patient", {"patient_name", "merged_into"}),
    "PatientID": ("patient", {"patient_id", "merged_into"}),
    "PatientBirthDate": ("patient", {"birth_date", "merged_into"}),
    "AccessionNumber": ("procedure", {"accession_number"}),
    "Modality": ("step", {"modality"}),
    "RequestedProcedureDescription": (
        "procedure",
        {"description", "code_meaning", "code_value"},
    ),
    "ScheduledProcedureStepStartDateTime": ("step", {"start_local"}),
}
# What a person who changes an entry calls it (`mwl.worklist.manual.Entry`).
_FIELDS = {
    "PatientName": "patient_name",
    "PatientBirthDate": "birth_date",
    "AccessionNumber": "accession_number",
    "Modality": "modality",
    "RequestedProcedureDescription": "description",
    "ScheduledProcedureStepStartDateTime": "start",
}
_MOST = 200


def warnings(
    conn: Connection,
    subject: Subject,
    sights: Iterable[Seen],
    messages: Sequence[Any],
    zone: ZoneInfo,
) -> list[str]:
    """Warn of the old copies of steps that are not over; `messages` as `messages.read` gives."""
    left = {step["id"] for step in subject.steps if step["state"] not in FINAL}
    old = [seen for seen in sights if seen.is_stale and seen.step in left]
    by_hand = _by_hand(conn, subject) if old else []
    return [seen.warning(zone, _changed_at(seen, subject, messages, by_hand)) for seen in old]


def _by_hand(conn: Connection, subject: Subject) -> Sequence[Any]:
    """List what people changed of the order, the first first."""
    of_order = _EVENT.c.subject == f"order:{subject.order['id']}"
    latest = (
        select(_EVENT.c.at, _EVENT.c.detail)
        .where(of_order, _EVENT.c.action == str(Action.CHANGE))
        .order_by(_EVENT.c.id.desc())
        .limit(_MOST)
    )
    return conn.execute(latest).all()[::-1]


def _changed_at(
    seen: Seen, subject: Subject, messages: Sequence[Any], by_hand: Sequence[Any]
) -> datetime | None:
    """Tell when the first message or person since made it old; None: none that is kept did."""
    times = (_by_message_at(seen, subject, messages), _by_hand_at(seen, by_hand))
    return min(filter(None, times), default=None)


def _by_hand_at(seen: Seen, by_hand: Sequence[Any]) -> datetime | None:
    wanted = {_FIELDS[keyword] for keyword in seen.outdated if keyword in _FIELDS}
    for event in by_hand:
        if event.at > seen.last_at and wanted & event.detail.keys():
            at: datetime = event.at
            return at
    return None


def _by_message_at(seen: Seen, subject: Subject, messages: Sequence[Any]) -> datetime | None:
    procedure = next(step["procedure"] for step in subject.steps if step["id"] == seen.step)
    rows = {"patient": subject.patients, "procedure": [procedure], "step": [seen.step]}
    wanted = [
        (f"{table}:{row}", columns)
        for table, columns in (_COLUMNS[keyword] for keyword in seen.outdated)
        for row in rows[table]
    ]
    for message in messages:
        if message.received_at > seen.last_at and any(
            columns & set(_columns(message.changes.get(row))) for row, columns in wanted
        ):
            at: datetime = message.received_at
            return at
    return None


def _columns(changed: Any) -> Iterable[str]:
    return changed if isinstance(changed, dict) else ()
