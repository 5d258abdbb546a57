"""Find what the archive holds: studies, series and instances, and where their bytes are.

The rules that this module bears (PS3.4 C.2.2.2, C.3.4, C.4.1):

1. Only what is served is found: of an instance's objects one is at most, and a quarantined
   one is nobody's but a person's. A study or a series that has nothing else is not found.
2. A level's rows tell what lies above too; the keys of higher levels narrow it down.
3. Date and time are matched apart; a time by its first six digits, whatever was sent.
4. Rows come in the order in which they were first stored, and studies of certain dates by
   date before that. A page is one short read; the next one opens another, so that no read
   waits for a network.

A statement is built once for each shape of query and kept. An inner select finds one page
of rows from indexes, the outer one reads and counts for those alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any, Protocol

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Text,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal,
    literal_column,
    select,
    tuple_,
)
from sqlmodel import Session

from mwl.db import Database, Prepared
from mwl.db.matching import Shape, condition, parameters, shape
from mwl.db.tables import Instance, Series, StoredObject, Study
from mwl.matching import UNIVERSAL, AnyOf, Matcher, Range, Single
from mwl.studies import ObjectState

PAGE_ROWS = 500
_STATEMENTS_KEPT = 64
# UIDs that one statement asks for; lists are filled up to one of these, to share statements.
_LIST_SIZES = (1, 4, 16, 64, 256)

_STUDY = Study.__table__  # type: ignore[attr-defined]
_SERIES = Series.__table__  # type: ignore[attr-defined]
_INSTANCE = Instance.__table__  # type: ignore[attr-defined]
_OBJECT = StoredObject.__table__  # type: ignore[attr-defined]

Column = ColumnElement[str]
Row = Sequence[Any]

_t, _s, _i, _o = _STUDY.c, _SERIES.c, _INSTANCE.c, _OBJECT.c


class Level(StrEnum):
    """Query/Retrieve Level (0008,0052) of the Study Root."""

    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


UNIQUE_KEYS: Mapping[Level, str] = {
    Level.STUDY: "study_instance_uid",
    Level.SERIES: "series_instance_uid",
    Level.IMAGE: "sop_instance_uid",
}


def _text(column: ColumnElement[Any]) -> Column:
    return func.coalesce(cast(column, Text), "")


def _seconds(time: Column) -> Column:
    """Give HHMMSS of a TM, "" if it is unknown."""
    return case((time == "", ""), else_=func.substr(time + "000000", 1, 6))


def _listed(values: Column, rows: FromClause, of: ColumnElement[bool], dialect: str) -> Column:
    """Join the different values with backslashes."""
    if dialect == "sqlite":
        # Its DISTINCT takes no separator. Neither a CS nor a UID holds a comma.
        joined = func.replace(func.group_concat(values.distinct()), ",", "\\")
    else:
        joined = func.string_agg(values.distinct(), cast(literal("\\"), Text))
    return _text(select(joined).select_from(rows).where(of, values != "").scalar_subquery())


def _counted(rows: FromClause, of: ColumnElement[bool]) -> Column:
    return _text(select(func.count()).select_from(rows).where(of).scalar_subquery())


# What lies below a row, apart from the row's own joins.
_below_series, _below = _SERIES.alias("below_series"), _INSTANCE.alias("below")
_b = _below_series.c
_all_below = _below_series.join(_below, _below.c.series == _b.id)
_below_object = _OBJECT.alias("below_object")
_IS_SERVED = _below_object.c.state == literal_column(f"'{ObjectState.SERVED}'")
_served_below = _below.join(_below_object, (_below_object.c.instance == _below.c.id) & _IS_SERVED)
_all_served = _below_series.join(_served_below, _below.c.series == _b.id)
# What a row of a level must have to be found.
_SHOWS = {
    Level.STUDY: exists().select_from(_all_served).where(_b.study == _t.id),
    Level.SERIES: exists().select_from(_served_below).where(_below.c.series == _s.id),
    Level.IMAGE: exists()
    .select_from(_below_object)
    .where(_below_object.c.instance == _i.id, _IS_SERVED),
}


@lru_cache
def _columns(level: Level, dialect: str) -> Mapping[str, Column]:
    """Give what a row of a level can tell, all of it text."""
    of_study = _b.study == _t.id
    columns: dict[str, Column] = {
        "study_instance_uid": _t.study_instance_uid,
        "patient_name": _t.patient_name,
        "patient_id": _t.patient_id,
        "issuer": _t.patient_id_issuer,
        "birth_date": _t.birth_date,
        "sex": _t.sex,
        "accession_number": _t.accession_number,
        "study_id": _t.study_id,
        "study_date": _t.study_date,
        "study_time": _t.study_time,
        "study_description": _t.description,
        "referring_physician": _t.referring_physician,
        "modalities": _listed(_b.modality, _below_series, of_study, dialect),
        "sop_classes": _listed(_below.c.sop_class_uid, _all_below, of_study, dialect),
        "study_series": _counted(_below_series, of_study),
        "study_instances": _counted(_all_served, of_study),
    }
    if level is Level.STUDY:
        return columns
    columns |= {
        "series_instance_uid": _s.series_instance_uid,
        "modality": _s.modality,
        "series_number": _s.series_number,
        "series_description": _s.description,
        "body_part": _s.body_part,
        "series_date": _s.series_date,
        "series_time": _s.series_time,
        "station_name": _s.station_name,
        "request": _text(_s.request),  # JSON: [{keyword: value}]
        "series_instances": _counted(_served_below, _below.c.series == _s.id),
    }
    if level is Level.SERIES:
        return columns
    syntax = select(_o.transfer_syntax).where(_o.instance == _i.id, _o.state == ObjectState.SERVED)
    return columns | {
        "sop_instance_uid": _i.sop_instance_uid,
        "sop_class_uid": _i.sop_class_uid,
        "instance_number": _i.instance_number,
        "rows": _text(_i.rows),
        "columns": _text(_i.columns),
        "frames": _text(_i.frames),
        "transfer_syntax": _text(syntax.limit(1).scalar_subquery()),
    }


# Names of keys that are matched by another column than they are told from.
_FOLDED: Mapping[str, Column] = {
    "patient_name": _t.name_key,
    "referring_physician": _t.referring_physician_key,
    "study_time": _seconds(_t.study_time),
    "series_time": _seconds(_s.series_time),
}
_BELOW_STUDY = {"modalities": _b.modality, "sop_classes": _below.c.sop_class_uid}


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for: matchers by name, all of which must match.

    `columns` are the names that are wanted, in their order. Names, as a key or a column:
    those of `_columns` for the level; the counts are no keys.
    """

    level: Level
    columns: tuple[str, ...] = ()
    keys: Mapping[str, Matcher] = field(default_factory=dict)


