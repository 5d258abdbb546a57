"""Find worklist items: what a scanner's C-FIND asks of the rows (PS3.4 K.6.1).

What is hidden, whatever is asked for, is scope.py's to say. Items come in the order of their
start. A page is one short read; the next one opens another and goes on after the last item,
so that no read waits for a network.

A statement is built once for each shape of query and kept; it selects what was asked for.
ways.py leads to so many steps and no more; each of them is held against the keys by itself,
and of those that meet them the columns are read. What SQL can't tell is left to `Check`s.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    ColumnElement,
    FromClause,
    bindparam,
    func,
    literal_column,
    null,
    schema,
    select,
    union_all,
)
from sqlalchemy.sql.visitors import iterate
from sqlmodel import Session

from mwl.db import Database, Prepared
from mwl.db.matching import Shape, condition, is_fuzzy, parameters, shape
from mwl.db.tables import ImagingOrder, Patient, RequestedProcedure, ScheduledStep, StepStation
from mwl.matching import UNIVERSAL, Matcher
from mwl.worklist.columns import COLUMNS, Column
from mwl.worklist.scope import (
    ANYBODY,
    STARTED_VISIBLE,
    Caller,
    Form,
    of_modality,
    stationed,
    tightened,
    visible,
    within,
)
from mwl.worklist.ways import Place, Way, parameters_of, span_of, walk, ways, window

PAGE_ROWS = 500  # steps that are looked at
_STATEMENTS_KEPT = 128  # of 30 kB each; a fleet asks in many ways

_PATIENT = Patient.__table__  # type: ignore[attr-defined]
_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]
_STATION = StepStation.__table__  # type: ignore[attr-defined]

Row = Sequence[Any]
# Every row ends with whether it is the place that was reached, its start and its step.
_IS_PLACE = -3
_IN_ORDER = itemgetter(slice(_IS_PLACE, None))

_p, _o, _r, _s = _PATIENT.c, _ORDER.c, _PROCEDURE.c, _STEP.c

_STATUS, _STATION_AE, _MODALITY = "status", "station_ae_titles", "modality"
# What an item can be matched by, beside what `COLUMNS` tell as it is; a name by its folded key.
_KEYS: Mapping[str, Column] = {
    "patient_name": _p.name_key,
    "patient_id": _p.patient_id,
    "issuer": _p.issuer_key,
    "birth_date": _p.birth_date,
    "sex": _p.sex,
    "placer_number": _o.placer_number,
    "filler_number": _o.filler_number,
    "admission_id": _o.admission_id,
    "accession_number": _r.accession_number,
    "requested_procedure_id": _r.requested_procedure_id,
    "study_instance_uid": _s.study_instance_uid,
    "sps_id": _s.sps_id,
    _MODALITY: _s.modality,
    "performing_physician": _s.performing_physician_key,
    "start": _s.start_local,  # YYYYMMDDHHMMSS
    "time_of_day": func.substr(_s.start_local, 9),  # HHMMSS
    _STATUS: _s.state,
    _STATION_AE: _STATION.c.ae_title,
}
# Of these not the text, but what is made of it means something.
_MADE = {"other_ids", "procedure_code", "protocol_code", "attributes", "start_local"}
KEYS = frozenset({*_KEYS, *COLUMNS}) - _MADE
# And a name by its words, where fuzzy matching was agreed on.
_WORDS: Mapping[str, Column] = {
    "patient_name": _p.name_words,
    "performing_physician": _s.performing_physician_words,
}


class Check(NamedTuple):
    """What an item must tell, where SQL doesn't know: a column's text, and whether it does."""

    column: str
    is_met: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for: matchers by the names of `KEYS`, and checks, all of which must match.

    `columns` are the names of `COLUMNS` that are wanted, in their order.
    """

    columns: tuple[str, ...] = ()
    keys: Mapping[str, Matcher] = field(default_factory=dict)
    caller: Caller = ANYBODY
    checks: tuple[Check, ...] = ()


