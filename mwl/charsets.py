r"""Which characters bytes stand for, and in which bytes a peer can read an answer; pure.

Two families name the same sets: HL7's MSH-18 (table 0211) and DICOM's Specific Character
Set (0008,0005) (PS3.3 C.12.1.1.2). Both may switch sets within a text by ISO 2022 escapes.

The rules that this module bears:

1. A byte is never lost without a word. Whatever can't be read as declared is read by the
   best guess, at worst as Latin-1, which gives every byte back, and the result is flagged.
2. A declaration is believed unless the bytes disprove it. ISO 8859 has nothing printable
   at 80 to 9F: such bytes, or bytes that are valid UTF-8 for characters which the declared
   set has too, mean that the sender's label is wrong. In parts 1, 9 and 15 any valid UTF-8
   does: it would be a letter with a symbol behind it, which no name has. Elsewhere it may
   be two letters (`Ů` and `Ž` side by side in 8859/2): the label counts, flagged.
3. No declaration: the sender's default, else UTF-8 where the bytes are valid, else Latin-1.
4. NUL is refused: no text of HL7 may hold it, and PostgreSQL can't store it.
"""

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from mwl.errors import Fault, Reason, Rejected


class Flag(StrEnum):
    """What a person should know about how a text was read."""

    MISLABELLED = "character set mislabelled"  # the bytes aren't what was declared
    DOUBTFUL = "character set doubtful"  # they may be, and may be UTF-8
    UNDECLARED = "character set undeclared"  # nothing declared, and not UTF-8: a guess
    UNKNOWN_SET = "character set unknown"  # a label that we can't read by


class Decoded(NamedTuple):
    """A text, the Python codec that read it, and what was odd."""

    text: str
    encoding: str
    flags: tuple[Flag, ...] = ()


_ISO_8859 = {number: f"iso8859_{number}" for number in (*range(1, 12), *range(13, 17))}

# Table 0211, without the 8859 parts. Python has no codec for CNS 11643-1992, and a stream
# of MLLP or a DICOM element can't hold UTF-16: there UNICODE can only mean UTF-8.
_HL7 = {
    "ASCII": "ascii",
    "ISO IR6": "ascii",
    "ISO IR14": "shift_jis",  # JIS X 0201 is its single bytes
    "ISO IR87": "iso2022_jp",
    "ISO IR159": "iso2022_jp_2",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "BIG-5": "cp950",
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
}
# Names that are in no table, and meant well.
_COLLOQUIAL = {
    "UTF-8": "utf-8",
    "UTF8": "utf-8",
    "UNICODE UTF8": "utf-8",
    "US-ASCII": "ascii",
    "GB18030": "gb18030",
    "GBK": "gbk",
    "BIG5": "cp950",
}
# PS3.3 tables C.12-2 to C.12-5, by ISO-IR number; with or without "2022" the text is the same.
_ISO_IR = {
    6: "ascii",
    100: "iso8859_1",
    101: "iso8859_2",
    109: "iso8859_3",
    110: "iso8859_4",
    144: "iso8859_5",
    127: "iso8859_6",
    126: "iso8859_7",
    138: "iso8859_8",
    148: "iso8859_9",
    203: "iso8859_15",
    166: "iso8859_11",
    13: "shift_jis",
    192: "utf-8",
    87: "iso2022_jp",
    159: "iso2022_jp_2",
    149: "euc_kr",
    58: "gb2312",
}
# ISO 2022 escape sequences and the codec of what follows (PS3.3 tables C.12-3, C.12-4).
_ESCAPES = {
    b"\x1b(B": "ascii",
    b"\x1b(J": "shift_jis",
    b"\x1b)I": "shift_jis",
    b"\x1b-A": "iso8859_1",
    b"\x1b-B": "iso8859_2",
    b"\x1b-C": "iso8859_3",
    b"\x1b-D": "iso8859_4",
    b"\x1b-L": "iso8859_5",
    b"\x1b-G": "iso8859_6",
    b"\x1b-F": "iso8859_7",
    b"\x1b-H": "iso8859_8",
    b"\x1b-M": "iso8859_9",
    b"\x1b-b": "iso8859_15",
    b"\x1b-T": "iso8859_11",
    b"\x1b$B": "iso2022_jp",
    b"\x1b$@": "iso2022_jp",
    b"\x1b$(D": "iso2022_jp_2",
    b"\x1b$)C": "euc_kr",
    b"\x1b$)A": "gb2312",
}
# Its codecs want to see the escape that brought them.
_TWO_BYTES_IN_G0 = frozenset({"iso2022_jp", "iso2022_jp_2"})
_INTO_G1 = frozenset(escape for escape in _ESCAPES if escape[1] == 0x2D or b")" in escape)
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
_ESCAPE = re.compile(rb"(\x1b(?:\$[()][A-Z]|\$[@-B]|[()\-][A-Za-z]))")
_C1 = re.compile(rb"[\x80-\x9f]")
_8859 = re.compile(r"(?:ISO[ _-]?)?8859[/_-](\d{1,2})")
_WINDOWS_NAME = re.compile(r"(?:WINDOWS|CP)[ _-]?(125[0-8])")
_DICOM_TERM = re.compile(r"ISO[ _-]?(?:2022[ _-])?IR[ _-]?(\d{1,3})")


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
    codec = _hl7_codec(names[0]) if names[0] else "ascii"
    found = _by_codec(raw, codec, switching=len(names) > 1)
    if codec == "ascii" and found.flags and found.encoding != "utf-8" and b"\x1b" not in raw:
        return _by_alternate(raw, names[1:]) or found
    return found


