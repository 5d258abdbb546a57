"""Reports whose order came after them: linked then, and done with it what would have been."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary

import structlog
from sqlalchemy import bindparam, select, update
from sqlmodel import Session

from mwl.db import Database, Prepared
from mwl.db.tables import Report
from mwl.outbox import Destinations
from mwl.reports import completing, linking
from mwl.reports.completing import Reported
from mwl.reports.linking import About
from mwl.reports.values import SETTLED, Status
from mwl.studies import Person

log = structlog.get_logger(__name__)

_REPORT = Report.__table__  # type: ignore[attr-defined]

# Of one run: however many reports never get an order, its work has a bound.
_NEWEST, _NEXT = 100, 50
_LATEST = timedelta(days=30)
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_UNLINKED = select(_REPORT).where(
    _REPORT.c.imaging_order.is_(None),
    _REPORT.c.received_at >= bindparam("since", type_=_REPORT.c.received_at.type),
)
_at, _id = _REPORT.c.received_at, _REPORT.c.id
_NEWEST_ONES = Prepared(_UNLINKED.order_by(_at.desc(), _id.desc()).limit(_NEWEST))
_NEXT_ONES = Prepared(_UNLINKED.order_by(_at, _id).limit(_NEXT))
_LINK = Prepared(
    update(_REPORT)
    .where(_REPORT.c.id == bindparam("row"), _REPORT.c.imaging_order.is_(None))
    .values(
        imaging_order=bindparam("order_row"),
        patient=bindparam("patient_row"),
        linked_by=bindparam("by"),
    )
)
# Since when the older ones are looked at next, in turn.
_swept_to: WeakKeyDictionary[Database, datetime] = WeakKeyDictionary()


def link_late(database: Database, told: Destinations, now: datetime) -> int:
    """Link reports whose order came after them; tell how many. Raises Outage.

    What completes its order does so now, and `told` hear of it.
    """
    since = now - _LATEST
    with database.read() as session:
        conn = session.connection()
        older = _NEXT_ONES.all(conn, {"since": max(since, _swept_to.get(database, since))})
        _swept_to[database] = _after(older)
        waiting = {row.id: row for row in (*_NEWEST_ONES.all(conn, {"since": since}), *older)}
        found = [row for row in waiting.values() if linking.find(conn, _about(row)).order]
    linked = 0
    for row in sorted(found, key=lambda each: each.id):
        linked += database.write(lambda session, row=row: _link(session, row, told, now))  # type: ignore[misc]
    return linked


def _after(older: Sequence[Any]) -> datetime:
    """Tell where the next run goes on; of one instant there may be more than a run looks at."""
    if len(older) < _NEXT:
        return _BEGINNING
    last: datetime = older[-1].received_at
    return last if last > older[0].received_at else last + timedelta(microseconds=1)


def _link(session: Session, row: Any, told: Destinations, now: datetime) -> bool:
    conn = session.connection()
    found = linking.find(conn, _about(row))
    if found.order is None:
        return False
    named = {"row": row.id, "order_row": found.order, "patient_row": found.patient}
    if not _LINK.run(conn, {**named, "by": found.by}):
        return False  # somebody was faster
    if row.completes and row.superseded_by is None and Status(row.status) in SETTLED:
        said = Reported(row.code, row.accession_number, _uids(row))
        completing.complete(session, found.order, said, row.source, told, now=now)
    log.info("report.linked_later", report=row.id, order=found.order)
    return True


def _about(row: Any) -> About:
    person = Person(row.patient_id, row.issuer_key, row.patient_name, row.birth_date)
    return About(
        row.source, row.filler_number, row.placer_number, row.accession_number, _uids(row), person
    )


def _uids(row: Any) -> Sequence[str]:
    return row.study_instance_uid.split("\\") if row.study_instance_uid else ()
