"""Read places of a profile in segments by name, for messages that are not on the hot path."""

from hl7.er7 import Path, Segment
from hl7.mapping.grid import View
from hl7.mapping.observed import line
from hl7.profile import Chain
from mwl.patients import Identifier

_LONGEST = 199


def where(view: View, chain: Chain) -> tuple[str, Path] | None:
    """Find the first place of a chain that says something, and what: one line."""
    for place, *_ in chain:
        segments = view.get(place.segment, ())
        if place.occurrence <= len(segments):
            value = place.of(segments[place.occurrence - 1])
            if isinstance(value, str) and (text := line(value, _LONGEST)):
                return text, place
    return None


def first(view: View, chain: Chain) -> str:
    """Read the first place of a chain that says something, as one line; "" for none."""
    found = where(view, chain)
    return found[0] if found else ""


def entity(view: View, chain: Chain) -> tuple[Identifier, Path] | None:
    """Read the first EI of a chain, a number and who gave it, and where it stood."""
    found = where(view, chain)
    if found is None:
        return None
    number, place = found
    if place.component:
        return Identifier(number), place
    segment = view[place.segment][place.occurrence - 1]
    parts = [segment.get(place.field, place.repetition, part) for part in (2, 3, 4)]
    issuer = [line(each, _LONGEST) if isinstance(each, str) else "" for each in parts]
    return Identifier(number, *issuer), place


def code(segment: Segment, field: int) -> str:
    """Read a coded field: its first leaf, in capitals."""
    value = segment.get(field)
    return value.strip().upper() if isinstance(value, str) else ""
