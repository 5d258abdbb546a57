"""Who looks and acts: accounts, their sessions and tokens, and what they did."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, LargeBinary
from sqlmodel import Field, SQLModel

from mwl.db.types import Json, UtcDateTime


class Account(SQLModel, table=True):
    """A person who may sign in."""

    __tablename__ = "account"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)  # folded: no two differ by case alone
    role: str  # mwl.accounts.Role
    password_hash: str  # argon2id, with its parameters; "": nobody can sign in
    must_change: bool = False  # the password was made by somebody else
    disabled: bool = False
    failures: int = 0  # wrong passwords since the last right one
    locked_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime = Field(sa_type=UtcDateTime)
    signed_in_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class WebSession(SQLModel, table=True):
    """A browser that has signed in, by the hash of what its cookie holds."""

    __tablename__ = "web_session"

    id: int | None = Field(default=None, primary_key=True)
    token_hash: bytes = Field(sa_type=LargeBinary, unique=True)  # SHA-256
    account: int = Field(foreign_key="account.id", index=True)
    address: str = ""
    created_at: datetime = Field(sa_type=UtcDateTime)
    seen_at: datetime = Field(sa_type=UtcDateTime)  # to the minute


class Token(SQLModel, table=True):
    """A program that may use the REST API, by the hash of its bearer token."""

    __tablename__ = "token"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    role: str  # mwl.accounts.Role
    token_hash: bytes = Field(sa_type=LargeBinary, unique=True)  # SHA-256
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)  # to the minute


class AuditEvent(SQLModel, table=True):
    """Somebody signed in, looked at patient data, or changed something."""

    __tablename__ = "audit_event"
    __table_args__ = (
        Index("ix_audit_event_at", "at", "id"),
        Index("ix_audit_event_who", "who", "at", "id"),
        Index("ix_audit_event_action", "action", "at", "id"),
        Index("ix_audit_event_who_action", "who", "action", "at", "id"),
        Index("ix_audit_event_subject", "subject", "at", "id"),
        Index("ix_audit_event_address", "address", "at", "id"),
    )

    id: int | None = Field(default=None, primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)
    who: str = ""  # an account's name, "token NAME"; what was typed, where nobody signed in
    role: str = ""
    address: str = ""
    action: str  # mwl.audit.Action
    subject: str = ""  # "order:4711", "patient:17", "device:CT1"
    detail: dict[str, Any] = Field(default_factory=dict, sa_type=Json)


class Secret(SQLModel, table=True):
    """A key that all processes share, made once."""

    __tablename__ = "secret"

    name: str = Field(primary_key=True)
    value: bytes = Field(sa_type=LargeBinary)
