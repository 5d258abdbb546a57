"""Hold the archive's index against the bytes that are there, both ways.

Every row must have its object, of its size and, looked at deeply, of its bytes. Every object
must have a row: one that has none is what a process left that died in the middle, or one
that is on its way this moment, which its age tells. Nobody was told that the former is
kept, so whoever asks for it may have it removed; nothing else is changed.

Reads page by page, so that a million instances need no more memory than a thousand and no
transaction is long; what is found wrong is looked at again before it is told, for the
archive goes on meanwhile.
"""

import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from itertools import islice
from typing import Any

from sqlalchemy import bindparam, func, select
from sqlmodel import Session

from mwl.db import Database
from mwl.db.tables import StoredObject
from mwl.errors import MwlError, Outage
from mwl.objects import Missing, ObjectStore

ON_ITS_WAY = timedelta(hours=1)

_PAGE = 500
_AT_ONCE = 8  # a bucket takes its time to answer, a disk little
# So many in a row that can't be read: it is not they, it is the store.
_MOST_UNREADABLE = 20

_OBJECT = StoredObject.__table__  # type: ignore[attr-defined]


class Problem(StrEnum):
    """What index and bytes disagree in."""

    MISSING = "missing"
    SIZE = "size"
    CONTENT = "content"
    UNREADABLE = "unreadable"
    UNREFERENCED = "unreferenced"
    ON_ITS_WAY = "on its way"  # nothing wrong: its row comes in a moment
    REMOVED = "removed"  # was unreferenced


@dataclass(frozen=True, slots=True)
class Finding:
    """An object that index and bytes disagree in; `text` is for a person."""

    problem: Problem
    key: str
    sop_instance_uid: str  # "": no row tells
    text: str

    @property
    def is_wrong(self) -> bool:
        return self.problem not in {Problem.ON_ITS_WAY, Problem.REMOVED}


class Tally:
    """How far it has come; threads count into it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.rows = 0
        self.keys = 0
        self.bytes_read = 0

    def count(self, *, rows: int = 0, keys: int = 0, bytes_read: int = 0) -> None:
        """Add what was looked at."""
        with self._lock:
            self.rows += rows
            self.keys += keys
            self.bytes_read += bytes_read


def extent(session: Session) -> tuple[int, int]:
    """Tell how many objects the index names, and how many bytes they have."""
    statement = select(func.count(), func.coalesce(func.sum(_OBJECT.c.size), 0))
    rows, size = session.connection().execute(statement.select_from(_OBJECT)).one()
    return int(rows), int(size)


def findings(
    database: Database, objects: ObjectStore, *, deep: bool, now: datetime, tally: Tally
) -> Generator[Finding, None, None]:
    """Look at everything, and give what index and bytes disagree in.

    `deep` reads every byte and hashes it again. Raises Outage where the database or the
    whole store can't be asked.
    """
    yield from _of_rows(database, objects, deep, tally)
    yield from _of_keys(database, objects, now, tally)


def cleared(objects: ObjectStore, found: Finding) -> Finding:
    """Remove what was found if no row names it, and tell that. Raises Outage."""
    if found.problem is not Problem.UNREFERENCED:
        return found
    objects.delete(found.key)
    return replace(found, problem=Problem.REMOVED)


_ROWS = (
    select(
        _OBJECT.c.id,
        _OBJECT.c.key,
        _OBJECT.c.size,
        _OBJECT.c.data_set_offset,
        _OBJECT.c.sha256,
        _OBJECT.c.sop_instance_uid,
    )
    .where(_OBJECT.c.id > bindparam("after"))
    .order_by(_OBJECT.c.id)
    .limit(_PAGE)
)


def _of_rows(
    database: Database, objects: ObjectStore, deep: bool, tally: Tally
) -> Iterator[Finding]:
    look = _Look(objects, deep, tally)
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="verify")
    try:
        after, unreadable = 0, 0
        while page := _page(database, after):
            after = page[-1].id
            for row, found in zip(page, pool.map(look.at, page), strict=True):
                unreadable = unreadable + 1 if _is(found, Problem.UNREADABLE) else 0
                if found is not None and _still_there(database, row):
                    yield found
                if found is not None and unreadable == _MOST_UNREADABLE:
                    raise Outage(f"{unreadable} objects in a row can't be read: {found.text}")
    finally:
        look.stop()
        pool.shutdown(cancel_futures=True)


def _is(found: Finding | None, problem: Problem) -> bool:
    return found is not None and found.problem is problem


def _page(database: Database, after: int) -> list[Any]:
    with database.read() as session:
        return list(session.connection().execute(_ROWS, {"after": after}).all())


def _still_there(database: Database, row: Any) -> bool:
    """Tell whether the index still says what it did: it may have changed meanwhile."""
    same = (_OBJECT.c.id == row.id) & (_OBJECT.c.key == row.key)
    with database.read() as session:
        return session.connection().execute(select(_OBJECT.c.id).where(same)).first() is not None


class _Look:
    """Looks at the objects of rows, in many threads."""

    def __init__(self, objects: ObjectStore, deep: bool, tally: Tally) -> None:
        self._objects = objects
        self._deep = deep
        self._tally = tally
        self._stopped = False

    def stop(self) -> None:
        """Let those in the middle of an object end soon."""
        self._stopped = True

    def at(self, row: Any) -> Finding | None:
        """Look at a row's object; None: all is well."""
        try:
            wrong = self._wrong(row)
        except Missing:
            wrong = Problem.MISSING, "the index names it and it is not there"
        except MwlError as error:
            wrong = Problem.UNREADABLE, str(error)
        self._tally.count(rows=1)
        return Finding(wrong[0], row.key, row.sop_instance_uid, wrong[1]) if wrong else None

    def _wrong(self, row: Any) -> tuple[Problem, str] | None:
        size = self._objects.size(row.key)
        if size is None:
            raise Missing(row.key)
        if size != row.size:
            return Problem.SIZE, f"has {size} bytes, and the index says {row.size}"
        if self._deep and self._hashed(row) != row.sha256:
            return Problem.CONTENT, "its data set is not the one that was received"
        return None

    def _hashed(self, row: Any) -> bytes:
        digest = sha256()
        for piece in self._objects.read(row.key, row.data_set_offset):
            digest.update(piece)
            self._tally.count(bytes_read=len(piece))
            if self._stopped:
                break
        return digest.digest()


def _of_keys(
    database: Database, objects: ObjectStore, now: datetime, tally: Tally
) -> Iterator[Finding]:
    listed = objects.keys()
    while keys := list(islice(listed, _PAGE)):
        statement = select(_OBJECT.c.key).where(_OBJECT.c.key.in_(keys))
        with database.read() as session:
            known = set(session.connection().scalars(statement))
        for key in keys:
            if key not in known and (found := _unreferenced(objects, key, now)):
                yield found
        tally.count(keys=len(keys))


def _unreferenced(objects: ObjectStore, key: str, now: datetime) -> Finding | None:
    modified = objects.modified(key)
    if modified is None:  # discarded, or a repeat's, deleted since
        return None
    written = f"written {modified:%Y-%m-%d %H:%M:%S} UTC"
    if now - modified < ON_ITS_WAY:
        return Finding(Problem.ON_ITS_WAY, key, "", f"{written}: the index may name it yet")
    return Finding(Problem.UNREFERENCED, key, "", f"{written}, and the index does not name it")
