"""What the keys of an identifier ask for, as matchers (PS3.4 C.2.2.2, K.6.1.2.2).

Whatever a worklist's item tells it is matched by. SQL matches what a column holds as it is
told, and what has a key of its own; the rest is held against what would be told, item by item
(`mwl.worklist.find.Check`): what is kept by name, what is put together, people's names of which
no folded key is kept, numbers, attributes of several values, and sequences, of which one item
must meet all that is asked for in the key's item (C.2.2.2.6).

An attribute that the model doesn't have may still be kept by its name, or by its private
creator's. A key on it is not supported, and excludes nothing but what is known to be otherwise.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from functools import lru_cache

from mwl import matching
from mwl.charsets import Texts
from mwl.dataset import DataSet, Element, character_sets
from mwl.errors import Fault, Reason, Rejected
from mwl.matching import UNIVERSAL, Matcher, Range, Universal
from mwl.scp.answers import kept_name
from mwl.scp.attributes import (
    SCHEDULED_PROCEDURE_STEP_SEQUENCE,
    SPECIFIC_CHARACTER_SET,
    START_DATE,
    START_TIME,
    STEP,
    TIMEZONE_OFFSET,
    TOP,
    Attribute,
    Item,
    Model,
    as_is,
    further,
    is_creator,
    keyword_of,
    vr_of,
)
from mwl.scp.elements import TEXTS
from mwl.worklist import kept
from mwl.worklist.find import KEYS, Check

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
# PS3.5 6.2: whose backslashes are text.
_LONG = frozenset({"LT", "ST", "UT"})
_NUMBERS = frozenset({"DS", "IS"})
_BINARY = frozenset({"US"})
_MEMO_VALUES = 1024

Test = Callable[[str], bool]
_NOWHERE: Model = {}


class Matching:
    """The matching half of a worklist's identifier; `fuzzy`: it was agreed on for names.

    `texts` are how those of `keys` are read. `wildcards`: they are meant as such where a single
    value alone is matched, too. `there` are the attributes that are told in the asker's zone.
    `keys` and `checks` are those of `mwl.worklist.find.Query`, `unsupported` the tags with a
    value that the model doesn't have.
    Rejected, with the attribute's keyword: a value that can't be read.
    """

    def __init__(
        self,
        keys: DataSet,
        texts: Texts | None = None,
        *,
        fuzzy: bool = False,
        wildcards: bool = False,
        there: Model = _NOWHERE,
    ) -> None:
        self._texts = texts or Texts(character_sets(keys))
        self._fuzzy, self._wildcards, self._there = fuzzy, wildcards, there
        self.keys: dict[str, Matcher] = {}
        self.checks: list[Check] = []
        self.unsupported: list[int] = []
        self._read(keys, TOP, "")
        sequence = keys.get(SCHEDULED_PROCEDURE_STEP_SEQUENCE)
        if sequence is not None and sequence.items:
            step = sequence.items[0]  # C.2.2.2.6: no more than one item
            self._read(step, STEP, kept.STEP)
            self._read_start(step)

    def _read(self, keys: DataSet, model: Model, under: str) -> None:
        for tag, key in keys.items():
            if tag in _APART or not _asks(key):
                continue
            attribute = self._there.get(tag) or model.get(tag)
            if attribute is None:
                self.unsupported.append(tag)
                self._ask_beyond(key, keys, under)
            elif not attribute.column or (attribute.items is not None and not key.items):
                self.unsupported.append(tag)
            else:
                self._ask(key, attribute)

    def _ask(self, key: Element, attribute: Attribute) -> None:
        if self._wildcards and attribute.single:
            attribute = replace(attribute, single=False)
        name = attribute.key or _plain(attribute)
        if name:
            self.keys[name] = self._matcher(key, attribute)
        else:
            self.checks.append(Check(attribute.column, self._test(key, attribute)))

    def _ask_beyond(self, key: Element, level: DataSet, under: str) -> None:
        """Ask for what may be kept by name: what is kept of no name is not excluded."""
        name = "" if is_creator(key.tag) else kept_name(key.tag, level)
        vr = key.vr if vr_of(key.tag) == "UN" else vr_of(key.tag)
        if not name or not (key.items if vr == "SQ" else vr in TEXTS):
            return
        attribute = further(under + name, vr)
        read: Callable[[str], object] = attribute.items or attribute.text
        try:
            test = self._test(key, attribute)
        except Rejected:
            return  # it may mean what it likes

        def is_met(text: str) -> bool:
            return not read(text) or test(text)

        self.checks.append(Check(attribute.column, is_met))

    def _test(self, key: Element, attribute: Attribute) -> Test:
        """Make what tells whether a column's text is what a key asks for."""
        items, read = attribute.items, attribute.text
        if items is not None:
            is_wanted = self._item_test(key.items[0])

            def has_item(text: str) -> bool:
                return any(map(is_wanted, items(text)))

            return lru_cache(_MEMO_VALUES)(has_item)
        matches = self._value_test(key, attribute)
        separator = "\\" if attribute.multiple else None

        def is_told(text: str) -> bool:
            value = read(text)
            return any(map(matches, value.split(separator) if separator else (value,)))

        return lru_cache(_MEMO_VALUES)(is_told)

    def _item_test(self, keys: DataSet) -> Callable[[Item], bool]:
        """Make what tells whether an item of a sequence has all that a key's item asks for."""
        tests: list[tuple[int, Test]] = []
        inside: list[tuple[int, Callable[[Item], bool]]] = []
        for tag, key in keys.items():
            if not _asks(key):
                continue
            if key.items:
                inside.append((tag, self._item_test(key.items[0])))
            else:
                tests.append((tag, self._value_test(key, Attribute(vr_of(tag)))))

        def is_wanted(item: Item) -> bool:
            return all(test(_text(item, tag)) for tag, test in tests) and all(
                any(map(test, _items(item, tag))) for tag, test in inside
            )

        return is_wanted

    def _value_test(self, key: Element, attribute: Attribute) -> Test:
        matcher = self._matcher(key, attribute)
        if attribute.vr == "TM":
            return lambda value: matcher.matches(_whole_time(value))
        if attribute.vr in _NUMBERS:
            return lambda value: matcher.matches(_number(value))
        return matcher.matches

    def _matcher(self, key: Element, attribute: Attribute) -> Matcher:
        where = keyword_of(key.tag)
        if attribute.vr in _BINARY:
            return _binary(key, where)
        text = self._text(key)
        if attribute.vr in _NUMBERS:
            text = "\\".join(map(_number, text.split("\\")))
        return _matcher(attribute, text, where, fuzzy=self._fuzzy)

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
        return self._texts.decode(key.value)


