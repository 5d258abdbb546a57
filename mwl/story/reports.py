"""What scanners were shown, and what they say that they did."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, func, select
from sqlmodel import Session

from mwl.db.tables import (
    PerformedInstance,
    PerformedLink,
    PerformedMessage,
    PerformedStep,
    RequestedProcedure,
    ScheduledStep,
)
from mwl.sightings import Seen, label
from mwl.story.entries import Entry, Kind, known, local, moment, several
from mwl.story.subjects import Subject

_PERFORMED = PerformedStep.__table__  # type: ignore[attr-defined]
_MESSAGE = PerformedMessage.__table__  # type: ignore[attr-defined]
_LINK = PerformedLink.__table__  # type: ignore[attr-defined]
_LISTED = PerformedInstance.__table__  # type: ignore[attr-defined]
_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]

_MOST = 200  # MPPS of an order, and messages of these


def shown(sights: Iterable[Seen], zone: ZoneInfo) -> list[Entry]:
    """List which scanners were shown the order's steps: for the first time, and the last."""
    entries = []
    for seen in sights:
        entries.append(_last(seen, zone))
        if seen.count > 1:
            text = f"{seen.ae_title} was shown step {seen.sps_id} for the first time"
            entries.append(Entry(seen.first_at, Kind.SHOWN, text))
    return entries


def _last(seen: Seen, zone: ZoneInfo) -> Entry:
    often = f"was shown step {seen.sps_id}"
    if seen.count > 1:
        often = f"was last shown step {seen.sps_id} ({several(seen.count, 'time')} in all)"
    told = [(label(keyword), local(value)) for keyword, value in seen.shown.items()]
    notes = [
        f"it was told another {label(keyword)} than is on file: "
        f"{local(then) or 'none'}, now {local(now) or 'none'}"
        for keyword, (then, now) in seen.outdated.items()
    ]
    first = moment(seen.first_at, zone) if seen.count > 1 else ""
    return Entry(
        seen.last_at,
        Kind.SHOWN,
        f"{seen.ae_title} {often}",
        "outdated" if seen.is_stale else "",
        notes,
        known(*told, ("asked from", seen.address), ("first shown", first)),
    )


def performed(conn: Connection, subject: Subject) -> list[Entry]:
    """List what scanners told of their work, message by message."""
    mine = linked(conn, subject.order["id"])
    if not mine:
        return []
    found = conn.execute(select(_PERFORMED).where(_PERFORMED.c.id.in_(mine)))
    rows = {row.id: row for row in found}
    listed = _listed(conn, mine)
    entries = []
    for told in _messages(conn, mine):
        row = rows[told.performed_step]
        if told.operation == "N-CREATE":
            entries.append(_begun(row, told, mine[row.id]))
        else:
            entries.append(_changed(row, told, listed.get(row.id, (0, 0))))
    return entries + [_by_hand(row) for row in rows.values() if row.ended_by and row.final_at]


def linked(conn: Connection, order: int) -> dict[int, list[tuple[str, str]]]:
    """Give the MPPS of an order by their rows: the steps that each carries out, and how so."""
    statement = (
        select(_LINK.c.performed_step, _STEP.c.sps_id, _LINK.c.by)
        .join(_STEP, _LINK.c.scheduled_step == _STEP.c.id)
        .join(_PROCEDURE, _STEP.c.procedure == _PROCEDURE.c.id)
        .where(_PROCEDURE.c.imaging_order == order)
        .order_by(_LINK.c.performed_step)
        .limit(_MOST)
    )
    found: dict[int, list[tuple[str, str]]] = {}
    for row in conn.execute(statement):
        found.setdefault(row.performed_step, []).append((row.sps_id, row.by))
    return found


