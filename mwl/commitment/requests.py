"""Requests for commitment: kept before they are answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session

from mwl import devices
from mwl.commitment.rules import Failure, Reference, State, digest
from mwl.db.tables import Commitment, CommitmentItem

log = structlog.get_logger(__name__)

HOLD = timedelta(seconds=30)  # an association says more often than this that it still lives

_REQUEST = Commitment.__table__  # type: ignore[attr-defined]
_ITEM = CommitmentItem.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Request:
    """An N-ACTION that asks for storage commitment."""

    transaction_uid: str
    ae_title: str  # who asks
    called_ae_title: str
    references: Sequence[Reference]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that is kept; `held`: its report goes to the association that it came on."""

    id: int
    held: bool


def accept(
    session: Session, request: Request, *, association: str, wait: timedelta, now: datetime
) -> Accepted:
    """Keep a request; what is missing is waited for until `wait` is over.

    `association` names the one that it came on. The report goes there if the requester is
    registered so, or can't be called. The same request again is judged and reported again.
    The same transaction with other items fails, item for item (0131), for it is in use.
    """
    device = devices.lookup(session, request.ae_title)
    may_call = device is not None and bool(device.host and device.port)
    held = not may_call or (device is not None and device.commit_report == "same")
    standing = {
        "called_ae_title": request.called_ae_title,
        "may_call": may_call,
        "held_by": association if held else "",
        "held_until": now + HOLD if held else None,
        "next_at": now,
    }
    conn = session.connection()
    identity = {
        "transaction_uid": request.transaction_uid,
        "ae_title": request.ae_title,
        "items_digest": digest(request.references),
    }
    fresh = {"state": State.WAITING, "received_at": now, "wait_until": now + wait}
    row = _insert(conn, {**identity, **standing, **fresh, "claimed_by": ""})
    if row is None:
        return Accepted(_again(conn, identity, standing, fresh), held)
    in_use = _is_in_use(conn, request, row)
    failure = Failure.DUPLICATE_TRANSACTION_UID if in_use else None
    conn.execute(insert(_ITEM), [_item(row, each, failure) for each in request.references])
    return Accepted(row, held)


def _insert(conn: Connection, values: dict[str, Any]) -> int | None:
    """Insert a request unless it is there, and give its number."""
    dialect_insert = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[conn.dialect.name]
    statement: Any = dialect_insert(_REQUEST).values(values)
    unless_there = statement.on_conflict_do_nothing().returning(_REQUEST.c.id)
    row: int | None = conn.execute(unless_there).scalar()
    return row


def _item(request: int, reference: Reference, failure: Failure | None) -> dict[str, Any]:
    return {
        "commitment": request,
        "sop_class_uid": reference.sop_class_uid,
        "sop_instance_uid": reference.sop_instance_uid,
        "failure": failure,
        "stored_object": None,
    }


def _is_in_use(conn: Connection, request: Request, row: int) -> bool:
    earlier = select(_REQUEST.c.id).where(
        _REQUEST.c.ae_title == request.ae_title,
        _REQUEST.c.transaction_uid == request.transaction_uid,
        _REQUEST.c.id < row,
    )
    return conn.execute(earlier.limit(1)).first() is not None


def _again(
    conn: Connection, identity: dict[str, Any], standing: dict[str, Any], fresh: dict[str, Any]
) -> int:
    """Take a request that is known: what was judged before is judged anew."""
    known = conn.execute(
        select(_REQUEST.c.id, _REQUEST.c.state)
        .where(*(_REQUEST.c[name] == value for name, value in identity.items()))
        .with_for_update()
    ).one()
    row: int = known.id
    values = standing if known.state == State.WAITING else {**standing, **fresh}
    conn.execute(update(_REQUEST).where(_REQUEST.c.id == row).values(values))
    if known.state != State.WAITING:
        conn.execute(
            update(_ITEM)
            .where(
                _ITEM.c.commitment == row,
                _ITEM.c.failure != Failure.DUPLICATE_TRANSACTION_UID,
            )
            .values(failure=None, stored_object=None)
        )
    log.info("commitment.repeated", commitment=row, before=known.state)
    return row
