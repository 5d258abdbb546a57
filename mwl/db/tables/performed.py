"""What scanners say that they do or did (MPPS)."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, LargeBinary, text
from sqlmodel import Field, SQLModel

from mwl.db.types import Json, UtcDateTime


class PerformedStep(SQLModel, table=True):
    """A modality performed procedure step (MPPS): what a scanner says that it does or did.

    Columns hold what its data sets say, decoded; the data sets stand in `performed_message`.
    """

    __tablename__ = "performed_step"
    __table_args__ = (
        Index("ix_performed_step_state_created", "state", "created_at"),
        Index(
            "ix_performed_step_unscheduled",
            "id",
            sqlite_where=text("unscheduled"),
            postgresql_where=text("unscheduled"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    sop_instance_uid: str = Field(unique=True)
    state: str  # mwl.performed.PerformedState
    ae_title: str = ""  # of the association that N-CREATE came on
    station_ae_title: str = ""  # (0040,0241)
    modality: str = ""
    patient_id: str = Field(default="", index=True)
    patient_id_issuer: str = ""
    patient_name: str = ""
    study_instance_uid: str = Field(default="", index=True)
    accession_number: str = Field(default="", index=True)
    performed_step_id: str = ""  # (0040,0253)
    start_local: str = ""  # YYYYMMDDHHMMSS, the scanner's wall clock
    end_local: str = ""
    discontinuation: str = ""  # code^scheme^meaning of (0040,0281)
    # Of each item of (0040,0270): Study Instance UID, SPS ID, accession number.
    requests: list[Any] = Field(default_factory=list, sa_type=Json)
    unscheduled: bool = False  # some item has found no scheduled step
    flags: list[Any] = Field(default_factory=list, sa_type=Json)
    ended_by: str = ""  # a person, where not the scanner
    created_at: datetime = Field(sa_type=UtcDateTime)
    updated_at: datetime = Field(sa_type=UtcDateTime)
    final_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class PerformedMessage(SQLModel, table=True):
    """A data set of an MPPS as received, to be read with its own character set."""

    __tablename__ = "performed_message"

    id: int | None = Field(default=None, primary_key=True)
    performed_step: int = Field(foreign_key="performed_step.id", index=True)
    operation: str  # N-CREATE or N-SET
    ae_title: str = ""
    received_at: datetime = Field(sa_type=UtcDateTime)
    transfer_syntax: str
    data_set: bytes = Field(sa_type=LargeBinary)


class PerformedLink(SQLModel, table=True):
    """A scheduled step that an MPPS carries out; `by` tells how we know."""

    __tablename__ = "performed_link"

    performed_step: int = Field(foreign_key="performed_step.id", primary_key=True)
    scheduled_step: int = Field(foreign_key="scheduled_step.id", primary_key=True, index=True)
    by: str  # mwl.performed.LinkedBy


class PerformedInstance(SQLModel, table=True):
    """An instance that an MPPS lists: (0040,0340) > (0008,1140) or (0040,0220)."""

    __tablename__ = "performed_instance"

    performed_step: int = Field(foreign_key="performed_step.id", primary_key=True)
    sop_instance_uid: str = Field(primary_key=True, index=True)
    sop_class_uid: str = ""
    series_instance_uid: str = ""
