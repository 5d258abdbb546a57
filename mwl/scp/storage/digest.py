"""SHA-256 of what comes in, worked out while its last bytes go to the disk.

Hashing half a megabyte takes as long as syncing it. A single scanner has a core for each;
where many send at once there is none to spare, and whoever finds the helper busy does the
work itself.
"""

import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

_WORTH_BYTES = 64 * 1024  # less is hashed before another thread has woken up


class Helper:
    """One thread that hashes for others; they may share it. It starts when first needed."""

    def __init__(self) -> None:
        """Prepare, without a thread: a fork may come still."""
        self._free = Lock()
        self._thread = ThreadPoolExecutor(1, "sha256")

    def update(self, digest: "hashlib._Hash", data: bytes | bytearray) -> Callable[[], object]:
        """Begin to hash; the result waits until it is done."""
        if len(data) < _WORTH_BYTES or not self._free.acquire(blocking=False):
            digest.update(data)
            return _done
        try:
            future: Future[None] = self._thread.submit(self._hash, digest, data)
        except RuntimeError:  # the system has no thread left
            self._free.release()
            digest.update(data)
            return _done
        return future.result

    def _hash(self, digest: "hashlib._Hash", data: bytes | bytearray) -> None:
        try:
            digest.update(data)
        finally:
            self._free.release()


def _done() -> None:
    return None
