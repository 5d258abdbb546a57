"""Compiled answers: a plan made once per query, then one join of bytes per item.

A plan is a list of slots in the order of the answer's bytes. A slot turns one column's text
into the bytes that stand there: everything constant since the slot before (headers, empty
elements, the delimiters of sequences), then the element. Unless it is an identifier's, it
remembers what it has made: of a thousand items most share modality, station, sex and
descriptions, and a dictionary's look-up is cheaper than an encoder. Sequences have undefined
length, so that no length depends on what lies inside (PS3.5 7.5.1).

What an attribute is answered from is the information model's to say: `Compiled` knows none,
`WorklistItem` that of the worklist.

An answer is tried in ASCII first; what doesn't fit chooses its own character set, of those
that its scanner reads (`mwl.charsets.choosing`). A value that can't be written at all is left
out by itself, and its list goes on.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from operator import call, itemgetter
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from mwl import charsets
from mwl.charsets import Choosing, Script, choosing
from mwl.config.devices import DeviceCharacters
from mwl.dataset import DataSet, Element
from mwl.scp import zones
from mwl.scp.attributes import (
    SCHEDULED_PROCEDURE_STEP_SEQUENCE,
    SCHEDULED_STATION_AE_TITLE,
    SPECIFIC_CHARACTER_SET,
    STEP,
    TIMEZONE_OFFSET,
    TOP,
    Attribute,
    Model,
    further,
    is_creator,
    keyword_of,
    vr_of,
)
from mwl.scp.elements import NUMBERS, TEXTS, Writer
from mwl.worklist import kept

log = structlog.get_logger(__name__)

_NAME = "patient_name"
_MEMO_VALUES = 1024
_ANY_CHARACTERS = DeviceCharacters()


@dataclass(frozen=True, slots=True)
class Asker:
    """What of the requester shapes its answers.

    `ae_title` is the one that an unassigned step is told to be on. `character_sets` are the
    values of its (0008,0005); `zone` is the site's, for (0008,0201), which is told only where it
    is asked for. `offset` is the asker's own zone: dates and times are then told in it.
    `characters` are the sets that it is known to read, whatever it says; none by default.
    `defaults` are values, by tag, of what would be empty; `instead`, by column, what is told
    in place of a value.
    """

    ae_title: str
    explicit: bool
    character_sets: tuple[str, ...]
    zone: ZoneInfo
    offset: tzinfo | None = None
    characters: DeviceCharacters = _ANY_CHARACTERS
    defaults: Mapping[int, str] = field(default_factory=dict)
    instead: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def _choosing(asker: Asker) -> Choosing:
    characters = asker.characters
    utf_8 = characters.beyond == "utf-8"
    return choosing(characters.sets, asker.character_sets, utf_8=utf_8)


def any_characters(_title: str) -> DeviceCharacters:
    """Know nothing of who calls itself so."""
    return _ANY_CHARACTERS


class Plan:
    """How the rows of one query become answers.

    `compiled` makes it for one character set, of `WorklistItem` unless told otherwise.
    `columns` are those that rows must begin with, in order, each once, all of them texts;
    `unsupported` the tags asked for that the model doesn't have; `is_known` whether any key
    belongs to it. `transliterated` counts the answers of which something is in other letters
    than it came in, `identifiers_in_utf_8` those that are in UTF-8 because no set of the
    asker's can say an identifier.
    """

    def __init__(self, keys: DataSet, asker: Asker, compiled: "Compile | None" = None) -> None:
        self._keys, self._asker = keys, asker
        self._compiled = compiled or WorklistItem
        self._choosing = _choosing(asker)
        self.transliterated = self.identifiers_in_utf_8 = 0
        self._is_beyond = False
        self._by_script: dict[Script, Compiled] = {}
        self._ascii = self._compiled(keys, asker, charsets.ASCII)
        self.columns = self._ascii.columns
        self.unsupported = self._ascii.unsupported
        self.is_known = self._ascii.is_known

    def encode(self, row: Sequence[Any]) -> bytes:
        """Encode one row as a data set."""
        # Where one answer was beyond ASCII the next is, too: to look is cheaper than to fail.
        if not self._is_beyond or "".join(row[: len(self.columns)]).isascii():
            try:
                return self._ascii.join(row)
            except UnicodeEncodeError:
                self._is_beyond = True
        return self._beyond_ascii(row)

    def _beyond_ascii(self, row: Sequence[Any]) -> bytes:
        texts = row[: len(self.columns)]
        for script in self._choosing.that_say(texts):
            try:
                return self._in(script).join(row)
            except UnicodeEncodeError:
                continue  # it was in JSON, escaped
        if self._choosing.transliterates:
            try:
                return self._transliterated(row, texts)
            except UnicodeEncodeError:
                self.identifiers_in_utf_8 += 1
        return self._in(self._choosing.utf_8).join(row)

    def _transliterated(self, row: Sequence[Any], texts: Sequence[str]) -> bytes:
        name = row[self.columns.index(_NAME)] if _NAME in self.columns else ""
        script = self._choosing.nearest(texts, name)
        answer = self._in(script).join(row)
        self.transliterated += 1
        return answer

    def _in(self, script: Script) -> "Compiled":
        compiled = self._by_script.get(script)
        if compiled is None:
            log.info("answer.character_set", calling=self._asker.ae_title, term=script.term)
            compiled = self._compiled(self._keys, self._asker, script)
            self._by_script[script] = compiled
        return compiled


class _Memo(dict[str, bytes]):
    """A column's text to the bytes that stand there, made once and kept for the next row."""

    def __init__(
        self, make: Callable[[str], bytes], empty: bytes, tag: int, *, is_last: bool
    ) -> None:
        super().__init__()
        self._make, self._empty, self._tag, self._is_last = make, empty, tag, is_last

    def __missing__(self, text: str) -> bytes:
        if len(self) >= _MEMO_VALUES:
            self.clear()
        try:
            made = self._make(text)
        except UnicodeEncodeError:
            if not self._is_last:
                raise  # for a larger character set
            made = self._degraded("no Unicode")
        except Exception as error:
            # One value must not cost a scanner its list, whatever is wrong with it.
            made = self._degraded(type(error).__name__)
        self[text] = made
        return made

    def _degraded(self, error: str) -> bytes:
        log.error("answer.value_left_out", keyword=keyword_of(self._tag), error=error)
        return self._empty


