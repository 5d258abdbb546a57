"""Which reports are versions of one report: of one number and code, and of one patient.

Two patients' reports are never versions of one another, whatever numbers they share: the newer
would hide the other one from its order. Who is meant is what their orders say; where one of
them has no order, what they say themselves.
"""

from typing import Any

from sqlalchemy import Connection, bindparam, select

from mwl.db import Prepared
from mwl.db.tables import Report
from mwl.patients import is_someone_else, name_key
from mwl.reports.linking import Found
from mwl.reports.values import ReportChange
from mwl.studies import is_other_issuer

_REPORT = Report.__table__  # type: ignore[attr-defined]

_MOST_CANDIDATES = 20  # reports of one number and code that are of different patients
_MOST_VERSIONS = 100

_OF_ONE_NUMBER = select(_REPORT).where(
    _REPORT.c.source == bindparam("source"),
    _REPORT.c.number == bindparam("number"),
    _REPORT.c.code == bindparam("code"),
)
_NEWEST_FIRST = _OF_ONE_NUMBER.order_by(_REPORT.c.id.desc())
_CURRENT = Prepared(_NEWEST_FIRST.where(_REPORT.c.superseded_by.is_(None)).limit(_MOST_CANDIDATES))
_ALL = Prepared(_NEWEST_FIRST.limit(_MOST_VERSIONS))


def current(conn: Connection, change: ReportChange, found: Found) -> Any:
    """Give the latest version of a report that came, whose order is `found`; None if it is new."""
    if not change.number:
        return None
    named = {"source": change.source, "number": change.number, "code": change.code}
    return next((row for row in _CURRENT.all(conn, named) if _is_one(row, change, found)), None)


def versions(conn: Connection, row: Any) -> list[Any]:
    """List the versions of the report in `row`, itself among them, the newest first."""
    if not row.number:
        return [row]
    named = {"source": row.source, "number": row.number, "code": row.code}
    rows = {each.id: each for each in _ALL.all(conn, named)}

    def latest(version: Any) -> int:
        while version.superseded_by in rows:
            version = rows[version.superseded_by]
        latest_id: int = version.id
        return latest_id

    return [each for each in rows.values() if latest(each) == latest(row)]


def _is_one(row: Any, change: ReportChange, found: Found) -> bool:
    if row.imaging_order is not None and found.order is not None:
        return bool(row.imaging_order == found.order)
    if row.imaging_order is not None and found.flag:
        return False  # it is of somebody else than the order's patient, or may be
    return _is_one_patient(row, change)


def _is_one_patient(row: Any, change: ReportChange) -> bool:
    name = change.fields.get("patient_name", "")
    birth_date = change.fields.get("birth_date", "")
    if is_someone_else(row.patient_name, row.birth_date, name, birth_date):
        return False
    if row.patient_id != change.patient.id:
        return False
    if row.patient_id:
        return not is_other_issuer(row.issuer_key, change.patient.issuer_key)
    return name_key(row.patient_name) == name_key(name) and row.birth_date == birth_date
