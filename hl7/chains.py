"""The chains of a profile: where a value is looked for, one place after the other.

A link of a chain is a place, several places that are joined by a blank, or a table:

    "ORC-3"                                                     what stands there
    { from = "OBR-18", when = { "MSH-4" = "SITE_A*" } }         … only under a condition
    { from = "ORC-3", cut_start = "ORD-", put_before = "A" }    … cut, split, completed
    { value = "CT" }                                            a constant, whatever is sent

A condition names places and what must be there: texts with * and ?, one of several; ""
stands for nothing, "*" for anything, a leading ! for the contrary. All of them must hold.
Nothing of it is a regular expression, so that no message can make it slow.
"""

import re
from collections.abc import Iterable, Mapping
from fnmatch import translate
from functools import lru_cache
from typing import Any, Final, NamedTuple, Self

from hl7.er7 import Path, path


class Misplaced(ValueError):
    """Something wrong below the table or key that is read; `place` says where below it."""

    def __init__(self, place: tuple[str | int, ...], text: str) -> None:
        super().__init__(text)
        self.place = place


NOWHERE: Final = Path("", 0)
"""The place of a constant: no message has it."""

_MOST_LINKS = 32
_MOST_PLACES = 8
_MOST_CONDITIONS = 16
_MOST_PATTERNS = 200
_LONGEST = 200
_LINK_KEYS = ("from", "when", "value", "split", "part", "cut_start", "cut_end", "put_before")


class Condition(NamedTuple):
    """What must be at a place: one of `patterns`, or none of them where `negated`."""

    place: Path
    patterns: tuple[str, ...]
    negated: bool = False

    def holds(self, text: str) -> bool:
        """Tell whether it holds for what a message has at the place; "" is nothing."""
        text = text.strip()
        return self.negated is not any(_matches(pattern, text) for pattern in self.patterns)


Conditions = tuple[Condition, ...]


class Edit(NamedTuple):
    """What is made of a text: split first, then cut, then completed."""

    split: str = ""
    part: int = 1
    cut_start: str = ""
    cut_end: str = ""
    put_before: str = ""

    def of(self, text: str) -> str:
        """Edit a text; "" where the part isn't there."""
        if self.split:
            parts = text.split(self.split)
            text = parts[self.part - 1] if self.part <= len(parts) else ""
        text = text.strip().removeprefix(self.cut_start).removesuffix(self.cut_end).strip()
        return self.put_before + text if text else ""


class Link(tuple[Path, ...]):
    """One alternative of a chain: its places, joined where there are several.

    `value`: a constant instead. `when`: asked only if that holds. `edit`: made of the text.
    """

    when: Conditions
    value: str
    edit: Edit | None

    def __new__(
        cls,
        places: Iterable[Path],
        when: Conditions = (),
        value: str = "",
        edit: Edit | None = None,
    ) -> Self:
        link = super().__new__(cls, places)
        link.when, link.value, link.edit = when, value, edit
        return link

    @property
    def is_plain(self) -> bool:
        """Whether it is what stands in the message, as it stands there."""
        return not (self.when or self.value or self.edit)

    def __str__(self) -> str:
        return f'"{self.value}"' if self.value else " ".join(map(str, self))


Chain = tuple[Link, ...]


def chain(value: Any) -> Chain:
    """Read a chain as TOML has it. Raises ValueError."""
    if not isinstance(value, list) or not all(isinstance(each, str | dict) for each in value):
        raise ValueError('must be a list of places like ["OBR-27.4"]')
    if len(value) > _MOST_LINKS:
        raise ValueError(f"has more than {_MOST_LINKS} places")
    return tuple(_at(number, each) for number, each in enumerate(value))


def _at(number: int, value: str | dict[str, Any]) -> Link:
    try:
        return _link(value)
    except ValueError as error:
        raise Misplaced((number,), str(error)) from None


def conditions(value: Any) -> Conditions:
    """Read conditions as TOML has them: places, and what must be there. Raises ValueError."""
    if not isinstance(value, Mapping) or not value:
        raise ValueError('must be a table of places like { "MSH-4" = "SITE*" }')
    if len(value) > _MOST_CONDITIONS:
        raise ValueError(f"has more than {_MOST_CONDITIONS} conditions")
    return tuple(_condition(place, wanted) for place, wanted in value.items())


def _link(value: str | dict[str, Any]) -> Link:
    if isinstance(value, str):
        return Link(_places(value))
    if unknown := sorted(value.keys() - {*_LINK_KEYS}):
        raise ValueError(f"{unknown[0]}: no such key of a place")
    if ("from" in value) is ("value" in value):
        raise ValueError('needs either a place, "from", or a constant, "value"')
    when = conditions(value["when"]) if "when" in value else ()
    if "value" in value:
        return Link([NOWHERE], when, _constant(value))
    places = _places(value["from"])
    edit = _edit({key: value[key] for key in value.keys() - {"from", "when"}})
    if edit and len(places) > 1:
        raise ValueError("places that are joined can't be split or cut")
    return Link(places, when, "", edit)


def _places(value: Any) -> list[Path]:
    if not isinstance(value, str):
        raise ValueError('must be a place like "ORC-3"')  # noqa: TRY004 - pydantic's contract
    places = [path(each) for each in value.split()]
    if not places:
        raise ValueError("has an empty place")
    if len(places) > _MOST_PLACES:
        raise ValueError(f"joins more than {_MOST_PLACES} places")
    return places


def _constant(value: Mapping[str, Any]) -> str:
    if value.keys() - {"value", "when"}:
        raise ValueError("a constant can only have a condition")
    return _text("value", value["value"])


def _edit(given: Mapping[str, Any]) -> Edit | None:
    if not given:
        return None
    part = given.get("part", 1)
    if isinstance(part, bool) or not isinstance(part, int) or not 1 <= part <= _LONGEST:
        raise ValueError(f"part: must be a number from 1 to {_LONGEST}")
    if "part" in given and "split" not in given:
        raise ValueError("part: of what? It needs split")
    texts = {key: _text(key, text) for key, text in given.items() if key != "part"}
    return Edit(part=part, **texts)


def _condition(place: Any, wanted: Any) -> Condition:
    where = path(place)
    patterns = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(patterns, list) or not 0 < len(patterns) <= _MOST_PATTERNS:
        raise ValueError(f"{place}: must be a text, or a list of up to {_MOST_PATTERNS}")
    if not all(isinstance(each, str) and len(each) <= _LONGEST for each in patterns):
        raise ValueError(f"{place}: must be texts of up to {_LONGEST} characters")
    negated = {each.startswith("!") for each in patterns}
    if len(negated) > 1:
        raise ValueError(f"{place}: either all begin with ! or none")
    return Condition(where, tuple(each.removeprefix("!") for each in patterns), *negated)


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST or not value.isprintable():
        raise ValueError(f"{key}: must be a text of 1 to {_LONGEST} printable characters")
    return value


def _matches(pattern: str, text: str) -> bool:
    if pattern == "*":
        return text != ""
    return _compiled(pattern).match(text) is not None


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    # What fnmatch makes of a pattern never backtracks over what a * took.
    return re.compile(translate(pattern))