class Compiled(ABC):
    """A plan in one character set."""

    def __init__(self, keys: DataSet, asker: Asker, script: Script) -> None:
        self._asker, self._script = asker, script
        self._is_last = charsets.is_utf_8(script.term)
        self._writer = Writer(asker.explicit, script)
        self._constant = bytearray()
        self._slots: list[Callable[[str], bytes]] = []
        self.unsupported: list[int] = []
        self.is_known = False
        self._columns: list[str] = []  # one for each slot
        self._top(keys)
        self._tail = bytes(self._constant)
        # A query may name hundreds of attributes that all come out of one column. It is read
        # once: statements are kept, and their size is not for a stranger to choose.
        self.columns = tuple(dict.fromkeys(self._columns))
        self._spread: Callable[[Sequence[Any]], Sequence[Any]] | None = None
        if len(self.columns) < len(self._columns):
            self._spread = itemgetter(*map(self.columns.index, self._columns))

    def join(self, row: Sequence[Any]) -> bytes:
        """Put an answer together. UnicodeEncodeError: the character set is too small."""
        if self._spread is not None:
            row = self._spread(row)
        # map ends with the slots: what a row holds beyond its columns is not looked at.
        return b"".join(map(call, self._slots, row)) + self._tail

    def _top(self, keys: DataSet) -> None:
        asked = keys.get(SPECIFIC_CHARACTER_SET)
        term = self._script.term or ("" if asked is None else self._in_ascii())
        rest = dict(keys)
        if term:
            rest[SPECIFIC_CHARACTER_SET] = Element(
                SPECIFIC_CHARACTER_SET, "CS", term.encode("latin-1")
            )
        for tag, key in sorted(rest.items()):
            if tag == SPECIFIC_CHARACTER_SET:
                self._constant += self._writer.element(tag, "CS", key.value)
            else:
                self._key(tag, key)

    @abstractmethod
    def _key(self, tag: int, key: Element) -> None:
        """Answer one key, by `_attribute`, `_unknown`, or by what is constant."""

    def _in_ascii(self) -> str:
        """Name a set for an answer in ASCII, where it is asked which."""
        return _choosing(self._asker).in_ascii

    def _unknown(
        self, tag: int, key: Element, *, level: DataSet | None = None, under: str = ""
    ) -> None:
        """Answer a key that the model doesn't have.

        A text may be kept by its name (`mwl.worklist.kept`), `under` a sequence's; `level`
        are the keys beside it, the creators of private ones among them. None: none is kept.
        """
        vr = key.vr if vr_of(tag) == "UN" else vr_of(tag)
        if is_creator(tag):
            # PS3.5 7.8.1: without its creator a private element would be nobody's.
            self._constant += self._writer.element(tag, vr, key.value)
            return
        self.unsupported.append(tag)
        name = "" if level is None else kept_name(tag, level)
        if name and tag >> 16 & 1 and vr not in TEXTS:
            vr = "LO"  # asked for without a VR; PS3.5 6.2.2: nobody else knows it
        if name and (vr == "SQ" or vr in TEXTS):
            self._attribute(tag, key, further(under + name, vr))
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
        if attribute.exact and items is None and not self._is_last:
            # Hardly ever the same twice. What the set can't say fails, and the answer is put
            # together by another plan, at last by one in which every slot is a memo and forgives.
            self._slots.append(make)
        else:
            self._slots.append(_Memo(make, empty, tag, is_last=self._is_last).__getitem__)
        self._columns.append(attribute.column)


