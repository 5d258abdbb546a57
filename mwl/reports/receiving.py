"""Keep a report that came, find its order, and put it in its place among its versions."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, update
from sqlmodel import Session

from mwl.db import Insertion, Prepared
from mwl.db.tables import Report, ReportDocument
from mwl.outbox import Destinations
from mwl.reports import completing, linking, versions
from mwl.reports.completing import Reported
from mwl.reports.linking import About, Found
from mwl.reports.values import SETTLED, ReportChange, Status
from mwl.studies import Person
from mwl.worklist.changed import note_new
from mwl.worklist.demographics import issuer_text
from mwl.worklist.locks import take
from mwl.worklist.outcome import Applied, Outcome

_REPORT = Report.__table__  # type: ignore[attr-defined]
_INSERT = Insertion(_REPORT)
_INSERT_PART = Insertion(ReportDocument.__table__)  # type: ignore[attr-defined]

_SUPERSEDE = Prepared(
    update(_REPORT)
    .where(_REPORT.c.id == bindparam("row"))
    .values(superseded_by=bindparam("by_row"))
)


def receive(
    session: Session, change: ReportChange, told: Destinations, *, now: datetime
) -> Applied:
    """Keep a report, and complete its order if that is asked of it; `told` hear of that.

    A report that is older than the version that is here is kept as an older version (STALE).
    """
    conn = session.connection()
    take(conn, f"report\0{change.source}\0{change.number}")
    found = linking.find(conn, _about(change))
    current = versions.current(conn, change, found)
    if found.order is None and not found.flag and current is not None:
        # What its earlier version was known by need not be said again.
        found = Found(current.imaging_order, current.patient or found.patient, current.linked_by)
    is_older = current is not None and _is_older(change.at, current.sent_at)
    flags = [*change.flags, *_odd(change, current, found, is_older=is_older)]
    after = current.id if current is not None and is_older else None
    row = _insert(conn, change, found, flags, after, now)
    if current is not None and not is_older:
        _SUPERSEDE.send(conn, {"row": current.id, "by_row": row})
    applied = Applied(
        Outcome.STALE if is_older else Outcome.APPLIED, found.order, found.patient, flags
    )
    note_new(applied.changes, "report", row)
    if change.completes and change.status in SETTLED and found.order is not None and not is_older:
        said = Reported(change.code, change.fields.get("accession_number", ""), change.study_uids)
        done = completing.complete(session, found.order, said, change.source, told, now=now)
        applied.changes.update(done.changes)
        applied.flags.extend(done.flags)
    return applied


def _about(change: ReportChange) -> About:
    stated = change.fields.get
    return About(
        change.source,
        change.filler.id if change.filler else "",
        change.placer.id if change.placer else "",
        stated("accession_number", ""),
        change.study_uids,
        Person(
            change.patient.id,
            change.patient.issuer_key,
            stated("patient_name", ""),
            stated("birth_date", ""),
        ),
    )


def _odd(change: ReportChange, current: Any, found: Found, *, is_older: bool) -> list[str]:
    flags = [found.flag] if found.flag else []
    if found.order is None and not found.flag:
        flags.append("a report of an order that is not known here")
    if is_older:
        flags.append("older than the version of this report that is here")
    elif current is not None and current.status in SETTLED and change.status is Status.PRELIMINARY:
        flags.append("a preliminary report after a final one")
    return flags


def _insert(  # noqa: PLR0913 - a row and where it belongs
    conn: Connection,
    change: ReportChange,
    found: Found,
    flags: list[str],
    after: int | None,
    now: datetime,
) -> int:
    row = _INSERT.send(
        conn,
        {
            **change.fields,
            "source": change.source,
            "number": change.number,
            "code": change.code,
            "status": change.status.value,
            "issued_at": change.issued_at,
            "patient_id": change.patient.id,
            "issuer_key": change.patient.issuer_key,
            "issuer": issuer_text(change.patient),
            "placer_number": change.placer.id if change.placer else "",
            "filler_number": change.filler.id if change.filler else "",
            "study_instance_uid": "\\".join(change.study_uids),
            "imaging_order": found.order,
            "patient": found.patient,
            "linked_by": found.by,
            "completes": change.completes,
            "superseded_by": after,
            "flags": flags,
            "control_id": change.control_id,
            "content_hash": change.content_hash,
            "sent_at": change.at,
            "received_at": now,
        },
    )
    for position, part in enumerate(change.parts, 1):
        _INSERT_PART.send(
            conn,
            {
                "report": row,
                "position": position,
                "kind": part.kind.value,
                "label": part.label,
                "media_type": part.media_type,
                "abnormal": part.abnormal,
                "size": len(part.content),
                "content": part.content,
            },
        )
    return row


def _is_older(at: datetime | None, known: datetime | None) -> bool:
    # Equal or missing times go by arrival.
    return at is not None and known is not None and at < known
