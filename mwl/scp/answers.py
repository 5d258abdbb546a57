"""Compiled answers: a plan made once per query, then one join of bytes per worklist item.

A plan is a list of slots in the order of the answer's bytes. A slot turns one column's text
into the bytes that stand there: everything constant since the slot before (headers, empty
elements, the delimiters of sequences), then the element. It remembers what it has made: of a
thousand items most share modality, station, sex and descriptions, and a dictionary's look-up
is cheaper than an encoder. Sequences have undefined length, so that no length depends on
what lies inside (PS3.5 7.5.1).

An answer is tried in ASCII first; what doesn't fit chooses its own character set. A value
that its VR can't hold degrades by itself and is logged by keyword, never by content.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import getitem
from struct import Struct
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from mwl import charsets
from mwl.dataset import ITEM, ITEM_END, SEQUENCE_END, SHORT_FORM, DataSet, Element
from mwl.scp.attributes import (
    SCHEDULED_PROCEDURE_STEP_SEQUENCE,
    SCHEDULED_STATION_AE_TITLE,
    SPECIFIC_CHARACTER_SET,
    STEP,
    TIMEZONE_OFFSET,
    TOP,
    Attribute,
    Item,
    Model,
    further,
    keyword_of,
    vr_of,
)

log = structlog.get_logger(__name__)

UTF_8 = "ISO_IR 192"
_UNDEFINED = 0xFFFFFFFF
_IMPLICIT = Struct("<HHI")
_EXPLICIT_SHORT = Struct("<HH2sH")
_EXPLICIT_LONG = Struct("<HH2sHI")
_US = Struct("<H")

# PS3.5 table 6.2-1, in characters; a PN's is that of each group.
_LONGEST = {
    "AE": 16,
    "CS": 16,
    "DA": 8,
    "DS": 16,
    "IS": 12,
    "LO": 64,
    "LT": 10240,
    "PN": 64,
    "SH": 16,
    "ST": 1024,
    "TM": 14,
    "UI": 64,
}
# Of these a part is better than nothing: it is read, not computed with.
_SHORTENED = frozenset({"LO", "LT", "PN", "SH", "ST"})
_LINES = frozenset({"LT", "ST", "UT"})  # may hold CR, LF, TAB and backslashes
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROLS_IN_LINES = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")
_TEXTS = frozenset(_LONGEST) | {"UC", "UT"}
_MEMO_VALUES = 1024
# Lengths as they are written, 16 and 32 bits, for all of the shorter values.
_SHORT_VALUE = 64
_LENGTHS_16 = tuple(Struct("<H").pack(size) for size in range(_SHORT_VALUE + 2))
_LENGTHS_32 = tuple(Struct("<I").pack(size) for size in range(_SHORT_VALUE + 2))


@dataclass(frozen=True, slots=True)
class Asker:
    """What of the requester shapes its answers.

    `character_sets` are the values of its (0008,0005); `zone` is the wall clock's, for
    (0008,0201), which is told only where it is asked for.
    """

    ae_title: str
    explicit: bool
    character_sets: tuple[str, ...]
    zone: ZoneInfo


class Plan:
    """How the rows of one query become answers.

    `columns` are those of `mwl.worklist.find` that rows must begin with, in order;
    `unsupported` the tags asked for that the model doesn't have; `is_worklist` whether any
    key belongs to it.
    """

    def __init__(self, keys: DataSet, asker: Asker) -> None:
        self._keys, self._asker = keys, asker
        ascii_only = _Compiled(keys, asker, "")
        self._by_term = {"": ascii_only}
        self.columns = ascii_only.columns
        self.unsupported = ascii_only.unsupported
        self.is_worklist = ascii_only.is_worklist

    def encode(self, row: Sequence[Any]) -> bytes:
        """Encode one row as a data set."""
        try:
            return self._by_term[""].join(row)
        except UnicodeEncodeError:
            return self._beyond_ascii(row)

    def encode_all(self, rows: Iterable[Sequence[Any]]) -> Iterable[bytes]:
        """Encode row after row."""
        return map(self.encode, rows)

    def _beyond_ascii(self, row: Sequence[Any]) -> bytes:
        # A requester that names no set, or one that we don't write, gets Latin-1 where that
        # says everything: scanners that read no UTF-8 still read ISO_IR 100.
        texts = row[: len(self.columns)]
        term = charsets.choose(texts, self._asker.character_sets) or UTF_8
        try:
            return self._in(term).join(row)
        except UnicodeEncodeError:
            return self._in(UTF_8).join(row)  # it was in JSON, escaped

    def _in(self, term: str) -> "_Compiled":
        compiled = self._by_term.get(term)
        if compiled is None:
            log.info("worklist.character_set", calling=self._asker.ae_title, term=term)
            compiled = self._by_term[term] = _Compiled(self._keys, self._asker, term)
        return compiled


class _Memo(dict[str, bytes]):
    """A slot: a column's text to the bytes that stand there."""

    def __init__(self, make: Callable[[str], bytes], empty: bytes, tag: int, term: str) -> None:
        super().__init__()
        self._make, self._empty, self._tag, self._term = make, empty, tag, term

    def __missing__(self, text: str) -> bytes:
        if len(self) >= _MEMO_VALUES:
            self.clear()
        try:
            made = self._make(text)
        except UnicodeEncodeError:
            if self._term != UTF_8:
                raise  # for a larger character set
            made = self._degraded("no Unicode")
        except Exception as error:
            # One value must not cost a scanner its list, whatever is wrong with it.
            made = self._degraded(type(error).__name__)
        self[text] = made
        return made

    def _degraded(self, error: str) -> bytes:
        log.error("worklist.value_left_out", keyword=keyword_of(self._tag), error=error)
        return self._empty


