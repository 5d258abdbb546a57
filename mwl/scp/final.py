"""How DIMSE-C operations end: a status, and what a failure says of itself."""

from dataclasses import dataclass, field
from struct import Struct

from mwl.errors import MwlError, Rejected
from mwl.net import status
from mwl.net.dimse import Element
from mwl.scp.attributes import tag_of

_MAX_COMMENT = 64  # PS3.7 E.1: (0000,0902) is an LO
_AT = Struct("<HH")


class Mismatch(MwlError):
    """An identifier that the SOP class doesn't know; `tag` is the attribute to blame, if any."""

    def __init__(self, text: str, tag: int | None = None) -> None:
        super().__init__(text)
        self.tag = tag


@dataclass(frozen=True, slots=True)
class Final:
    """A status; for a failure why, and on account of which attribute; and what it counts."""

    status: int
    comment: str = ""
    offending: int | None = None
    counts: dict[int, int | str | bytes] = field(default_factory=dict)

    def elements(self) -> dict[int, int | str | bytes]:
        """Tell what it adds to the command set."""
        elements = dict(self.counts)
        if self.offending is not None:
            elements[Element.OFFENDING_ELEMENT] = _AT.pack(
                self.offending >> 16, self.offending & 0xFFFF
            )
        if self.comment:
            elements[Element.ERROR_COMMENT] = self.comment[:_MAX_COMMENT]
        return elements


# Whatever it is, a person finds it in the log; a peer is not told.
DEFECT_COMMENT = "failed here; the operator's log tells more"
DEFECT = Final(status.UNABLE_TO_PROCESS, DEFECT_COMMENT)


def mismatched(error: Mismatch) -> Final:
    """Say that an identifier doesn't belong to the SOP class."""
    return Final(status.IDENTIFIER_DOES_NOT_MATCH, str(error), error.tag)


def unreadable(error: Rejected) -> Final:
    """Say which key can't be read; no element is named where none is to blame."""
    fault = error.faults[0]
    # PS3.7 C.1.4: elements that an error was found in; not the place of one in none.
    offending = tag_of(fault.where) if fault.where else None
    return Final(status.UNABLE_TO_PROCESS, str(fault), offending)
