"""Lay out which field of a message gives which value, and what is made of the others."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hl7 import er7
from hl7.explain.asked import Asked
from hl7.explain.attributes import COLUMNS
from hl7.explain.model import Use
from hl7.explain.targets import Target
from hl7.explain.trying import Effect, Trial

# Where a value stands in a profile, if not under its own name.
_KEYS = {
    "action": ("control", "events"),
    "patient_id": ("patient_identifier.sources",),
    "other_ids": ("patient_identifier.others", "patient_identifier.sources"),
    "prior": ("patient_identifier.prior",),
    "placer_number": ("order.placer",),
    "filler_number": ("order.filler",),
    "patient_weight": ("observations",),
    "patient_size": ("observations",),
    "visit_status": ("order.visit_status", "events"),
    "at": ("when it was sent",),
    "arrived": ("events",),
    "linked": ("events",),
}
# What a column's field fills beside it: the issuer of an identifier, a code's meaning.
_BESIDE = {
    f"{kind}.{also}": f"{kind}.{each.name}"
    for kind, table in COLUMNS.items()
    for each in table.values()
    for also in each.also
}


@dataclass(slots=True)
class Traced:
    """A field: what it does, for what it is asked, and the values that come from it."""

    segment: er7.Segment
    number: int
    effect: Effect
    asked_for: list[str]
    values: dict[str, str] = field(default_factory=dict)  # where it stands → place

    @property
    def place(self) -> str:
        return f"{name_of(self.segment)}-{self.number}"

    @property
    def use(self) -> Use:
        if self.values or self.effect.gives:
            return Use.GIVES
        if self.effect.needed:
            return Use.NEEDED
        if self.asked_for:
            return Use.READ
        return Use.IGNORED if self.effect.is_tried else Use.UNTRIED


def name_of(segment: er7.Segment) -> str:
    """Name a segment as it is shown: OBX(2)."""
    return segment.name if segment.occurrence == 1 else f"{segment.name}({segment.occurrence})"


def trace(message: er7.Message, trial: Trial, asked: Sequence[Asked]) -> list[Traced]:
    """Trace every field that says something."""
    keys: dict[tuple[str, int], dict[str, None]] = {}
    for each in asked:
        keys.setdefault((each.place.segment, each.place.field), {})[each.key] = None
    names = dict.fromkeys(segment.name for segment in message.segments)
    wanted = {segment for segment, _ in keys}
    silent = {name for name in names if name not in wanted | {"MSH"} and trial.says_nothing(name)}
    found = []
    for segment in message.segments:
        for number, text in enumerate(segment.fields):
            if number == 0 or not text or (segment.name == "MSH" and number < 3):
                continue
            for_what = list(keys.get((segment.name, number), ()))
            effect = _effect(trial, segment, number, silent)
            found.append(Traced(segment, number, effect, for_what))
    _attribute(found, trial, asked)
    return found


def _effect(trial: Trial, segment: er7.Segment, number: int, silent: Iterable[str]) -> Effect:
    if segment.name in silent or (segment.name == "MSH" and number != 7):
        return Effect()
    return trial.effect(segment, number)


def _attribute(found: Sequence[Traced], trial: Trial, asked: Sequence[Asked]) -> None:
    """Say of every value where it comes from: what was found by trying, else the chain."""
    known: set[str] = set()
    for each in found:
        for at in each.effect.gives:
            each.values[at] = each.place + each.effect.parts.get(at, "")
            known.add(at)
    for at, target in trial.reading.values.items():
        if at in known:
            continue
        chain = _by_chain(found, target, asked)
        # Fields that say the same, each of which would do; if it hangs on none, a constant. What
        # MSH says of the message as a whole isn't tried.
        places = {(each.segment.name, each.number) for each in chain}
        if chain and (chain[0].segment.name == "MSH" or trial.depends_on(at, places)):
            chain[0].values[at] = chain[0].place


def _by_chain(found: Sequence[Traced], target: Target, asked: Sequence[Asked]) -> list[Traced]:
    """Find the fields under a value's key that say something, in the order of the profile."""
    name = f"{target.kind}.{target.column}"
    keys = _KEYS.get(target.column) or (_BESIDE.get(name, name),)
    said = {(each.segment.name, each.number): each for each in reversed(found)}
    chain: dict[tuple[str, int], Traced] = {}
    for key in keys:
        for each in asked:
            place = each.place.segment, each.place.field
            if (each.key == key or each.key.endswith(f".{key}")) and place in said:
                chain[place] = said[place]
    return list(chain.values())
