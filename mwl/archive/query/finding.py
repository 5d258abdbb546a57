"""Find rows of a level, page after page.

A statement is built once for each shape of query and kept. An inner select finds one page of
rows from indexes, the outer one reads and counts for those alone. Pages follow one another by
the place of the last row in an order that an index has:

- rows as they were first stored, by number;
- studies of certain dates, by date before that;
- patients, by identifier and issuer. Each shows what the newest of its studies that match
  says. Where nothing but the patient's identifier narrows them down, their index is walked
  from patient to patient, however many studies each has; otherwise the studies that match are
  found first, and put together by patient.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum, auto
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Select, Text, bindparam, func, literal_column, select, tuple_
from sqlmodel import Session

from mwl.archive.query.columns import told
from mwl.archive.query.conditions import Shapes, conditions, parameters_of, shapes_of
from mwl.archive.query.model import Level, Query, Row
from mwl.archive.query.objects import PAGE_ROWS
from mwl.archive.query.tables import MAIN, Tables, shows
from mwl.db import Database, Prepared
from mwl.matching import UNIVERSAL, Matcher, Range

_STATEMENTS_KEPT: Final = 64

_t = MAIN.study.c
Place = tuple[Any, ...]


class Page(NamedTuple):
    """Some rows, each with the query's columns first, and the place that the next follow."""

    rows: Sequence[Row]
    after: Place | None  # None: there are no more


class _Way(Enum):
    """How the rows are found, and so in which order."""

    BY_ROW = auto()
    BY_DATE = auto()
    BY_PATIENT = auto()
    FROM_PATIENT_TO_PATIENT = auto()

    @property
    def places(self) -> int:
        """How many values make a place; they are the last ones of a row."""
        return 1 if self is _Way.BY_ROW else 2


def find(
    session: Session, query: Query, *, after: Place | None = None, limit: int = PAGE_ROWS
) -> Page:
    """Read the first page of at most `limit` rows after a place."""
    conn = session.connection()
    dialect = conn.dialect.name
    keys = {name: key for name, key in query.keys.items() if key != UNIVERSAL}
    way = _way(query.level, keys)
    start: Place = (0,)
    if way is _Way.BY_DATE:
        # Where the range begins is left to the place: with both, SQLite would read the index
        # from the range's beginning on for every page.
        dates = keys["study_date"]
        assert isinstance(dates, Range)
        start, keys["study_date"] = (dates.low, 0), replace(dates, low="")
    elif way is not _Way.BY_ROW:
        start = ("", "")
    values: dict[str, Any] = {"limit": limit}
    values |= {f"after_{n}": value for n, value in enumerate(after or start)}
    statement = _statement(dialect, query.level, query.columns, shapes_of(keys), way)
    rows = statement.all(conn, {**values, **parameters_of(keys, dialect)})
    last = tuple(rows[-1][-way.places :]) if len(rows) == limit else None
    if way is _Way.FROM_PATIENT_TO_PATIENT:
        rows = [row for row in rows if row.found is not None]
    return Page(rows, last)


def pages(database: Database, query: Query) -> Iterator[Sequence[Row]]:
    """Read page after page; between them no read is open. Outage."""
    after: Place | None = None
    while True:
        with database.read() as session:
            rows, after = find(session, query, after=after, limit=PAGE_ROWS)
        yield rows
        if after is None:
            return


# Of a patient, its identifier, and what it would be no use to look up first.
_WALKED = {"patient_id", "issuer", "sex"}


def _way(level: Level, keys: Mapping[str, Matcher]) -> _Way:
    if level is Level.PATIENT:
        return _Way.FROM_PATIENT_TO_PATIENT if keys.keys() <= _WALKED else _Way.BY_PATIENT
    is_by_date = level is Level.STUDY and isinstance(keys.get("study_date"), Range)
    return _Way.BY_DATE if is_by_date else _Way.BY_ROW


@lru_cache(maxsize=_STATEMENTS_KEPT)
def _statement(
    dialect: str, level: Level, columns: tuple[str, ...], shapes: Shapes, way: _Way
) -> Prepared:
    known = told(level, dialect)
    wanted: list[ColumnElement[Any]] = [
        known[name].label(f"c{position}") for position, name in enumerate(columns)
    ]
    make = {
        _Way.BY_ROW: _by_row,
        _Way.BY_DATE: _by_date,
        _Way.BY_PATIENT: _by_patient,
        _Way.FROM_PATIENT_TO_PATIENT: _from_patient_to_patient,
    }[way]
    return Prepared(make(level, wanted, shapes, dialect))


def _after(*types: Any) -> list[Any]:
    return [bindparam(f"after_{n}", type_=type_) for n, type_ in enumerate(types)]


_UIDS = {"study_instance_uid", "series_instance_uid", "sop_instance_uid"}
_OF_FEW_STUDIES = {"patient_id", "patient_name", "accession_number", "study_date"}


