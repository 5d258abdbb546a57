"""Read the orders that are like most others at once, and leave the rest to the readers.

Usual is a message of one ORC and one OBR in which every code has been said before and whatever
is an order's own fits the pattern of its place (`hl7.mapping.patterns`), so that nothing needs
to be mended, flagged or refused. What comes of it is what `OrderReader` would make of it: a
message either fits and is read so, or nothing of it is.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, tzinfo
from itertools import chain, count, islice
from typing import Any, NamedTuple

from hl7.mapping import patterns
from hl7.mapping.grid import Cell, Place, Row
from hl7.mapping.orders import ORDER_NUMBER, OrderReader
from hl7.mapping.patient import PatientReader
from hl7.mapping.readers import Known, Parts, looked_up, picker, read_each
from hl7.mapping.report import Report
from hl7.mapping.steps import ID_LENGTH, KEY_LENGTH, Step, read_stations
from hl7.mapping.times import NotATime, read_instant
from mwl.orders import Action, Fields, OrderChange, ProcedureChange, StepChange
from mwl.patients import Identifier, PatientChange

_MOST_SHAPES = 256
_MOST_SEEN = 4_096
_OFTEN = 3  # messages of a shape, before what is usual for it is worked out
_KEYS = 11  # groups of what isn't a column
_START = 10  # the last of these
_BLANK = -1  # the last cell of a row

_together: Callable[[Iterable[Any]], str] = patterns.SEPARATOR.join


class _Table(NamedTuple):
    """The columns of a table in messages of one shape: what is looked up, what is matched."""

    names: Sequence[str]
    begin: int  # of its share
    end: int
    aside: Sequence[str]  # of these: what states nothing where it isn't there
    parts: Parts
    is_all: bool  # nothing else is to be read

    def read(self, values: Sequence[str | None], row: Row, report: Report) -> Fields:
        """Take the table's share of the values of all, and read what is left."""
        names, begin, end, aside, parts, is_all = self
        fields = dict(zip(names, values[begin:end]))  # noqa: B905 - there are as many
        for name in aside:
            if fields[name] is None:
                del fields[name]
        if not is_all:
            read_each(parts.others, row, report, fields)
            for gather in parts.gatherers:
                gather(row, report, fields)
        return fields


class _Plan(NamedTuple):
    """How the messages of one shape are read."""

    match: Callable[[str], re.Match[str] | None]
    pick_own: Callable[[Sequence[Cell]], Sequence[Cell]]
    known: Sequence[Known]
    pick_common: Callable[[Sequence[Cell]], Sequence[Cell]]
    made: Sequence[tuple[int, Callable[[str], str]]]  # of what comes before it is arranged
    where: str  # the place of the order's number
    # Of what is common, the keys and what is own: the columns, table by table.
    arrange: Callable[[Sequence[Any]], Sequence[Any]]
    tables: Sequence[_Table]  # patient, order, procedure, step


