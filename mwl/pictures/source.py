"""A stored object as a file of the child's: what is read of it is asked from the parent."""

from collections.abc import Callable
from io import SEEK_CUR, SEEK_END, SEEK_SET, BufferedReader, RawIOBase
from typing import Any

_BUFFER_BYTES = 256 * 1024  # a header, or half a CT slice: one request to a bucket

Fetch = Callable[[int, int], bytes]  # from where, how many bytes at most


def opened(size: int, fetch: Fetch) -> BufferedReader:
    """Open an object of `size` bytes."""
    return _Object(_Remote(size, fetch), size)


class _Object(BufferedReader):
    """Never makes room for more than there is, whatever a header says of its lengths."""

    def __init__(self, raw: RawIOBase, size: int) -> None:
        super().__init__(raw, _BUFFER_BYTES)
        self._size = size

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


class _Remote(RawIOBase):
    name = ""  # readers ask for it

    def __init__(self, size: int, fetch: Fetch) -> None:
        self._size, self._fetch, self._at = size, fetch, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        begins = {SEEK_SET: 0, SEEK_CUR: self._at, SEEK_END: self._size}[whence]
        self._at = max(0, begins + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), self._size - self._at)
        if length <= 0:
            return 0
        piece = self._fetch(self._at, length)
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)