class _Compiled:
    """A plan in one character set."""

    def __init__(self, keys: DataSet, asker: Asker, term: str) -> None:
        self._asker, self._term = asker, term
        self._writer = _Writer(asker.explicit, term)
        self._constant = bytearray()
        self._memos: list[_Memo] = []
        self.unsupported: list[int] = []
        self.is_worklist = False
        columns: list[str] = []
        self._columns = columns
        self._top(keys)
        self._tail = bytes(self._constant)
        self.columns = tuple(columns)

    def join(self, row: Sequence[Any]) -> bytes:
        """Put an answer together. UnicodeEncodeError: the character set is too small."""
        # map ends with the memos: what a row holds beyond its columns is not looked at.
        return b"".join(map(getitem, self._memos, row)) + self._tail

    def _top(self, keys: DataSet) -> None:
        asked = keys.get(SPECIFIC_CHARACTER_SET)
        term = self._term or self._ascii_term(asked)
        rest = dict(keys)
        if term:
            rest[SPECIFIC_CHARACTER_SET] = Element(
                SPECIFIC_CHARACTER_SET, "CS", term.encode("latin-1")
            )
        for tag, key in sorted(rest.items()):
            if tag == SPECIFIC_CHARACTER_SET:
                self._constant += self._writer.element(tag, "CS", key.value)
            elif tag == TIMEZONE_OFFSET:
                self._attribute(tag, key, Attribute("SH", "start_local", text=self._offset))
            elif tag == SCHEDULED_PROCEDURE_STEP_SEQUENCE:
                self._step(key)
            else:
                self._key(tag, key, TOP)

    def _ascii_term(self, asked: Element | None) -> str:
        """Name a set for an answer in ASCII, if the requester named one or asked which."""
        if asked is None:
            return ""
        terms = self._asker.character_sets
        # ASCII is the same in all of them, so its own words are the ones it surely reads.
        known = bool(terms) and all(charsets.dicom_codec(term) for term in terms if term)
        return "\\".join(terms) if known and any(terms) else "ISO_IR 100"

    def _step(self, key: Element) -> None:
        self.is_worklist = True
        wanted = key.items[0] if key.items else {}
        if not wanted:
            # C.2.2.2.6: no item, or an empty one, asks for the whole of it.
            wanted = {
                tag: Element(tag, attribute.vr)
                for tag, attribute in STEP.items()
                if attribute.column not in ("", "attributes")
            }
        self._constant += self._writer.open_sequence(key.tag) + self._writer.open_item()
        for tag, child in wanted.items():
            self._key(tag, child, STEP)
        self._constant += self._writer.close_item() + self._writer.close_sequence()

    def _key(self, tag: int, key: Element, model: Model) -> None:
        attribute = model.get(tag)
        if attribute is not None:
            self.is_worklist = True
            if tag == SCHEDULED_STATION_AE_TITLE:
                # K.6.1.2.2: always a value; an unassigned step is the asker's to do.
                attribute = replace(attribute, text=lambda text: text or self._asker.ae_title)
            self._attribute(tag, key, attribute)
            return
        vr = key.vr if vr_of(tag) == "UN" else vr_of(tag)
        if tag >> 16 & 1 and vr == "LO" and 0x10 <= tag & 0xFFFF <= 0xFF:
            # PS3.5 7.8.1: without its creator a private element would be nobody's.
            self._constant += self._writer.element(tag, vr, key.value)
            return
        self.unsupported.append(tag)
        if vr in _TEXTS:
            self._attribute(tag, key, further(keyword_of(tag), vr))
        else:
            self._constant += self._writer.element(tag, vr, b"")

    def _attribute(self, tag: int, key: Element, attribute: Attribute) -> None:
        writer, items = self._writer, attribute.items
        if not attribute.column:
            self._constant += writer.element(tag, attribute.vr, b"")
            return
        before = bytes(self._constant)
        self._constant.clear()
        if items is None:
            make = writer.texts(tag, attribute, before)
        else:
            wanted = key.items[0] if key.items else {}

            def make(text: str) -> bytes:
                return before + writer.sequence(tag, items(text), wanted)

        empty = before + writer.element(tag, attribute.vr, b"")
        self._memos.append(_Memo(make, empty, tag, self._term))
        self._columns.append(attribute.column)

    def _offset(self, start: str) -> str:
        wall = datetime.strptime(start, "%Y%m%d%H%M%S").replace(tzinfo=self._asker.zone)
        return wall.strftime("%z")[:5]


