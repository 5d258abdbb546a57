"""A data set in pieces, as it comes from the store and goes to a peer."""

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from mwl.errors import MwlError

_PIECE: Final = 64 * 1024
# 29 KB can be made to inflate to 30 MB. No image shrinks to a hundredth.
_MOST_INFLATED: Final = 100
_LEAST_BOUND: Final = 16 * 1024 * 1024

Pieces = Iterable[bytes | memoryview]


class Unwritable(MwlError):
    """A data set that can't be written otherwise than it is."""


class Source:
    """Pieces as one run of bytes; `at` is how many were taken."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = iter(pieces)
        self._piece = memoryview(b"")
        self.at = 0

    def is_over(self) -> bool:
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return True
            self._piece = memoryview(piece)
        return False

    def part(self, most: int) -> memoryview:
        """Take what there is, up to so many bytes."""
        if self.is_over():
            raise Unwritable("the data set is cut short")
        part = self._piece[:most]
        self._piece = self._piece[most:]
        self.at += len(part)
        return part

    def values(self, size: int) -> Iterator[memoryview]:
        """Take `size` bytes as they come."""
        while size:
            part = self.part(size)
            size -= len(part)
            yield part

    def take(self, size: int) -> bytes:
        """Take `size` bytes, few of them."""
        return b"".join(self.values(size))

    def begin(self, size: int) -> bytes:
        """Take `size` bytes, few of them, or what is left."""
        taken = bytearray()
        while len(taken) < size and not self.is_over():
            taken += self.part(size - len(taken))
        return bytes(taken)

    def rest(self) -> Iterator[memoryview]:
        """Take all that is left, as it comes."""
        if self._piece:
            yield self._piece
        for piece in self._pieces:
            yield memoryview(piece)


def inflated(pieces: Pieces) -> Iterator[bytes]:
    """Inflate a data set (PS3.5 A.5), in bounded pieces, so far and no further. Unwritable."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    came = went = 0
    for piece in pieces:
        came += len(piece)
        waiting: bytes | memoryview = piece
        while not inflater.eof:  # behind it: a byte of padding
            try:
                out = inflater.decompress(waiting, _PIECE)
            except zlib.error:
                raise Unwritable("it is deflated and can't be inflated") from None
            went += len(out)
            if went > max(came * _MOST_INFLATED, _LEAST_BOUND):
                raise Unwritable("it inflates to more than any image would")
            if out:
                yield out
            waiting = inflater.unconsumed_tail
            if not waiting and len(out) < _PIECE:
                break
    if not inflater.eof:
        raise Unwritable("it is deflated and cut short")


def deflated(pieces: Pieces) -> Iterator[bytes]:
    """Deflate a data set."""
    deflater, size = zlib.compressobj(wbits=-zlib.MAX_WBITS), 0
    for piece in pieces:
        if out := deflater.compress(piece):
            size += len(out)
            yield out
    last = deflater.flush()
    yield last + b"\0" * ((size + len(last)) & 1)
