"""Replay many messages of the journal: those that a filter finds, as they once came.

First rehearsed, all in one transaction that is undone, so that each message sees what the
ones before it would have done; then, if a person wants it, applied one after another, each
in a transaction of its own, until they are done or somebody says stop.

It can be run again at any time: what was accepted meanwhile is passed over, what would be
refused for the same reason as before is left as it is, without another line in the journal,
and replays are never replayed. Where it ended is told (`Course.after`), to go on from there.

Bounded: MOST messages and MOST_BYTES of text at once; a rehearsal of more than LEAST keeps
others from writing no longer than LONGEST_HELD_S. What is left is told.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from sqlmodel import Session

from hl7.rehearsal import Both, both, concerned
from hl7.replay import Attempt, Replay
from mwl import audit, journal
from mwl.audit import Action, Actor, Event
from mwl.db import Database, Savepoint
from mwl.errors import Outage, Rejected
from mwl.journal import Key, Overrides, Settled, State, Wanted
from mwl.worklist import differing, locks
from mwl.worklist.differing import Concerned, Difference

MOST: Final = 1_000
MOST_BYTES: Final = 64 * 1024 * 1024
LONGEST_HELD_S: Final = 1.0
LEAST: Final = 20  # messages that a rehearsal looks at, however long they take
_AT_ONCE: Final = 100  # messages that are looked up together
_MOST_LEFT: Final = 10_000  # messages that are counted of those left
_BEGINNING: Final = (datetime(1970, 1, 1, tzinfo=UTC), 0)


class Fate(StrEnum):
    """What becomes of a message of the range."""

    APPLIED = "applied"
    NOTED = "noted"  # understood; nothing to change
    STALE = "stale"  # something newer was applied before
    SAME = "refused as before"
    REFUSED = "refused otherwise"
    FAILED = "failed"
    ACCEPTED = "accepted before"  # passed over
    REPLAY = "a replay itself"  # passed over: what it repeats counts
    GONE = "its text is kept no longer"


_BY_STATE = {
    State.APPLIED: Fate.APPLIED,
    State.NOTED: Fate.NOTED,
    State.STALE: Fate.STALE,
    State.FAILED: Fate.FAILED,
}


@dataclass(frozen=True, slots=True)
class Tried:
    """One message of the range; `row` is its replay, where it was replayed."""

    message: int
    received_at: datetime
    control_id: str
    type: str
    fate: Fate
    error: str = ""
    flags: Sequence[str] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)  # `mwl.worklist.changed`
    row: int | None = None


@dataclass(frozen=True, slots=True)
class Course:
    """How a range went, or would go.

    `left` messages of it come behind (`more`: at least so many); `after` is where to go on,
    None at the end. `differences` are what all of them together would change.
    """

    tried: Sequence[Tried]
    left: int = 0
    more: bool = False
    after: Key | None = None
    differences: Sequence[Difference] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Count the messages by what becomes of them."""
        found = Counter(str(each.fate) for each in self.tried)
        return {str(fate): found[fate] for fate in Fate if found[fate]}


Listener = Callable[[Tried], object]


