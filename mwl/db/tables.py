"""What is kept: SQLModel tables, rows without behaviour.

Text columns are never NULL: empty means unknown, as it does on the wire. Columns that carry
a DICOM attribute are named after its keyword. `…_issuer` columns hold an HL7 hierarchic
designator, `namespace^universal ID^type`, trailing carets cut.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, LargeBinary, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from mwl.db.types import Json, UtcDateTime

# A later migration can only change what has a name, and SQLite names no constraints.
SQLModel.metadata.naming_convention = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Patient(SQLModel, table=True):
    """A patient, known by identifier and issuer; a merged one points to its survivor."""

    __tablename__ = "patient"
    __table_args__ = (UniqueConstraint("patient_id", "issuer_key"),)

    id: int | None = Field(default=None, primary_key=True)
    patient_id: str
    issuer_key: str = ""  # what the issuer is compared by
    issuer: str = ""  # (0010,0021), (0010,0024)
    patient_name: str = ""  # groups separated by "="
    name_key: str = Field(default="", index=True)
    birth_date: str = ""  # YYYYMMDD: a DA never shifts
    sex: str = ""
    mother_name: str = ""
    address: str = ""
    phone: str = ""
    language: str = ""
    medical_alerts: str = ""
    allergies: str = ""
    comments: str = ""
    other_ids: list[Any] = Field(default_factory=list, sa_type=Json)  # [[id, issuer, type], …]
    merged_into: int | None = Field(default=None, foreign_key="patient.id", index=True)
    applied_at: dict[str, Any] = Field(default_factory=dict, sa_type=Json)  # source → µs since 1970
    created_at: datetime = Field(sa_type=UtcDateTime)
    updated_at: datetime = Field(sa_type=UtcDateTime)


class ImagingOrder(SQLModel, table=True):
    """An order as its sender knows it; without procedures it is a tombstone."""

    __tablename__ = "imaging_order"
    __table_args__ = (
        UniqueConstraint("source", "order_number", "order_namespace"),
        Index(
            "ix_imaging_order_check_at",
            "check_at",
            sqlite_where=text("check_at IS NOT NULL"),
            postgresql_where=text("check_at IS NOT NULL"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    patient: int = Field(foreign_key="patient.id", index=True)
    source: str
    order_number: str
    order_namespace: str = ""
    placer_number: str = Field(default="", index=True)  # (0040,2016)
    placer_issuer: str = ""  # (0040,0026)
    filler_number: str = Field(default="", index=True)  # (0040,2017)
    filler_issuer: str = ""  # (0040,0027)
    status: str = ""
    admission_id: str = ""
    admission_issuer: str = ""
    current_patient_location: str = ""
    route_of_admissions: str = ""
    referring_physician: str = ""
    requesting_physician: str = ""
    requesting_service: str = ""
    pregnancy_status: str = ""
    patient_state: str = ""
    patient_weight: str = ""  # kg, DS
    patient_size: str = ""  # m, DS
    confidentiality: str = ""
    comments: str = ""
    applied_at: datetime | None = Field(default=None, sa_type=UtcDateTime)  # last message's MSH-7
    flags: list[Any] = Field(default_factory=list, sa_type=Json)  # what a person should see
    closed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)  # the close rule held
    closed_by: str = ""  # mwl.performed.Route: by which rule
    expired_at: datetime | None = Field(default=None, sa_type=UtcDateTime)  # never started
    revived_at: datetime | None = Field(default=None, sa_type=UtcDateTime)  # expired no longer
    # When the clock looks again whether it has ended; None: nothing is waited for.
    check_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime = Field(sa_type=UtcDateTime)
    updated_at: datetime = Field(sa_type=UtcDateTime)


class RequestedProcedure(SQLModel, table=True):
    """One procedure of an order; `key` is OBR-19, else the code of OBR-4.

    The accession number stands here, because OBR-18 and IPC-1 come once a procedure.
    """

    __tablename__ = "requested_procedure"
    __table_args__ = (UniqueConstraint("imaging_order", "key"),)

    id: int | None = Field(default=None, primary_key=True)
    imaging_order: int = Field(foreign_key="imaging_order.id")
    key: str
    requested_procedure_id: str = Field(index=True)
    study_instance_uid: str = Field(index=True)
    accession_number: str = Field(default="", index=True)
    accession_issuer: str = ""
    description: str = ""
    code_value: str = ""
    code_scheme: str = ""
    code_meaning: str = ""
    priority: str = ""
    reason: str = ""
    transport: str = ""
    comments: str = ""


class ScheduledStep(SQLModel, table=True):
    """A scheduled procedure step: one line of a worklist."""

    __tablename__ = "scheduled_step"
    __table_args__ = (
        UniqueConstraint("study_instance_uid", "sps_id"),
        Index("ix_scheduled_step_modality_start", "modality", "start_local"),
        Index("ix_scheduled_step_state_start", "state", "start_local"),
        Index("ix_scheduled_step_start", "start_local"),
    )

    id: int | None = Field(default=None, primary_key=True)
    procedure: int = Field(foreign_key="requested_procedure.id", index=True)
    study_instance_uid: str
    sps_id: str
    state: str
    state_at: datetime = Field(sa_type=UtcDateTime)  # since when
    expired: bool = False  # as its order is: no scanner sees it
    modality: str = ""
    station_ae_titles: str = ""  # separated by "\"; empty: unassigned
    station_name: str = ""
    location: str = ""
    start_at: datetime = Field(sa_type=UtcDateTime)
    start_local: str  # YYYYMMDDHHMMSS, wall clock of the site
    performing_physician: str = ""
    performing_physician_key: str = ""
    description: str = ""
    protocol_value: str = ""
    protocol_scheme: str = ""
    protocol_meaning: str = ""
    pre_medication: str = ""
    contrast_agent: str = ""
    comments: str = ""
    attributes: dict[str, Any] = Field(
        default_factory=dict, sa_type=Json
    )  # further ones, by keyword


class StepStation(SQLModel, table=True):
    """A station that a step is scheduled on."""

    __tablename__ = "step_station"

    step: int = Field(foreign_key="scheduled_step.id", primary_key=True)
    ae_title: str = Field(primary_key=True, index=True)


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
    content_hash: bytes = Field(sa_type=LargeBinary)  # SHA-256 of raw
    raw: bytes = Field(sa_type=LargeBinary)
    ack: bytes = Field(default=b"", sa_type=LargeBinary)
    imaging_order: int | None = Field(default=None, foreign_key="imaging_order.id", index=True)
    patient: int | None = Field(default=None, foreign_key="patient.id", index=True)
    repeats: int = 0
    repeated_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Device(SQLModel, table=True):
    """A scanner or other DICOM peer that we know."""

    __tablename__ = "device"

    id: int | None = Field(default=None, primary_key=True)
    ae_title: str = Field(unique=True)
    host: str = ""
    port: int = 0
    modality: str = Field(default="", index=True)
    station_name: str = ""
    location: str = ""
    may: list[Any] = Field(default_factory=list, sa_type=Json)  # what it may do
    mpps: bool = True  # whether it tells of its work; False: the quiet-study rule closes
    commit_report: str = "new"  # or "same": the association that it is told on
    origin: str = "manual"  # or "config"
    created_at: datetime = Field(sa_type=UtcDateTime)
    updated_at: datetime = Field(sa_type=UtcDateTime)


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


class Study(SQLModel, table=True):
    """A study of the archive, as its first instance describes it."""

    __tablename__ = "study"
    __table_args__ = (
        Index("ix_study_date", "study_date", "id"),
        Index("ix_study_created_at", "created_at"),
        Index(
            "ix_study_unmatched",
            "id",
            sqlite_where=text("requested_procedure IS NULL"),
            postgresql_where=text("requested_procedure IS NULL"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    study_instance_uid: str = Field(unique=True)
    patient_id: str = Field(default="", index=True)
    patient_id_issuer: str = ""
    patient_name: str = ""
    name_key: str = Field(default="", index=True)
    birth_date: str = ""
    sex: str = ""
    accession_number: str = Field(default="", index=True)
    study_id: str = ""
    study_date: str = ""
    study_time: str = ""
    description: str = ""
    referring_physician: str = ""
    referring_physician_key: str = ""
    # The order that asked for it; None: unmatched.
    requested_procedure: int | None = Field(
        default=None, foreign_key="requested_procedure.id", index=True
    )
    matched_by: str = ""  # mwl.studies.MatchedBy
    created_at: datetime = Field(sa_type=UtcDateTime)


class Series(SQLModel, table=True):
    """A series of a study."""

    __tablename__ = "series"
    __table_args__ = (UniqueConstraint("study", "series_instance_uid"),)

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
    __table_args__ = (UniqueConstraint("sop_instance_uid"),)

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
    instance: int | None = Field(default=None, foreign_key="instance.id", index=True)
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
        Index("ix_delivery_subject", "subject"),
    )

    id: int | None = Field(default=None, primary_key=True)
    kind: str  # mwl.outbox.Kind: who delivers it
    destination: str  # the name of an [[hl7.destination]]; an AE title
    subject: str = ""  # "order:4711", "commitment:17"
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
