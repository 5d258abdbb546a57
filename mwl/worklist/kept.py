"""How attributes that have no column are kept: `scheduled_step.attributes`, a text by name.

The name is the attribute's keyword (PS3.6); a private attribute is named by its group, its
creator and its number in the creator's block (PS3.5 7.8), for the block may be another in
every data set. What belongs in the item of the Scheduled Procedure Step Sequence, and not at
the top of an answer, is named under that.
"""

from collections.abc import Mapping
from typing import Final

STEP: Final = "ScheduledProcedureStepSequence."


def private(group: int, element: int, creator: str) -> str:
    """Name a private attribute; `element` is its number in the creator's block, 0 to 255."""
    return f"{group:04X},xx{element & 0xFF:02X} {creator}"


def stated_over(kept: Mapping[str, str], stated: Mapping[str, str | None]) -> dict[str, str]:
    """Lay what a message states over what is kept: None takes away."""
    new = {**kept, **stated}
    return {name: value for name, value in new.items() if value}
