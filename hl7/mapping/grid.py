"""Look up the places of a profile in the segments of one order, quickly.

A profile asks for some hundred places, many of them in the same few fields. So the fields
are numbered when the profile is compiled; a message's segments are laid out once as a list
of cells, each a field split into components, and a place is then an index into it. What has
escapes, subcomponents or `""` in it is left to `hl7.er7`, which knows what they mean.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hl7.er7 import Path, Segment, Value
from hl7.profile import Chain

View = Mapping[str, Sequence[Segment]]


# A plain cell has no subcomponents but the first.
_NOWHERE = 1 << 30


class Place(NamedTuple):
    """A place of a profile: the cell of its field, and what of it."""

    slot: int
    at: int  # index of the component in a plain cell
    component: int  # 1 where the profile names none
    where: str
    path: Path


Cell = tuple[Sequence[str], Segment, bool]
"""One repetition of a field that is not empty: its components as received, its segment, and
whether they are plain: no escapes, subcomponents or `""` in them."""

Row = tuple[View, Sequence[Cell | None], int]
"""What readers look at: segments by name, the fields that they asked for, and which of these
say something, as bits: the shape of the message."""

_Wanted = tuple[int, int, int, int]
"""Field, repetition, the slot of its cell, and the bit of that."""

Found = tuple[Value, Place, Cell]
"""A value, and where it stood."""


class Grid:
    """The fields that a set of readers asks for."""

    def __init__(self) -> None:
        self._slots: dict[tuple[str, int, int, int], int] = {}
        self._wanted: dict[tuple[str, int], list[_Wanted]] = {}

    def places(self, chain: Chain) -> tuple[Place, ...]:
        """Give the places of a chain, in order; joined ones as if they were alternatives."""
        return tuple(self.place(path) for alternative in chain for path in alternative)

    def place(self, path: Path) -> Place:
        """Reserve a cell for a field, if it has none yet."""
        key = (path.segment, path.occurrence - 1, path.field, path.repetition)
        if key not in self._slots:
            slot = self._slots[key] = len(self._slots)
            wanted = self._wanted.setdefault(key[:2], [])
            wanted.append((path.field, path.repetition, slot, 1 << slot))
            wanted.sort()
        component = path.component or 1
        at = component - 1 if path.subcomponent < 2 else _NOWHERE
        return Place(self._slots[key], at, component, str(path), path)

    def lay_out(self, view: View) -> Row:
        """Split the fields that were asked for."""
        cells: list[Cell | None] = [None] * len(self._slots)
        shape = 0
        for (name, nth), wanted in self._wanted.items():
            segments = view.get(name)
            if segments is not None and nth < len(segments):
                segment = segments[nth]
                split = _split_plain if segment.plain else _split
                shape |= split(segment, wanted, cells)
        return view, cells, shape


def _split_plain(segment: Segment, wanted: Sequence[_Wanted], cells: list[Cell | None]) -> int:
    """Do what `_split` does for a segment of which it is known to be plain: most are."""
    fields = segment.fields
    count = len(fields)
    component = segment.delimiters.component
    shape = 0
    for field, repetition, slot, bit in wanted:
        if field >= count:
            break
        if repetition == 1 and (text := fields[field]):
            cells[slot] = text.split(component), segment, True
            shape |= bit
    return shape


def _split(segment: Segment, wanted: Sequence[_Wanted], cells: list[Cell | None]) -> int:
    """Fill the cells of a segment, and give their bits of the shape."""
    fields = segment.fields
    count = len(fields)
    delimiters = segment.delimiters
    component, again = delimiters.component, delimiters.repetition
    below, escape = delimiters.subcomponent, delimiters.escape
    shape = 0
    for field, repetition, slot, bit in wanted:
        if field >= count:
            break
        text = fields[field]
        if not text:
            continue
        if repetition > 1 or again in text:
            text = segment.raw(field, repetition)
        if text:
            plain = not (below in text or escape in text or '"' in text)
            cells[slot] = text.split(component), segment, plain
            shape |= bit
    return shape


def first(segment: Segment, field: int) -> Value:
    """Read the first leaf of a field."""
    fields = segment.fields
    if field < len(fields) and fields[field].isalnum():
        return fields[field]
    return segment.get(field)


def leaf(row: Row, chain: Sequence[Place]) -> Found | None:
    """Read the first place of a chain that says something: one leaf, unescaped.

    Blanks say nothing: some senders fill their fields with them.
    """
    cells = row[1]
    for place in chain:
        cell = cells[place[0]]
        if cell is None:
            continue
        if cell[2]:  # plain; this and `leaf_of` are most of the work of reading
            parts, at = cell[0], place[1]
            if at < len(parts) and (part := parts[at]) and not part.isspace():
                return part, place, cell
        elif (value := leaf_of(cell, place)) is not None and not (
            isinstance(value, str) and value.isspace()
        ):
            return value, place, cell
    return None


def leaf_of(cell: Cell, place: Place) -> Value:
    """Read one leaf of a cell."""
    parts, segment, plain = cell
    if plain:
        return (parts[place[1]] or None) if place[1] < len(parts) else None
    path = place.path
    return segment.get(path.field, path.repetition, place.component, path.subcomponent or 1)


def text_of(cell: Cell, place: Place) -> Value:
    """Read a text: the component or subcomponent that the place names, as a whole."""
    parts, segment, plain = cell
    if plain:
        return (parts[place[1]] or None) if place[1] < len(parts) else None
    path = place.path
    return segment.whole(path.field, path.repetition, place.component, path.subcomponent)
