"""Texts in the letters that a peer has, so that a person reads them; nothing becomes `?`.

What the peer's set can say stays as it is. Of the rest, letters of German, the Nordic
languages and Icelandic become what passports make of them (ICAO Doc 9303 part 3, 6 A), and
all others what anyascii makes of them, syllable by syllable. What has no letters at all is
shown as `_`.

A name is one name in three groups (PS3.5 6.2.1), and the peer needs one of them:

- its alphabetic group is always there: transliterated, where it must be; where there is
  none, it is the phonetic group's, for ideographs are read in more than one way; else the
  ideographic group's;
- an ideographic or a phonetic group that the set can't say as a whole is left out.
"""

import re
import unicodedata
from typing import Final

from anyascii import anyascii

from mwl.charsets.writing import Script

_PASSPORT: Final = {
    "Ä": "AE",
    "Ö": "OE",
    "Ü": "UE",
    "ẞ": "SS",
    "Å": "AA",
    "Æ": "AE",
    "Ø": "OE",
    "Œ": "OE",
    "Þ": "TH",
    "Ð": "D",
}
_OTHERS: Final = {"ا": "a", "ß": "ss"}  # anyascii drops the first
_NOTHING = "_"
_FORBIDDEN = re.compile(r"[?\\\x00-\x1f\x7f]")  # nobody asked; nobody parted two values
_DELIMITERS = re.compile(r"[\^=]")
_HALF_WIDTH = re.compile(r"[\uff66-\uff9f]+")


class Rewriting(Script):
    """A set, and texts in its letters."""

    def __init__(self, script: Script) -> None:
        super().__init__(script.term)
        self._script = script

    def encode(self, text: str) -> bytes:
        return self._script.encode(text)

    def says(self, text: str) -> bool:
        return self._script.says(text)

    def readable(self, text: str, vr: str) -> str:
        """Write a text so that the set can say it."""
        return readable_name(text, self) if vr == "PN" else readable(text, self)


def readable(text: str, script: Script) -> str:
    """Write a text so that the set can say it."""
    if script.says(text):
        return text

    def full_width(match: re.Match[str]) -> str:
        # A sound mark belongs to the kana before it.
        half = match[0]
        return half if script.says(half) else unicodedata.normalize("NFKC", half)

    text = _HALF_WIDTH.sub(full_width, unicodedata.normalize("NFC", text))
    letters = [each if script.says(each) else _letters(each, script) for each in text]
    return "".join(_cased(each, text, at) for at, each in enumerate(letters)) or _NOTHING


def readable_name(name: str, script: Script) -> str:
    """Write a PN so that the set can say it."""
    if script.says(name):
        return name
    alphabetic, *others = groups = name.split("=")
    if not alphabetic.strip("^ "):
        alphabetic = next((each for each in reversed(groups) if each.strip("^ ")), "")
    components = [_component(each, script) for each in alphabetic.split("^")]
    kept = [each if script.says(each) else "" for each in others]
    return "=".join(("^".join(components), *kept)).rstrip("=")


def _component(text: str, script: Script) -> str:
    if script.says(text):
        return text
    words = _DELIMITERS.sub(_NOTHING, readable(text, script)).split(" ")
    # Where letters have no case, as kana, a name begins with a capital.
    cased = any(each.isupper() or each.islower() for each in text)
    return " ".join(words if cased else (word[:1].upper() + word[1:] for word in words))


def _cased(letters: str, text: str, at: int) -> str:
    """Write the letters of a capital as its neighbours are written: ÄRZTE, Ärzte."""
    if len(letters) < 2 or not text[at].isupper():
        return letters
    beside = text[at + 1 : at + 2] or text[max(at - 1, 0) : at]
    return letters.upper() if beside.isupper() else letters[0].upper() + letters[1:].lower()


def _letters(character: str, script: Script) -> str:
    letters = _PASSPORT.get(character.upper(), "")
    if not character.isupper():
        letters = _OTHERS.get(character, letters.lower())
    if not letters:
        plain = unicodedata.normalize("NFKC", character)
        letters = _FORBIDDEN.sub(_NOTHING, plain if script.says(plain) else anyascii(plain))
    # A letter may be silent, and a mark has no place here; anything else is missed.
    return letters or ("" if unicodedata.category(character)[0] in "LM" else _NOTHING)
