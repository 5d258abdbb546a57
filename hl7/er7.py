"""Read HL7 v2 messages in their ER7 ("pipe and hat") encoding.

`Message.parse(text)` splits a decoded message into segments and fields; components,
repetitions and escapes are looked at only where somebody asks for them. Places are named
as in the standard, counted from 1: `PID-3.1`, `PID-3(2).4.1` (second repetition),
`OBX(2)-5` (second OBX). Three things a field can say are kept apart (HL7 v2.5.1 2.5.3.6):

- absent or empty: `None`, keep what is known;
- `""`: `DELETE`, what is known is no longer so, and so is everything below that place;
- anything else: its text, unescaped.

A place above the leaves means its first leaf: `PID-8` of `F^Female` is `F`, because a
receiver ignores components it doesn't expect (2.8.2). `whole` gives all of a place, for
free text whose sender forgot to escape: `OBR-4.2` of `CT thorax & abdomen`.

Tolerated: CR, LF or CRLF between segments, blank lines, line breaks within a text, a byte
order mark, any legal delimiters, segments that nobody knows. Not tolerated, because data
could be lost without a word: no MSH at the start, a second MSH, ambiguous delimiters, NUL.
"""

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

from hl7.escapes import STANDARD, UNDECLARED, Delimiters, escape, unescape

__all__ = [
    "DELETE",
    "Delete",
    "Delimiters",
    "Message",
    "ParseError",
    "Path",
    "Segment",
    "Value",
    "character_sets",
    "escape",
    "header",
    "path",
    "unescape",
]

MAX_SEGMENTS = 10_000
MAX_FIELDS = 1_000
MAX_REPETITIONS = 1_000
MAX_HEADER = 4_096  # bytes in which `header` looks for the end of MSH

# Letters, digits and `"` would make values unreadable; so would anything outside ASCII.
_LEGAL = frozenset(string.punctuation) - {'"'}
_NULL = '""'
_PLAIN: Sequence[int] = ()
# By the delimiters that the standard recommends.
_ODD = ("~", "\\", "&", '"')
_LONGEST_LOOKED_AT = 4_096  # characters of a segment
_QUOTE = '"'
# How most segments begin.
_BEGINS = frozenset(
    [
        *("MSH|", "EVN|", "PID|", "PD1|", "PV1|", "PV2|", "AL1|", "DG1|"),
        *("ORC|", "TQ1|", "OBR|", "OBX|", "NTE|", "IPC|", "ZDS|"),
    ]
)
_LEADING = "\ufeff \t\r\n\x0b"


class ParseError(ValueError):
    """A text that is no HL7 message; `where` names the place as far as there is one."""

    def __init__(self, where: str, text: str) -> None:
        super().__init__(f"{where}: {text}" if where else text)
        self.where = where
        self.text = text


class Delete(Enum):
    """The type of `DELETE`, so that a type checker sees who forgot it."""

    DELETE = _NULL

    def __repr__(self) -> str:
        return self.name


DELETE: Final = Delete.DELETE
Value = str | Delete | None


@lru_cache(maxsize=256)
def _delimiters(beginning: str) -> Delimiters:
    """Read MSH-1 and MSH-2 from what follows the name of MSH, as far as they can reach."""
    separator = beginning[:1]
    # An end of line ends MSH too: `MSH|^~\&` and nothing more.
    line = beginning[1:].replace("\n", "\r").partition("\r")[0]
    msh_2 = line.partition(separator or "|")[0]
    # 2.5.4: in this order, each one character; v2.7 appended the truncation character.
    found = separator + msh_2
    if not 1 <= len(msh_2) <= 5:
        raise ParseError("MSH-2", "one to five encoding characters are needed")
    if not _LEGAL.issuperset(found) or len(set(found)) != len(found):
        raise ParseError("MSH-2", "delimiters must be distinct ASCII punctuation")
    delimiters = Delimiters(*found.ljust(6, UNDECLARED))
    return STANDARD if delimiters == STANDARD else delimiters


