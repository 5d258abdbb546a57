r"""A message's bytes as a tree for people: segments, fields, their parts.

Never raises, whatever the bytes: what can't be read as a message is split at line ends and
delimiters all the same, and `fault` says what is wrong with it. Always bounded: of what is
long the beginning is shown, and `is_cut` says so.

A field without parts has its value, unescaped. One with repetitions, components or
subcomponents has its text as received, and a node for each part that says something. Places
are named as `hl7.er7` names them. Controls are shown by their names (‹NUL›, ‹ESC›), but for
the line breaks that an escape like `\.br\` stands for.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple

from hl7 import er7, mllp, names
from hl7.escapes import STANDARD, UNDECLARED, Delimiters, unescape
from mwl import charsets
from mwl.errors import Rejected

MOST_BYTES: Final = 128 * 1024
MOST_LINES: Final = 1_000
MOST_SEGMENTS: Final = 250
MOST_NODES: Final = 4_000
LONGEST_VALUE: Final = 1_000

_MOST_BYTES_OF_A_CHARACTER = 4
_FRAMES = mllp.join([b"", b""]).decode()
_SEGMENT_NAME = re.compile(r"[A-Z][A-Z0-9]{2}")
_LINE_END = re.compile(r"\r\n|\r|\n")
_CONTROLS = (
    *("NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "HT", "LF", "VT", "FF", "CR"),
    *("SO", "SI", "DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB"),
    *("ESC", "FS", "GS", "RS", "US"),
)
_NAMED = {code: f"‹{name}›" for code, name in enumerate(_CONTROLS)} | {0x7F: "‹DEL›"}
_WITHIN = {code: name for code, name in _NAMED.items() if code != 0x0A}


@dataclass(frozen=True, slots=True)
class Node:
    """A field, or a part of one: `PID-3(2).4`, its name, its value, its parts."""

    place: str
    name: str
    value: str
    parts: Sequence["Node"] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment: `OBX(2)`, what the standard calls it, and the fields that say something."""

    place: str
    title: str
    fields: Sequence[Node]


class Line(NamedTuple):
    """A line of a message's text, and how it ends: ‹CR›, ‹LF›, ‹CR›‹LF› or not at all."""

    text: str
    end: str


@dataclass(frozen=True, slots=True)
class Outline:
    """A message: its text by lines, how that was read, and what it says."""

    lines: Sequence[Line]
    encoding: str
    flags: Sequence[str] = ()
    segments: Sequence[Segment] = ()
    fault: str = ""
    is_cut: bool = False


@dataclass(slots=True)
class _Budget:
    """How many nodes may still be made."""

    left: int = MOST_NODES

    def take(self) -> bool:
        self.left -= 1
        return self.left >= 0


@dataclass(frozen=True, slots=True)
class _Part:
    """What a node is made of: `level` 0 is a field, 1 a repetition, 2 a component."""

    text: str
    place: str
    reference: names.Reference | None
    level: int = 0

    def split(self, separator: str, most: int) -> Iterator["_Part"]:
        """Give the parts that say something, at most so many."""
        for number, text in enumerate(self.text.split(separator, most)[:most], start=1):
            if text:
                yield self.part(number, text)

    def part(self, number: int, text: str) -> "_Part":
        if self.level == 0:
            place = self.place if number == 1 else f"{self.place}({number})"
            return _Part(text, place, self.reference, 1)
        place = f"{self.place}.{number}"
        return _Part(text, place, names.part(self.reference, number), self.level + 1)


@dataclass(slots=True)
class _Writer:
    """Makes the nodes of one message."""

    delimiters: Delimiters
    encoding: str
    version: str
    budget: _Budget = field(default_factory=_Budget)

    def segment(self, segment: er7.Segment) -> Segment:
        name = segment.name if _SEGMENT_NAME.fullmatch(segment.name) else "?"
        place = name if segment.occurrence == 1 else f"{name}({segment.occurrence})"
        fields = []
        for number, text in enumerate(segment.fields):
            if name == "?" and number == 0:
                fields.append(Node("?", "", _shown(text)))
            if number == 0 or not text:
                continue
            if not self.budget.take():
                break
            known = names.field(self.version, name, number)
            where = f"{place}-{number}"
            if name == "MSH" and number < 3:  # 2.15.9: the delimiters themselves
                fields.append(Node(where, names.spoken(known), _shown(text)))
            else:
                fields.append(self.node(_Part(text, where, known)))
        return Segment(place, names.title(name), fields)

    def node(self, part: _Part) -> Node:
        found = self._parts(part)
        name = names.spoken(part.reference)
        if found is None:
            value = unescape(part.text, self.delimiters, self.encoding)
            return Node(part.place, name, _shown(value))
        parts = [self.node(each) for each in found if self.budget.take()]
        return Node(part.place, name, _shown(part.text), parts)

    def _parts(self, part: _Part) -> Iterator[_Part] | None:
        """Split at the highest delimiter that is there; None for a leaf."""
        marks = (
            self.delimiters.repetition,
            self.delimiters.component,
            self.delimiters.subcomponent,
        )
        for level, separator in enumerate(marks):
            if level < part.level or separator == UNDECLARED or separator not in part.text:
                continue
            whole = part
            while whole.level < level:  # what has no component delimiter is component 1
                whole = whole.part(1, part.text)
            return whole.split(separator, max(self.budget.left, 1))
        return None


