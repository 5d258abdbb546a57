"""Apply a message of the journal once more, now, because a person wants it.

It is read as it came and by today's profile, and takes its place among the messages as if
its sender had sent it again: what is older than what was applied last is not applied, and
what was accepted before isn't either, unless the person says so (`journal.Overrides`). In
one transaction it is applied, journaled as a replay, and audited. Nobody is answered; what
its sender would be answered is told to the person.

`hl7.ranges` replays many, one after another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from sqlmodel import Session

from hl7 import ack
from hl7.intake import Incoming, Intake, where
from hl7.mapping import Change
from hl7.rehearsal import Both, Rehearsed, both, concerned
from mwl import audit, journal
from mwl.audit import Action, Actor, Event
from mwl.db import Database, Savepoint
from mwl.errors import Fault, Outage, Reason, Rejected
from mwl.journal import Overrides, Replayed, Settled, Text
from mwl.orders import OrderChange
from mwl.patients import PatientLink, PatientMerge, PatientUpdate
from mwl.worklist import differing

log = structlog.get_logger(__name__)

_PEER = "replay"

Apply = Callable[[Session], Settled]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A message that is to be replayed: read already, and not applied yet.

    `apply` raises Rejected for what only the rows show; what is at fault by itself is
    `refused`.
    """

    text: Text
    incoming: Incoming
    who: Actor
    overrides: Overrides
    apply: Apply
    refused: Settled | None = None

    @property
    def message(self) -> int:
        return self.text.id

    def perform(self, session: Session) -> tuple[Replayed, Settled]:
        """Apply it, journal it, and audit that. Raises Rejected, Repeated."""
        settled = self.apply(session)
        return self.keep(session, settled), settled

    def keep(self, session: Session, settled: Settled) -> Replayed:
        """Journal what became of it, and audit that. Raises Repeated."""
        kept, received = settled, self.incoming.received
        if self.overrides.accepted and journal.accepted(session, received) is not None:
            kept = replace(settled, ack_code="", ack=b"")  # the AA that there is answers
        row = journal.record_replay(session, self.message, received, kept)
        replayed = Replayed(row, settled.state, settled.ack_code, settled.error, settled.flags)
        event = Event(Action.REPLAY, f"message:{self.message}", _detail(replayed, self.overrides))
        audit.record(session, self.who, event, now=received.received_at)
        return replayed


class Replay:
    """Replays messages, each by the profile that reads it today. Threads share it."""

    def __init__(self, database: Database, intake: Intake) -> None:
        self._database = database
        self._intake = intake

    def __call__(
        self, message: int, who: Actor, overrides: Overrides, *, now: datetime
    ) -> Replayed:
        """Apply message number `message` once more.

        What is wrong with its content is in the result, and journaled, as if it had come
        again. Raises Rejected where it can't be replayed: UNKNOWN_KEY, or FINAL for what was
        accepted before. Raises Outage.
        """
        attempt = self._attempt(message, who, overrides, now)

        def keep(settled: Settled) -> Replayed:
            return self._database.write(lambda session: attempt.keep(session, settled))

        if attempt.refused is not None:
            return keep(attempt.refused)
        try:
            return self._database.write(attempt.perform)[0]
        except Rejected as error:
            return keep(self._intake.reject(attempt.incoming, error.faults))
        except journal.Repeated:
            raise _accepted(message) from None
        except Outage:
            raise
        except Exception as error:
            return keep(self.defect(attempt, error))

    def rehearse(
        self, message: int, who: Actor, overrides: Overrides, *, now: datetime
    ) -> Rehearsed:
        """Tell what replaying it would do, and do nothing. Raises as replaying does."""
        attempt = self._attempt(message, who, overrides, now)
        if attempt.refused is not None:
            return Rehearsed(attempt.refused, [], [])

        def work(session: Session) -> tuple[Settled, Both]:
            start = Savepoint(session, "rehearsal")
            _, settled = attempt.perform(session)
            start.settle()
            return settled, both(session, start, concerned(attempt.incoming, settled))

        try:
            settled, rows = self._database.rehearse(work)
            return Rehearsed(settled, [], differing.compare(*rows))
        except Rejected as error:
            refused = self._intake.reject(attempt.incoming, error.faults)
            return Rehearsed(refused, error.faults, [])
        except Outage:
            raise
        except Exception as error:
            return Rehearsed(self.defect(attempt, error), [], [])

    def prepare(self, text: Text, who: Actor, overrides: Overrides, now: datetime) -> Attempt:
        """Read a message. Raises Rejected (FINAL) where its text is kept no longer."""
        if not text.raw:
            raise _final(text.id, "its text is kept no longer")
        incoming = self._intake.open(text.raw, _PEER, now, text.listener)
        flag = f"replay of message {text.id} by {who.name}"
        incoming = incoming._replace(flags=[flag, *incoming.flags])
        refused = None
        apply: Apply = _nothing
        try:
            apply = self._applying(incoming, overrides)
        except Rejected as error:
            refused = self._intake.reject(incoming, error.faults)
        return Attempt(text, incoming, who, overrides, apply, refused)

    def reject(self, attempt: Attempt, error: Rejected) -> Settled:
        """Say what is wrong with it."""
        return self._intake.reject(attempt.incoming, error.faults)

    def defect(self, attempt: Attempt, error: Exception) -> Settled:
        """Say that it met a defect of ours."""
        # Not its text, which may quote the message.
        log.error("hl7.defect", peer=_PEER, message=attempt.message, **where(error))
        return self._intake.fail(attempt.incoming)

    def _attempt(self, message: int, who: Actor, overrides: Overrides, now: datetime) -> Attempt:
        with self._database.read() as session:
            (text,) = journal.texts(session, [message])
            attempt = self.prepare(text, who, overrides, now)
            earlier = journal.accepted(session, attempt.incoming.received)
        if earlier is not None and not overrides.accepted:
            raise _accepted(message)
        return attempt

    def _applying(self, incoming: Incoming, overrides: Overrides) -> Apply:
        """Read it; give what applies it. Raises Rejected."""
        changes = self._intake.read(incoming)
        if overrides.patient:
            confirm(changes)
        if overrides.older:
            for change in changes:
                change.at = None  # it is taken by its arrival, like one without MSH-7
        answer = self._intake.acknowledge(incoming, ack.Code.AA)
        return lambda session: self._intake.apply(
            session, incoming, changes, answer, forwarded=overrides.accepted
        )


def _nothing(_session: Session) -> Settled:
    raise AssertionError("what was refused is not applied")


def confirm(changes: Sequence[Change]) -> None:
    """Note that a person knows the patients of some changes to be those on file."""
    for change in changes:
        if isinstance(change, OrderChange | PatientUpdate | PatientMerge | PatientLink):
            change.patient.confirmed = True
        if isinstance(change, PatientLink):
            change.other.confirmed = True


def _detail(replayed: Replayed, overrides: Overrides) -> dict[str, object]:
    return {
        "replay": replayed.row,
        "state": replayed.state.value,
        "although accepted": overrides.accepted,
        "although older": overrides.older,
        "although another patient's": overrides.patient,
    }


def _accepted(message: int) -> Rejected:
    return _final(
        message, "it was accepted before: say that it is to be applied once more all the same"
    )


def _final(message: int, text: str) -> Rejected:
    return Rejected(Fault(Reason.FINAL, f"message {message}", text))
