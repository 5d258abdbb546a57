"""Reports as people see them: listed, one with its versions, a part's bytes.

Lists hold no content: a part of ten megabytes is read by whoever asks for that part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, func, select, text
from sqlmodel import Session

from mwl.db import newest
from mwl.db.newest import Key
from mwl.db.tables import (
    ImagingOrder,
    Message,
    Patient,
    Report,
    ReportDocument,
    RequestedProcedure,
)
from mwl.errors import Fault, Reason, Rejected
from mwl.reports.values import Kind, Status
from mwl.reports.versions import versions

_REPORT = Report.__table__  # type: ignore[attr-defined]
_PART = ReportDocument.__table__  # type: ignore[attr-defined]
_PATIENT = Patient.__table__  # type: ignore[attr-defined]
_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_MESSAGE = Message.__table__  # type: ignore[attr-defined]
_r, _p = _REPORT.c, _PART.c

_MOST_OF_ORDER = 200
_MOST_ROWS = 500  # patients of one identifier, orders of one number
_MOST_SHOWN: Final = 256 * 1024  # bytes of a text that a page shows
_SHOWN_AS_TEXT = (Kind.TEXT, Kind.LINK, Kind.MARKUP)
# As the partial index says it.
_IS_UNLINKED = text("report.imaging_order IS NULL")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which reports: those that meet all that is given, the latest versions alone.

    `text` is a patient ID, an accession number or the number of a known order. They came
    from `since` on, before `until`. `unlinked`: no order is known for them.
    """

    text: str = ""
    status: str = ""
    unlinked: bool = False
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A report with its versions, the newest first, and its message if that is still kept."""

    row: Any
    versions: Sequence[Any]
    parts: Sequence[Any]
    order: Any
    message: int | None


_ALL = Wanted()


def search(
    session: Session,
    wanted: Wanted = _ALL,
    *,
    after: Key | None = None,
    before: Key | None = None,
    limit: int = 1000,
) -> Sequence[Any]:
    """List reports, the newest first: those behind a key of the list, or right before one.

    Raises Rejected for no status.
    """
    conn = session.connection()
    found: dict[int, Any] = {}
    for way in _ways(conn, wanted):
        asked = select(_REPORT).where(*_plain(wanted), *way)
        statement = newest.ordered(asked, _REPORT, after, before)
        found |= {row.id: row for row in conn.execute(statement.limit(limit))}
    return newest.page(found.values(), before, limit)


def of_order(session: Session, order: int) -> Sequence[Any]:
    """List the versions of the reports of an order, in the order in which they came."""
    statement = select(_REPORT).where(_r.imaging_order == order).order_by(_r.id.desc())
    return session.connection().execute(statement.limit(_MOST_OF_ORDER)).all()[::-1]


def of_patient(session: Session, patients: Sequence[int]) -> Sequence[Any]:
    """List the latest versions of the reports of a patient, by rows, the newest first."""
    conn = session.connection()
    found: dict[int, Any] = {}
    for whose in _whose(conn, patients):
        statement = select(_REPORT).where(_r.superseded_by.is_(None), *whose)
        rows = conn.execute(statement.order_by(_r.id.desc()).limit(_MOST_OF_ORDER))
        found |= {row.id: row for row in rows}
    return [found[row] for row in sorted(found, reverse=True)][:_MOST_OF_ORDER]


def one(session: Session, report: int) -> Found:
    """Give a report. Raises Rejected where there is none."""
    conn = session.connection()
    row = conn.execute(select(_REPORT).where(_r.id == report)).first()
    if row is None:
        raise Rejected(Fault(Reason.UNKNOWN_KEY, f"report {report}", "there is none"))
    return Found(
        row,
        versions(conn, row),
        documents(session, report),
        conn.execute(_order(row.imaging_order)).first(),
        conn.scalar(
            select(_MESSAGE.c.id)
            .where(
                _MESSAGE.c.control_id == row.control_id,
                _MESSAGE.c.source == row.source,
                _MESSAGE.c.content_hash == row.content_hash,
            )
            .order_by(_MESSAGE.c.id)
            .limit(1)
        ),
    )


def documents(session: Session, report: int) -> Sequence[Any]:
    """List the parts of a report; of texts also their `beginning`, as far as a page shows it."""
    beginning = func.substr(_p.content, 1, _MOST_SHOWN, type_=_p.content.type)
    columns = [c for c in _p if c.name != "content"]
    statement = select(*columns).where(_p.report == report).order_by(_p.position)
    texts = select(_p.id, beginning).where(_p.report == report, _p.kind.in_(_SHOWN_AS_TEXT))
    conn = session.connection()
    shown = {row[0]: bytes(row[1]).decode("utf-8", "replace") for row in conn.execute(texts)}
    return [{**row._asdict(), "text": shown.get(row.id)} for row in conn.execute(statement)]


def document(session: Session, report: int, position: int) -> Any:
    """Give a part of a report with its `content`. Raises Rejected where there is none."""
    statement = select(_PART).where(_p.report == report, _p.position == position)
    row = session.connection().execute(statement).first()
    if row is None:
        where = f"report {report}, part {position}"
        raise Rejected(Fault(Reason.UNKNOWN_KEY, where, "there is none"))
    return row


def _order(order: int | None) -> Select[Any]:
    accession = (
        select(func.min(_PROCEDURE.c.accession_number))
        .where(_PROCEDURE.c.imaging_order == _ORDER.c.id)
        .scalar_subquery()
    )
    columns = (_ORDER.c.id, _ORDER.c.order_number, _ORDER.c.status, accession.label("accession"))
    person = (_PATIENT.c.id.label("patient"), _PATIENT.c.patient_name, _PATIENT.c.patient_id)
    rows = _ORDER.join(_PATIENT, _PATIENT.c.id == _ORDER.c.patient)
    return select(*columns, *person).select_from(rows).where(_ORDER.c.id == order)


def _plain(wanted: Wanted) -> list[Any]:
    conditions: list[Any] = [_r.superseded_by.is_(None)]
    if wanted.status:
        conditions.append(_r.status == _status(wanted.status))
    if wanted.unlinked:
        conditions.append(_IS_UNLINKED)
    if wanted.since is not None:
        conditions.append(_r.received_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(_r.received_at < wanted.until)
    return conditions


def _ways(conn: Connection, wanted: Wanted) -> list[list[ColumnElement[bool]]]:
    """Give the alternatives of what is looked up in several places, each by its own index."""
    if not wanted.text:
        return [[]]
    patients = select(_PATIENT.c.id).where(_PATIENT.c.patient_id == wanted.text)
    orders = select(_PROCEDURE.c.imaging_order).where(_PROCEDURE.c.accession_number == wanted.text)
    numbered = [
        select(_ORDER.c.id).where(column == wanted.text)
        for column in (_ORDER.c.filler_number, _ORDER.c.placer_number)
    ]
    found = {row for each in (orders, *numbered) for row in _rows(conn, each)}
    ways: list[list[ColumnElement[bool]]] = [
        [_r.patient_id == wanted.text],
        [_r.accession_number == wanted.text],
        *_whose(conn, _rows(conn, patients)),
    ]
    return [*ways, [_r.imaging_order.in_(sorted(found))]] if found else ways


def _whose(conn: Connection, patients: Sequence[int]) -> list[list[ColumnElement[bool]]]:
    """Find by patient: an order's may have changed since, by a merge or its undoing."""
    if not patients:
        return []
    orders = _rows(conn, select(_ORDER.c.id).where(_ORDER.c.patient.in_(patients)))
    ways: list[list[ColumnElement[bool]]] = [[_r.patient.in_(patients), _r.imaging_order.is_(None)]]
    return [*ways, [_r.imaging_order.in_(orders)]] if orders else ways


def _rows(conn: Connection, statement: Select[Any]) -> list[int]:
    return sorted(set(conn.execute(statement.limit(_MOST_ROWS)).scalars()))


def _status(name: str) -> Status:
    try:
        return Status(name.upper())
    except ValueError:
        known = ", ".join(Status)
        raise Rejected(Fault(Reason.UNKNOWN_CODE, "status", f"must be one of {known}")) from None
