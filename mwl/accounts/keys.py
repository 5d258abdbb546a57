"""Keys that all processes share: made once, by whoever comes first."""

import secrets
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session

from mwl.db import Database
from mwl.db.tables import Secret

_SECRET = Secret.__table__  # type: ignore[attr-defined]
_BYTES = 32


def shared_key(database: Database, name: str) -> bytes:
    """Give the key of this name. Raises Outage."""
    with database.read() as session:
        found = _read(session, name)
    return found or database.write(lambda session: _make(session, name))


def _read(session: Session, name: str) -> bytes | None:
    value = session.connection().scalar(select(_SECRET.c.value).where(_SECRET.c.name == name))
    return None if value is None else bytes(value)


def _make(session: Session, name: str) -> bytes:
    conn = session.connection()
    insert: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[conn.dialect.name]
    row = {"name": name, "value": secrets.token_bytes(_BYTES)}
    conn.execute(insert(_SECRET).values(row).on_conflict_do_nothing())
    made = _read(session, name)
    assert made is not None
    return made
