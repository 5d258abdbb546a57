"""Group commit: threads that write at the same time share one transaction on SQLite.

A commit costs an fsync, whether it carries one order or twenty. So a thread that wants to
write joins a queue. If nobody leads, it leads: it takes the gate, does its own work and,
each in a savepoint, the work that has queued up meanwhile, commits once, and wakes all
whose work that was. Then it hands the lead to the next in the queue and goes its way: a
leader serves one group. Who has been told that something is written can rely on it, since
nobody is woken before the commit is on disk.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Final

from sqlalchemy import Connection, Engine
from sqlmodel import Session

from mwl.db.engine import is_current
from mwl.db.faults import outage
from mwl.db.gate import FileGate
from mwl.db.session import WriteSession
from mwl.errors import Outage

# Bounds of a group: the first in it shall not wait long for the last.
_MOST_WORKS: Final = 64
_LONGEST_S: Final = 0.020

_LOST: Final = "database: the transaction was given up"


class _Ticket:
    """One thread's work and what became of it; `signal` wakes the thread, once."""

    __slots__ = ("context", "deadline", "error", "result", "settled", "signal", "thread", "work")

    def __init__(self, work: Callable[[Session], Any], deadline: float) -> None:
        self.work = work
        self.deadline = deadline
        self.thread = threading.get_ident()
        # The leader's thread does the work, but its log lines are about our peer.
        self.context = copy_context()
        self.result: Any = None
        self.error: BaseException | None = None
        self.settled = False
        self.signal = threading.Lock()
        self.signal.acquire()

    def fail(self, error: BaseException) -> None:
        self.error, self.settled = error, True


class GroupCommit:
    """Run units of work, each of them whole or not at all, in shared transactions."""

    def __init__(self, engine: Engine, gate: FileGate, wait_s: float) -> None:
        """Write through `engine`, whose transactions begin IMMEDIATE."""
        self._engine = engine
        self._gate = gate
        self._wait_s = wait_s
        self._mutex = threading.Lock()
        self._queue: deque[_Ticket] = deque()
        self._leader: int | None = None
        # Between groups the leader's; to give it back and take it again would be a quarter
        # of a transaction's time.
        self._connection: Connection | None = None

    def close(self) -> None:
        """Give up the connection. Nobody may write any more."""
        if self._connection is not None:
            self._connection.close()

    def write(self, work: Callable[[Session], Any]) -> Any:
        """Run `work` and return its result once it is on disk. Raises what it raises, Outage."""
        ticket = _Ticket(work, time.monotonic() + self._wait_s)
        if not self._leads_at_once(ticket):
            self._wait(ticket)
        if not ticket.settled:
            self._lead(ticket)
        if ticket.error is not None:
            raise ticket.error
        return ticket.result

    def _leads_at_once(self, ticket: _Ticket) -> bool:
        with self._mutex:
            if self._leader is None:
                self._leader = ticket.thread
                return True
            if self._leader == ticket.thread:
                raise RuntimeError("work in Database.write() may not write() itself")
            self._queue.append(ticket)
            return False

    def _wait(self, ticket: _Ticket) -> None:
        """Return when the work is settled, or when it is our turn to lead."""
        try:
            if ticket.signal.acquire(timeout=max(0.0, ticket.deadline - time.monotonic())):
                return
            if self._withdraw(ticket):
                ticket.fail(Outage("database: no turn to write in time"))
                return
            # A leader has it in hand, and a leader settles what it took.
            ticket.signal.acquire()
        except BaseException:  # a signal handler's: we go, and the queue goes on without us
            if not self._withdraw(ticket):
                ticket.signal.acquire(timeout=self._wait_s)
                if not ticket.settled:
                    self._hand_over()
            raise

    def _withdraw(self, ticket: _Ticket) -> bool:
        with self._mutex:
            if ticket in self._queue:
                self._queue.remove(ticket)
                return True
            return False

    def _lead(self, ticket: _Ticket) -> None:
        group = [ticket]
        try:
            with self._gate.held(ticket.deadline):
                self._transact(group)
        except BaseException as error:
            _fail_all(group, error)
            if not isinstance(error, Exception):
                raise  # a signal handler's, meant for the thread
        finally:
            self._hand_over()
            for member in group[1:]:
                member.signal.release()

    def _hand_over(self) -> None:
        with self._mutex:
            if self._queue:
                # Not settled, so it leads as soon as it wakes.
                heir = self._queue.popleft()
                self._leader = heir.thread
                heir.signal.release()
            else:
                self._leader = None

    def _transact(self, group: list[_Ticket]) -> None:
        connection = self._connected()
        try:
            self._settle(group, connection)
        except BaseException:
            # Whatever state it is in, nobody shall meet it there.
            self._connection = None
            connection.invalidate()
            connection.close()
            raise

    def _connected(self) -> Connection:
        connection, self._connection = self._connection, None
        if connection is not None and not is_current(connection):
            connection.close()
            connection = None
        self._connection = connection or self._engine.connect()
        return self._connection

    def _settle(self, group: list[_Ticket], connection: Connection) -> None:
        end = time.monotonic() + _LONGEST_S
        raw = connection.connection.driver_connection
        assert raw is not None
        left_s = max(0.0, group[0].deadline - time.monotonic())
        raw.execute(f"PRAGMA busy_timeout = {int(left_s * 1000)}")
        transaction = connection.begin()
        session = WriteSession(connection)
        # The first needs no savepoint: before it there is nothing to keep.
        if not _perform(group[0], session):
            transaction.rollback()
            return
        session.share()
        while len(group) < _MOST_WORKS and time.monotonic() < end and self._take(group):
            _perform_apart(group[-1], session, raw)
        _ensure_open(raw)
        transaction.commit()
        for member in group:
            member.settled = True

    def _take(self, group: list[_Ticket]) -> bool:
        with self._mutex:
            if self._queue:
                group.append(self._queue.popleft())
                return True
            return False


def _perform(ticket: _Ticket, session: WriteSession) -> bool:
    """Do one work; tell whether it may be kept. What it raised is its caller's alone."""
    try:
        try:
            ticket.result = ticket.context.run(ticket.work, session)
            session.settle()
        finally:
            session.close()
    except Exception as error:
        ticket.fail(outage(error) or error)
        return False
    return True


def _perform_apart(ticket: _Ticket, session: WriteSession, raw: Any) -> None:
    raw.execute("SAVEPOINT work")
    kept = _perform(ticket, session)
    _ensure_open(raw)
    if not kept:
        raw.execute("ROLLBACK TO work")
    raw.execute("RELEASE work")


def _ensure_open(raw: Any) -> None:
    # Out of space or memory, SQLite may give up the whole transaction by itself, and what
    # is executed after that would be committed statement by statement.
    if not raw.in_transaction:
        raise Outage(_LOST)


def _fail_all(group: list[_Ticket], error: BaseException) -> None:
    """Tell every member that nothing was kept, unless its own work had failed already."""
    leader, *others = group
    trouble = outage(error) or error
    if not leader.settled:
        leader.fail(trouble)
    for member in others:
        if not member.settled:
            member.fail(Outage(str(trouble) if isinstance(trouble, Outage) else _LOST))