def _by_alternate(raw: bytes, names: Sequence[str]) -> Decoded | None:
    """Read what is no ASCII by a set that is declared beside it, but not escaped to."""
    for codec in map(_hl7_codec, names):
        if codec is not None and (text := _strict(raw, codec)) is not None:
            return Decoded(text, codec, (Flag.MISLABELLED,))
    return None


def specific_character_set(raw: bytes, terms: Sequence[str]) -> Decoded:
    """Decode the text of a DICOM element by the values of (0008,0005).

    `terms` empty means the default repertoire (PS3.3 C.12.1.1.2). NUL and other padding is
    the caller's to strip. Decode before splitting values: the second byte of a character
    may look like a backslash.
    """
    names = tuple(term.strip() for term in terms)
    if not any(names):
        # Beyond ASCII without a declaration: against PS3.5 6.1.2.1, and common.
        return _guess(raw)
    codec = dicom_codec(names[0]) if names[0] else "ascii"
    return _by_codec(raw, codec, switching=len(names) > 1)


def choose(texts: Iterable[str], requested: Sequence[str] = ()) -> str:
    """Choose the Specific Character Set in which an answer is written.

    "" (the default repertoire: leave (0008,0005) out) when ASCII says it all, ISO_IR 100
    when Latin-1 does and the peer didn't ask in UTF-8, else ISO_IR 192.
    """
    together = "".join(texts)
    if together.isascii():
        return ""
    wants_utf_8 = any(dicom_codec(term) == "utf-8" for term in requested)
    return "ISO_IR 192" if wants_utf_8 or not _fits(together, "iso8859_1") else "ISO_IR 100"


_ANSWERS = {"": "ascii", "ISO_IR 6": "ascii", "ISO_IR 100": "iso8859_1", "ISO_IR 192": "utf-8"}


def encode(text: str, term: str) -> bytes:
    """Encode a text in a set that `choose` gives.

    Raises UnicodeEncodeError for a text that the set can't say: nothing becomes `?`.
    """
    return text.encode(_ANSWERS[term])


def encode_hl7(text: str, name: str) -> bytes | None:
    """Encode a text in a set of MSH-18 ("": ASCII); None: it can't say it, or is unknown."""
    codec = _hl7_codec(name.strip()) if name.strip() else "ascii"
    if codec is None:
        return None
    try:
        encoded = text.encode(codec)
    except UnicodeEncodeError:
        return None
    # ISO IR14 is the single bytes of Shift JIS: the second of two may be a delimiter.
    return None if codec == "shift_jis" and len(encoded) != len(text) else encoded


@lru_cache(maxsize=256)
def _hl7_codec(name: str) -> str | None:
    """Give the codec of a name of table 0211, or None."""
    label = name.upper()
    if match := _8859.fullmatch(label):
        return _ISO_8859.get(int(match[1]))
    if match := _WINDOWS_NAME.fullmatch(label):
        return f"cp{match[1]}"
    return _HL7.get(label) or _COLLOQUIAL.get(label) or dicom_codec(name)


@lru_cache(maxsize=256)
def dicom_codec(term: str) -> str | None:
    """Give the codec of a defined term of (0008,0005), however it is punctuated, or None."""
    label = term.strip().upper()
    if label in {"GB18030", "GBK"}:
        return label.lower()
    if label == "ISO 2022 GBK":
        return "gbk"
    match = _DICOM_TERM.fullmatch(label)
    return _ISO_IR.get(int(match[1])) if match else None


def _by_codec(raw: bytes, codec: str | None, *, switching: bool) -> Decoded:
    if codec is None:
        guess = _guess(raw)
        return Decoded(guess.text, guess.encoding, (Flag.UNKNOWN_SET, *guess.flags))
    if b"\x1b" in raw and (switching or codec in _TWO_BYTES_IN_G0):
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


def _switched(raw: bytes, first: str) -> Decoded:
    """Decode a text with code extensions (PS3.5 6.1.2.5): each run by the escape before it.

    Sets of two bytes in G0 replace ASCII until an escape brings it back. All others are in
    G1, above 7F, where one stays until the next comes, whatever happens in G0.
    """
    flags: set[Flag] = set()
    texts: list[str] = []
    upper = "ascii" if first in _TWO_BYTES_IN_G0 else first
    codec, escape = upper, b""
    for part in _ESCAPE.split(raw):
        if part in _ESCAPES:
            codec, escape = _ESCAPES[part], b""
            if codec in _TWO_BYTES_IN_G0:
                escape = part
            elif part in _INTO_G1:
                upper = codec
            elif upper != "ascii":
                codec = upper
            continue
        text = _strict(escape + part, codec)
        if text is None:
            text = part.decode("iso8859_1")
            flags.add(Flag.MISLABELLED)
        elif "\x1b" in text:  # an escape to a set that we don't know
            flags.add(Flag.UNKNOWN_SET)
        texts.append(text)
    return Decoded("".join(texts), first, tuple(sorted(flags)))


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
