"""List the archive for people and programs: its studies, and what is quarantined."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, bindparam, func, select

from mwl.archive import following
from mwl.archive.versions import IS_QUARANTINED
from mwl.db import Database, Prepared
from mwl.db.tables import Instance, RequestedProcedure, Series, StoredObject, Study

_PAGE_ROWS = 500

_study = Study.__table__  # type: ignore[attr-defined]
_series = Series.__table__  # type: ignore[attr-defined]
_instance = Instance.__table__  # type: ignore[attr-defined]
_object = StoredObject.__table__  # type: ignore[attr-defined]
_procedure = RequestedProcedure.__table__  # type: ignore[attr-defined]

Entry = dict[str, Any]


def studies(
    database: Database, *, unmatched: bool = False, limit: int | None = None
) -> Iterator[Entry]:
    """List studies in the order in which they came, read page by page; `unmatched` ones only.

    `imaging_order` is the row of the order that asked for it, None where that isn't known.
    Raises Outage.
    """
    return _listed(database, _studies(unmatched), _study_entry, limit)


def quarantined(database: Database, *, limit: int | None = None) -> Iterator[Entry]:
    """List what contradicts the archive, in the order in which it came. Raises Outage."""
    return _listed(database, _QUARANTINED, _quarantined_entry, limit)


def _listed(
    database: Database, statement: Prepared, entry: Callable[[Any], Entry], limit: int | None
) -> Iterator[Entry]:
    left, after = limit, 0
    while left is None or left > 0:
        rows = _PAGE_ROWS if left is None else min(left, _PAGE_ROWS)
        with database.read() as session:
            page = statement.all(session.connection(), {"after": after, "limit": rows})
        yield from map(entry, page)
        if len(page) < rows:
            return
        left = None if left is None else left - rows
        after = page[-1].id


def _study_entry(row: Any) -> Entry:
    return {
        "study_instance_uid": row.study_instance_uid,
        "patient_id": row.patient_id,
        "patient_name": row.patient_name,
        "accession_number": row.accession_number,
        "study_date": row.study_date,
        "description": row.description,
        "instances": row.instances,
        "received_at": row.created_at.isoformat(timespec="seconds"),
        "imaging_order": row.imaging_order,
        "matched_by": row.matched_by,
        "differs": following.differs(row),
    }


def _quarantined_entry(row: Any) -> Entry:
    return {
        "sop_instance_uid": row.sop_instance_uid,
        "series_instance_uid": row.series_instance_uid,
        "study_instance_uid": row.study_instance_uid,
        "sop_class_uid": row.sop_class_uid,
        "patient_id": row.patient_id,
        "source": row.source,
        "reason": row.reason,
        "size": row.size,
        "key": row.key,
        "received_at": row.received_at.isoformat(timespec="seconds"),
    }


@lru_cache(maxsize=2)
def _studies(unmatched: bool) -> Prepared:
    instances = (
        select(func.count())
        .select_from(_series.join(_instance, _instance.c.series == _series.c.id))
        .where(_series.c.study == _study.c.id)
        .scalar_subquery()
    )
    rows = _study.outerjoin(_procedure, _procedure.c.id == _study.c.requested_procedure)
    statement: Select[Any] = select(
        _study.c.id,
        _study.c.study_instance_uid,
        _study.c.patient_id,
        _study.c.patient_name,
        _study.c.accession_number,
        _study.c.study_date,
        _study.c.description,
        instances.label("instances"),
        _study.c.created_at,
        _procedure.c.imaging_order,
        _study.c.matched_by,
        _study.c.as_received,
    ).select_from(rows)
    if unmatched:
        statement = statement.where(_study.c.requested_procedure.is_(None))
    return Prepared(_page(statement, _study.c.id))


def _page(statement: Select[Any], row: Any) -> Select[Any]:
    return statement.where(row > bindparam("after")).order_by(row).limit(bindparam("limit"))


_QUARANTINED = Prepared(
    _page(
        select(
            _object.c.id,
            _object.c.sop_instance_uid,
            _object.c.series_instance_uid,
            _object.c.study_instance_uid,
            _object.c.sop_class_uid,
            _object.c.patient_id,
            _object.c.source,
            _object.c.reason,
            _object.c.size,
            _object.c.key,
            _object.c.received_at,
        ).where(IS_QUARANTINED),
        _object.c.id,
    )
)
