"""What a child and its parent say to each other: messages over two pipes.

A message is a kind, a length and so many bytes. The parent asks (a JSON object); the child
wants pieces of the object, and gets them; then it answers, a JSON object and bytes, or says
what is wrong.
"""

import json
from enum import IntEnum
from struct import Struct
from typing import Any

HEAD = Struct(">BI")
WISH = Struct(">QI")  # from where, how many bytes
_META = Struct(">I")


class Kind(IntEnum):
    """What a message is."""

    READY = 1  # child: loaded, and its bounds are set
    ASK = 2  # parent: what is wanted
    WANT = 3  # child: a piece of the object
    PIECE = 4  # parent: that piece; empty behind the end
    ANSWER = 5  # child
    WRONG = 6  # child: why there is no answer
    LAST = 7  # the same, and the child is of no use any more


def message(kind: Kind, body: bytes = b"") -> bytes:
    """Make a message."""
    return HEAD.pack(kind, len(body)) + body


def packed(meta: dict[str, Any], body: bytes) -> bytes:
    """Join what an answer holds."""
    told = json.dumps(meta).encode()
    return _META.pack(len(told)) + told + body


def unpacked(payload: bytes) -> tuple[dict[str, Any], bytes]:
    """Part what `packed` joined. Raises ValueError."""
    if len(payload) < _META.size:
        raise ValueError("an answer without its head")
    (length,) = _META.unpack_from(payload)
    meta: dict[str, Any] = json.loads(payload[_META.size : _META.size + length])
    return meta, payload[_META.size + length :]
