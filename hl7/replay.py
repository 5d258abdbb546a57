"""Apply a message of the journal once more, now, because a person wants it.

It is read as it came and by today's profile, and takes its place among the messages as if
its sender had sent it again: what is older than what was applied last is not applied, and
what was accepted before isn't either, unless the person says so (`journal.Overrides`). In
one transaction it is applied, journaled as a replay, and audited. Nobody is answered; what
its sender would be answered is told to the person.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import structlog
from sqlmodel import Session

from hl7 import ack
from hl7.intake import Incoming, Intake, where
from mwl import audit, journal
from mwl.audit import Action, Actor, Event
from mwl.db import Database
from mwl.errors import Fault, Outage, Reason, Rejected
from mwl.journal import Overrides, Replayed, Settled

log = structlog.get_logger(__name__)

_WHOLE = 1 << 30  # bytes: no message is longer
_PEER = "replay"

Apply = Callable[[Session], Settled]


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
        with self._database.read() as session:
            kept = journal.kept(session, message, _WHOLE)
            incoming = self._open(kept, who, now)
            earlier = journal.accepted(session, incoming.received)
        if earlier is not None and not overrides.accepted:
            raise _accepted(message)

        def keep(apply: Apply) -> Replayed:
            return self._keep(apply, message, who, overrides, incoming)

        try:
            return keep(self._applying(incoming, overrides))
        except Rejected as error:
            settled = self._intake.reject(incoming, error.faults)
        except journal.Repeated:
            raise _accepted(message) from None
        except Outage:
            raise
        except Exception as error:
            # Not its text, which may quote the message.
            log.error("hl7.defect", peer=_PEER, message=message, **where(error))  # noqa: TRY400
            settled = self._intake.fail(incoming)
        return keep(lambda _session: settled)

    def _open(self, kept: journal.Kept, who: Actor, now: datetime) -> Incoming:
        incoming = self._intake.open(kept.raw, _PEER, now, kept.row.listener)
        flag = f"replay of message {kept.row.id} by {who.name}"
        return incoming._replace(flags=[flag, *incoming.flags])

    def _applying(self, incoming: Incoming, overrides: Overrides) -> Apply:
        """Read it; give what applies it. Raises Rejected."""
        changes = self._intake.read(incoming)
        if overrides.older:
            for change in changes:
                change.at = None  # it is taken by its arrival, like one without MSH-7
        answer = self._intake.acknowledge(incoming, ack.Code.AA)
        return lambda session: self._intake.apply(session, incoming, changes, answer)

    def _keep(
        self, apply: Apply, message: int, who: Actor, overrides: Overrides, incoming: Incoming
    ) -> Replayed:
        def work(session: Session) -> Replayed:
            settled = kept = apply(session)
            if overrides.accepted and journal.accepted(session, incoming.received) is not None:
                kept = replace(settled, ack_code="", ack=b"")  # the AA that there is answers
            row = journal.record_replay(session, message, incoming.received, kept)
            replayed = Replayed(row, settled.state, settled.ack_code, settled.error, settled.flags)
            event = Event(Action.REPLAY, f"message:{message}", _detail(replayed, overrides))
            audit.record(session, who, event, now=incoming.received.received_at)
            return replayed

        return self._database.write(work)


def _detail(replayed: Replayed, overrides: Overrides) -> dict[str, object]:
    return {
        "replay": replayed.row,
        "state": replayed.state.value,
        "although accepted": overrides.accepted,
        "although older": overrides.older,
    }


def _accepted(message: int) -> Rejected:
    return Rejected(
        Fault(
            Reason.FINAL,
            f"message {message}",
            "it was accepted before: say that it is to be applied once more all the same",
        )
    )
