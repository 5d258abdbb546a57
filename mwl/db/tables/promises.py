"""What is promised to peers, and what they are told."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, LargeBinary, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from mwl.db.types import Json, UtcDateTime


class Commitment(SQLModel, table=True):
    """A request for storage commitment (PS3.4 annex J) and what became of it."""

    __tablename__ = "commitment"
    __table_args__ = (
        # The same transaction with other items is another request, to be refused as such.
        UniqueConstraint("ae_title", "transaction_uid", "items_digest"),
        Index("ix_commitment_state_next_at", "state", "next_at"),
    )

    id: int | None = Field(default=None, primary_key=True)
    transaction_uid: str
    items_digest: bytes = Field(sa_type=LargeBinary)  # SHA-256 over the items
    ae_title: str  # who asked
    called_ae_title: str  # whom it called: the report calls back by this title
    state: str  # mwl.commitment.State
    may_call: bool  # it is registered with an address; else only the same association will do
    held_by: str = ""  # the association that it came on, while the report is to go there
    held_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    received_at: datetime = Field(sa_type=UtcDateTime)
    wait_until: datetime = Field(sa_type=UtcDateTime)  # for what is still on its way
    next_at: datetime = Field(sa_type=UtcDateTime)
    claimed_by: str = ""
    claimed_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    reported_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class CommitmentItem(SQLModel, table=True):
    """An instance that commitment is asked for."""

    __tablename__ = "commitment_item"

    id: int | None = Field(default=None, primary_key=True)
    commitment: int = Field(foreign_key="commitment.id", index=True)
    sop_class_uid: str
    sop_instance_uid: str = Field(index=True)
    failure: int | None = None  # (0008,1197); 0: committed; None: not known yet
    stored_object: int | None = Field(default=None, foreign_key="stored_object.id")


class Delivery(SQLModel, table=True):
    """Something that a peer is to be told: one row a destination, first in, first out.

    Within a destination, what has the same `subject` keeps its order even past a parked one.
    """

    __tablename__ = "delivery"
    __table_args__ = (
        # Small, however much was delivered: what waits, and what is on its way.
        Index(
            "ix_delivery_waiting",
            "destination",
            "kind",
            "id",
            sqlite_where=text("state = 'waiting'"),
            postgresql_where=text("state = 'waiting'"),
        ),
        Index(
            "ix_delivery_claimed",
            "destination",
            "kind",
            sqlite_where=text("claimed_by <> ''"),
            postgresql_where=text("claimed_by <> ''"),
        ),
        # For statements that say `state <> 'done'` too; those about what waits don't, or
        # SQLite would choose this one.
        Index(
            "ix_delivery_open",
            "state",
            "id",
            sqlite_where=text("state <> 'done'"),
            postgresql_where=text("state <> 'done'"),
        ),
        # All that those who ask for a subject know: else SQLite, where it has counted nothing
        # yet, would walk along the whole of a destination.
        Index("ix_delivery_subject", "subject", "kind", "destination"),
        Index("ix_delivery_destination", "destination", "id"),
        # What goes in time, where all others stay.
        Index(
            "ix_delivery_as_it_came",
            "destination",
            "id",
            sqlite_where=text("kind IN ('forward', 'mpps')"),
            postgresql_where=text("kind IN ('forward', 'mpps')"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    kind: str  # mwl.outbox.Kind: who delivers it
    destination: str  # the name of an [[hl7.destination]], a [[….forward]]; an AE title
    subject: str = ""  # "order:4711", "commitment:17", "mpps:42"
    payload: dict[str, Any] = Field(default_factory=dict, sa_type=Json)  # the fact, to be rendered
    state: str  # mwl.outbox.State
    control_id: str = ""  # MSH-10, once rendered
    body: bytes = Field(default=b"", sa_type=LargeBinary)  # rendered once, sent the same again
    attempts: int = 0
    next_at: datetime = Field(sa_type=UtcDateTime)
    claimed_by: str = ""
    claimed_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    error: str = ""  # of the last attempt; no patient data
    answer: bytes = Field(default=b"", sa_type=LargeBinary)
    created_at: datetime = Field(sa_type=UtcDateTime)
    done_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
