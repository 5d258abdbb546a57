"""What storage commitment promises, and on what grounds (PS3.4 annex J); pure.

Committed means: the instance is in this archive under the class that was named, its bytes
were read again just now and hash to what was received, and they are what is served. Who
stored it does not matter: two who ask for the same instance are both told that it is safe.

What is quarantined is kept, yet not committed: it contradicts what is served, a person has
still to decide on it, and whoever sent it may hold the only good copy. So an instance fails
as a processing failure, at once, where this requester's own version of it is quarantined, or
where nothing else is here.

An instance that is not here may still be on its way, and is waited for. What can't come, of
a class that we don't take, is not.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from hashlib import sha256

STORAGE_COMMITMENT_PUSH_MODEL = "1.2.840.10008.1.20.1"
WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"  # PS3.4 J.3.5
REQUEST_COMMITMENT = 1  # action type, PS3.4 table J.3-1
ALL_COMMITTED, FAILURES_EXIST = 1, 2  # event types, PS3.4 table J.3-2

MOST_ITEMS = 50_000  # of one request

_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=1), timedelta(seconds=30)


class State(StrEnum):
    """Where a request for commitment stands."""

    WAITING = "waiting"  # for instances, or for its turn to be judged
    JUDGED = "judged"  # to be reported on the association that it came on
    QUEUED = "queued"  # to be reported on a new one: there is a delivery
    REPORTED = "reported"
    UNTOLD = "untold"  # its association is gone, and we have no address to call


class Failure(IntEnum):
    """Failure Reason (0008,1197), PS3.3 C.14.1.1; and none."""

    NONE = 0
    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    REFERENCED_SOP_CLASS_NOT_SUPPORTED = 0x0122
    DUPLICATE_TRANSACTION_UID = 0x0131
    RESOURCE_LIMITATION = 0x0213


@dataclass(frozen=True, slots=True)
class Reference:
    """An instance that commitment is asked for."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Held:
    """One version of an instance that is here; `row` is its stored object."""

    row: int
    sop_class_uid: str
    key: str
    data_set_offset: int
    size: int  # bytes of the whole file
    sha256: bytes
    source: str  # AE title that stored it


def judge(
    asked: Reference,
    requester: str,
    served: Held | None,
    quarantined: Iterable[Held],
    *,
    takes: Callable[[str], bool],
) -> Held | Failure | None:
    """Decide on an instance: a version whose bytes are to be checked, a failure, or to wait.

    `takes` tells whether we store a SOP class. AE titles are compared as they are given.
    """
    theirs = [each for each in quarantined if served is None or each.source == requester]
    if served is not None:
        if served.sop_class_uid != asked.sop_class_uid:
            return Failure.CLASS_INSTANCE_CONFLICT
        differs = any(each.sha256 != served.sha256 for each in theirs)
        return Failure.PROCESSING_FAILURE if differs else served
    if theirs:
        return Failure.PROCESSING_FAILURE
    return None if takes(asked.sop_class_uid) else Failure.REFERENCED_SOP_CLASS_NOT_SUPPORTED


def digest(references: Sequence[Reference]) -> bytes:
    """Tell one list of instances from another, whatever their order."""
    lines = sorted(f"{each.sop_class_uid}\0{each.sop_instance_uid}\n" for each in references)
    return sha256("".join(lines).encode()).digest()


def pause(received_at: datetime, now: datetime) -> timedelta:
    """Say when to look again for what is on its way: soon at first, then less often."""
    return min(max((now - received_at) / 10, _FIRST_PAUSE), _LONGEST_PAUSE)


def is_taken(status: int) -> bool:
    """Tell whether a response to N-EVENT-REPORT says that the report has arrived."""
    # PS3.7 C.1 and C.4: success, and warnings.
    return status in {0x0000, 0x0107, 0x0116} or status >> 12 == 0xB
