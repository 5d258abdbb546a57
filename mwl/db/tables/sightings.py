"""What scanners were shown."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from mwl.db.types import Json, UtcDateTime


class Sighting(SQLModel, table=True):
    """A scanner was shown a worklist item: a row an item and scanner, of the last time.

    `shown` is what it was told of the patient then, by DICOM keyword: if that has changed
    since, its images come with what it was told.
    """

    __tablename__ = "sighting"
    __table_args__ = (Index("ix_sighting_last_at", "last_at"),)

    step: int = Field(foreign_key="scheduled_step.id", primary_key=True)
    ae_title: str = Field(primary_key=True)
    address: str = ""
    count: int = 1
    first_at: datetime = Field(sa_type=UtcDateTime)
    last_at: datetime = Field(sa_type=UtcDateTime)
    shown: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
