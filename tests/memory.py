"""A place in memory for what is written often, looked at, and thrown away.

What is synced there takes no time: whether and when that is asked for is seen by the tests
that trace system calls, wherever the files are.
"""

import shutil
from pathlib import Path

_MEMORY = Path("/dev/shm")
_NEEDED_BYTES = 2 * 2**30


def folder() -> Path | None:
    """Name a folder in memory; None: there is none, or too little room."""
    if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _NEEDED_BYTES:
        return _MEMORY
    return None
