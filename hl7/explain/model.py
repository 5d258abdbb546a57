"""What is told of a message that is explained: plain values, for text, pages and JSON alike."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Use(StrEnum):
    """What is made of a field."""

    GIVES = "gives"  # a value of the worklist comes from it
    NEEDED = "needed"  # the message would be refused without it
    READ = "read"  # it is asked for, and changes nothing here: another place says it, say
    IGNORED = "ignored"  # nobody asks for it
    FAULT = "at fault"  # it can't be read
    UNTRIED = "not tried"  # there was no time to find out


@dataclass(frozen=True, slots=True)
class Value:
    """A value of the worklist that a message gave, and the place that it came from.

    `of` tells whose it is where there are several (order 2, step 1); `place` is "" for what
    no field says. `value` None deletes what is known. `by` is the table or rule that
    translated it, as the profile calls it.
    """

    kind: str
    column: str
    of: str
    value: str | None
    attribute: str  # Patient's Name
    tag: str  # (0010,0010); "" for what scanners aren't shown
    place: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """A field that says something: what it says, and what is made of it."""

    place: str
    name: str
    text: str
    use: Use
    values: Sequence[Value] = ()
    asked_for: Sequence[str] = ()  # keys of the profile: step.start
    notes: Sequence[str] = ()  # flags about it, faults of it, what is missing without it


@dataclass(frozen=True, slots=True)
class Segment:
    place: str
    title: str
    fields: Sequence[Field]


@dataclass(frozen=True, slots=True)
class Silent:
    """What the profile asks for and the message does not say: the key, and its places."""

    key: str
    places: Sequence[str]


@dataclass(frozen=True, slots=True)
class Missing:
    """An attribute that every scanner wants (PS3.4 K.6.1.2) and the message does not give."""

    of: str
    attribute: str
    then: str  # what follows


@dataclass(frozen=True, slots=True)
class Fault:
    where: str
    text: str
    code: str  # MSA-1 that it leads to


@dataclass(frozen=True, slots=True)
class Row:
    """A row that would differ, column by column: before and after."""

    kind: str
    what: str  # created, changed, deleted
    name: str
    row: int | None
    columns: Sequence[tuple[str, Any, Any]]


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that is told of one message."""

    type: str
    control_id: str
    source: str
    profile: str
    why_profile: str
    encoding: str
    decoding: Sequence[str]  # flags of how the bytes were read
    action: str  # what it asks for: create, cancel, …
    segments: Sequence[Segment]
    values: Sequence[Value]
    silent: Sequence[Silent]
    missing: Sequence[Missing]
    flags: Sequence[str]
    faults: Sequence[Fault]
    ack_code: str
    ack: str  # the answer, as text
    state: str  # what would become of it: applied, noted, stale, rejected, failed
    # Against the database; None where there is none to compare with.
    rows: Sequence[Row] | None = None
    repeat_of: int | None = None
    notes: Sequence[str] = field(default=())  # about the explanation itself

    def as_dict(self) -> dict[str, Any]:
        """Give all of it as JSON knows it."""
        return asdict(self)
