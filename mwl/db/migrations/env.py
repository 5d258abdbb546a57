"""Alembic's entry: run the migrations on the connection that mwl.db.migrate opened."""

from typing import Any, Literal

import sqlalchemy as sa
from alembic import context
from sqlmodel import SQLModel
from sqlmodel.sql.sqltypes import AutoString

import mwl.db.tables  # noqa: F401 - fills the metadata
from mwl.db.types import UtcDateTime

_SPELLINGS = ((UtcDateTime, "UtcDateTime()"), (sa.JSON, "Json"), (AutoString, "sa.String()"))


def render_item(kind: str, item: Any, _: Any) -> str | Literal[False]:
    """Write our types into a new migration as a person would."""
    if kind != "type":
        return False
    for known, text in (
        (UtcDateTime, "UtcDateTime()"),
        (sa.JSON, "Json"),
        (AutoString, "sa.String()"),
    ):
        if isinstance(item, known):
            return text
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,  # SQLite can't alter a column: Alembic copies the table
    render_item=render_item,
)
with context.begin_transaction():
    context.run_migrations()
