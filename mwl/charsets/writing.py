"""In which bytes texts are written; nothing becomes `?`.

A set of several values is one with code extensions (PS3.5 6.1.2.5): a text begins in the
first, switches to the others by ISO 2022 escapes, and is back in the first before every
delimiter and at its end. The escape stands where the first character needs it, but for
Korean: there it opens the line, or the component of a name, as in PS3.5 annex I.

Delimiters are those of a name and of lines, whatever the VR is: an escape more than a text
needs reads the same, and each reader starts again where it takes a delimiter for one.
"""

import codecs
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from mwl.charsets.labels import ESCAPES, TWO_BYTES, TWO_BYTES_IN_G0, dicom_codec, hl7_codec

_DELIMITED: Final = re.compile(r"([\x00-\x1f^=\\])")
_WITHOUT_ESCAPE = frozenset(map(chr, range(0x80))) - {"\x1b"}
_ASCII = b"\x1b(B"
_JIS_X_0201 = b"\x1b(J"
# Written by Python's codecs: what these write they read.
_ALONE = frozenset({"ascii", "utf-8", "gb18030", "gbk"})
_OPENS_LINES = "euc_kr"
# JIS X 0201 has two in G0 and G1; (0008,0005) names both by the latter.
_ESCAPE_TO = {
    codec: escape for escape, codec in ESCAPES.items() if escape not in (_JIS_X_0201, b"\x1b$@")
}


class Script(ABC):
    """How texts are written in one Specific Character Set, `term` as it is spelt."""

    def __init__(self, term: str) -> None:
        self.term = term

    @abstractmethod
    def encode(self, text: str) -> bytes:
        """Encode a text. UnicodeEncodeError: the set can't say it."""

    def says(self, text: str) -> bool:
        """Tell whether the set has all characters of a text."""
        try:
            self.encode(text)
        except UnicodeEncodeError:
            return False
        return True


class _Alone(Script):
    def __init__(self, term: str, codec: str) -> None:
        super().__init__(term)
        self._codec = codec

    def encode(self, text: str) -> bytes:
        return text.encode(self._codec)


class _SingleBytes(Script):
    def __init__(self, term: str, codec: str) -> None:
        super().__init__(term)
        self._bytes = {ord(character): ord(character) for character in _WITHOUT_ESCAPE}
        for character, byte in _coded(codec).characters.items():
            self._bytes[ord(character)] = byte[0]
        self._characters = frozenset(map(chr, self._bytes))

    def says(self, text: str) -> bool:
        return self._characters.issuperset(text)

    def encode(self, text: str) -> bytes:
        return codecs.charmap_encode(text, "strict", self._bytes)[0]


@dataclass(frozen=True, slots=True)
class _Coded:
    """A set that a text may switch to, its characters beyond ASCII, and where it goes."""

    escape: bytes
    characters: dict[str, bytes]
    in_g0: bool = False
    opens_lines: bool = False


class _Extended(Script):
    """Sets that a text switches between; `first` is None where that is ASCII alone."""

    def __init__(self, term: str, first: str | None, others: Iterable[str]) -> None:
        super().__init__(term)
        self._first = _coded(first) if first else None
        self._g0 = _JIS_X_0201 if first == "shift_jis" else _ASCII
        self._sets = tuple(map(_coded, (*([first] if first else []), *others)))

    def says(self, text: str) -> bool:
        tables = (coded.characters for coded in self._sets)
        return not set(text).difference(_WITHOUT_ESCAPE, *tables)

    def encode(self, text: str) -> bytes:
        # Between delimiters a text is back where it began.
        return b"".join(map(self._between, _DELIMITED.split(text)))

    def _between(self, text: str) -> bytes:
        if text.isascii() and "\x1b" not in text:
            return text.encode()
        out = bytearray()
        g0: _Coded | None = None  # of two bytes
        g1 = self._first
        for at, character in enumerate(text):
            coded = self._set_of(character)
            if coded is None and character not in _WITHOUT_ESCAPE:
                raise UnicodeEncodeError(self.term, text, at, at + 1, "it is in none of the sets")
            into_g0 = coded if coded is not None and coded.in_g0 else None
            if into_g0 is not g0:
                out += into_g0.escape if into_g0 else self._g0
                g0 = into_g0
            if coded is None:
                out.append(ord(character))
                continue
            if into_g0 is None and coded is not g1:
                start = 0 if coded.opens_lines and out.isascii() else len(out)
                out[start:start] = coded.escape
                g1 = coded
            out += coded.characters[character]
        if g0 is not None:
            out += self._g0
        if g1 is not self._first and self._first is not None:
            out += self._first.escape
        return bytes(out)

    def _set_of(self, character: str) -> _Coded | None:
        for coded in self._sets:
            if character in coded.characters:
                return coded
        return None


ASCII: Final[Script] = _Alone("", "ascii")


@lru_cache(maxsize=128)
def script(term: str) -> Script | None:
    """Give how a Specific Character Set is written, its values parted by backslashes.

    "" is the default repertoire. None: a value is unknown.
    """
    names = term.split("\\")
    found = [dicom_codec(name) if name.strip() else "ascii" for name in names]
    if None in found:
        return None
    first, *others = [str(codec) for codec in found]
    if first in _ALONE - {"ascii"} or (first == "ascii" and not others):
        return _Alone(term, first)  # PS3.3 C.12.1.1.2: without code extensions
    # Of two bytes a first set is one to switch to: a text begins in ASCII all the same.
    switched = [codec for codec in dict.fromkeys((first, *others)) if codec not in _ALONE]
    if first in TWO_BYTES or first == "ascii":
        return _Extended(term, None, switched)
    if switched == [first]:
        return _SingleBytes(term, first)
    return _Extended(term, first, switched[1:])


def encode_hl7(text: str, name: str) -> bytes | None:
    """Encode a text in a set of MSH-18 ("": ASCII); None: it can't say it, or is unknown."""
    codec = hl7_codec(name.strip()) if name.strip() else "ascii"
    if codec is None:
        return None
    try:
        encoded = text.encode(codec)
    except UnicodeEncodeError:
        return None
    # ISO IR14 is the single bytes of Shift JIS: the second of two may be a delimiter.
    return None if codec == "shift_jis" and len(encoded) != len(text) else encoded


@lru_cache(maxsize=32)
def _coded(codec: str) -> _Coded:
    """Give a set's characters beyond ASCII, as the codec reads each of them."""
    escape, in_g0 = _ESCAPE_TO[codec], codec in TWO_BYTES_IN_G0
    characters: dict[str, bytes] = {}
    for raw in _graphic(2 if codec in TWO_BYTES else 1, 0x21 if in_g0 else 0xA1):
        try:
            character = (escape + raw if in_g0 else raw).decode(codec)
        except UnicodeDecodeError:
            continue
        if character >= "\x80":
            characters[character] = raw
    return _Coded(escape, characters, in_g0, codec == _OPENS_LINES)


def _graphic(size: int, start: int) -> Iterator[bytes]:
    """Give every code of one byte or two; of one, G1 has 96 of them, else 94 a byte."""
    if size == 1:
        yield from (bytes((byte,)) for byte in range(0xA0, 0x100))
        return
    for row in range(start, start + 94):
        for cell in range(start, start + 94):
            yield bytes((row, cell))
