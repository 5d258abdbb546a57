"""Attribute matching of PS3.4 C.2.2.2 as values; pure.

A key's text becomes a matcher, which says what it matches (`matches`) and which
`mwl.db.matching` puts into SQL. The rules that this module bears:

1. An empty key, and `*` alone, match everything, an unknown value too (C.2.2.2.3). Any
   other key matches no unknown value: unknown is the empty text.
2. `*` stands for any characters, `?` for one (C.2.2.2.4), where the VR allows them and the
   attribute is not retrieved by single value alone.
3. Names match without regard to case and to trailing empty components, if any group of the
   key (alphabetic, ideographic, phonetic) matches any group of the name (C.2.2.2.1).
4. A date or time stands for its whole span: 1030 is from 10:30:00 to 10:30:59. Ranges
   include both ends; an end may be open (C.2.2.2.5).
5. Ranges of the start date and of the start time are one range of instants (K.6.1.2.2).
6. A key with several values matches what any of them matches (C.2.2.2.2, C.2.2.2.8).
7. Where fuzzy matching of names was agreed on (C.2.2.2.1.1), they match by their words, as
   `mwl.names` says. A key with wildcards elsewhere than at the ends of words is meant as it
   is written.
8. Whatever a peer sends has a defined meaning within bounds, or raises Rejected: matching
   takes time in proportion to key × value, and never backtracks.
"""

import re
from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo

from mwl.errors import Fault, Reason, Rejected
from mwl.names import by_letters, by_sound, sound_of, words_key, words_of
from mwl.patients import name_key

# No attribute of several values holds more in one: a PN has three groups of 64.
MAX_VALUE = 256
MAX_LINES = 10_240  # PS3.5 6.2: LT
# A list of UIDs is the longest that is ever meant.
MAX_VALUES = 256
# A name takes a dozen comparisons where a UID takes one.
MAX_NAMES = 16


@dataclass(frozen=True, slots=True)
class Universal:
    """Matches everything, an unknown value too."""

    def matches(self, value: str) -> bool:  # noqa: ARG002 - the signature of every matcher
        """Tell whether `value` matches; "" is unknown."""
        return True


@dataclass(frozen=True, slots=True)
class Single:
    """Matches the value that it states."""

    value: str

    def matches(self, value: str) -> bool:
        """Tell whether `value` matches; "" is unknown."""
        return value == self.value


@dataclass(frozen=True, slots=True)
class Wildcard:
    """Matches a pattern of `*` and `?` that says more than `*`."""

    pattern: str

    def matches(self, value: str) -> bool:
        """Tell whether `value` matches; "" is unknown."""
        return value != "" and _glob(self.pattern, value)


@dataclass(frozen=True, slots=True)
class Range:
    """Matches digits from `low` to `high`, both included; an empty end is open.

    `stated` tells a range from the span of a single value.
    """

    low: str
    high: str
    stated: bool = True

    def matches(self, value: str) -> bool:
        """Tell whether `value` matches; "" is unknown."""
        return value != "" and self.low <= value and (not self.high or value <= self.high)


@dataclass(frozen=True, slots=True)
class Name:
    """Matches a person name that one of `choices`, folded, matches in one of its groups."""

    choices: tuple[Single | Wildcard, ...]

    def matches(self, value: str) -> bool:
        """Tell whether `value` matches; "" is unknown."""
        groups = [group for group in name_key(value).split("=")[:3] if group]
        return any(choice.matches(group) for choice in self.choices for group in groups)


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a key: what is looked for in a name's key (`mwl.names.words_key`), either of it.

    `sound` is "" where only letters count.
    """

    letters: str
    sound: str = ""


@dataclass(frozen=True, slots=True)
class Fuzzy:
    """Matches a person name that has all words of any of `choices`."""

    choices: tuple[tuple[Word, ...], ...]

    def matches(self, value: str) -> bool:
        """Tell whether `value` matches; "" is unknown."""
        key = words_key(value)
        return any(all(_is_in(word, key) for word in words) for words in self.choices)


def _is_in(word: Word, key: str) -> bool:
    return word.letters in key or (word.sound != "" and word.sound in key)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Matches what any of `choices` matches; none: nothing."""

    choices: tuple[Single | Wildcard, ...]

    def matches(self, value: str) -> bool:
        """Tell whether `value` matches; "" is unknown."""
        return any(choice.matches(value) for choice in self.choices)


Matcher = Universal | Single | Wildcard | Range | Name | Fuzzy | AnyOf

UNIVERSAL = Universal()


