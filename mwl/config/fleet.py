"""Devices in a file of their own: the `[[device]]` tables of the settings, read and written.

What is written can be read again, and pasted into the settings. A key that is as ever is not
written.
"""

import tomllib
from collections.abc import Iterable, Iterator, Mapping

from pydantic import Field, ValidationError

from mwl import toml_lines, toml_values
from mwl.config import faults
from mwl.config.base import Table, dotted
from mwl.config.devices import DeviceTable, shared_titles
from mwl.errors import Fault, Reason, Rejected
from mwl.toml_lines import Place

MOST_BYTES = 32_000_000
_MOST_FAULTS = 20  # that are told


class _Fleet(Table):
    device: tuple[DeviceTable, ...] = Field(default=(), max_length=10_000)


def read(content: bytes, name: str) -> tuple[DeviceTable, ...]:
    """Read the devices of a file called `name`; each stands for all that is set of it.

    Rejected: what is wrong, each fault with file, line and key.
    """
    text = _text(content, name)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _wrong(f"{name}: not TOML: {' '.join(str(error).split())}") from None
    try:
        devices = _Fleet.model_validate(document).device
    except ValidationError as error:
        lines = toml_lines.lines(text)
        told = [faults.line(each, _at(each["loc"], lines, name), {}) for each in error.errors()]
        raise _wrong(*told) from None
    if shared := list(shared_titles(devices)):
        lines = toml_lines.lines(text)
        told = [f"{_at(place, lines, name)}: {dotted(place)}: {fault}" for place, fault in shared]
        raise _wrong(*told)
    return devices


def written(devices: Iterable[DeviceTable]) -> str:
    """Write devices as TOML."""
    return "\n".join("\n".join(_device(each)) + "\n" for each in devices)


def _text(content: bytes, name: str) -> str:
    if len(content) > MOST_BYTES:
        raise _wrong(f"{name}: longer than {MOST_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _wrong(f"{name}:{line}: not UTF-8") from None


def _at(place: Place, lines: Mapping[Place, int], name: str) -> str:
    """Say in which line a place, or what it is in, stands."""
    found = (lines[place[:depth]] for depth in range(len(place), 0, -1) if place[:depth] in lines)
    line = next(found, 0)
    return f"{name}:{line}" if line else name


def _wrong(*lines: str) -> Rejected:
    more = len(lines) - _MOST_FAULTS
    told = [*lines[:_MOST_FAULTS], *([f"and {more} faults more"] if more > 0 else [])]
    return Rejected(*(Fault(Reason.MALFORMED, "", each) for each in told))


def _device(device: DeviceTable) -> Iterator[str]:
    stated = device.model_dump(mode="json", exclude_defaults=True)
    within = {name: value for name, value in stated.items() if isinstance(value, dict)}
    yield "[[device]]"
    yield from toml_values.pairs({name: stated[name] for name in stated if name not in within})
    for name, table in within.items():
        yield f"[device.{name}]"
        yield from toml_values.pairs(table)
