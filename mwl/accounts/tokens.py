"""Bearer tokens, for programs that use the REST API."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, or_, select, update
from sqlmodel import Session

from mwl.accounts.people import Role
from mwl.accounts.sessions import digest
from mwl.db.tables import Token
from mwl.errors import Fault, Reason, Rejected

_TOKEN = Token.__table__  # type: ignore[attr-defined]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_PREFIX = "mwl_"  # lets a scanner of leaked secrets know what it has found


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token that is good: whose it is."""

    id: int
    name: str
    role: Role
    is_due: bool  # `used` is to be written


def add_token(session: Session, name: str, role: Role, *, days: int | None, now: datetime) -> str:
    """Make a token; give it, once. Raises Rejected: MALFORMED, DUPLICATE_KEY."""
    if not _NAME.fullmatch(name):
        text = "is 1 to 64 letters, digits and . _ @ -, and begins with a letter or digit"
        raise Rejected(Fault(Reason.MALFORMED, "name", text))
    conn = session.connection()
    if conn.execute(select(_TOKEN.c.id).where(_TOKEN.c.name == name)).first() is not None:
        raise Rejected(Fault(Reason.DUPLICATE_KEY, "name", "there is such a token already"))
    token = _PREFIX + secrets.token_urlsafe(32)
    conn.execute(
        _TOKEN.insert().values(
            name=name,
            role=role.value,
            token_hash=digest(token),
            created_at=now,
            expires_at=None if days is None else now + timedelta(days=days),
        )
    )
    return token


def find_token(session: Session, token: str, *, now: datetime) -> Bearer | None:
    """Find a token; None: there is none such, or it has expired."""
    row = (
        session.connection()
        .execute(
            select(_TOKEN).where(
                _TOKEN.c.token_hash == digest(token),
                or_(_TOKEN.c.expires_at.is_(None), _TOKEN.c.expires_at > now),
            )
        )
        .first()
    )
    if row is None:
        return None
    is_due = row.used_at is None or now - row.used_at >= timedelta(minutes=1)
    return Bearer(row.id, row.name, Role(row.role), is_due)


def used(session: Session, id_: int, *, now: datetime) -> None:
    """Note that it is in use."""
    session.connection().execute(update(_TOKEN).where(_TOKEN.c.id == id_).values(used_at=now))


def list_tokens(session: Session) -> Sequence[Any]:
    """List the tokens, by name, without what proves anything."""
    names = ("name", "role", "created_at", "expires_at", "used_at")
    statement = select(*(_TOKEN.c[name] for name in names)).order_by(_TOKEN.c.name)
    return session.connection().execute(statement).all()


def is_expired(row: Any, *, now: datetime) -> bool:
    """Tell whether a token of the listing is good no more."""
    return bool(row.expires_at is not None and row.expires_at <= now)


def remove_token(session: Session, name: str) -> None:
    """Remove a token. Raises Rejected (UNKNOWN_KEY)."""
    if not session.connection().execute(delete(_TOKEN).where(_TOKEN.c.name == name)).rowcount:
        text = "there is no such token (`mwl token list` shows them)"
        raise Rejected(Fault(Reason.UNKNOWN_KEY, name[:64], text))
