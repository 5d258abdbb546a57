"""The ways to the steps that a query may find: each reads so many rows of an index, no more.

- By a number (accession, patient, order, study …), or by how a name begins: what few steps
  have is looked up. Where many have it, that is no way, and the next one is taken.
- By modality, where a few days are asked for.
- By state: the steps in the states that are shown, whatever else is asked for.

The latter two are walks, in the order of (start, row), from a place on. A walk reads so many
steps a statement, whether they are what is looked for or not: no key makes a statement long,
and whoever asks may be heard in between. Most of all steps are over, and no walk for what is
scheduled comes by them; those that have expired are not in its index.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    CTE,
    ColumnElement,
    FromClause,
    Select,
    bindparam,
    func,
    literal_column,
    select,
    text,
    tuple_,
    union_all,
)

from mwl.db.matching import condition, shape
from mwl.db.tables import ImagingOrder, Patient, RequestedProcedure, ScheduledStep
from mwl.matching import UNIVERSAL, AnyOf, Matcher, Name, Single, Wildcard
from mwl.orders import StepState
from mwl.worklist.scope import VISIBLE

_PATIENT = Patient.__table__  # type: ignore[attr-defined]
_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]
_p, _o, _r, _s = _PATIENT.c, _ORDER.c, _PROCEDURE.c, _STEP.c

Keys = Mapping[str, Matcher]

_OF_PROCEDURE: Final = _PROCEDURE.join(_STEP, _s.procedure == _r.id)
_OF_ORDER: Final = _ORDER.join(_OF_PROCEDURE, _r.imaging_order == _o.id)
_OF_PATIENT: Final = _PATIENT.join(_OF_ORDER, _o.patient == _p.id)
# What few steps have, and from where they are found; the fewest first.
_NUMBERS: Final[Mapping[str, tuple[ColumnElement[str], FromClause]]] = {
    "study_instance_uid": (_s.study_instance_uid, _STEP),
    "accession_number": (_r.accession_number, _OF_PROCEDURE),
    "requested_procedure_id": (_r.requested_procedure_id, _OF_PROCEDURE),
    "filler_number": (_o.filler_number, _OF_ORDER),
    "placer_number": (_o.placer_number, _OF_ORDER),
    "patient_id": (_p.patient_id, _OF_PATIENT),
}
_NAME, _MODALITY, _STATUS = "patient_name", "modality", "status"
# As the partial index says it.
IS_CURRENT: Final = text("NOT scheduled_step.expired")
# Of so many days, what is over is walked as well; of so many modalities, each by itself.
_FEW_DAYS, _FEW_MODALITIES = timedelta(days=7), 4
_BEHIND_ALL: Final = "\U0010ffff"
_END_OF_TIME: Final = "9" * 14


class Place(NamedTuple):
    """A step that a walk goes on behind: its start, YYYYMMDDHHMMSS, and its row."""

    start: str
    row: int


class Span(NamedTuple):
    """What is walked: what starts behind a place, and not after `last`."""

    after: Place
    last: str

    @property
    def is_short(self) -> bool:
        """Whether it is no more than a few days."""
        try:
            return _moment(self.last) - _moment(self.after.start) <= _FEW_DAYS
        except ValueError:  # it has an open end, or one that no calendar has
            return False


def _moment(start: str) -> datetime:
    return datetime.strptime(start, "%Y%m%d%H%M%S")  # noqa: DTZ007 - both are of one wall clock


class Way(NamedTuple):
    """How steps are found: by which key, and what of it decides the statement."""

    by: str
    detail: tuple[Any, ...]

    @property
    def is_walk(self) -> bool:
        """Whether it goes through all of them in their order, some at a time."""
        return self.by in (_MODALITY, _STATUS)

    @property
    def is_void(self) -> bool:
        """Whether it leads nowhere: no state is what the key wants."""
        return self.by == _STATUS and not self.detail


class Window(NamedTuple):
    """Some steps, `start` and `id`, and the last of them if they are as many as are read."""

    steps: CTE
    reached: Select[Any]


def span_of(conditions: Mapping[str, Any], after: Place | None) -> Span:
    """Tell what is walked, by the parameters of the conditions that steps must meet."""
    low = max(conditions.get("start__low", ""), conditions.get("scope_earliest", ""))
    high = min(
        conditions.get("start__high") or _END_OF_TIME,
        conditions.get("scope_latest") or _END_OF_TIME,
    )
    return Span(after or Place(low, 0), high)


def ways(keys: Keys, span: Span) -> Iterator[Way]:
    """List the ways to what keys ask for, the shortest first; the last one is a walk."""
    number = next((name for name in _NUMBERS if _values(keys.get(name))), None)
    name = keys.get(_NAME)
    if number is not None:
        yield Way(number, shape(keys[number]))
    elif isinstance(name, Name) and all(map(_beginning, name.choices)):
        yield Way(_NAME, shape(name))
    yield walk(keys, span)


def walk(keys: Keys, span: Span) -> Way:
    """Tell how to walk through what keys ask for."""
    if 1 <= _values(keys.get(_MODALITY)) <= _FEW_MODALITIES and span.is_short:
        return Way(_MODALITY, shape(keys[_MODALITY]))
    return Way(_STATUS, _shown(keys.get(_STATUS, UNIVERSAL)))


def parameters_of(keys: Keys, span: Span) -> dict[str, Any]:
    """Give the parameters of windows that are not those of the keys' own conditions."""
    found: dict[str, Any] = {
        "after_start": span.after.start,
        "after_id": span.after.row,
        "last_start": span.last,
    }
    name = keys.get(_NAME)
    for i, choice in enumerate(name.choices if isinstance(name, Name) else ()):
        begins = _beginning(choice)
        found[f"begins__{i}"] = begins
        found[f"ends__{i}"] = begins + _BEHIND_ALL * isinstance(choice, Wildcard)
    return found


