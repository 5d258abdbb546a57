"""The answers to C-STORE (PS3.4 table B.2-1, PS3.7 9.1.1.1.9)."""

from dataclasses import dataclass
from struct import Struct

from mwl.errors import Outage, Rejected
from mwl.net import status
from mwl.net.dimse import Element
from mwl.objects import Full

_MAX_COMMENT = 64  # PS3.7 E.1: (0000,0902) is an LO
_AT = Struct("<HH")


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, and for a refusal why, and on account of which attribute."""

    status: int
    comment: str = ""
    offending: int | None = None

    def elements(self) -> dict[int, int | str | bytes]:
        """Tell what it adds to the command set."""
        elements: dict[int, int | str | bytes] = {}
        if self.offending is not None:
            elements[Element.OFFENDING_ELEMENT] = _AT.pack(
                self.offending >> 16, self.offending & 0xFFFF
            )
        if self.comment:
            elements[Element.ERROR_COMMENT] = self.comment[:_MAX_COMMENT]
        return elements


class Refused(Exception):
    """An instance that is not kept, with the answer that says so."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.comment)
        self.answer = answer


STORED = Answer(status.SUCCESS)
NO_DATA_SET = Answer(status.CANNOT_UNDERSTAND, "no data set came")
BAD_INSTANCE_UID = Answer(status.INVALID_OBJECT_INSTANCE, "this SOP Instance UID is none")
INDEX_OUT = Answer(status.REFUSED_OUT_OF_RESOURCES, "the archive's index is not available now")
DEFECT = Answer(status.CANNOT_UNDERSTAND, "failed here; the operator's log tells more")


def mismatch(comment: str, tag: int) -> Refused:
    """Refuse a data set that contradicts its command, or lacks what every instance has."""
    return Refused(Answer(status.DATA_SET_DOES_NOT_MATCH, comment, tag))


def answer_to(error: Exception) -> Answer | None:
    """Choose the answer to what went wrong on the way to the object store; None: a defect."""
    match error:
        case Refused():
            return error.answer
        case Rejected():
            return Answer(status.CANNOT_UNDERSTAND, str(error.faults[0]))
        case Full():
            return Answer(status.REFUSED_OUT_OF_RESOURCES, "no room left for images")
        case Outage():
            return Answer(status.REFUSED_OUT_OF_RESOURCES, "images can't be kept just now")
    return None
