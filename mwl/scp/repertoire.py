"""Text in the Specific Character Set of a data set that is there already (PS3.5 6.1.2).

`mwl.charsets` reads all of them. Here a text is written in the very sets that a data set
declares, code extensions and all, so that one value of it can be replaced and the others left
as they are. What is written is read again: it counts only if that gives the same text, with
nothing to doubt.
"""

from collections.abc import Sequence
from typing import Final

from mwl import charsets

UTF_8: Final = charsets.UTF_8
# PS3.5 6.1.2.3: the VRs whose characters depend on (0008,0005).
DEPENDENT: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})


def terms_of(value: bytes) -> tuple[str, ...]:
    """Read the values of (0008,0005)."""
    return tuple(term.strip(" \0") for term in value.decode("latin-1").split("\\"))


def decoded(raw: bytes, terms: Sequence[str]) -> str:
    """Read a text; what it can't be by the declared sets, it is by the best guess."""
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")
    return charsets.specific_character_set(raw, terms).text


def encoded(text: str, terms: Sequence[str]) -> bytes | None:
    """Write a text in the declared sets; None if they can't say it."""
    if text.isascii():
        return text.encode("ascii")
    script = charsets.script("\\".join(terms))
    if script is None:
        return None
    try:
        raw = script.encode(text)
    except UnicodeEncodeError:
        return None
    read = charsets.specific_character_set(raw, terms)
    return raw if read.text == text and not read.flags else None
