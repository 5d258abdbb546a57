"""Browsers that have signed in."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, or_, select, update
from sqlmodel import Session as DatabaseSession

from mwl.accounts.people import ACCOUNT, SESSION, Role
from mwl.config import Web

_SEEN_TO = timedelta(minutes=1)  # not every click is worth a commit


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a session lasts: without a click, and in all."""

    idle: timedelta = timedelta(minutes=30)
    absolute: timedelta = timedelta(hours=12)

    @classmethod
    def of(cls, given: Web) -> "Bounds":
        """Take them from `[web]` of the settings."""
        return cls(timedelta(minutes=given.idle_min), timedelta(hours=given.session_h))


@dataclass(frozen=True, slots=True)
class Session:
    """A session that is good: whose it is."""

    id: int
    account: int
    name: str
    role: Role
    must_change: bool  # nothing but the password may be done
    is_due: bool  # `seen` is to be written


def digest(token: str) -> bytes:
    """Hash what a cookie or a header holds."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def begin(session: DatabaseSession, account: int, address: str, *, now: datetime) -> str:
    """Begin a session; give what its cookie is to hold: nobody can ask for that again."""
    token = secrets.token_urlsafe(32)
    session.connection().execute(
        SESSION.insert().values(
            token_hash=digest(token), account=account, address=address, created_at=now, seen_at=now
        )
    )
    return token


def find(session: DatabaseSession, token: str, bounds: Bounds, *, now: datetime) -> Session | None:
    """Find the session of a cookie; None: there is none, or it has ended."""
    row = (
        session.connection()
        .execute(
            select(
                SESSION.c.id,
                SESSION.c.account,
                SESSION.c.seen_at,
                ACCOUNT.c.name,
                ACCOUNT.c.role,
                ACCOUNT.c.must_change,
            )
            .join(ACCOUNT, ACCOUNT.c.id == SESSION.c.account)
            .where(
                SESSION.c.token_hash == digest(token),
                SESSION.c.seen_at > now - bounds.idle,
                SESSION.c.created_at > now - bounds.absolute,
                ACCOUNT.c.disabled.is_(False),
            )
        )
        .first()
    )
    if row is None:
        return None
    is_due = now - row.seen_at >= _SEEN_TO
    return Session(row.id, row.account, row.name, Role(row.role), row.must_change, is_due)


def seen(session: DatabaseSession, id_: int, *, now: datetime) -> None:
    """Note that it is in use."""
    session.connection().execute(update(SESSION).where(SESSION.c.id == id_).values(seen_at=now))


def sign_out(session: DatabaseSession, id_: int) -> None:
    """End a session."""
    session.connection().execute(delete(SESSION).where(SESSION.c.id == id_))


def ended(session: DatabaseSession, bounds: Bounds, *, now: datetime) -> int:
    """Remove sessions that have ended by themselves; tell how many."""
    over = or_(SESSION.c.seen_at < now - bounds.idle, SESSION.c.created_at < now - bounds.absolute)
    return int(session.connection().execute(delete(SESSION).where(over)).rowcount)
