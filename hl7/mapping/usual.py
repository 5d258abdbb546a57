"""Read the orders that are like most others at once, and leave the rest to the readers.

Usual is a message of one ORC and one OBR in which every code has been said before and whatever
is an order's own fits the pattern of its place (`hl7.mapping.patterns`), so that nothing needs
to be mended, flagged or refused. What comes of it is what `OrderReader` would make of it: a
message either fits and is read so, or nothing of it is.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, tzinfo
from itertools import chain
from operator import getitem
from typing import Any, NamedTuple

from hl7.mapping import patterns
from hl7.mapping.grid import Cell, Place, Row
from hl7.mapping.orders import ORDER_NUMBER, OrderReader
from hl7.mapping.patient import PatientReader
from hl7.mapping.readers import Known, Parts, picker, read_each
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
_look_up: Callable[[Known, Cell], str | None] = getitem


class _Table(NamedTuple):
    """The columns of a table in messages of one shape: what is looked up, what is matched."""

    common: Sequence[str]
    own: Sequence[str]
    aside: Sequence[str]  # of these: what states nothing where it isn't there
    parts: Parts
    is_all: bool  # nothing else is to be read

    def read(
        self, values: Iterator[str | None], own: Iterator[str | None], row: Row, report: Report
    ) -> Fields:
        """Take the table's share of what comes next, and read what is left."""
        names, own_names, aside, parts, is_all = self
        fields = dict(zip(names, values))  # noqa: B905 - there are as many
        fields.update(zip(own_names, own))  # noqa: B905
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
    made: Sequence[tuple[int, Callable[[str], str]]]
    where: str  # the place of the order's number
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
        keys, own, values, start = said
        id_, issuer, filler, filled_by, placer, placed_by, name, code, sps_id, uid, _ = keys
        orders, by, (action, control) = self._orders, self._by, known
        patient, order, procedure, step = plan.tables
        # What is left to be read may raise flags, in the order of the readers.
        fields = patient.read(values, own, row, report)
        if action is Action.CREATE and not fields.get("patient_name"):
            report.flag("a new order without the patient's name")
        who = PatientChange(
            Identifier(id_, issuer), self._patient.where, None, fields, self._patient.unknown_names
        )
        of_order = order.read(values, own, row, report)
        of_step = StepChange(sps_id, start)
        if by.stations:
            of_step.stations = read_stations(row, by.stations, report)
        of_procedure = ProcedureChange(name or code, name, uid)
        of_procedure.fields = procedure.read(values, own, row, report)
        of_step.fields = step.read(values, own, row, report)
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
        return _Plan(
            re.compile(patterns.SEPARATOR.join(pattern for _, pattern in cells)).fullmatch,
            picker([slot for slot, _ in cells]),
            [known for _, known, _ in lookups],
            picker([slot for *_, slot in lookups]),
            [(at, make) for at, make in enumerate(makes) if make],
            self._where(shape),
            [_table(each) for each in parts],
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


def _table(parts: Parts) -> _Table:
    return _Table(
        [name for name, *_ in parts.lookups],
        [name for each in parts.own for name in each.names],
        [name for each in parts.own if each.aside for name in each.names],
        parts,
        not parts.others and not parts.gatherers,
    )


def _said(
    plan: _Plan, cells: Sequence[Cell], zone: tzinfo
) -> tuple[Sequence[Any], Iterator[Any], Iterator[str | None], datetime | None] | None:
    """Match the cells of a row: keys, columns of its own, common ones, and when it starts."""
    try:
        found = plan.match(_together(plan.pick_own(cells)))
        values = [*map(_look_up, plan.known, plan.pick_common(cells))]
        if found is None:
            return None
        own = found.groups()
        start, note = read_instant(own[_START], zone) if own[_START] else (None, "")
    except (KeyError, TypeError, NotATime):  # a code that is new, a cell that is odd, no such day
        return None
    if note:
        return None
    keys, texts = own[:_KEYS], [*own[_KEYS:]]
    for at, make in plan.made:
        texts[at] = make(texts[at])
        if not texts[at]:
            return None
    return keys, iter(texts), iter(values), start
