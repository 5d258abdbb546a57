"""What stands in the outbox, and how something is put there.

A delivery is a row that is written in the transaction of what it tells: there is no change
without its delivery, and no delivery of what did not happen. Rows of one kind and
destination are a *channel*: first in, first out, one on its way at a time.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    Exists,
    FromClause,
    LargeBinary,
    Table,
    bindparam,
    case,
    insert,
    literal,
    select,
    text,
)
from sqlmodel import Session

from mwl.db import Prepared
from mwl.db.tables import Delivery
from mwl.errors import Fault, Reason, Rejected

TABLE: Table = Delivery.__table__  # type: ignore[attr-defined]


class Kind(StrEnum):
    """What a delivery tells; it decides who delivers it."""

    ORDER_STATUS = "order_status"
    FORWARD = "forward"  # a message that came in, as it came
    COMMITMENT_REPORT = "commitment_report"
    MPPS = "mpps"  # an N-CREATE or N-SET that came in, as it came


# There is nothing in these to be rendered anew.
AS_IT_CAME = frozenset({Kind.FORWARD.value, Kind.MPPS.value})


class State(StrEnum):
    """What became of a delivery."""

    WAITING = "waiting"  # its turn has not come, or it is on its way
    BLOCKED = "blocked"  # an earlier one of its subject is parked
    DONE = "done"
    PARKED = "parked"  # refused: for a person to send again or to drop
    DROPPED = "dropped"  # given up by a person


def named_state(name: str) -> State:
    """Read a state's name. Raises Rejected for none."""
    try:
        return State(name.lower())
    except ValueError:
        known = ", ".join(State)
        raise Rejected(Fault(Reason.UNKNOWN_CODE, "state", f"must be one of {known}")) from None


IS_OPEN = TABLE.c.state != text("'done'")  # what its index is asked by
_EARLIER = TABLE.alias("earlier")


def has_parked(row: FromClause) -> Exists:
    """Ask whether an earlier delivery of a row's subject is parked in its channel."""
    return (
        select(1)
        .where(
            _EARLIER.c.subject == row.c.subject,
            _EARLIER.c.subject != text("''"),
            _EARLIER.c.kind == row.c.kind,
            _EARLIER.c.destination == row.c.destination,
            _EARLIER.c.state == text("'parked'"),
            _EARLIER.c.id < row.c.id,
        )
        .exists()
    )


# The number is the table's own at the time of the INSERT: numbers that a connection had
# reserved would put what is written later before what was written first.
_IS_BLOCKED = (
    select(1)
    .where(
        _EARLIER.c.subject == bindparam("subject_again"),
        _EARLIER.c.subject != text("''"),
        _EARLIER.c.kind == bindparam("kind_again"),
        _EARLIER.c.destination == bindparam("destination_again"),
        _EARLIER.c.state == text("'parked'"),
    )
    .exists()
)
_GIVEN = (
    *("kind", "destination", "subject", "payload", "next_at", "created_at", "control_id", "body"),
)
_INSERT = Prepared(
    insert(TABLE)
    .inline()
    .values(
        **{name: bindparam(name) for name in _GIVEN},
        state=case((_IS_BLOCKED, State.BLOCKED.value), else_=State.WAITING.value),
        attempts=0,
        claimed_by="",
        claimed_until=None,
        error="",
        answer=literal(b"", LargeBinary),
        done_at=None,
    )
)


def enqueue(  # noqa: PLR0913 - the columns of a row, by name
    session: Session,
    *,
    kind: Kind,
    destination: str,
    subject: str,
    payload: Mapping[str, Any],
    now: datetime,
    control_id: str = "",
    body: bytes = b"",
) -> None:
    """Put a delivery into the outbox, in the caller's transaction.

    `payload` is the fact as JSON, everything in it that shall be told as it is now; `body`
    the message under `control_id` where there is nothing to be rendered.
    Deliveries of one `subject` never overtake each other, provided that who writes about a
    subject does so one after another (an order's row is locked while its state changes);
    "" has no such order.
    """
    _INSERT.send(
        session.connection(),
        {
            "kind": kind.value,
            "kind_again": kind.value,
            "destination": destination,
            "destination_again": destination,
            "subject": subject,
            "subject_again": subject,
            "payload": dict(payload),
            "next_at": now,
            "created_at": now,
            "control_id": control_id,
            "body": body,
        },
    )
