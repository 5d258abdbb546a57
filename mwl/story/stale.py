"""Scanners that hold an old copy of what is to be done: they will work under what it says."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from mwl.orders import FINAL
from mwl.sightings import Seen
from mwl.story.subjects import Subject

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


def warnings(
    subject: Subject, sights: Iterable[Seen], messages: Sequence[Any], zone: ZoneInfo
) -> list[str]:
    """Warn of the old copies of steps that are not over; `messages` as `messages.read` gives."""
    left = {step["id"] for step in subject.steps if step["state"] not in FINAL}
    return [
        seen.warning(zone, _changed_at(seen, subject, messages))
        for seen in sights
        if seen.is_stale and seen.step in left
    ]


def _changed_at(seen: Seen, subject: Subject, messages: Sequence[Any]) -> datetime | None:
    """Tell when the first message since made it old; None: no message that is kept did."""
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
