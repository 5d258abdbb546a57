"""How patients belong together: merges, each with what undoes it, and links."""

from datetime import datetime
from typing import Any

from sqlalchemy import UniqueConstraint
from sqlmodel import Field, SQLModel

from mwl.db.types import Json, UtcDateTime


class PatientMerge(SQLModel, table=True):
    """A merge, or a change of identifier: `loser` is an alias of `survivor` since.

    It stays when it is undone. `prior` is whom MRG-1 named: the loser, or one of its aliases.
    """

    __tablename__ = "patient_merge"

    id: int | None = Field(default=None, primary_key=True)
    loser: int = Field(foreign_key="patient.id", index=True)
    survivor: int = Field(foreign_key="patient.id", index=True)  # as PID-3 named it
    prior: int = Field(foreign_key="patient.id", index=True)
    source: str = ""  # MSH-3^MSH-4
    control_id: str = ""  # MSH-10
    stated_at: datetime = Field(sa_type=UtcDateTime)  # MSH-7, else when it came
    applied_at: datetime = Field(sa_type=UtcDateTime)
    renumbered: bool = False  # nobody knew the survivor before: the loser's new identifier
    # Rows that it moved, the first thousand of each: {"orders": […], "studies": […], "mpps": […]}
    moved: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    counts: dict[str, Any] = Field(default_factory=dict, sa_type=Json)  # how many, of each
    # Visits that got another number (ADT^A36): [[order, what, its issuer], …] as before.
    visits: list[Any] = Field(default_factory=list, sa_type=Json)
    former: dict[str, Any] = Field(default_factory=dict, sa_type=Json)  # the loser's columns then
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended_by: str = ""  # the person who undid it; "an older merge" that left nothing of it


class PatientLink(SQLModel, table=True):
    """Two patients that are said to be one person, and yet are kept apart (ADT^A24, A37)."""

    __tablename__ = "patient_link"
    __table_args__ = (UniqueConstraint("one", "other"),)

    id: int | None = Field(default=None, primary_key=True)
    one: int = Field(foreign_key="patient.id")  # the row with the lower number
    other: int = Field(foreign_key="patient.id", index=True)
    linked: bool  # the last word on it
    source: str = ""
    stated_at: datetime = Field(sa_type=UtcDateTime)