def find(
    session: Session, query: Query, *, after: Row | None = None, limit: int = PAGE_ROWS
) -> Sequence[Row]:
    """Read the first `limit` rows after the row `after`, the last one of the page before.

    A row holds the query's columns as texts, then its place in the order: its study date,
    "" unless that is a key of the level STUDY, and its id.
    """
    conn = session.connection()
    dialect = conn.dialect.name
    keys = {name: key for name, key in query.keys.items() if key != UNIVERSAL}
    date, row = ("", 0) if after is None else after[-2:]
    values: dict[str, Any] = {"limit": limit, "after": row}
    by_date = False
    if query.level is Level.STUDY and isinstance(dates := keys.get("study_date"), Range):
        # Where the range begins is left to the place: with both, SQLite would read the index
        # from the range's beginning on for every page.
        by_date, keys["study_date"] = True, replace(dates, low="")
        values["after_date"] = date or dates.low
    shapes = tuple((name, shape(key)) for name, key in keys.items())
    statement = _statement(dialect, query.level, query.columns, shapes, by_date)
    for name, key in keys.items():
        values |= parameters(name, key, dialect)
    return statement.all(conn, values)


def pages(database: Database, query: Query) -> Iterator[Sequence[Row]]:
    """Read page after page; between them no read is open. Outage."""
    after: Row | None = None
    while True:
        with database.read() as session:
            rows = find(session, query, after=after, limit=PAGE_ROWS)
        yield rows
        if len(rows) < PAGE_ROWS:
            return
        after = rows[-1]


def count(session: Session, keys: Mapping[str, Matcher]) -> int:
    """Count the instances that `keys`, of the level IMAGE, match."""
    conn = session.connection()
    dialect = conn.dialect.name
    statement = _objects(dialect, tuple((name, shape(key)) for name, key in keys.items()), True)
    values: dict[str, Any] = {}
    for name, key in keys.items():
        values |= parameters(name, key, dialect)
    found: int = statement.scalar(conn, values)
    return found


class Stored(Protocol):
    """Where an instance's bytes are: `data_set_offset` is where they begin in the object."""

    sop_class_uid: str
    sop_instance_uid: str
    key: str
    transfer_syntax: str
    size: int
    data_set_offset: int
    row: int


