"""Signing in, and what slows down who guesses.

- A wrong name takes as long as a wrong password, and is told the same.
- The fifth wrong password in a row locks the account for a minute, each further one twice
  as long, up to an hour. Who is locked out is told so only with the right password.
- An address from which many sign-ins failed within a quarter of an hour waits.
- Whatever happens is in the audit trail.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import select, update
from sqlmodel import Session

from mwl import audit
from mwl.accounts import passwords, sessions
from mwl.accounts.people import ACCOUNT, fold
from mwl.audit import Action, Actor, Event
from mwl.db import Database

_FREE_FAILURES = 4
_FIRST_LOCK = timedelta(minutes=1)
_LONGEST_LOCK = timedelta(hours=1)
_WINDOW = timedelta(minutes=15)
_MOST_FROM_ADDRESS = 50


class Refusal(StrEnum):
    """Why somebody may not come in."""

    WRONG = "wrong"  # name or password
    LOCKED = "locked"
    TOO_MANY = "too many"


def sign_in(
    database: Database, name: str, password: str, address: str, *, now: datetime
) -> str | Refusal:
    """Begin a session; give what its cookie is to hold. Raises Outage."""
    row = proven(database, Actor(fold(name), "", address), password, now=now)
    if isinstance(row, Refusal):
        return row

    def begin(session: Session) -> str:
        came_in(session, row, address, now=now)
        return sessions.begin(session, row.id, address, now=now)

    return database.write(begin)


def proven(
    database: Database,
    actor: Actor,
    password: str,
    *,
    now: datetime,
    detail: Mapping[str, Any] | None = None,
) -> Any | Refusal:
    """Give the account whose password it is; record it where it is nobody's. Raises Outage.

    `actor` is who somebody claims to be, with a folded name; `detail` goes into the record.
    """
    with database.read() as session:
        many = audit.failed_sign_ins(session, actor.address, since=now - _WINDOW)
        row = account_named(session, actor.name)
    if many >= _MOST_FROM_ADDRESS:
        return Refusal.TOO_MANY
    # Outside of any transaction: it takes its time, and is meant to.
    is_right = passwords.is_right(password, row.password_hash if row is not None else "")
    if row is None or row.disabled or not is_right:
        event = Event(Action.SIGN_IN_FAILED, detail=detail or {})
        database.write(lambda s: _failed(s, row, actor, event, now))
        return Refusal.WRONG
    return Refusal.LOCKED if is_locked(row, now=now) else row


def account_named(session: Session, name: str) -> Any:
    """Find the row of an account by its folded name; None: there is none."""
    return session.connection().execute(select(ACCOUNT).where(ACCOUNT.c.name == name)).first()


def is_locked(row: Any, *, now: datetime) -> bool:
    """Tell whether an account waits because of wrong passwords."""
    return row.locked_until is not None and row.locked_until > now


def came_in(
    session: Session,
    row: Any,
    address: str,
    *,
    now: datetime,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Record that the owner of an account is here, and forget wrong passwords."""
    event = Event(Action.SIGN_IN, detail=detail or {})
    audit.record(session, Actor(row.name, row.role, address), event, now=now)
    session.connection().execute(
        update(ACCOUNT)
        .where(ACCOUNT.c.id == row.id)
        .values(failures=0, locked_until=None, signed_in_at=now)
    )


def _failed(session: Session, row: Any, actor: Actor, event: Event, now: datetime) -> None:
    audit.record(session, actor, event, now=now)
    if row is None:
        return
    counted = update(ACCOUNT).where(ACCOUNT.c.id == row.id)
    conn = session.connection()
    conn.execute(counted.values(failures=ACCOUNT.c.failures + 1))
    failures = int(conn.scalar(select(ACCOUNT.c.failures).where(ACCOUNT.c.id == row.id)) or 0)
    if failures > _FREE_FAILURES:
        doubled = _FIRST_LOCK * 2 ** min(failures - _FREE_FAILURES - 1, 10)
        conn.execute(counted.values(locked_until=now + min(doubled, _LONGEST_LOCK)))
