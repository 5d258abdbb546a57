r"""Which characters bytes stand for.

The rules that this module bears:

1. A byte is never lost without a word. Whatever can't be read as declared is read by the
   best guess, at worst as Latin-1, which gives every byte back, and the result is flagged.
2. A declaration is believed unless the bytes disprove it. ISO 8859 has nothing printable
   at 80 to 9F: such bytes, or bytes that are valid UTF-8 for characters which the declared
   set has too, mean that the sender's label is wrong. In parts 1, 9 and 15 any valid UTF-8
   does: it would be a letter with a symbol behind it, which no name has. Elsewhere it may
   be two letters (`Ů` and `Ž` side by side in 8859/2): the label counts, flagged.
3. No declaration: the sender's default, else UTF-8 where the bytes are valid, else Latin-1.
4. A device may be known to label its texts wrongly, or not at all: what is assumed of it is
   believed before any guess, but not against valid UTF-8, nor against a label that may be
   right. The label is wrong, too, where it is an ISO 8859 part, what is assumed has two
   bytes a character, and all that is beyond ASCII comes in pairs.
5. NUL is refused: no text of HL7 may hold it, and PostgreSQL can't store it.
"""

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from mwl.charsets.labels import (
    ESCAPES,
    INTO_G1,
    MAX_TERM,
    MAX_TERMS,
    TWO_BYTES,
    TWO_BYTES_IN_G0,
    hl7_codec,
)
from mwl.errors import Fault, Reason, Rejected


class Flag(StrEnum):
    """What a person should know about how a text was read."""

    MISLABELLED = "character set mislabelled"  # the bytes aren't what was declared
    DOUBTFUL = "character set doubtful"  # they may be, and may be UTF-8
    UNDECLARED = "character set undeclared"  # nothing declared, and not UTF-8: a guess
    UNKNOWN_SET = "character set unknown"  # a label that we can't read by
    ASSUMED = "character set assumed"  # what is set of the sender was read by, not its label


class Decoded(NamedTuple):
    """A text, the Python codec that read it, and what was odd."""

    text: str
    encoding: str
    flags: tuple[Flag, ...] = ()


# What Windows puts at 80 to 9F in place of an ISO 8859 part.
_WINDOWS = {
    "iso8859_1": "cp1252",
    "iso8859_2": "cp1250",
    "iso8859_4": "cp1257",
    "iso8859_5": "cp1251",
    "iso8859_6": "cp1256",
    "iso8859_7": "cp1253",
    "iso8859_8": "cp1255",
    "iso8859_9": "cp1254",
    "iso8859_15": "cp1252",
}
# Where A0 to BF hold symbols; in part 15 also Š Ž Œ Ÿ, which stand behind no `Â` to `ô` in names.
_NEVER_LIKE_UTF_8 = frozenset({"iso8859_1", "iso8859_9", "iso8859_15"})
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # UTF-8's; what follows is judged as ever
# Of a DICOM text with code extensions (PS3.5 6.1.2.5.3).
_DELIMITER = re.compile(rb"[\x00-\x1a\x1c-\x1f^=\\]")
_WITHOUT_EXTENSIONS = frozenset({"utf-8", "gb18030", "gbk"})  # PS3.3 C.12.1.1.2
_PAIRED = frozenset({"gb18030", "gbk", "gb2312", "euc_kr"})
_HIGH = re.compile(rb"[\xa1-\xfe]+")
_ESCAPE = re.compile(rb"(\x1b(?:\$[()][A-Z]|\$[@-B]|[()\-][A-Za-z]))")
_C1 = re.compile(rb"[\x80-\x9f]")


def decode(raw: bytes, declared: Sequence[str] = (), default: str | None = None) -> Decoded:
    """Decode a message by MSH-18.

    `declared` are MSH-18's repetitions: the first is the set a text begins in, the others
    are sets it may switch to by ISO 2022 escapes. `default` names, likewise, what the
    sender is known to use when it declares nothing. Raises Rejected for NUL.
    """
    if b"\0" in raw:
        raise Rejected(Fault(Reason.MALFORMED, "", "the message holds a NUL byte"))
    names = [name.strip() for name in declared]
    if not any(names):
        names = [default] if default else []
    raw = raw.removeprefix(_BYTE_ORDER_MARK)
    if not names:
        return _guess(raw)
    codec = hl7_codec(names[0]) if names[0] else "ascii"
    found = _by_codec(raw, codec, switching=len(names) > 1)
    if codec == "ascii" and found.flags and found.encoding != "utf-8" and b"\x1b" not in raw:
        return _by_alternate(raw, names[1:]) or found
    return found


