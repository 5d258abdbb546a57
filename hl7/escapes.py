r"""Delimiters, and the escape sequences that let a text hold them (HL7 v2.5.1 2.5.4, 2.7).

What is no escape sequence, or an unknown one, stays in the text as it is: a path like
`C:\TEMP` that nobody escaped is shown, not eaten.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

# A delimiter that MSH-2 leaves out. No message may hold NUL (`er7.Message.parse`).
UNDECLARED = "\0"
# A bound for the counts in \.sp<n>\ and \.sk<n>\.
MAX_BLANKS = 100


@dataclass(frozen=True, slots=True)
class Delimiters:
    """MSH-1 and MSH-2; `UNDECLARED` stands for what MSH-2 leaves out."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    truncation: str = UNDECLARED

    @property
    def msh_2(self) -> str:
        order = (self.component, self.repetition, self.escape, self.subcomponent, self.truncation)
        return "".join(order).replace(UNDECLARED, "")


STANDARD = Delimiters()


def escape(text: str, delimiters: Delimiters = STANDARD) -> str:
    r"""Write a text so that no delimiter, control character or `""` in it is read as such.

    Where MSH-2 declares no escape character nothing can be escaped: such characters
    become spaces.
    """
    mark = delimiters.escape
    if mark == UNDECLARED:
        return _unsafe(delimiters).sub(" ", text)
    if text == '""':  # the two characters themselves, not "delete"
        return f"{mark}X2222{mark}"
    return _unsafe(delimiters).sub(lambda match: _sequence(match[0], delimiters), text)


def unescape(text: str, delimiters: Delimiters = STANDARD, encoding: str = "utf-8") -> str:
    r"""Resolve the escape sequences in a text.

    `encoding` is the codec of the message: the bytes in `\Xhh..\` are read with it where
    they are valid in it, else as Latin-1.
    """
    mark = delimiters.escape
    if mark not in text or mark == UNDECLARED:
        return text
    done: list[str] = []
    run: list[str] = []  # since the last switch of character sets
    designation = ""
    position = 0
    for match in _sequences(mark).finditer(text):
        run.append(text[position : match.start()])
        position = match.end()
        if match["set"]:
            done.append(_in_set(designation, "".join(run), encoding))
            designation = match["set"]
            run.clear()
        else:
            run.append(_meaning(match, delimiters, encoding))
    run.append(text[position:])
    done.append(_in_set(designation, "".join(run), encoding))
    return "".join(done)


@lru_cache(maxsize=64)
def _unsafe(delimiters: Delimiters) -> re.Pattern[str]:
    return re.compile(f"[{re.escape(delimiters.field + delimiters.msh_2)}\x00-\x1f\x7f]")


def _sequence(character: str, delimiters: Delimiters) -> str:
    mark = delimiters.escape
    for name, attribute in _NAMED.items():
        if character == getattr(delimiters, attribute) != UNDECLARED:
            return f"{mark}{name}{mark}"
    return f"{mark}X{ord(character):02X}{mark}"


# 2.7.1; P came with v2.7.
_NAMED = {
    "F": "field",
    "S": "component",
    "T": "subcomponent",
    "R": "repetition",
    "E": "escape",
    "P": "truncation",
}
_STANDARD_P = "#"


@lru_cache(maxsize=32)
def _sequences(mark: str) -> re.Pattern[str]:
    # Only what 2.7 defines matches. Hexadecimal neighbours are one run: \XC3\\X87\ may be
    # the two bytes of one character.
    m = re.escape(mark)
    return re.compile(
        rf"{m}(?:(?P<name>[FSTREP])"
        rf"|(?P<hex>X(?:[0-9A-Fa-f]{{2}})+(?:{m}{m}X(?:[0-9A-Fa-f]{{2}})+)*)"
        rf"|(?P<set>C[0-9A-Fa-f]{{4}}|M[0-9A-Fa-f]{{4}}(?:[0-9A-Fa-f]{{2}})?)"
        rf"|(?P<layout>[HN]|\.(?i:br|sp|fi|nf|in|ti|sk|ce)(?P<count>[ +-]?\d{{0,4}})))"
        rf"{m}"
    )


def _meaning(match: re.Match[str], delimiters: Delimiters, encoding: str) -> str:
    if name := match["name"]:
        character: str = getattr(delimiters, _NAMED[name])
        if character == UNDECLARED:
            return _STANDARD_P if name == "P" else getattr(STANDARD, _NAMED[name])
        return character
    if digits := match["hex"]:
        data = bytes.fromhex(digits.replace("X", "").replace(delimiters.escape, ""))
        # No text of ours may hold NUL: the sequence stays, to be seen.
        return match[0] if 0 in data else _decoded(data, encoding)
    return _layout(match["layout"].lower(), match["count"] or "")


def _decoded(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _layout(command: str, count: str) -> str:
    # 2.7.4, 2.7.6: line ends and blanks are kept; highlighting, indents and fill modes are not.
    times = min(int(count.strip(" +-") or 1), MAX_BLANKS)
    if command.startswith((".br", ".ce")):
        return "\n"
    if command.startswith(".sp"):
        return "\n" * times
    return " " * times if command.startswith(".sk") else ""


# 2.7.2: what \Cxxyy\ and \Mxxyyzz\ put into G0: Python's codec knows these by their escapes.
_G0 = frozenset({"2442", "242844"})
# … and into G1, by codec; single bytes, KS X 1001 and GB 2312.
_G1 = {
    "2D41": "latin-1",
    "2D42": "iso8859_2",
    "2D43": "iso8859_3",
    "2D44": "iso8859_4",
    "2D4C": "iso8859_5",
    "2D47": "iso8859_6",
    "2D46": "iso8859_7",
    "2D48": "iso8859_8",
    "2D4D": "iso8859_9",
    "2D54": "iso8859_11",
    "2D62": "iso8859_15",
    "2949": "shift_jis",
    "242943": "euc_kr",
    "242941": "gb2312",
}


def _in_set(designation: str, text: str, encoding: str) -> str:
    r"""Read what follows \C..\ or \M..\ in the set it names; unreadable: as it came."""
    code = designation[1:].upper()
    try:
        if code in _G0:
            return (b"\x1b" + bytes.fromhex(code) + text.encode("ascii")).decode("iso2022_jp_2")
        if code in _G1:
            return text.encode(encoding).decode(_G1[code])
    except UnicodeError:
        pass
    return text
