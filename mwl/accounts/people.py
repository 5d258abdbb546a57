"""Rows of `account`."""

import re
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, select, update
from sqlmodel import Session

from mwl.accounts import passwords
from mwl.db.tables import Account, WebSession
from mwl.errors import Fault, Reason, Rejected

ACCOUNT = Account.__table__  # type: ignore[attr-defined]
SESSION = WebSession.__table__  # type: ignore[attr-defined]

_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_SHOWN = ("name", "role", "must_change", "disabled", "locked_until", "created_at", "signed_in_at")


class Role(StrEnum):
    """What one may do; each may do what those before it may."""

    VIEWER = "viewer"
    TECHNOLOGIST = "technologist"
    ADMIN = "admin"

    def includes(self, other: "Role") -> bool:
        """Tell whether this role may do what `other` may."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(other)


def fold(name: str) -> str:
    """Make account names comparable."""
    return name.strip().casefold()


def first_admin(session: Session, *, now: datetime) -> str | None:
    """Make the account `admin` if there is no account at all; give its password, once."""
    if session.connection().execute(select(ACCOUNT.c.id).limit(1)).first() is not None:
        return None
    return add(session, "admin", Role.ADMIN, now=now)


def add(session: Session, name: str, role: Role, *, now: datetime) -> str:
    """Make an account; give its password, to be changed at the first sign-in.

    Raises Rejected: MALFORMED, DUPLICATE_KEY.
    """
    name = fold(name)
    if not _NAME.fullmatch(name):
        text = "is 1 to 64 letters, digits and . _ @ -, and begins with a letter or digit"
        raise Rejected(Fault(Reason.MALFORMED, "name", text))
    if _find(session, name) is not None:
        raise Rejected(Fault(Reason.DUPLICATE_KEY, "name", "there is such an account already"))
    password = passwords.generate()
    session.connection().execute(
        ACCOUNT.insert().values(
            name=name,
            role=role.value,
            password_hash=passwords.hashed(password),
            must_change=True,
            disabled=False,
            failures=0,
            created_at=now,
        )
    )
    return password


def reset(session: Session, name: str) -> str:
    """Give an account a new password, and let it in again; it is signed out everywhere.

    Raises Rejected (UNKNOWN_KEY).
    """
    password = passwords.generate()
    _change(
        session,
        _known(session, name).id,
        password_hash=passwords.hashed(password),
        must_change=True,
        disabled=False,
        failures=0,
        locked_until=None,
    )
    return password


def disable(session: Session, name: str) -> None:
    """Let an account sign in no more. Raises Rejected: UNKNOWN_KEY; FINAL for the last admin."""
    row = _known(session, name)
    others = select(ACCOUNT.c.id).where(
        ACCOUNT.c.role == Role.ADMIN.value, ACCOUNT.c.disabled.is_(False), ACCOUNT.c.id != row.id
    )
    if row.role == Role.ADMIN and session.connection().execute(others).first() is None:
        text = "is the last administrator: make another one first"
        raise Rejected(Fault(Reason.FINAL, row.name, text))
    _change(session, row.id, disabled=True)


def change_password(session: Session, account: int, old: str, new: str) -> None:
    """Change a password, by who knows it; every session of the account ends.

    Raises Rejected (MALFORMED) where the new one may not be used, or the old one is wrong.
    """
    row = session.connection().execute(select(ACCOUNT).where(ACCOUNT.c.id == account)).one()
    if not passwords.is_right(old, row.password_hash):
        raise Rejected(Fault(Reason.MALFORMED, "present password", "is another one"))
    passwords.check(new, row.name)
    if new == old:
        raise Rejected(Fault(Reason.MALFORMED, "password", "is the present one"))
    _change(session, row.id, password_hash=passwords.hashed(new), must_change=False)


def listing(session: Session) -> Sequence[Any]:
    """List the accounts, by name, without what proves anything."""
    columns = [ACCOUNT.c[name] for name in _SHOWN]
    return session.connection().execute(select(*columns).order_by(ACCOUNT.c.name)).all()


def state(row: Any, *, now: datetime) -> str:
    """Say how an account of the listing stands."""
    if row.disabled:
        return "disabled"
    if row.locked_until is not None and row.locked_until > now:
        return "locked"
    return "first password" if row.must_change else "active"


def _find(session: Session, name: str) -> Any:
    found = select(ACCOUNT).where(ACCOUNT.c.name == fold(name))
    return session.connection().execute(found).first()


def _known(session: Session, name: str) -> Any:
    row = _find(session, name)
    if row is None:
        text = "there is no such account (`mwl user list` shows them)"
        raise Rejected(Fault(Reason.UNKNOWN_KEY, name[:64], text))
    return row


def _change(session: Session, account: int, **values: Any) -> None:
    conn = session.connection()
    conn.execute(update(ACCOUNT).where(ACCOUNT.c.id == account).values(values))
    conn.execute(delete(SESSION).where(SESSION.c.account == account))
