"""What a query of the archive is: its level, its keys, and what it wants to be told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mwl.matching import Matcher

Row = Sequence[Any]


class Level(StrEnum):
    """Query/Retrieve Level (0008,0052), the highest first (PS3.4 C.6)."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"

    def is_above(self, other: "Level") -> bool:
        """Tell whether one of these holds several of `other`."""
        levels = list(Level)
        return levels.index(self) < levels.index(other)


UNIQUE_KEYS: Mapping[Level, str] = {
    Level.PATIENT: "patient_id",
    Level.STUDY: "study_instance_uid",
    Level.SERIES: "series_instance_uid",
    Level.IMAGE: "sop_instance_uid",
}


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for: matchers by name, all of which must match.

    `columns` are the names that are wanted, in their order: those of `columns.told` for the
    level. Keys are named as columns are, of any level; the counts are no keys.
    """

    level: Level
    columns: tuple[str, ...] = ()
    keys: Mapping[str, Matcher] = field(default_factory=dict)
