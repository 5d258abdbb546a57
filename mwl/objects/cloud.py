"""Objects in a bucket: S3 and what speaks it, Google Cloud Storage, Azure.

A small object is one PUT. One of more than 5 MiB is uploaded in parts while it comes in, two
at a time, so that an upload holds some 15 MiB whatever its length. It exists when finish()
returns, and not before: a bucket shows no half objects. What a killed process leaves behind
are parts of an unfinished upload, which a rule of the bucket should remove after a day
(AbortIncompleteMultipartUpload).
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from mwl.config import Archive
from mwl.errors import Outage
from mwl.objects import bucket, keys
from mwl.objects.refusal import NO_PARTIAL, Refused, refusals
from mwl.objects.store import Missing

if TYPE_CHECKING:
    from obstore import WritableFile
    from obstore.store import ObjectStore

_PART = 5 * 1024 * 1024  # the least that S3 takes for all parts but the last
_PARTS_AT_ONCE = 2
_PIECE = 256 * 1024
_PAGE = 1000


class CloudStore:
    """An object store in a bucket; see `mwl.objects.ObjectStore`."""

    def __init__(self, archive: Archive) -> None:
        """Prepare, without a request. Raises ConfigError."""
        self._archive = archive
        self._bucket = bucket.parse(archive)

    def __repr__(self) -> str:
        return f"CloudStore({str(self._bucket)!r})"

    @property
    def place(self) -> str:
        """Where it is, for a person to read."""
        return str(self._bucket)

    # obstore's threads start with its first object: not before the fork.
    @cached_property
    def _store(self) -> "ObjectStore":
        return self._connect(downloads=False)

    @cached_property
    def _downloads(self) -> "ObjectStore":
        return self._connect(downloads=True)

    def _connect(self, *, downloads: bool) -> "ObjectStore":
        with refusals(self._bucket):
            return bucket.connect(self._bucket, self._archive, downloads=downloads)

    def create(
        self,
        head: bytes = b"",
        *,
        expected: int | None = None,  # noqa: ARG002 - a bucket has room
    ) -> "_Upload":
        return _Upload(self._store, self._bucket, head)

    def read(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        keys.checked(key)
        if length is not None and length <= 0:
            return
        end = None if length is None else start + length
        try:
            yield from self._range(key, start, end)
        except Refused as refused:
            if refused.status == 416 and self.size(key) is not None:  # it ends before
                return
            if refused.problem != NO_PARTIAL:
                raise
            yield from _cut(self._whole(key), start, end)

    def _range(self, key: str, start: int, end: int | None) -> Iterator[bytes]:
        if start == 0 and end is None:
            yield from self._whole(key)
            return
        wanted: Any = {"offset": start} if end is None else (start, end)
        yield from self._stream(key, {"range": wanted})

    def _whole(self, key: str) -> Iterator[bytes]:
        return self._stream(key, {})

    def _stream(self, key: str, options: Any) -> Iterator[bytes]:
        import obstore

        with refusals(self._bucket, key):
            stream = obstore.get(self._downloads, key, options=options).stream(_PIECE)
        while True:
            with refusals(self._bucket, key):
                piece = next(stream, None)
            if piece is None:
                return
            yield bytes(piece)

    def open(self, key: str) -> None:
        keys.checked(key)

    def size(self, key: str) -> int | None:
        meta = self._head(key)
        return None if meta is None else meta["size"]

    def modified(self, key: str) -> datetime | None:
        meta = self._head(key)
        return None if meta is None else meta["last_modified"]

    def _head(self, key: str) -> Any:
        import obstore

        if not keys.is_key(key):
            return None
        try:
            with refusals(self._bucket, key):
                return obstore.head(self._store, key)
        except Missing:
            pass
        # The answer to HEAD has no body that tells a missing bucket from a missing object.
        try:
            with refusals(self._bucket, key):
                return obstore.get(self._store, key).meta
        except Missing:
            return None

    def keys(self) -> Iterator[str]:
        import obstore

        with refusals(self._bucket):
            pages = obstore.list(self._store, chunk_size=_PAGE)
        while True:
            with refusals(self._bucket):
                page = next(pages, None)
            if page is None:
                return
            yield from (entry["path"] for entry in page if keys.is_key(entry["path"]))

    def probe(self) -> None:
        """See that it answers, lists and lets read, in three requests at most. Raises Outage."""
        import obstore

        with refusals(self._bucket):
            next(obstore.list(self._store, chunk_size=_PAGE), None)
        self.size(f"{keys.new_folder()}/{keys.new_name()}")  # there is none: that is an answer

    def delete(self, key: str) -> None:
        import obstore

        keys.checked(key)
        with suppress(Missing), refusals(self._bucket, key):
            obstore.delete(self._store, key)


class _Upload:
    """An object on its way into a bucket; see `mwl.objects.Writer`."""

    def __init__(self, store: "ObjectStore", where: bucket.Bucket, head: bytes) -> None:
        import obstore

        self.key = f"{keys.new_folder()}/{keys.new_name()}"
        self._store = store
        self._bucket = where
        self._waiting = bytearray(head)
        self._hash = sha256()
        self._file: WritableFile | None
        with refusals(where):
            self._file = obstore.open_writer(
                store, self.key, buffer_size=_PART, max_concurrency=_PARTS_AT_ONCE
            )
        self._broken = False

    @property
    def sha256(self) -> bytes:
        return self._hash.digest()

    def write(self, data: bytes | memoryview) -> None:
        self._waiting += data
        self._hash.update(data)
        if len(self._waiting) >= _PIECE:
            with self._unbroken() as file:
                self._flush(file)

    def finish(self) -> None:
        with self._unbroken() as file:
            self._flush(file)
            file.close()
        self._file = None

    def discard(self) -> None:
        file, self._file = self._file, None
        self._waiting.clear()
        if file is None:
            return
        if self._broken:
            # The bucket is out of reach, perhaps: nobody shall wait for that twice.
            threading.Thread(target=self._remove, args=(file,), daemon=True).start()
        else:
            _abort(file)

    def _remove(self, file: "WritableFile") -> None:
        import obstore

        _abort(file)
        # It may be there all the same: an answer was lost, not the request.
        with suppress(Exception):
            obstore.delete(self._store, self.key)

    @contextmanager
    def _unbroken(self) -> Iterator["WritableFile"]:
        if self._broken or self._file is None:
            raise Outage(f"the upload of {self.key} was given up after an error")
        self._broken = True
        with refusals(self._bucket):
            yield self._file
        self._broken = False

    def _flush(self, file: "WritableFile") -> None:
        # A copy: what obstore is given it keeps until it is sent.
        file.write(bytes(self._waiting))
        self._waiting.clear()


def _abort(file: "WritableFile") -> None:
    """Give up an upload; its parts go, if the bucket can be reached."""
    with suppress(Exception):
        file.__exit__(Outage, None, None)


def _cut(pieces: Iterator[bytes], start: int, end: int | None) -> Iterator[bytes]:
    """Give the bytes from `start` to `end` of what comes whole."""
    at = 0
    for piece in pieces:
        part = piece[max(0, start - at) : None if end is None else max(0, end - at)]
        if part:
            yield part
        at += len(piece)
        if end is not None and at >= end:
            return
