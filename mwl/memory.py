"""How the process gives memory back."""

import ctypes
from typing import Final

_MMAP_THRESHOLD: Final = -3  # M_MMAP_THRESHOLD of mallopt(3)
_LARGE: Final = 1 << 20  # bytes
_TRIM_THRESHOLD: Final = -1  # M_TRIM_THRESHOLD
# What the usual message takes and frees is not given back each time.
_KEPT: Final = 8 << 20  # bytes


def return_large_blocks() -> None:
    """Have the C library give large blocks back to the system as soon as they are free.

    glibc learns from the first that is freed to keep the next ones: after a message of ten
    megabytes a process would hold five times that for ever. Where there is no such setting,
    nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, _KEPT)
