"""Look up the places of a profile in the segments of one order, quickly.

A profile asks for some hundred places, many of them in the same few fields. So the fields
are numbered when the profile is compiled; a message's segments are laid out once as a list
of cells, and a place is then an index into it. Most cells are a field as it came; what has
escapes, subcomponents or `""` in it is left to `hl7.er7`, which knows what they mean.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

from hl7.chains import Chain, Conditions, Edit, Link
from hl7.er7 import Path, Segment, Value
from hl7.escapes import STANDARD, UNDECLARED, Delimiters, escape

View = Mapping[str, Sequence[Segment]]

_COMPONENT = STANDARD.component
_ODD = re.compile(r'[\^~\\&|"]')  # what the standard delimiters would read in a text
# A plain cell has no subcomponents but the first.
NOWHERE = 1 << 30
_MOST_SHAPES = 256


class Place(NamedTuple):
    """A place of a profile: the cell of its field, and what of it."""

    slot: int
    at: int  # index of the component in a plain cell
    component: int  # 1 where the profile names none
    where: str
    path: Path


class Odd:
    """A field that repeats, or has escapes, subcomponents, `""` or delimiters of its own.

    `parts` are its components as received; `text` is all of the field where that alone tells
    what it means, whatever message it is in.
    """

    __slots__ = ("parts", "segment", "text")

    def __init__(self, parts: Sequence[str], segment: Segment, text: str = "") -> None:
        self.parts = parts
        self.segment = segment
        self.text = text

    def __hash__(self) -> int:
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        """Be the same as a text that was known by it: what a memory of cells looks for."""
        return other is self or (self.text != "" and self.text == other)


Cell = str | Odd
"""A field, "" where there is none. A text is plain: all of the field, and nothing in it but
components, separated by `^`."""

Row = tuple[View, Sequence[Cell], int]
"""What readers look at: segments by name, the fields that they asked for, and which of these
say something, as bits: the shape of the message."""

Test = Callable[[Sequence[Cell]], bool]
"""Tells of the cells of a row whether conditions hold."""

Found = tuple[Value, Place, Cell]
"""A value, and where it stood."""


class Grid:
    """The fields that a set of readers asks for."""

    def __init__(self) -> None:
        self._slots: dict[_Slot, int] = {}
        self._layout: _Layout | None = None
        # Cells that are made of others, in the order of their slots.
        self._derived: list[Callable[[Sequence[Cell]], Cell]] = []

    def places(self, chain: Chain) -> tuple[Place, ...]:
        """Give the places of a chain, in order; joined ones as if they were alternatives."""
        return tuple(place for link in chain for place in self._of_link(link))

    def test(self, conditions: Conditions) -> Test:
        """Make the function that tells of a row's cells whether conditions hold."""
        asked = [(self.place(each.place), each.holds) for each in conditions]

        def test(cells: Sequence[Cell]) -> bool:
            for place, holds in asked:
                value = leaf_of(cells[place.slot], place)
                if not holds(value if isinstance(value, str) else ""):
                    return False
            return True

        return test

    def _of_link(self, link: Link) -> list[Place]:
        """Give the places of a link; what is no place of a message gets a cell of its own."""
        if link.is_plain:
            return [self.place(path) for path in link]
        test = self.test(link.when)
        if link.value:
            return [self._derive(link[0], lambda cells: link.value if test(cells) else "")]
        places = [self.place(path) for path in link]
        if link.edit is not None:
            return [self._edited(places[0], link.edit, test)]
        return [self._conditional(place, test) for place in places]

    def _conditional(self, place: Place, test: Test) -> Place:
        slot = place.slot
        return self._derive(place.path, lambda cells: cells[slot] if test(cells) else "")

    def _edited(self, place: Place, edit: Edit, test: Test) -> Place:
        whole = place.path
        # What is left is one text: no component, no repetition.
        alone = Path(whole.segment, 1, occurrence=whole.occurrence)

        def edited(cells: Sequence[Cell]) -> Cell:
            value = text_of(cells[place.slot], place) if test(cells) else None
            text = edit.of(value) if isinstance(value, str) else ""
            if _ODD.search(text):
                return Odd([text], Segment([whole.segment, escape(text)]))
            return text

        return self._derive(alone, edited)._replace(where=place.where)

    def _derive(self, path: Path, make: Callable[[Sequence[Cell]], Cell]) -> Place:
        self._derived.append(make)
        slot = self._slots["", 0, 0, len(self._derived)] = len(self._slots)
        self._layout = None
        component = path.component or 1
        where = str(path) if path.segment else "a constant of the profile"
        at = component - 1 if path.subcomponent < 2 else NOWHERE
        return Place(slot, at, component, where, path)

    def place(self, path: Path) -> Place:
        """Reserve a cell for a field, if it has none yet."""
        key = (path.segment, path.occurrence - 1, path.field, path.repetition)
        if key not in self._slots:
            self._slots[key] = len(self._slots)
            self._layout = None
        component = path.component or 1
        at = component - 1 if path.subcomponent < 2 else NOWHERE
        return Place(self._slots[key], at, component, str(path), path)

    def lay_out(self, view: View) -> Row:
        """Pick the fields that were asked for."""
        layout = self._layout
        if layout is None:
            layout = self._layout = _Layout(self._slots, self._derived)
        return layout.of(view)


