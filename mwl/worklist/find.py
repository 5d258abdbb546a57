"""Find worklist items: what a scanner's C-FIND asks of the rows (PS3.4 K.6.1).

What is hidden, whatever is asked for, is scope.py's to say. Items come in the order of their
start. A page is one short read; the next one opens another and goes on after the last item,
so that no read waits for a network.

A statement is built once for each shape of query and kept; it selects what was asked for.
An inner select finds one page of steps from indexes, the outer one reads their columns.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    bindparam,
    func,
    or_,
    select,
)
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

PAGE_ROWS = 500
_STATEMENTS_KEPT = 64  # of 0.1 MB at most

_PATIENT = Patient.__table__  # type: ignore[attr-defined]
_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]
_STATION = StepStation.__table__  # type: ignore[attr-defined]

Row = Sequence[Any]
Cursor = tuple[str, int]

_p, _o, _r, _s = _PATIENT.c, _ORDER.c, _PROCEDURE.c, _STEP.c

_STATUS, _STATION_AE, _MODALITY = "status", "station_ae_titles", "modality"
# What an item can be matched by; a name by its folded key.
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
KEYS = frozenset(_KEYS)
# And a name by its words, where fuzzy matching was agreed on.
_WORDS: Mapping[str, Column] = {
    "patient_name": _p.name_words,
    "performing_physician": _s.performing_physician_words,
}


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for: matchers by the names of `KEYS`, all of which must match.

    `columns` are the names of `COLUMNS` that are wanted, in their order.
    """

    columns: tuple[str, ...] = ()
    keys: Mapping[str, Matcher] = field(default_factory=dict)
    caller: Caller = ANYBODY


def find(
    session: Session,
    query: Query,
    *,
    now: datetime,
    after: Cursor | None = None,
    limit: int = PAGE_ROWS,
) -> Sequence[Row]:
    """Read the first `limit` items after `after`, in the order of (start, row).

    A row holds the query's columns, then the start (YYYYMMDDHHMMSS) and the id of its step:
    together the `after` of the next page.
    """
    conn = session.connection()
    dialect = conn.dialect.name
    statement = _statement(
        dialect,
        query.columns,
        _shapes(query),
        query.caller.form,
        after is not None,
    )
    values = {**tightened(_values(query, dialect, now)), "limit": limit}
    if after is not None:
        values |= {"after_start": after[0], "after_id": after[1]}
    return statement.all(conn, values)


def pages(
    database: Database, query: Query, *, now: datetime, most: int = PAGE_ROWS
) -> Iterator[Sequence[Row]]:
    """Read page after page; between them no read is open. Outage.

    A page is no longer than `most`, which is as many as are likely to be wanted.
    """
    after: Cursor | None = None
    limit = min(most, PAGE_ROWS)
    while True:
        with database.read() as session:
            rows = find(session, query, now=now, after=after, limit=limit)
        yield rows
        if len(rows) < limit:
            return
        *_, start, row = rows[-1]
        after = start, row


@lru_cache(maxsize=_STATEMENTS_KEPT)
def _statement(
    dialect: str,
    columns: tuple[str, ...],
    shapes: tuple[tuple[str, Shape], ...],
    form: Form,
    is_next: bool,
) -> Prepared:
    page = _page(dialect, dict(shapes), form, is_next).subquery("page")
    rows: FromClause = (
        page.join(_STEP, _s.id == page.c.id)
        .join(_PROCEDURE, _r.id == _s.procedure)
        .join(_ORDER, _o.id == _r.imaging_order)
        .join(_PATIENT, _p.id == _o.patient)
    )
    wanted: list[ColumnElement[Any]] = [
        COLUMNS[name].label(f"c{i}") for i, name in enumerate(columns)
    ]
    wanted += [_s.start_local.label("start"), _s.id.label("row")]
    return Prepared(select(*wanted).select_from(rows).order_by(_s.start_local, _s.id))


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
    return Prepared(select(*wanted).select_from(rows).where(_s.id == bindparam("step")))


def _page(dialect: str, shapes: Mapping[str, Shape], form: Form, is_next: bool) -> Select[Any]:
    conditions = [*_conditions(dialect, shapes, form).values()]
    if is_next:
        start: Column = bindparam("after_start")
        row: ColumnElement[int] = bindparam("after_id")
        # The first of these is for the index.
        conditions += [_s.start_local >= start, or_(_s.start_local > start, _s.id > row)]
    return (
        select(_s.id)
        .select_from(_matched_tables(shapes))
        .where(*conditions)
        .order_by(_s.start_local, _s.id)
        .limit(bindparam("limit"))
    )


def _conditions(
    dialect: str, shapes: Mapping[str, Shape], form: Form
) -> dict[str, ColumnElement[bool]]:
    """Give all that a step must meet to be answered with, each by the key that asks for it."""
    conditions = {
        name: condition((_WORDS if is_fuzzy(of) else _KEYS)[name], name, of, dialect)
        for name, of in shapes.items()
        if name not in (_STATUS, _STATION_AE, _MODALITY)
    }
    if _MODALITY in shapes:
        conditions[_MODALITY] = of_modality(shapes[_MODALITY], dialect)
    conditions[_STATUS] = visible(shapes.get(_STATUS), dialect)
    if _STATION_AE in shapes:
        conditions[_STATION_AE] = stationed(shapes[_STATION_AE], dialect, form)
    return {**conditions, **within(form)}


def _matched_tables(shapes: Mapping[str, Shape]) -> FromClause:
    """Join what the keys need, and no more."""
    tables = {getattr(_KEYS[name], "table", _STEP) for name in shapes}
    rows: FromClause = _STEP
    if tables & {_PROCEDURE, _ORDER, _PATIENT}:
        rows = rows.join(_PROCEDURE, _r.id == _s.procedure)
    if tables & {_ORDER, _PATIENT}:
        rows = rows.join(_ORDER, _o.id == _r.imaging_order)
    if _PATIENT in tables:
        rows = rows.join(_PATIENT, _p.id == _o.patient)
    return rows
