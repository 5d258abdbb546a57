"""Bytes to a file past the page cache.

write() copies what it is given into memory that the kernel has to find first, for images
that hardly anybody reads before they have left it again. On a virtual machine that memory
may have to come from the host: a third of the time of receiving an image went there. Direct
I/O (open(2), O_DIRECT) lets the disk fetch the bytes from where they are. It wants memory,
offset and length in whole blocks; the rest of a file, and what lies on a file system that
knows no direct I/O, goes the kernel's own way.
"""

import errno
import fcntl
import os
from mmap import mmap
from queue import Empty, SimpleQueue

BUFFER_BYTES = 1024 * 1024
_BLOCK = 4096  # bytes; of disks that tell of 512 it is a multiple
_LEAST = 32 * 1024  # bytes; below, two more system calls cost more than the copy
_DIRECT = getattr(os, "O_DIRECT", 0)  # Linux, FreeBSD
# What the kernel is given at once on its own way. For larger pieces it wants memory in one
# stretch, and that may be hard to find (of 64 KiB: 145 µs for 512 KiB, of 128 KiB: 1,190).
_PIECE = 64 * 1024
_MOST_KEPT = 16


class Buffers:
    """Aligned memory of `BUFFER_BYTES` each, used again: fresh memory is what costs."""

    def __init__(self) -> None:
        """Begin with none."""
        self._kept: SimpleQueue[mmap] = SimpleQueue()

    def take(self) -> mmap:
        """Give one that nobody else uses; what it holds is anybody's."""
        try:
            return self._kept.get_nowait()
        except Empty:
            return mmap(-1, BUFFER_BYTES)

    def give_back(self, buffer: mmap) -> None:
        """Take one that nobody uses any more."""
        if self._kept.qsize() < _MOST_KEPT:
            self._kept.put(buffer)


def append(descriptor: int, data: memoryview) -> None:
    """Write all of `data` at the end of a file that is written by nobody else. OSError.

    It is of use to begin `data` at a block's bounds, in memory and in the file.
    """
    whole = len(data) & -_BLOCK
    done = 0
    if whole >= _LEAST and _go_direct(descriptor):
        done = _append_direct(descriptor, data[:whole])
    if done < len(data):
        fcntl.fcntl(descriptor, fcntl.F_SETFL, 0)  # the kernel's own way, whatever was before
    while done < len(data):
        done += os.write(descriptor, data[done : done + _PIECE])


def _go_direct(descriptor: int) -> bool:
    # Not at open(2): where that is refused, old kernels leave the file that they made.
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, _DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return bool(_DIRECT)


def _append_direct(descriptor: int, blocks: memoryview) -> int:
    """Write blocks; tell how many bytes that were when it could go on in no such way."""
    done = 0
    try:
        while done < len(blocks):
            done += os.write(descriptor, blocks[done:])
    except OSError as error:
        if error.errno != errno.EINVAL:  # larger blocks, or a place between two
            raise
    return done
