"""Requests are judged: one claimed at a time, so that any number of nodes share the work.

A pass looks at every instance that is not decided yet. What is decided is written down as it
goes; whoever comes after a crash goes on from there. A pass over a large request ends after
`SLICE_S`, and others have their turn. Bytes are read at a bounded speed: there is no hurry,
and scanners store meanwhile.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import structlog
from sqlalchemy import bindparam, or_, select, update
from sqlmodel import Session

from mwl.commitment import lookup
from mwl.commitment.outcome import settle
from mwl.commitment.rules import Failure, Held, Reference, State, judge, pause
from mwl.db import Database
from mwl.db.tables import Commitment, CommitmentItem
from mwl.devices.titles import own
from mwl.errors import Outage
from mwl.objects import Missing, ObjectStore

log = structlog.get_logger(__name__)

SLICE_S = 5.0
CLAIM = timedelta(seconds=60)
_RENEW_S = 10.0
_PAGE = 200  # instances looked up at once
_BYTES_PER_S = 100 * 1024 * 1024
_LONGEST_NAP_S = 0.5
# Our own trouble with the bytes is waited out for so long at least, then it is the answer.
_PATIENCE = timedelta(minutes=10)
_RETRY = timedelta(seconds=10)

_REQUEST = Commitment.__table__  # type: ignore[attr-defined]
_ITEM = CommitmentItem.__table__  # type: ignore[attr-defined]


_DECIDE = (
    update(_ITEM)
    .where(_ITEM.c.id == bindparam("item"))
    .values(failure=bindparam("failure_"), stored_object=bindparam("stored_object_"))
)


class _Lost(Exception):
    """Another node has the claim: we were too slow for it."""


class _Stopped(Exception):
    """This process ends; the instance is left to whoever comes next."""


@dataclass(frozen=True, slots=True)
class _Claim:
    id: int
    ae_title: str
    received_at: datetime
    wait_until: datetime


@dataclass(frozen=True, slots=True)
class _Decision:
    item: int
    failure: Failure
    stored_object: int | None


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges requests in the name of `node`, which no other process has.

    `takes` tells whether we store a SOP class; `clock` tells the time; `stopping`, whether
    to leave the rest to somebody else.
    """

    database: Database
    store: ObjectStore
    takes: Callable[[str], bool]
    node: str
    clock: Callable[[], datetime]
    stopping: Callable[[], bool] = lambda: False

    def one(self) -> bool:
        """Judge one request, or a slice of it; False: none is due. Raises Outage."""
        now = self.clock()
        claim = self.database.write(lambda session: _claim(session, self.node, now))
        if claim is None:
            return False
        try:
            _Pass(self, claim, now).run()
        except _Lost:
            log.warning("commitment.claim_lost", commitment=claim.id)
        return True


def is_due(session: Session, now: datetime) -> bool:
    """Tell whether a request waits to be judged: a cheap look before a claim."""
    return session.connection().execute(_due(now).limit(1)).first() is not None


def _due(now: datetime) -> Any:
    return (
        select(_REQUEST.c.id)
        .where(
            _REQUEST.c.state == State.WAITING.value,
            _REQUEST.c.next_at <= now,
            or_(_REQUEST.c.claimed_until.is_(None), _REQUEST.c.claimed_until < now),
        )
        .order_by(_REQUEST.c.next_at, _REQUEST.c.id)
    )


def _claim(session: Session, node: str, now: datetime) -> _Claim | None:
    first = _due(now).limit(1).with_for_update(skip_locked=True).scalar_subquery()
    row = (
        session.connection()
        .execute(
            update(_REQUEST)
            .where(_REQUEST.c.id == first)
            .values(claimed_by=node, claimed_until=now + CLAIM)
            .returning(
                _REQUEST.c.id,
                _REQUEST.c.ae_title,
                _REQUEST.c.received_at,
                _REQUEST.c.wait_until,
            )
        )
        .first()
    )
    return None if row is None else _Claim(*row)