def _values(key: Matcher | None) -> int:
    """Count the values of a key that has no wildcards; 0: it has, or has none."""
    choices = key.choices if isinstance(key, AnyOf) else (key,)
    return len(choices) if all(isinstance(each, Single) for each in choices) else 0


def _beginning(choice: Single | Wildcard) -> str:
    if isinstance(choice, Single):
        return choice.value
    return choice.pattern.partition("*")[0].partition("?")[0]


def _shown(status: Matcher) -> tuple[StepState, ...]:
    if status == UNIVERSAL:
        return VISIBLE
    return tuple(each for each in StepState if each != StepState.HELD and status.matches(each))


def window(way: Way, rows: int, dialect: str) -> Window:
    """Select the steps, `rows` of them at the most, that a way leads to."""
    if way.is_walk:
        return _full(_walked(way, rows), rows)
    if way.by == _NAME:
        return _named(len(way.detail) - 1, rows, dialect)
    column, tables = _NUMBERS[way.by]
    is_it = condition(column, way.by, way.detail, dialect)
    return _full(_STEPS.select_from(tables).where(is_it), rows)


_STEPS: Final = select(_s.start_local.label("start"), _s.id.label("id"))


def _number(value: int) -> ColumnElement[int]:
    # In the text of the statement, that a planner knows how little is read.
    return literal_column(str(value))


def _full(steps: Select[Any], rows: int) -> Window:
    cte = steps.limit(_number(rows)).cte("walked").prefix_with("MATERIALIZED")
    last = select(cte.c.start, cte.c.id).order_by(cte.c.start, cte.c.id)
    return Window(cte, last.limit(_number(1)).offset(_number(rows - 1)))


def _walked(way: Way, rows: int) -> Select[Any]:
    """Walk by each value apart: so its index has the order."""
    by: ColumnElement[str] = _s.state if way.by == _STATUS else _s.modality
    arms = []
    for value in _walked_values(way):
        start: ColumnElement[str] = bindparam("after_start")
        row: ColumnElement[int] = bindparam("after_id", type_=_s.id.type)
        # As pairs: for PostgreSQL no other index has their order, and none leads there quicker.
        place = tuple_(by, _s.start_local)
        later = (place > tuple_(value, start), place <= tuple_(value, bindparam("last_start")))
        # Many may start together, at midnight above all: they are told apart by their rows.
        together = (by == value, _s.start_local == start, _s.id > row)
        arms += [
            _STEPS.where(*behind, *([IS_CURRENT] if way.by == _STATUS else []))
            .order_by(by, _s.start_local, _s.id)
            .limit(_number(rows))
            .subquery()
            for behind in (together, later)
        ]
    merged = union_all(*map(select, arms)).subquery("merged")
    return select(merged.c.start, merged.c.id).order_by(merged.c.start, merged.c.id)


def _walked_values(way: Way) -> list[ColumnElement[str]]:
    if way.by == _STATUS:
        return [literal_column(f"'{state}'") for state in way.detail]
    _, *choices = way.detail
    names = [f"{_MODALITY}__{i}" for i in range(len(choices))] or [_MODALITY]
    # What nobody named may be any.
    return [literal_column("''"), *map(bindparam, names)]


def _named(choices: int, rows: int, dialect: str) -> Window:
    """Find people by how a group of their name begins, and their steps.

    A group that is not the first stands where no index leads: names of several are all tried.
    """
    cut = func.instr if dialect == "sqlite" else func.strpos
    has_groups = cut(_p.name_key, literal_column("'='")) > _number(0)
    people = [
        select(_p.id).where(_p.name_key.between(bindparam(f"begins__{i}"), bindparam(f"ends__{i}")))
        for i in range(choices)
    ]
    found = union_all(*people, select(_p.id).where(has_groups)).subquery("found")
    some = select(found.c.id).limit(_number(rows)).cte("people").prefix_with("MATERIALIZED")
    steps = _STEPS.select_from(_OF_ORDER).where(_o.patient.in_(select(some.c.id)))
    theirs = _full(steps, rows)
    many = select(literal_column("''").label("start"), some.c.id)
    reached = union_all(
        select(theirs.reached.subquery()),
        select(many.limit(_number(1)).offset(_number(rows - 1)).subquery()),
    ).subquery("reached")
    return Window(theirs.steps, select(reached.c.start, reached.c.id).limit(_number(1)))