def text(key: str, where: str, *, wildcards: bool = True) -> Matcher:
    """Read a key of VR AE, CS, LO, SH or the like; `where` is its keyword, for errors.

    Without `wildcards` it is retrieved by single value: `*` and `?` are characters, but `*`
    alone is still what scanners send for "any".
    """
    values = [value for value in _values(key, where) if value]
    if not all(value.strip("*") for value in values) or not values:
        return UNIVERSAL
    choices = tuple(_one(value) if wildcards else Single(value) for value in values)
    return choices[0] if len(choices) == 1 else AnyOf(choices)


def lines(key: str, where: str) -> Matcher:
    """Read a key of VR LT, ST or UT: one value, whose backslashes are text."""
    value = key.strip(" \0")
    if not value.strip("*"):
        return UNIVERSAL
    read = _one(value)
    most = MAX_LINES if isinstance(read, Single) else MAX_VALUE
    if len(value) > most:
        raise Rejected(Fault(Reason.TOO_LONG, where, f"more than {most} characters"))
    return read


def uids(key: str, where: str) -> Matcher:
    """Read a key of VR UI: one UID or a list of them (C.2.2.2.2)."""
    return text(key, where, wildcards=False)


def name(key: str, where: str) -> Matcher:
    """Read a key of VR PN."""
    choices: list[Single | Wildcard] = []
    for value in _values(key, where, MAX_NAMES):
        # An empty group of several says nothing about that group.
        groups = [group for group in value.split("=") if group.rstrip("^ ")]
        if not groups or any(not group.strip("*^ ") for group in groups if "*" in group):
            return UNIVERSAL
        for group in groups:
            choices += _name_choices(group)
    return Name(tuple(dict.fromkeys(choices)))


def fuzzy_name(key: str, where: str) -> Matcher:
    """Read a key of VR PN where fuzzy matching was agreed on."""
    literal = name(key, where)
    groups = [group for value in _values(key, where, MAX_NAMES) for group in value.split("=")]
    parted = [_PARTED.split(group) for group in groups if group.rstrip("^ ")]
    if literal is UNIVERSAL or any(_is_pattern(part) for parts in parted for part in parts):
        return literal
    choices = [tuple(word for part in parts for word in _words(part)) for parts in parted]
    # What has no letters can only be meant as it is written.
    return Fuzzy(tuple(dict.fromkeys(choices))) if all(choices) else literal


_PARTED = re.compile(r"[\^ ]+")


def _is_pattern(part: str) -> bool:
    return "?" in part or "*" in part.rstrip("*")


def _words(part: str) -> list[Word]:
    words = words_of(part.rstrip("*"))
    # Whoever writes an asterisk knows how the word begins.
    sounds = ["" if part.endswith("*") else sound_of(word) for word in words]
    return [
        Word(by_letters(word), by_sound(sound) if sound else "")
        for word, sound in zip(words, sounds, strict=True)
    ]


def dates(key: str, where: str) -> Universal | Range:
    """Read a key of VR DA: YYYYMMDD or a range. Rejected: MALFORMED."""
    return _span(key, where, _date_span)


def times(key: str, where: str) -> Universal | Range:
    """Read a key of VR TM: HH[MM[SS[.F]]] or a range, to the second. Rejected: MALFORMED."""
    return _span(key, where, _time_span)


@dataclass(frozen=True, slots=True)
class Start:
    """When steps start: a range of instants (YYYYMMDDHHMMSS) and one of times of the day."""

    instant: Universal | Range = UNIVERSAL
    time_of_day: Universal | Range = UNIVERSAL

    def matches(self, start: str) -> bool:
        """Tell whether `start`, YYYYMMDDHHMMSS, matches."""
        return self.instant.matches(start) and self.time_of_day.matches(start[8:])


def start(date: Universal | Range, time: Universal | Range) -> Start:
    """Combine the keys of Scheduled Procedure Step Start Date and Start Time.

    K.6.1.2.2: with ranges in both, July 5 to 7 and 10am to 6pm, a step matches from July 5,
    10am to July 7, 6pm. A time that is no range is asked for on each day of a date range.
    """
    if isinstance(date, Universal):
        return Start(time_of_day=time)
    if date.stated and isinstance(time, Range) and not time.stated:
        return Start(_instants(date, "", ""), time)
    low, high = (time.low, time.high) if isinstance(time, Range) else ("", "")
    return Start(_instants(date, low, high))


def _instants(date: Range, low: str, high: str) -> Range:
    return Range(
        date.low and date.low + (low or "000000"), date.high and date.high + (high or "235959")
    )


_WALL = "%Y%m%d%H%M%S"


def elsewhere(instants: Range, asked: tzinfo, site: tzinfo) -> Range:
    """Tell a range of instants of one wall clock, `asked`, as that of the `site` shows it.

    An hour that a clock shows twice is meant from its first to its last, and the 31st of a
    shorter month as behind its end; what no calendar reaches orders as it is.
    """
    return replace(
        instants,
        low=_there(instants.low, asked, site, is_low=True),
        high=_there(instants.high, asked, site, is_low=False),
    )


