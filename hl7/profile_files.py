"""Find profiles by name, with what they extend, and say where in a file an error stands.

A profile is a file NAME.toml in one of several folders: the first that has it counts, so a
site's own go before those that come with the program. A dialect says only what is different:

    extends = "default"

Its tables are laid over those of the profile that it extends, key by key; a list replaces
a list, but rules and events of its own are asked before the others. In a table of codes or
events "" takes an entry away. A site's file may extend the one of its own name that it hides.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from hl7 import profile
from hl7.profile import Profile
from mwl.errors import ConfigError
from mwl.toml_lines import Place, lines

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.^-]{0,63}")
_DEEPEST = 8
_LARGEST = 1 << 20  # bytes
_EXTENDS = "extends"
# Lists of tables that are asked one after the other: whose own come first.
_ASKED_IN_ORDER = ("rule", "event")
# Where "" takes away what the extended profile has.
_TAKEN_FROM = (
    ("events",),
    ("control",),
    ("started",),
    ("discontinued",),
    ("appointment", "control"),
    ("report", "states"),
)
_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)$")


class Document(NamedTuple):
    """One file of a profile, as it stands there."""

    file: Path
    text: str
    tables: Mapping[str, Any]


class Origin(NamedTuple):
    """The file and line of a key; line 0 where the file is all that is known."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else str(self.file)


def load(name: str, folders: Sequence[Path]) -> Profile:
    """Read a profile by its name. Raises ConfigError, naming file, line and key."""
    documents = chain(name, folders)
    return profile.parse(merged(documents), Located(documents))


def read(file: Path, folders: Sequence[Path]) -> Profile:
    """Read a profile that is a file of its own; what it extends is in the folders."""
    documents = [_document(file)]
    documents += _extended(documents[0], folders)
    return profile.parse(merged(documents), Located(documents))


def available(folders: Sequence[Path]) -> dict[str, Path]:
    """List the profiles that there are by name, and the file of each."""
    found: dict[str, Path] = {}
    for folder in folders:
        for file in sorted(folder.glob("*.toml")):
            if _NAME.fullmatch(file.stem):
                found.setdefault(file.stem, file)
    return dict(sorted(found.items()))


def chain(name: str, folders: Sequence[Path]) -> list[Document]:
    """Give the files of a profile, itself first. Raises ConfigError."""
    file = _find(name, folders, ())
    if file is None:
        looked = ", ".join(map(str, folders))
        raise ConfigError(f"hl7.profile: there is no {name}.toml in {looked}")
    documents = [_document(file)]
    documents += _extended(documents[0], folders)
    return documents


def merged(documents: Sequence[Document]) -> dict[str, Any]:
    """Lay the tables of each file over those of the one that it extends."""
    whole: dict[str, Any] = {}
    for document in reversed(documents):
        before, whole = whole, _over(document.tables, whole)
        for table in _TAKEN_FROM:
            _take_away(document, table, before, whole)
        for name in _ASKED_IN_ORDER:
            if name in document.tables:
                asked = [each.tables.get(name, ()) for each in _from(documents, document)]
                whole[name] = [item for items in asked for item in items]
    whole.pop(_EXTENDS, None)
    return whole


class Located:
    """Tells where a key of a profile comes from: of several files, the first that has it."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._documents = documents

    def __call__(self, place: Place) -> Origin:
        place = tuple(place)
        if len(place) > 1 and place[0] in _ASKED_IN_ORDER and isinstance(place[1], int):
            return self._item(place)
        for depth in range(len(place), 0, -1):
            for document in self._documents:
                if line := lines(document.text).get(place[:depth]):
                    return Origin(document.file, line)
        return Origin(self._documents[0].file, 0)

    def _item(self, place: Place) -> Origin:
        """Find an item of a list that several files have a part of."""
        number = place[1]
        assert isinstance(number, int)
        for document in self._documents:
            count = len(document.tables.get(str(place[0]), ()))
            if number < count:
                within = Located([document._replace(tables={})])
                return within._deepest((place[0], number, *place[2:]))
            number -= count
        return Origin(self._documents[0].file, 0)

    def _deepest(self, place: Place) -> Origin:
        (document,) = self._documents
        known = lines(document.text)
        found = (known[place[:n]] for n in range(len(place), 0, -1) if place[:n] in known)
        return Origin(document.file, next(found, 0))


def _from(documents: Sequence[Document], first: Document) -> Sequence[Document]:
    return documents[documents.index(first) :]


def _over(tables: Mapping[str, Any], under: Mapping[str, Any]) -> dict[str, Any]:
    whole = dict(under)
    for key, value in tables.items():
        both = isinstance(value, dict) and isinstance(whole.get(key), dict)
        whole[key] = _over(value, whole[key]) if both else value
    return whole


def _take_away(
    document: Document, table: Place, before: Mapping[str, Any], whole: Mapping[str, Any]
) -> None:
    """Leave out of a table what the document wants out of it. Raises ConfigError."""
    given, known, kept = (_below(each, table) for each in (document.tables, before, whole))
    for name in [name for name, value in given.items() if value == ""]:
        if name not in known:
            where = Located([document])((*table, name))
            named = ".".join(map(str, table))
            raise ConfigError(f"{where}: [{named}] {name}: is not in what this profile extends")
        del kept[name]


def _below(tables: Mapping[str, Any], place: Place) -> Any:
    found: Any = tables
    for key in place:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _extended(document: Document, folders: Sequence[Path]) -> Iterator[Document]:
    seen = [document.file]
    while (name := document.tables.get(_EXTENDS)) is not None:
        where = Located([document])((_EXTENDS,))
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(f"{where}: extends: must be the name of a profile")
        if len(seen) >= _DEEPEST:
            raise ConfigError(f"{where}: extends: more than {_DEEPEST} profiles, one on the other")
        file = _find(name, folders, seen)
        if file is None:
            seen_before = any(name == each.stem for each in seen)
            text = "in a circle" if seen_before else f"there is no profile {name!r}"
            raise ConfigError(f"{where}: extends: {text}")
        document = _document(file)
        seen.append(file)
        yield document


def _find(name: str, folders: Sequence[Path], seen: Sequence[Path]) -> Path | None:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"hl7.profile: {name!r} is no name of a profile")
    files = (folder / f"{name}.toml" for folder in folders)
    return next((file for file in files if file not in seen and file.is_file()), None)


def _document(file: Path) -> Document:
    try:
        if file.stat().st_size > _LARGEST:
            raise ConfigError(f"{file}: larger than {_LARGEST} bytes")
        text = file.read_text("utf-8")
        return Document(file, text, tomllib.loads(text, parse_float=Decimal))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        line = _AT_LINE.search(str(error))
        where = Origin(file, int(line[1]) if line else text.count("\n") + 1)
        raise ConfigError(f"{where}: {_AT_LINE.sub('', str(error))}") from error
