"""What is kept of images."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, LargeBinary, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from mwl.db.types import Json, UtcDateTime


class Study(SQLModel, table=True):
    """A study of the archive, as its first instance describes it, its patient as known now.

    Patient and accession number follow the order's (`mwl.archive.following`).
    """

    __tablename__ = "study"
    __table_args__ = (
        Index("ix_study_date", "study_date", "id"),
        Index("ix_study_created_at", "created_at"),
        Index("ix_study_patient_id", "patient_id", "patient_id_issuer", "id"),
        # Names of several groups: few of them, or nearly all.
        Index(
            "ix_study_name_groups",
            "name_key",
            sqlite_where=text("instr(name_key, '=') > 0"),
            postgresql_where=text("strpos(name_key, '=') > 0"),
        ),
        Index(
            "ix_study_unmatched",
            "id",
            sqlite_where=text("requested_procedure IS NULL"),
            postgresql_where=text("requested_procedure IS NULL"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    study_instance_uid: str = Field(unique=True)
    patient_id: str = ""
    patient_id_issuer: str = ""
    patient_name: str = ""
    name_key: str = Field(default="", index=True)
    name_words: str = ""  # mwl.names.words_key
    birth_date: str = ""
    sex: str = ""
    accession_number: str = Field(default="", index=True)
    study_id: str = ""
    study_date: str = ""
    study_time: str = ""
    description: str = ""
    referring_physician: str = ""
    referring_physician_key: str = ""
    referring_physician_words: str = ""
    # The order that asked for it; None: unmatched.
    requested_procedure: int | None = Field(
        default=None, foreign_key="requested_procedure.id", index=True
    )
    matched_by: str = ""  # mwl.studies.MatchedBy
    patient: int | None = Field(default=None, index=True)  # the row of the patient, if known
    coerced: bool = False  # patient or order have other values now than the images
    # By column: what the first image said where it says something else now.
    as_received: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    created_at: datetime = Field(sa_type=UtcDateTime)


class Series(SQLModel, table=True):
    """A series of a study."""

    __tablename__ = "series"
    __table_args__ = (
        UniqueConstraint("study", "series_instance_uid"),
        Index("ix_series_modality", "modality", "study"),  # the newest studies of one
    )

    id: int | None = Field(default=None, primary_key=True)
    study: int = Field(foreign_key="study.id")
    series_instance_uid: str = Field(index=True)
    modality: str = ""
    series_number: str = ""
    description: str = ""
    body_part: str = ""
    series_date: str = ""
    series_time: str = ""
    station_name: str = ""
    request: list[Any] = Field(default_factory=list, sa_type=Json)  # of (0040,0275), by keyword
    created_at: datetime = Field(sa_type=UtcDateTime)


class Instance(SQLModel, table=True):
    """A SOP instance of the archive."""

    __tablename__ = "instance"
    __table_args__ = (
        UniqueConstraint("sop_instance_uid"),
        Index("ix_instance_created_at", "created_at"),
    )

    id: int | None = Field(default=None, primary_key=True)
    series: int = Field(foreign_key="series.id", index=True)
    sop_instance_uid: str
    sop_class_uid: str
    instance_number: str = ""
    rows: int | None = None
    columns: int | None = None
    frames: int | None = None
    created_at: datetime = Field(sa_type=UtcDateTime)


class StoredObject(SQLModel, table=True):
    """The bytes of an instance in one version: a DICOM file in the object store.

    Of an instance's objects one is `served`. A quarantined one is kept, not shown: it
    contradicts what is there, and `instance` is None where that is its study.
    """

    __tablename__ = "stored_object"
    __table_args__ = (
        # With the state, so that what is served is counted from it alone.
        Index("ix_stored_object_instance", "instance", "state"),
        # Of what is set aside only, so that the usual instance pays nothing for it.
        Index(
            "ix_stored_object_set_aside",
            "state",
            "sop_instance_uid",
            sqlite_where=text("state <> 'served'"),
            postgresql_where=text("state <> 'served'"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    instance: int | None = Field(default=None, foreign_key="instance.id")
    key: str = Field(unique=True)  # in the object store; derived, never a name from outside
    state: str  # mwl.studies.ObjectState
    size: int = Field(sa_type=BigInteger)  # bytes of the whole file
    data_set_offset: int  # where the data set begins in it: behind preamble and file meta
    sha256: bytes = Field(sa_type=LargeBinary)  # of the data set as received
    transfer_syntax: str
    source: str = ""  # calling AE title
    reason: str = ""  # why it is quarantined
    # As received; for a quarantined one they are all that tells what it is.
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    sop_class_uid: str = ""
    patient_id: str = ""
    received_at: datetime = Field(sa_type=UtcDateTime)