class Page(NamedTuple):
    """Some rows, and the place that the next follow.

    A row holds the query's columns, further ones, and at last the start (YYYYMMDDHHMMSS) and
    the id of its step.
    """

    rows: Sequence[Row]
    after: Place | None  # None: there are no more


def find(
    session: Session,
    query: Query,
    *,
    now: datetime,
    after: Place | None = None,
) -> Page:
    """Look at the first `PAGE_ROWS` steps after a place, in the order of (start, row).

    Those of them that are looked for are the page; it may have none, and yet not be the last.
    """
    conn = session.connection()
    dialect = conn.dialect.name
    keys = _asked(query)
    values = tightened(_values(query, dialect, now))
    span = span_of(values, after)
    values |= parameters_of(keys, span)
    columns = _columns(query)
    for way in ways(keys, span) if after is None else [walk(keys, span)]:
        if way.is_void:
            break
        statement = _statement(dialect, columns, _shapes(query), query.caller.form, way, PAGE_ROWS)
        found = sorted(statement.all(conn, values), key=_IN_ORDER)
        reached = Place(*found.pop()[-2:]) if found and found[-1][_IS_PLACE] else None
        if reached is None or way.is_walk:
            return Page(_checked(query, columns, found), reached)
    return Page((), None)


def pages(database: Database, query: Query, *, now: datetime) -> Iterator[Sequence[Row]]:
    """Read page after page; between them no read is open. A page may be empty. Outage."""
    after: Place | None = None
    while True:
        with database.read() as session:
            rows, after = find(session, query, now=now, after=after)
        yield rows
        if after is None:
            return


def first(session: Session, query: Query, *, now: datetime, most: int) -> list[Row]:
    """Read the first `most` items, for people; scanners read `pages`."""
    rows: list[Row] = []
    after: Place | None = None
    while len(rows) < most:
        page, after = find(session, query, now=now, after=after)
        rows += page
        if after is None:
            break
    return rows[:most]


def _columns(query: Query) -> tuple[str, ...]:
    """List what is read: what is wanted, and behind that what is looked at."""
    return tuple(dict.fromkeys((*query.columns, *(check.column for check in query.checks))))


def _checked(query: Query, columns: tuple[str, ...], found: Sequence[Row]) -> Sequence[Row]:
    for column, is_met in query.checks:
        at = columns.index(column)
        found = [row for row in found if is_met(row[at])]
    return found


@lru_cache(maxsize=_STATEMENTS_KEPT)
def _statement(  # noqa: PLR0913 - all that decides it
    dialect: str,
    columns: tuple[str, ...],
    shapes: tuple[tuple[str, Shape], ...],
    form: Form,
    way: Way,
    limit: int,
) -> Prepared:
    """Select a page, in any order, and the place that was reached, if the way goes on there.

    That place is a row like the others, and said to be one: none is sorted or copied for it.
    """
    steps, reached = window(way, limit, dialect)
    matched = (
        select(
            *(COLUMNS[name].label(f"c{i}") for i, name in enumerate(columns)),
            literal_column("0").label("is_place"),
            steps.c.start.label("start"),
            steps.c.id.label("row"),
        )
        .select_from(
            steps.join(_STEP, _s.id == steps.c.id)
            .join(_PROCEDURE, _r.id == _s.procedure)
            .join(_ORDER, _o.id == _r.imaging_order)
            .join(_PATIENT, _p.id == _o.patient)
        )
        .where(_is_met(steps, dialect, dict(shapes), form))
    )
    end = reached.subquery("reached")
    place = select(*(null() for _ in columns), literal_column("1"), end.c.start, end.c.id)
    return Prepared(union_all(matched, place))


def _is_met(
    steps: CTE, dialect: str, shapes: Mapping[str, Shape], form: Form
) -> ColumnElement[bool]:
    """Say that each of some steps meets all keys: one by one, so that no plan begins with a key."""
    met = (
        select(_s.id)
        .select_from(_matched_tables(shapes))
        .where(_s.id == steps.c.id, *_conditions(dialect, shapes, form).values())
        .correlate(steps)
    )
    if dialect == "postgresql":
        met = met.offset(literal_column("0"))  # or it might be joined
    is_met: ColumnElement[bool] = met.scalar_subquery().is_not(None)
    return is_met


