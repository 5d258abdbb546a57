"""Images made under the wrong worklist entry (110514): they show somebody else than they say.

Those that such an MPPS lists, and no other MPPS, are set aside one by one and left to a
person. The same entry is then scanned for the patient whom it names, into the same study: what
else is in there is nobody's wrong. So an MPPS that lists nothing sets nothing aside, and is
flagged. A study of which nothing is left to show is taken from its order until there is.

What comes after the MPPS has ended is caught by `sweep`.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    exists,
    or_,
    select,
    update,
)
from sqlalchemy import literal_column as literal
from sqlmodel import Session

from mwl.archive import following
from mwl.db import Database, Prepared
from mwl.db.tables import Instance, PerformedInstance, PerformedStep, Series, StoredObject, Study
from mwl.devices.titles import caller
from mwl.performed import INCORRECT_WORKLIST_ENTRY, PerformedState
from mwl.procedures import rows
from mwl.studies import WRONG_ENTRY_REASON, MatchedBy, ObjectState

_STUDY = Study.__table__  # type: ignore[attr-defined]
_SERIES = Series.__table__  # type: ignore[attr-defined]
_INSTANCE = Instance.__table__  # type: ignore[attr-defined]
_OBJECT = StoredObject.__table__  # type: ignore[attr-defined]
_LISTED = PerformedInstance.__table__  # type: ignore[attr-defined]
_PERFORMED = PerformedStep.__table__  # type: ignore[attr-defined]
_study, _series, _instance = _STUDY.c, _SERIES.c, _INSTANCE.c
_object, _listed, _performed = _OBJECT.c, _LISTED.c, _PERFORMED.c

_LATEST = timedelta(days=7)  # images that come later than that are no part of that work
_MOST = 200  # MPPS, or studies, that one run deals with
FLAG = "the wrong worklist entry was selected: its images wait for a person"
UNLISTED = "the wrong worklist entry was selected, and no images listed: look for them by hand"

_SERVED: ColumnElement[Any] = literal(f"'{ObjectState.SERVED}'")
_ROW = bindparam("row", type_=_performed.id.type)


def _is_wrong(performed: Any) -> ColumnElement[bool]:
    return and_(
        performed.state == literal(f"'{PerformedState.DISCONTINUED}'"),
        or_(
            *(
                performed.discontinuation.startswith(f"{INCORRECT_WORKLIST_ENTRY}^{scheme}^")
                for scheme in ("DCM", "")
            )
        ),
    )


def _is_listed_by_another() -> ColumnElement[bool]:
    also, another = _LISTED.alias("also"), _PERFORMED.alias("another")
    return exists().where(
        also.c.sop_instance_uid == _listed.sop_instance_uid,
        also.c.performed_step != _listed.performed_step,
        another.c.id == also.c.performed_step,
        ~_is_wrong(another.c),
    )


def _served(*wanted: Any) -> Select[Any]:
    """Select what wrong entries list, alone, and is shown.

    Nobody else's images: they are in the study of the entry, or the same scanner sent them.
    """
    return (
        select(*wanted)
        .select_from(_PERFORMED)
        .join(_LISTED, _listed.performed_step == _performed.id)
        .join(_INSTANCE, _instance.sop_instance_uid == _listed.sop_instance_uid)
        .join(_SERIES, _series.id == _instance.series)
        .join(_STUDY, _study.id == _series.study)
        .join(_OBJECT, and_(_object.instance == _instance.id, _object.state == _SERVED))
        .where(
            or_(
                _study.study_instance_uid == _performed.study_instance_uid,
                caller(_object.source) == caller(_performed.ae_title),
            ),
            ~_is_listed_by_another(),
        )
    )


_ITS_OWN = Prepared(
    _served(_instance.id, _series.study).where(_performed.id == _ROW).order_by(_instance.id)
)
_SET_ASIDE = Prepared(
    update(_OBJECT)
    .where(
        _object.instance == bindparam("instance_row"),
        _object.state != literal(f"'{ObjectState.QUARANTINED}'"),
    )
    .values(
        state=literal(f"'{ObjectState.QUARANTINED}'"), reason=literal(f"'{WRONG_ENTRY_REASON}'")
    )
)
_SHOWS = (
    select(_object.id)
    .join(_INSTANCE, _object.instance == _instance.id)
    .join(_SERIES, _instance.series == _series.id)
    .where(_series.study == _study.id, _object.state == _SERVED)
    .limit(literal("1"))
    .correlate(_STUDY)
    .scalar_subquery()
)
_UNLINK = Prepared(
    update(_STUDY)
    .where(
        _study.id == bindparam("study_row"),
        _study.matched_by != literal(f"'{MatchedBy.HAND}'"),
        _SHOWS.is_(None),
    )
    .values(
        requested_procedure=None, patient=None, matched_by=literal(f"'{MatchedBy.WRONG_ENTRY}'")
    )
)
_LISTS = Prepared(
    select(_listed.sop_instance_uid).where(_listed.performed_step == _ROW).limit(literal("1"))
)


def send_to_reconciliation(conn: Connection, performed: rows.Row) -> list[str]:
    """Set aside the images of an MPPS that is held; return what a person should see."""
    given = {"row": performed["id"]}
    if _LISTS.first(conn, given) is None:
        return [UNLISTED]
    _set_aside(conn, given)
    return [FLAG]


def _set_aside(conn: Connection, given: dict[str, int]) -> None:
    found = _ITS_OWN.all(conn, given)
    for instance in dict.fromkeys(row.id for row in found):
        _SET_ASIDE.send(conn, {"instance_row": instance})
    for study in sorted({row.study for row in found}):
        if _UNLINK.run(conn, {"study_row": study}):
            # It is nobody's now, and so as its images say.
            following.follow(conn, study)


_SINCE = bindparam("since", type_=_performed.created_at.type)
_RECENT = and_(_is_wrong(_performed), _performed.created_at >= _SINCE)
_LATE = Prepared(
    _served(_performed.id).distinct().where(_RECENT).order_by(_performed.id).limit(_MOST)
)
_IS_BACK = and_(
    _study.requested_procedure.is_(None),
    _study.matched_by == literal(f"'{MatchedBy.WRONG_ENTRY}'"),
    _SHOWS.is_not(None),
)
_BACK = Prepared(
    select(_study.id)
    .distinct()
    .join(_PERFORMED, _performed.study_instance_uid == _study.study_instance_uid)
    .where(_RECENT, _IS_BACK)
    .order_by(_study.id)
    .limit(_MOST)
)
_REOPEN = Prepared(
    update(_STUDY).where(_study.id == bindparam("study_row"), _IS_BACK).values(matched_by="")
)


def sweep(database: Database, now: datetime) -> None:
    """Set aside images that came after their MPPS had ended. Raises Outage.

    A study that shows something again is left to the rules that link studies. Writes only
    where there is something to change.
    """
    for row in _read(database, _LATE, now):
        database.write(_in_turn(_late, row))
    for row in _read(database, _BACK, now):
        database.write(_in_turn(_reopen, row))


def _read(database: Database, statement: Prepared, now: datetime) -> list[int]:
    with database.read() as session:
        found = statement.all(session.connection(), {"since": now - _LATEST})
        return [row.id for row in found]


def _in_turn(work: Callable[[Connection, int], None], row: int) -> Callable[[Session], None]:
    return lambda session: work(session.connection(), row)


def _late(conn: Connection, performed: int) -> None:
    rows.hold_row(conn, performed)
    _set_aside(conn, {"row": performed})


def _reopen(conn: Connection, study: int) -> None:
    _REOPEN.send(conn, {"study_row": study})