_Slot = tuple[str, int, int, int]
"""A segment's name, which of its name from 0, a field, and which repetition of that from 1."""

_Stretch = tuple[str, int, list[Cell], Sequence[int]]
"""What a row takes of the first segment of a name: so many fields, that many blanks where it has
fewer, and the fields that are asked for."""


class _Names(NamedTuple):
    """How rows are laid out that have segments of the same names."""

    stretches: Sequence[_Stretch]
    further: Sequence[_Slot]  # of further segments of a name, and further repetitions
    pick: Callable[[Sequence[Cell]], Sequence[Cell]]


class _Layout:
    """A grid, compiled: segments side by side, then the asked fields picked, both at once."""

    def __init__(
        self, slots: Mapping[_Slot, int], derived: Sequence[Callable[[Sequence[Cell]], Cell]]
    ) -> None:
        self._slots = [*slots]
        self._is_asked = frozenset(name for name, *_ in slots).__contains__
        made = [slot for (name, *_), slot in slots.items() if not name]
        self._derived = list(zip(made, derived, strict=True))
        self._shapes: dict[bytes, int] = {}
        self._by_names: dict[tuple[str, ...], _Names] = {}

    def of(self, view: View) -> Row:
        """Lay out a row."""
        # Those alone that are asked for: a message may have thousands of others.
        names = tuple(filter(self._is_asked, view))
        stretches, further, pick = self._by_names.get(names) or self._compile(names)
        wide: list[Cell] = []
        for name, width, blank, asked in stretches:
            segments = view[name]
            if not segments:
                wide += blank
                continue
            segment = segments[0]
            fields = segment.fields
            if (count := len(fields)) < width:
                wide += fields
                wide += blank[count:]
            else:
                wide += fields[:width]
            if segment.odd != ():
                _mark_odd(wide, segment, width, asked)
        for slot in further:
            wide.append(_further(view, slot))
        wide.append("")
        cells = pick(wide)
        if self._derived:
            cells = self._with_derived([*cells])
        said = bytes(map(bool, cells))
        shape = self._shapes.get(said)
        return view, cells, self._shape(said) if shape is None else shape

    def _compile(self, names: tuple[str, ...]) -> _Names:
        stretches: list[_Stretch] = []
        at: dict[_Slot, int] = {}
        base = 0
        for name in names:
            asked = sorted(field for n, nth, field, r in self._slots if (n, nth, r) == (name, 0, 1))
            if asked:
                width = asked[-1] + 1
                stretches.append((name, width, [""] * width, asked))
                at.update(((name, 0, field, 1), base + field) for field in asked)
                base += width
        there = {*names}
        further = [slot for slot in self._slots if slot[0] in there and slot not in at]
        at.update((slot, base + number) for number, slot in enumerate(further))
        # What is absent is the blank at the end. Of one index itemgetter gives no tuple.
        end = base + len(further)
        pick = itemgetter(*(at.get(slot, end) for slot in self._slots), end)
        if len(self._by_names) >= _MOST_SHAPES:
            self._by_names.clear()
        self._by_names[names] = _Names(stretches, further, pick)
        return self._by_names[names]

    def _with_derived(self, cells: list[Cell]) -> Sequence[Cell]:
        for slot, make in self._derived:
            cells[slot] = make(cells)
        return cells

    def _shape(self, said: bytes) -> int:
        if len(self._shapes) >= _MOST_SHAPES:
            self._shapes.clear()
        shape = self._shapes[said] = sum(1 << slot for slot, says in enumerate(said) if says)
        return shape


