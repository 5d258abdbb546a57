"""Write elements: headers, padding, and values that fit their VR and their character set.

A value that its VR can't hold is shortened where a person reads it and left out where it
identifies something; either is logged by keyword, never by content.
"""

import re
from collections.abc import Callable, Sequence
from struct import Struct

import structlog

from mwl import charsets
from mwl.dataset import ITEM, ITEM_END, SEQUENCE_END, SHORT_FORM, DataSet
from mwl.scp.attributes import Attribute, Item, as_is, is_creator, keyword_of, vr_of
from mwl.scp.repertoire import DEPENDENT

log = structlog.get_logger(__name__)

_UNDEFINED = 0xFFFFFFFF
_IMPLICIT = Struct("<HHI")
_EXPLICIT_SHORT = Struct("<HH2sH")
_EXPLICIT_LONG = Struct("<HH2sHI")

# PS3.5 table 6.2-1, in characters; a PN's is that of each group.
_LONGEST = {
    "AE": 16,
    "AS": 4,
    "CS": 16,
    "DA": 8,
    "DS": 16,
    "DT": 26,
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
# What may be as long: a component group of a name, a value of several.
_PARTS = {
    (False, False): re.compile("(?s).+"),
    (False, True): re.compile(r"[^\\]+"),
    (True, False): re.compile("[^=]+"),
    (True, True): re.compile(r"[^=\\]+"),
}
TEXTS = frozenset(_LONGEST) | {"UC", "UR", "UT"}
NUMBER = "US"  # the only binary one that we keep, as a text
# What may be set by default, too.
NUMBERS = {
    NUMBER: Struct("<H"),
    "UL": Struct("<I"),
    "SS": Struct("<h"),
    "SL": Struct("<i"),
    "FL": Struct("<f"),
    "FD": Struct("<d"),
}
_FRACTIONS = frozenset({"FL", "FD"})
_CODE_MEANING = 0x00080104
# Lengths as they are written, 16 and 32 bits, for all of the shorter values.
_SHORT_VALUE = 64
_LENGTHS_16 = tuple(Struct("<H").pack(size) for size in range(_SHORT_VALUE + 2))
_LENGTHS_32 = tuple(Struct("<I").pack(size) for size in range(_SHORT_VALUE + 2))


class Writer:
    """Write elements in Explicit or Implicit VR Little Endian and one character set."""

    def __init__(self, explicit: bool, script: charsets.Script = charsets.ASCII) -> None:
        self._explicit, self._script = explicit, script
        self._rewritten: set[int] = set()  # tags of which it was logged

    def element(self, tag: int, vr: str, value: bytes) -> bytes:
        if len(value) & 1:
            value += _pad(vr)
        return self._header(tag, vr, len(value)) + value

    def texts(self, tag: int, attribute: Attribute, before: bytes = b"") -> Callable[[str], bytes]:
        """Make a function that writes values of an attribute, with `before` before them.

        It raises UnicodeEncodeError for what the character set can't say.
        """
        vr = attribute.vr
        read = attribute.text if attribute.text is not as_is else None
        if vr in NUMBERS:
            return lambda text: before + self.element(tag, vr, _number(vr, attribute.text(text)))
        short = min(_LONGEST.get(vr, 0), _SHORT_VALUE)
        lengths = _LENGTHS_16 if self._explicit and vr in SHORT_FORM else _LENGTHS_32
        # A header ends with the length, whatever its form.
        head = before + self._header(tag, vr, 0)[: -len(lengths[0])]

        def write(text: str) -> bytes:
            if read is not None:
                text = read(text)
            size = len(text)
            if size <= short and text.isascii() and text.isprintable() and "\\" not in text:
                # What nearly all values are.
                if size & 1:
                    return head + lengths[size + 1] + text.encode() + pad
                return head + lengths[size] + text.encode()
            return before + self.element(tag, vr, self._encoded(tag, attribute, text))

        pad = _pad(vr)
        return write

    def text(self, tag: int, attribute: Attribute, text: str) -> bytes:
        """Write one value; UnicodeEncodeError if the character set can't say it."""
        return self.texts(tag, attribute)(text)

    def _encoded(self, tag: int, attribute: Attribute, text: str) -> bytes:
        script = self._script
        fitted = _fitted(tag, attribute, text)
        try:
            return script.encode(fitted)
        except UnicodeEncodeError:
            if attribute.exact or not isinstance(script, charsets.Rewriting):
                raise
        readable = script.readable(fitted, attribute.vr)
        if tag not in self._rewritten:
            self._rewritten.add(tag)
            log.info("answer.transliterated", keyword=keyword_of(tag), term=script.term)
        return script.encode(_fitted(tag, attribute, readable))

    def sequence(self, tag: int, items: Sequence[Item], wanted: DataSet) -> bytes:
        """Write a sequence; of each item what is `wanted`, all if nothing is."""
        if not items:
            return self.element(tag, "SQ", b"")
        parts = [self.open_sequence(tag)]
        for item in items:
            parts.append(self.open_item())
            tags = sorted(wanted or item)
            parts += [self._inside(inner, item.get(inner, ""), wanted) for inner in tags]
            parts.append(self.close_item())
        parts.append(self.close_sequence())
        return b"".join(parts)

    def _inside(self, tag: int, value: "str | list[Item]", wanted: DataSet) -> bytes:
        """Write what is in an item, by its VR; "" and what we keep of no such VR: nothing."""
        key, vr = wanted.get(tag), vr_of(tag)
        if key is not None and is_creator(tag):
            return self.element(tag, vr, key.value)
        if isinstance(value, list):
            return self.sequence(tag, value, key.items[0] if key and key.items else {})
        if vr != NUMBER and vr not in TEXTS:
            return self.element(tag, vr, b"")
        # Of a code only the meaning is for reading.
        return self.text(tag, Attribute(vr, exact=tag != _CODE_MEANING), value)

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


def _number(vr: str, text: str) -> bytes:
    if not text:
        return b""
    return NUMBERS[vr].pack(float(text) if vr in _FRACTIONS else int(text))


def _fitted(tag: int, attribute: Attribute, text: str) -> str:
    """Make a value fit its VR: no controls, no more than the longest."""
    vr = attribute.vr
    if vr in _LINES:
        text = _CONTROLS_IN_LINES.sub(" ", text)
    elif attribute.multiple:
        text = _CONTROLS.sub(" ", text)
    else:
        text = _CONTROLS.sub(" ", text).replace("\\", " ")
    if vr not in DEPENDENT and not text.isascii():
        log.warning("answer.value_beyond_ascii", keyword=keyword_of(tag))
        text = "\\".join(value for value in text.split("\\") if value.isascii())
    elif vr == "PN" and text.count("=") == 1 and not (text.isascii() or text.endswith("=")):
        text += "="  # PS3.5 annexes H to K: a name in ideographs is written with all groups
    longest = _LONGEST.get(vr)
    if longest is None or len(text) <= longest:
        return text
    parts = _PARTS[vr == "PN", attribute.multiple]
    if all(len(part) <= longest for part in parts.findall(text)):
        return text
    shortened = vr in _SHORTENED and not attribute.exact
    log.warning("answer.value_too_long", keyword=keyword_of(tag), shortened=shortened)
    # An identifier cut short is somebody else's.
    return parts.sub(lambda part: part[0][:longest], text) if shortened else ""
