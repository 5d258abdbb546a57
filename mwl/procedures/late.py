"""Orders that come after the work: their MPPS are linked then, and the link tells of it."""

from datetime import datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary

import structlog
from sqlalchemy import bindparam, select
from sqlmodel import Session

from mwl.db import Database, Prepared
from mwl.db.tables import PerformedStep
from mwl.performed import Request, Stated
from mwl.procedures import matching, rows, wrong
from mwl.procedures.effects import Effects
from mwl.procedures.matching import Found, Match, Subject
from mwl.procedures.moving import carry

log = structlog.get_logger(__name__)

_PERFORMED = PerformedStep.__table__  # type: ignore[attr-defined]

# Of one run: however many MPPS never get an order, its work has a bound. What an order is
# later for than `_LATEST` is linked by hand.
_NEWEST, _NEXT = 200, 100
_LATEST = timedelta(days=30)
_SINCE = bindparam("since", type_=_PERFORMED.c.created_at.type)
_UNSCHEDULED = select(_PERFORMED).where(_PERFORMED.c.unscheduled, _PERFORMED.c.created_at >= _SINCE)
_NEWEST_ONES = Prepared(_UNSCHEDULED.order_by(_PERFORMED.c.id.desc()).limit(_NEWEST))
_NEXT_ONES = Prepared(
    _UNSCHEDULED.where(_PERFORMED.c.id > bindparam("after")).order_by(_PERFORMED.c.id).limit(_NEXT)
)
# How far the older ones have been looked at, in turn.
_swept_to: WeakKeyDictionary[Database, int] = WeakKeyDictionary()


def link_unscheduled(database: Database, now: datetime, *, effects: Effects) -> int:
    """Link MPPS whose order came after them, and tell of it; return how many. Raises Outage.

    Also sends late images of wrong worklist entries to reconciliation.
    """
    since, after = now - _LATEST, _swept_to.get(database, 0)
    with database.read() as session:
        conn = session.connection()
        older = _NEXT_ONES.all(conn, {"since": since, "after": after})
        _swept_to[database] = older[-1].id if len(older) == _NEXT else 0
        waiting = {row.id: row for row in (*_NEWEST_ONES.all(conn, {"since": since}), *older)}
        found = [row.id for row in waiting.values() if _find(session, row._asdict())[1]]
    linked = 0
    for row in sorted(found):
        linked += database.write(lambda session, row=row: _link(session, row, effects, now))  # type: ignore[misc]
    wrong.sweep(database, now)
    return linked


def _find(session: Session, performed: rows.Row) -> tuple[Found, list[Match]]:
    """Look for steps that an MPPS is not linked with yet."""
    conn = session.connection()
    requests = [Request(*each) for each in performed["requests"]]
    names = ("patient_id", "patient_id_issuer", "modality", "patient_name")
    subject = Subject(*(performed[name] for name in names))
    found = matching.find(conn, requests, subject)
    known = {
        match.step
        for match in matching.linked(matching.ask_linked(conn, performed["sop_instance_uid"]))
    }
    return found, [match for match in found.matches if match.step not in known]


def _link(session: Session, row: int, effects: Effects, now: datetime) -> bool:
    conn = session.connection()
    performed: dict[str, Any] = rows.hold_row(conn, row).first()._asdict()
    found, new = _find(session, performed)
    if not (performed["unscheduled"] and new):
        return False  # somebody was faster
    attach(session, performed, new, effects, now)
    rows.change(conn, {**performed, "unscheduled": found.unscheduled})
    uid = performed["sop_instance_uid"]
    log.info("mpps.linked_later", sop_instance_uid=uid, steps=len(new))
    return True


def attach(
    session: Session, performed: rows.Row, new: list[Match], effects: Effects, now: datetime
) -> None:
    """Link an MPPS that is held with further steps, which become what it says.

    What is odd becomes flags of `performed`, which the caller writes.
    """
    conn = session.connection()
    for match in new:
        rows.link(conn, performed["id"], match.step, match.by)
    stated = Stated(performed["state"], performed["discontinuation"])
    flags = [*matching.flags_of(new), *carry(session, performed["id"], stated, new, effects, now)]
    performed["flags"] = rows.remember(performed["flags"], flags)
    performed["updated_at"] = now
