"""Engines for the two databases: how connections are opened, checked and bounded.

An engine belongs to one process: create it after the fork.
"""

import os
import select
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.pool import QueuePool

from mwl.db.faults import quieten
from mwl.errors import ConfigError

_LARGEST_WAL = 64 * 2**20  # bytes kept of a log that a burst has made longer
# Pages of the log before it is folded into the file: at SQLite's own 1,000 every hundredth
# order waits for it, and most pages of indexes are written many times over.
_CHECKPOINT_PAGES = 8_000
_POOL = 8
_POOL_OVERFLOW = {"sqlite": 24, "postgresql": 8}
_RECYCLE_S = 1800
_STATEMENT_MS = 30_000
_IDLE_IN_TRANSACTION_MS = 30_000


def parse(url: str, data_dir: Path) -> URL:
    """Read a database URL; a relative SQLite path starts at `data_dir`. Raises ConfigError."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError("database.url: not a database URL") from None
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise ConfigError(f"database.url: sqlite and postgresql are supported, not {backend}")
    if not parsed.database or parsed.database == ":memory:" or parsed.query:
        raise ConfigError("database.url: sqlite needs the path of a file, sqlite:///mwl.db")
    return URL.create("sqlite", database=str(data_dir.absolute() / parsed.database))


def sqlite_readers(path: Path, wait_s: float) -> Engine:
    """Make an engine whose transactions read a snapshot and can't write."""

    def connect() -> sqlite3.Connection:
        connection = open_sqlite(path, wait_s)
        connection.execute("PRAGMA query_only = ON")
        return connection

    return _sqlite(path, connect, "BEGIN", pool_timeout=wait_s, pool_size=_POOL)


def sqlite_writer(path: Path) -> Engine:
    """Make an engine with one connection, whose transactions hold the write lock."""

    def connect() -> sqlite3.Connection:
        connection = open_sqlite(path, 0)
        connection.execute("PRAGMA synchronous = FULL")  # fsync at every commit
        connection.execute("PRAGMA foreign_keys = ON")
        # What a savepoint must be able to undo would go to a file: two thirds of all writes.
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA journal_size_limit = {_LARGEST_WAL}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        return connection

    # REFERENCE: a deferred BEGIN that turns to writing fails at once, whatever the time-out.
    return _sqlite(path, connect, "BEGIN IMMEDIATE", pool_timeout=0, pool_size=1, max_overflow=0)


def open_sqlite(path: Path, wait_s: float) -> sqlite3.Connection:
    """Open a database file that exists; `wait_s` is SQLite's own patience with locks."""
    # mode=rw: a file that has gone is an outage, not an occasion to start afresh.
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw",
        uri=True,
        timeout=wait_s,
        # The driver's own transaction handling is off: we say BEGIN, it only says COMMIT.
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )


def _sqlite(path: Path, connect: Callable[[], Any], begin: str, **pool: Any) -> Engine:
    pool.setdefault("max_overflow", _POOL_OVERFLOW["sqlite"])
    engine = create_engine(
        "sqlite://", creator=connect, poolclass=QueuePool, hide_parameters=True, **pool
    )

    # An unlinked file can be written for ever without an error, and nothing of it stays.
    @event.listens_for(engine, "connect")
    def note_file(_: Any, record: Any) -> None:
        record.info["path"], record.info["file"] = path, _identity(path)

    @event.listens_for(engine, "checkout")
    def check_file(_: Any, record: Any, __: Any) -> None:
        if not _is_same_file(record.info):
            raise DisconnectionError("the database file was replaced or removed")

    @event.listens_for(engine, "begin")
    def say_begin(connection: Connection) -> None:
        raw: Any = connection.connection.driver_connection
        raw.execute(begin)

    return engine


def is_current(connection: Connection) -> bool:
    """Tell whether a connection that was kept since, to SQLite, has the database's file still."""
    return _is_same_file(connection.info)


def _is_same_file(info: Mapping[str, Any]) -> bool:
    return bool(info["file"] == _identity(info["path"]))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - a third of Path.stat()'s time, on every checkout
    except OSError:
        return None
    return status.st_dev, status.st_ino


def postgresql(url: URL, wait_s: float) -> Engine:
    """Make an engine whose connections give up rather than wait for ever."""
    # Here, since who keeps everything in SQLite needs no psycopg.
    from mwl.db.pipeline import Pipeline

    wait_ms = int(wait_s * 1000)
    bounds = {
        "lock_timeout": wait_ms,
        "statement_timeout": _STATEMENT_MS,
        "idle_in_transaction_session_timeout": _IDLE_IN_TRANSACTION_MS,
        "timezone": "UTC",
        # A connection keeps the plan of a prepared statement, and makes it while the tables are
        # still empty: to walk them looks cheapest then, and goes on when they have a million
        # rows. What has no index to use is walked all the same.
        "enable_seqscan": "off",
    }
    ours = {
        "application_name": "mwl-bridge",
        "client_encoding": "utf8",
        "connect_timeout": max(2, round(wait_s)),  # libpq takes less than 2 s for 2 s
        "tcp_user_timeout": wait_ms,
        "keepalives_idle": 30,  # firewalls forget silent connections
        "prepare_threshold": None,  # psycopg's DEALLOCATE ALL would take the pipeline's as well
    }
    # What the operator wrote into the URL goes before what we think.
    arguments: dict[str, Any] = {k: v for k, v in ours.items() if k not in url.query}
    options = [f"-c {name}={value}" for name, value in bounds.items()]
    arguments["options"] = " ".join([*options, *_texts(url.query.get("options", ()))])
    engine = create_engine(
        url,
        connect_args=arguments,
        pool_size=_POOL,
        max_overflow=_POOL_OVERFLOW["postgresql"],
        pool_timeout=wait_s,
        pool_recycle=_RECYCLE_S,
        pool_use_lifo=True,
        hide_parameters=True,
    )

    # Cheaper than a ping (2 µs, no round trip): between transactions the server has nothing
    # to say, so a socket that can be read brings a farewell or the end of the stream.
    @event.listens_for(engine, "checkout")
    def check_socket(connection: Any, _: Any, __: Any) -> None:
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        if poll.poll(0):
            raise DisconnectionError("the server closed the connection")

    @event.listens_for(engine, "connect")
    def lay_pipeline(connection: Any, record: Any) -> None:
        _make_durable(connection)
        record.info["pipeline"] = Pipeline(connection)

    # SQLAlchemy's own statements go behind those that are under way.
    @event.listens_for(engine, "before_cursor_execute")
    def settle(connection: Connection, *_: Any) -> None:
        connection.info["pipeline"].settle()

    @event.listens_for(engine, "rollback")
    def abandon(connection: Connection) -> None:
        if not connection.invalidated:
            connection.info["pipeline"].abandon()

    @event.listens_for(engine, "handle_error")
    def keep_secrets(context: ExceptionContext) -> None:
        quieten(context.original_exception)
        if context.sqlalchemy_exception is not None:
            context.sqlalchemy_exception.args = context.original_exception.args

    return engine


def _make_durable(connection: Any) -> None:
    """Have COMMIT wait for the disk, where the server's settings say that it needn't.

    `local` and `remote_write` stay, and what is stronger: they wait for one disk at least.
    """
    connection.autocommit = True  # or a rollback would take it back
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false)"
        " WHERE current_setting('synchronous_commit') = 'off'"
    )
    connection.autocommit = False


def _texts(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value
