"""Transactions on PostgreSQL: one a thread; the server itself groups their commits."""

import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlmodel import Session

from mwl.db.faults import is_retriable, outage
from mwl.db.session import WriteSession

T = TypeVar("T")

_MOST_COLLISIONS = 6
_FIRST_PAUSE_S = 0.005


# To give a connection back to the pool and take it again is a tenth of an order's time, so
# who has written leaves it for the next. No more of them than leaves readers their half.
_MOST_RESTING: Final = 8
_LONGEST_REST_S: Final = 0.2  # then the pool shall look whether the server is still there


class _Undone(Exception):
    """The transaction was undone, for no fault of the work; `error` is the driver's reason."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class _Collided(_Undone):
    """The server gave it up for the sake of another transaction."""


class _Disconnected(_Undone):
    """The connection broke before COMMIT was sent."""


class Transactions:
    """Run units of work, each in a transaction of its own."""

    def __init__(self, engine: Engine) -> None:
        """Write through `engine`."""
        self._engine = engine
        self._resting: deque[tuple[float, Connection]] = deque()

    def close(self) -> None:
        """Give back the connections that nobody uses just now."""
        with suppress(IndexError):
            while True:
                self._resting.pop()[1].close()

    def write(self, work: Callable[[Session], T]) -> T:
        """Run `work` and return its result after the commit. Raises what it raises, Outage."""
        try:
            try:
                return self._persist(work)
            except _Disconnected:
                # The server was restarted perhaps, and is there again.
                return self._persist(work)
        except _Undone as undone:
            raise outage(undone.error) or undone.error from None
        except SQLAlchemyError as error:
            raise outage(error) or error from None

    def _persist(self, work: Callable[[Session], T]) -> T:
        for collisions in range(_MOST_COLLISIONS):
            try:
                return self._once(work)
            except _Collided:
                # Random, so that those who collided don't come back in step.
                time.sleep(random.uniform(0, _FIRST_PAUSE_S * 2**collisions))  # noqa: S311
        return self._once(work)

    def _once(self, work: Callable[[Session], T]) -> T:
        with self._connection() as connection:
            driver: Any = connection.connection.driver_connection
            # No transaction of SQLAlchemy's is begun: it would cost more than a statement,
            # and most work needs none. What the ORM or Core begins ends with the session.
            session = WriteSession(connection)
            try:
                result = work(session)
                session.flush()
                connection.info["pipeline"].commit(connection)
            except Exception as error:
                _undo(connection, driver)
                if is_retriable(error):
                    raise _Collided(error) from error
                if driver.closed and isinstance(error, DBAPIError):
                    raise _Disconnected(error) from error
                raise
            finally:
                with suppress(SQLAlchemyError):
                    session.close()
            if connection.in_transaction():
                connection.commit()  # for SQLAlchemy's books: the server has nothing to do
            return result

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        connection = self._take()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        if len(self._resting) < _MOST_RESTING:
            self._resting.append((time.monotonic(), connection))
        else:
            connection.close()

    def _take(self) -> Connection:
        with suppress(IndexError):
            since, connection = self._resting.pop()
            if time.monotonic() - since < _LONGEST_REST_S:
                return connection
            connection.close()
        return self._engine.connect()


def _undo(connection: Connection, driver: Any) -> None:
    if driver.closed:
        connection.invalidate()
    with suppress(SQLAlchemyError):
        if not connection.in_transaction():
            connection.begin()
        connection.rollback()