def _by_alternate(raw: bytes, names: Sequence[str]) -> Decoded | None:
    """Read what is no ASCII by a set that is declared beside it, but not escaped to."""
    for codec in map(hl7_codec, names):
        if codec is not None and (text := _strict(raw, codec)) is not None:
            return Decoded(text, codec, (Flag.MISLABELLED,))
    return None


def specific_character_set(raw: bytes, terms: Sequence[str], assumed: str = "") -> Decoded:
    """Decode the text of a DICOM element by the values of (0008,0005).

    `terms` empty means the default repertoire (PS3.3 C.12.1.1.2); `assumed` is the set of
    who sent it, where it names none or a wrong one. NUL and other padding is the caller's to
    strip. Decode before splitting values: the second byte of a character may look like a
    backslash.
    """
    if raw.isascii() and b"\x1b" not in raw:
        return Decoded(raw.decode("ascii"), "ascii")  # the same in all of them
    # As many as there are, and as long as one is: nobody chooses what we remember.
    found = _by_terms(raw, [term.strip()[:MAX_TERM] for term in terms[:MAX_TERMS]])
    if not assumed:
        return found
    names = [name.strip() for name in assumed.split("\\")]
    if found.flags or not any(terms) or _is_paired(raw, found.encoding, names):
        return _by_assumed(raw, names, found, is_labelled=any(terms))
    return found


class Texts:
    """Texts of one data set, by the values of its (0008,0005); `flags` gathers what is odd.

    `assumed` is the set of who sent it, where it names none or a wrong one.
    """

    def __init__(self, terms: Sequence[str], assumed: str = "") -> None:
        self._terms, self._assumed = terms, assumed
        self.flags: set[Flag] = set()

    def decode(self, raw: bytes) -> str:
        """Decode a text, without padding."""
        found = specific_character_set(raw, self._terms, self._assumed)
        self.flags.update(found.flags)
        return found.text

    def within(self, terms: Sequence[str]) -> "Texts":
        """Give those of an item, which may name sets of its own (PS3.3 C.12.1.1.2)."""
        inner = Texts(terms or self._terms, self._assumed)
        inner.flags = self.flags
        return inner


def _by_terms(raw: bytes, names: Sequence[str]) -> Decoded:
    if not any(names):
        # Beyond ASCII without a declaration: against PS3.5 6.1.2.1, and common.
        return _guess(raw)
    # What is assumed a person may name as HL7 or Windows do; and so do some devices.
    codec = hl7_codec(names[0]) if names[0] else "ascii"
    if b"\x1b" in raw and codec is not None and codec not in _WITHOUT_EXTENSIONS:
        first = "ascii" if codec in TWO_BYTES else codec
        return _switched(raw, first, resets=first != "ascii")
    found = _by_codec(raw, codec, switching=False)
    if found.flags and found.encoding != "utf-8" and len(names) > 1:
        return _by_alternate(raw, names[1:]) or found
    return found


def _by_assumed(raw: bytes, names: Sequence[str], found: Decoded, *, is_labelled: bool) -> Decoded:
    read = _by_terms(raw, names)
    is_utf_8 = found.encoding == "utf-8" and not raw.isascii()
    is_possible = Flag.DOUBTFUL in found.flags and read.encoding != "utf-8"
    if read.flags or is_utf_8 or is_possible or not any(names):
        return found
    odd = Flag.UNKNOWN_SET if Flag.UNKNOWN_SET in found.flags else Flag.MISLABELLED
    return Decoded(
        read.text, read.encoding, (odd, Flag.ASSUMED) if is_labelled else (Flag.ASSUMED,)
    )


def _is_paired(raw: bytes, codec: str, names: Sequence[str]) -> bool:
    """Tell whether what a part of ISO 8859 may be is rather in an assumed set of two bytes."""
    return (
        codec.startswith("iso8859")
        and hl7_codec(names[0]) in _PAIRED
        and all(len(run) % 2 == 0 for run in _HIGH.findall(raw))
    )


