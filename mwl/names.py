"""Person names as they are compared when a query asks for fuzzy matching; pure.

PS3.4 C.2.2.2.1.1 leaves to us what "fuzzy" is. A name is a bag of words: its components and
groups, parted at spaces and hyphens too. Each word of a key must be found among them, in any
order, in one of two ways:

- by its letters: a word of the name begins with it. Letters are transliterated to ASCII, and
  case, doubled letters and the e of ae, oe and ue don't count: Muller finds Müller, Mueller
  and Mullersdorf.
- by its sound: both words have the same consonants, where those that are easily taken for one
  another count as one (b p, d t, g k, v w f, z s, ph f, ch k, sch s), and both or neither
  end in a vowel, where a last e alone is none: Maier finds Meyer, Mohammed finds Muhamad, but
  Peter isn't Petra. A word with fewer than two consonants has no sound: Li isn't Lou.
"""

import re
from functools import lru_cache

from anyascii import anyascii

# A PN has three groups of 64 characters; a longer one isn't worth more.
_MOST_WORDS = 24
_LONGEST_WORD = 32

_APOSTROPHES = re.compile(r"['`]")
_WORD = re.compile(r"[a-z0-9]+")
_UMLAUT = re.compile(r"([aou])e")
_DOUBLED = re.compile(r"(.)\1+")

# Tried in this order at each place; what none of them is stays what it is.
_SOUNDS = {
    "tsch": "k",
    "sch": "s",
    "tch": "k",
    "ch": "k",
    "ck": "k",
    "kh": "k",
    "gh": "k",
    "sh": "s",
    "zh": "s",
    "ph": "f",
    "th": "t",
    "dt": "t",
    "tz": "s",
    "ts": "s",
    "cz": "s",
    "sz": "s",
    "ce": "s",
    "ci": "s",
    "cy": "s",
    "x": "ks",
    "c": "k",
    "q": "k",
    "g": "k",
    "z": "s",
    "d": "t",
    "b": "p",
    "v": "f",
    "w": "f",
}
_SOUND = re.compile("|".join(_SOUNDS))
_FIRST_VOWEL = re.compile(r"^[aeiou]")
_FIRST_Y = re.compile(r"^y")
_SILENT = re.compile(r"(?<!^)[aeiouyjh]")
_ENDING = re.compile(r"(?<!^)[aeiouyjh]+$")


def words_of(text: str) -> list[str]:
    """Take a name, or a key, apart into folded words of ASCII letters and digits."""
    plain = _APOSTROPHES.sub("", anyascii(text)).lower()
    return [_folded(word) for word in _WORD.findall(plain)[:_MOST_WORDS]]


def _folded(word: str) -> str:
    """Fold a word; what it begins with folds to what it then begins with."""
    return _DOUBLED.sub(r"\1", _UMLAUT.sub(r"\1", word))[:_LONGEST_WORD]


def sound_of(word: str) -> str:
    """Give how a folded word sounds; "" if that says next to nothing."""
    sound = _SOUND.sub(lambda found: _SOUNDS[found[0]], _FIRST_Y.sub("j", word))
    sound = _FIRST_VOWEL.sub("a", _DOUBLED.sub(r"\1", sound))
    ending = _ENDING.search(sound)
    heard = _SILENT.sub("", sound)
    if len(heard) < 2:
        return ""
    return heard + "a" if ending and ending[0].strip("eh") else heard


def by_letters(word: str) -> str:
    """Give what the key of every name has in it that has a word which begins with `word`."""
    return f" {word}"


def by_sound(sound: str) -> str:
    """Give what the key of every name has in it that has a word which sounds like this."""
    return f"~{sound}~"


@lru_cache(maxsize=1024)
def words_key(name: str) -> str:
    """Make the key of a name in which words are looked for: ` muler ana~mlr~an~`; "" of none.

    It is kept in columns beside the name: change how it is made, and they are to be made anew.
    """
    words = list(dict.fromkeys(words_of(name)))
    sounds = dict.fromkeys(filter(None, map(sound_of, words)))
    key = "".join(map(by_letters, words))
    return key + "~" + "~".join(sounds) + "~" if sounds else key
