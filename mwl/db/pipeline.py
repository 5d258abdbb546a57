"""What is asked of PostgreSQL, sent ahead of the answers.

A round trip costs both sides a wait and a change of context, more than most statements do.
libpq's pipeline mode needs one for as many statements as don't depend on each other's
answers: an order is eleven statements in two flights, the second of which ends in COMMIT.

Between flights the connection is as psycopg left it, so that SQLAlchemy and psycopg's
cursors may use it in turn; engine.py lands what is under way before they do.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple, Protocol

import psycopg
from psycopg import IsolationLevel, generators
from psycopg.abc import Buffer, PQGen
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, Format, PipelineStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from sqlalchemy import Connection

from mwl.db.faults import wrapped
from mwl.errors import Outage

# What the server may have answered before we read the first of it.
_LONGEST_FLIGHT: Final = 64

# Statements that the server keeps for a connection, in its memory.
_MOST_KEPT: Final = 256

_FORMATS: Final = {False: Format.TEXT, True: Format.BINARY}


def _dump_text(value: str) -> bytes:
    # libpq would end it there without a word.
    if "\0" in value:
        raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return value.encode()


@lru_cache(maxsize=256)
def _dump_instant(value: datetime) -> bytes:
    # One transaction writes the same instant a dozen times; equal ones are the same to us.
    return str(value).encode()


# How nearly all values are written: in a fifth of the time that psycopg's dumpers take,
# which were half of what a statement costs us. Bytes are the only ones sent as they are.
_DUMPS: Final[dict[type, Callable[[Any], Buffer | None]]] = {
    str: _dump_text,
    type(None): lambda _: None,
    int: lambda value: b"%d" % value,
    datetime: _dump_instant,
    psycopg.Binary: lambda value: value.obj,
}


# What comes for every statement is compared with numbers: members of an enumeration cost
# more to look up than the rest of the comparison.
_FAILED: Final = frozenset({int(ExecStatus.FATAL_ERROR), int(ExecStatus.PIPELINE_ABORTED)})


class Statement:
    """A statement as PostgreSQL keeps it for a connection: prepared, under a name."""

    _count = 0

    def __init__(self, text: str, is_binary: Sequence[bool]) -> None:
        """Name `text`, whose parameters are `$1` …; `is_binary` tells which of them are bytes."""
        Statement._count += 1
        self.name = b"mwl_%d" % Statement._count
        self.text = text.encode()
        self.formats = [_FORMATS[each] for each in is_binary]


class Answer(Protocol):
    """Who waits for the answer to one statement."""

    def settle(self, found: Sequence[Any], count: int) -> None:
        """Take the rows, and the number of rows changed."""

    def fail(self, error: Exception) -> Exception:
        """Make the error to raise from the driver's."""


class _Sent(NamedTuple):
    answer: Answer
    is_ours: bool = False  # the answer's own statement comes later
    prepares: bytes | None = None


