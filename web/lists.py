"""What all lists share: filters that stand in the URL, and pages by keyset.

A list is ordered by keys that no two rows share. A page's URL says after which row it
begins (`after`) or before which it ends (`before`), as that row's keys; so page 1,000 costs
no more than page 1, and rows that come in meanwhile move nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from flask import request

T = TypeVar("T")

PAGE_ROWS = 50
_LONGEST = 200  # characters of a filter's value
BETWEEN = "~"  # between the keys of a row


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: behind a row, before one, or at the beginning."""

    keys: tuple[str, ...] = ()
    backwards: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Rows of a list, and the URLs of the pages beside it ("": there is none)."""

    rows: Sequence[T]
    newer: str = ""
    older: str = ""
    filters: Mapping[str, str] = field(default_factory=dict)


def filters(*names: str) -> dict[str, str]:
    """Read filters of the URL, by name; those not given are "" ."""
    return {name: request.args.get(name, "").replace("\0", "").strip()[:_LONGEST] for name in names}


def changed(given: Mapping[str, str], **changes: str) -> str:
    """Give the URL of the list's beginning under filters `given`, some of them changed."""
    return "?" + urlencode({name: value for name, value in {**given, **changes}.items() if value})


def place() -> Place:
    """Read where the page of this request begins."""
    for name, backwards in (("after", False), ("before", True)):
        if text := request.args.get(name, "").replace("\0", ""):
            return Place(tuple(text[: 4 * _LONGEST].split(BETWEEN)), backwards)
    return Place()


def page(
    fetch: Callable[[Place, int], Sequence[T]],
    key: Callable[[T], Sequence[object]],
    given: Mapping[str, str],
    rows: int = PAGE_ROWS,
) -> Page[T]:
    """Make the page of this request.

    `fetch(place, count)` gives so many rows from a place on, in the list's order, those
    before it when that goes backwards; `key` the keys of a row. `given` are the filters.
    """
    at = place()
    found = list(fetch(at, rows + 1))
    more = len(found) > rows
    if more:
        found = found[1:] if at.backwards else found[:rows]
    has_newer = more if at.backwards else bool(at.keys)
    has_older = bool(at.keys) if at.backwards else more
    return Page(
        found,
        _url(given, "before", key(found[0])) if has_newer and found else "",
        _url(given, "after", key(found[-1])) if has_older and found else "",
        given,
    )


def _url(given: Mapping[str, str], name: str, keys: Sequence[Any]) -> str:
    told = {each: value for each, value in given.items() if value}
    return "?" + urlencode({**told, name: BETWEEN.join(map(str, keys))})
