"""Answer an order message by its own kind of answer: ORR^O02, ORG^O20 or ORI^O24 (chapter 4).

A profile asks for it. Behind MSA every order of the message comes back: its ORC, whose first
field says what became of the request (table 0119), its numbers as they came, and what of OBR
and IPC the structure asks for. What is asked for and can't be done of a step that has begun
is answered AA all the same, for the message is taken; ORC-1 tells.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from hl7.er7 import Message, Segment

_KINDS: Final = {"ORM": ("ORR", "O02"), "OMG": ("ORG", "O20"), "OMI": ("ORI", "O24")}
# ORC-1 of the request → done as requested, unable to. All others: OK, or unable to accept.
_DONE: Final = {"CA": "CR", "DC": "DR", "HD": "HR", "RL": "OR", "RP": "RQ", "XO": "XR"}
_UNABLE: Final = {
    "CA": "UC",
    "DC": "UD",
    "HD": "UH",
    "RL": "UR",
    "RO": "UM",
    "RP": "UM",
    "XO": "UX",
}
# How many fields of a segment come back: the order's numbers and names, nobody's data.
_ECHOED: Final = {"OBR": 4, "IPC": 9}
_MOST: Final = 4_000  # segments


class OrderAnswer(NamedTuple):
    """What an acknowledgement becomes: MSH-9, and the segments behind MSA and ERR, as fields."""

    type: str
    event: str
    segments: Sequence[Sequence[str]]


def answer(message: Message | None, undone: Callable[[int], bool]) -> OrderAnswer | None:
    """Make the answer to an order message, None for any other.

    `undone` tells of the ORC of a number, from 1, whether what it asks for was not done.
    """
    kind = message.text("MSH-9.1") if message else ""
    if message is None or kind not in _KINDS:
        return None
    return OrderAnswer(*_KINDS[kind], list(_segments(message, undone))[:_MOST])


def _segments(message: Message, undone: Callable[[int], bool]) -> Iterator[Sequence[str]]:
    is_begun = False
    for segment in message.segments:
        if segment.name == "ORC":
            is_begun = True
            yield _orc(segment, undone(segment.occurrence))
        elif is_begun and segment.name in _ECHOED:
            yield segment.fields[: _ECHOED[segment.name] + 1]


def _orc(orc: Segment, is_undone: bool) -> Sequence[str]:
    said = orc.get(1)
    control = said.strip().upper() if isinstance(said, str) else ""
    code = _UNABLE.get(control, "UA") if is_undone else _DONE.get(control, "OK")
    return ("ORC", code, *orc.fields[2:4])
