"""Associations that are open now, as the processes that serve them tell."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, UniqueConstraint
from sqlmodel import Field, SQLModel

from mwl.db.types import Json, UtcDateTime


class DicomServer(SQLModel, table=True):
    """A process that has associations open. What it tells is true while it beats."""

    __tablename__ = "dicom_server"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: int | None = Field(default=None, primary_key=True)
    place: str = Field(unique=True)  # host and port, and which of the processes there
    asked: int = 0  # how often it was asked to end an association
    beat_at: datetime = Field(sa_type=UtcDateTime)


class LiveAssociation(SQLModel, table=True):
    """An association that a process serves now, as it was a few seconds ago."""

    __tablename__ = "live_association"
    # A number that comes again would let somebody end another association than they saw.
    __table_args__ = (UniqueConstraint("server", "number"), {"sqlite_autoincrement": True})

    id: int | None = Field(default=None, primary_key=True)
    server: int = Field(foreign_key="dicom_server.id")
    number: int  # in that process
    address: str
    calling_ae_title: str = ""
    called_ae_title: str = ""
    tls: bool = False
    contexts: list[Any] = Field(default_factory=list, sa_type=Json)  # [abstract, transfer syntax]
    operation: str = ""  # what is being done; "": it rests
    received_bytes: int = Field(default=0, sa_type=BigInteger)
    sent_bytes: int = Field(default=0, sa_type=BigInteger)
    messages: int = 0
    ending: bool = False  # somebody wants it ended
    since: datetime = Field(sa_type=UtcDateTime)
    changed_at: datetime = Field(sa_type=UtcDateTime)  # when it was last seen to do something
