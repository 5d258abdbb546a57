"""What came of applying a change."""

from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """How a change ended that was not rejected."""

    APPLIED = "applied"
    STALE = "stale"  # older than the last applied message: kept, not applied
    NOTED = "noted"  # understood; nothing to change


@dataclass(frozen=True, slots=True)
class Applied:
    """The outcome, the rows it is about, and what a person should see."""

    outcome: Outcome
    order: int | None = None
    patient: int | None = None
    flags: list[str] = field(default_factory=list)
