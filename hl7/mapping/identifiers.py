"""HL7's identifiers with their issuers: EI of orders, CX of patients and visits.

A place below the field is an identifier without issuer. An identifier that is blank gives
None, as does, with a fault, one that can't be kept.
"""

from collections.abc import Sequence

from hl7.er7 import Segment
from hl7.mapping import values
from hl7.mapping.grid import Cell, Found, Odd, Place, Row, occurrence
from hl7.mapping.report import Report
from mwl.patients import Identifier

_LONGEST_ISSUER = 64
_LONGEST_UNIVERSAL_ID = 199


def plain_entity(cell: Cell, length: int) -> Identifier | None:
    """Read EI of letters and digits with a namespace of the same, as most are; None: `entity`."""
    if not isinstance(cell, str):
        return None
    text, _, namespace = cell.partition("^")
    if not text.isalnum() or len(text) > length or len(namespace) > _LONGEST_ISSUER:
        return None
    return Identifier(text, namespace) if namespace.isalnum() or cell == text else None


def entity(
    found: Found, length: int, row: Row, report: Report, *, mapped: bool = False
) -> Identifier | None:
    """Read EI: identifier, and its issuer in components 2 to 4."""
    value, place, cell = found
    text = _identifier(value, length, place, row, report, mapped=mapped)
    if not text:
        return None
    if place.path.component:
        return Identifier(text)
    if isinstance(cell, Odd):
        issuer = [_part(cell.segment, place, component, 1) for component in (2, 3, 4)]
        return Identifier(text, *_checked(issuer, place, row, report))
    parts = cell.split("^")
    if len(parts) == 1:
        return Identifier(text)
    if len(parts) == 2 and parts[1].isalnum() and len(parts[1]) <= _LONGEST_ISSUER:
        return Identifier(text, parts[1])
    issuer = [*parts[1:4], "", "", ""][:3]
    return Identifier(text, *_checked(issuer, place, row, report))


def extended(
    found: Found, length: int, row: Row, report: Report, *, mapped: bool = False
) -> Identifier | None:
    """Read CX: identifier, and its issuer in the subcomponents of component 4."""
    value, place, cell = found
    text = _identifier(value, length, place, row, report, mapped=mapped)
    if not text:
        return None
    parts = cell.split("^", 4) if isinstance(cell, str) else cell.parts
    if place.path.component or len(parts) < 4:
        return Identifier(text)
    if isinstance(cell, Odd):
        issuer = [_part(cell.segment, place, 4, subcomponent) for subcomponent in (1, 2, 3)]
    elif parts[3].isalnum() and len(parts[3]) <= _LONGEST_ISSUER:
        return Identifier(text, parts[3])
    else:
        issuer = [parts[3], "", ""]
    return Identifier(text, *_checked(issuer, place, row, report))


def _identifier(  # noqa: PLR0913 - as values.identifier
    text: object, length: int, place: Place, row: Row, report: Report, *, mapped: bool
) -> str | None:
    assert isinstance(text, str)
    if text.isalnum() and len(text) <= length:
        return text
    nth = occurrence(row, place)
    return values.identifier(text, length, place.where, report, nth, mapped=mapped)


def _part(segment: Segment, place: Place, component: int, subcomponent: int) -> str:
    value = segment.get(place.path.field, place.path.repetition, component, subcomponent)
    return value if isinstance(value, str) else ""


def _checked(issuer: Sequence[str], place: Place, row: Row, report: Report) -> Sequence[str]:
    namespace, universal_id, kind = issuer
    where, nth = place.where, occurrence(row, place)
    return (
        values.identifier(namespace, _LONGEST_ISSUER, where, report, nth) or "",
        values.identifier(universal_id, _LONGEST_UNIVERSAL_ID, where, report, nth) or "",
        values.identifier(kind, _LONGEST_ISSUER, where, report, nth) or "",
    )
