"""Who delivers what: claims on the heads of channels, and what became of them.

A claim is one short statement that names who delivers and until when; whoever does renews
it. Nothing is locked while the network waits, and the claim of a process that was killed
runs out. Only the head of a channel can be claimed, and only while nothing else of the
channel is on its way, so its order is kept whichever processes look. A head that waits for
its next attempt holds its channel up; one that is parked lets others pass, but none of its
own subject. What is put off, or claimed, for longer than anybody does that was written by a
clock that was set back since: that holds nothing up.

No SKIP LOCKED: who skips a head that somebody is just claiming would take the one behind it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, and_, bindparam, or_, select, text, tuple_, update
from sqlmodel import Session

from mwl.db import Prepared
from mwl.outbox.rows import IS_OPEN, TABLE, State, has_parked

_LONGEST_ERROR = 500
_LONGEST_ANSWER = 65_536  # bytes kept of what was answered
_MOST_CHANNELS = 10_000
_FURTHEST: Final = timedelta(minutes=15)  # longer than any pause, and any claim


class Channel(NamedTuple):
    """What is delivered one after another."""

    kind: str
    destination: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that we have claimed; `body` is empty until it has been rendered."""

    id: int
    channel: Channel
    subject: str
    payload: Mapping[str, Any]
    control_id: str
    body: bytes
    attempts: int  # this one counted
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of an attempt."""

    state: State
    error: str = ""
    answer: bytes = b""
    next_at: datetime | None = None


_head, _other = TABLE.alias("head"), TABLE.alias("other")
# Literals, so that the partial indexes serve statements prepared with any parameters.
_IS_WAITING = TABLE.c.state == text("'waiting'")
_now = bindparam("now", type_=TABLE.c.next_at.type)
_furthest = bindparam("furthest", type_=TABLE.c.next_at.type)
_kind = bindparam("of_kind", type_=TABLE.c.kind.type)
_destination = bindparam("of_destination", type_=TABLE.c.destination.type)
_worker = bindparam("worker", type_=TABLE.c.claimed_by.type)
_until = bindparam("until", type_=TABLE.c.claimed_until.type)
_row = bindparam("row", type_=TABLE.c.id.type)

# The first of the channel behind the given one: one step of an index, however long they are.
_NEXT_CHANNEL = Prepared(
    select(TABLE.c.kind, TABLE.c.destination, TABLE.c.next_at, TABLE.c.claimed_until)
    .where(_IS_WAITING, tuple_(TABLE.c.destination, TABLE.c.kind) > tuple_(_destination, _kind))
    .order_by(TABLE.c.destination, TABLE.c.kind, TABLE.c.id)
    .limit(1)
)
_HEAD = (
    select(_head.c.id)
    .where(
        _head.c.state == text("'waiting'"),
        _head.c.destination == _destination,
        _head.c.kind == _kind,
        ~has_parked(_head),
    )
    .order_by(_head.c.id)
    .limit(1)
    .scalar_subquery()
)
_SOMETHING_ON_ITS_WAY = (
    select(1)
    .where(
        _other.c.claimed_by != text("''"),
        _other.c.destination == _destination,
        _other.c.kind == _kind,
        _other.c.claimed_until > _now,
        _other.c.claimed_until <= _furthest,
    )
    .exists()
)
_CLAIM = Prepared(
    update(TABLE)
    .where(
        TABLE.c.id == _HEAD,
        _IS_WAITING,
        or_(TABLE.c.next_at <= _now, TABLE.c.next_at > _furthest),
        # Again of the row itself: who waited for another's claim sees it here.
        or_(
            TABLE.c.claimed_by == "",
            TABLE.c.claimed_until <= _now,
            TABLE.c.claimed_until > _furthest,
        ),
        ~_SOMETHING_ON_ITS_WAY,
    )
    .values(claimed_by=_worker, claimed_until=_until, attempts=TABLE.c.attempts + 1)
    .returning(
        TABLE.c.id,
        TABLE.c.subject,
        TABLE.c.payload,
        TABLE.c.control_id,
        TABLE.c.body,
        TABLE.c.attempts,
        TABLE.c.created_at,
    )
)
_IS_OURS = and_(TABLE.c.id == _row, _IS_WAITING, TABLE.c.claimed_by == _worker)
_KEEP = Prepared(
    update(TABLE).where(_IS_OURS).values(control_id=bindparam("said"), body=bindparam("bytes"))
)
_RENEW = Prepared(update(TABLE).where(_IS_OURS).values(claimed_until=_until))
_SETTLE = Prepared(
    update(TABLE)
    .where(_IS_OURS)
    .values(
        state=bindparam("new_state"),
        error=bindparam("new_error"),
        answer=bindparam("new_answer"),
        next_at=bindparam("new_next_at", type_=TABLE.c.next_at.type),
        done_at=bindparam("new_done_at", type_=TABLE.c.done_at.type),
        claimed_by="",
        claimed_until=None,
    )
)
_RELEASE = Prepared(
    update(TABLE)
    .where(_IS_OURS)
    .values(claimed_by="", claimed_until=None, attempts=TABLE.c.attempts - 1)
)
_subject = bindparam("of_subject", type_=TABLE.c.subject.type)
_BLOCK = Prepared(
    update(TABLE)
    .where(
        TABLE.c.subject == _subject,
        TABLE.c.subject != text("''"),
        TABLE.c.kind == _kind,
        TABLE.c.destination == _destination,
        # As a parameter: so that it is the subject's index that is asked.
        TABLE.c.state == State.WAITING.value,
        TABLE.c.claimed_by == "",
        has_parked(TABLE),
    )
    .values(state=State.BLOCKED.value)
)
_UNBLOCK = (
    update(TABLE)
    .where(TABLE.c.state == text("'blocked'"), IS_OPEN, ~has_parked(TABLE))
    .values(state=State.WAITING.value)
)
_UNBLOCK_SUBJECT = Prepared(
    _UNBLOCK.where(
        TABLE.c.subject == _subject,
        TABLE.c.kind == _kind,
        TABLE.c.destination == _destination,
    )
)
_UNBLOCK_ALL = Prepared(_UNBLOCK)


def due(session: Session, now: datetime) -> list[Channel]:
    """List the channels whose head may be claimed at `now`."""
    conn = session.connection()
    found: list[Channel] = []
    key = {"of_destination": "", "of_kind": ""}
    for _ in range(_MOST_CHANNELS):
        head = _NEXT_CHANNEL.first(conn, key)
        if head is None:
            break
        if not _is_ahead(head.next_at, now) and not _is_ahead(head.claimed_until, now):
            found.append(Channel(head.kind, head.destination))
        key = {"of_destination": head.destination, "of_kind": head.kind}
    return found


def _is_ahead(at: datetime | None, now: datetime) -> bool:
    """Tell whether a time is still to come, and not of a clock that was set back."""
    return at is not None and now < at <= now + _FURTHEST


def claim(
    session: Session, channel: Channel, worker: str, *, now: datetime, until: datetime
) -> Claimed | None:
    """Claim the head of a channel for `worker`; None: nothing is due, or somebody has it."""
    times = {"now": now, "until": until, "furthest": now + _FURTHEST}
    row = _CLAIM.first(session.connection(), {**_key(channel), "worker": worker, **times})
    if row is None:
        return None
    return Claimed(
        row.id,
        channel,
        row.subject,
        row.payload,
        row.control_id,
        bytes(row.body),
        row.attempts,
        row.created_at,
    )


def keep(session: Session, row: int, worker: str, control_id: str, body: bytes) -> bool:
    """Keep what was rendered, to be sent the same again; False: the claim is lost."""
    given = {"row": row, "worker": worker, "said": control_id, "bytes": body}
    return bool(_KEEP.run(session.connection(), given))


def renew(session: Session, row: int, worker: str, until: datetime) -> bool:
    """Hold a claim longer; False: it is lost."""
    given = {"row": row, "worker": worker, "until": until}
    return bool(_RENEW.run(session.connection(), given))


def release(session: Session, row: int, worker: str) -> None:
    """Give a claim back, as if there had been no attempt."""
    _RELEASE.run(session.connection(), {"row": row, "worker": worker})


def settle(
    session: Session, claimed: Claimed, worker: str, settled: Settled, now: datetime
) -> bool:
    """Write down what became of an attempt; False: the claim is lost, and with it the say."""
    conn = session.connection()
    is_ours = _SETTLE.run(
        conn,
        {
            "row": claimed.id,
            "worker": worker,
            "new_state": settled.state.value,
            "new_error": settled.error[:_LONGEST_ERROR],
            "new_answer": settled.answer[:_LONGEST_ANSWER],
            "new_next_at": settled.next_at or now,
            "new_done_at": now if settled.state is State.DONE else None,
        },
    )
    if is_ours and settled.state is not State.WAITING:
        line_up(conn, claimed.channel, claimed.subject)
    return bool(is_ours)


def line_up(conn: Connection, channel: Channel, subject: str) -> None:
    """Block what waits behind a parked delivery of its subject, and let go what doesn't."""
    if subject:
        given = {**_key(channel), "of_subject": subject}
        _BLOCK.run(conn, given)
        _UNBLOCK_SUBJECT.run(conn, given)


def unblock(session: Session) -> int:
    """Let go whatever is blocked by nothing any more; return how many.

    Two transactions that don't see each other may leave one: a delivery that is queued
    while the parked one before it is dropped.
    """
    return _UNBLOCK_ALL.run(session.connection(), {})


def _key(channel: Channel) -> dict[str, str]:
    return {"of_kind": channel.kind, "of_destination": channel.destination}
