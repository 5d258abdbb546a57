"""Read messages by the default profile, or by one that differs from it."""

import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from hl7 import profile
from hl7.er7 import Message
from hl7.mapping import Change, Mapper, envelope
from mwl.errors import Fault, Rejected
from mwl.orders import OrderChange, ProcedureChange, StepChange

DEFAULT = Path(__file__).parent.parent / "config" / "hl7" / "default.toml"
BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)


def document(**tables: Mapping[str, Any]) -> dict[str, Any]:
    """Give the default profile's tables, with other keys in some of them."""
    default = tomllib.loads(DEFAULT.read_text("utf-8"))
    return {**default, **{name: {**default.get(name, {}), **tables[name]} for name in tables}}


def mapper(rules: list[dict[str, Any]] | None = None, **tables: Mapping[str, Any]) -> Mapper:
    given = document(**tables)
    if rules:
        given["rule"] = rules
    return Mapper(profile.parse(given, "test.toml"), BERLIN)


@lru_cache
def default_mapper() -> Mapper:
    return Mapper(profile.load(DEFAULT), BERLIN)


def read(text: str, by: Mapper | None = None) -> list[Change]:
    message = Message.parse(text)
    return (by or default_mapper()).read(message, envelope(message), NOW)


def order(text: str, by: Mapper | None = None) -> OrderChange:
    """Read the one order of a message."""
    (change,) = read(text, by)
    assert isinstance(change, OrderChange)
    return change


def procedure(text: str, by: Mapper | None = None) -> ProcedureChange:
    (found,) = order(text, by).procedures
    return found


def step(text: str, by: Mapper | None = None) -> StepChange:
    (found,) = procedure(text, by).steps
    return found


def faults(text: str, by: Mapper | None = None) -> tuple[Fault, ...]:
    with pytest.raises(Rejected) as caught:
        read(text, by)
    return caught.value.faults


def wheres(text: str, by: Mapper | None = None) -> list[tuple[str, str]]:
    """Read a message at fault; give reason and place of each fault."""
    return [(str(fault.reason), fault.where) for fault in faults(text, by)]