def hiding(session: Session, query: Query, step: int, *, now: datetime) -> set[str] | None:
    """Tell which keys keep `find` from answering with a step; none: it is found.

    By the names of `KEYS`; "status" is its state, whether that is asked for or not. So does
    the caller's scope, by the names of its settings. None where there is no such step.
    """
    conn = session.connection()
    dialect = conn.dialect.name
    statement = _verdict(dialect, _shapes(query), query.caller.form)
    row = statement.first(conn, {**_values(query, dialect, now), "step": step})
    if row is None:
        return None
    return {name for name, is_met in row._asdict().items() if not is_met}


def criteria(
    query: Query, dialect: str, now: datetime
) -> tuple[list[ColumnElement[bool]], dict[str, Any]]:
    """Give what makes a step one of those that `find` answers, and its parameters.

    For a statement that selects from `scheduled_step` and what else the keys are of.
    """
    shapes = dict(_shapes(query))
    conditions = _conditions(dialect, shapes, query.caller.form)
    return list(conditions.values()), tightened(_values(query, dialect, now))


def _asked(query: Query) -> dict[str, Matcher]:
    return {name: key for name, key in query.keys.items() if key != UNIVERSAL}


def _shapes(query: Query) -> tuple[tuple[str, Shape], ...]:
    return tuple((name, shape(key)) for name, key in _asked(query).items())


def _values(query: Query, dialect: str, now: datetime) -> dict[str, Any]:
    keys = _asked(query)
    values: dict[str, Any] = {**query.caller.values()}
    for name, key in keys.items():
        values |= parameters(name, key, dialect)
    if _STATUS not in keys:
        values["started_since"] = now - STARTED_VISIBLE
    return values


@lru_cache(maxsize=_STATEMENTS_KEPT)
def _verdict(dialect: str, shapes: tuple[tuple[str, Shape], ...], form: Form) -> Prepared:
    conditions = _conditions(dialect, dict(shapes), form)
    wanted: list[ColumnElement[Any]] = [each.label(name) for name, each in conditions.items()]
    rows = _matched_tables(dict(shapes))
    statement = select(*wanted).select_from(rows).where(_s.id == bindparam("step"))
    return Prepared(statement, once=True)


def _conditions(
    dialect: str, shapes: Mapping[str, Shape], form: Form
) -> dict[str, ColumnElement[bool]]:
    """Give all that a step must meet to be answered with, each by the key that asks for it."""
    conditions = {
        name: condition(_WORDS[name] if is_fuzzy(of) else _matched(name), name, of, dialect)
        for name, of in shapes.items()
        if name not in (_STATUS, _STATION_AE, _MODALITY)
    }
    if _MODALITY in shapes:
        conditions[_MODALITY] = of_modality(shapes[_MODALITY], dialect)
    conditions[_STATUS] = visible(shapes.get(_STATUS), dialect)
    if _STATION_AE in shapes:
        conditions[_STATION_AE] = stationed(shapes[_STATION_AE], dialect, form)
    return {**conditions, **within(form)}


def _matched(name: str) -> Column:
    known = _KEYS.get(name)
    return COLUMNS[name] if known is None else known


def _matched_tables(shapes: Mapping[str, Shape]) -> FromClause:
    """Join what the keys need, and no more."""
    tables = {
        each.table
        for name in shapes
        for each in iterate(_matched(name))
        if isinstance(each, schema.Column)
    }
    rows: FromClause = _STEP
    if tables & {_PROCEDURE, _ORDER, _PATIENT}:
        rows = rows.join(_PROCEDURE, _r.id == _s.procedure)
    if tables & {_ORDER, _PATIENT}:
        rows = rows.join(_ORDER, _o.id == _r.imaging_order)
    if _PATIENT in tables:
        rows = rows.join(_PATIENT, _p.id == _o.patient)
    return rows
