"""The data set of an MPPS as another PPS manager is sent it: as it came, as far as that may be.

Its bytes and its character set stay. What we overlooked a stricter manager may refuse, so an
N-CREATE gets the attributes of type 2 that it lacks, empty, and an N-SET goes without what it
must not state and we did not take (PS3.4 table F.7.2-1). Where the manager takes it in the
other VR alone, headers are written anew; values are not touched.
"""

from mwl.dataset import DataSet, Element
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN
from mwl.outbox import BEGUN
from mwl.scp.attributes import vr_of
from mwl.scp.mpps.reading import read
from mwl.scp.mpps.requirements import ASKED_OF_CREATE, NOT_ALLOWED_IN_SET
from mwl.scp.mpps.retrieval import write


def passed_on(operation: str, data: bytes, received: str, agreed: str) -> bytes:
    """Give the data set of an N-CREATE or N-SET, received in one transfer syntax, in another.

    Raises Rejected for what was not taken by `reading`.
    """
    data_set = read(data, received)
    conform = _with_type_2(data_set) if operation == BEGUN else _without_fixed(data_set)
    if received == agreed and len(conform) == len(data_set):
        return data
    return write(conform, explicit=agreed == EXPLICIT_VR_LITTLE_ENDIAN)


def _with_type_2(data_set: DataSet) -> DataSet:
    lacking = (tag for tag in ASKED_OF_CREATE if tag not in data_set)
    return {**{tag: Element(tag, vr_of(tag)) for tag in lacking}, **data_set}


def _without_fixed(data_set: DataSet) -> DataSet:
    return {tag: each for tag, each in data_set.items() if tag not in NOT_ALLOWED_IN_SET}