def outline(raw: bytes, default_charset: str | None = None) -> Outline:
    """Read a message for people; `default_charset` is how one without MSH-18 is read."""
    text, encoding, flags = _decoded(raw, default_charset)
    segments, fault = _segments(text, encoding)
    writer = _Writer(segments[0].delimiters if segments else STANDARD, encoding, _version(segments))
    shown = []
    for segment in segments[:MOST_SEGMENTS]:
        if writer.budget.left <= 0:
            break
        shown.append(writer.segment(segment))
    is_cut = len(raw) > MOST_BYTES
    if is_cut:
        fault = ""  # what is wrong with a beginning may be its end
    lines = _lines(text)
    is_cut = is_cut or len(shown) < len(segments) or writer.budget.left < 0
    is_cut = is_cut or len(lines) > MOST_LINES
    return Outline(lines[:MOST_LINES], encoding, [*flags], shown, fault, is_cut)


def _lines(text: str) -> list[Line]:
    """Split a text at its line ends, one more than is shown."""
    found = []
    start = 0
    for match in islice(_LINE_END.finditer(text), MOST_LINES + 1):
        line = text[start : match.start()]
        found.append(Line(line.translate(_NAMED), match[0].translate(_NAMED)))
        start = match.end()
    if start < len(text) and len(found) <= MOST_LINES:
        found.append(Line(text[start:].translate(_NAMED), ""))
    return found


def _decoded(raw: bytes, default_charset: str | None) -> charsets.Decoded:
    """Decode by MSH-18, as the way in does; where that can't be, as Latin-1."""
    try:
        declared = er7.character_sets(raw)
    except er7.ParseError:
        declared = []
    # The cut may go through a character; whole ones are read without a flag.
    ways = [
        _read(raw[: MOST_BYTES - less], declared, default_charset)
        for less in range(_MOST_BYTES_OF_A_CHARACTER if len(raw) > MOST_BYTES else 1)
    ]
    return next((read for read in ways if not read.flags), ways[0])


def _read(raw: bytes, declared: list[str], default_charset: str | None) -> charsets.Decoded:
    try:
        return charsets.decode(raw, declared, default_charset)
    except Rejected:
        return charsets.Decoded(raw.decode("latin-1"), "latin-1")


def _segments(text: str, encoding: str) -> tuple[Sequence[er7.Segment], str]:
    """Split a text, and say what is wrong with it."""
    if _FRAMES in text:  # two answers of ours, as they were framed
        return _by_line(text, encoding), ""
    try:
        return er7.Message.parse(text, encoding).segments, ""
    except er7.ParseError as error:
        return _by_line(text, encoding), str(error)


def _by_line(text: str, encoding: str) -> Sequence[er7.Segment]:
    """Split what is no message at its line ends, by the delimiters of its first MSH."""
    start = text.find("MSH")
    head = er7.header(text[start : start + er7.MAX_HEADER].encode("utf-8", "replace"))
    delimiters = head.delimiters if head and start >= 0 else STANDARD
    counts: dict[str, int] = {}
    found = []
    for line in _LINE_END.split(text.replace("\0", _NAMED[0]))[: MOST_SEGMENTS + 1]:
        bare = line.strip(" \t\x0b\x1c\ufeff")
        if not bare:
            continue
        fields = bare.split(delimiters.field, er7.MAX_FIELDS)
        counts[fields[0]] = counts.get(fields[0], 0) + 1
        if fields[0] in {"MSH", "BHS", "FHS"}:
            fields.insert(1, delimiters.field)
        found.append(er7.Segment(fields, delimiters, encoding, counts[fields[0]]))
    return found


def _version(segments: Sequence[er7.Segment]) -> str:
    """Read MSH-12.1."""
    for segment in segments:
        if segment.name == "MSH":
            value = segment.get(12)
            return value.strip() if isinstance(value, str) else ""
    return ""


def _shown(text: str) -> str:
    cut = text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
    return cut.translate(_WITHIN)
