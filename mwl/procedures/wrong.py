"""Images made under the wrong worklist entry (110514): they show somebody else than they say.

They are taken from the order that they were filed under, and left to a person. What comes
after the MPPS has ended is caught by `sweep`.
"""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, bindparam, exists, or_, select, update

from mwl.db import Database
from mwl.db.tables import Instance, PerformedInstance, PerformedStep, Series, Study
from mwl.performed import INCORRECT_WORKLIST_ENTRY, PerformedState
from mwl.procedures import rows
from mwl.studies import MatchedBy

_STUDY = Study.__table__  # type: ignore[attr-defined]
_SERIES = Series.__table__  # type: ignore[attr-defined]
_INSTANCE = Instance.__table__  # type: ignore[attr-defined]
_LISTED = PerformedInstance.__table__  # type: ignore[attr-defined]
_PERFORMED = PerformedStep.__table__  # type: ignore[attr-defined]

_LATEST = timedelta(days=7)  # images that come later than that are no part of that work
_MOST = 200
FLAG = "the wrong worklist entry was selected: its images wait for a person"


def send_to_reconciliation(conn: Connection, performed: rows.Row) -> list[str]:
    """Unlink the studies that hold images of an MPPS; return what a person should see."""
    ours = exists(
        select(_LISTED.c.sop_instance_uid)
        .join(_INSTANCE, _INSTANCE.c.sop_instance_uid == _LISTED.c.sop_instance_uid)
        .join(_SERIES, _SERIES.c.id == _INSTANCE.c.series)
        .where(_LISTED.c.performed_step == bindparam("row"), _SERIES.c.study == _STUDY.c.id)
    )
    values = {
        "row": performed["id"],
        "uid": performed["study_instance_uid"],
        "begun_at": performed["created_at"],
    }
    conn.execute(
        update(_STUDY)
        .where(
            or_(ours, _unlisted()),
            _STUDY.c.matched_by.not_in((MatchedBy.HAND, MatchedBy.WRONG_ENTRY)),
        )
        .values(requested_procedure=None, matched_by=MatchedBy.WRONG_ENTRY),
        values,
    )
    return [FLAG]


def _unlisted() -> ColumnElement[bool]:
    """Match the study that began with an MPPS which lists nothing."""
    lists = exists().where(_LISTED.c.performed_step == bindparam("row"))
    return and_(
        ~lists,
        _STUDY.c.study_instance_uid == bindparam("uid"),
        _STUDY.c.created_at >= bindparam("begun_at", type_=_STUDY.c.created_at.type),
    )


def sweep(database: Database, now: datetime) -> None:
    """Do the same for images that came after their MPPS had ended. Raises Outage."""
    recent = (
        select(_PERFORMED.c.id, _PERFORMED.c.study_instance_uid, _PERFORMED.c.created_at)
        .where(
            _PERFORMED.c.state == PerformedState.DISCONTINUED,
            _PERFORMED.c.created_at >= now - _LATEST,
            _PERFORMED.c.discontinuation.startswith(f"{INCORRECT_WORKLIST_ENTRY}^"),
        )
        .order_by(_PERFORMED.c.id.desc())
        .limit(_MOST)
    )
    with database.read() as session:
        found = [dict(row) for row in session.connection().execute(recent).mappings()]
    for performed in found:
        database.write(
            lambda session, each=performed: send_to_reconciliation(session.connection(), each)  # type: ignore[misc]
        )
