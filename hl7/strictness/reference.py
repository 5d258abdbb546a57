"""What one version of the standard says, as hl7apy knows it (2.1 to 2.8.2).

hl7apy's own parser is not asked: it takes milliseconds a message, stops at the first fault,
reads LF-only messages as one segment, drops Z segments where it looks for groups, and quotes
values in what it says. Its reference tables and its reading of dates and numbers are what is
used here, brought into the shape that checking needs, once a version.

Its tables are not the standard to the letter; what is known to be wrong or open-ended in them
stands here, each with its reason.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from types import ModuleType
from typing import Any, Final, NamedTuple

from hl7apy import SUPPORTED_LIBRARIES, load_library
from hl7apy.utils import check_date, check_datetime, check_timestamp

FALLBACK: Final = "2.5.1"
VERSIONS: Final = frozenset(SUPPORTED_LIBRARIES)

# Tables of ID that a site may extend, or that hl7apy holds in part: 0396 (coding systems, 99zzz
# is any of them), 0203 ("NNxxx"), 0301 (L, M, N in one value), 0399 (ISO 3166), 0211 (UTF-8 came
# late, and everybody sends it), 0191 and 0291 (MIME types, now), and those with prose for a value.
_OPEN = ("0191", "0203", "0207", "0211", "0291", "0301", "0356", "0359", "0396", "0399", "0418")
_OPEN_TABLES = frozenset(f"HL7{n}" for n in _OPEN)
# Any value may stand there: another field says which type it is, or the version says nothing.
_FREE = frozenset({"varies", "CM", "wd", "WD", None})
# TN is one of them: its form is that of one country's telephone numbers.
_TEXTS = frozenset({"ST", "TX", "FT", "IS", "GTS", "TN"})
_WITHOUT_LENGTHS = "2.7"  # since then no data type has a longest length
_BAD_SEGMENTS = frozenset({"ORO"})  # of 2.1, which hl7apy holds in another shape
_BAD_COMPONENTS = frozenset({"TS_2"})  # "required" in 2.1
_BAD_TYPE = "ED"  # its data are called TX, which is shorter than any document


class Part(NamedTuple):
    """A field, component or subcomponent: `most` -1 has no end, 0 is withdrawn."""

    type: str
    required: bool = False
    most: int = 1
    table: str = ""
    name: str = ""


_WITHDRAWN = Part("", most=0)


class Version:
    """One version's segments, data types and tables. Threads share it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._library: Any = _library(name)
        self._has_lengths = name < _WITHOUT_LENGTHS
        self.segment = lru_cache(maxsize=256)(self._segment)
        self.components = lru_cache(maxsize=256)(self._components)
        self.table = lru_cache(maxsize=512)(self._table)
        self.longest = lru_cache(maxsize=64)(self._longest)

    def structure(self, name: str) -> Sequence[Any] | None:
        """Give hl7apy's definition of a message structure: ORM_O01."""
        found: Sequence[Any] | None = self._library.MESSAGES.get(name)
        return found

    def _segment(self, name: str) -> Sequence[Part] | None:
        """Give the fields of a segment, the first one first; None: this version has no such."""
        found = self._library.SEGMENTS.get(name)
        if found is None:
            return None
        if name in _BAD_SEGMENTS or len(found) < 2 or found[0] != "sequence":
            return ()
        return _parts(found[1])

    def _components(self, type_: str) -> Sequence[Part] | None:
        """Give the components of a data type; None: it has none."""
        found = self._library.DATATYPES_STRUCTS.get(type_)
        return None if found is None else _parts(found)

    def has_type(self, type_: str) -> bool:
        """Tell whether a data type is one of this version's: what OBX-2 may say."""
        return type_ in self._library.BASE_DATATYPES or self.components(type_) is not None

    def _table(self, name: str) -> frozenset[str]:
        """Give the values of a table that is closed; empty: any value will do."""
        # 2.1 to 2.3 have no tables in hl7apy, or few.
        found = getattr(self._library, "TABLES", {}).get(name)
        return frozenset(found[1]) if found and name not in _OPEN_TABLES else frozenset()

    def _longest(self, type_: str) -> int | None:
        """Give the longest length of a text of this type, in characters."""
        if not self._has_lengths or type_ not in _TEXTS:
            return None
        with suppress(KeyError, ValueError, TypeError):
            longest: int | None = self._library.BASE_DATATYPES[type_]("").max_length
            return longest
        return None


@lru_cache(maxsize=16)
def version(name: str) -> Version:
    """Load a version, the first time it is asked for; one of VERSIONS."""
    return Version(name)


def _library(name: str) -> ModuleType:
    library: ModuleType = load_library(name)
    return library


def _parts(children: Sequence[Any]) -> Sequence[Part]:
    """Put each at its number; what a version withdrew hl7apy may leave out."""
    numbered = {int(child[0].rpartition("_")[2]): _part(child) for child in children}
    return [numbered.get(number, _WITHDRAWN) for number in range(1, max(numbered, default=0) + 1)]


def _part(child: Sequence[Any]) -> Part:
    name, (_, _, type_, _, table, *_), (least, most), _ = child
    # TS is text to hl7apy before v2.5; its first component was a time then too.
    type_ = "TS_1" if name == "TS_1" else "" if type_ in _FREE else type_
    type_ = "" if name.partition("_")[0] == _BAD_TYPE and type_ == "TX" else type_
    is_required = least > 0 and name not in _BAD_COMPONENTS
    return Part(type_, is_required, most, table if type_ == "ID" and table else "", name)


def _is_number(value: str) -> bool:
    try:
        return Decimal(value).is_finite() and len(value) <= _LONGEST_NUMBER
    except InvalidOperation:
        return False


def _is_sequence_id(value: str) -> bool:
    return value.isascii() and value.isdecimal() and len(value) <= _LONGEST_SEQUENCE_ID


_LONGEST_NUMBER = 16  # 2A.47
_LONGEST_SEQUENCE_ID = 4  # 2A.67
_LONGEST_TIME = 26  # 2A.77

READS: Final[dict[str, tuple[Callable[[str], bool], str]]] = {
    "DT": (check_date, "no date: YYYYMMDD"),
    "TM": (check_timestamp, "no time: HHMMSS"),
    "DTM": (check_datetime, "no date and time: YYYYMMDDHHMMSS"),
    "TS_1": (check_datetime, "no date and time: YYYYMMDDHHMMSS"),
    "NM": (_is_number, "no number"),
    "SI": (_is_sequence_id, "no sequence ID: at most four digits"),
}
"""Data types that are more than text: what reads them, and what is wrong where that fails."""


def is_readable(type_: str, value: str) -> bool:
    """Tell whether a value is of a type in READS."""
    reads, _ = READS[type_]
    return len(value) <= _LONGEST_TIME and bool(reads(value))
