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


class Place(NamedTuple):
    """A place of a profile: the cell of its field, and what of it."""

    slot: int
    component: int  # 1 where the profile names none
    subcomponent: int  # 0 where the profile names none
    where: str
    path: Path


Cell = tuple[Sequence[str], Segment, bool]
"""One repetition of a field that is not empty: its components as received, its segment, and
whether they are plain: no escapes, subcomponents or `""` in them."""

Row = tuple[View, Sequence[Cell | None]]
"""What readers look at: segments by name, and the fields that they asked for."""

Found = tuple[Value, Place, Cell]
"""A value, and where it stood."""


class Grid:
    """The fields that a set of readers asks for."""

    def __init__(self) -> None:
        self._slots: dict[tuple[str, int, int, int], int] = {}
        self._plan: dict[tuple[str, int], list[tuple[int, int, int]]] = {}

    def places(self, chain: Chain) -> tuple[Place, ...]:
        """Give the places of a chain, in order; joined ones as if they were alternatives."""
        return tuple(self.place(path) for alternative in chain for path in alternative)

    def place(self, path: Path) -> Place:
        """Reserve a cell for a field, if it has none yet."""
        key = (path.segment, path.occurrence - 1, path.field, path.repetition)
        if key not in self._slots:
            slot = self._slots[key] = len(self._slots)
            wanted = self._plan.setdefault(key[:2], [])
            wanted.append((path.field, path.repetition, slot))
            wanted.sort()
        return Place(self._slots[key], path.component or 1, path.subcomponent, str(path), path)

    def lay_out(self, view: View) -> Row:
        """Split the fields that were asked for."""
        cells: list[Cell | None] = [None] * len(self._slots)
        for (name, nth), wanted in self._plan.items():
            segments = view.get(name)
            if segments is not None and nth < len(segments):
                _split(segments[nth], wanted, cells)
        return view, cells


def _split(
    segment: Segment, wanted: Sequence[tuple[int, int, int]], cells: list[Cell | None]
) -> None:
    fields = segment.fields
    count = len(fields)
    delimiters = segment.delimiters
    component, again = delimiters.component, delimiters.repetition
    below, escape = delimiters.subcomponent, delimiters.escape
    for field, repetition, slot in wanted:
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


def leaf(row: Row, chain: Sequence[Place]) -> Found | None:
    """Read the first place of a chain that says something: one leaf, unescaped."""
    cells = row[1]
    for place in chain:
        cell = cells[place[0]]
        if cell is None:
            continue
        parts, segment, plain = cell
        _, component, subcomponent, _, path = place
        value: Value
        if not plain or subcomponent > 1:
            value = segment.get(path.field, path.repetition, component, subcomponent or 1)
            if value is not None:
                return value, place, cell
        elif component <= len(parts) and parts[component - 1]:
            return parts[component - 1], place, cell
    return None


def leaf_of(cell: Cell, place: Place) -> Value:
    """Read one leaf of a cell."""
    parts, segment, plain = cell
    _, component, subcomponent, _, path = place
    if not plain or subcomponent > 1:
        return segment.get(path.field, path.repetition, component, subcomponent or 1)
    return (parts[component - 1] or None) if component <= len(parts) else None


def text_of(cell: Cell, place: Place) -> Value:
    """Read a text: the component or subcomponent that the place names, as a whole."""
    parts, segment, plain = cell
    _, component, subcomponent, _, path = place
    if not plain or subcomponent > 1:
        return segment.whole(path.field, path.repetition, component, subcomponent)
    return (parts[component - 1] or None) if component <= len(parts) else None
