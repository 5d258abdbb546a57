"""A data set in pieces, as it comes from the store and goes to a peer."""

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from mwl.scp.reencoding import Unwritable

_PIECE: Final = 64 * 1024
# 29 KB can be made to inflate to 30 MB.
_LARGEST_INFLATED: Final = 512 * 1024 * 1024


class Source:
    """Pieces as one run of bytes; `at` is how many were taken."""

    def __init__(self, pieces: Iterable[bytes | memoryview]) -> None:
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
        part, self._piece = self._piece[:most], self._piece[most:]
        self.at += len(part)
        return part

    def take(self, size: int, *, at_most: bool = False) -> bytes:
        """Take `size` bytes, few of them; or what is left, if it may be less."""
        taken = bytearray()
        while len(taken) < size and not (at_most and self.is_over()):
            taken += self.part(size - len(taken))
        return bytes(taken)

    def rest(self) -> Iterator[memoryview]:
        """Take all that is left, as it comes."""
        if self._piece:
            yield self._piece
        for piece in self._pieces:
            yield memoryview(piece)


def inflated(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """Inflate a data set (PS3.5 A.5). Raises Unwritable where it can't be, or is too large."""
    inflater, left = zlib.decompressobj(-zlib.MAX_WBITS), _LARGEST_INFLATED
    for piece in pieces:
        waiting: bytes | memoryview = piece
        while waiting and not inflater.eof:  # behind it: a byte of padding
            try:
                inflated = inflater.decompress(waiting, _PIECE)
            except zlib.error:
                raise Unwritable("a deflated data set that can't be inflated") from None
            waiting = inflater.unconsumed_tail
            left -= len(inflated)
            if left < 0:
                raise Unwritable(f"it inflates to more than {_LARGEST_INFLATED} bytes")
            yield inflated
    while not inflater.eof:
        inflated = inflater.decompress(b"", _PIECE)
        if not inflated:
            raise Unwritable("the deflated data set is cut short")
        left -= len(inflated)
        if left < 0:
            raise Unwritable(f"it inflates to more than {_LARGEST_INFLATED} bytes")
        yield inflated


def deflated(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """Deflate a data set."""
    deflater, size = zlib.compressobj(wbits=-zlib.MAX_WBITS), 0
    for piece in pieces:
        deflated = deflater.compress(piece)
        size += len(deflated)
        yield deflated
    last = deflater.flush()
    yield last + b"\0" * ((size + len(last)) & 1)