class _Commit:
    """COMMIT waits for its answer like other statements, and has nothing to tell."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def settle(self, found: Sequence[Any], count: int) -> None:
        """Be content."""

    def fail(self, error: Exception) -> Exception:
        driver: Any = self._connection.connection.driver_connection
        if driver.closed:
            return Outage("database: the connection broke at the commit, its outcome is open")
        return wrapped(error, "COMMIT", self._connection.dialect)


class Pipeline:
    """The statements under way on one connection of psycopg."""

    def __init__(self, driver: "psycopg.Connection[Any]") -> None:
        self._driver = driver
        self._pgconn = driver.pgconn
        self._dumper = Transformer(driver)
        self._loader = Transformer(driver)
        self._kept: dict[bytes, None] = {}  # names, the one that was longest unused first
        self._flight: list[_Sent] = []

    def send(self, statement: Statement, values: Sequence[Any], answer: Answer) -> None:
        """Ask without waiting; `settle()` gives `answer` what was found."""
        if len(self._flight) >= _LONGEST_FLIGHT:
            self.settle()
        try:
            dumps, other = _DUMPS.get, self._dump
            bound = [dumps(type(value), other)(value) for value in values]
            if not self._flight:
                self._take_off(answer)
            self._keep(statement, answer)
            self._pgconn.send_query_prepared(statement.name, bound, statement.formats)
            self._flight.append(_Sent(answer))
        except psycopg.Error as error:
            raise answer.fail(error) from error

    def settle(self) -> None:
        """Wait for everything that was sent; raise the first error among the answers."""
        if not self._flight:
            return
        flight, self._flight = self._flight, []
        failed: list[tuple[Answer, psycopg.Error]] = []
        try:
            self._driver.wait(self._land(flight, failed))
        except psycopg.Error as error:
            failed.append((flight[-1].answer, error))
        finally:
            if self._pgconn.pipeline_status != PipelineStatus.OFF:
                self._driver.close()  # with half an answer on the wire nobody can go on
        if failed:
            answer, first = failed[0]
            raise answer.fail(first) from first

    def commit(self, connection: Connection) -> None:
        """Send COMMIT behind all that is under way, and wait; nothing was begun: do nothing.

        After an error of any statement before it the server passes COMMIT over. Raises
        Outage where the connection breaks and nobody can tell whether it was committed.
        """
        status = self._pgconn.transaction_status
        if status == TransactionStatus.INERROR:
            # PostgreSQL would answer with a quiet ROLLBACK.
            raise RuntimeError("work went on after an error of the database")
        if status == TransactionStatus.IDLE:
            return
        answer = _Commit(connection)
        if not self._flight:
            self._take_off(answer)
        self._pgconn.send_query_params(b"COMMIT", None)
        self._flight.append(_Sent(answer))
        self.settle()

    def abandon(self) -> None:
        """Wait for everything that was sent, whatever came of it."""
        with suppress(Exception):
            self.settle()

    def _dump(self, value: Any) -> Buffer | None:
        return self._dumper.get_dumper(value, PyFormat.TEXT).dump(value)

    def _take_off(self, answer: Answer) -> None:
        self._pgconn.enter_pipeline_mode()
        if self._pgconn.transaction_status == TransactionStatus.IDLE:
            driver = self._driver
            self._pgconn.send_query_params(_begin(driver.isolation_level, driver.read_only), None)
            self._flight.append(_Sent(answer, is_ours=True))

    def _keep(self, statement: Statement, answer: Answer) -> None:
        name = statement.name
        if name in self._kept:
            del self._kept[name]
        else:
            if len(self._kept) >= _MOST_KEPT:
                oldest = next(iter(self._kept))
                del self._kept[oldest]
                self._pgconn.send_query_params(b"DEALLOCATE " + oldest, None)
                self._flight.append(_Sent(answer, is_ours=True))
            self._pgconn.send_prepare(name, statement.text)
            self._flight.append(_Sent(answer, is_ours=True, prepares=name))
        self._kept[name] = None

    def _land(
        self, flight: Sequence[_Sent], failed: list[tuple[Answer, psycopg.Error]]
    ) -> PQGen[None]:
        self._pgconn.pipeline_sync()
        yield from generators.send(self._pgconn)
        pgconn = self._pgconn
        for sent in flight:
            # The answers come together: after the first there is seldom one to wait for.
            if pgconn.is_busy():
                result = yield from generators.fetch(pgconn)
            else:
                result = pgconn.get_result()
            assert result is not None
            pgconn.get_result()  # None, after each statement's results
            status = result.status
            if status in _FAILED:
                if sent.prepares is not None:
                    self._kept.pop(sent.prepares, None)
                if status == ExecStatus.FATAL_ERROR:
                    failed.append((sent.answer, error_from_result(result)))
            elif not sent.is_ours:
                sent.answer.settle(self._rows(result), result.command_tuples or 0)
        yield from generators.fetch(self._pgconn)  # the answer to the sync
        self._pgconn.exit_pipeline_mode()

    def _rows(self, result: PGresult) -> Sequence[Any]:
        if not result.ntuples:
            return ()
        self._loader.set_pgresult(result)
        return self._loader.load_rows(0, result.ntuples, tuple)


@cache
def _begin(level: IsolationLevel | None, read_only: bool | None) -> bytes:
    """Write the BEGIN that psycopg would say before a statement of such a connection."""
    words = ["BEGIN"]
    if level is not None:
        words.append(f"ISOLATION LEVEL {level.name.replace('_', ' ')}")
    if read_only:
        words.append("READ ONLY")
    return " ".join(words).encode()
