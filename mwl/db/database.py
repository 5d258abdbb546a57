"""The database as the services see it: read(), write(), and Outage when it is not there."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from mwl.db import engine
from mwl.db.faults import outage
from mwl.db.gate import FileGate
from mwl.db.group import GroupCommit
from mwl.db.transactions import Transactions

T = TypeVar("T")

_WAIT_S = 5.0


class Database:
    """One process's way to the database. Create it after the fork; threads may share it."""

    def __init__(self, url: str, *, data_dir: Path, wait_s: float = _WAIT_S) -> None:
        """Prepare, without connecting, to use the database at `url`.

        `data_dir` is where a relative SQLite path starts. `wait_s` bounds the wait for a
        connection and for the right to write. Raises ConfigError.
        """
        self.url = engine.parse(url, data_dir)
        self.dialect = self.url.get_backend_name()  # "sqlite" or "postgresql"
        self.wait_s = wait_s
        self.path = Path(self.url.database or "") if self.dialect == "sqlite" else None
        self._gate: FileGate | None = None
        self._writes: GroupCommit | Transactions
        if self.path is not None:
            self._gate = FileGate(self.path)
            self._reader = engine.sqlite_readers(self.path, wait_s)
            self._writer = engine.sqlite_writer(self.path)
            self._writes = GroupCommit(self._writer, self._gate, wait_s)
        else:
            self._writer = engine.postgresql(self.url, wait_s)
            # A snapshot, as SQLite's is; and as it can't write it is never turned back.
            self._reader = self._writer.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            self._writes = Transactions(self._writer)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Give a session that reads one snapshot. Keep it short. Raises Outage."""
        with (
            _outages(),
            self._reader.connect() as connection,
            Session(connection, expire_on_commit=False) as session,
        ):
            yield session

    def write(self, work: Callable[[Session], T]) -> T:
        """Run `work` in a transaction; return its result once that is on disk.

        `work` must depend on nothing but the database: it may be run again after a
        collision, or in another thread together with the work of others. What it raises
        is raised here and undoes its work alone. Raises Outage when nothing was kept, or
        when the connection broke at the commit and nobody can tell; ask again in both cases.
        """
        result: T = self._writes.write(work)
        return result

    def rehearse(self, work: Callable[[Session], T]) -> T:
        """Run `work` as `write()` does, give its result, and undo all that it did.

        Nobody else can write meanwhile (SQLite), or to the same rows (PostgreSQL): bound it.
        """

        def undo(session: Session) -> None:
            raise _Undone(work(session))

        try:
            self._writes.write(undo)
        except _Undone as undone:
            result: T = undone.result
            return result
        raise AssertionError("what is rehearsed always ends by being undone")

    def close(self) -> None:
        """Close all connections and locks."""
        self._writes.close()
        self._writer.dispose()
        self._reader.dispose()
        if self._gate is not None:
            self._gate.close()


class _Undone(Exception):
    """Carries the result of a rehearsal out of the transaction that it undoes."""

    def __init__(self, result: Any) -> None:
        super().__init__()
        self.result = result


@contextmanager
def _outages() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise outage(error) or error from None
