"""`mwl hl7 profiles`: which mapping profiles there are, who is read by them, what one says."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mwl import toml_values
from mwl.errors import ConfigError

if TYPE_CHECKING:
    from mwl.config import Settings

COLUMNS = {"name": "PROFILE", "used_by": "READS", "extends": "EXTENDS", "title": "TITLE"}


def listed(settings: "Settings") -> list[dict[str, Any]]:
    """List the profiles that there are; one that is at fault says so in its title."""
    from hl7 import profile_files
    from mwl.roles.profiles import profile_folders

    folders = profile_folders(settings)
    found = []
    for name, file in profile_files.available(folders).items():
        row: dict[str, Any] = {"name": name, "used_by": _readers(settings, name)}
        try:
            first, *others = profile_files.chain(name, folders)
            read = profile_files.load(name, folders)
            row |= {"title": read.title, "source": read.source}
            row["extends"] = ", ".join(each.file.stem for each in others)
            row["file"] = str(first.file)
        except ConfigError as error:
            row |= {"title": f"at fault: {error}", "source": "", "extends": "", "file": str(file)}
        found.append(row)
    return found


def resolved(settings: "Settings", name: str) -> dict[str, Any]:
    """Give the tables of a profile, those that it extends included. Raises ConfigError."""
    from hl7 import profile, profile_files
    from mwl.roles.profiles import profile_folders

    documents = profile_files.chain(name, profile_folders(settings))
    tables = profile_files.merged(documents)
    profile.parse(tables, profile_files.Located(documents))
    return tables


def toml(tables: dict[str, Any]) -> Iterator[str]:
    """Write tables as TOML, line by line."""
    yield from _table((), tables)


def _readers(settings: "Settings", name: str) -> str:
    given = settings.hl7
    found = ["all others"] if given.profile == name else []
    found += [f"listener {each.name}" for each in given.listener if each.profile == name]
    for each in given.source:
        if each.profile == name:
            found.append(each.name + (f" on {each.listener}" if each.listener else ""))
    return ", ".join(found)


def _table(place: tuple[str, ...], table: dict[str, Any]) -> Iterator[str]:
    inner = {key: value for key, value in table.items() if isinstance(value, dict)}
    lists = {key: value for key, value in table.items() if _is_of_tables(place, key, value)}
    own = {key: value for key, value in table.items() if key not in inner | lists}
    if place and (own or not inner):
        yield f"\n[{'.'.join(map(toml_values.key, place))}]"
    yield from toml_values.pairs(own)
    for key, value in inner.items():
        yield from _table((*place, key), value)
    for key, items in lists.items():
        for item in items:
            yield f"\n[[{toml_values.key(key)}]]"
            yield from toml_values.pairs(item)


def _is_of_tables(place: tuple[str, ...], key: str, value: Any) -> bool:
    # Of a chain, too, an item may be a table; that is written within its line.
    return not place and isinstance(value, list) and key in ("rule", "event")
