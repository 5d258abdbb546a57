"""The order of segments: which may, and which must follow which in a message's structure.

A structure is a small machine: places between segments, steps from place to place that read
a segment, and steps that read nothing (what is optional is passed over, what repeats leads
back). All places that a message may have come to are kept at once, so that no choice made
early is wrong later: in OMG^O19 an ORC behind an OBR begins an order, or a prior result.

Where no step leads on, what is missed with the fewest segments left out is what is missing;
where nothing leads there at all, the segment is out of place, and is passed over. Z segments
may stand anywhere.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

from hl7.er7 import Message, Segment
from hl7.mapping.report import MOST_FAULTS, Report
from hl7.strictness.reference import FALLBACK, Version, version
from mwl.errors import Reason

# Table 0354, for senders that leave MSH-9.3 out: trigger events that share a structure.
_SHARED: Final = {
    "ADT": {
        **dict.fromkeys(("A04", "A08", "A13"), "A01"),
        **dict.fromkeys(("A14", "A28", "A31"), "A05"),
        "A07": "A06",
        **dict.fromkeys(("A10", "A11"), "A09"),
        **dict.fromkeys(("A22", "A23", "A25", "A26", "A27", "A29", "A32", "A33"), "A21"),
        **dict.fromkeys(("A34", "A35", "A36", "A46", "A47", "A48", "A49"), "A30"),
        **dict.fromkeys(("A40", "A41", "A42"), "A39"),
    },
    "SIU": dict.fromkeys([f"S{n}" for n in (*range(13, 25), 26)], "S12"),
}
_END = ""  # what is read at the end of a message
# hl7apy has these choices of 2.1 as three segments that are all required.
_CHOICES = {("2.1", "ORM_O01_ORDER_DETAIL"): 3}
_NEVER_REQUIRED = frozenset({"NTE"})  # as hl7apy has it in an ORM of 2.2


def check(message: Message, of: Version, report: Report) -> None:
    """Check the order of a message's segments, if it is of a structure that is known."""
    name = structure(message, of)
    if name is None:
        # What no version knows is a matter between its two sides.
        if elsewhere := structure(message, version(FALLBACK)):
            text = f"version {of.name} has no {elsewhere}"
            report.fault(Reason.UNKNOWN_CODE, "MSH-9", text)
        return
    machine = _machine(of.name, name)
    places = machine.begin
    for segment in message.segments:
        if segment.name.startswith("Z"):
            continue
        if len(report.faults) >= MOST_FAULTS:
            return
        places = _step(machine, places, segment, report, name)
    if machine.end not in places:
        for missing in machine.missing(places, _END)[0]:
            report.fault(Reason.SEQUENCE, missing, f"required in {name}, and missing")


def structure(message: Message, of: Version) -> str | None:
    """Name the structure of a message: MSH-9.3, else by its type and event."""
    kind, event, stated = (message.text(f"MSH-9.{n}") for n in (1, 2, 3))
    shared = _SHARED.get(kind, {}).get(event, event)
    names = (stated, f"{kind}_{event}", f"{kind}_{shared}", kind)
    return next((name for name in names if name and of.structure(name)), None)


def _step(
    machine: "_Machine", places: frozenset[int], segment: Segment, report: Report, structure: str
) -> frozenset[int]:
    reached = machine.follow(places, segment.name)
    if reached:
        return reached
    missed, reached = machine.missing(places, segment.name)
    for name in missed:
        text = f"required in {structure} before {segment.name}, and missing"
        report.fault(Reason.SEQUENCE, name, text)
    if reached:
        return reached
    known = segment.name in machine.names
    what = "out of its place in" if known else "no segment of"
    report.fault(Reason.SEQUENCE, segment.name, f"{what} {structure}", segment.occurrence)
    return places


class _Machine:
    """One structure of one version. Threads share it."""

    def __init__(self, of: str, definition: Sequence[Any]) -> None:
        self._of = of
        self._reads: list[list[tuple[str, int]]] = []
        self._free: list[list[int]] = []
        start, self.end = self._new(), self._new()
        self._sequence(definition, start, self.end, "")
        self.begin = self._closure([start])
        self.names = frozenset(name for steps in self._reads for name, _ in steps)
        self.follow = lru_cache(maxsize=1024)(self._follow)

    def missing(self, places: frozenset[int], wanted: str) -> tuple[Sequence[str], frozenset[int]]:
        """Find the fewest segments left out before `wanted`, and the places behind it."""
        queue = deque((place, ()) for place in places)
        seen = set(places)
        while queue:
            place, missed = queue.popleft()
            if (wanted == _END and place == self.end) or self._goes(place, wanted):
                there = [to for name, to in self._reads[place] if name == wanted]
                return missed, self._closure(there)
            for name, to in self._reads[place]:
                for behind in self._closure([to]) - seen:
                    seen.add(behind)
                    queue.append((behind, (*missed, name)))  # type: ignore[arg-type]
        return (), frozenset()

    def _goes(self, place: int, name: str) -> bool:
        return any(read == name for read, _ in self._reads[place])

    def _follow(self, places: frozenset[int], name: str) -> frozenset[int]:
        return self._closure(to for at in places for read, to in self._reads[at] if read == name)

    def _closure(self, places: Iterable[int]) -> frozenset[int]:
        found = set(places)
        open_ = list(found)
        while open_:
            for to in self._free[open_.pop()]:
                if to not in found:
                    found.add(to)
                    open_.append(to)
        return frozenset(found)

    def _new(self) -> int:
        self._reads.append([])
        self._free.append([])
        return len(self._reads) - 1

    def _sequence(self, definition: Sequence[Any], start: int, end: int, name: str) -> None:
        if len(definition) < 2:
            self._free[start].append(end)
            return
        kind, children = definition[:2]
        alternatives = len(children) if kind == "choice" else _CHOICES.get((self._of, name), 0)
        at = start
        if alternatives:
            at = self._new() if alternatives < len(children) else end
            for child in children[:alternatives]:
                self._child(child, start, at)
        for child in children[alternatives:]:
            behind = self._new()
            self._child(child, at, behind)
            at = behind
        if at != end:
            self._free[at].append(end)

    def _child(self, child: Sequence[Any], start: int, end: int) -> None:
        name, definition, (least, most), kind = child
        before, behind = self._new(), self._new()
        self._free[start].append(before)
        self._free[behind].append(end)
        if kind == "GRP":
            self._sequence(definition, before, behind, name)
        else:
            self._reads[before].append((name, behind))
        if least == 0 or name in _NEVER_REQUIRED:
            self._free[before].append(behind)
        if most != 1:
            self._free[behind].append(before)


@lru_cache(maxsize=128)
def _machine(of: str, structure: str) -> _Machine:
    definition = version(of).structure(structure)
    assert definition is not None
    return _Machine(of, definition)
