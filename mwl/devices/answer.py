"""What came of asking a peer whether it is there."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a peer answers as it should, and in words what it did."""

    well: bool
    text: str
