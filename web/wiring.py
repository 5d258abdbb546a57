"""What the web application is given, and how its pages get at it.

The web knows services, not the other edges: what it needs of those comes in as functions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from flask import current_app

from mwl.audit import Actor
from mwl.config import Close, Destination, Forward, MppsForward, Settings
from mwl.db import Database
from mwl.db.tables import Device
from mwl.devices import Answer
from mwl.journal import Overrides, Replayed
from mwl.objects import ObjectStore
from mwl.pictures import Pictures
from mwl.procedures import Effects
from mwl.worklist.trying import Try

_KEY = "mwl"


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Tools:
    """What other edges do for the web, each a function."""

    echo: Callable[[Device], Answer]  # C-ECHO to one that has a host and a port
    # Whether it takes what it is to be sent; sends nothing.
    reach: Callable[[Destination | Forward | MppsForward], Answer]
    outline: Callable[..., Any]  # an HL7 message as a tree for a template: hl7.outline
    # A message of the journal, applied once more, now.
    replay: Callable[[int, Actor, Overrides, datetime], Replayed]
    # What that would do: settled, faults, differences. Nothing is done.
    rehearse: Callable[[int, Actor, Overrides, datetime], Any]
    ranges: Any  # hl7.ranges: rehearse and apply many
    explain: Callable[..., tuple[list[Any], int]]  # what pasted messages would become
    explain_kept: Callable[..., Any]  # the same of one of the journal
    profiles: Callable[[], list[str]]  # mapping profiles, by name
    see: Try  # what a device would be shown


@dataclass(frozen=True, slots=True)
class Wiring:
    """What pages work on. `serving` tells which roles that run beside this one are up."""

    database: Database
    settings: Settings
    objects: ObjectStore
    pictures: Pictures
    effects: Effects
    close: Close  # how orders end
    tools: Tools
    serving: Callable[[], Mapping[str, bool]]
    clock: Callable[[], datetime] = field(default=_utc_now)


def attach(extensions: dict[str, Any], wiring: Wiring) -> None:
    """Let the application's pages find `wiring`."""
    extensions[_KEY] = wiring


def wired() -> Wiring:
    """Give what the application of this request works on."""
    return cast("Wiring", current_app.extensions[_KEY])
