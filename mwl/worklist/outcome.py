"""What came of applying a change."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mwl.orders import OrderState


class Outcome(StrEnum):
    """How a change ended that was not rejected."""

    APPLIED = "applied"
    STALE = "stale"  # older than the last applied message: kept, not applied
    NOTED = "noted"  # understood; nothing to change


@dataclass(frozen=True, slots=True)
class Applied:
    """The outcome, the rows it is about, and what a person should see.

    `ended` is the order's state before and after, where it has been done or given up now
    and the change itself did not report that: it took away what was still to be done.
    `undone`: not all of what was asked for could be done. `changes` are what differs now
    (`mwl.worklist.changed`).
    """

    outcome: Outcome
    order: int | None = None
    patient: int | None = None
    flags: list[str] = field(default_factory=list)
    ended: tuple[OrderState, OrderState] | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    undone: bool = False
