"""A message of any length as writes of bounded length.

Peers see one presentation data value in each PDU: older ones don't look for a second one.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from struct import Struct

from mwl.net.codec import LAST, VALUE
from mwl.net.dimse import fragments
from mwl.net.limits import Limits
from mwl.net.pdu import PduType

# A P-DATA-TF header and a value header at one go.
_WHOLE_VALUE = Struct(">BxIIBB")
_MOST_PLACES = 512  # that are filled at once; a system call takes 1,024


@dataclass(frozen=True, slots=True)
class Direct:
    """A data set of `size` bytes that is read to where it is sent from: nothing is copied.

    `fill` reads what comes next into all of the places that it is given. `buffer` is where
    they are; it may be used for the next one, and holds some PDUs.
    """

    size: int
    fill: Callable[[Sequence[memoryview]], None]
    buffer: memoryview


def direct_writes(
    head: bytes, context_id: int, data: Direct, *, max_pdu_bytes: int
) -> Iterator[bytes | memoryview]:
    """Yield what to write: `head`, the command's PDUs, then the data set's.

    Each holds until the next, is as long as the buffer at most, and is only made once the
    bytes are there.
    """
    room = min((max_pdu_bytes - VALUE.size) & ~1, len(data.buffer) - len(head) - _WHOLE_VALUE.size)
    buffer, left, at = data.buffer, data.size, len(head)
    buffer[:at] = head
    places: list[memoryview] = []
    while True:
        size = min(room, left)
        start = at + _WHOLE_VALUE.size
        if start + size > len(buffer) or len(places) == _MOST_PLACES:
            data.fill(places)
            yield buffer[:at]
            at, places = 0, []
            continue
        left -= size
        last = 0 if left else LAST
        _WHOLE_VALUE.pack_into(
            buffer, at, PduType.DATA_TF, size + VALUE.size, size + 2, context_id, last
        )
        at = start + size
        places.append(buffer[start:at])
        if not left:
            break
    data.fill(places)
    yield buffer[:at]


def writes(
    head: bytes,
    context_id: int,
    chunks: Iterable[bytes | memoryview],
    *,
    max_pdu_bytes: int,
    write_bytes: int,
) -> Iterator[bytes | memoryview]:
    """Yield what to write: `head`, the command's PDUs, then the data set that `chunks` make up.

    Each is some `write_bytes` long; where chunks end is nobody's concern. The first one is
    only made once that much of the data set is there, or all of it.
    """
    # PS3.8 D.1: the maximum counts the PDU's variable field, value header included.
    room = (max_pdu_bytes - VALUE.size) & ~1
    enough = max(room, write_bytes)
    kept = bytearray()
    for chunk in chunks:
        view = memoryview(chunk)
        for start in range(0, len(view), enough):
            kept += view[start : start + enough]
            # What can be the last of it waits: the last value says so of itself.
            whole = (len(kept) - 1) // room * room
            if whole >= write_bytes:
                yield head + _values(context_id, kept, whole, room, 0)
                head = b""
                del kept[:whole]
    whole = max(0, len(kept) - 1) // room * room
    last = _header(context_id, len(kept) - whole, LAST) + kept[whole:]
    yield head + _values(context_id, kept, whole, room, 0) + last


def answers(  # noqa: PLR0913 - what to write, and the bounds
    head: bytes,
    context_id: int,
    data_sets: Iterable[bytes],
    is_cancelled: Callable[[], bool],
    max_pdu_bytes: int,
    limits: Limits,
) -> Iterator[bytes]:
    """Yield what to write: for each data set `head`, the PDUs of its command, then its own.

    Many share one write. After each, and after `max_answers_between_looks`, it is looked
    whether somebody wants no more of them.
    """
    room = max_pdu_bytes - VALUE.size
    header = _WHOLE_VALUE.pack
    kind: int = PduType.DATA_TF
    parts: list[bytes] = []
    gathered = 0
    for number, data_set in enumerate(data_sets, 1):
        size = len(data_set)
        if size <= room:
            parts += (head, header(kind, size + 6, size + 2, context_id, LAST), data_set)
        else:
            parts.append(head)
            parts += fragments(context_id, 0, data_set, max_pdu_bytes)
        gathered += size + len(head)
        if gathered >= limits.send_buffer_bytes:
            yield b"".join(parts)
            parts, gathered = [], 0
        elif number % limits.max_answers_between_looks:
            continue
        if is_cancelled():
            break
    if parts:
        yield b"".join(parts)


def _values(context_id: int, data: bytearray, end: int, room: int, control: int) -> bytes:
    header = _header(context_id, room, control)
    parts: list[bytes | memoryview] = []
    with memoryview(data) as view:
        for start in range(0, end, room):
            parts += (header, view[start : start + room])
        joined = b"".join(parts)
        # No slice may live on: while one does, the buffer can't shrink.
        parts.clear()
    return joined


def _header(context_id: int, size: int, control: int) -> bytes:
    return _WHOLE_VALUE.pack(PduType.DATA_TF, size + VALUE.size, size + 2, context_id, control)
