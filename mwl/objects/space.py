"""How much may still be written before a disk is too full."""

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from mwl.objects.store import Full

# Others write to the same disk: what was seen is believed so long, and no more of it than
# so many bytes, whichever ends first.
_BELIEVED_S = 0.25
_BELIEVED_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that are free on a disk, and how many of them may be written (below 0: none)."""

    free: int
    above: int


def room_of(folder: Path, floor: int) -> Room:
    """Tell how much room a folder has, which may still have to be made. Raises OSError."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    disk = os.statvfs(there)
    free = disk.f_bavail * disk.f_frsize
    return Room(free, free - floor)


class Space:
    """The free space above a floor; threads may share it."""

    def __init__(self, folder: Path, floor: int) -> None:
        """Watch the disk of `folder`, of which `floor` bytes are to stay free."""
        self._folder = folder
        self._floor = floor
        self._lock = threading.Lock()
        self._left = 0
        self._until = 0.0

    def take(self, count: int, *, ahead: int = 0) -> None:
        """Count `count` bytes as written, if they and `ahead` further ones have room.

        Raises Full, OSError.
        """
        with self._lock:
            if count + ahead > self._left or time.monotonic() >= self._until:
                self._look(count + ahead)
            self._left -= count

    def _look(self, wanted: int) -> None:
        self._left = 0
        disk = os.statvfs(self._folder)
        above = disk.f_bavail * disk.f_frsize - self._floor
        if above < wanted or above <= 0:
            raise Full(
                f"images are refused: {self._folder} has {above + self._floor} bytes free, and "
                f"archive.min_free_bytes keeps {self._floor}; make room"
            )
        self._left = max(wanted, min(above, _BELIEVED_BYTES))
        self._until = time.monotonic() + _BELIEVED_S
