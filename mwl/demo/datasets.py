"""The data sets that a scanner asks and tells with, beside its images."""

from collections.abc import Sequence
from datetime import date, datetime

from pydicom.dataset import Dataset

from mwl.demo.entries import Entry, new_uid

Code = tuple[str, str]  # value and meaning, of scheme DCM

# PS3.16 CID 9300.
WRONG_ENTRY: Code = ("110514", "Incorrect worklist entry selected")
EQUIPMENT_FAILURE: Code = ("110501", "Equipment failure")

_RETURNED = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "ReferringPhysicianName",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
)
_RETURNED_OF_STEP = (
    "ScheduledStationAETitle",
    "ScheduledProcedureStepStartTime",
    "ScheduledProcedureStepDescription",
    "ScheduledProcedureStepID",
)


def worklist_keys(modality: str, day: date, accession: str = "") -> Dataset:
    """Ask for a day's entries of a modality (PS3.4 table K.6-1); texts are wanted in UTF-8."""
    keys = Dataset()
    keys.SpecificCharacterSet = "ISO_IR 192"
    keys.AccessionNumber = accession
    for keyword in _RETURNED:
        setattr(keys, keyword, "")
    step = Dataset()
    step.Modality = modality
    step.ScheduledProcedureStepStartDate = f"{day:%Y%m%d}"
    for keyword in _RETURNED_OF_STEP:
        setattr(step, keyword, "")
    keys.ScheduledProcedureStepSequence = [step]
    return keys


def begun(entry: Entry, ae_title: str, now: datetime) -> Dataset:
    """Begin a performed step (N-CREATE, PS3.4 table F.7.2-1); `now` is the site's clock."""
    step = Dataset()
    values = {
        "SpecificCharacterSet": "ISO_IR 192",
        "Modality": entry.modality,
        "PatientName": entry.patient_name,
        "PatientID": entry.patient_id,
        "IssuerOfPatientID": entry.issuer or None,
        "PatientBirthDate": entry.birth_date,
        "PatientSex": entry.sex,
        "StudyID": entry.procedure_id,
        "PerformedStationAETitle": ae_title,
        "PerformedStationName": ae_title,
        "PerformedLocation": "",
        "PerformedProcedureStepStartDate": f"{now:%Y%m%d}",
        "PerformedProcedureStepStartTime": f"{now:%H%M%S}",
        "PerformedProcedureStepEndDate": "",
        "PerformedProcedureStepEndTime": "",
        "PerformedProcedureStepStatus": "IN PROGRESS",
        "PerformedProcedureStepID": entry.step_id or "PPS",
        "PerformedProcedureStepDescription": entry.description,
        "PerformedProcedureTypeDescription": "",
        "ProcedureCodeSequence": [],
        "ReferencedPatientSequence": [],
        "PerformedProtocolCodeSequence": [],
        "PerformedSeriesSequence": [],
        "ScheduledStepAttributesSequence": [_scheduled(entry)],
    }
    for keyword, value in values.items():
        if value is not None:
            setattr(step, keyword, value)
    return step


def _scheduled(entry: Entry) -> Dataset:
    item = Dataset()
    item.StudyInstanceUID = entry.study_uid
    item.ReferencedStudySequence = []
    item.AccessionNumber = entry.accession
    item.RequestedProcedureID = entry.procedure_id
    item.RequestedProcedureDescription = entry.description
    item.ScheduledProcedureStepID = entry.step_id
    item.ScheduledProcedureStepDescription = entry.description
    item.ScheduledProtocolCodeSequence = []
    return item


def ended(images: Sequence[Dataset], now: datetime, reason: Code | None = None) -> Dataset:
    """End a performed step (N-SET): COMPLETED, or DISCONTINUED for a reason; list its images."""
    step = Dataset()
    step.PerformedProcedureStepStatus = "DISCONTINUED" if reason else "COMPLETED"
    step.PerformedProcedureStepEndDate = f"{now:%Y%m%d}"
    step.PerformedProcedureStepEndTime = f"{now:%H%M%S}"
    if reason:
        step.PerformedProcedureStepDiscontinuationReasonCodeSequence = [_code(reason)]
    if images or not reason:
        step.PerformedSeriesSequence = [_series(images)]
    return step


def _series(images: Sequence[Dataset]) -> Dataset:
    series = Dataset()
    series.PerformingPhysicianName = ""
    series.ProtocolName = images[0].SeriesDescription if images else "NONE"
    series.OperatorsName = ""
    series.SeriesInstanceUID = images[0].SeriesInstanceUID if images else new_uid()
    series.SeriesDescription = series.ProtocolName
    series.RetrieveAETitle = ""
    series.ReferencedImageSequence = references(images)
    series.ReferencedNonImageCompositeSOPInstanceSequence = []
    return series


def references(images: Sequence[Dataset]) -> list[Dataset]:
    """Name instances by class and UID."""
    items = []
    for image in images:
        item = Dataset()
        item.ReferencedSOPClassUID = image.SOPClassUID
        item.ReferencedSOPInstanceUID = image.SOPInstanceUID
        items.append(item)
    return items


def commitment(images: Sequence[Dataset], transaction_uid: str) -> Dataset:
    """Ask for storage commitment (N-ACTION, PS3.4 table J.3-1)."""
    asked = Dataset()
    asked.TransactionUID = transaction_uid
    asked.ReferencedSOPSequence = references(images)
    return asked


def _code(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodeMeaning = code
    item.CodingSchemeDesignator = "DCM"
    return item
