"""The answers to C-STORE (PS3.4 table B.2-1, PS3.7 9.1.1.1.9)."""

from mwl.errors import Outage, Rejected
from mwl.net import status
from mwl.objects import Full
from mwl.scp.final import DEFECT_COMMENT, Final


class Refused(Exception):
    """An instance that is not kept, with the answer that says so."""

    def __init__(self, answer: Final) -> None:
        super().__init__(answer.comment)
        self.answer = answer


STORED = Final(status.SUCCESS)
NO_DATA_SET = Final(status.CANNOT_UNDERSTAND, "no data set came")
BAD_INSTANCE_UID = Final(status.INVALID_OBJECT_INSTANCE, "this SOP Instance UID is none")
INDEX_OUT = Final(status.REFUSED_OUT_OF_RESOURCES, "the archive's index is not available now")
DEFECT = Final(status.CANNOT_UNDERSTAND, DEFECT_COMMENT)


def mismatch(comment: str, tag: int) -> Refused:
    """Refuse a data set that contradicts its command, or lacks what every instance has."""
    return Refused(Final(status.DATA_SET_DOES_NOT_MATCH, comment, tag))


def answer_to(error: Exception) -> Final | None:
    """Choose the answer to what went wrong on the way to the object store; None: a defect."""
    match error:
        case Refused():
            return error.answer
        case Rejected():
            return Final(status.CANNOT_UNDERSTAND, str(error.faults[0]))
        case Full():
            return Final(status.REFUSED_OUT_OF_RESOURCES, "no room left for images")
        case Outage():
            return Final(status.REFUSED_OUT_OF_RESOURCES, "images can't be kept just now")
    return None