def _by_codec(raw: bytes, codec: str | None, *, switching: bool) -> Decoded:
    if codec is None:
        guess = _guess(raw)
        return Decoded(guess.text, guess.encoding, (Flag.UNKNOWN_SET, *guess.flags))
    if b"\x1b" in raw and (switching or codec in TWO_BYTES_IN_G0):
        return _switched(raw, codec)
    if raw.isascii():
        return Decoded(raw.decode("ascii"), codec)
    if codec.startswith("iso8859"):
        return _iso_8859(raw, codec)
    if (text := _strict(raw, codec)) is not None:
        return Decoded(text, codec)
    guess = _guess(raw)
    return Decoded(guess.text, guess.encoding, (Flag.MISLABELLED,))


def _iso_8859(raw: bytes, codec: str) -> Decoded:
    c1 = _C1.search(raw) is not None
    utf_8 = _strict(raw, "utf-8")
    if utf_8 is not None and (c1 or codec in _NEVER_LIKE_UTF_8 or _fits(utf_8, codec)):
        return Decoded(utf_8, "utf-8", (Flag.MISLABELLED,))
    text = _strict(raw, codec)
    if text is not None and not c1:
        return Decoded(text, codec, () if utf_8 is None else (Flag.DOUBTFUL,))
    # C1 controls, or bytes that the part leaves undefined.
    for other in (_WINDOWS.get(codec), codec):
        if other is not None and (text := _strict(raw, other)) is not None:
            return Decoded(text, other, (Flag.MISLABELLED,))
    return Decoded(raw.decode("iso8859_1"), "iso8859_1", (Flag.MISLABELLED,))


def _guess(raw: bytes) -> Decoded:
    """Read bytes of which nothing is known."""
    if (text := _strict(raw, "utf-8")) is not None:
        return Decoded(text, "utf-8")
    if _C1.search(raw) and (text := _strict(raw, "cp1252")) is not None:
        return Decoded(text, "cp1252", (Flag.UNDECLARED,))
    return Decoded(raw.decode("iso8859_1"), "iso8859_1", (Flag.UNDECLARED,))


def _switched(raw: bytes, first: str, *, resets: bool = False) -> Decoded:
    """Decode a text with code extensions (PS3.5 6.1.2.5): each run by the escape before it.

    Sets of two bytes in G0 replace ASCII until an escape brings it back. All others are in
    G1, above 7F, where one stays until the next comes, whatever happens in G0; `resets`: or
    until a delimiter, which brings the first one back.
    """
    flags: set[Flag] = set()
    texts: list[str] = []
    for escape, run, codec in _runs(raw, first, resets=resets):
        text = _strict(escape + run, codec)
        if text is None:
            text = run.decode("iso8859_1")
            flags.add(Flag.MISLABELLED)
        elif "\x1b" in text:  # an escape to a set that we don't know
            flags.add(Flag.UNKNOWN_SET)
        texts.append(text)
    return Decoded("".join(texts), first, tuple(sorted(flags)))


def _runs(raw: bytes, first: str, *, resets: bool) -> Iterator[tuple[bytes, bytes, str]]:
    """Give runs of one set: the escape that its codec wants to see, the bytes, the codec."""
    upper = "ascii" if first in TWO_BYTES_IN_G0 else first
    codec, escape = upper, b""
    for part in _ESCAPE.split(raw):
        if part in ESCAPES:
            codec, escape = ESCAPES[part], b""
            if codec in TWO_BYTES_IN_G0:
                escape = part
            elif part in INTO_G1:
                upper = codec
            elif upper != "ascii":
                codec = upper
        elif resets and not escape and upper != first and (end := _DELIMITER.search(part)):
            yield b"", part[: end.start()], codec
            upper = codec = first
            yield b"", part[end.start() :], codec
        else:
            yield escape, part, codec


def _strict(raw: bytes, codec: str) -> str | None:
    try:
        return raw.decode(codec)
    except UnicodeDecodeError:
        return None


def _fits(text: str, codec: str) -> bool:
    try:
        text.encode(codec)
    except UnicodeEncodeError:
        return False
    return True
