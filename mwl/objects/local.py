"""Objects as files of a folder, durable before anybody is told.

A file is created under the name it keeps and never renamed: it is nobody's until an index
row names it, so there is nothing that a rename would have to hide. finish() syncs the file's
data, then the folder's entry for it. Folders are made level by level, each synced into its
parent before a file in it counts.

Files of one time share a folder, so that those who finish at once share its sync.
"""

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from mwl.errors import Outage
from mwl.objects import direct, keys
from mwl.objects.hashing import Digest
from mwl.objects.space import Space
from mwl.objects.store import Full, Missing

_READ = 256 * 1024
_AHEAD = 4 * 1024 * 1024  # bytes that the kernel is asked to fetch before they are read
# A folder's files before the next one is taken: a million objects are a thousand folders.
_FILES_A_FOLDER = 1000

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class LocalStore:
    """An object store in a folder; see `ObjectStore`."""

    def __init__(self, root: Path, min_free_bytes: int) -> None:
        """Prepare to use `root`, without touching it."""
        self._root = root
        self._space = Space(root, min_free_bytes)
        self._buffers = direct.Buffers()
        self._taking = threading.Lock()
        self._folder: _Folder | None = None

    def __repr__(self) -> str:
        return f"LocalStore({str(self._root)!r})"

    def create(self, head: bytes = b"", *, expected: int | None = None) -> "_FileWriter":
        with _outages(self._root):
            folder = self._current()
            self._space.take(0, ahead=expected or 0)
            try:
                writer = _FileWriter(folder, self._space, self._buffers, self._forget)
            except OSError:
                self._forget(folder)
                raise
        writer.begin(head)
        return writer

    def read(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        path = self._path(key)
        left = length
        with _outages(path, may_be_missing=True), path.open("rb", buffering=0) as file:
            file.seek(start)
            while left is None or left > 0:
                piece = file.read(_READ if left is None else min(left, _READ))
                if not piece:
                    return
                yield piece
                left = None if left is None else left - len(piece)

    def open(self, key: str) -> "_OpenFile":
        path = self._path(key)
        with _outages(path, may_be_missing=True):
            return _OpenFile(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    def size(self, key: str) -> int | None:
        stat = self._stat(key)
        return None if stat is None else stat.st_size

    def modified(self, key: str) -> datetime | None:
        stat = self._stat(key)
        return None if stat is None else datetime.fromtimestamp(stat.st_mtime, UTC)

    def keys(self) -> Iterator[str]:
        with _outages(self._root):
            for first in _names(self._root, keys.FOLDER.fullmatch):
                for second in _names(self._root / first, keys.FOLDER.fullmatch):
                    folder = f"{first}/{second}"
                    for name in _names(self._root / folder, keys.NAME.fullmatch):
                        yield f"{folder}/{name}"

    def delete(self, key: str) -> None:
        path = self._path(key)
        with _outages(path):
            path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._root / keys.checked(key)

    def _stat(self, key: str) -> os.stat_result | None:
        if not keys.is_key(key):
            return None
        try:
            with _outages(self._root, may_be_missing=True):
                return (self._root / key).stat()
        except Missing:
            return None

    def _current(self) -> "_Folder":
        """Give the folder of this moment; a full one makes room for the next."""
        with self._taking:
            if self._folder is None or not self._folder.has_room():
                self._folder = _Folder(self._root, keys.new_folder())
            return self._folder

    def _forget(self, folder: "_Folder") -> None:
        """Use it no more: after an error nobody knows what of it is on disk."""
        with self._taking:
            if self._folder is folder:
                self._folder = None


class _OpenFile:
    """A file that is read to where its bytes are wanted; see `Opened`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor
        self.size = os.fstat(descriptor).st_size
        if hasattr(os, "posix_fadvise"):
            ahead = min(self.size, _AHEAD)
            os.posix_fadvise(descriptor, 0, ahead, os.POSIX_FADV_WILLNEED)

    def __del__(self) -> None:
        self.close()

    def fill(self, places: Sequence[memoryview], start: int) -> None:
        wanted = sum(map(len, places))
        with _outages(self._path):
            got = os.preadv(self._descriptor, places, start)
            while got < wanted:
                more = os.preadv(self._descriptor, list(_rest(places, got)), start + got)
                if not more:
                    raise Missing(f"the object at {self._path} ends {wanted - got} bytes early")
                got += more

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)


class _Folder:
    """An open folder that files are being added to."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.path = root / name
        self._left = _FILES_A_FOLDER
        first = name.partition("/")[0]
        for path in (root, root / first, self.path):
            _make(path)
        self.descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._asking = threading.Lock()
        self._syncing = threading.Lock()
        self._asked = 0  # syncs, ever
        self._settled = 0  # the last of them that is answered
        self._failed = 0  # the last of them that failed

    def __del__(self) -> None:
        # With the last writer that uses it, whoever that is.
        with suppress(AttributeError, OSError):
            os.close(self.descriptor)

    def has_room(self) -> bool:
        self._left -= 1
        return self._left >= 0

    def sync(self) -> None:
        """Return once every file that is in it now is in it for ever. Raises OSError.

        One sync answers all who asked before it began. If it fails it fails for all of
        them: the kernel tells of a lost write once only.
        """
        with self._asking:
            self._asked += 1
            mine = self._asked
        with self._syncing:
            if self._settled < mine:
                self._sync_all()
            if mine <= self._failed:
                raise OSError(errno.EIO, "the folder could not be synced", str(self.path))

    def _sync_all(self) -> None:
        with self._asking:
            all_so_far = self._asked
        try:
            os.fsync(self.descriptor)
        except OSError:
            self._failed = all_so_far
        self._settled = all_so_far


class _FileWriter:
    """A file being written; see `Writer`.

    Bytes are gathered in a buffer: each call of the kernel costs, and gives way to others.
    """

    def __init__(
        self,
        folder: _Folder,
        space: Space,
        buffers: direct.Buffers,
        forget: Callable[[_Folder], None],
    ) -> None:
        self._folder = folder
        self._space = space
        self._buffers = buffers
        self._forget = forget
        self._name = keys.new_name()
        self.key = f"{folder.name}/{self._name}"
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self._name, flags, 0o600, dir_fd=folder.descriptor)
        self._buffer = buffers.take()
        self._filled = self._hashed = 0  # bytes of the buffer
        self._digest = Digest()
        self._removable = True
        self._broken = False

    @property
    def sha256(self) -> bytes:
        return self._digest.digest()

    def begin(self, head: bytes) -> None:
        """Take what is not hashed."""
        self.write(head)
        self._hashed = self._filled

    def write(self, data: bytes | memoryview) -> None:
        with memoryview(data) as source:
            done = 0
            while done < len(source):
                if self._filled == direct.BUFFER_BYTES:
                    with self._unbroken():
                        self._empty()
                    self._digest.wait()
                piece = source[done : done + direct.BUFFER_BYTES - self._filled]
                end = self._filled + len(piece)
                self._buffer[self._filled : end] = piece
                self._filled = end
                done += len(piece)

    def finish(self) -> None:
        with self._unbroken():
            self._empty()
            os.fdatasync(self._descriptor)
            self._close()
            try:
                self._folder.sync()
            except OSError:
                self._forget(self._folder)
                raise
        self._removable = False

    def discard(self) -> None:
        with suppress(OSError):
            self._close()
        if self._removable:
            self._removable = False
            with suppress(OSError):
                os.unlink(self._name, dir_fd=self._folder.descriptor)

    @contextmanager
    def _unbroken(self) -> Iterator[None]:
        """Let nothing follow an error: a second sync would find nothing wrong any more."""
        if self._broken:
            raise Outage(f"{self._folder.path / self._name} was given up after an error")
        self._broken = True
        with _outages(self._folder.path):
            yield
        self._broken = False

    def _empty(self) -> None:
        """Hand over to the kernel what the buffer holds."""
        size, self._filled = self._filled, 0
        self._space.take(size)
        hashed, self._hashed = self._hashed, 0
        with memoryview(self._buffer) as whole, whole[:size] as data:
            self._digest.begin(data[hashed:])
            direct.append(self._descriptor, data)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            self._digest.wait()
            self._buffers.give_back(self._buffer)
            os.close(descriptor)


def _rest(places: Sequence[memoryview], done: int) -> Iterator[memoryview]:
    """Give what of `places` lies behind the first `done` bytes."""
    for place in places:
        if done < len(place):
            yield place[done:]
        done = max(0, done - len(place))


def _make(path: Path) -> None:
    """See to it that a folder is there and stays there, whoever made it just now."""
    path.mkdir(mode=0o700, exist_ok=True)
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _names(folder: Path, is_ours: Callable[[str], object]) -> Iterator[str]:
    """List what a folder holds; nothing if it isn't there."""
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    with entries:
        for entry in entries:
            if is_ours(entry.name):
                yield entry.name


@contextmanager
def _outages(path: Path, *, may_be_missing: bool = False) -> Iterator[None]:
    """Raise in the house's words what the operating system says."""
    try:
        yield
    except OSError as error:
        if may_be_missing and isinstance(error, FileNotFoundError):
            raise Missing(f"there is no object at {path}") from None
        text = f"images can't be kept at {path}: {error.strerror}"
        if error.errno in _NO_ROOM:
            raise Full(f"{text}; make room, or name another place in archive.objects") from None
        raise Outage(f"{text}; see to that disk and to the rights of this user") from None
