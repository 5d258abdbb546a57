"""Messages that a person has applied once more.

A replay obeys what the journal and the worklist know: what was accepted is not applied
twice, and nothing older than what was applied last is applied at all, unless the person who
replays says so (`Overrides`). It is journaled as a message that came now, with the number of
the one that it repeats.

The AA of a replay counts: what was refused, and is accepted now, is a repeat when its sender
sends it again. Where there is an AA already, that goes on answering, and the replay has none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, insert, select, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from mwl.db import Prepared
from mwl.db.tables import Message, MessageOrder
from mwl.errors import Fault, Reason, Rejected
from mwl.journal.keeping import Received, Repeated, Settled, State, row_of

_TABLE = Message.__table__  # type: ignore[attr-defined]
_FURTHER = MessageOrder.__table__  # type: ignore[attr-defined]
_ACCEPTED = Prepared(
    select(_TABLE.c.id).where(
        _TABLE.c.source == bindparam("sender"),
        _TABLE.c.control_id == bindparam("message"),
        _TABLE.c.content_hash == bindparam("content"),
        _TABLE.c.ack_code == text("'AA'"),
    )
)
_OF_TEXT = ("id", "raw", "listener", "state", "error")


@dataclass(frozen=True, slots=True)
class Overrides:
    """What a replay is to do although it usually would not."""

    accepted: bool = False  # apply what was accepted before
    older: bool = False  # apply it although something newer was applied since
    # Its patient is the one on file, although name and birth date differ from theirs.
    patient: bool = False


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a replay: its own row, and what its sender would have been answered."""

    row: int
    state: State
    ack_code: str
    error: str = ""
    flags: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Text:
    """A message of the journal with what a replay needs of it; `raw` b"": kept no longer.

    `known` is what became of it and of its replays, each with its error.
    """

    id: int
    raw: bytes
    listener: str
    known: frozenset[tuple[str, str]]


def texts(session: Session, rows: Sequence[int]) -> list[Text]:
    """Give messages with their bytes, in the order asked for. Raises Rejected for none."""
    conn = session.connection()
    wanted = select(*(_TABLE.c[each] for each in _OF_TEXT)).where(_TABLE.c.id.in_(rows))
    found = {row.id: row for row in conn.execute(wanted)}
    for row in rows:
        if row not in found:
            raise Rejected(Fault(Reason.UNKNOWN_KEY, f"message {row}", "there is none"))
    known = {row: {(each.state, each.error)} for row, each in found.items()}
    replays = select(_TABLE.c.replay_of, _TABLE.c.state, _TABLE.c.error)
    for each in conn.execute(replays.where(_TABLE.c.replay_of.in_(rows))):
        known[each.replay_of].add((each.state, each.error))
    return [
        Text(each.id, bytes(each.raw or b""), each.listener, frozenset(known[each.id]))
        for each in map(found.__getitem__, rows)
    ]


def accepted(session: Session, received: Received) -> int | None:
    """Find the message that was accepted with the content of this one."""
    found: int | None = _ACCEPTED.scalar(
        session.connection(),
        {
            "sender": received.source,
            "message": received.control_id,
            "content": received.content_hash,
        },
    )
    return found


def record_replay(session: Session, of: int, received: Received, settled: Settled) -> int:
    """Keep a replay of message `of`; give its row. Raises Repeated where it was accepted before.

    One that was accepted before is kept without an answer of its own.
    """
    conn = session.connection()
    values = {**row_of(received, settled), "replay_of": of, "repeats": 0}
    try:
        row: int = conn.execute(insert(_TABLE).returning(_TABLE.c.id), values).scalar_one()
    except IntegrityError as error:
        raise Repeated from error
    for order in settled.further:
        conn.execute(insert(_FURTHER).values(message=row, imaging_order=order))
    return row
