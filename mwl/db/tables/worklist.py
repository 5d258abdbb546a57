"""What is ordered: patients, orders, procedures, scheduled steps."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from mwl.db.types import Json, UtcDateTime


class Patient(SQLModel, table=True):
    """A patient, known by identifier and issuer; a merged one points to its survivor."""

    __tablename__ = "patient"
    __table_args__ = (
        UniqueConstraint("patient_id", "issuer_key"),
        # A group that is not the first has no index of its own: names of several are few.
        Index(
            "ix_patient_name_groups",
            "name_key",
            sqlite_where=text("instr(name_key, '=') > 0"),
            postgresql_where=text("strpos(name_key, '=') > 0"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    patient_id: str
    issuer_key: str = ""  # what the issuer is compared by
    issuer: str = ""  # (0010,0021), (0010,0024)
    patient_name: str = ""  # groups separated by "="
    name_key: str = Field(default="", index=True)
    name_words: str = ""  # mwl.names.words_key
    birth_date: str = ""  # YYYYMMDD: a DA never shifts
    sex: str = ""
    mother_name: str = ""
    address: str = ""
    phone: str = ""
    language: str = ""
    medical_alerts: str = ""
    allergies: str = ""
    ethnic_group: str = ""
    comments: str = ""
    other_ids: list[Any] = Field(default_factory=list, sa_type=Json)  # [[id, issuer, type], …]
    former_names: list[Any] = Field(default_factory=list, sa_type=Json)  # as folded, newest last
    merged_into: int | None = Field(default=None, foreign_key="patient.id", index=True)
    applied_at: dict[str, Any] = Field(default_factory=dict, sa_type=Json)  # source → µs since 1970
    visits: dict[str, Any] = Field(default_factory=dict, sa_type=Json)  # mwl.worklist.visits
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
        # From the first of its steps that is done until it closes: few at any time.
        Index(
            "ix_imaging_order_under_way",
            "id",
            sqlite_where=text("status IN ('IN_PROGRESS', 'COMPLETED')"),
            postgresql_where=text("status IN ('IN_PROGRESS', 'COMPLETED')"),
        ),
        # What a person should see is rare.
        Index(
            "ix_imaging_order_flagged",
            "id",
            sqlite_where=text("flags <> '[]'"),
            postgresql_where=text("flags <> '[]'"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    patient: int = Field(foreign_key="patient.id", index=True)
    # The row of the patient whom its first message named: an alias, if there was a merge.
    stated_patient: int | None = None
    source: str
    profile: str = ""  # that its messages were read by last; "": none
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
    institution: str = ""
    visit_status: str = ""  # (0038,0008)
    admitting_date: str = ""
    admitting_diagnoses: str = ""  # separated by "\"
    admitting_codes: str = ""
    referring_physician: str = ""
    referring_physician_id: str = ""  # items, as JSON (mwl.worklist.kept), as all codes below
    requesting_physician: str = ""
    requesting_physician_id: str = ""
    requesting_service: str = ""
    entered_by: str = ""
    enterer_location: str = ""
    callback_phone: str = ""
    issued_local: str = ""  # YYYYMMDDHHMMSS, wall clock of the site
    pregnancy_status: str = ""
    patient_state: str = ""
    patient_weight: str = ""  # kg, DS
    patient_size: str = ""  # m, DS
    confidentiality: str = ""
    comments: str = ""
    applied_at: datetime | None = Field(default=None, sa_type=UtcDateTime)  # last message's MSH-7
    visit_at: datetime | None = Field(default=None, sa_type=UtcDateTime)  # what told its visit last
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
    code_items: str = ""  # all of the code, if there is more than these three
    priority: str = ""
    reason: str = ""
    reason_codes: str = ""
    transport: str = ""
    recipients: str = ""  # names separated by "\"
    recipient_ids: str = ""
    comments: str = ""


class ScheduledStep(SQLModel, table=True):
    """A scheduled procedure step: one line of a worklist."""

    __tablename__ = "scheduled_step"
    __table_args__ = (
        UniqueConstraint("study_instance_uid", "sps_id"),
        Index("ix_scheduled_step_modality_start", "modality", "start_local"),
        # Scanners ask for what is to be done: what has expired is in no one's way.
        Index(
            "ix_scheduled_step_state_start",
            "state",
            "start_local",
            sqlite_where=text("NOT expired"),
            postgresql_where=text("NOT expired"),
        ),
        Index("ix_scheduled_step_start", "start_local"),
        Index(
            "ix_scheduled_step_expired",
            "start_local",
            sqlite_where=text("expired"),
            postgresql_where=text("expired"),
        ),
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
    performing_physician_words: str = ""
    performing_physician_id: str = ""
    description: str = ""
    protocol_value: str = ""
    protocol_scheme: str = ""
    protocol_meaning: str = ""
    protocol_items: str = ""  # all of the code, if there is more than these three
    pre_medication: str = ""
    contrast_agent: str = ""
    comments: str = ""
    attributes: dict[str, Any] = Field(
        default_factory=dict, sa_type=Json
    )  # further ones, by name (mwl.worklist.kept)


class StepStation(SQLModel, table=True):
    """A station that a step is scheduled on."""

    __tablename__ = "step_station"

    step: int = Field(foreign_key="scheduled_step.id", primary_key=True)
    ae_title: str = Field(primary_key=True, index=True)


class ShortIdentifier(SQLModel, table=True):
    """What stands for a sender's identifier that no attribute can hold (`mwl.shortened`)."""

    __tablename__ = "short_identifier"

    short: str = Field(primary_key=True)
    long: str
    created_at: datetime = Field(sa_type=UtcDateTime)