class _Pass:
    """One look at all that a request has still undecided."""

    def __init__(self, judge_: Judge, claim: _Claim, now: datetime) -> None:
        self._judge, self._claim, self._now = judge_, claim, now
        self._requester = ""
        self._is_last = now >= claim.wait_until
        self._began = self._renewed = time.monotonic()
        self._decided: list[_Decision] = []
        self._outage = False

    def run(self) -> None:
        after, cut_short = 0, False
        while page := self._page(after):
            after = page[-1].id
            for row, held in self._look_up(page):
                self._decide(row, held)
                if self._is_over():
                    cut_short = True
                    break
            if cut_short or self._outage:
                break
            self._write()
        self._finish(cut_short)

    def _page(self, after: int) -> list[Any]:
        undecided = (
            select(_ITEM.c.id, _ITEM.c.sop_class_uid, _ITEM.c.sop_instance_uid)
            .where(
                _ITEM.c.commitment == self._claim.id,
                _ITEM.c.failure.is_(None),
                _ITEM.c.id > after,
            )
            .order_by(_ITEM.c.id)
            .limit(_PAGE)
        )
        with self._judge.database.read() as session:
            return list(session.connection().execute(undecided))

    def _look_up(self, page: list[Any]) -> Iterable[tuple[Any, lookup.Versions]]:
        with self._judge.database.read() as session:
            self._requester = own(session.connection(), self._claim.ae_title)
            found = lookup.versions(session, [row.sop_instance_uid for row in page])
        return [(row, found.get(row.sop_instance_uid, lookup.Versions())) for row in page]

    def _decide(self, row: Any, here: lookup.Versions) -> None:
        asked = Reference(row.sop_class_uid, row.sop_instance_uid)
        verdict = judge(
            asked,
            self._requester,
            here.served,
            here.quarantined,
            takes=self._judge.takes,
        )
        failure: Failure | None
        if isinstance(verdict, Held):
            failure = self._check(asked, verdict)
        elif verdict is None and self._is_last:
            failure = Failure.NO_SUCH_OBJECT_INSTANCE
        else:
            failure = verdict
        if failure is not None:
            version = verdict.row if isinstance(verdict, Held) and not failure else None
            self._decided.append(_Decision(row.id, failure, version))

    def _check(self, asked: Reference, held: Held) -> Failure | None:
        """Read a version again and hash it; None: our own trouble, to be tried again."""
        about = {"key": held.key, "sop_instance_uid": asked.sop_instance_uid}
        try:
            hashed = self._hash(held)
        except Missing:
            log.critical("commitment.bytes_missing", **about)
            return Failure.PROCESSING_FAILURE
        except _Stopped:
            return None
        except Outage as error:
            self._outage = True
            log.warning("commitment.bytes_unreadable", error=str(error), **about)
            patient_until = max(self._claim.wait_until, self._claim.received_at + _PATIENCE)
            return Failure.RESOURCE_LIMITATION if self._now >= patient_until else None
        if hashed != held.sha256:
            log.critical("commitment.bytes_differ", **about)
            return Failure.PROCESSING_FAILURE
        return Failure.NONE

    def _hash(self, held: Held) -> bytes:
        hashed, begun, count = sha256(), time.monotonic(), 0
        for chunk in self._judge.store.read(held.key, held.data_set_offset):
            if self._judge.stopping():
                raise _Stopped
            hashed.update(chunk)
            count += len(chunk)
            ahead_s = begun + count / _BYTES_PER_S - time.monotonic()
            if ahead_s > 0:
                time.sleep(min(ahead_s, _LONGEST_NAP_S))
            self._keep()
        return hashed.digest()

    # --- the claim, and what is written under it

    def _is_over(self) -> bool:
        return time.monotonic() - self._began >= SLICE_S or self._judge.stopping()

    def _keep(self) -> None:
        """Renew the claim where it is due. Raises _Lost."""
        if time.monotonic() - self._renewed >= _RENEW_S:
            self._write()

    def _write(self) -> None:
        """Write down what is decided, and renew the claim. Raises _Lost."""
        decided, self._decided = self._decided, []
        until = self._judge.clock() + CLAIM
        self._judge.database.write(lambda session: self._record(session, decided, until, until))
        self._renewed = time.monotonic()

    def _finish(self, cut_short: bool) -> None:
        decided, self._decided = self._decided, []
        now = self._judge.clock()
        next_at = now
        if self._outage:
            next_at = now + _RETRY
        elif not cut_short:
            next_at = min(now + pause(self._claim.received_at, now), self._claim.wait_until)

        def work(session: Session) -> None:
            self._record(session, decided, None, next_at)
            settle(session, self._claim.id, now)

        self._judge.database.write(work)

    def _record(
        self,
        session: Session,
        decided: list[_Decision],
        claimed_until: datetime | None,
        next_at: datetime,
    ) -> None:
        conn = session.connection()
        kept = conn.execute(
            update(_REQUEST)
            .where(_REQUEST.c.id == self._claim.id, _REQUEST.c.claimed_by == self._judge.node)
            .values(claimed_until=claimed_until, next_at=next_at)
        )
        if not kept.rowcount:
            raise _Lost
        if decided:
            conn.execute(
                _DECIDE,
                [
                    {
                        "item": each.item,
                        "failure_": int(each.failure),
                        "stored_object_": each.stored_object,
                    }
                    for each in decided
                ],
            )