@dataclass(frozen=True, slots=True)
class Path:
    """A place in a message; `component` and `subcomponent` are 0 where it names none."""

    segment: str
    field: int
    repetition: int = 1
    component: int = 0
    subcomponent: int = 0
    occurrence: int = 1

    def of(self, segment: "Segment | None") -> Value:
        """Read this place in a segment, whatever the segment's name."""
        if segment is None:
            return None
        return segment.get(self.field, self.repetition, self.component or 1, self.subcomponent or 1)

    def whole(self, segment: "Segment | None") -> Value:
        """Read all of this place in a segment; see `Segment.whole`."""
        if segment is None:
            return None
        return segment.whole(self.field, self.repetition, self.component, self.subcomponent)

    def __str__(self) -> str:
        name = self.segment if self.occurrence == 1 else f"{self.segment}({self.occurrence})"
        name += f"-{self.field}" if self.repetition == 1 else f"-{self.field}({self.repetition})"
        name += f".{self.component}" if self.component else ""
        return name + (f".{self.subcomponent}" if self.subcomponent else "")


_COUNT = r"([1-9]\d{0,3})"
_PATH = re.compile(
    rf"([A-Z][A-Z0-9]{{2}})(?:\({_COUNT}\))?-{_COUNT}(?:\({_COUNT}\))?(?:\.{_COUNT}(?:\.{_COUNT})?)?"
)


@lru_cache(maxsize=4096)
def path(name: str) -> Path:
    """Compile a place's name: `PID-3.1`, `PID-3(2).4.1`, `OBX(2)-5`.

    Raises ValueError for what is no such name.
    """
    match = _PATH.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} names no HL7 field; write PID-3.1, PID-3(2).4.1 or OBX(2)-5")
    segment, occurrence, field, repetition, component, subcomponent = match.groups()
    return Path(
        segment,
        int(field),
        int(repetition or 1),
        int(component or 0),
        int(subcomponent or 0),
        int(occurrence or 1),
    )


class Segment:
    """One segment: `fields[n]` is field n as received, `fields[0]` the name.

    `occurrence` counts the segments of this name in the message, from 1. `odd` numbers the
    fields in which there is more than components, with the delimiters that the standard
    recommends; None: that isn't known yet.
    """

    __slots__ = ("delimiters", "encoding", "fields", "name", "occurrence", "odd")

    def __init__(
        self,
        fields: list[str],
        delimiters: Delimiters = STANDARD,
        encoding: str = "utf-8",
        occurrence: int = 1,
        odd: Sequence[int] | None = None,
    ) -> None:
        self.name = fields[0]
        self.fields = fields
        self.delimiters = delimiters
        self.encoding = encoding
        self.occurrence = occurrence
        self.odd = odd

    def __repr__(self) -> str:  # never the content: it may be a patient's
        return f"<Segment {self.name}({self.occurrence})>"

    def find_odd(self) -> Sequence[int] | None:
        """Look for `odd`; None in a message with other delimiters, or in a long segment."""
        if self.odd is None and self.delimiters is STANDARD and self.name != "MSH":
            line = STANDARD.field.join(self.fields)
            if len(line) <= _LONGEST_LOOKED_AT:
                self.odd = _odd_fields(line)
        return self.odd

    def get(
        self, field: int, repetition: int = 1, component: int = 1, subcomponent: int = 1
    ) -> Value:
        """Read one leaf, unescaped."""
        fields = self.fields
        if field >= len(fields) or not (text := fields[field]):
            return None
        if field < 3 and self.name == "MSH":
            return text  # 2.15.9: MSH-1 and MSH-2 are the delimiters themselves
        if self.delimiters.repetition in text:
            text = _nth(text, self.delimiters.repetition, repetition)
        elif repetition > 1:
            return None
        return self._leaf(text, component, subcomponent)

    def _leaf(self, text: str, component: int, subcomponent: int) -> Value:
        delimiters = self.delimiters
        if text == _NULL:
            return DELETE
        if delimiters.component in text:
            text = _nth(text, delimiters.component, component)
        elif component > 1:
            return None
        if delimiters.subcomponent in text and text != _NULL:
            text = _nth(text, delimiters.subcomponent, subcomponent)
        elif subcomponent > 1 and text != _NULL:
            return None
        if text == _NULL:
            return DELETE
        if delimiters.escape in text:
            text = unescape(text, delimiters, self.encoding)
        return text or None

    def whole(
        self, field: int, repetition: int = 1, component: int = 0, subcomponent: int = 0
    ) -> Value:
        """Read all of a field, component or subcomponent (0: not narrowed down), unescaped.

        The delimiters below that place stay in the text, those at its end excepted.
        """
        delimiters = self.delimiters
        text = self.raw(field, repetition)
        if self.name == "MSH" and field < 3:
            return text or None
        for separator, number in (
            (delimiters.component, component),
            (delimiters.subcomponent, subcomponent),
        ):
            if text == _NULL:
                return DELETE
            if number:
                text = _nth(text, separator, number)
        text = text.rstrip(delimiters.component + delimiters.subcomponent)
        if text == _NULL:
            return DELETE
        return unescape(text, delimiters, self.encoding) or None

    def raw(self, field: int, repetition: int = 1) -> str:
        """Give one repetition of a field as received, escapes and delimiters included."""
        if field >= len(self.fields):
            return ""
        if self.name == "MSH" and field < 3:
            return self.fields[field]
        return _nth(self.fields[field], self.delimiters.repetition, repetition)

    def count(self, field: int) -> int:
        """Count the repetitions of a field: 0 when it is absent or empty.

        Raises ParseError beyond MAX_REPETITIONS.
        """
        if field >= len(self.fields) or not self.fields[field]:
            return 0
        if self.name == "MSH" and field < 3:
            return 1
        count = self.fields[field].count(self.delimiters.repetition) + 1
        if count > MAX_REPETITIONS:
            raise ParseError(f"{self.name}-{field}", f"more than {MAX_REPETITIONS} repetitions")
        return count


