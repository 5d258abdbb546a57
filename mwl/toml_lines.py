"""Where in a TOML file each key stands, so that an error can say it.

`tomllib` tells what a file says, not where. This reads the text once more, a text of which it
is known that it is TOML: only what can hold a key, or hide one, has to be told apart.
"""

import re
from collections.abc import Mapping
from typing import Final

Place = tuple[str | int, ...]
"""Keys, and numbers of items from 0, from the top of the file."""

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY: Final = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'""")
_TEXT: Final = re.compile(
    r'\"\"\"(?:[^\\]|\\.)*?\"\"\"\"{0,2}|\'\'\'.*?\'\'\'\'{0,2}|"(?:[^"\\]|\\.)*"|\'[^\']*\'',
    re.DOTALL,
)
_BARE: Final = re.compile(r"[^,\]}#\n]+")


def lines(text: str) -> Mapping[Place, int]:
    """Give the line, from 1, of every key and every item of a list in a TOML document."""
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n")
        self._at = 0
        self._line, self._counted = 1, 0
        self._found: dict[Place, int] = {}
        self._items_of: dict[Place, int] = {}  # how many [[tables]] have this name

    def scan(self) -> Mapping[Place, int]:
        table: Place = ()
        while self._skip():
            if self._text.startswith("[", self._at):
                table = self._header()
            else:
                self._pair(table)
        return self._found

    def _skip(self) -> bool:
        """Pass over blanks and comments; tell whether something follows."""
        found = _BLANK.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._at < len(self._text)

    def _note(self, place: Place) -> None:
        """Note the line of a place, and of every table that it opens."""
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        for depth in range(1, len(place) + 1):
            self._found.setdefault(place[:depth], self._line)

    def _header(self) -> Place:
        repeated = self._text.startswith("[[", self._at)
        self._at += 1 + repeated
        table = self._last_items(self._keys())
        if repeated:
            number = self._items_of.get(table, 0)
            self._items_of[table] = number + 1
            table = (*table, number)
        self._note(table)
        self._at = self._text.index("]", self._at) + 1 + repeated
        return table

    def _last_items(self, keys: Place) -> Place:
        """Let `[rule.when]` be of the last `[[rule]]`."""
        table: Place = ()
        for key in keys[:-1]:
            table = (*table, key)
            if number := self._items_of.get(table, 0):
                table = (*table, number - 1)
        return (*table, keys[-1])

    def _keys(self) -> Place:
        """Read a dotted key."""
        keys: list[str] = []
        while True:
            self._skip()
            found = _KEY.match(self._text, self._at)
            if found is None:
                raise ValueError("no key")
            keys.append(_unquoted(found[0]))
            self._at = found.end()
            self._skip()
            if not self._text.startswith(".", self._at):
                return tuple(keys)
            self._at += 1

    def _pair(self, table: Place) -> None:
        begun = self._at
        keys = self._keys()
        after, self._at = self._at, begun
        self._note((*table, *keys))
        self._at = self._text.index("=", after) + 1
        self._value((*table, *keys))

    def _value(self, place: Place) -> None:
        self._skip()
        opening = self._text[self._at]
        if opening in "[{":
            self._items(place, "]" if opening == "[" else "}")
            return
        pattern = _TEXT if opening in "\"'" else _BARE
        found = pattern.match(self._text, self._at)
        if found is None:
            raise ValueError("no value")
        self._at = found.end()

    def _items(self, place: Place, closing: str) -> None:
        """Read the items of a list, or the pairs of an inline table."""
        self._at += 1
        number = 0
        while self._skip() and not self._text.startswith(closing, self._at):
            if closing == "]":
                self._note((*place, number))
                self._value((*place, number))
                number += 1
            else:
                self._pair(place)
            self._skip()
            if self._text.startswith(",", self._at):
                self._at += 1
        self._at += 1


def _unquoted(key: str) -> str:
    return key[1:-1] if key[0] in "\"'" else key
