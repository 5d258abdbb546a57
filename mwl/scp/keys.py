"""What the keys of an identifier ask for, as matchers (PS3.4 C.2.2.2, K.6.1.2.2)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from mwl import charsets, matching
from mwl.dataset import DataSet, Element, character_sets
from mwl.matching import UNIVERSAL, Matcher, Range, Universal
from mwl.scp.attributes import (
    SCHEDULED_PROCEDURE_STEP_SEQUENCE,
    SPECIFIC_CHARACTER_SET,
    START_DATE,
    START_TIME,
    STEP,
    TIMEZONE_OFFSET,
    TOP,
    Attribute,
    Model,
    keyword_of,
)

# Read for themselves: they say how the identifier is meant, or become one range.
_APART = frozenset(
    {
        SPECIFIC_CHARACTER_SET,
        TIMEZONE_OFFSET,
        SCHEDULED_PROCEDURE_STEP_SEQUENCE,
        START_DATE,
        START_TIME,
    }
)


class Matching:
    """The matching half of a worklist's identifier; `fuzzy`: it was agreed on for names.

    `wildcards`: they are meant as such where a single value alone is matched, too. `keys` are
    those of `mwl.worklist.find.Query`, `unsupported` the tags with a value that we don't match
    by. Rejected, with the attribute's keyword: a value that can't be read.
    """

    def __init__(self, keys: DataSet, *, fuzzy: bool = False, wildcards: bool = False) -> None:
        self._terms = character_sets(keys)
        self._fuzzy, self._wildcards = fuzzy, wildcards
        self.keys: dict[str, Matcher] = {}
        self.unsupported: list[int] = []
        self._read(keys, TOP)
        sequence = keys.get(SCHEDULED_PROCEDURE_STEP_SEQUENCE)
        if sequence is not None and sequence.items:
            step = sequence.items[0]  # C.2.2.2.6: no more than one item
            self._read(step, STEP)
            self._read_start(step)

    def _read(self, keys: DataSet, model: Model) -> None:
        rest = {tag: key for tag, key in keys.items() if tag not in _APART}
        found, unsupported = matchers(
            rest, model, self._terms, fuzzy=self._fuzzy, wildcards=self._wildcards
        )
        self.keys |= found
        self.unsupported += unsupported

    def _read_start(self, step: DataSet) -> None:
        date: Universal | Range = UNIVERSAL
        time: Universal | Range = UNIVERSAL
        if START_DATE in step:
            date = matching.dates(self._text(step[START_DATE]), keyword_of(START_DATE))
        if START_TIME in step:
            time = matching.times(self._text(step[START_TIME]), keyword_of(START_TIME))
        start = matching.start(date, time)
        self.keys["start"], self.keys["time_of_day"] = start.instant, start.time_of_day

    def _text(self, key: Element) -> str:
        return _decoded(key, self._terms)


def matchers(
    keys: DataSet,
    model: Model,
    terms: Sequence[str],
    *,
    fuzzy: bool = False,
    wildcards: bool = False,
) -> tuple[dict[str, Matcher], list[int]]:
    """Read the keys that have a value: matchers by `Attribute.key`, and tags without one.

    `terms` are the values of (0008,0005); `fuzzy`: it was agreed on for names; `wildcards`:
    they are meant as such in every text.
    Rejected, with the attribute's keyword: a value that can't be read.
    """
    found: dict[str, Matcher] = {}
    unsupported: list[int] = []
    for tag, key in keys.items():
        if not _asks(key):
            continue
        attribute = model.get(tag)
        if attribute is None or not attribute.key:
            unsupported.append(tag)
        else:
            if wildcards and attribute.single:
                attribute = replace(attribute, single=False)
            read = _matcher(attribute, _decoded(key, terms), keyword_of(tag), fuzzy=fuzzy)
            found[attribute.key] = read
    return found, unsupported


def _decoded(key: Element, terms: Sequence[str]) -> str:
    return charsets.specific_character_set(key.value, terms).text


def _matcher(attribute: Attribute, text: str, where: str, *, fuzzy: bool) -> Matcher:
    match attribute.vr:
        case "PN":
            return matching.fuzzy_name(text, where) if fuzzy else matching.name(text, where)
        case "DA":
            return matching.dates(text, where)
        case "TM":
            return matching.times(text, where)
        case "UI":
            return matching.uids(text, where)
        case _:
            return matching.text(text, where, wildcards=not attribute.single)


def _asks(key: Element) -> bool:
    """Tell whether a key, or one inside it, has a value to match."""
    return any(value.strip(b"*^= ") for value in _values(key))


def _values(key: Element) -> Iterator[bytes]:
    yield key.value
    for item in key.items:
        for inner in item.values():
            yield from _values(inner)