def _odd_fields(line: str) -> Sequence[int]:
    found: set[int] = set()
    for mark in _ODD:
        field = end = 0
        while (at := line.find(mark, end)) >= 0:
            field += line.count("|", end, at)
            found.add(field)
            end = line.find("|", at)
            if end < 0:
                break
    return sorted(found)


def _nth(text: str, separator: str, number: int) -> str:
    parts = text.split(separator, number)
    return parts[number - 1] if number <= len(parts) else ""


class Message:
    """A message: its segments in order, the first of them MSH, and the same by `named`.

    `embedded` are documents that were lifted out of it, by what stands in their place.
    """

    __slots__ = ("delimiters", "embedded", "encoding", "named", "segments")

    def __init__(self, segments: list[Segment], named: dict[str, list[Segment]]) -> None:
        self.segments = segments
        self.delimiters = segments[0].delimiters
        self.encoding = segments[0].encoding
        self.embedded: Mapping[str, memoryview] = {}
        self.named = named

    @classmethod
    def parse(cls, text: str, encoding: str = "utf-8") -> "Message":
        r"""Split a message into segments and fields.

        `encoding` is the Python codec the text was decoded with: the bytes in `\Xhh..\` are
        read with it. Raises ParseError.
        """
        text = text.lstrip(_LEADING)
        delimiters = _read_delimiters(text)
        separator, again = delimiters.field, delimiters.repetition
        mark, below = delimiters.escape, delimiters.subcomponent
        usual = delimiters is STANDARD
        many = text.count(separator) > MAX_FIELDS
        segments: list[Segment] = []
        named: dict[str, list[Segment]] = {}
        for line in _lines(text, separator):
            fields = line.split(separator, MAX_FIELDS)
            if many and len(fields) > MAX_FIELDS:
                raise ParseError(fields[0][:3], f"more than {MAX_FIELDS} fields")
            plain = usual and not (again in line or mark in line or below in line or _QUOTE in line)
            odd = _PLAIN if plain else None
            segment = Segment(fields, delimiters, encoding, 1, odd)
            segments.append(segment)
            if fields[0] in named:
                namesakes = named[fields[0]]
                namesakes.append(segment)
                segment.occurrence = len(namesakes)
            else:
                named[fields[0]] = [segment]
        if len(named["MSH"]) > 1:
            raise ParseError("MSH", "a second MSH: several messages in one frame")
        segments[0].fields.insert(1, separator)
        return cls(segments, named)

    def __repr__(self) -> str:  # never the content: it may be a patient's
        return f"<Message of {len(self.segments)} segments>"

    @property
    def header(self) -> Segment:
        return self.segments[0]

    def first(self, name: str) -> Segment | None:
        """Give the first segment of that name."""
        named = self.named.get(name)
        return named[0] if named else None

    def all(self, name: str) -> Sequence[Segment]:
        """Give all segments of that name, in order."""
        return self.named.get(name, ())

    def get(self, place: str | Path) -> Value:
        """Read one leaf, unescaped; ValueError when `place` names none."""
        where = path(place) if isinstance(place, str) else place
        return where.of(self._segment(where))

    def whole(self, place: str | Path) -> Value:
        """Read all of a place; see `Segment.whole`."""
        where = path(place) if isinstance(place, str) else place
        return where.whole(self._segment(where))

    def text(self, place: str | Path) -> str:
        """Read one leaf where deleting makes no sense: `""` and absent are both empty."""
        value = self.get(place)
        return value if isinstance(value, str) else ""

    def _segment(self, where: Path) -> Segment | None:
        named = self.named.get(where.segment, ())
        return named[where.occurrence - 1] if where.occurrence <= len(named) else None


