"""The audit trail: who signed in, who looked at patient data, who changed what.

A change is recorded in the transaction that makes it. What is recorded names rows by
`subject` ("order:4711"), and holds in `detail` what was asked for or changed; it may hold
patient data, as what it tells about does, and is shown to administrators only.

It is read by `listing`, the latest first, and by `export`, the earliest first; both by
index, however long the trail is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Select, func, or_, select
from sqlmodel import Session

from mwl.db import Database, Insertion
from mwl.db.tables import AuditEvent

_EVENT = AuditEvent.__table__  # type: ignore[attr-defined]
_INSERT = Insertion(_EVENT)
_LONGEST = 256
_PAGE_ROWS = 500


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
    READY = "ready"
    DEPART = "depart"
    REOPEN = "reopen"
    CLOSE = "close"
    REPLAY = "replay"
    RESEND = "resend"
    DROP = "drop"
    LINK = "link"
    UNLINK = "unlink"
    TEST = "test"
    REMOVE = "remove"
    ABORT = "abort"
    MERGE = "merge"
    UNMERGE = "unmerge"
    IMPORT = "import"


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


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events: those that are equal in what is given, from `since` until before `until`."""

    who: str = ""
    action: str = ""
    subject: str = ""
    address: str = ""
    since: datetime | None = None
    until: datetime | None = None


Key = tuple[datetime, int]  # no two events share it


def listing(
    session: Session,
    wanted: Wanted,
    *,
    after: Key | None = None,
    before: Key | None = None,
    limit: int,
) -> Sequence[Any]:
    """List events, the latest first: those after a key of the list, or those right before one."""
    statement = _wanted(wanted)
    if before is not None:
        rows = session.connection().execute(_earliest(statement, before).limit(limit)).all()
        return rows[::-1]
    if after is not None:
        at, id_ = after
        older = or_(_EVENT.c.at < at, _EVENT.c.id < id_)
        statement = statement.where(_EVENT.c.at <= at, older)
    statement = statement.order_by(_EVENT.c.at.desc(), _EVENT.c.id.desc())
    return session.connection().execute(statement.limit(limit)).all()


def export(database: Database, wanted: Wanted) -> Iterator[Any]:
    """Give every event that is wanted, the earliest first, read page by page. Raises Outage."""
    after: Key | None = None
    while True:
        statement = _earliest(_wanted(wanted), after).limit(_PAGE_ROWS)
        with database.read() as session:
            page = session.connection().execute(statement).all()
        yield from page
        if len(page) < _PAGE_ROWS:
            return
        after = (page[-1].at, page[-1].id)


def _earliest(statement: Select[Any], after: Key | None) -> Select[Any]:
    if after is not None:
        at, id_ = after
        later = or_(_EVENT.c.at > at, _EVENT.c.id > id_)
        statement = statement.where(_EVENT.c.at >= at, later)
    return statement.order_by(_EVENT.c.at, _EVENT.c.id)


def _wanted(wanted: Wanted) -> Select[Any]:
    statement = select(_EVENT)
    for name in ("who", "action", "subject", "address"):
        if value := getattr(wanted, name):
            statement = statement.where(_EVENT.c[name] == value)
    if wanted.since is not None:
        statement = statement.where(_EVENT.c.at >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(_EVENT.c.at < wanted.until)
    return statement