class UsualOrders:
    """A profile's way to read the orders that are like most others."""

    def __init__(self, patient: PatientReader, orders: OrderReader) -> None:
        self._patient = patient
        self._orders = orders
        self._steps = orders.steps
        self._by = orders.steps.plain
        self._plans: dict[int, _Plan | None] = {}
        self._seen: dict[int, int] = {}

    def read(
        self, row: Row, source: str, at: datetime | None, zone: tzinfo, report: Report
    ) -> OrderChange | None:
        """Read the order of a row in which no segment comes twice; None: it isn't usual."""
        view, cells, shape = row
        plan = self._plans.get(shape) or self._plan(shape)
        known = self._orders.known(view["ORC"][0])
        if plan is None or known is None or "OBX" in view or "IPC" in view:
            return None
        said = _said(plan, cells, zone)
        if said is None:
            return None
        keys, values, start = said
        id_, issuer, filler, filled_by, placer, placed_by, name, code, sps_id, uid, _ = keys
        orders, by, (action, control) = self._orders, self._by, known
        patient, order, procedure, step = plan.tables
        # What is left to be read may raise flags, in the order of the readers.
        fields = patient.read(values, row, report)
        if action is Action.CREATE and not fields.get("patient_name"):
            report.flag("a new order without the patient's name")
        who = PatientChange(
            Identifier(id_, issuer), self._patient.where, None, fields, self._patient.unknown_names
        )
        of_order = order.read(values, row, report)
        of_step = StepChange(sps_id, start)
        if by.stations:
            of_step.stations = read_stations(row, by.stations, report)
        of_procedure = ProcedureChange(name or code, name, uid)
        of_procedure.fields = procedure.read(values, row, report)
        of_step.fields = step.read(values, row, report)
        if by.kept is not None:
            by.kept.read(row, report, of_step.attributes)
        self._steps.assign(row, by, Step(of_procedure, of_step, "", 1), code or "", report)
        of_procedure.steps.append(of_step)
        placed = Identifier(placer, placed_by or "") if placer else None
        filled = Identifier(filler, filled_by or "") if filler else None
        number = filled or placed or Identifier("")
        change = OrderChange(
            source, action, number, who, at, control, plan.where, placed, filled, of_order
        )
        if shape & orders.issued_cells:
            change.issued = orders.issued(row, zone, report)
        change.procedures.append(of_procedure)
        change.flags = report.take_flags()
        change.study_uid_policy = orders.study_uid_policy
        change.policy = orders.policy_of(control)
        if orders.answers_orders:
            change.occurrences = (1,)
        return change

    def _plan(self, shape: int) -> _Plan | None:
        """Work out what is usual for a shape, once there is more than a message of it."""
        if shape in self._plans or len(self._plans) >= _MOST_SHAPES:
            return self._plans.get(shape)
        if len(self._seen) >= _MOST_SEEN:
            self._seen.clear()
        self._seen[shape] = self._seen.get(shape, 0) + 1
        if self._seen[shape] < _OFTEN:
            return None
        plan = self._plans[shape] = self._compile(shape)
        return plan

    def _compile(self, shape: int) -> _Plan | None:
        keys = self._keys(shape)
        if keys is None:
            return None
        by = self._by
        readers = (self._patient.columns, self._orders.columns, by.procedure, by.step)
        parts = [each.parts(shape) for each in readers]
        own = [*chain.from_iterable(each.own for each in parts)]
        lookups = [*chain.from_iterable(each.lookups for each in parts)]
        cells = [*keys, *((each.slot, each.pattern) for each in own)]
        # What groups become of which something is to be made; each column's first one.
        makes = [make for each in own for make in (each.make, *[None] * (len(each.names) - 1))]
        before = sum(len(names) for names, *_ in lookups) + _KEYS
        tables, arranged = _tables(parts)
        return _Plan(
            re.compile(patterns.SEPARATOR.join(pattern for _, pattern in cells)).fullmatch,
            picker([slot for slot, _ in cells]),
            [known for _, known, _ in lookups],
            picker([slot for *_, slot in lookups]),
            [(at, make) for at, make in enumerate(makes, before) if make],
            self._where(shape),
            picker(arranged),
            tables,
        )

    def _keys(self, shape: int) -> list[tuple[int, str]] | None:
        """Give the cells of what isn't a column, with patterns of `_KEYS` groups; None: too few."""
        orders, by = self._orders, self._by
        patient = self._patient.usual(shape)
        filler, placer = _given(orders.filler, shape), _given(orders.placer, shape)
        name, code = _given(by.procedure_id, shape), _given(by.code, shape)
        if patient is None or not (filler or placer) or not (name or code):
            return None
        if name and by.rules is None:
            code = None
        sps_id, uid, start = (_given(each, shape) for each in (by.sps_id, by.study_uid, by.start))
        given = (filler, placer, name, code, sps_id, uid, start)
        if not all(patterns.reaches(place) for place in given if place):
            return None
        return [
            patient,
            _key(filler, lambda place: patterns.number(place, ORDER_NUMBER), 2),
            _key(placer, lambda place: patterns.number(place, ORDER_NUMBER), 2),
            _key(name, lambda place: patterns.text(place, ID_LENGTH)),
            _key(code, lambda place: patterns.text(place, KEY_LENGTH)),
            _key(sps_id, lambda place: patterns.text(place, ID_LENGTH)),
            _key(uid, patterns.uid),
            _key(start, patterns.minute),
        ]

    def _where(self, shape: int) -> str:
        place = _given(self._orders.filler, shape) or _given(self._orders.placer, shape)
        return place.where if place else ""


def _given(places: Sequence[Place], shape: int) -> Place | None:
    return next((place for place in places if shape >> place.slot & 1), None)


def _key(place: Place | None, pattern: Callable[[Place], str], groups: int = 1) -> tuple[int, str]:
    return (_BLANK, patterns.NOTHING * groups) if place is None else (place.slot, pattern(place))


def _tables(all_parts: Sequence[Parts]) -> tuple[list[_Table], list[int]]:
    """Share out the columns, and give where each stands: the common ones before the own."""
    common = [[name for names, *_ in each.lookups for name in names] for each in all_parts]
    own = [[name for each in parts.own for name in each.names] for parts in all_parts]
    next_common, next_own = count(), count(sum(map(len, common)) + _KEYS)
    tables: list[_Table] = []
    arranged: list[int] = []
    for names, own_names, parts in zip(common, own, all_parts, strict=True):
        begin = len(arranged)
        arranged += islice(next_common, len(names))
        arranged += islice(next_own, len(own_names))
        aside = [name for each in parts.own if each.aside for name in each.names]
        is_all = not parts.others and not parts.gatherers
        tables.append(_Table([*names, *own_names], begin, len(arranged), aside, parts, is_all))
    return tables, arranged


def _said(
    plan: _Plan, cells: Sequence[Cell], zone: tzinfo
) -> tuple[Sequence[Any], Sequence[Any], datetime | None] | None:
    """Match the cells of a row: keys, the columns as they are arranged, and when it starts."""
    try:
        found = plan.match(_together(plan.pick_own(cells)))
        values = [*looked_up(plan.known, plan.pick_common(cells))]
        if found is None:
            return None
        own = found.groups()
        values += own
        start, note = read_instant(own[_START], zone) if own[_START] else (None, "")
    except (KeyError, TypeError, NotATime):  # a code that is new, a cell that is odd, no such day
        return None
    if note:
        return None
    for at, make in plan.made:
        if not (made := make(values[at] or "")):
            return None
        values[at] = made
    return own[:_KEYS], plan.arrange(values), start
