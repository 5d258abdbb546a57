"""Messages into the journal, as they come; this is on the path of every order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any

from sqlalchemy import Integer, String, bindparam, case, insert, select, text, update
from sqlmodel import Session

from mwl.db import Prepared
from mwl.db.tables import Message, MessageOrder
from mwl.db.types import Json

ACCEPTED = "AA"
REUSED = "this message control ID came before, with other content"

_LONGEST_ERROR = 2_000
_MOST_FLAGS = 100

_TABLE = Message.__table__  # type: ignore[attr-defined]
_EARLIER = _TABLE.alias("earlier")


class State(StrEnum):
    """What became of a message."""

    APPLIED = "applied"
    NOTED = "noted"  # understood and accepted; nothing to change
    STALE = "stale"  # accepted, but older than what was applied last
    REJECTED = "rejected"  # at fault; answered AE or AR
    FAILED = "failed"  # our fault: a person must look


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it came. Texts are bounded and free of controls."""

    received_at: datetime
    peer: str
    raw: bytes
    content_hash: bytes  # SHA-256 of raw
    source: str = ""
    type: str = ""
    control_id: str = ""
    encoding: str = ""
    listener: str = ""  # "": the first one
    profile: str = ""


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of it, and the answer."""

    state: State
    ack_code: str
    ack: bytes
    error: str = ""
    flags: Sequence[str] = ()
    order: int | None = None
    patient: int | None = None
    further: Sequence[int] = ()  # orders that the message is about as well
    changes: Mapping[str, Any] = field(default_factory=dict)  # `mwl.worklist.changed`
    # What it names, where that led to no order and no patient.
    patient_id: str = ""
    accession_number: str = ""


def digest(raw: bytes) -> bytes:
    """Hash a message's bytes as the journal does."""
    return sha256(raw).digest()


# A number for something else than before is odd; no number is not.
_IS_REUSED = (
    select(1)
    .where(
        _EARLIER.c.control_id == bindparam("control_id_again"),
        _EARLIER.c.control_id != "",
        # Nothing is added to it but that no index on it serves: a feed has a million rows,
        # a control ID few.
        _EARLIER.c.source.concat(text("''")) == bindparam("source_again", type_=String),
        _EARLIER.c.content_hash != bindparam("content_hash_again"),
    )
    .exists()
)
_CAME = [c.name for c in _TABLE.c if c.name not in ("id", "flags", "repeats", "repeated_at")]
# One statement that asks for nothing back, so that COMMIT may be sent right behind it.
_INSERT = Prepared(
    insert(_TABLE).values(
        **{name: bindparam(name) for name in _CAME},
        flags=case(
            (_IS_REUSED, bindparam("flags_if_reused", type_=Json)),
            else_=bindparam("flags", type_=Json),
        ),
        repeats=0,
        repeated_at=None,
    )
)
_ABOUT = Prepared(
    insert(MessageOrder.__table__).from_select(  # type: ignore[attr-defined]
        ["message", "imaging_order"],
        select(_TABLE.c.id, bindparam("order_row", type_=Integer)).where(
            _TABLE.c.source == bindparam("sender"),
            _TABLE.c.control_id == bindparam("message_id"),
            _TABLE.c.content_hash == bindparam("content"),
            _TABLE.c.ack_code == text("'AA'"),
        ),
    )
)
_REPEAT = Prepared(
    update(_TABLE)
    .where(
        _TABLE.c.source == bindparam("sender"),
        _TABLE.c.control_id == bindparam("message"),
        _TABLE.c.content_hash == bindparam("content"),
        _TABLE.c.ack_code == text("'AA'"),
    )
    .values(repeats=_TABLE.c.repeats + 1, repeated_at=bindparam("now"))
    .returning(_TABLE.c.ack)
)


_WRITTEN = Prepared(
    select(_TABLE.c.ack).where(
        _TABLE.c.control_id == bindparam("message"),
        _TABLE.c.received_at == bindparam("at", type_=_TABLE.c.received_at.type),
        _TABLE.c.source == bindparam("sender"),
        _TABLE.c.content_hash == bindparam("content"),
    )
)


class Repeated(Exception):
    """What is to be recorded was accepted before: undo what was done on account of it."""


def record(session: Session, received: Received, settled: Settled) -> None:
    """Keep a message. Raises Repeated, now or from the commit, for an accepted one's repeat."""
    conn = session.connection()
    row = row_of(received, settled)
    asked = {
        "source_again": received.source,
        "control_id_again": received.control_id,
        "content_hash_again": received.content_hash,
        "flags_if_reused": [*row["flags"], REUSED],
    }
    _INSERT.send(conn, {**row, **asked}, duplicate=Repeated)
    for order in settled.further:
        named = {
            "sender": received.source,
            "message_id": received.control_id,
            "content": received.content_hash,
        }
        _ABOUT.send(conn, {**named, "order_row": order})


def row_of(received: Received, settled: Settled) -> dict[str, Any]:
    """Give the columns of a message that come from outside the database."""
    return {
        "received_at": received.received_at,
        "source": received.source,
        "peer": received.peer,
        "control_id": received.control_id,
        "type": received.type,
        "state": settled.state,
        "ack_code": settled.ack_code,
        "error": settled.error[:_LONGEST_ERROR],
        "flags": list(settled.flags)[:_MOST_FLAGS],
        "encoding": received.encoding,
        "listener": received.listener,
        "profile": received.profile,
        "content_hash": received.content_hash,
        "raw": received.raw,
        "ack": settled.ack,
        "imaging_order": settled.order,
        "patient": settled.patient,
        "changes": settled.changes,
        "patient_id": settled.patient_id,
        "accession_number": settled.accession_number,
        "replay_of": None,
    }


def repeat(session: Session, received: Received) -> bytes | None:
    """Count the repeat of an accepted message and give its kept answer; None if it is none."""
    ack: bytes | None = _REPEAT.scalar(
        session.connection(),
        {
            "sender": received.source,
            "message": received.control_id,
            "content": received.content_hash,
            "now": received.received_at,
        },
    )
    return None if ack is None else bytes(ack)


def written(session: Session, received: Received) -> bytes | None:
    """Give the answer that this very receipt was kept with; None: it was not.

    An outage may come between a commit and the news of it.
    """
    ack: bytes | None = _WRITTEN.scalar(
        session.connection(),
        {
            "message": received.control_id,
            "at": received.received_at,
            "sender": received.source,
            "content": received.content_hash,
        },
    )
    return None if ack is None else bytes(ack)
