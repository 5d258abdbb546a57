"""Read chains of a profile in segments by name, for messages that are not on the hot path."""

from hl7.chains import Chain, Conditions, Link
from hl7.er7 import Path, Segment
from hl7.mapping.grid import View
from hl7.mapping.observed import line
from mwl.patients import Identifier

LONGEST = 199


def where(view: View, chain: Chain) -> tuple[str, Link] | None:
    """Find the first link of a chain that says something, and what: one line."""
    for link in chain:
        if text := _of(view, link):
            return text, link
    return None


def first(view: View, chain: Chain) -> str:
    """Read the first link of a chain that says something, as one line; "" for none."""
    found = where(view, chain)
    return found[0] if found else ""


def entity(view: View, chain: Chain) -> tuple[Identifier, Path] | None:
    """Read the first EI of a chain, a number and who gave it, and where it stood.

    A constant, and what is cut out of a field, is a number without an issuer.
    """
    found = where(view, chain)
    if found is None:
        return None
    number, link = found
    place = link[0]
    if place.component or link.value or link.edit:
        return Identifier(number), place
    segment = view[place.segment][place.occurrence - 1]
    parts = [segment.get(place.field, place.repetition, part) for part in (2, 3, 4)]
    issuer = [line(each, LONGEST) if isinstance(each, str) else "" for each in parts]
    return Identifier(number, *issuer), place


def hold(view: View, conditions: Conditions) -> bool:
    """Tell whether conditions hold for these segments."""
    return all(each.holds(_leaf(view, each.place)) for each in conditions)


def code(segment: Segment, field: int) -> str:
    """Read a coded field: its first leaf, in capitals."""
    value = segment.get(field)
    return value.strip().upper() if isinstance(value, str) else ""


def _of(view: View, link: Link) -> str:
    if not hold(view, link.when):
        return ""
    if link.value:
        return link.value
    text = " ".join(filter(None, (_leaf(view, place) for place in link)))
    return line(link.edit.of(text) if link.edit else text, LONGEST)


def _leaf(view: View, place: Path) -> str:
    segments = view.get(place.segment, ())
    value = place.of(segments[place.occurrence - 1]) if place.occurrence <= len(segments) else None
    return value if isinstance(value, str) else ""
