"""Import a folder of DICOM worklist files, as DCMTK's wlmscpfs and Orthanc keep them.

A file is one data set: a scheduled procedure step with its procedure, order and patient,
with or without file meta information. It becomes the same change that an order message
would be, from the source "import"; so importing a file twice equals importing it once, and
what is wrong with one file costs no other. Files are read by the strict and bounded reader
that reads identifiers: half a file, still being copied, must not become half an order.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from pydicom.datadict import dictionary_VR, tag_for_keyword

from mwl import charsets, worklist
from mwl.dataset import MAX_BYTES, DataSet, character_sets, read
from mwl.db import Database
from mwl.errors import Fault, Reason, Rejected
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mwl.orders import FINAL, Action, Fields, OrderChange, ProcedureChange, StepChange
from mwl.patients import Identifier, PatientChange
from mwl.worklist.numbers import IMPORTED

# wlmscpfs serves *.wl, Orthanc's plugin too; *.dcm is what people name them by hand. A
# lockfile has neither name.
_SUFFIXES = frozenset({".wl", ".dcm"})

# PS3.5 table 6.2-1. An identifier is never shortened.
_LONGEST = {
    "PatientID": 64,
    "AccessionNumber": 16,
    "RequestedProcedureID": 16,
    "ScheduledProcedureStepID": 16,
    "StudyInstanceUID": 64,
    "Modality": 16,
}

_DATE = re.compile("[0-9]{8}")
_UID = re.compile("[0-9.]{1,64}")
_AE_TITLE = re.compile(r"[^\\\x00-\x1f]{1,16}")

# Columns by the keywords of the attributes that they keep.
_PATIENT = {
    "patient_name": "PatientName",
    "birth_date": "PatientBirthDate",
    "sex": "PatientSex",
    "mother_name": "PatientMotherBirthName",
    "address": "PatientAddress",
    "phone": "PatientTelephoneNumbers",
    "medical_alerts": "MedicalAlerts",
    "allergies": "Allergies",
    "comments": "PatientComments",
}
_ORDER = {
    "admission_id": "AdmissionID",
    "current_patient_location": "CurrentPatientLocation",
    "route_of_admissions": "RouteOfAdmissions",
    "referring_physician": "ReferringPhysicianName",
    "requesting_physician": "RequestingPhysician",
    "requesting_service": "RequestingService",
    "pregnancy_status": "PregnancyStatus",
    "patient_state": "PatientState",
    "patient_weight": "PatientWeight",
    "patient_size": "PatientSize",
    "confidentiality": "ConfidentialityConstraintOnPatientDataDescription",
    "comments": "ImagingServiceRequestComments",
}
_PROCEDURE = {
    "accession_number": "AccessionNumber",
    "description": "RequestedProcedureDescription",
    "priority": "RequestedProcedurePriority",
    "reason": "ReasonForTheRequestedProcedure",
    "transport": "PatientTransportArrangements",
    "comments": "RequestedProcedureComments",
}
_STEP = {
    "modality": "Modality",
    "station_name": "ScheduledStationName",
    "location": "ScheduledProcedureStepLocation",
    "performing_physician": "ScheduledPerformingPhysicianName",
    "description": "ScheduledProcedureStepDescription",
    "pre_medication": "PreMedication",
    "contrast_agent": "RequestedContrastAgent",
    "comments": "CommentsOnTheScheduledProcedureStep",
}


@dataclass(slots=True)
class Report:
    """What came of a folder: how many files are on the worklist, and which are not and why."""

    imported: int = 0
    problems: list[tuple[Path, str]] = field(default_factory=list)


def import_folder(database: Database, path: Path, *, now: datetime, zone: ZoneInfo) -> Report:
    """Apply every worklist file below `path`, each in a transaction of its own.

    `zone` is that of the files' wall clock. Raises Outage.
    """
    report = Report()
    for file, change in read_folder(path, zone=zone):
        try:
            if isinstance(change, Rejected):
                raise change
            database.write(partial(worklist.apply, change=change, now=now, zone=zone))
        except Rejected as error:
            report.problems.append((file, str(error)))
        else:
            report.imported += 1
    return report


def read_folder(path: Path, *, zone: ZoneInfo) -> Iterator[tuple[Path, OrderChange | Rejected]]:
    """Read every worklist file below `path`, in the order of their names."""
    for file in sorted(path.rglob("*")):
        if file.suffix.lower() in _SUFFIXES and file.is_file():
            try:
                yield file, _change(_item(file), zone)
            except Rejected as error:
                yield file, error


@dataclass(frozen=True, slots=True)
class _Item:
    """A data set or an item of one, by keyword; `terms` are its values of (0008,0005)."""

    keys: DataSet
    terms: tuple[str, ...] = ()

    def text(self, keyword: str) -> str:
        """Read a value, "" if absent or empty; several are parted by backslashes."""
        tag = tag_for_keyword(keyword)
        key = self.keys.get(tag) if tag is not None else None
        if key is None or not key.value:
            return ""
        if key.vr == "US":
            return str(int.from_bytes(key.value[:2], "little"))
        text = charsets.specific_character_set(key.value, self.terms).text
        return "\\".join(value.strip() for value in text.replace("\0", "").split("\\"))

    def items(self, keyword: str) -> list["_Item"]:
        tag = tag_for_keyword(keyword)
        key = self.keys.get(tag) if tag is not None else None
        return [_Item(item, self.terms) for item in key.items] if key else []

    def first(self, keyword: str) -> "_Item":
        return next(iter(self.items(keyword)), _NOTHING)

    def identifier(self, keyword: str) -> str:
        """Read a value that is never shortened. Rejected: TOO_LONG."""
        value, longest = self.text(keyword), _LONGEST[keyword]
        if len(value) > longest:
            raise Rejected(Fault(Reason.TOO_LONG, keyword, f"more than {longest} characters"))
        return value


_NOTHING = _Item({})

_META_START = b"\x02\x00\x00\x00UL\x04\x00"  # PS3.10 7.1: (0002,0000), the group's length
_TRANSFER_SYNTAX = 0x00020010


def _item(file: Path) -> _Item:
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise Rejected(Fault(Reason.MALFORMED, "", error.strerror or "can't be read")) from error
    if data[128:132] != b"DICM":
        # DCMTK keeps and takes bare data sets too. A VR where one would be is no length:
        # that would be of 16 KiB at least.
        explicit, body = data[4:6].isalpha() and data[4:6].isupper(), data
    else:
        explicit, body = _after_meta(data[132:])
    keys = read(body, explicit=explicit, vr_of=_vr_of)
    return _Item(keys, character_sets(keys))


def _vr_of(tag: int) -> str:
    try:
        return dictionary_VR(tag)[:2]
    except KeyError:
        return "UN"


def _after_meta(data: bytes) -> tuple[bool, bytes]:
    """Read file meta information; say whether what follows has explicit VRs."""
    if not data.startswith(_META_START):
        raise Rejected(Fault(Reason.MALFORMED, "", "no file meta information"))
    end = 12 + int.from_bytes(data[8:12], "little")
    meta = read(data[:end], explicit=True, vr_of=_vr_of)
    syntax = meta[_TRANSFER_SYNTAX].value if _TRANSFER_SYNTAX in meta else b""
    if syntax == EXPLICIT_VR_LITTLE_ENDIAN.encode():
        return True, data[end:]
    if syntax == IMPLICIT_VR_LITTLE_ENDIAN.encode():
        return False, data[end:]
    raise Rejected(
        Fault(Reason.MALFORMED, "TransferSyntaxUID", "not little endian; dcmconv +te helps")
    )


def _change(item: _Item, zone: ZoneInfo) -> OrderChange:
    steps = item.items("ScheduledProcedureStepSequence")
    if not steps:
        raise Rejected(
            Fault(Reason.MISSING, "ScheduledProcedureStepSequence", "it is no worklist item")
        )
    filler = _numbered(item, "FillerOrderNumberImagingServiceRequest", "OrderFiller")
    placer = _numbered(item, "PlacerOrderNumberImagingServiceRequest", "OrderPlacer")
    number, where = _number(item, steps[0], filler, placer)
    issuer = _designator(item.first("IssuerOfAdmissionIDSequence"))
    return OrderChange(
        source=IMPORTED,
        action=Action.CREATE,
        number=number,
        where=where,
        placer=placer,
        filler=filler,
        patient=_patient(item),
        fields=_fields(item, _ORDER) | _stated("admission_issuer", issuer),
        procedures=[_procedure(item, steps, _zone(item, zone))],
    )


def _number(
    item: _Item, step: _Item, filler: Identifier | None, placer: Identifier | None
) -> tuple[Identifier, str]:
    """Choose what the order is known by, and name the attribute."""
    if filler is not None:
        return filler, "FillerOrderNumberImagingServiceRequest"
    if placer is not None:
        return placer, "PlacerOrderNumberImagingServiceRequest"
    if accession := item.identifier("AccessionNumber"):
        issuer = item.first("IssuerOfAccessionNumberSequence")
        return Identifier(accession, issuer.text("LocalNamespaceEntityID")), "AccessionNumber"
    uid, sps_id = item.identifier("StudyInstanceUID"), step.identifier("ScheduledProcedureStepID")
    if not (uid and sps_id):
        raise Rejected(Fault(Reason.MISSING, "AccessionNumber", "nothing identifies the order"))
    return Identifier(f"{uid}/{sps_id}"), "StudyInstanceUID"


def _numbered(item: _Item, keyword: str, who: str) -> Identifier | None:
    value = item.text(keyword)
    issuer = item.first(f"{who}IdentifierSequence")
    return Identifier(value, *_hierarchic(issuer)) if value else None


def _patient(item: _Item) -> PatientChange:
    patient_id = item.identifier("PatientID")
    if not patient_id:
        raise Rejected(Fault(Reason.MISSING, "PatientID", "nothing identifies the patient"))
    _, universal_id, universal_type = _hierarchic(item.first("IssuerOfPatientIDQualifiersSequence"))
    namespace = item.text("IssuerOfPatientID")
    fields = _fields(item, _PATIENT)
    if birth_date := fields.get("birth_date"):
        fields["birth_date"] = _matching(_DATE, birth_date.replace(".", ""), "PatientBirthDate")
    return PatientChange(
        id=Identifier(patient_id, namespace, universal_id, universal_type),
        where="PatientID",
        fields=fields,
    )


def _procedure(item: _Item, steps: list[_Item], zone: tzinfo) -> ProcedureChange:
    code = item.first("RequestedProcedureCodeSequence")
    accession_issuer = _designator(item.first("IssuerOfAccessionNumberSequence"))
    procedure_id = item.identifier("RequestedProcedureID")
    uid = item.identifier("StudyInstanceUID")
    if uid:
        _matching(_UID, uid, "StudyInstanceUID")
    return ProcedureChange(
        key=procedure_id or code.text("CodeValue") or uid,
        requested_procedure_id=procedure_id or None,
        study_uid=uid or None,
        fields={
            **_fields(item, _PROCEDURE),
            **_stated("accession_issuer", accession_issuer),
            **_code("code", code),
        },
        steps=[_step(step, zone) for step in steps],
    )


def _step(step: _Item, zone: tzinfo) -> StepChange:
    step.identifier("Modality")
    status = step.text("ScheduledProcedureStepStatus")
    if status in FINAL:
        raise Rejected(
            Fault(Reason.FINAL, "ScheduledProcedureStepStatus", f"the step is {status} already")
        )
    stations = tuple(filter(None, step.text("ScheduledStationAETitle").split("\\")))
    for station in stations:
        _matching(_AE_TITLE, station, "ScheduledStationAETitle")
    return StepChange(
        sps_id=step.identifier("ScheduledProcedureStepID") or None,
        start=_start(step, zone),
        stations=stations or None,
        fields={
            **_fields(step, _STEP),
            **_code("protocol", step.first("ScheduledProtocolCodeSequence")),
        },
    )


def _start(step: _Item, zone: tzinfo) -> datetime | None:
    date = step.text("ScheduledProcedureStepStartDate")
    if not date:
        return None
    # PS3.5 6.2: a TM may end after the hour or the minute, and has a fraction at will.
    time = step.text("ScheduledProcedureStepStartTime").partition(".")[0]
    try:
        return datetime.strptime(date + time.ljust(6, "0"), "%Y%m%d%H%M%S").replace(tzinfo=zone)
    except ValueError:
        raise Rejected(
            Fault(Reason.MALFORMED, "ScheduledProcedureStepStartDate", "no date and time")
        ) from None


def _matching(pattern: re.Pattern[str], value: str, keyword: str) -> str:
    if not pattern.fullmatch(value):
        raise Rejected(Fault(Reason.MALFORMED, keyword, "no value of its type"))
    return value


def _zone(item: _Item, zone: ZoneInfo) -> tzinfo:
    offset = item.text("TimezoneOffsetFromUTC")
    if not offset:
        return zone
    try:
        stated = datetime.strptime(offset, "%z").tzinfo
    except ValueError:
        raise Rejected(Fault(Reason.MALFORMED, "TimezoneOffsetFromUTC", "no offset")) from None
    return stated or zone


def _code(prefix: str, code: _Item) -> Fields:
    return {
        **_stated(f"{prefix}_value", code.text("CodeValue")),
        **_stated(f"{prefix}_scheme", code.text("CodingSchemeDesignator")),
        **_stated(f"{prefix}_meaning", code.text("CodeMeaning")),
    }


def _hierarchic(issuer: _Item) -> tuple[str, str, str]:
    return (
        issuer.text("LocalNamespaceEntityID"),
        issuer.text("UniversalEntityID"),
        issuer.text("UniversalEntityIDType"),
    )


def _designator(issuer: _Item) -> str:
    return "^".join(_hierarchic(issuer)).rstrip("^")


def _fields(item: _Item, keywords: dict[str, str]) -> Fields:
    """Take what is stated; what is empty in a file says nothing."""
    fields: Fields = {}
    for column, keyword in keywords.items():
        fields |= _stated(column, item.text(keyword))
    return fields


def _stated(column: str, value: str) -> Fields:
    return {column: value} if value else {}
