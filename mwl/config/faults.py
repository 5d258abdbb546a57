"""What is wrong with settings, each in one line that names the file or variable and the key."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic_core import ErrorDetails

from mwl.config.base import Table, dotted
from mwl.config.devices import DeviceCharacters, DeviceTable, DeviceWorklist
from mwl.config.tables import Destination, Forward, Listener, MppsForward, Settings, Source
from mwl.config.values import SHAPES
from mwl.config.worklists import WorklistExport, WorklistSource

Place = tuple[str, ...]

_LISTS: dict[Place, type[Table]] = {
    ("hl7", "destination"): Destination,
    ("hl7", "forward"): Forward,
    ("hl7", "listener"): Listener,
    ("hl7", "source"): Source,
    ("mpps", "forward"): MppsForward,
    ("worklist", "source"): WorklistSource,
    ("worklist", "export"): WorklistExport,
}

_DEVICE_TABLES: dict[str, type[Table]] = {
    "worklist": DeviceWorklist,
    "characters": DeviceCharacters,
}

# With something that may stand in each.
_LISTS_OF_TEXTS = {
    "may": "worklist",
    "events": "CM",
    "types": "ADT^*",
    "sources": "RIS^*",
    "devices": "CT1",
    "listeners": "",
    "private_classes": "1.2.3",
    "aliases": "CT1_OLD",
    "stations": "CT1",
    "modalities": "CT",
    "locations": "ROOM 1",
    "hide": "DEPARTED",
    "tolerates": "dates",
    "ignore": "Modality",
    "synonyms": "CR",
    "sets": "ISO_IR 100",
}

# A database URL may hold a password.
_SECRET = frozenset({"url", "key_password", "access_key_id", "secret_access_key"})


class Variable(NamedTuple):
    name: str
    value: str


def line(error: ErrorDetails, file: Path | str, variables: Mapping[Place, Variable]) -> str:
    """Say in one line where the first fault is, what it is, and what would be right."""
    place = error["loc"]
    names = tuple(str(part) for part in place)
    key = dotted(place)
    where = f"{variables[names].name}: {key}" if names in variables else f"{file}: {key}"
    if not key:
        where = str(file)
    return f"{where}: {_text(error, names)}"


def of_device(error: ErrorDetails) -> str:
    """Say what is wrong with a device, by the key in question, without the key."""
    place = ("device", *error["loc"])
    return _text({**error, "loc": place}, tuple(map(str, place)))


def describe(error: ErrorDetails) -> str:
    """Say what is wrong with a value, and quote it."""
    text = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    text = SHAPES.get(error.get("ctx", {}).get("pattern", ""), text[0].lower() + text[1:])
    value = error["input"]
    return f"{text}, not {str(value)[:80]!r}" if isinstance(value, str | int | float) else text


def _text(error: ErrorDetails, names: Place) -> str:
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(names[-1], _siblings(names[:-1]), 1)
        return "no such setting" + (f"; did you mean {close[0]}?" if close else "")
    if error["type"] == "missing":
        return "is missing"
    if error["type"] in {"model_type", "tuple_type", "dict_type"}:
        return _structure(error)
    return describe({**error, "input": None} if _SECRET & set(names) else error)


def _structure(error: ErrorDetails) -> str:
    """Say how a table, or a list of them, is written in TOML."""
    *sections, last = error["loc"]
    like = _LISTS_OF_TEXTS.get(str(sections[-1] if "synonyms" in sections else last))
    if like is not None and error["type"] == "tuple_type":
        return f'must be a list, like ["{like}"]'
    if isinstance(last, int):
        return f"must be a table, written [[{dotted(tuple(sections))}]]"
    name = ".".join(part for part in error["loc"] if isinstance(part, str))
    if error["type"] == "tuple_type":
        return f"must be a list of tables, each written [[{name}]]"
    below = f" below its [[{sections[0]}]]" if sections[1:] and isinstance(sections[1], int) else ""
    return f"must be a table, written [{name}]{below}"


def _siblings(place: Place) -> list[str]:
    fields = Settings.model_fields
    if not place:
        return list(fields)
    if place[0] == "device":
        return list(_of_device(place).model_fields)
    if place[:2] in _LISTS:
        return list(_LISTS[place[:2]].model_fields)
    for name in place:
        table = fields[name].default if name in fields else None
        if not isinstance(table, Table):
            return []
        fields = type(table).model_fields
    return list(fields)


def _of_device(place: Place) -> type[Table]:
    """Give the table of a device that is meant: its own, or one within."""
    within = next((name for name in place if name in _DEVICE_TABLES), "")
    return _DEVICE_TABLES.get(within, DeviceTable)
