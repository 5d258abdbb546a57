"""A deflated data set, inflated no further than to be looked through (PS3.5 A.5)."""

import zlib

from mwl.errors import Fault, Reason, Rejected
from mwl.scp.storage.header import Header, Scanner, malformed

# 29 KB can be made to inflate to 30 MB. What is kept are the bytes as they came; this only
# bounds the time that is spent on finding the header in them.
MAX_INFLATED_BYTES = 512 * 1024 * 1024
# Beyond so many bytes no more than so many for each that came: pictures deflate to a third,
# masks that are all but empty to a hundredth, a bomb to a thousandth.
MAX_RATIO = 200
FREE_BYTES = 64 * 1024 * 1024
_PIECE = 4 * 1024
_INFLATED_PIECE = 64 * 1024


class InflatingScanner:
    """A `Scanner` of a deflated data set."""

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._came = self._inflated = 0  # bytes

    def feed(self, fragment: memoryview) -> None:
        """Take the next piece. Raises Rejected."""
        for start in range(0, len(fragment), _PIECE):
            waiting: bytes | memoryview = fragment[start : start + _PIECE]
            self._came += len(waiting)
            while waiting and not self._inflater.eof:  # behind it: a byte of padding
                self._scan(waiting)
                waiting = self._inflater.unconsumed_tail

    def finish(self) -> Header:
        """Learn that this was all. Raises Rejected where more was announced."""
        while not self._inflater.eof:
            before = self._inflated
            self._scan(b"")
            if self._inflated == before:
                raise malformed("the deflated data set is cut short")
        return self._scanner.finish()

    def _scan(self, data: bytes | memoryview) -> None:
        try:
            inflated = self._inflater.decompress(data, _INFLATED_PIECE)
        except zlib.error:
            raise malformed("a deflated data set that can't be inflated") from None
        self._inflated += len(inflated)
        if self._inflated > min(MAX_INFLATED_BYTES, max(FREE_BYTES, MAX_RATIO * self._came)):
            text = f"a data set that inflates to more than {self._inflated} bytes"
            raise Rejected(Fault(Reason.TOO_LONG, "", text))
        self._scanner.feed(memoryview(inflated))