def _by_row(level: Level, wanted: list[Any], shapes: Shapes, dialect: str) -> Select[Any]:
    row = MAIN.row(level)
    (after,) = _after(row.type)
    names = {name for name, _ in shapes}
    if Level.STUDY.is_above(level) and names & _OF_FEW_STUDIES and not names & _UIDS:
        # They are found by their studies, and not by a walk through all that there are.
        row = row + literal_column("0")
    return _ordered(level, wanted, [row], row > after, conditions(level, shapes, dialect))


def _by_date(level: Level, wanted: list[Any], shapes: Shapes, dialect: str) -> Select[Any]:
    # The order is that of ix_study_date, in which PostgreSQL goes straight to the place and
    # SQLite to its day.
    place = [_t.study_date, _t.id]
    after = tuple_(*place) > tuple_(*_after(Text(), _t.id.type))
    return _ordered(level, wanted, place, after, conditions(level, shapes, dialect))


def _ordered(
    level: Level, wanted: list[Any], place: list[Any], after: Any, met: list[Any]
) -> Select[Any]:
    row = MAIN.row(level)
    page = (
        select(MAIN.row(level).label("row"))
        .select_from(MAIN.at(level))
        .where(after, shows(level, MAIN), *met)
        .order_by(*place)
        .limit(bindparam("limit"))
        .subquery("page")
    )
    rows = MAIN.at(level).join(page, page.c.row == row)
    placed = [each.label(f"place_{n}") for n, each in enumerate(place)]
    return select(*wanted, *placed).select_from(rows).order_by(*place)


def _by_patient(level: Level, wanted: list[Any], shapes: Shapes, dialect: str) -> Select[Any]:
    place = [_t.patient_id, _t.patient_id_issuer]
    # In SQL of its own, so that no index of patients is taken for the order: few match.
    grouped = [each + "" for each in place]
    after = tuple_(*grouped) > tuple_(*_after(Text(), Text()))
    page = (
        select(func.max(_t.id).label("row"))
        .where(after, _t.patient_id != "", shows(level, MAIN))
        .where(*conditions(level, shapes, dialect))
        .group_by(*place)
        .order_by(*place)
        .limit(bindparam("limit"))
        .subquery("page")
    )
    rows = MAIN.study.join(page, page.c.row == _t.id)
    placed = [each.label(f"place_{n}") for n, each in enumerate(place)]
    return select(*wanted, *placed).select_from(rows).order_by(*place)


def _from_patient_to_patient(
    level: Level, wanted: list[Any], shapes: Shapes, dialect: str
) -> Select[Any]:
    """Walk `limit` patients; `found` is None of one that is none of those looked for."""
    by_id = tuple(each for each in shapes if each[0] == "patient_id")
    walk = (
        select(_t.id, _t.patient_id, _t.patient_id_issuer, literal_column("1").label("step"))
        .where(_t.id == _next(_after(Text(), Text()), by_id, dialect))
        .cte("walk", recursive=True)
    )
    step = walk.c.step
    next_ = _next([walk.c.patient_id, walk.c.patient_id_issuer], by_id, dialect)
    walk = walk.union_all(
        select(_t.id, _t.patient_id, _t.patient_id_issuer, step + 1)
        .select_from(walk.join(MAIN.study, _t.id == next_))
        .where(step < bindparam("limit"))
    )
    one = MAIN.study.alias("of_patient")
    of = Tables(one, MAIN.series, MAIN.instance)
    newest = (
        select(one.c.id)
        .where(
            one.c.patient_id == walk.c.patient_id,
            one.c.patient_id_issuer == walk.c.patient_id_issuer,
            shows(level, of),
            *conditions(level, shapes, dialect, of),
        )
        .order_by(one.c.id.desc())
        .limit(1)
        .correlate(walk)
        .scalar_subquery()
    )
    rows = walk.outerjoin(MAIN.study, _t.id == newest)
    place = walk.c.patient_id.label("place_0"), walk.c.patient_id_issuer.label("place_1")
    return select(*wanted, _t.id.label("found"), *place).select_from(rows).order_by(walk.c.step)


def _next(after: Sequence[Any], by_id: Shapes, dialect: str) -> Any:
    """Give a study of the patient that comes after one: the next issuer of it, or the next."""
    patient_id, issuer = after
    each = MAIN.study.alias("next")
    met = conditions(Level.PATIENT, by_id, dialect, Tables(each, MAIN.series, MAIN.instance))
    place = each.c.patient_id, each.c.patient_id_issuer, each.c.id
    is_known = patient_id != ""  # who has no identifier is no patient
    issuers = select(each.c.id).where(is_known, place[0] == patient_id, place[1] > issuer, *met)
    others = select(each.c.id).where(place[0] > patient_id, *met)
    return func.coalesce(
        *(found.order_by(*place).limit(1).scalar_subquery() for found in (issuers, others))
    )