def kept_name(tag: int, level: DataSet) -> str:
    """Name an attribute as it may be kept: by keyword, or by its private creator."""
    group, element = tag >> 16, tag & 0xFFFF
    if not group & 1:
        return keyword_of(tag)
    creator = level.get(group << 16 | element >> 8)
    if creator is None or element < 0x1000:
        return ""
    return kept.private(group, element, creator.value.decode("ascii", "replace").strip(" \0"))


# Of the keys, the requester and the character set.
Compile = Callable[[DataSet, Asker, Script], Compiled]


class WorklistItem(Compiled):
    """A plan for the rows of `mwl.worklist.find`."""

    def __init__(self, keys: DataSet, asker: Asker, script: Script) -> None:
        offset = asker.offset
        self._there: Model = {} if offset is None else zones.worklist_in(offset, asker.zone)
        self._keys = keys
        super().__init__(keys, asker, script)

    def _key(self, tag: int, key: Element) -> None:
        if tag == TIMEZONE_OFFSET:
            self._attribute(tag, key, Attribute("SH", "start_local", text=self._offset))
        elif tag == SCHEDULED_PROCEDURE_STEP_SEQUENCE:
            self._step(key)
        else:
            self._of_model(tag, key, TOP, self._keys)

    def _step(self, key: Element) -> None:
        self.is_known = True
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
            self._of_model(tag, child, STEP, wanted, kept.STEP)
        self._constant += self._writer.close_item() + self._writer.close_sequence()

    def _of_model(
        self, tag: int, key: Element, model: Model, level: DataSet, under: str = ""
    ) -> None:
        attribute = self._there.get(tag) or model.get(tag) or self._defaulted(tag, under)
        if attribute is not None:
            self.is_known = True
            if tag == SCHEDULED_STATION_AE_TITLE:
                # K.6.1.2.2: always a value; an unassigned step is the asker's to do.
                attribute = replace(attribute, text=lambda text: text or self._asker.ae_title)
            self._attribute(tag, key, self._told(tag, attribute))
        else:
            self._unknown(tag, key, level=level, under=under)

    def _defaulted(self, tag: int, under: str) -> Attribute | None:
        """Let the model have an attribute that is not in it, where a default is set of it."""
        vr = vr_of(tag)
        if tag not in self._asker.defaults or not (vr in TEXTS or vr in NUMBERS):
            return None
        return further(under + keyword_of(tag), vr)

    def _told(self, tag: int, attribute: Attribute) -> Attribute:
        """Let an attribute be told as what is set of the asker wants it."""
        default = self._asker.defaults.get(tag, "")
        instead = self._asker.instead.get(attribute.column, {})
        if attribute.items is not None or not (default or instead):
            return attribute
        if not attribute.column:
            return replace(attribute, column="sps_id", text=lambda _text: default)
        read = attribute.text

        def told(text: str) -> str:
            value = read(text)
            if not text:
                value = instead.get("", value)
            elif instead:
                values = (instead.get(each, each) for each in value.split("\\"))
                value = "\\".join(dict.fromkeys(values))
            # What we say where the RIS said nothing is no better than what is set.
            return value if value and text else default or value

        return replace(attribute, text=told)

    def _offset(self, start: str) -> str:
        wall = datetime.strptime(start, "%Y%m%d%H%M%S").replace(tzinfo=self._asker.zone)
        return wall.astimezone(self._asker.offset or self._asker.zone).strftime("%z")[:5]
