"""A worklist item as the change that an order message would be (PS3.3 C.4.10 to C.4.13)."""

import re
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

from mwl.errors import Fault, Reason, Rejected
from mwl.orders import FINAL, YEARS, Action, Fields, OrderChange, ProcedureChange, StepChange
from mwl.patients import Identifier, PatientChange
from mwl.wlfiles import further
from mwl.wlfiles.items import Item
from mwl.worklist.numbers import IMPORTED

_DATE = re.compile("[0-9]{8}")
_INSTANT = re.compile("([0-9]{4})" + "([0-9]{2})" * 5)
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
    "ethnic_group": "EthnicGroup",
    "comments": "PatientComments",
}
_ORDER = {
    "admission_id": "AdmissionID",
    "current_patient_location": "CurrentPatientLocation",
    "route_of_admissions": "RouteOfAdmissions",
    "institution": "InstitutionName",
    "visit_status": "VisitStatusID",
    "admitting_date": "AdmittingDate",
    "admitting_diagnoses": "AdmittingDiagnosesDescription",
    "referring_physician": "ReferringPhysicianName",
    "requesting_physician": "RequestingPhysician",
    "requesting_service": "RequestingService",
    "entered_by": "OrderEnteredBy",
    "enterer_location": "OrderEntererLocation",
    "callback_phone": "OrderCallbackPhoneNumber",
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
    "recipients": "NamesOfIntendedRecipientsOfResults",
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
# And of the sequences.
_ORDER_ITEMS = {
    "admitting_codes": "AdmittingDiagnosesCodeSequence",
    "referring_physician_id": "ReferringPhysicianIdentificationSequence",
    "requesting_physician_id": "RequestingPhysicianIdentificationSequence",
}
_PROCEDURE_ITEMS = {
    "reason_codes": "ReasonForRequestedProcedureCodeSequence",
    "recipient_ids": "IntendedRecipientsOfResultsIdentificationSequence",
}
_STEP_ITEMS = {"performing_physician_id": "ScheduledPerformingPhysicianIdentificationSequence"}


def change(item: Item, zone: ZoneInfo, source: str = IMPORTED) -> OrderChange:
    """Make the change that an item asks for, as an order of `source`.

    `zone` is that of its wall clock, unless it names one itself. Raises Rejected.
    """
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
        source=source,
        action=Action.CREATE,
        number=number,
        where=where,
        placer=placer,
        filler=filler,
        patient=_patient(item),
        fields={
            **_fields(item, _ORDER),
            **_items(item, _ORDER_ITEMS),
            **_stated("admission_issuer", issuer),
            **_stated("issued_local", _issued(item)),
        },
        procedures=[_procedure(item, steps, _zone(item, zone))],
    )


