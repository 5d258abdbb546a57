"""Turn a profile's chains of places into functions that read the columns of a table.

What can be decided once is decided once: which columns have anything to read follows from
a message's shape, the fields that say something, and one sender's messages have few shapes.
And where many messages share few values (a ward, a physician, a procedure's code), the text
of a field is looked up in what the same field said before.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import getitem, itemgetter
from typing import NamedTuple

from hl7.chains import Chain
from hl7.columns import Column, Kind
from hl7.er7 import DELETE, Value
from hl7.mapping import kinds, patterns, values
from hl7.mapping.gathering import GATHERERS, Gatherer, plain_code
from hl7.mapping.grid import Cell, Grid, Place, Row, text_of
from hl7.mapping.kinds import At
from hl7.mapping.report import Report
from hl7.profile import Profile
from hl7.profile_tables import ANY
from mwl.orders import Fields

Rest = Callable[[Row, Report, Fields], None]
"""Reads the places of a chain behind the first."""

Reading = tuple[int, At, Rest]
"""A column: the cell of the first place of its chain, how that is read, and the others."""

Known = dict[Cell, Sequence[str | None]]
"""By plain cell: the values of the columns that it fills, where it raises no flag."""

_look_up: Callable[[Known, Cell], Sequence[str | None]] = getitem

_MOST_SHAPES = 256
_MOST_KNOWN = 1_024
_LONGEST_KNOWN = 200


class Readers:
    """The readers of a table's columns; those that have nothing to read are not called."""

    def __init__(
        self, grid: Grid, profile: Profile, known: Mapping[str, Column], chains: Mapping[str, Chain]
    ) -> None:
        self._columns: list[_Column] = []
        self._gatherers: list[_Gathered] = []
        self._plans: dict[int, _Plan] = {}
        for name, chain in chains.items():
            column = known[name]
            if profile.lengths.maps(name):
                column = replace(column, mapped=True)
            if column.kind in GATHERERS:
                places = grid.places(chain)
                self._gatherers.append(_gathered(column, places))
            else:
                self._columns.append(_Column(grid, column, chain, profile))

    def read(self, row: Row, report: Report, fields: Fields) -> None:
        """Write what a row states into `fields`."""
        view, cells, shape = row
        names, known, pick, common, others = self._plans.get(shape) or self._plan(shape)
        try:
            if names:  # nearly all that is common has been said before
                fields.update(zip(names, looked_up(known, pick(cells))))  # noqa: B905
        except KeyError:
            read_each(common, row, report, fields)
        read_each(others, row, report, fields)
        for wanted, gather, *_ in self._gatherers:
            if not wanted.isdisjoint(view):
                gather(row, report, fields)

    def parts(self, shape: int) -> "Parts":
        """Tell what there is to read in messages of a shape in which no segment comes twice."""
        steps = [step for column in self._columns if (step := column.step(shape))]
        gathered = [each for each in self._gatherers if each.cells & shape]
        return Parts(
            [(step.names, step.known, step.slot) for step in steps if step.known is not None],
            [own for own in (*(s.own for s in steps), *(g.own for g in gathered)) if own],
            [step[:3] for step in steps if step.known is None and not step.own],
            [each.gather for each in gathered if not each.own],
        )

    def _plan(self, shape: int) -> "_Plan":
        if len(self._plans) >= _MOST_SHAPES:
            self._plans.clear()
        plan = self._plans[shape] = _plan([column.step(shape) for column in self._columns])
        return plan


def read_each(columns: Sequence[Reading], row: Row, report: Report, fields: Fields) -> None:
    """Read columns one by one."""
    cells = row[1]
    for slot, at, rest in columns:
        if (found := at(cells[slot], row, report)) is None:
            rest(row, report, fields)
        else:
            fields.update(found)


def looked_up(known: Sequence[Known], cells: Sequence[Cell]) -> Iterator[str | None]:
    """Give what is known of cells, one after another. KeyError: of one of them nothing is."""
    return itertools.chain.from_iterable(map(_look_up, known, cells))


