"""HL7's person names (XPN, XCN, CNN) as DICOM's (PN).

The components stand in another order, and HL7 has one more (v2.5.1 2A.88, 2A.89):

    XPN  family ^ given ^ middle ^ suffix ^ prefix ^ degree ^ type ^ representation
    PN   family ^ given ^ middle ^ prefix ^ suffix                        (PS3.5 6.2.1)

The degree joins the suffix. XCN is the same after one identifier, CNN the same one level
lower. A PN has three groups for one name: alphabetic, ideographic, phonetic.
"""

import re
from collections.abc import Iterator, Sequence

from hl7.er7 import Segment
from hl7.escapes import unescape
from hl7.mapping.grid import Cell, Odd, Place, parts_of
from hl7.mapping.report import Report
from hl7.mapping.values import ELLIPSIS, LOCAL_SCHEME, MOST_VALUES, name_component
from mwl.worklist import kept
from mwl.worklist.kept import Item

_NULL = '""'
_GROUP = 64  # PS3.5 6.2: characters a component group
_CODE = 16  # an SH
_INSTITUTION = 64
_UNKNOWN = "UNKNOWN"
_MOST_REPETITIONS = 16
# XPN-8, table 0465: alphabetic, ideographic, phonetic; absent it is alphabetic.
_GROUPS = {"": 0, "A": 0, "I": 1, "P": 2}
_SIMPLE = re.compile(r"[\w .,'-]*")
_SIMPLE_NAME = re.compile(r"[\w .,'-]+(?:\^[\w .,'-]*){0,2}")


def patient_name(cell: Cell, place: Place, report: Report) -> str | None:
    """Read XPN with its repetitions: each fills the group of its representation code.

    Of several alphabetic ones the first counts; the sender's order is its preference. None
    for a name that is deleted, "" where none is given.
    """
    if isinstance(cell, str):
        # Family, given and middle name stand in the same places.
        if len(cell) <= _GROUP and _SIMPLE_NAME.fullmatch(cell) and not _has_blank_edges(cell):
            return cell.strip().rstrip("^")
        return _groups([cell], None, _where(place), report)
    segment, field = cell.segment, place.path.field
    repetitions = segment.fields[field].split(segment.delimiters.repetition, _MOST_REPETITIONS)
    return _groups(repetitions[:_MOST_REPETITIONS], segment, _where(place), report)


def _groups(
    repetitions: Sequence[str], segment: Segment | None, where: str, report: Report
) -> str | None:
    """Fill the three groups of a PN."""
    component = segment.delimiters.component if segment else "^"
    groups = ["", "", ""]
    for raw in repetitions:
        parts = raw.split(component)
        code = parts[7].strip().upper() if len(parts) > 7 else ""
        group = _GROUPS.get(code)
        if group is None:
            report.flag(f"{where}.8: unknown name representation")
        elif not groups[group]:
            name = _name(parts, segment, where, report)
            if name is None:
                return None
            groups[group] = name
    return "=".join(groups).rstrip("=")


def person(cell: Cell, place: Place, report: Report) -> str | None:
    """Read one repetition of XCN, or of NDL, whose first component is a CNN."""
    parts, segment = parts_of(cell), None
    if isinstance(cell, Odd):
        segment = cell.segment
        if parts[0] == _NULL and _deletes(parts):
            return None
        # XCN-1 is an identifier and has no subcomponents; NDL-1 is a name in subcomponents.
        if segment.delimiters.subcomponent in parts[0]:
            parts = parts[0].split(segment.delimiters.subcomponent)
    return _name(parts[1:], segment, _where(place), report) or ""


def persons(cell: Cell, place: Place) -> Iterator[Cell]:
    """Give the repetitions of XCN or NDL, each as a cell."""
    if isinstance(cell, str) or place.path.repetition > 1:
        yield cell
        return
    segment = cell.segment
    delimiters, raw = segment.delimiters, segment.fields[place.path.field]
    repetitions = raw.split(delimiters.repetition, MOST_VALUES)[:MOST_VALUES]
    for text in repetitions:
        if text:
            yield Odd(text.split(delimiters.component), segment)


def identity(cell: Cell, place: Place, name: str, report: Report) -> Item | None:
    """Read who it is whose name that is: an identifier with who assigned it; None without."""
    parts, segment = parts_of(cell), None
    if isinstance(cell, Odd):
        segment = cell.segment
        if segment.delimiters.subcomponent in parts[0]:
            parts = parts[0].split(segment.delimiters.subcomponent)
    where = _where(place)
    identifier = "" if parts[0] == _NULL else _component(parts[0], segment, where, report)
    if not identifier:
        return None
    if len(identifier) > _CODE:
        report.flag(f"{where}: an identifier that (0008,0100) can't hold: not given to scanners")
        return None
    authority, facility = (
        _first(parts[at], segment, where, report) if len(parts) > at else "" for at in (8, 13)
    )
    scheme = authority if 0 < len(authority) <= _CODE else LOCAL_SCHEME
    # PS3.3 table 10-1: where nobody says whose staff it is, there is still to be an institution.
    institution = (facility or authority or _UNKNOWN)[:_INSTITUTION]
    return kept.person(identifier, scheme, name[:_GROUP], institution)


def _first(part: str, segment: Segment | None, where: str, report: Report) -> str:
    """Read the first subcomponent of HD that says something."""
    parts = part.split(segment.delimiters.subcomponent) if segment else [part]
    return next((_component(each, segment, where, report) for each in parts if each), "")


def _where(place: Place) -> str:
    return f"{place.path.segment}-{place.path.field}"


def _name(parts: Sequence[str], segment: Segment | None, where: str, report: Report) -> str | None:
    """Write `family, given, middle, suffix, prefix, degree` as one component group."""
    texts = list(parts[:6])
    if not _SIMPLE.fullmatch("".join(texts)):
        if _deletes(parts):
            return None
        texts = [_component(part, segment, where, report) for part in texts]
    if len(texts) <= 3:  # the components that stand in the same place
        name = "^".join(texts)
    else:
        family, given, middle, suffix, prefix, degree = [*texts, "", ""][:6]
        name = "^".join((family, given, middle, prefix, f"{suffix} {degree}".strip()))
    if _has_blank_edges(name):
        name = "^".join(map(str.strip, name.split("^")))
    name = name.strip().rstrip("^")
    if len(name) <= _GROUP:
        return name
    report.flag(f"{where}: shortened to {_GROUP} characters")
    return name[: _GROUP - len(ELLIPSIS)] + ELLIPSIS


def _has_blank_edges(name: str) -> bool:
    # A scanner that asks for DOE^JANE must find them.
    return " ^" in name or "^ " in name


def _deletes(parts: Sequence[str]) -> bool:
    """Tell whether all that is said is `""`, also as `""^""`."""
    return _NULL in parts and {*parts} <= {_NULL, ""}


def _component(part: str, segment: Segment | None, where: str, report: Report) -> str:
    if segment is None:
        return name_component(part, where, report)
    delimiters = segment.delimiters
    if delimiters.subcomponent in part:
        # FN: surname, or own prefix and own surname where the whole is not given.
        whole, prefix, own = [*part.split(delimiters.subcomponent), "", ""][:3]
        part = whole if whole and whole != _NULL else f"{prefix} {own}".replace(_NULL, "")
    if part == _NULL:
        return ""
    if delimiters.escape in part:
        part = unescape(part, delimiters, segment.encoding)
    return name_component(part, where, report)