def _there(instant: str, asked: tzinfo, site: tzinfo, *, is_low: bool) -> str:
    if not instant:
        return ""
    try:
        then = _instant(instant, is_low=is_low).replace(tzinfo=asked, fold=not is_low)
        return wall(then.astimezone(site))
    except (ValueError, OverflowError):
        return instant


def _instant(instant: str, *, is_low: bool) -> datetime:
    last = monthrange(int(instant[:4]), int(instant[4:6]))[1]
    if int(instant[6:8]) <= last:
        return datetime.strptime(instant, _WALL)  # noqa: DTZ007 - whose clock it is of is said above
    end = datetime.strptime(f"{instant[:6]}{last}235959", _WALL)  # noqa: DTZ007
    return end + timedelta(seconds=is_low)


def wall(then: datetime) -> str:
    """Write what a clock shows, YYYYMMDDHHMMSS; strftime does not write four digits of a year."""
    return f"{then.year:04}{then:%m%d%H%M%S}"


def _values(key: str, where: str, most: int = MAX_VALUES) -> list[str]:
    values = [value.strip(" \0") for value in key.split("\\", most)]
    if len(values) > most:
        raise Rejected(Fault(Reason.TOO_LONG, where, f"more than {most} values"))
    if any(len(value) > MAX_VALUE for value in values):
        raise Rejected(Fault(Reason.TOO_LONG, where, f"more than {MAX_VALUE} characters"))
    if any("\0" in value for value in values):
        raise Rejected(Fault(Reason.MALFORMED, where, "a NUL inside the value"))
    return values


_RUN = re.compile(r"[*?]+")


def _one(value: str) -> Single | Wildcard:
    if "*" not in value and "?" not in value:
        return Single(value)
    # A run of wildcards asks for as many characters as it has "?", or more with a "*".
    return Wildcard(
        _RUN.sub(lambda run: "?" * run[0].count("?") + "*" * ("*" in run[0]), value),
    )


def _name_choices(group: str) -> list[Single | Wildcard]:
    """Fold a group; `doe^*` also finds the Doe whose other components are all empty."""
    stem = group.rstrip("*^ ")
    tail = group[len(stem) :].replace(" ", "")
    if "*" not in tail:
        return [_one(name_key(stem))]
    tail = tail[: tail.index("*") + 1]  # what follows may be empty, and "*" takes it if not
    choices = [_one(name_key(stem) + tail)]
    if tail.startswith("^"):
        choices.append(_one(name_key(stem)))
    return choices


def _glob(pattern: str, value: str) -> bool:
    """Match greedily, going back to the last `*` only: time is pattern × value at most."""
    p = v = 0
    star = mark = -1
    while v < len(value):
        # "*" first: in a value it is a character like any other.
        if p < len(pattern) and pattern[p] == "*":
            star, mark = p, v
            p += 1
        elif p < len(pattern) and pattern[p] in ("?", value[v]):
            p, v = p + 1, v + 1
        elif star >= 0:
            mark += 1
            p, v = star + 1, mark
        else:
            return False
    return all(rest == "*" for rest in pattern[p:])


# PS3.5 6.2; the punctuation is that of ACR-NEMA 2.0, which old scanners still send. Days are
# not held against the calendar: the end of a sloppy range, 20250231, orders as it should.
_DATE = re.compile(r"([0-9]{4})[.]?(0[1-9]|1[0-2])[.]?(0[1-9]|[12][0-9]|3[01])")
_TIME = re.compile(r"([01][0-9]|2[0-3])(?::?([0-5][0-9])(?::?([0-5][0-9]|60)(?:[.][0-9]{1,6})?)?)?")


def _date_span(value: str) -> tuple[str, str] | None:
    match = _DATE.fullmatch(value)
    return ("".join(match.groups()),) * 2 if match else None


def _time_span(value: str) -> tuple[str, str] | None:
    match = _TIME.fullmatch(value)
    if not match:
        return None
    hour, minute, second = match.groups()
    second = "59" if second == "60" else second  # a leap second; starts have none
    low = hour + (minute or "00") + (second or "00")
    return low, hour + (minute or "59") + (second or "59")


def _span(key: str, where: str, read: Callable[[str], tuple[str, str] | None]) -> Universal | Range:
    key = key.strip(" \0")
    if key in ("", "*", "-"):
        return UNIVERSAL
    first, dash, last = (part.strip() for part in key.partition("-"))
    if not dash:
        first_span = last_span = read(first)
    else:
        first_span = read(first) if first else ("", "")
        last_span = read(last) if last else ("", "")
    if first_span is None or last_span is None:
        raise Rejected(Fault(Reason.MALFORMED, where, "no date, time or range of them"))
    return Range(first_span[0], last_span[1], stated=bool(dash))
