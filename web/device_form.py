"""The form of a device: every setting as a field, and a device of what was sent.

A field is named as the setting is, `worklist.modalities` as in `mwl device add --set`. What a
form doesn't show stays as it is: a browser sends nothing of a box that isn't checked, so a
hidden field `shown` beside boxes names what they are about.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import ValidationError
from werkzeug.datastructures import MultiDict

from mwl.config import DeviceTable, of_device
from mwl.errors import Rejected

SHOWN = "shown"
Place = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Form:
    """What stands in the form of a device, and what is wrong with it, by field."""

    values: Mapping[str, Any]
    faults: Mapping[str, str] = field(default_factory=dict)

    def opens(self, under: str) -> bool:
        """Tell whether something is set or wrong in the table of this name."""
        usual = _usual()
        return any(
            name in self.faults or value != usual[name]
            for name, value in self.values.items()
            if name.startswith(under)
        )


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a setting is written in a field, and read from what was typed."""

    write: Callable[[Any], Any]
    read: Callable[[str], Any]


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]


def _codes(text: str) -> list[str]:
    return [part.upper() for part in _listed(text)]


def _pairs(text: str) -> dict[str, str]:
    """Read `NAME = VALUE` line by line. ValueError: a line is none."""
    found = {}
    for line in _lines(text):
        name, equals, value = line.partition("=")
        if not equals:
            raise ValueError(f"a line is written NAME = VALUE, not {line[:80]!r}")
        found[name.strip()] = value.strip()
    return found


def _synonyms(text: str) -> dict[str, list[str]]:
    return {name.upper(): _codes(value) for name, value in _pairs(text).items()}


def _as_pairs(given: Mapping[str, Any]) -> str:
    return "\n".join(
        f"{name} = {each if isinstance(each, str) else ', '.join(each)}"
        for name, each in given.items()
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.15g}"


_TEXT = _Kind(lambda value: value or "", lambda text: text)
_OPTIONAL = _Kind(lambda value: value or "", lambda text: text or None)
_CODE = _Kind(lambda value: value, lambda text: text.upper())
_NUMBER = _Kind(_number, lambda text: text.replace(",", ".") or None)
_LINES = _Kind("\n".join, _lines)
_LIST = _Kind(", ".join, _listed)
_CODES = _Kind(", ".join, _codes)
_PAIRS = _Kind(_as_pairs, _pairs)
_SYNONYMS = _Kind(_as_pairs, _synonyms)

_FIELDS: Mapping[str, _Kind] = {
    "ae_title": _TEXT,
    "aliases": _LINES,
    "modality": _CODE,
    "host": _OPTIONAL,
    "port": _NUMBER,
    "station_name": _TEXT,
    "location": _TEXT,
    "commit_report": _TEXT,
    "certificate": _TEXT,
    "zone": _TEXT,
    "close_images": _TEXT,
    "worklist.stations": _LINES,
    "worklist.modalities": _CODES,
    "worklist.locations": _LINES,
    "worklist.hours_back": _NUMBER,
    "worklist.hours_ahead": _NUMBER,
    "worklist.max_answers": _NUMBER,
    "worklist.beyond": _TEXT,
    "worklist.synonyms": _SYNONYMS,
    "worklist.defaults": _PAIRS,
    "worklist.ignore": _LIST,
    "characters.sets": _LINES,
    "characters.beyond": _TEXT,
    "characters.assumed": _TEXT,
}
_BOXES = ("mpps", "tls", "worklist.own_station")
_SETS_OF_BOXES = ("may", "worklist.hide", "worklist.tolerates")


def written(device: DeviceTable | None, **instead: str) -> Form:
    """Write the form of a device; None: of a new one, with what is known of it."""
    return Form({**(_values(device) if device else _usual()), **instead})


@cache
def _usual() -> Mapping[str, Any]:
    return {**_values(DeviceTable(ae_title="X")), "ae_title": ""}


def _values(device: DeviceTable) -> dict[str, Any]:
    values = {name: kind.write(_get(device, name)) for name, kind in _FIELDS.items()}
    return values | {name: _get(device, name) for name in (*_BOXES, *_SETS_OF_BOXES)}


def read(
    given: MultiDict[str, str], before: DeviceTable | None = None
) -> tuple[DeviceTable | None, Form]:
    """Read what was sent: a device, or None where something in it is wrong.

    `before` is what it was; of a new one, what isn't sent is as ever.
    """
    stated = before.model_dump() if before else {"worklist": {}, "characters": {}}
    typed, faults = dict(written(before).values), {}
    shown = set(given.getlist(SHOWN))
    for name, kind in _FIELDS.items():
        if name in given:
            typed[name] = given[name]
            try:
                _set(stated, name, kind.read(given[name].strip()))
            except ValueError as error:
                faults[name] = str(error)
    for name in _BOXES:
        if name in given or name in shown:
            typed[name] = name in given
            _set(stated, name, typed[name])
    for name in _SETS_OF_BOXES:
        if name in given or name in shown:
            checked = dict.fromkeys(given.getlist(name))
            as_before = [each for each in typed[name] if each in checked]  # the order is theirs
            typed[name] = tuple(dict.fromkeys([*as_before, *checked]))
            _set(stated, name, typed[name])
    try:
        device = DeviceTable(**stated)
    except ValidationError as error:
        for each in reversed(error.errors()):  # of two in one field, the first is told
            faults[_field_of(each["loc"])] = of_device(each)
    return (None if faults else device), Form(typed, faults)


def refused(form: Form, error: Rejected) -> Form:
    """Say in the form why a device was not kept."""
    fault = error.faults[0]
    about = "aliases" if fault.where.startswith("alias") else "ae_title"
    text = f"{fault.where} {fault.text}" if about == "aliases" else fault.text
    return Form(form.values, {about: text.partition("; --replace")[0]})


def _get(table: DeviceTable, name: str) -> Any:
    value: Any = table
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _set(stated: dict[str, Any], name: str, value: Any) -> None:
    *within, last = name.split(".")
    for part in within:
        stated = stated[part]
    stated[last] = value


def _field_of(place: tuple[int | str, ...]) -> str:
    """Name the field that a value stands in."""
    first, *rest = map(str, place)
    return f"{first}.{rest[0]}" if first in {"worklist", "characters"} and rest else first
