"""What a message would do if it came now: applied in a transaction that is undone.

The very code that takes messages does it, so nothing is told that would not happen; and
nothing stays: no row, no journal entry, nobody is told, nobody is woken.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog
from sqlalchemy import select
from sqlmodel import Session

from hl7 import ack, forwarding
from hl7.intake import Incoming, Intake, where
from hl7.mapping import Change
from mwl import journal
from mwl.db import Database, Savepoint
from mwl.db.tables import Message
from mwl.errors import Fault, Outage, Rejected
from mwl.journal import Settled
from mwl.worklist import differing
from mwl.worklist.differing import Concerned, Difference, Rows

log = structlog.get_logger(__name__)

_MESSAGE = Message.__table__  # type: ignore[attr-defined]

Both = tuple[Rows, Rows]
"""Rows before, and after."""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What would become of a message, be answered, and differ afterwards.

    `repeat_of` is the message of the journal that was accepted with the same bytes: its
    sender would get the same answer again and nothing would change. All else is told as if
    it were new.
    """

    settled: Settled
    faults: Sequence[Fault]
    differences: Sequence[Difference]
    repeat_of: int | None = None


class Rehearsal:
    """Rehearses messages. Threads share it."""

    def __init__(self, database: Database, intake: Intake) -> None:
        self._database = database
        self._intake = intake

    def __call__(self, incoming: Incoming) -> Rehearsed:
        """Tell what `incoming` would do. Raises Outage."""
        with self._database.read() as session:
            repeat_of = journal.accepted(session, incoming.received)
        try:
            changes = self._intake.read(incoming)
            settled, rows = self._database.rehearse(
                lambda session: self._apply(session, incoming, changes, repeat_of)
            )
            # Compared when nobody waits any longer.
            return Rehearsed(settled, [], differing.compare(*rows), repeat_of)
        except Rejected as error:
            refused = self._intake.reject(incoming, error.faults)
            return Rehearsed(refused, error.faults, [], repeat_of)
        except Outage:
            raise
        except Exception as error:
            # Not its text, which may quote the message.
            log.error("hl7.defect", peer=incoming.received.peer, **where(error))  # noqa: TRY400
            return Rehearsed(self._intake.fail(incoming), [], [], repeat_of)

    def _apply(
        self,
        session: Session,
        incoming: Incoming,
        changes: Sequence[Change],
        repeat_of: int | None,
    ) -> tuple[Settled, Both]:
        start = Savepoint(session, "rehearsal")
        answer = self._intake.acknowledge(incoming, ack.Code.AA)
        settled = self._intake.apply(session, incoming, changes, answer)
        start.settle()
        if repeat_of is None:
            journal.record(session, incoming.received, settled)
            start.settle()
            settled = _as_kept(session, incoming, settled)
        return settled, both(session, start, concerned(incoming, settled))


def concerned(incoming: Incoming, settled: Settled) -> Concerned:
    """Give the rows that a message was about."""
    orders = {order for order in (settled.order, *settled.further) if order}
    found = Concerned({settled.patient} if settled.patient else set(), orders)
    found.add(settled.changes)
    found.subjects.add(forwarding.subject(incoming.received, settled))
    return found


def both(session: Session, start: Savepoint, about: Concerned) -> Both:
    """Read rows as they are now, undo what was done since `start`, and read them again."""
    conn = session.connection()
    after = differing.read(conn, about)
    start.undo()
    return differing.read(conn, differing.of(after)), after


def _as_kept(session: Session, incoming: Incoming, settled: Settled) -> Settled:
    """Give the flags that the journal adds."""
    given = incoming.received
    flags = session.connection().scalar(
        select(_MESSAGE.c.flags)
        .where(_MESSAGE.c.control_id == given.control_id, _MESSAGE.c.source == given.source)
        .order_by(_MESSAGE.c.id.desc())
        .limit(1)
    )
    return replace(settled, flags=flags if flags is not None else settled.flags)
