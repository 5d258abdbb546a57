"""Reports of examinations that others sent (ORU^R01), and what is in them."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, LargeBinary, text
from sqlmodel import Field, SQLModel

from mwl.db.types import Json, UtcDateTime

# Index, columns, and of which rows alone. Almost none may be linked, or almost all: an index
# that holds NULL would be taken for one that narrows a list.
_PARTIAL = (
    ("ix_report_unlinked", ("received_at", "id"), "imaging_order IS NULL"),
    ("ix_report_imaging_order", ("imaging_order",), "imaging_order IS NOT NULL"),
    ("ix_report_patient", ("patient",), "patient IS NOT NULL"),
)


class Report(SQLModel, table=True):
    """One version of a report, as it came; `superseded_by` is the one that came after it.

    Whom and what it is about stands here as the message says it: it may be nobody who is
    known. `imaging_order` and `patient` are who that is found to be.
    """

    __tablename__ = "report"
    __table_args__ = (
        Index("ix_report_identity", "source", "number", "code"),
        Index("ix_report_received_at", "received_at"),
        Index("ix_report_status", "status", "received_at"),
        Index("ix_report_patient_id", "patient_id"),
        Index("ix_report_accession_number", "accession_number"),
        *(
            Index(name, *columns, sqlite_where=text(rows), postgresql_where=text(rows))
            for name, columns, rows in _PARTIAL
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    source: str  # MSH-3^MSH-4
    number: str  # what its versions share: filler, else placer order number, with namespace
    code: str = ""  # … and OBR-4
    title: str = ""
    status: str  # mwl.reports.Status
    issued_at: datetime | None = Field(default=None, sa_type=UtcDateTime)  # OBR-22
    interpreter: str = ""  # OBR-32
    others: str = ""  # OBR-33 to OBR-35, OBX-16; separated by "\"
    patient_id: str = ""
    issuer_key: str = ""
    issuer: str = ""
    patient_name: str = ""
    birth_date: str = ""
    accession_number: str = ""
    placer_number: str = ""
    filler_number: str = ""
    study_instance_uid: str = ""
    imaging_order: int | None = Field(default=None, foreign_key="imaging_order.id")
    patient: int | None = Field(default=None, foreign_key="patient.id")
    linked_by: str = ""  # mwl.reports.values.Link
    completes: bool = False  # its order is done once it is final: so its profile says
    superseded_by: int | None = Field(default=None, foreign_key="report.id")
    flags: list[Any] = Field(default_factory=list, sa_type=Json)
    # Its message in the journal, which may be kept for a shorter time.
    control_id: str = ""
    content_hash: bytes = Field(sa_type=LargeBinary)
    sent_at: datetime | None = Field(default=None, sa_type=UtcDateTime)  # MSH-7
    received_at: datetime = Field(sa_type=UtcDateTime)


class ReportDocument(SQLModel, table=True):
    """A part of a report: a text, a document, or where one is to be found.

    The bytes stand here and not among the images: they are durable, backed up and gone
    together with the report that they belong to, and none is longer than a message.
    """

    __tablename__ = "report_document"
    __table_args__ = (Index("ix_report_document_report", "report", "position"),)

    id: int | None = Field(default=None, primary_key=True)
    report: int = Field(foreign_key="report.id")
    position: int  # from 1
    kind: str  # mwl.reports.Kind
    label: str = ""  # OBX-3
    media_type: str = ""
    abnormal: str = ""  # OBX-8
    size: int  # bytes of `content`
    content: bytes = Field(sa_type=LargeBinary)