def _mark_odd(wide: list[Cell], segment: Segment, width: int, asked: Sequence[int]) -> None:
    """Replace the cells at the end of `wide`, those of a segment, that are more than plain."""
    base = len(wide) - width
    odd = segment.find_odd()
    if odd is None:
        search = _odd(segment.delimiters)
        texts = ((field, wide[base + field]) for field in asked)
        odd = [field for field, text in texts if isinstance(text, str) and search(text)]
    for field in odd:
        if field < width:
            wide[base + field] = _odd_cell(segment, field, 1)


def _further(view: View, slot: _Slot) -> Cell:
    """Give the cell of a further repetition, or of a further segment of its name."""
    name, nth, field, repetition = slot
    segments = view[name]
    if nth >= len(segments):
        return ""
    segment = segments[nth]
    text = segment.raw(field)
    is_plain = segment.odd == () or not (text and _odd(segment.delimiters)(text))
    if is_plain and segment.count(field) < 2:
        return text if repetition == 1 else ""
    return _odd_cell(segment, field, repetition)


@lru_cache(maxsize=64)
def _odd(delimiters: Delimiters) -> Callable[[str], object]:
    """Give the search for what makes a field odd."""
    if delimiters.component != _COMPONENT:
        return bool
    odd = {delimiters.repetition, delimiters.escape, delimiters.subcomponent, '"'}
    return re.compile(f"[{re.escape(''.join(odd - {UNDECLARED}))}]").search


def _odd_cell(segment: Segment, field: int, repetition: int) -> Cell:
    delimiters = segment.delimiters
    text = segment.fields[field]
    if repetition > 1 or delimiters.repetition in text:
        text = segment.raw(field, repetition)
    if not text:
        return ""
    whole = delimiters is STANDARD and text == segment.fields[field]
    known = text if whole and delimiters.escape not in text else ""
    return Odd(text.split(delimiters.component), segment, known)


def first(segment: Segment, field: int) -> Value:
    """Read the first leaf of a field."""
    fields = segment.fields
    if field < len(fields) and fields[field].isalnum():
        return fields[field]
    return segment.get(field)


def word(row: Row, chain: Sequence[Place]) -> str:
    """Read the first place of a chain if that is all of a field, of letters and digits alone.

    Most identifiers are; for all else "", and `leaf` reads it.
    """
    if chain:
        place = chain[0]
        cell = row[1][place[0]]
        if isinstance(cell, str) and place[1] == 0 and cell.isalnum():
            return cell
    return ""


def leaf(row: Row, chain: Sequence[Place]) -> Found | None:
    """Read the first place of a chain that says something: one leaf, unescaped.

    Blanks say nothing: some senders fill their fields with them.
    """
    cells = row[1]
    for place in chain:
        cell = cells[place[0]]
        if not cell:
            continue
        value = part(cell, place[1]) if isinstance(cell, str) else leaf_of(cell, place)
        if value is not None and not (isinstance(value, str) and value.isspace()):
            return value, place, cell
    return None


def leaf_of(cell: Cell, place: Place) -> Value:
    """Read one leaf of a cell."""
    if isinstance(cell, str):
        return part(cell, place[1])
    path = place.path
    return cell.segment.get(path.field, path.repetition, place.component, path.subcomponent or 1)


def text_of(cell: Cell, place: Place) -> Value:
    """Read a text: the component or subcomponent that the place names, as a whole."""
    if isinstance(cell, str):
        return part(cell, place[1])
    path = place.path
    return cell.segment.whole(path.field, path.repetition, place.component, path.subcomponent)


def part(text: str, at: int) -> str | None:
    """Give one component of a plain cell, None where it is empty or absent."""
    if _COMPONENT not in text:
        return (text or None) if at == 0 else None
    parts = text.split(_COMPONENT, at + 1) if at < NOWHERE else ()
    return (parts[at] or None) if at < len(parts) else None


def parts_of(cell: Cell) -> Sequence[str]:
    """Give the components of a cell as received."""
    return cell.split(_COMPONENT) if isinstance(cell, str) else cell.parts


def occurrence(row: Row, place: Place) -> int:
    """Tell which segment of its name in the message a place of this row stands in."""
    segments = row[0].get(place.path.segment, ())
    nth = place.path.occurrence - 1
    return segments[nth].occurrence if nth < len(segments) else 1
