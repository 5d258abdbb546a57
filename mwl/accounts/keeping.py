"""What is done to accounts and tokens, each act recorded with who did it.

Each function is one transaction's work; what proves who somebody is comes back once, and
stands in no record.
"""

from datetime import datetime

from sqlmodel import Session

from mwl import audit
from mwl.accounts import people, tokens
from mwl.accounts.people import Role
from mwl.audit import Action, Actor, Event
from mwl.errors import Fault, Reason, Rejected

LONGEST_DAYS = 3_660


def role_named(text: str) -> Role:
    """Read a role. Raises Rejected: MISSING, UNKNOWN_CODE."""
    known = ", ".join(Role)
    if not text:
        raise Rejected(Fault(Reason.MISSING, "role", f"is needed: {known}"))
    try:
        return Role(text.strip().lower())
    except ValueError:
        raise Rejected(Fault(Reason.UNKNOWN_CODE, "role", f"must be one of {known}")) from None


def add_user(session: Session, actor: Actor, name: str, role: Role, *, now: datetime) -> str:
    """Make an account; give its first password. Raises Rejected as `people.add` does."""
    password = people.add(session, name, role, now=now)
    event = Event(Action.CREATE, f"user:{people.fold(name)}", {"role": role.value})
    audit.record(session, actor, event, now=now)
    return password


def reset_user(session: Session, actor: Actor, name: str, *, now: datetime) -> str:
    """Give an account a new password, and let it in. Raises Rejected as `people.reset` does."""
    password = people.reset(session, name)
    event = Event(Action.CHANGE, f"user:{people.fold(name)}", {"password": "made anew"})
    audit.record(session, actor, event, now=now)
    return password


def disable_user(session: Session, actor: Actor, name: str, *, now: datetime) -> None:
    """Let an account in no more. Raises Rejected as `people.disable` does."""
    people.disable(session, name)
    event = Event(Action.CHANGE, f"user:{people.fold(name)}", {"disabled": True})
    audit.record(session, actor, event, now=now)


def issue_token(  # noqa: PLR0913 - who makes which token for how long
    session: Session, actor: Actor, name: str, role: Role, *, days: int | None, now: datetime
) -> str:
    """Make a token; give it. Raises Rejected as `tokens.add_token` does."""
    if days is not None and not 1 <= days <= LONGEST_DAYS:
        raise Rejected(Fault(Reason.MALFORMED, "days", f"is a number from 1 to {LONGEST_DAYS}"))
    token = tokens.add_token(session, name, role, days=days, now=now)
    detail = {"role": role.value, "days": days}
    audit.record(session, actor, Event(Action.CREATE, f"token:{name}", detail), now=now)
    return token


def revoke_token(session: Session, actor: Actor, name: str, *, now: datetime) -> None:
    """Remove a token. Raises Rejected as `tokens.remove_token` does."""
    tokens.remove_token(session, name)
    audit.record(session, actor, Event(Action.REMOVE, f"token:{name[:64]}"), now=now)