def objects(
    session: Session, keys: Mapping[str, Matcher], *, after: int = 0, limit: int = PAGE_ROWS
) -> Sequence[Stored]:
    """Read where the bytes of matching instances are: the first `limit` after `after`.

    `row` of the last one is the `after` of the next page.
    """
    conn = session.connection()
    dialect = conn.dialect.name
    statement = _objects(dialect, tuple((name, shape(key)) for name, key in keys.items()), False)
    values: dict[str, Any] = {"limit": limit, "after": after}
    for name, key in keys.items():
        values |= parameters(name, key, dialect)
    return statement.all(conn, values)


def uid_lists(uids: Sequence[str]) -> Iterator[Matcher]:
    """Make matchers of a list of UIDs of any length, each within what a statement takes."""
    different = list(dict.fromkeys(uids))
    most = _LIST_SIZES[-1]
    for start in range(0, len(different), most):
        part = different[start : start + most]
        size = next(each for each in _LIST_SIZES if each >= len(part))
        part += part[-1:] * (size - len(part))
        choices = tuple(map(Single, part))
        yield choices[0] if size == 1 else AnyOf(choices)


# --- statements


@lru_cache(maxsize=_STATEMENTS_KEPT)
def _statement(
    dialect: str,
    level: Level,
    columns: tuple[str, ...],
    shapes: tuple[tuple[str, Shape], ...],
    by_date: bool,
) -> Prepared:
    row = {Level.STUDY: _t.id, Level.SERIES: _s.id, Level.IMAGE: _i.id}[level]
    place, after = [row], row > bindparam("after")
    if by_date:
        # The order is that of ix_study_date, in which PostgreSQL goes straight to the place and
        # SQLite to its day.
        place = [_t.study_date, row]
        after = tuple_(*place) > tuple_(
            bindparam("after_date", type_=Text()), bindparam("after", type_=row.type)
        )
    page = (
        select(row)
        .select_from(_joined(level))
        .where(after, _SHOWS[level], *_conditions(level, dialect, shapes))
        .order_by(*place)
        .limit(bindparam("limit"))
        .subquery("page")
    )
    known = _columns(level, dialect)
    wanted: list[ColumnElement[Any]] = [
        known[name].label(f"c{position}") for position, name in enumerate(columns)
    ]
    date = (_t.study_date if by_date else literal_column("''")).label("date")
    rows = _joined(level).join(page, page.c.id == row)
    return Prepared(select(*wanted, date, row.label("row")).select_from(rows).order_by(*place))


@lru_cache(maxsize=_STATEMENTS_KEPT)
def _objects(dialect: str, shapes: tuple[tuple[str, Shape], ...], counted: bool) -> Prepared:
    rows = _joined(Level.IMAGE).join(_OBJECT, _o.instance == _i.id)
    where = [_o.state == ObjectState.SERVED, *_conditions(Level.IMAGE, dialect, shapes)]
    if counted:
        return Prepared(select(func.count().label("count")).select_from(rows).where(*where))
    wanted: Select[Any] = select(
        _i.sop_class_uid,
        _i.sop_instance_uid,
        _o.key,
        _o.transfer_syntax,
        _o.size,
        _o.data_set_offset,
        _i.id.label("row"),
    )
    return Prepared(
        wanted.select_from(rows)
        .where(_i.id > bindparam("after"), *where)
        .order_by(_i.id)
        .limit(bindparam("limit"))
    )


def _joined(level: Level) -> FromClause:
    rows: FromClause = _STUDY
    if level is not Level.STUDY:
        rows = rows.join(_SERIES, _s.study == _t.id)
    if level is Level.IMAGE:
        rows = rows.join(_INSTANCE, _i.series == _s.id)
    return rows


def _conditions(
    level: Level, dialect: str, shapes: tuple[tuple[str, Shape], ...]
) -> list[ColumnElement[bool]]:
    return [_condition(level, dialect, name, of) for name, of in shapes]


def _condition(level: Level, dialect: str, name: str, of: Shape) -> ColumnElement[bool]:
    below = _BELOW_STUDY.get(name)
    if below is not None:
        rows = _below_series if name == "modalities" else _all_below
        matched = condition(below, name, of, dialect)
        return exists().select_from(rows).where(_b.study == _t.id, matched)
    column = _FOLDED.get(name)
    if column is None:
        column = _columns(level, dialect)[name]
    if name == "issuer":
        column = _namespace(column, dialect)
    return condition(column, name, of, dialect)


def _namespace(issuer: Column, dialect: str) -> Column:
    """Take the local namespace out of namespace^universal ID^type."""
    if dialect != "sqlite":
        return func.split_part(issuer, "^", 1)
    return func.substr(issuer, 1, func.instr(issuer + "^", "^") - 1)
