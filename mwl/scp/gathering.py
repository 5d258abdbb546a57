"""Data sets that may be longer than others, kept in memory a few at a time."""

from threading import Semaphore

from mwl import dataset

_MOST = 8  # long ones at once in this process


class Gathering:
    """Makes sinks (`mwl.net.sinks`) for one service; `max_bytes` bounds each data set."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.long_ones = Semaphore(_MOST)

    def sink(self) -> "Gathered":
        return Gathered(self)


class Gathered:
    """Keeps a data set; `data` is None once it was too long, or too many long ones came."""

    def __init__(self, gathering: Gathering) -> None:
        self._gathering = gathering
        self._is_long = False
        self.data: bytearray | None = bytearray()

    def write(self, fragment: memoryview) -> None:
        if self.data is None:
            return
        size = len(self.data) + len(fragment)
        if size > dataset.MAX_BYTES and not self._is_long:
            self._is_long = self._gathering.long_ones.acquire(blocking=False)
        if size > (self._gathering.max_bytes if self._is_long else dataset.MAX_BYTES):
            self.data = None
        else:
            self.data += fragment

    def close(self) -> None:
        pass

    def abort(self) -> None:
        self.data = None
        if self._is_long:
            self._is_long = False
            self._gathering.long_ones.release()
