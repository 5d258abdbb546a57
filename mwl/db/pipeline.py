"""What is asked of PostgreSQL, sent ahead of the answers.

A round trip costs both sides a wait and a change of context, more than most statements do.
libpq's pipeline mode needs one for as many statements as don't depend on each other's
answers: an order is eleven statements in three flights, the last of them COMMIT.

Between flights the connection is as psycopg left it, so that SQLAlchemy and psycopg's
cursors may use it in turn; engine.py lands what is under way before they do.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, Protocol

import psycopg
from psycopg import generators
from psycopg.abc import PQGen
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, PipelineStatus, TransactionStatus
from psycopg.pq.abc import PGresult

# What the server may have answered before we read the first of it.
_LONGEST_FLIGHT: Final = 64

# Statements that the server keeps for a connection, in its memory.
_MOST_KEPT: Final = 256

_FORMATS: Final = {False: PyFormat.TEXT, True: PyFormat.BINARY}


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


class Pipeline:
    """The statements under way on one connection of psycopg."""

    def __init__(self, driver: "psycopg.Connection[Any]") -> None:
        self._driver = driver
        self._pgconn = driver.pgconn
        self._dumper = Transformer(driver)
        self._kept: dict[bytes, None] = {}  # names, the one that was longest unused first
        self._flight: list[_Sent] = []

    def send(self, statement: Statement, values: Sequence[Any], answer: Answer) -> None:
        """Ask without waiting; `settle()` gives `answer` what was found."""
        if len(self._flight) >= _LONGEST_FLIGHT:
            self.settle()
        try:
            bound = self._dumper.dump_sequence(values, statement.formats)
            if not self._flight:
                self._take_off(answer)
            self._keep(statement, answer)
            self._pgconn.send_query_prepared(statement.name, bound, self._dumper.formats)
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

    def abandon(self) -> None:
        """Wait for everything that was sent, whatever came of it."""
        with suppress(Exception):
            self.settle()

    def _take_off(self, answer: Answer) -> None:
        self._pgconn.enter_pipeline_mode()
        if self._pgconn.transaction_status == TransactionStatus.IDLE:
            self._pgconn.send_query_params(_begin(self._driver), None)
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
        for sent in flight:
            result = yield from generators.fetch(self._pgconn)
            assert result is not None
            self._pgconn.get_result()  # None, after each statement's results
            if result.status in (ExecStatus.FATAL_ERROR, ExecStatus.PIPELINE_ABORTED):
                if sent.prepares is not None:
                    self._kept.pop(sent.prepares, None)
                if result.status == ExecStatus.FATAL_ERROR:
                    failed.append((sent.answer, error_from_result(result)))
            elif not sent.is_ours:
                sent.answer.settle(self._rows(result), result.command_tuples or 0)
        yield from generators.fetch(self._pgconn)  # the answer to the sync
        self._pgconn.exit_pipeline_mode()

    def _rows(self, result: PGresult) -> Sequence[Any]:
        if not result.ntuples:
            return ()
        loader = Transformer(self._driver)
        loader.set_pgresult(result)
        return loader.load_rows(0, result.ntuples, tuple)


def _begin(driver: "psycopg.Connection[Any]") -> bytes:
    """Write the BEGIN that psycopg would say before a statement of this connection."""
    level = driver.isolation_level
    words = ["BEGIN"]
    if level is not None:
        words.append(f"ISOLATION LEVEL {level.name.replace('_', ' ')}")
    if driver.read_only:
        words.append("READ ONLY")
    return " ".join(words).encode()
