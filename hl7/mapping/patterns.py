r"""How the cells of most messages look: patterns whose groups say what reading them would.

Most of what patients and orders have of their own is a few words without anything to mend. So
each kind of column has a pattern of the cells that state, without a flag, what its groups hold.
What a pattern doesn't know, a name of four parts or another script, is no fault: it is read
with care, by `hl7.mapping.kinds`.

Cells are matched together, separated by CR, which no group can hold. What two repetitions
beside each other take has nothing in common, so that a match takes as long as the cells are.
"""

import re
from collections.abc import Callable, Iterable

from hl7.columns import Column, Kind
from hl7.mapping.grid import Place

SEPARATOR = "\r"  # ends a segment, and is in no field

# Ranges, because \w is looked up character by character: Latin, Cyrillic, CJK.
LETTERS = "0-9A-Z_a-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0400-\u0481\u048a-\u052f\u4e00-\u9fff"
SIGNS = r" !#$%'()*+,\-./:;<=>?@\[\]`{}"  # neither delimiters, nor quotes, nor the backslash
_ALNUM = "[0-9A-Za-z]"
_ISSUER = rf"{_ALNUM}{{1,64}}"
_ANY = rf"[^^{SEPARATOR}]*"  # a component
_FURTHER = rf"(?:\^[^{SEPARATOR}]*)?"
# Of three components no longer than these a name has room in its attribute.
_NAME_PART = rf"(?! )[{LETTERS}.,'\- ]{{1,20}}(?<! )"
# Nothing behind the third, except for a type (XPN-7), which says nothing of the name.
_NAME_FORM = (
    rf"(?={_ANY}(?:\^{_ANY}){{0,2}}\^*(?:{SEPARATOR}|\Z)"
    rf"|{_ANY}\^{_ANY}\^{_ANY}\^\^\^\^[A-Z](?:{SEPARATOR}|\Z))"
)
_YEAR = "(?:19|20)[0-9]{2}"
_DAY = (  # February's leap days are left to the calendar
    "(?:(?:0[1-9]|1[0-2])(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])(?:29|30)|(?:0[13578]|1[02])31)"
)

MOST_COMPONENTS = 32

NOTHING = "((?!))?"
"""The pattern of a blank: a group that is None."""


def reaches(place: Place) -> bool:
    """Tell whether there are patterns of a place: no subcomponents but the first."""
    return place.at < MOST_COMPONENTS


def of_column(column: Column, place: Place) -> str | None:
    """Give the pattern of a cell, with a group for each name of the column; None: there is none."""
    make = _MAKERS.get(column.kind)
    return make(column, place) if make and reaches(place) else None


def text(place: Place, length: int) -> str:
    """Match a component that is a text, or an identifier, of at most so many characters."""
    return _component(place, rf"(?! )([{LETTERS}{SIGNS}]{{1,{length}}})(?<! )")


def optional(place: Place, length: int) -> str:
    """Match a cell with or without a component that is a text of at most so many characters."""
    value = rf"(?:(?! )([{LETTERS}{SIGNS}]{{1,{length}}})(?<! ))?"
    return (
        rf"(?:{_ANY}(?:\^{_ANY}){{0,{place.at - 1}}}|(?:{_ANY}\^){{{place.at}}}{value}{_FURTHER})"
    )


def one_of(place: Place, codes: Iterable[str]) -> str:
    """Match a component that is one of so many codes."""
    return _component(place, f"({'|'.join(map(re.escape, codes))})")


def joined(count: int, length: int) -> str:
    """Match the first components of a cell, for `join`."""
    characters = rf"[{LETTERS}{SIGNS}]*"
    short = rf"(?=[^{SEPARATOR}]{{1,{length}}}(?:{SEPARATOR}|\Z))"
    return rf"{short}({characters}(?:\^{characters}){{0,{count - 1}}}){_FURTHER}"


def join(components: str) -> str:
    """Write components side by side; "" where there are none."""
    return " ".join(filter(None, components.split("^"))).strip()


def number(place: Place, length: int) -> str:
    """Match EI: an identifier, and the namespace that it may have."""
    if place.path.component:
        return text(place, length) + NOTHING
    identifier = rf"(?! )([{LETTERS}{SIGNS}]{{1,{length}}})(?<! )"
    return rf"{identifier}(?:\^({_ISSUER}))?"


def uid(place: Place) -> str:
    """Match a UID (PS3.5 9.1)."""
    part = "(?:0|[1-9][0-9]*)"
    return _component(place, rf"(?=[0-9.]{{1,64}}(?:[\^{SEPARATOR}]|\Z))({part}(?:\.{part})+)")


def code(length: int) -> str:
    """Match CE with a code of at most so many characters, and no version of a scheme (CWE.7)."""
    value = rf"[{LETTERS}.\-]{{1,{length}}}"
    meaning = rf"(?! )[{LETTERS}{SIGNS}]{{1,64}}(?<! )"
    return rf"({value}(?:\^{meaning}(?:\^{value})?)?)(?:\^{_ANY}){{0,3}}"


def minute(place: Place) -> str:
    """Match a date with hour and minute, which may have seconds, without a zone of its own."""
    return _component(place, "([0-9]{12}(?:[0-9]{2})?)")


def _component(place: Place, pattern: str) -> str:
    return rf"{_ANY}\^" * place.at + pattern + _FURTHER


def _text(column: Column, place: Place) -> str:
    return text(place, column.length)


def _name(_: Column, __: Place) -> str:
    further = rf"(?:\^{_NAME_PART}(?:\^{_NAME_PART})?|\^\^{_NAME_PART})?"
    return rf"{_NAME_FORM}({_NAME_PART}{further})\^*[A-Z]?"


def _date(_: Column, place: Place) -> str | None:
    return f"({_YEAR}{_DAY})" if place.at == 0 else None


def _entity(column: Column, place: Place) -> str:
    if column.kind is Kind.ENTITY or place.path.component:
        return number(place, column.length)
    return extended(column.length)


def extended(length: int, types: str = "") -> str:
    """Match CX, and the namespace that it may have; with `types` it has one, and one of these."""
    identifier = rf"(?! )([{LETTERS}{SIGNS}]{{1,{length}}})(?<! )"
    issuer = rf"\^{_ANY}\^{_ANY}\^({_ISSUER})"  # behind check digit and scheme
    if types:
        return rf"{identifier}{issuer}\^(?:{types}){_FURTHER}"
    return rf"{identifier}(?:{issuer}{_FURTHER})?"


_MAKERS: dict[Kind, Callable[[Column, Place], str | None]] = {
    Kind.TEXT: _text,
    Kind.NAME: _name,
    Kind.DATE: _date,
    Kind.ENTITY: _entity,
    Kind.PATIENT_ENTITY: _entity,
}