def _plain(attribute: Attribute) -> str:
    """Name the column that holds what is told, if SQL can match it; "": it can't."""
    is_told = attribute.text is as_is and attribute.items is None and not attribute.multiple
    if is_told and attribute.vr not in _NUMBERS | {"PN", "TM"} and attribute.column in KEYS:
        return attribute.column
    return ""


def _text(item: Item, tag: int) -> str:
    value = item.get(tag, "")
    return value if isinstance(value, str) else ""


def _items(item: Item, tag: int) -> list[Item]:
    value = item.get(tag, [])
    return [] if isinstance(value, str) else value


def _whole_time(value: str) -> str:
    """Give a time to the second, HHMMSS; "" if it is unknown."""
    return (value[:6] + "000000")[:6] if value else ""


def _number(text: str) -> str:
    """Write a number as numbers are compared: 70, 70.0 and +70 are the same."""
    try:
        return f"{Decimal(text.strip()).normalize():f}" if len(text) <= 16 else text
    except (InvalidOperation, ValueError):
        return text.strip()


def _binary(key: Element, where: str) -> Matcher:
    if len(key.value) != 2:
        raise Rejected(Fault(Reason.MALFORMED, where, "is no US of one value"))
    return matching.Single(str(int.from_bytes(key.value, "little")))


def matchers(
    keys: DataSet,
    model: Model,
    texts: Texts,
    *,
    fuzzy: bool = False,
    wildcards: bool = False,
) -> tuple[dict[str, Matcher], list[int]]:
    """Read the keys that have a value: matchers by `Attribute.key`, and tags without one.

    `texts` are how theirs are read; `fuzzy`: it was agreed on for names; `wildcards`: they are
    meant as such in every text.
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
            read = _matcher(attribute, texts.decode(key.value), keyword_of(tag), fuzzy=fuzzy)
            found[attribute.key] = read
    return found, unsupported


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
        case vr if vr in _LONG:
            return matching.lines(text, where)
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
