"""Find out which field of a message gave which value, by trying: change it, and read again.

The mapping is asked, not imitated: what differs when a field says something else came from
that field, whatever chains, conditions, tables and rules led there. A field is first changed
a little, so that it is still one of its kind (another digit, another letter), and left empty
only if nothing of that can be read. What nobody asks for isn't tried one by one.

Bounded: so many readings, so much time; what was not tried is said to be so.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hl7 import er7
from hl7.explain.targets import Target, targets
from hl7.intake import faults
from hl7.mapping import Change
from mwl.errors import Fault, Rejected

Read = Callable[[er7.Message], Sequence[Change]]

MOST_READINGS: Final = 3_000
LONGEST_S: Final = 1.0
_MOST_COMPONENTS: Final = 32  # of a field that are told apart
_MOST_NAMESAKES: Final = 20  # segments of one name that are told apart
_NULL = '""'


@dataclass(frozen=True, slots=True)
class Reading:
    """What a message was read as."""

    values: dict[str, Target]
    flags: frozenset[str] = frozenset()
    faults: tuple[Fault, ...] = ()


@dataclass(slots=True)
class Effect:
    """What a field does: the values that it gives, by where they stand, and what else.

    `parts` are the components that alone give a value. `needed` is the fault that there
    would be without the field; `flags` are about what it says.
    """

    gives: set[str] = field(default_factory=set)
    parts: dict[str, str] = field(default_factory=dict)  # value → place, as OBR-27.4
    needed: str = ""
    flags: set[str] = field(default_factory=set)
    is_tried: bool = True


class Trial:
    """A message, read as it is and otherwise."""

    def __init__(self, message: er7.Message, read: Read) -> None:
        self._message = message
        self._read = read
        self._left = MOST_READINGS
        self._deadline = time.monotonic() + LONGEST_S
        self.reading = self._as(message.segments)

    @property
    def is_over(self) -> bool:
        """Tell whether there is no more time to try."""
        return self._left <= 0 or time.monotonic() > self._deadline

    def says_nothing(self, name: str) -> bool:
        """Tell whether the mapping is the same without all segments of a name."""
        rest = [each for each in self._message.segments if each.name != name]
        return self._as(rest) == self.reading

    def depends_on(self, at: str, places: set[tuple[str, int]]) -> bool:
        """Tell whether a value is another without these fields, of whichever segment."""
        rest = [
            _with_fields(
                each,
                [
                    "" if number and (each.name, number) in places else text
                    for number, text in enumerate(each.fields)
                ],
            )
            for each in self._message.segments
        ]
        reading = self._as(rest)
        return bool(reading.faults) or at in self._differing(reading)

    def effect(self, segment: er7.Segment, number: int) -> Effect:
        """Try a field."""
        if self.is_over or segment.occurrence > _MOST_NAMESAKES:
            return Effect(is_tried=False)
        effect = Effect()
        text = segment.fields[number]
        without = self._with(segment, number, "")
        if without.faults and not self.reading.faults:
            effect.needed = str(without.faults[0])
        effect.flags = set(self.reading.flags - without.flags) if not without.faults else set()
        for other in _others(text, segment.delimiters):
            reading = self._with(segment, number, other)
            if not reading.faults:
                effect.gives |= self._differing(reading)
                if effect.gives:
                    break
        if not without.faults:
            effect.gives |= self._differing(without)
        self._find_parts(effect, segment, number)
        return effect

    def _find_parts(self, effect: Effect, segment: er7.Segment, number: int) -> None:
        """Find the components that give a value each by itself."""
        marks = segment.delimiters
        text = segment.fields[number]
        if not effect.gives or marks.component not in text or marks.repetition in text:
            return
        components = text.split(marks.component)
        givers: dict[str, list[int]] = {}
        for index, component in enumerate(components[:_MOST_COMPONENTS]):
            if not component or self.is_over:
                continue
            for other in (*_others(component, marks), ""):
                changed = [*components[:index], other, *components[index + 1 :]]
                reading = self._with(segment, number, marks.component.join(changed))
                if not reading.faults:
                    for at in self._differing(reading):
                        givers.setdefault(at, []).append(index + 1)
                    break
        for at, numbers in givers.items():
            if len(numbers) == 1:
                effect.parts[at] = f".{numbers[0]}"

    def _differing(self, other: Reading) -> set[str]:
        mine, theirs = self.reading.values, other.values
        return {at for at in mine if at not in theirs or theirs[at].value != mine[at].value}

    def _with(self, segment: er7.Segment, number: int, text: str) -> Reading:
        fields = [*segment.fields]
        fields[number] = text
        changed = _with_fields(segment, fields)
        return self._as([changed if each is segment else each for each in self._message.segments])

    def _as(self, segments: Sequence[er7.Segment]) -> Reading:
        self._left -= 1
        named: dict[str, list[er7.Segment]] = {}
        for each in segments:
            named.setdefault(each.name, []).append(each)
        try:
            changes = self._read(er7.Message([*segments], named))
        except Rejected as error:
            return Reading({}, faults=error.faults)
        except er7.ParseError as error:
            return Reading({}, faults=tuple(faults(error)))
        return Reading(targets(changes), frozenset(_flags(changes)))


def _with_fields(segment: er7.Segment, fields: list[str]) -> er7.Segment:
    return er7.Segment(fields, segment.delimiters, segment.encoding, segment.occurrence)


def _flags(changes: Sequence[Any]) -> Iterator[str]:
    for change in changes:
        yield from getattr(change, "flags", ())


def _others(text: str, marks: er7.Delimiters) -> Iterator[str]:
    """Give texts like `text` that say something else in each of their parts."""
    if _NULL in text:
        return
    for by in (-1, 1):
        changed = [*text]
        last = -1  # of the part that is being read
        for index, letter in enumerate([*text, marks.component]):
            if letter in (marks.component, marks.repetition, marks.subcomponent):
                if last >= 0:
                    changed[last] = _beside(text[last], by)
                last = -1
            elif letter.isascii() and letter.isalnum():
                last = index
        if changed != [*text]:
            yield "".join(changed)


def _beside(letter: str, by: int) -> str:
    """Give the letter or digit before or behind one, of the same kind."""
    for first, last in ("09", "az", "AZ"):
        if first <= letter <= last:
            found = chr(ord(letter) + by)
            return found if first <= found <= last else chr(ord(letter) - by)
    return letter
