"""Signing in, and what slows down who guesses.

- A wrong name takes as long as a wrong password, and is told the same.
- The fifth wrong password in a row locks the account for a minute, each further one twice
  as long, up to an hour. Who is locked out is told so only with the right password.
- An address from which many sign-ins failed within a quarter of an hour waits.
- Whatever happens is in the audit trail.
"""

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
    name = fold(name)
    with database.read() as session:
        many = audit.failed_sign_ins(session, address, since=now - _WINDOW)
        row = session.connection().execute(select(ACCOUNT).where(ACCOUNT.c.name == name)).first()
    if many >= _MOST_FROM_ADDRESS:
        return Refusal.TOO_MANY
    # Outside of any transaction: it takes its time, and is meant to.
    is_right = passwords.is_right(password, row.password_hash if row is not None else "")
    if row is None or row.disabled or not is_right:
        database.write(lambda s: _failed(s, row, Actor(name, "", address), now))
        return Refusal.WRONG
    if row.locked_until is not None and row.locked_until > now:
        return Refusal.LOCKED
    return database.write(lambda s: _succeeded(s, row, address, now))


def _failed(session: Session, row: Any, actor: Actor, now: datetime) -> None:
    audit.record(session, actor, Event(Action.SIGN_IN_FAILED), now=now)
    if row is None:
        return
    counted = update(ACCOUNT).where(ACCOUNT.c.id == row.id)
    conn = session.connection()
    conn.execute(counted.values(failures=ACCOUNT.c.failures + 1))
    failures = int(conn.scalar(select(ACCOUNT.c.failures).where(ACCOUNT.c.id == row.id)) or 0)
    if failures > _FREE_FAILURES:
        doubled = _FIRST_LOCK * 2 ** min(failures - _FREE_FAILURES - 1, 10)
        conn.execute(counted.values(locked_until=now + min(doubled, _LONGEST_LOCK)))


def _succeeded(session: Session, row: Any, address: str, now: datetime) -> str:
    audit.record(session, Actor(row.name, row.role, address), Event(Action.SIGN_IN), now=now)
    session.connection().execute(
        update(ACCOUNT)
        .where(ACCOUNT.c.id == row.id)
        .values(failures=0, locked_until=None, signed_in_at=now)
    )
    return sessions.begin(session, row.id, address, now=now)
