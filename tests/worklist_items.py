"""Worklist items as mappings by keyword (`tests.worklist_oracle`): as rows, identifiers, files."""

import json
from collections.abc import Mapping
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from tests import worklist_rows
from tests.identifiers import element
from tests.worklist_oracle import STEP

_COLUMNS = {
    "patient": {
        "PatientName": "patient_name",
        "PatientID": "patient_id",
        "IssuerOfPatientID": "issuer",
        "PatientBirthDate": "birth_date",
        "PatientSex": "sex",
        "PatientMotherBirthName": "mother_name",
        "PatientAddress": "address",
        "MedicalAlerts": "medical_alerts",
        "Allergies": "allergies",
        "EthnicGroup": "ethnic_group",
        "PatientComments": "comments",
    },
    "order": {
        "PlacerOrderNumberImagingServiceRequest": "placer_number",
        "FillerOrderNumberImagingServiceRequest": "filler_number",
        "AdmissionID": "admission_id",
        "CurrentPatientLocation": "current_patient_location",
        "RouteOfAdmissions": "route_of_admissions",
        "VisitStatusID": "visit_status",
        "ReferringPhysicianName": "referring_physician",
        "RequestingPhysician": "requesting_physician",
        "RequestingService": "requesting_service",
        "PregnancyStatus": "pregnancy_status",
        "PatientState": "patient_state",
        "PatientWeight": "patient_weight",
        "PatientSize": "patient_size",
        "ConfidentialityConstraintOnPatientDataDescription": "confidentiality",
        "ImagingServiceRequestComments": "comments",
    },
    "procedure": {
        "AccessionNumber": "accession_number",
        "RequestedProcedureID": "requested_procedure_id",
        "RequestedProcedureDescription": "description",
        "RequestedProcedurePriority": "priority",
        "ReasonForTheRequestedProcedure": "reason",
        "PatientTransportArrangements": "transport",
        "RequestedProcedureComments": "comments",
    },
    "step": {
        "StudyInstanceUID": "study_instance_uid",
        "ScheduledProcedureStepID": "sps_id",
        "Modality": "modality",
        "ScheduledStationName": "station_name",
        "ScheduledProcedureStepLocation": "location",
        "ScheduledPerformingPhysicianName": "performing_physician",
        "ScheduledProcedureStepDescription": "description",
        "PreMedication": "pre_medication",
        "RequestedContrastAgent": "contrast_agent",
        "ScheduledProcedureStepStatus": "state",
        "CommentsOnTheScheduledProcedureStep": "comments",
    },
}
_CODES = {
    "RequestedProcedureCodeSequence": ("procedure", "code"),
    "ScheduledProtocolCodeSequence": ("step", "protocol"),
}
_CODE = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
_DESIGNATORS = {
    "IssuerOfAccessionNumberSequence": ("procedure", "accession_issuer"),
    "IssuerOfAdmissionIDSequence": ("order", "admission_issuer"),
    "OrderPlacerIdentifierSequence": ("order", "placer_issuer"),
}
_DESIGNATOR = ("LocalNamespaceEntityID", "UniversalEntityID", "UniversalEntityIDType")
_APART = {
    *("ScheduledStationAETitle", "ScheduledProcedureStepStartDate"),
    *("ScheduledProcedureStepStartTime", "OtherPatientIDsSequence"),
}

Told = Mapping[str, Any]


def rows(number: int, told: Told) -> worklist_rows.Item:
    """Make the rows of an item; the one that has the lower number comes first."""
    tables: dict[str, dict[str, Any]] = {
        name: {column: told.get(keyword, "") for keyword, column in columns.items()}
        for name, columns in _COLUMNS.items()
    }
    for keyword, (table, what) in _CODES.items():
        code = told[keyword][0] if told.get(keyword) else {}
        for name, part in zip(_CODE, ("value", "scheme", "meaning"), strict=True):
            tables[table][f"{what}_{part}"] = code.get(name, "")
    for keyword, (table, column) in _DESIGNATORS.items():
        issuer = told[keyword][0] if told.get(keyword) else {}
        text = "^".join(issuer.get(name, "") for name in _DESIGNATOR)
        tables[table][column] = text.rstrip("^")
    tables["patient"] |= {
        "issuer_key": told.get("IssuerOfPatientID", ""),
        "other_ids": [
            [each["PatientID"], each.get("IssuerOfPatientID", ""), "MR"]
            for each in told.get("OtherPatientIDsSequence", [])
        ],
    }
    tables["step"] |= {
        "start_local": told["ScheduledProcedureStepStartDate"]
        + told["ScheduledProcedureStepStartTime"],
        "attributes": {
            name: _kept(told[name]) for name in told if _is_further(name) and told[name]
        },
    }
    stations = told.get("ScheduledStationAETitle", "").split("\\")
    return worklist_rows.item(number, *filter(None, stations), **tables)


def _is_further(keyword: str) -> bool:
    known = {name for columns in _COLUMNS.values() for name in columns}
    return keyword not in {*known, *_CODES, *_DESIGNATORS, *_APART}


def _kept(value: str | list[Told]) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def identifier(keys: Told, *, wanted: tuple[str, ...] = ("ScheduledProcedureStepID",)) -> bytes:
    """Encode keys in UTF-8 and Implicit VR, byte by byte as they stand; `wanted` is asked for."""
    every: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 192",
        **dict.fromkeys(wanted, ""),
        **keys,
    }
    step = {name: every.pop(name) for name in STEP if name in every}
    return _encoded({**every, "ScheduledProcedureStepSequence": [step]})


def _encoded(keys: Told) -> bytes:
    values = {int(Tag(name)): _value(name, value) for name, value in keys.items()}
    return b"".join(element(tag, value) for tag, value in sorted(values.items()))


def _value(keyword: str, value: Any) -> bytes:
    if isinstance(value, list):
        return b"".join(element(0xFFFEE000, _encoded(each)) for each in value)
    if dictionary_VR(keyword) == "US" and value:
        return int(value).to_bytes(2, "little")
    text: bytes = value.encode()
    return text + b" " * (len(text) % 2)


def data_set(told: Told) -> Dataset:
    """Make an item's data set, as it stands in a worklist file."""
    step = {name: told[name] for name in STEP if name in told}
    rest = {name: value for name, value in told.items() if name not in step}
    made = _made({**rest, "ScheduledProcedureStepSequence": [step]})
    made.SpecificCharacterSet = "ISO_IR 192"
    return made


def _made(told: Told) -> Dataset:
    made = Dataset()
    for name, value in told.items():
        if isinstance(value, list):
            setattr(made, name, Sequence(map(_made, value)))
        elif dictionary_VR(name) == "US":
            setattr(made, name, int(value) if value else None)
        else:
            setattr(made, name, value)
    return made
