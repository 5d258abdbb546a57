"""What is kept: SQLModel tables, rows without behaviour.

Text columns are never NULL: empty means unknown, as it does on the wire. Columns that carry
a DICOM attribute are named after its keyword. `…_issuer` columns hold an HL7 hierarchic
designator, `namespace^universal ID^type`, trailing carets cut.
"""

from mwl.db.tables import naming  # noqa: F401 - before the first table
from mwl.db.tables.archive import Instance, Series, StoredObject, Study
from mwl.db.tables.associations import DicomServer, LiveAssociation
from mwl.db.tables.devices import Device, DeviceTitle, Knock
from mwl.db.tables.journal import JournalDay, JournalHeld, JournalProgress, Message, MessageOrder
from mwl.db.tables.patients import PatientLink, PatientMerge
from mwl.db.tables.people import Account, AuditEvent, Secret, Token, WebSession
from mwl.db.tables.performed import (
    PerformedInstance,
    PerformedLink,
    PerformedMessage,
    PerformedStep,
)
from mwl.db.tables.promises import Commitment, CommitmentItem, Delivery
from mwl.db.tables.reports import Report, ReportDocument
from mwl.db.tables.sightings import Sighting
from mwl.db.tables.sources import FailingExport, ListedItem, WorklistSource
from mwl.db.tables.worklist import (
    ImagingOrder,
    Patient,
    RequestedProcedure,
    ScheduledStep,
    ShortIdentifier,
    StepStation,
)

__all__ = [
    "Account",
    "AuditEvent",
    "Commitment",
    "CommitmentItem",
    "Delivery",
    "Device",
    "DeviceTitle",
    "DicomServer",
    "FailingExport",
    "ImagingOrder",
    "Instance",
    "JournalDay",
    "JournalHeld",
    "JournalProgress",
    "Knock",
    "ListedItem",
    "LiveAssociation",
    "Message",
    "MessageOrder",
    "Patient",
    "PatientLink",
    "PatientMerge",
    "PerformedInstance",
    "PerformedLink",
    "PerformedMessage",
    "PerformedStep",
    "Report",
    "ReportDocument",
    "RequestedProcedure",
    "ScheduledStep",
    "Secret",
    "Series",
    "ShortIdentifier",
    "Sighting",
    "StepStation",
    "StoredObject",
    "Study",
    "Token",
    "WebSession",
    "WorklistSource",
]
