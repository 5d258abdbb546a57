"""Bring the database to the revision that this program needs.

Migrations go forward only: the way back is the backup. Each run is one transaction on both
databases, so that a failure leaves what was there.
"""

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from mwl.db import engine
from mwl.db.database import Database
from mwl.db.faults import outage
from mwl.errors import ConfigError, Outage

log = structlog.get_logger(__name__)

# The newest file in migrations/versions; a constant, so that a start that has nothing to
# migrate need not import Alembic (0.2 s).
REVISION: Final = "0006"

_SCRIPTS = Path(__file__).with_name("migrations")
_LOCK_KEY = 0x6D776C  # "mwl": one number for all who migrate this PostgreSQL database
_POLL_S = 0.25


def upgrade(url: str, data_dir: Path) -> None:
    """Create the database or migrate it, one process at a time.

    Raises ConfigError where it can't live, or was made by a newer program; Outage.
    """
    parsed = engine.parse(url, data_dir)
    try:
        if parsed.get_backend_name() == "sqlite":
            path = Path(parsed.database or "")
            with _file_lock(path):
                _create(path)
                _upgrade(_sqlite_engine(path))
        else:
            _upgrade(create_engine(parsed, poolclass=NullPool, hide_parameters=True))
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise outage(error) or error from None
    except OSError as error:
        raise ConfigError(f"database.url: {error.strerror}: {error.filename}") from None


def revision_matches(database: Database) -> bool:
    """Tell whether the database is at the revision of this program. Raises Outage."""
    return _revision_of(database) == REVISION


def wait_for_revision(database: Database, *, wait_s: float) -> None:
    """Return once another process has migrated the database. Raises Outage after `wait_s`."""
    deadline = time.monotonic() + wait_s
    while (trouble := _trouble(database)) is not None:
        if time.monotonic() >= deadline:
            raise trouble
        time.sleep(_POLL_S)


def _trouble(database: Database) -> Outage | None:
    try:
        found = _revision_of(database)
    except Outage as outage:
        return outage
    if found == REVISION:
        return None
    return Outage(
        f"database: its revision is {found or 'none'}, this program needs {REVISION}: "
        "`mwl serve` of this version migrates it"
    )


def _revision_of(database: Database) -> str | None:
    with database.read() as session:
        return _revision(session.connection())


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _upgrade(migrator: Engine) -> None:
    with migrator.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
        before = _revision(connection)
        if before == REVISION:
            return
        _run_alembic(connection)
        if (
            connection.dialect.name == "sqlite"
            and connection.execute(text("PRAGMA foreign_key_check")).first()
        ):
            raise ConfigError("database.url: the migration would leave rows without their parents")
        log.info("database.migrated", before=before, after=REVISION)


def _run_alembic(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise ConfigError(f"database.url: made by another version of mwl? {error}") from None


def _sqlite_engine(path: Path) -> Engine:
    # Foreign keys stay off: copying a table would delete what refers to it.
    migrator = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(path, isolation_level=None, timeout=30),
        poolclass=NullPool,
        hide_parameters=True,
    )

    @event.listens_for(migrator, "begin")
    def say_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return migrator


def _create(path: Path) -> None:
    """Make the file, for our eyes only, with a write-ahead log, which it keeps for good."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=30)
    try:
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    finally:
        connection.close()
    if mode != "wal":
        raise ConfigError(f"database.url: {path}: no write-ahead log here (a network share?)")


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.with_name(f"{path.name}-migrate.lock")
    file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
