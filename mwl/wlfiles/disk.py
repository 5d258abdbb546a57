"""Many files for one folder, each of them there whole or not at all.

A file is written beside its place; what was written is put on disk, and then it all is moved to
its places. So nobody meets half a file, and no power cut leaves one: a name never leads to what
is not on disk. A disk puts thousands there in one go in the time that it takes for a few.
"""

import ctypes
import os
import re
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

_TEMPORARY = re.compile(r"\.mwl-[0-9a-f]{32}\.wl\.new")
_MOST: Final = 4096  # files of one go
_FEW: Final = 32  # files, that are put on disk one by one: all else that is written there waits


class Batch:
    """Puts files into a folder, so many at a time; those of a run that failed are removed.

    Raises OSError. Nobody else may do so in the same folder.
    """

    def __init__(self, folder: Path) -> None:
        """Take `folder`, which is there."""
        self.count = 0
        self._folder = folder
        self._waiting: list[str] = []

    def __enter__(self) -> Self:
        """Remove what a run that was ended has left half done."""
        for name in os.listdir(self._folder):  # noqa: PTH208 - names
            if _TEMPORARY.fullmatch(name):
                (self._folder / name).unlink(missing_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        """Put the last ones in their places, unless something went wrong."""
        try:
            if kind is None:
                self._settle()
        finally:
            for name in self._waiting:
                self._beside(name).unlink(missing_ok=True)

    def put(self, name: str, data: bytes) -> None:
        """Put a file in its place, soon; what is beside it is a new one, and no link."""
        self._waiting.append(name)
        with self._beside(name).open("xb") as opened:
            opened.write(data)
        if len(self._waiting) >= _MOST:
            self._settle()

    def _settle(self) -> None:
        if len(self._waiting) > _FEW:
            _sync_all(self._folder)
        else:
            for name in self._waiting:
                _sync(self._beside(name), os.O_RDONLY)
        while self._waiting:
            name = self._waiting[-1]
            self._beside(name).replace(self._folder / name)
            self._waiting.pop()
            self.count += 1

    def _beside(self, name: str) -> Path:
        return self._folder / f".{name}.new"


def sync_names(folder: Path) -> None:
    """See that it is on disk which files are in a folder."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_all(folder: Path) -> None:
    """Put on disk all that was written to the file system of a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _libc().syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), os.fspath(folder))
    finally:
        os.close(descriptor)


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)
