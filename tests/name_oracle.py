"""What fuzzy matching of names means, written a second time: word by word, letter by letter."""

from itertools import groupby, takewhile

from anyascii import anyascii

_VOWELS = "aeiouyjh"  # and what isn't heard
# Of letters that are easily taken for one another, all are written as the first.
_ALIKE = ("ptk", "bdg")
_PAIRS = {
    **dict.fromkeys(("sch", "sh", "zh", "tz", "ts", "cz", "sz"), "s"),
    **dict.fromkeys(("tsch", "tch", "ch", "ck", "kh", "gh"), "k"),
    "ph": "f",
    "th": "t",
    "dt": "t",
}


def is_match(key: str, name: str) -> bool:
    """Tell whether a name has all words of the key, or of one of its groups and values."""
    have = _words(name)
    for value in key.split("\\"):
        for group in value.split("="):
            wanted = [
                (word, part.endswith("*"))
                for part in group.replace("^", " ").split(" ")
                for word in _words(part.rstrip("*"))
            ]
            if wanted and all(_found(word, is_start, have) for word, is_start in wanted):
                return True
    return False


def _found(word: str, is_start: bool, have: list[str]) -> bool:
    if any(each.startswith(word) for each in have):
        return True
    return not is_start and _sound(word) != "" and _sound(word) in map(_sound, have)


def _words(text: str) -> list[str]:
    plain = anyascii(text).lower().replace("'", "").replace("`", "")
    parted = "".join(each if each.isalnum() else " " for each in plain).split()[:24]
    return [_folded(word) for word in parted]


def _folded(word: str) -> str:
    kept = [
        each
        for before, each in zip(" " + word, word, strict=False)
        if not (each == "e" and before in "aou")
    ]
    return "".join(letter for letter, _ in groupby(kept))[:32]


def _sound(word: str) -> str:
    heard: list[str] = []  # a letter each, " " for a vowel and what isn't heard
    at = 0
    if word[:1] == "y":
        word = "j" + word[1:]
    while at < len(word):
        size = next((n for n in (4, 3, 2) if word[at : at + n] in _PAIRS), 0)
        if size:
            heard.append(_PAIRS[word[at : at + size]])
        elif word[at] == "c":
            is_soft = word[at + 1 : at + 2] in ("e", "i", "y")
            heard.append("s" if is_soft else "k")
            size = 2 if is_soft else 1
        elif word[at] == "x":
            heard += "ks"
        else:
            heard.append(_letter(word[at]))
        at += size or 1
    once = [letter for letter, _ in groupby(heard)]
    if once and once[0] in "aeiou":
        once[0] = "A"
    first, rest = once[:1], once[1:]
    consonants = first + [letter for letter in rest if letter not in _VOWELS]
    last = list(takewhile(_VOWELS.__contains__, reversed(rest)))
    if len(consonants) < 2:
        return ""
    return "".join(consonants) + ("+" if set(last) - set("eh") else "")


def _letter(letter: str) -> str:
    if letter in _ALIKE[1]:
        return _ALIKE[0][_ALIKE[1].index(letter)]
    return {"v": "f", "w": "f", "z": "s", "q": "k"}.get(letter, letter)