class _Writer:
    """Write elements in Explicit or Implicit VR Little Endian and one character set."""

    def __init__(self, explicit: bool, term: str) -> None:
        self._explicit, self._term = explicit, term

    def element(self, tag: int, vr: str, value: bytes) -> bytes:
        if len(value) & 1:
            value += _pad(vr)
        return self._header(tag, vr, len(value)) + value

    def texts(self, tag: int, attribute: Attribute, before: bytes = b"") -> Callable[[str], bytes]:
        """Make a function that writes values of an attribute, with `before` before them.

        It raises UnicodeEncodeError for what the character set can't say.
        """
        vr, term, read = attribute.vr, self._term, attribute.text
        if vr == "US":
            return lambda text: before + self.element(tag, vr, _us(read(text)))
        short = min(_LONGEST.get(vr, 0), _SHORT_VALUE)
        lengths = _LENGTHS_16 if self._explicit and vr in SHORT_FORM else _LENGTHS_32
        # A header ends with the length, whatever its form.
        head = before + self._header(tag, vr, 0)[: -len(lengths[0])]

        def write(text: str) -> bytes:
            text = read(text)
            size = len(text)
            if size <= short and text.isascii() and text.isprintable() and "\\" not in text:
                # What nearly all values are.
                if size & 1:
                    return head + lengths[size + 1] + text.encode() + pad
                return head + lengths[size] + text.encode()
            value = charsets.encode(_fitted(tag, attribute, text), term)
            return before + self.element(tag, vr, value)

        pad = _pad(vr)
        return write

    def text(self, tag: int, attribute: Attribute, text: str) -> bytes:
        """Write one value; UnicodeEncodeError if the character set can't say it."""
        return self.texts(tag, attribute)(text)

    def sequence(self, tag: int, items: Sequence[Item], wanted: DataSet) -> bytes:
        """Write a sequence; of each item what is `wanted`, all if nothing is."""
        if not items:
            return self.element(tag, "SQ", b"")
        parts = [self.open_sequence(tag)]
        for item in items:
            parts.append(self.open_item())
            for inner in sorted(wanted or item):
                value = item.get(inner, "")
                if isinstance(value, list):
                    parts.append(self.sequence(inner, value, _inside(wanted, inner)))
                else:
                    vr = vr_of(inner)
                    # Of a code only the meaning is for reading.
                    exact = Attribute(vr, exact=inner != 0x00080104)
                    parts.append(self.text(inner, exact, value))
            parts.append(self.close_item())
        parts.append(self.close_sequence())
        return b"".join(parts)

    def open_sequence(self, tag: int) -> bytes:
        return self._header(tag, "SQ", _UNDEFINED)

    def open_item(self) -> bytes:
        return _IMPLICIT.pack(ITEM >> 16, ITEM & 0xFFFF, _UNDEFINED)

    def close_item(self) -> bytes:
        return _IMPLICIT.pack(ITEM_END >> 16, ITEM_END & 0xFFFF, 0)

    def close_sequence(self) -> bytes:
        return _IMPLICIT.pack(SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0)

    def _header(self, tag: int, vr: str, length: int) -> bytes:
        group, element = tag >> 16, tag & 0xFFFF
        if not self._explicit:
            return _IMPLICIT.pack(group, element, length)
        if vr in SHORT_FORM:
            return _EXPLICIT_SHORT.pack(group, element, vr.encode(), length)
        return _EXPLICIT_LONG.pack(group, element, vr.encode(), 0, length)


def _pad(vr: str) -> bytes:
    return b"\0" if vr == "UI" else b" "  # PS3.5 6.2


def _us(text: str) -> bytes:
    return _US.pack(int(text)) if text else b""


def _inside(wanted: DataSet, tag: int) -> DataSet:
    key = wanted.get(tag)
    return key.items[0] if key and key.items else {}


def _fitted(tag: int, attribute: Attribute, text: str) -> str:
    """Make a value fit its VR: no controls, no more than the longest."""
    vr = attribute.vr
    if vr in _LINES:
        text = _CONTROLS_IN_LINES.sub(" ", text)
    elif attribute.multiple:
        text = _CONTROLS.sub(" ", text)
    else:
        text = _CONTROLS.sub(" ", text).replace("\\", " ")
    longest = _LONGEST.get(vr)
    if longest is None or len(text) <= longest:
        return text
    separator = "=" if vr == "PN" else "\\" if attribute.multiple else None
    values = text.split(separator) if separator else [text]
    if all(len(value) <= longest for value in values):
        return text
    shortened = vr in _SHORTENED and not attribute.exact
    log.warning("worklist.value_too_long", keyword=keyword_of(tag), shortened=shortened)
    # An identifier cut short is somebody else's.
    return (separator or "").join(value[:longest] for value in values) if shortened else ""
