"""Recorded sessions with something wrong in them, each told by its seed.

damaged(sessions, seed)    # the name of a session, and what became of it
"""

import random
from collections.abc import Callable, Mapping
from struct import pack

from mwl.net.codec import HEADER
from tests.recorded import Sent, Session

# Lengths and numbers that programs get wrong.
_LENGTHS = (0, 1, 2, 3, 5, 6, 0x7F, 0xFF, 0x4000, 0xFFFE, 0xFFFF, 0x20000, 0x7FFFFFFF, 0xFFFFFFFF)
_MOST_CHANGES = 4

Pdus = list[Sent]
Change = Callable[[random.Random, Pdus, Mapping[str, Session]], None]


def damaged(sessions: Mapping[str, Session], seed: int) -> tuple[str, Session]:
    """Choose a session and damage it; the same seed gives the same."""
    chance = random.Random(seed)
    name = chance.choice(sorted(sessions))
    pdus = list(sessions[name])
    for _ in range(chance.randint(1, _MOST_CHANGES)):
        if not pdus:
            break
        chance.choice(_CHANGES)(chance, pdus, sessions)
    return name, tuple(pdus)


def _bits(chance: random.Random, pdus: Pdus, _: Mapping[str, Session]) -> None:
    at, data = _one(chance, pdus)
    for _number in range(chance.choice((1, 1, 1, 8))):
        if data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    _put(pdus, at, data)


def _header(chance: random.Random, pdus: Pdus, _: Mapping[str, Session]) -> None:
    at, data = _one(chance, pdus)
    if data:
        data[chance.randrange(min(len(data), 16))] = chance.randrange(256)
    _put(pdus, at, data)


def _cut(chance: random.Random, pdus: Pdus, _: Mapping[str, Session]) -> None:
    at, data = _one(chance, pdus)
    del data[chance.randrange(len(data) + 1) :]
    _put(pdus, at, data)


def _leave_out(chance: random.Random, pdus: Pdus, _: Mapping[str, Session]) -> None:
    at, data = _one(chance, pdus)
    start = chance.randrange(len(data) + 1)
    del data[start : start + chance.choice((1, 2, 4, 8, 100))]
    _put(pdus, at, _told(chance, data))


def _insert(chance: random.Random, pdus: Pdus, _: Mapping[str, Session]) -> None:
    at, data = _one(chance, pdus)
    start = chance.randrange(len(data) + 1)
    data[start:start] = chance.choice((chance.randbytes(chance.randrange(1, 40)), bytes(20)))
    _put(pdus, at, _told(chance, data))


def _length(chance: random.Random, pdus: Pdus, _: Mapping[str, Session]) -> None:
    """Overwrite what may be a length of two or four bytes, in either order."""
    at, data = _one(chance, pdus)
    value = chance.choice(_LENGTHS)
    written = chance.choice((pack(">I", value), pack("<I", value), pack("<H", value & 0xFFFF)))
    start = chance.choice((2, 6, 18, 22, chance.randrange(len(data) + 1)))
    data[start : start + len(written)] = written
    _put(pdus, at, data)


def _drop(chance: random.Random, pdus: Pdus, _: Mapping[str, Session]) -> None:
    del pdus[chance.randrange(len(pdus))]


def _twice(chance: random.Random, pdus: Pdus, _: Mapping[str, Session]) -> None:
    at = chance.randrange(len(pdus))
    pdus[at:at] = [pdus[at]] * chance.choice((1, 1, 20))


def _swap(chance: random.Random, pdus: Pdus, _: Mapping[str, Session]) -> None:
    one, other = chance.randrange(len(pdus)), chance.randrange(len(pdus))
    pdus[one], pdus[other] = pdus[other], pdus[one]


def _other(chance: random.Random, pdus: Pdus, sessions: Mapping[str, Session]) -> None:
    """Put in a PDU of another session."""
    pdus.insert(
        chance.randrange(len(pdus) + 1), chance.choice(sessions[chance.choice(sorted(sessions))])
    )


def _fragments(chance: random.Random, pdus: Pdus, _: Mapping[str, Session]) -> None:
    """Cut a data value into many, the last of them still the last."""
    at, data = _one(chance, pdus)
    if len(data) < 12 or data[0] != 4:
        return
    context_id, control = data[10], data[11]
    value, size = bytes(data[12:]), chance.choice((1, 2, 7, 100))
    values = b"".join(
        pack(">IBB", len(part) + 2, context_id, control if last else control & 1) + part
        for part, last in (
            (value[start : start + size], start + size >= len(value))
            for start in range(0, len(value), size)
        )
    )
    _put(pdus, at, HEADER.pack(4, len(values)) + values)


def _one(chance: random.Random, pdus: Pdus) -> tuple[int, bytearray]:
    at = chance.randrange(len(pdus))
    return at, bytearray(pdus[at].data)


def _put(pdus: Pdus, at: int, data: bytes | bytearray) -> None:
    pdus[at] = Sent(pdus[at].after, bytes(data))


def _told(chance: random.Random, data: bytearray) -> bytearray:
    """Let the lengths of PDU and data value follow what was changed, more often than not."""
    if len(data) >= 12 and chance.random() < 0.7:
        data[2:6] = pack(">I", len(data) - 6)
        if data[0] == 4 and chance.random() < 0.7:
            data[6:10] = pack(">I", len(data) - 10)
    return data


_CHANGES: tuple[Change, ...] = (
    *(_bits, _header, _cut, _leave_out, _insert, _length, _length),
    *(_drop, _twice, _swap, _other, _fragments),
)
