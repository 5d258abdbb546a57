"""What the drivers raise, in our words, without the data that was in the statement."""

import sqlite3
from typing import Any

from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from mwl.errors import ConfigError, Outage

# The statement was at fault, not the database: it would fail again.
_OURS = (DataError, IntegrityError, NotSupportedError, ProgrammingError)

_MEANING = {
    "SQLITE_BUSY": "another program holds its write lock",
    "SQLITE_CANTOPEN": "its file is missing or can't be opened",
    "SQLITE_CORRUPT": "its file is damaged",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_IOERR": "its disk can't be read or written",
    "SQLITE_NOTADB": "its file holds something else",
    "SQLITE_READONLY": "its file may not be written",
    "42501": "its user lost a permission",
    "42703": "a column of ours is not there",
    "42P01": "a table of ours is not there",
    "25006": "it is a read-only standby",
    "53100": "the disk is full",
    "53300": "it has no connection left",
    "55P03": "a lock was not free in time",
    "57014": "a statement took too long",
    "57P01": "it is shutting down",
    "57P03": "it is starting up or shutting down",
}
# A ProgrammingError to drivers, yet somebody's work on the database; SQLite calls it
# operational too.
_ALTERED = frozenset({"42501", "42703", "42P01"})
# PostgreSQL gave up this transaction for another's sake; run again it may well succeed:
# 40001 serialization_failure, 40P01 deadlock_detected.
_RETRIABLE = frozenset({"40001", "40P01"})


def outage(error: BaseException) -> Outage | ConfigError | None:
    """Say what `error` means if the database or its URL is to blame; None if neither is.

    Only the code is taken over; a failed connection has none, and what it says is quoted.
    """
    if isinstance(error, PoolTimeoutError):
        return Outage("database: all connections of this process are busy")
    if isinstance(error, sqlite3.OperationalError):
        return _named(error, type(error).__name__)
    if not isinstance(error, DBAPIError):
        return None
    if error.statement is None and _code(error.orig) is None:
        return _unconnected(error)
    is_ours = isinstance(error, _OURS) and _code(error.orig) not in _ALTERED
    return None if is_ours else _named(error.orig, type(error).__name__)


def _unconnected(error: DBAPIError) -> Outage | ConfigError | None:
    text = str(error.orig).partition("\n")[0]
    if isinstance(error, ProgrammingError) and hasattr(error.orig, "sqlstate"):
        # From psycopg: libpq knows no such option, or no such value of it.
        return ConfigError(f"database.url: {text}")
    return None if isinstance(error, _OURS) else Outage(f"database: {text}")


def _named(error: BaseException | None, name: str) -> Outage:
    code = _code(error)
    if code is None:
        return Outage("database: the connection was lost")
    # SQLite's extended codes (SQLITE_IOERR_FSYNC, …) begin with the plain one.
    plain = next((known for known in _MEANING if code.startswith(known)), code)
    return Outage(f"database: {_MEANING.get(plain, name)} ({code})")


def is_retriable(error: BaseException) -> bool:
    """Tell whether the whole transaction may be run again because others were in its way."""
    return isinstance(error, DBAPIError) and _code(error.orig) in _RETRIABLE


def quieten(error: BaseException) -> None:
    """Take from what psycopg tells the parts that may quote values; SQLite quotes none."""
    diagnosis = getattr(error, "diag", None)
    if diagnosis is None or diagnosis.sqlstate is None:
        return
    state: str = diagnosis.sqlstate
    # Class 22, data exception: 'invalid input syntax for type integer: "Doe^John"'. In the
    # others it is DETAIL that quotes: 'Key (patient_id)=(4711) already exists'.
    primary = "" if state.startswith("22") else diagnosis.message_primary or ""
    error.args = (f"{state} {primary}".rstrip(),)


def wrapped(error: Exception, statement: str, dialect: Any) -> SQLAlchemyError:
    """Dress a bare driver error as SQLAlchemy would, so that it is caught alike."""
    quieten(error)
    dressed: SQLAlchemyError = DBAPIError.instance(
        statement, None, error, dialect.dbapi.Error, hide_parameters=True, dialect=dialect
    )
    return dressed


def _code(error: BaseException | None) -> str | None:
    return getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None)