def header(raw: bytes) -> Message | None:
    """Read MSH alone from a message that can't be read as a whole.

    The text is Latin-1, so that every byte can be given back. None when there is no MSH
    that can be read.
    """
    try:
        return Message.parse(_first_line(raw), "latin-1")
    except ParseError:
        return None


def character_sets(raw: bytes) -> list[str]:
    """Read MSH-18 with its repetitions: how to decode the message.

    Raises ParseError when there is no MSH that can be read.
    """
    line = _first_line(raw)
    delimiters = _read_delimiters(line)
    fields = line.split(delimiters.field, 18)
    return fields[17].split(delimiters.repetition) if len(fields) > 17 and fields[17] else []


def _first_line(raw: bytes) -> str:
    line = raw[:MAX_HEADER].removeprefix(b"\xef\xbb\xbf").lstrip(_LEADING[1:].encode())
    line = line.replace(b"\n", b"\r").partition(b"\r")[0].partition(b"\0")[0]
    return line.decode("latin-1")


def _read_delimiters(text: str) -> Delimiters:
    if not text.startswith("MSH"):
        raise ParseError("MSH", "a message begins with MSH")
    if "\0" in text:
        raise ParseError("", "the message holds NUL characters")
    return _delimiters(text[3:12])


def _lines(text: str, field: str) -> list[str]:
    """Split a text into segments."""
    if "\n" in text:
        text = text.replace("\r\n", "\r").replace("\n", "\r")
    lines = text.rstrip(" \t\r").split("\r", MAX_SEGMENTS)
    if len(lines) > MAX_SEGMENTS:
        raise ParseError("", f"more than {MAX_SEGMENTS} segments")
    if _BEGINS.issuperset([line[:4] for line in lines]):
        return lines  # as of most: a pattern would take twice the time
    begins = _segment_start(field).match
    if all(map(begins, lines)):
        return lines
    # 2.5.1: CR ends a segment, so none may be in a text; real senders leave line breaks in
    # comments, and what follows them (an accession number, say) must not get lost.
    segments: list[list[str]] = []
    for line in lines:
        if begins(line):
            segments.append([line])
        else:
            segments[-1].append(line)
    return ["\n".join(parts).rstrip("\n") for parts in segments]


@lru_cache(maxsize=64)
def _segment_start(field: str) -> re.Pattern[str]:
    return re.compile(rf"[A-Z][A-Z0-9]{{2}}(?:{re.escape(field)}|\Z)")
