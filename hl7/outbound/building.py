"""Build messages with hl7apy: its segments, fields and groups, of the version that is asked for.

hl7apy knows which segments a structure has and in which groups they stand, which fields a
segment has and which parts a data type; what a version doesn't know it refuses. Escapes it
leaves to its caller, and an escape sequence in a text it may escape again. So values are
escaped here, with a character in the escape character's place that means nothing to it.

It is imported when the first message is built: only who delivers pays for it.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hl7.escapes import STANDARD, escape

if TYPE_CHECKING:
    from hl7apy.core import Element

Component = str | tuple[str, ...]  # a tuple: subcomponents
Field = str

# A code point that Unicode keeps out of texts.
_MARK: Final = "\ufdd0"
_INSTEAD: Final = "\ufffd"
_DELIMITERS: Final = {
    "FIELD": STANDARD.field,
    "COMPONENT": STANDARD.component,
    "REPETITION": STANDARD.repetition,
    "ESCAPE": STANDARD.escape,
    "SUBCOMPONENT": STANDARD.subcomponent,
    "GROUP": "\r",
    "SEGMENT": "\r",
}
_WITHDRAWN: Final = ("leaf", None, "ST", "WITHDRAWN", None, -1)
# What came before is no part of what is ordered or reported now.
_NOT_OURS: Final = "_PRIOR"


class Segment(NamedTuple):
    """A segment: its fields by number, as the standard counts them."""

    name: str
    fields: Mapping[int, Field]


def text(value: str) -> Field:
    """Write a value that has no components."""
    return escape(value.replace(_MARK, _INSTEAD)).replace(STANDARD.escape, _MARK)


def components(*parts: Component) -> Field:
    """Write components; empty ones at the end are left out (2.6.2)."""
    return STANDARD.component.join(map(_part, parts)).rstrip(STANDARD.component)


def repeated(fields: Iterable[Field]) -> Field:
    """Write repetitions."""
    return STANDARD.repetition.join(fields)


def build(
    structure: str, version: str, header: Mapping[int, Field], body: Iterable[Segment]
) -> str:
    """Build a message of a structure (ORM_O01) and give its ER7 text; `header` is MSH from 3 on.

    Raises ValueError for a segment that the structure has no place for, and hl7apy's own
    exceptions for a field that the version doesn't know.
    """
    from hl7apy.core import Message

    message = Message(
        structure, version=version, validation_level=_level(), encoding_chars=_DELIMITERS
    )
    msh = message.children[0]
    for each in [each for each in msh.children if each.name not in {"MSH_1", "MSH_2"}]:
        msh.children.remove(each)  # what it says of its own accord
    _fill(msh, header, version)
    places = _Places(message, _definition(structure, "Message", version))
    for each in body:
        places.put(_segment(each, version))
    er7: str = message.to_er7()
    return er7.replace(_MARK, STANDARD.escape).removesuffix("\r") + "\r"


def _part(part: Component) -> str:
    if isinstance(part, str):
        return text(part)
    return STANDARD.subcomponent.join(map(text, part)).rstrip(STANDARD.subcomponent)


def _level() -> int:
    """Give how strictly hl7apy builds: not by lengths, which issuers of the real world exceed."""
    from hl7apy.consts import VALIDATION_LEVEL

    level: int = VALIDATION_LEVEL.TOLERANT
    return level


def _segment(given: Segment, version: str) -> "Element":
    from hl7apy.core import Segment as Element

    reference = None if given.name.startswith("Z") else _definition(given.name, "Segment", version)
    segment = Element(given.name, reference=reference, version=version, validation_level=_level())
    _fill(segment, given.fields, version)
    return segment


def _fill(segment: "Element", fields: Mapping[int, Field], version: str) -> None:
    from hl7apy.core import Field as Element

    is_ours = segment.name.startswith("Z")
    for number, value in fields.items():
        for repetition in value.split(STANDARD.repetition) if value else ():
            name = f"{segment.name}_{number}"
            reference = None if is_ours else _definition(name, "Field", version)
            field = Element(name, reference=reference, version=version, validation_level=_level())
            field.value = repetition
            segment.add(field)


@lru_cache(maxsize=1024)
def _definition(name: str, kind: str, version: str) -> Sequence[Any]:
    """Give hl7apy's definition, mended: a segment's fields stand at their numbers.

    Of v2.7 and later it leaves out what was withdrawn, and would write all fields behind that
    in the wrong place; and some data types that have no parts it takes for some that have.
    """
    from hl7apy import load_reference

    found: Sequence[Any] = load_reference(name, kind, version)
    if kind == "Field" and found[0] == "sequence" and found[1] is None:
        return ("leaf", *found[1:])
    return found if kind != "Segment" else ("sequence", _complete(name, found[1]))


def _complete(segment: str, fields: Sequence[Any]) -> Sequence[Any]:
    by_number = {int(field[0].rpartition("_")[2]): field for field in fields}
    return tuple(
        by_number.get(number) or (f"{segment}_{number}", _WITHDRAWN, (0, -1), "FIE")
        for number in range(1, max(by_number) + 1)
    )


class _Places:
    """Where in the structure the next segment goes: the groups that are open, outermost first."""

    def __init__(self, message: "Element", definition: Sequence[Any]) -> None:
        self._open = [(message, definition[1], -1)]

    def put(self, segment: "Element") -> None:
        if segment.name.startswith("Z"):
            self._open[-1][0].add(segment)
            return
        for depth in range(len(self._open), 0, -1):
            group, children, last = self._open[depth - 1]
            way = _way(segment.name, children, last)
            if way:
                del self._open[depth:]
                self._descend(group, children, way, segment)
                return
        raise ValueError(f"{self._open[0][0].name} has no place for {segment.name}")

    def _descend(
        self, group: "Element", children: Sequence[Any], way: Sequence[int], segment: "Element"
    ) -> None:
        for index in way:
            self._open[-1] = (group, children, index)
            name, definition, _, kind = children[index]
            if kind == "GRP":
                group, children = group.add_group(name), definition[1]
                self._open.append((group, children, -1))
        group.add(segment)


def _way(name: str, children: Sequence[Any], last: int) -> Sequence[int]:
    """Find the way down to a segment, by index: behind `last`, or `last` again if it repeats."""
    for index, (child, definition, (_, most), kind) in enumerate(children):
        if index < last or (index == last and most == 1) or _NOT_OURS in child:
            continue
        if kind == "GRP":
            below = _way(name, definition[1], -1)
            if below:
                return [index, *below]
        elif child == name:
            return [index]
    return []
