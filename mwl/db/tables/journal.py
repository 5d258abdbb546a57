"""Messages that came in."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, LargeBinary, text
from sqlmodel import Field, SQLModel

from mwl.db.types import Json, UtcDateTime

# Index, columns, and of which rows alone.
_UNUSUAL = (
    ("ix_message_unapplied", ("state", "received_at"), "state <> 'applied'"),
    ("ix_message_flagged", ("received_at",), "flags <> '[]'"),
    ("ix_message_patient_id", ("patient_id",), "patient_id <> ''"),
    ("ix_message_accession_number", ("accession_number",), "accession_number <> ''"),
    ("ix_message_replay_of", ("replay_of",), "replay_of IS NOT NULL"),
)


class Message(SQLModel, table=True):
    """The journal: an HL7 message as it came, what was answered, and what it did."""

    __tablename__ = "message"
    __table_args__ = (
        # An AA answers for ever: the same bytes from the same sender get it again.
        Index(
            "ux_message_accepted",
            "source",
            "control_id",
            "content_hash",
            unique=True,
            sqlite_where=text("ack_code = 'AA'"),
            postgresql_where=text("ack_code = 'AA'"),
        ),
        Index("ix_message_control_id", "control_id"),
        Index("ix_message_received_at", "received_at"),
        Index("ix_message_feed", "source", "state", "received_at"),  # how a feed is
        Index("ix_message_type", "type", "received_at"),
        # What people look for when something is wrong; the usual message pays nothing for it.
        *(
            Index(name, *columns, sqlite_where=text(rows), postgresql_where=text(rows))
            for name, columns, rows in _UNUSUAL
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    received_at: datetime = Field(sa_type=UtcDateTime)
    source: str = ""  # MSH-3^MSH-4
    peer: str = ""  # address:port
    control_id: str = ""
    type: str = ""  # ORM^O01
    state: str  # mwl.journal.State
    ack_code: str = ""
    error: str = ""  # for a person; no patient data
    flags: list[Any] = Field(default_factory=list, sa_type=Json)
    encoding: str = ""  # how the bytes were read
    listener: str = ""  # the [[hl7.listener]] that it came in on; "": [hl7] itself
    profile: str = ""  # by which it was read
    content_hash: bytes = Field(sa_type=LargeBinary)  # SHA-256 of raw
    raw: bytes = Field(sa_type=LargeBinary)
    ack: bytes = Field(default=b"", sa_type=LargeBinary)
    imaging_order: int | None = Field(default=None, foreign_key="imaging_order.id", index=True)
    patient: int | None = Field(default=None, foreign_key="patient.id", index=True)
    changes: dict[str, Any] = Field(default_factory=dict, sa_type=Json)  # mwl.worklist.changed
    # What it names, where that led to no row: a message that was refused is found all the same.
    patient_id: str = ""
    accession_number: str = ""
    replay_of: int | None = None  # the message that a person had applied once more
    repeats: int = 0
    repeated_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class MessageOrder(SQLModel, table=True):
    """A further order that a message is about; its first one stands in its own row."""

    __tablename__ = "message_order"

    message: int = Field(foreign_key="message.id", primary_key=True)
    imaging_order: int = Field(foreign_key="imaging_order.id", primary_key=True, index=True)


class JournalProgress(SQLModel, table=True):
    """How far counting and clearing the journal have come: one row, whose id is 1."""

    __tablename__ = "journal_progress"

    id: int | None = Field(default=None, primary_key=True)
    claimed_until: datetime | None = Field(default=None, sa_type=UtcDateTime)  # by whoever does it
    seen_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    seen_to: int = 0  # the last message at that time
    counted_to: int = 0  # journal_day counts the messages up to this one
    emptied_to: int = 0  # up to here the bytes have gone, but for held ones
    removed_to: int = 0  # up to here the rows have gone, but for held ones
    held_to: int = 0  # up to here held ones were looked at in this round


class JournalDay(SQLModel, table=True):
    """How many messages of a day, by UTC, there are, and how much they take."""

    __tablename__ = "journal_day"

    day: str = Field(primary_key=True)  # YYYY-MM-DD
    messages: int = 0
    bytes: int = Field(default=0, sa_type=BigInteger)


class JournalHeld(SQLModel, table=True):
    """A message that is old enough to go and stays, because something needs it still."""

    __tablename__ = "journal_held"

    message: int = Field(primary_key=True)
