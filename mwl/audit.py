"""The audit trail: who signed in, who looked at patient data, who changed what.

A change is recorded in the transaction that makes it. What is recorded names rows by
`subject` ("order:4711"), and holds in `detail` what was asked for or changed; it may hold
patient data, as what it tells about does, and is shown to administrators only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import func, select
from sqlmodel import Session

from mwl.db import Insertion
from mwl.db.tables import AuditEvent

_EVENT = AuditEvent.__table__  # type: ignore[attr-defined]
_INSERT = Insertion(_EVENT)
_LONGEST = 256


class Action(StrEnum):
    """What somebody did."""

    SIGN_IN = "sign-in"
    SIGN_IN_FAILED = "sign-in failed"
    SIGN_OUT = "sign-out"
    VIEW = "view"
    CREATE = "create"
    CHANGE = "change"
    CANCEL = "cancel"
    ARRIVE = "arrive"
    REOPEN = "reopen"
    CLOSE = "close"
    REPLAY = "replay"
    RESEND = "resend"
    DROP = "drop"
    LINK = "link"
    TEST = "test"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something, by which right, from where."""

    name: str
    role: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """What is recorded of one act."""

    action: Action
    subject: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


def record(session: Session, actor: Actor, event: Event, *, now: datetime) -> None:
    """Record an act in the caller's transaction."""
    _INSERT.send(
        session.connection(),
        {
            "at": now,
            "who": actor.name[:_LONGEST],
            "role": actor.role,
            "address": actor.address,
            "action": event.action.value,
            "subject": event.subject[:_LONGEST],
            "detail": dict(event.detail),
        },
    )


def failed_sign_ins(session: Session, address: str, *, since: datetime) -> int:
    """Count the sign-ins that failed from an address."""
    statement = select(func.count()).where(
        _EVENT.c.action == Action.SIGN_IN_FAILED.value,
        _EVENT.c.address == address,
        _EVENT.c.at >= since,
    )
    return int(session.connection().scalar(statement) or 0)