def _listed(conn: Connection, rows: Iterable[int]) -> dict[int, tuple[int, int]]:
    statement = (
        select(
            _LISTED.c.performed_step,
            func.count(),
            func.count(_LISTED.c.series_instance_uid.distinct()),
        )
        .where(_LISTED.c.performed_step.in_(rows))
        .group_by(_LISTED.c.performed_step)
    )
    return {row: (images, series) for row, images, series in conn.execute(statement)}


def _messages(conn: Connection, rows: Iterable[int]) -> list[Any]:
    columns = ("id", "performed_step", "operation", "ae_title", "received_at")
    statement = (
        select(*(_MESSAGE.c[name] for name in columns))
        .where(_MESSAGE.c.performed_step.in_(rows))
        .order_by(_MESSAGE.c.id)
        .limit(_MOST)
    )
    return list(conn.execute(statement))


def _begun(row: Any, told: Any, linked: list[tuple[str, str]]) -> Entry:
    steps = ", ".join(sps_id for sps_id, _ in linked)
    how = ", ".join(dict.fromkeys(by for _, by in linked))
    return Entry(
        told.received_at,
        Kind.PERFORMED,
        f"{told.ae_title} began {'steps' if len(linked) > 1 else 'step'} {steps}",
        "IN PROGRESS",
        list(row.flags),
        known(
            ("linked by", how),
            ("patient, as the scanner says", " ".join((row.patient_id, row.patient_name)).strip()),
            ("accession number", row.accession_number),
            ("station", row.station_ae_title),
            ("began, by the scanner's clock", local(row.start_local)),
            ("performed step ID", row.performed_step_id),
            ("SOP Instance UID", row.sop_instance_uid),
        ),
        about=f"mpps:{told.id}",
    )


def _changed(row: Any, told: Any, listed: tuple[int, int]) -> Entry:
    if row.final_at != told.received_at:
        text = f"{told.ae_title} told more of its work"
        return Entry(told.received_at, Kind.PERFORMED, text, about=f"mpps:{told.id}")
    images, series = listed
    lists = f"lists {several(images, 'image')} in {several(series, 'series', 'series')}"
    return Entry(
        told.received_at,
        Kind.PERFORMED,
        f"{told.ae_title} ended its work; it {lists if images else 'lists no images'}",
        row.state,
        facts=known(
            ("ended, by the scanner's clock", local(row.end_local)),
            ("reason", " ".join(row.discontinuation.split("^")[::-2])),
            ("SOP Instance UID", row.sop_instance_uid),
        ),
        about=f"mpps:{told.id}",
    )


def _by_hand(row: Any) -> Entry:
    text = f"{row.ended_by} ended the work of {row.ae_title}, which had not said so"
    facts = [("SOP Instance UID", row.sop_instance_uid)]
    return Entry(row.final_at, Kind.PERSON, text, row.state, facts=facts)


@dataclass(frozen=True, slots=True)
class Report:
    """A data set of an MPPS as it was received."""

    operation: str
    ae_title: str
    received_at: datetime
    transfer_syntax: str
    data_set: bytes
    sop_instance_uid: str


def report(session: Session, order: int, message: int) -> Report | None:
    """Read a data set of an MPPS of an order; None: there is none."""
    mine = (
        select(_LINK.c.performed_step)
        .join(_STEP, _LINK.c.scheduled_step == _STEP.c.id)
        .join(_PROCEDURE, _STEP.c.procedure == _PROCEDURE.c.id)
        .where(_PROCEDURE.c.imaging_order == order)
    )
    statement = (
        select(
            _MESSAGE.c.operation,
            _MESSAGE.c.ae_title,
            _MESSAGE.c.received_at,
            _MESSAGE.c.transfer_syntax,
            _MESSAGE.c.data_set,
            _PERFORMED.c.sop_instance_uid,
        )
        .join(_PERFORMED, _MESSAGE.c.performed_step == _PERFORMED.c.id)
        .where(_MESSAGE.c.id == message, _MESSAGE.c.performed_step.in_(mine))
    )
    found = session.connection().execute(statement).first()
    return None if found is None else Report(*found)
