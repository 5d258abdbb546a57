"""`--set KEY=VALUE` of `mwl device add`: what a device is shown, and in which letters."""

import tomllib
from collections.abc import Sequence
from typing import Any

from mwl.cli import frame

_LIKE = "must be KEY=VALUE, like worklist.modalities=CT,PT"


def tables(stated: Sequence[str]) -> dict[str, Any]:
    """Make tables of settings of what was stated, by dotted keys.

    A value is written as in TOML, or without its quotes; a list may be parted by commas. An
    empty one is no text, no entries, or no bound.
    """
    found: dict[str, Any] = {}
    for each in stated:
        key, equals, text = each.partition("=")
        *within, name = key.strip().split(".")
        if not equals or not name:
            frame.refuse(f"--set {each}: {_LIKE}")
        _check(within, name, text.strip())
        table = found
        for part in within:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                frame.refuse(f"--set {each}: {part} is given as a whole already")
        table[name] = _value(within, name, text.strip())
    return found


def _check(within: Sequence[str], name: str, text: str) -> None:
    """Refuse what stands in no table of a device, and what is no table for one."""
    key = ".".join((*within, name))
    if not within:
        text = "no such setting; worklist.… and characters.… are set so, others by their options"
        frame.refuse(f"--set {key}: {text}")
    if isinstance(_default(within, name), dict) and text and not isinstance(_toml(text), dict):
        like = "CR=CR,DX" if name == "synonyms" else "PatientSex=O"
        frame.refuse(f"--set {key}: each of these is set by itself, like {key}.{like}")


def _default(within: Sequence[str], name: str) -> Any:
    """Give what a setting is, unless it is set; None also where there is none."""
    from mwl.config import DeviceTable
    from mwl.config.base import Table

    table = DeviceTable.model_fields.get(within[0])
    if table is None or not isinstance(table.default, Table) or within[1:]:
        return None
    field = type(table.default).model_fields.get(name)
    return field.default if field is not None else None


def _value(within: Sequence[str], name: str, text: str) -> Any:
    default = _default(within, name)
    if within[1:] == ["synonyms"] or isinstance(default, tuple):
        return _list(text)
    if isinstance(default, str) or within[1:] == ["defaults"]:
        parsed = _toml(text)
        return parsed if isinstance(parsed, str) else text
    if not text:
        return {} if isinstance(default, dict) else None
    return _toml(text)


def _list(text: str) -> Any:
    parsed = _toml(text)
    if isinstance(parsed, list):
        return parsed
    return [part.strip() for part in text.split(",") if part.strip()]


def _toml(text: str) -> Any:
    """Read a value of TOML; what is none stands for itself."""
    try:
        (value,) = tomllib.loads(f"value = {text}").values()
    except (tomllib.TOMLDecodeError, ValueError):
        return text
    return value