def picker(slots: Sequence[int]) -> Callable[[Sequence[Cell]], Sequence[Cell]]:
    """Make the function that picks cells."""
    if len(slots) > 1:
        return itemgetter(*slots)
    return lambda cells: [cells[slot] for slot in slots]


class Own(NamedTuple):
    """A column whose values are an order's own: its cell, and the pattern of most such cells.

    The pattern has a group for each of `names`; `make`, what is to be made of the first. Of
    one that is `aside` an empty group states nothing.
    """

    names: Sequence[str]
    slot: int
    pattern: str
    make: Callable[[str], str] | None = None
    aside: bool = False


class Parts(NamedTuple):
    """What readers read in messages of one shape.

    `lookups`: columns, what is known of their cell, the cell. What is in neither these nor
    `own` is read by itself, and gathered.
    """

    lookups: Sequence[tuple[Sequence[str], Known, int]]
    own: Sequence[Own]
    others: Sequence[Reading]
    gatherers: Sequence[Gatherer]


class _Gathered(NamedTuple):
    """A column that takes a field of every segment of `names`; `own` where each comes once."""

    names: frozenset[str]
    gather: Gatherer
    cells: int
    own: Own | None


def _gathered(column: Column, places: Sequence[Place]) -> _Gathered:
    own = None
    if len(places) == 1 and column.kind is Kind.CODES and not places[0].at:
        own = Own((column.name,), places[0].slot, patterns.code(column.length), plain_code)
    elif len(places) == 1 and column.kind is Kind.TEXTS and patterns.reaches(places[0]):
        own = Own((column.name,), places[0].slot, patterns.text(places[0], column.length))
    return _Gathered(
        frozenset(place.path.segment for place in places),
        GATHERERS[column.kind](column, places),
        _bits(places),
        own,
    )


def _bits(places: Sequence[Place]) -> int:
    return sum({1 << place.slot for place in places})


class _Step(NamedTuple):
    """One column for the messages of a shape: its cell, how it is read, then its other places.

    `known` has what its cell, and no other, was found to state, of each column of `names`.
    """

    slot: int
    at: At
    rest: Rest
    names: Sequence[str] = ()
    known: Known | None = None
    own: Own | None = None


class _Plan(NamedTuple):
    """What is to be read in messages of one shape.

    Columns with few values are looked up in what is `known` of the cells that `pick` gives;
    where one is not, `common` reads them all.
    """

    names: Sequence[str]
    known: Sequence[Known]
    pick: Callable[[Sequence[Cell]], Sequence[Cell]]
    common: Sequence[Reading]
    others: Sequence[Reading]


def _plan(steps: Sequence[_Step | None]) -> _Plan:
    found = [step for step in steps if step]
    common = [(step, step.known) for step in found if step.known is not None]
    return _Plan(
        [name for step, _ in common for name in step.names],
        [known for _, known in common],
        picker([step.slot for step, _ in common]),
        [step[:3] for step, _ in common],
        [step[:3] for step in found if step.known is None],
    )


class _Alternative(NamedTuple):
    """One place of a chain, or several that are joined."""

    cells: int  # those that it reads, as bits
    slot: int  # the first of them
    read: At
    own: Own | None