def _number(
    item: Item, step: Item, filler: Identifier | None, placer: Identifier | None
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


def _numbered(item: Item, keyword: str, who: str) -> Identifier | None:
    value = item.text(keyword)
    issuer = item.first(f"{who}IdentifierSequence")
    return Identifier(value, *_hierarchic(issuer)) if value else None


def _patient(item: Item) -> PatientChange:
    patient_id = item.identifier("PatientID")
    if not patient_id:
        raise Rejected(Fault(Reason.MISSING, "PatientID", "nothing identifies the patient"))
    _, universal_id, universal_type = _hierarchic(item.first("IssuerOfPatientIDQualifiersSequence"))
    namespace = item.text("IssuerOfPatientID")
    fields = _fields(item, _PATIENT)
    if birth_date := fields.get("birth_date"):
        fields["birth_date"] = _matching(_DATE, birth_date.replace(".", ""), "PatientBirthDate")
    language = item.first("PatientPrimaryLanguageCodeSequence").text("CodeValue")
    return PatientChange(
        id=Identifier(patient_id, namespace, universal_id, universal_type),
        where="PatientID",
        others=_others(item),
        fields=fields | _stated("language", language),
    )


def _others(item: Item) -> tuple[tuple[Identifier, str], ...] | None:
    found = [_other(each) for each in item.items("OtherPatientIDsSequence")]
    known = tuple((each, "") for each in found if 0 < len(each.id) <= 64)
    return known or None


def _other(item: Item) -> Identifier:
    _, universal_id, universal_type = _hierarchic(item.first("IssuerOfPatientIDQualifiersSequence"))
    namespace = item.text("IssuerOfPatientID")
    return Identifier(item.text("PatientID"), namespace, universal_id, universal_type)


def _issued(item: Item) -> str:
    """Tell when the request was made, YYYYMMDD and HHMMSS if that is known."""
    date = item.text("IssueDateOfImagingServiceRequest")
    time = item.text("IssueTimeOfImagingServiceRequest").partition(".")[0]
    return date + time if _DATE.fullmatch(date) else ""


def _procedure(item: Item, steps: list[Item], zone: tzinfo) -> ProcedureChange:
    code = further.code("code", item, "RequestedProcedureCodeSequence")
    accession_issuer = _designator(item.first("IssuerOfAccessionNumberSequence"))
    procedure_id = item.identifier("RequestedProcedureID")
    uid = item.identifier("StudyInstanceUID")
    if uid:
        _matching(_UID, uid, "StudyInstanceUID")
    return ProcedureChange(
        key=procedure_id or code.get("code_value") or uid,
        requested_procedure_id=procedure_id or None,
        study_uid=uid or None,
        fields={
            **_fields(item, _PROCEDURE),
            **_items(item, _PROCEDURE_ITEMS),
            **_stated("accession_issuer", accession_issuer),
            **code,
        },
        steps=[_step(item, step, zone) for step in steps],
    )


def _step(item: Item, step: Item, zone: tzinfo) -> StepChange:
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
            **_items(step, _STEP_ITEMS),
            **further.code("protocol", step, "ScheduledProtocolCodeSequence"),
        },
        attributes=further.attributes(item, step),
    )


def _start(step: Item, zone: tzinfo) -> datetime | None:
    date = step.text("ScheduledProcedureStepStartDate")
    if not date:
        return None
    # PS3.5 6.2: a TM may end after the hour or the minute, and has a fraction at will.
    time = step.text("ScheduledProcedureStepStartTime").partition(".")[0]
    try:
        if (found := _INSTANT.fullmatch(date + time.ljust(6, "0"))) is not None:
            # As strptime would, which takes longer than all else that is read of an item.
            start = datetime(*map(int, found.groups()), tzinfo=zone)  # type: ignore[misc, arg-type]
            if start.year in YEARS:
                return start
    except ValueError:
        pass  # a thirteenth month
    raise Rejected(Fault(Reason.MALFORMED, "ScheduledProcedureStepStartDate", "no date and time"))


def _matching(pattern: re.Pattern[str], value: str, keyword: str) -> str:
    if not pattern.fullmatch(value):
        raise Rejected(Fault(Reason.MALFORMED, keyword, "no value of its type"))
    return value


def _zone(item: Item, zone: ZoneInfo) -> tzinfo:
    offset = item.text("TimezoneOffsetFromUTC")
    if not offset:
        return zone
    try:
        stated = datetime.strptime(offset, "%z").tzinfo
    except ValueError:
        raise Rejected(Fault(Reason.MALFORMED, "TimezoneOffsetFromUTC", "no offset")) from None
    return stated or zone


def _hierarchic(issuer: Item) -> tuple[str, str, str]:
    return (
        issuer.text("LocalNamespaceEntityID"),
        issuer.text("UniversalEntityID"),
        issuer.text("UniversalEntityIDType"),
    )


def _designator(issuer: Item) -> str:
    return "^".join(_hierarchic(issuer)).rstrip("^")


def _fields(item: Item, keywords: dict[str, str]) -> Fields:
    """Take what is stated; what is empty in a file says nothing."""
    fields: Fields = {}
    for column, keyword in keywords.items():
        fields |= _stated(column, item.text(keyword))
    return fields


def _items(item: Item, keywords: dict[str, str]) -> Fields:
    fields: Fields = {}
    for column, keyword in keywords.items():
        fields |= _stated(column, further.items_of(item, keyword))
    return fields


def _stated(column: str, value: str) -> Fields:
    return {column: value} if value else {}
