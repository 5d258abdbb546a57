"""Other worklists that are brought in, folders that are kept: how it goes, and what was there."""

from datetime import datetime
from typing import Any

from sqlmodel import Field, SQLModel

from mwl.db.types import Json, UtcDateTime


class WorklistSource(SQLModel, table=True):
    """A worklist of the settings: when it is asked again, and what came of it last."""

    __tablename__ = "worklist_source"

    name: str = Field(primary_key=True)
    next_at: datetime = Field(sa_type=UtcDateTime)  # while somebody asks: when another may
    asked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    succeeded_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    failures: int = 0  # since it succeeded
    error: str = ""
    counts: dict[str, Any] = Field(default_factory=dict, sa_type=Json)  # of the last success


class ListedItem(SQLModel, table=True):
    """An item that was on a source's list when that was last seen whole."""

    __tablename__ = "listed_item"

    source: str = Field(primary_key=True)
    item: str = Field(primary_key=True)  # a digest of what identifies it
    digest: str  # of what was said of it
    vanished: bool = False  # and was cancelled here for that
    # The first of the whole lists in a row that did not have it.
    missing_since: datetime | None = Field(default=None, sa_type=UtcDateTime)


class FailingExport(SQLModel, table=True):
    """A folder of worklist files that can't be kept fresh, for as long as that is so."""

    __tablename__ = "failing_export"

    folder: str = Field(primary_key=True)  # as the settings name it
    since: datetime = Field(sa_type=UtcDateTime)
    error: str