class _Column:
    """A column's chain, compiled."""

    def __init__(self, grid: Grid, column: Column, chain: Chain, profile: Profile) -> None:
        self._common = column.common and not _is_beside(grid, column, chain)
        self._chain: list[_Alternative] = []
        self._names = (column.name, *column.also)
        # What is known is shared by all shapes in which the same places are asked first.
        self._known: dict[tuple[_Alternative, ...], Known] = {}
        table = profile.values.get(column.table, {})
        for alternative in chain:
            places = grid.places((alternative,))
            if len(places) > 1 and column.kind is Kind.TEXT:
                self._add(places, _joined(column, places), _own_joined(column, places))
            else:
                for place in places:
                    self._add(
                        [place], kinds.at(column, place, table), self._own(column, place, table)
                    )

    def _own(self, column: Column, place: Place, table: Mapping[str, str]) -> Own | None:
        if column.aside:
            if column.kind is not Kind.TEXT or not 0 < place.at < patterns.MOST_COMPONENTS:
                return None
            return Own(self._names, place.slot, patterns.optional(place, column.length), aside=True)
        if column.kind is Kind.CODED and patterns.reaches(place):
            codes = {code: value for code, value in table.items() if value and code != ANY}
            one_of = patterns.one_of(place, codes)
            return Own(self._names, place.slot, one_of, codes.__getitem__) if codes else None
        pattern = patterns.of_column(column, place)
        return Own(self._names, place.slot, pattern) if pattern else None

    def _add(self, places: Sequence[Place], read: At, own: Own | None) -> None:
        self._chain.append(_Alternative(_bits(places), places[0].slot, read, own))

    def step(self, shape: int) -> _Step | None:
        """Give the column's part of a shape's plan; None where it has nothing to read."""
        present = tuple(each for each in self._chain if each.cells & shape)
        if not present:
            return None
        slot = present[0].slot
        alone = tuple(itertools.takewhile(lambda each: each.cells == 1 << slot, present))
        if not self._common or not alone:
            return _Step(slot, present[0].read, _rest(present[1:]), own=present[0].own)
        names, known = self._names, self._known.setdefault(alone, {})
        learning = _learning(alone, names, known)
        return _Step(slot, learning, _rest(present[len(alone) :]), names, known)


def _is_beside(grid: Grid, column: Column, chain: Chain) -> bool:
    """Tell whether a code stands beside what is an order's own, as its priority with its time."""
    return column.kind is Kind.CODED and any(place.at for place in grid.places(chain))


def _rest(chain: Sequence[_Alternative]) -> Rest:
    def rest(row: Row, report: Report, fields: Fields) -> None:
        for alternative in chain:
            found = alternative.read(row[1][alternative.slot], row, report)
            if found is not None:
                fields.update(found)
                return

    return rest


def _learning(alone: Sequence[_Alternative], names: Sequence[str], known: Known) -> At:
    """Read a cell; what it stated without a flag becomes known."""
    reads = [each.read for each in alone]

    def learning(cell: Cell, row: Row, report: Report) -> Fields | None:
        text = cell if isinstance(cell, str) else cell.text
        if text in known:
            return dict(zip(names, known[text], strict=True))
        own = Report()
        for read in reads:
            found = read(cell, row, own)
            if found is not None:
                break
        if found and own.is_empty and 0 < len(text) <= _LONGEST_KNOWN:
            if len(known) >= _MOST_KNOWN:
                known.clear()
            known[text] = tuple(found[name] for name in names)
        report.join(own)
        return found

    return learning


def _leading(places: Sequence[Place]) -> int:
    """Count the components, if they are the first of a field, as those of an address are."""
    indices = [place.at for place in places]
    one_field = len({place.slot for place in places}) == 1
    return len(indices) if one_field and indices == list(range(len(indices))) else 0


def _own_joined(column: Column, places: Sequence[Place]) -> Own | None:
    if not (count := _leading(places)):
        return None
    pattern = patterns.joined(count, column.length)
    return Own((column.name,), places[0].slot, pattern, patterns.join)


def _joined(column: Column, places: Sequence[Place]) -> At:
    name, length, where = column.name, column.length, places[0].where
    one_field = len({place.slot for place in places}) == 1
    indices = [place.at for place in places]
    leading = _leading(places)

    def read(cell: Cell, row: Row, report: Report) -> Fields | None:
        found: list[Value]
        if leading and isinstance(cell, str):
            texts = " ".join(filter(None, cell.split("^")[:leading]))
            text = values.line(texts, length, where, report)
            return {name: text} if text else None
        if one_field and isinstance(cell, str):
            parts = cell.split("^")
            count = len(parts)
            found = [parts[at] for at in indices if at < count and parts[at]]
        else:
            cells = row[1]
            found = [text_of(cells[place.slot], place) for place in places]
        texts = " ".join(value for value in found if isinstance(value, str))
        if texts and (text := values.line(texts, length, where, report)):
            return {name: text}
        return {name: None} if DELETE in found else None

    return read
