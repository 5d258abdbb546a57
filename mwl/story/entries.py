"""What a timeline is made of."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from mwl.orders import OrderState, StepState


class Kind(StrEnum):
    """Who speaks in an entry."""

    MESSAGE = "HL7 in"
    REPORT = "Report"
    SHOWN = "Worklist"
    PERFORMED = "MPPS"
    IMAGES = "Images"
    COMMITMENT = "Commitment"
    PERSON = "Person"
    ORDER = "Order"
    DELIVERY = "HL7 out"
    FORWARDED = "MPPS out"


@dataclass(slots=True)
class Entry:
    """Something that happened: one line, and more for who asks.

    `state` is how it ended, in one word. `notes` are what a person should see, `facts` a
    label and a value each. `about` names the row that it is told from, "message:17", and
    `pictures` rows of instances worth a look.
    """

    at: datetime
    kind: Kind
    text: str
    state: str = ""
    notes: list[str] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    about: str = ""
    pictures: list[int] = field(default_factory=list)


# What happens in one instant is told from its cause to its effects.
_RANK = {kind: rank for rank, kind in enumerate(Kind)}


def in_order(entries: list[Entry]) -> list[Entry]:
    """Sort entries by time; of one instant, causes first."""
    return sorted(entries, key=lambda entry: (entry.at, _RANK[entry.kind]))


def known(*facts: tuple[str, str]) -> list[tuple[str, str]]:
    """Leave out facts of which nothing is known."""
    return [(label, value) for label, value in facts if value]


def several(count: int, one: str, more: str = "") -> str:
    """Write a number with its noun: 1 image, 12 images."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def moment(at: datetime, zone: ZoneInfo) -> str:
    """Write an instant in the site's time, to the second."""
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def minute(at: datetime, zone: ZoneInfo) -> str:
    """Write an instant in the site's time, to the minute."""
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M}"


def local(text: str) -> str:
    """Write YYYYMMDD[HHMM[SS]] for people; what is none stays as it is."""
    if not text.isdigit() or len(text) not in (8, 12, 14):
        return text
    day = f"{text[:4]}-{text[4:6]}-{text[6:8]}"
    clock = ":".join(text[at : at + 2] for at in range(8, len(text), 2))
    return f"{day} {clock}".strip()


_SPOKEN: dict[str, str] = {
    OrderState.IN_PROGRESS: "in progress",
    StepState.CANCELED: "cancelled",
}


def spoken(state: str) -> str:
    """Write a state within a sentence."""
    return _SPOKEN.get(state, state.replace("_", " ").lower())
