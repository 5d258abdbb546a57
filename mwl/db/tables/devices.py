"""Who asks: devices, and strangers that knocked."""

from datetime import datetime
from secrets import randbits
from typing import Any

from sqlalchemy import Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from mwl.db.types import Json, UtcDateTime


def draw() -> int:
    """Draw a number for what is set of a device: it changes with it (`mwl.devices.catalog`)."""
    return randbits(31)


class Device(SQLModel, table=True):
    """A scanner or other DICOM peer that we know."""

    __tablename__ = "device"
    __table_args__ = (
        # Few say where their images go, and each end of an MPPS asks.
        Index(
            "ix_device_close_images",
            "ae_title",
            sqlite_where=text("close_images <> ''"),
            postgresql_where=text("close_images <> ''"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    ae_title: str = Field(unique=True)
    aliases: list[Any] = Field(default_factory=list, sa_type=Json)  # further ones
    host: str = ""
    port: int = 0
    modality: str = Field(default="", index=True)
    station_name: str = ""
    location: str = ""
    may: list[Any] = Field(default_factory=list, sa_type=Json)  # what it may do
    mpps: bool = True  # whether it tells of its work; False: the quiet-study rule closes
    commit_report: str = "new"  # or "same": the association that it is told on
    tls: bool = False  # whether we call it over TLS
    certificate: str = ""  # what its certificate must be; "": none is asked for
    zone: str = ""  # of its wall clock; "": the site's
    close_images: str = ""  # where those of its orders are kept: here, elsewhere; "": the site's
    # What it is shown, and in which letters: tables of the settings, without what is as ever.
    worklist: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    characters: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    oddities: list[Any] = Field(default_factory=list, sa_type=Json)  # faults that we overlook
    origin: str = "manual"  # or "config"
    seen_at: datetime | None = Field(default=None, sa_type=UtcDateTime)  # to seconds
    seen_address: str = ""
    created_at: datetime = Field(sa_type=UtcDateTime)
    updated_at: datetime = Field(sa_type=UtcDateTime)
    revision: int = Field(default_factory=draw, index=True)


class DeviceTitle(SQLModel, table=True):
    """A further AE title of a device, in capitals: an alias, or one of its stations."""

    __tablename__ = "device_title"

    ae_title: str = Field(primary_key=True)
    device: int = Field(foreign_key="device.id", primary_key=True, index=True, ondelete="CASCADE")
    calls: bool  # whether it calls by this title


class Knock(SQLModel, table=True):
    """An association that somebody unknown asked for."""

    __tablename__ = "knock"
    __table_args__ = (UniqueConstraint("calling_ae_title", "called_ae_title", "address"),)

    id: int | None = Field(default=None, primary_key=True)
    calling_ae_title: str
    called_ae_title: str
    address: str
    admitted: bool
    count: int = 1
    first_at: datetime = Field(sa_type=UtcDateTime)
    last_at: datetime = Field(sa_type=UtcDateTime)