class Ranges:
    """Replays ranges of messages. Threads share it."""

    def __init__(self, database: Database, replay: Replay) -> None:
        self._database = database
        self._replay = replay

    def rehearse(
        self,
        wanted: Wanted,
        who: Actor,
        overrides: Overrides,
        *,
        now: datetime,
        after: Key | None = None,
    ) -> Course:
        """Tell what replaying them would do, and do nothing. Raises Rejected, Outage."""
        rows = self._rows(wanted, after, MOST)
        attempts = [*self._attempts(rows, who, overrides, lambda: now)]
        tried, written = self._database.rehearse(lambda session: self._try(session, attempts))
        return self._course(wanted, tried, differing.compare(*written))

    def apply(  # noqa: PLR0913 - what, by whom, how, how much of it, and who is told
        self,
        wanted: Wanted,
        who: Actor,
        overrides: Overrides,
        *,
        clock: Callable[[], datetime],
        after: Key | None = None,
        upto: Key | None = None,
        most: int = MOST,
        longest_s: float | None = None,
        tell: Listener = lambda _: None,
    ) -> Course:
        """Apply them one after another; `upto` is the last one, `tell` hears of each.

        It ends after `most` messages or `longest_s`, or when `tell` raises StopIteration.
        Raises Rejected, Outage.
        """
        deadline = None if longest_s is None else time.monotonic() + longest_s
        rows = self._rows(wanted, after, min(most, MOST))
        if upto is not None:
            rows = [row for row in rows if (row.received_at, row.id) <= upto]
        self._audit(wanted, who, overrides, len(rows), clock())
        tried: list[Tried] = []
        for row, attempt in self._attempts(rows, who, overrides, clock):
            tried.append(attempt if isinstance(attempt, Tried) else self._perform(row, attempt))
            try:
                tell(tried[-1])
            except StopIteration:
                break
            if deadline is not None and time.monotonic() > deadline:
                break
        return self._course(wanted, tried, (), upto)

    def _rows(self, wanted: Wanted, after: Key | None, most: int) -> list[Any]:
        """Give the first messages behind `after`, as they came."""
        start = after or ((wanted.since, 0) if wanted.since else _BEGINNING)
        with self._database.read() as session:
            return [*journal.search(session, wanted, before=start, limit=most)][::-1]

    def _attempts(
        self, rows: Sequence[Any], who: Actor, overrides: Overrides, clock: Callable[[], datetime]
    ) -> Iterator[tuple[Any, Attempt | Tried]]:
        """Read messages, as many as there may be at once; give what can't be replayed as tried."""
        size = 0
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            with self._database.read() as session:
                texts = {each.id: each for each in journal.texts(session, [r.id for r in some])}
            for row in some:
                text = texts[row.id]
                size += len(text.raw)
                if size > MOST_BYTES and size > len(text.raw):
                    return
                if row.replay_of is not None:
                    yield row, _tried(row, Fate.REPLAY)
                elif not text.raw:
                    yield row, _tried(row, Fate.GONE)
                else:
                    yield row, self._replay.prepare(text, who, overrides, clock())

    # ---- rehearsed --------------------------------------------------------------------

    def _try(
        self, session: Session, attempts: Sequence[tuple[Any, Attempt | Tried]]
    ) -> tuple[list[Tried], Both]:
        # Everybody else who applies messages waits, instead of one for the other in a circle.
        locks.take_merges(session.connection())
        start = Savepoint(session, "rehearsal")
        deadline = time.monotonic() + LONGEST_HELD_S
        tried: list[Tried] = []
        about = Concerned()
        for row, attempt in attempts:
            if isinstance(attempt, Tried):
                tried.append(attempt)
                continue
            became, settled = self._try_one(session, row, attempt)
            tried.append(became)
            if settled is not None:
                about.join(concerned(attempt.incoming, settled))
            if len(tried) >= LEAST and time.monotonic() > deadline:
                break
        return tried, both(session, start, about)

    def _try_one(
        self, session: Session, row: Any, attempt: Attempt
    ) -> tuple[Tried, Settled | None]:
        if _is_accepted(session, attempt):
            return _tried(row, Fate.ACCEPTED), None
        if attempt.refused is not None:
            return _refused(row, attempt, attempt.refused), None
        start = Savepoint(session, "message")
        try:
            _, settled = attempt.perform(session)
            start.settle()
        except Rejected as error:
            start.undo()
            return _refused(row, attempt, self._replay.reject(attempt, error)), None
        except journal.Repeated:
            start.undo()
            return _tried(row, Fate.ACCEPTED), None
        except Outage:
            raise
        except Exception as error:
            start.undo()
            return _refused(row, attempt, self._replay.defect(attempt, error)), None
        start.release()
        return _settled(row, settled), settled

    # ---- applied ----------------------------------------------------------------------

    def _perform(self, row: Any, attempt: Attempt) -> Tried:
        with self._database.read() as session:
            if _is_accepted(session, attempt):
                return _tried(row, Fate.ACCEPTED)
        if attempt.refused is not None:
            return self._keep(row, attempt, attempt.refused)
        try:
            replayed, settled = self._database.write(attempt.perform)
        except Rejected as error:
            return self._keep(row, attempt, self._replay.reject(attempt, error))
        except journal.Repeated:
            return _tried(row, Fate.ACCEPTED)
        except Outage:
            raise
        except Exception as error:
            return self._keep(row, attempt, self._replay.defect(attempt, error))
        return replace(_settled(row, settled), row=replayed.row)

    def _keep(self, row: Any, attempt: Attempt, settled: Settled) -> Tried:
        """Journal a refusal, unless that is no news."""
        tried = _refused(row, attempt, settled)
        if tried.fate is Fate.SAME:
            return tried
        replayed = self._database.write(lambda session: attempt.keep(session, settled))
        return replace(tried, row=replayed.row)

    def _audit(
        self, wanted: Wanted, who: Actor, overrides: Overrides, count: int, now: datetime
    ) -> None:
        given = {name: value for name in _FILTERS if (value := getattr(wanted, name))}
        detail = {
            **{name: str(value) for name, value in given.items()},
            "messages": count,
            "although accepted": overrides.accepted,
            "although older": overrides.older,
        }
        event = Event(Action.REPLAY, "messages", detail)
        self._database.write(lambda session: audit.record(session, who, event, now=now))

    def _course(
        self,
        wanted: Wanted,
        tried: Sequence[Tried],
        found: Sequence[Difference],
        upto: Key | None = None,
    ) -> Course:
        """Count what is left behind the last one."""
        if not tried:
            return Course(tried)
        last = (tried[-1].received_at, tried[-1].message)
        with self._database.read() as session:
            rows = journal.search(session, wanted, before=last, limit=_MOST_LEFT + 1)
        left = [
            row
            for row in rows
            if row.replay_of is None and (upto is None or (row.received_at, row.id) <= upto)
        ]
        more = len(rows) > _MOST_LEFT
        return Course(tried, len(left), more, last if left else None, found)


_FILTERS = (
    *("text", "control_id", "patient", "accession", "source", "type", "state", "error"),
    *("flagged", "since", "until"),
)


def _is_accepted(session: Session, attempt: Attempt) -> bool:
    if attempt.overrides.accepted:
        return False
    return journal.accepted(session, attempt.incoming.received) is not None


def _tried(row: Any, fate: Fate, **more: Any) -> Tried:
    return Tried(row.id, row.received_at, row.control_id, row.type, fate, **more)


def _settled(row: Any, settled: Settled) -> Tried:
    fate = _BY_STATE[State(settled.state)]
    return _tried(row, fate, flags=settled.flags, changes=settled.changes)


def _refused(row: Any, attempt: Attempt, settled: Settled) -> Tried:
    is_same = (str(settled.state), settled.error) in attempt.text.known
    fate = Fate.SAME if is_same else Fate.REFUSED
    if settled.state is State.FAILED and not is_same:
        fate = Fate.FAILED
    return _tried(row, fate, error=settled.error)
