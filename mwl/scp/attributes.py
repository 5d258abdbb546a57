"""The attributes of the Modality Worklist Information Model (PS3.4 table K.6-1).

Each names the column of `mwl.worklist.find` that it is answered from, the key that it can be
matched by, and how the column's text becomes its value. Two things come apart here: a column
may feed several attributes (the start: a date and a time), and one column may feed a whole
sequence (a code: value, scheme, meaning).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mwl.worklist import kept
from mwl.worklist.columns import UNIT_SEPARATOR

# An item of a sequence: by tag, its text or the items of a sequence inside.
Item = dict[int, "str | list[Item]"]

SPECIFIC_CHARACTER_SET = 0x00080005
TIMEZONE_OFFSET = 0x00080201
SCHEDULED_PROCEDURE_STEP_SEQUENCE = 0x00400100
SCHEDULED_STATION_AE_TITLE = 0x00400001
START_DATE, START_TIME = 0x00400002, 0x00400003


def as_is(text: str) -> str:
    """Take a column's text as the value."""
    return text


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute that a worklist item can be asked for.

    column: what it is answered from; "": always empty. key: what it is matched by, if that is
    not what is told of it.
    text: makes the value of the column's text. items: makes a sequence's items of it.
    single: retrieved by single value matching alone. exact: an identifier, never shortened.
    multiple: its backslashes part values.
    """

    vr: str
    column: str = ""
    key: str = ""
    text: Callable[[str], str] = as_is
    items: Callable[[str], list[Item]] | None = None
    single: bool = False
    exact: bool = False
    multiple: bool = False


Model = Mapping[int, Attribute]


@lru_cache(maxsize=256)
def _parsed(text: str) -> Any:
    """Read JSON: an answer asks for many attributes that are kept in one text."""
    return json.loads(text)


def _items(text: str) -> list[Item]:
    """Read items as `mwl.worklist.kept` has them."""
    return [_item(item) for item in _parsed(text)] if text else []


def _item(kept_item: kept.Item) -> Item:
    item: Item = {}
    for keyword, value in kept_item.items():
        tag = tag_of(keyword)
        if tag is not None:
            item[tag] = value if isinstance(value, str) else [_item(each) for each in value]
    return item


def _code(text: str) -> list[Item]:
    value, scheme, meaning, items = text.split(UNIT_SEPARATOR)
    if items:
        return _items(items)
    # PS3.3 8.1: Code Value is SH. What doesn't fit has no item; the description says it.
    if not value or len(value) > 16:
        return []
    # PS3.3 8.2: "L" is private or local; PS3.3 8.3: the meaning is never empty.
    return [{0x00080100: value, 0x00080102: scheme or "L", 0x00080104: meaning or value}]


def _language(text: str) -> list[Item]:
    if not text or len(text) > 16:
        return []
    return [{0x00080100: text, 0x00080102: "RFC5646", 0x00080104: text}]  # PS3.16 CID 5000


def _issuer(text: str) -> tuple[str, str, str]:
    """Take a designator apart: local namespace, universal ID and its type."""
    namespace, _, rest = text.partition("^")
    universal_id, _, universal_type = rest.partition("^")
    return namespace, universal_id, universal_type


def _namespace(text: str) -> str:
    return _issuer(text)[0]


def _designator(text: str) -> list[Item]:
    # PS3.3 10.14, HL7v2 Hierarchic Designator Macro.
    tags = (0x00400031, 0x00400032, 0x00400033)
    item: Item = {tag: part for tag, part in zip(tags, _issuer(text), strict=True) if part}
    return [item] if item else []


def _qualifiers(text: str) -> list[Item]:
    # PS3.3 10.15.1: the namespace is in Issuer of Patient ID itself.
    _, universal_id, universal_type = _issuer(text)
    if not universal_id:
        return []
    return [{0x00400032: universal_id, 0x00400033: universal_type}]


def _other_ids(text: str) -> list[Item]:
    # PS3.3 10.15; type of Patient ID: TEXT, not a barcode's or a tag's.
    return [
        {
            0x00100020: patient_id,
            0x00100021: _namespace(issuer),
            0x00100022: "TEXT",
            0x00100024: _qualifiers(issuer),
        }
        for patient_id, issuer, *_ in json.loads(text)
    ]


# Of the further ones: those that may have several values.
_SEVERAL = frozenset(
    {"OtherPatientNames", "ReferringPhysicianTelephoneNumbers", "ConsultingPhysicianName"}
)


def further(name: str, vr: str, other: str = "") -> Attribute:
    """Answer an attribute from those that a step keeps by name, or by another name."""
    # Most that is asked for isn't there, which is found out without reading all of it.
    written, otherwise = (json.dumps(each)[1:-1] for each in (name, other or name))

    def look_up(text: str) -> str:
        if written not in text and otherwise not in text:
            return ""
        found = _parsed(text)
        value = found.get(name) or found.get(other, "")
        return value if isinstance(value, str) else ""

    def look_up_items(text: str) -> list[Item]:
        if written not in text and otherwise not in text:
            return []
        found = _parsed(text)
        return _items(look_up(text)) or _stated(found, name) or _stated(found, other)

    items = look_up_items if vr == "SQ" else None
    return Attribute(vr, "attributes", text=look_up, items=items, multiple=name in _SEVERAL)


def _stated(found: Mapping[str, str], sequence: str) -> list[Item]:
    """Make the only item of a sequence of what is named under it."""
    item: Item = {}
    under = f"{sequence}."
    for name, value in found.items():
        keyword, _, inner = name.removeprefix(under).partition(".")
        if not sequence or not name.startswith(under) or (tag := tag_of(keyword)) is None:
            continue
        item[tag] = _stated(found, under + keyword) if inner else value
    return [item] if item else []


def _further(attributes: Mapping[int, tuple[str, str]]) -> Model:
    return {tag: further(keyword, vr) for tag, (keyword, vr) in attributes.items()}


def _of_step(attributes: Mapping[int, tuple[str, str]]) -> Model:
    return {
        tag: further(kept.STEP + keyword, vr, keyword) for tag, (keyword, vr) in attributes.items()
    }


def _identifier(vr: str, column: str, key: str = "", *, single: bool = False) -> Attribute:
    return Attribute(vr, column, key, exact=True, single=single)


def _sequence(column: str, items: Callable[[str], list[Item]]) -> Attribute:
    return Attribute("SQ", column, items=items)


# K.6.1.2.2 wants a value in these whatever the RIS left out.
_UNKNOWN_NAME = "UNKNOWN"
_OTHER_MODALITY = "OT"  # PS3.3 C.7.3.1.1.1

STEP: Model = {
    0x00080060: Attribute(
        "CS", "modality", "modality", text=lambda text: text or _OTHER_MODALITY, single=True
    ),
    0x00321070: Attribute("LO", "contrast_agent"),
    SCHEDULED_STATION_AE_TITLE: Attribute(
        "AE", "station_ae_titles", "station_ae_titles", single=True, multiple=True
    ),
    START_DATE: Attribute("DA", "start_local", "start", text=lambda text: text[:8]),
    START_TIME: Attribute("TM", "start_local", "time_of_day", text=lambda text: text[8:]),
    0x00400006: Attribute("PN", "performing_physician", "performing_physician"),
    0x00400007: Attribute("LO", "step_description"),
    0x00400008: _sequence("protocol_code", _code),
    0x00400009: _identifier("SH", "sps_id", "sps_id"),
    0x0040000B: _sequence("performing_physician_id", _items),
    0x00400010: Attribute("SH", "station_name", multiple=True),
    0x00400011: Attribute("SH", "location"),
    0x00400012: Attribute("LO", "pre_medication"),
    0x00400020: Attribute("CS", "status", "status"),
    0x00400400: Attribute("LT", "step_comments"),
    **_of_step(
        {
            0x0018990C: ("ReferencedDefinedProtocolSequence", "SQ"),
            0x0018990D: ("ReferencedPerformedProtocolSequence", "SQ"),
            0x00400004: ("ScheduledProcedureStepEndDate", "DA"),
            0x00400005: ("ScheduledProcedureStepEndTime", "TM"),
            0x00400500: ("ScheduledSpecimenSequence", "SQ"),
            0x00102210: ("AnatomicalOrientationType", "CS"),
            0x22000005: ("BarcodeValue", "LT"),
        }
    ),
}

TOP: Model = {
    # Imaging service request
    0x00080050: _identifier("SH", "accession_number", "accession_number", single=True),
    0x00080051: _sequence("accession_issuer", _designator),
    0x00080090: Attribute("PN", "referring_physician"),
    0x00080096: _sequence("referring_physician_id", _items),
    0x00321031: _sequence("requesting_physician_id", _items),
    0x00321032: Attribute("PN", "requesting_physician"),
    0x00321033: Attribute("LO", "requesting_service"),
    0x00400026: _sequence("placer_issuer", _designator),
    0x00400027: _sequence("filler_issuer", _designator),
    0x00402004: Attribute("DA", "issued_local", text=lambda text: text[:8]),
    0x00402005: Attribute("TM", "issued_local", text=lambda text: text[8:]),
    0x00402008: Attribute("PN", "entered_by"),
    0x00402009: Attribute("SH", "enterer_location"),
    0x00402010: Attribute("SH", "callback_phone"),
    0x00402016: _identifier("LO", "placer_number", "placer_number"),
    0x00402017: _identifier("LO", "filler_number", "filler_number"),
    0x00402400: Attribute("LT", "order_comments"),
    **_further(
        {
            0x00321034: ("RequestingServiceCodeSequence", "SQ"),
            0x00402001: ("ReasonForTheImagingServiceRequest", "LO"),
            0x00402011: ("OrderCallbackTelecomInformation", "LT"),
        }
    ),
    # Requested procedure
    0x0020000D: _identifier("UI", "study_instance_uid", "study_instance_uid"),
    0x00321060: Attribute("LO", "procedure_description"),
    0x00321064: _sequence("procedure_code", _code),
    0x00401001: _identifier("SH", "requested_procedure_id", "requested_procedure_id", single=True),
    0x00401002: Attribute("LO", "reason"),
    0x00401003: Attribute("SH", "priority"),
    0x00401004: Attribute("LO", "transport"),
    0x0040100A: _sequence("reason_codes", _items),
    0x00401010: Attribute("PN", "recipients", multiple=True),
    0x00401011: _sequence("recipient_ids", _items),
    0x00401400: Attribute("LT", "procedure_comments"),
    **_further(
        {
            0x00080020: ("StudyDate", "DA"),  # of one that goes on
            0x00080030: ("StudyTime", "TM"),
            0x00081110: ("ReferencedStudySequence", "SQ"),
            0x00401005: ("RequestedProcedureLocation", "LO"),
            0x00401008: ("ConfidentialityCode", "LO"),
            0x00401009: ("ReportingPriority", "SH"),
        }
    ),
    # Visit
    0x00080080: Attribute("LO", "institution"),
    0x00081080: Attribute("LO", "admitting_diagnoses", multiple=True),
    0x00081084: _sequence("admitting_codes", _items),
    0x00380008: Attribute("CS", "visit_status"),
    0x00380010: _identifier("LO", "admission_id", "admission_id"),
    0x00380014: _sequence("admission_issuer", _designator),
    0x00380016: Attribute("LO", "route_of_admissions"),
    0x00380020: Attribute("DA", "admitting_date"),
    0x00380300: Attribute("LO", "current_patient_location"),
    **_further(
        {
            0x00080081: ("InstitutionAddress", "ST"),
            0x00080082: ("InstitutionCodeSequence", "SQ"),
            0x00080092: ("ReferringPhysicianAddress", "ST"),
            0x00080094: ("ReferringPhysicianTelephoneNumbers", "SH"),
            0x0008009C: ("ConsultingPhysicianName", "PN"),
            0x0008009D: ("ConsultingPhysicianIdentificationSequence", "SQ"),
            0x00081040: ("InstitutionalDepartmentName", "LO"),
            0x00081041: ("InstitutionalDepartmentTypeCodeSequence", "SQ"),
            0x00081120: ("ReferencedPatientSequence", "SQ"),
            0x00081125: ("ReferencedVisitSequence", "SQ"),
            0x00321066: ("ReasonForVisit", "UT"),
            0x00321067: ("ReasonForVisitCodeSequence", "SQ"),
            0x00380021: ("AdmittingTime", "TM"),
            0x00380060: ("ServiceEpisodeID", "LO"),
            0x00380062: ("ServiceEpisodeDescription", "LO"),
            0x00380064: ("IssuerOfServiceEpisodeIDSequence", "SQ"),
            0x00380400: ("PatientInstitutionResidence", "LO"),
            0x00384000: ("VisitComments", "LT"),
        }
    ),
    # Patient
    0x00100010: Attribute(
        "PN", "patient_name", "patient_name", text=lambda text: text or _UNKNOWN_NAME
    ),
    0x00100020: _identifier("LO", "patient_id", "patient_id", single=True),
    0x00100021: Attribute("LO", "issuer", "issuer", text=_namespace, exact=True),
    0x00100024: _sequence("issuer", _qualifiers),
    0x00100030: Attribute("DA", "birth_date", "birth_date"),
    0x00100040: Attribute("CS", "sex", "sex"),
    0x00100101: _sequence("language", _language),
    0x00101002: _sequence("other_ids", _other_ids),
    0x00101020: Attribute("DS", "patient_size"),
    0x00101030: Attribute("DS", "patient_weight"),
    0x00101040: Attribute("LO", "address"),
    0x00101060: Attribute("PN", "mother_name"),
    0x00102000: Attribute("LO", "medical_alerts", multiple=True),
    0x00102110: Attribute("LO", "allergies", multiple=True),
    0x00102154: Attribute("SH", "phone", multiple=True),
    0x00102160: Attribute("SH", "ethnic_group"),
    0x001021C0: Attribute("US", "pregnancy_status"),
    0x00104000: Attribute("LT", "patient_comments"),
    0x00380500: Attribute("LO", "patient_state"),
    0x00403001: Attribute("LO", "confidentiality"),
    **_further(
        {
            0x00100022: ("TypeOfPatientID", "CS"),
            0x00100026: ("SourcePatientGroupIdentificationSequence", "SQ"),
            0x00100027: ("GroupOfPatientsIdentificationSequence", "SQ"),
            0x00100032: ("PatientBirthTime", "TM"),
            0x00100033: ("PatientBirthDateInAlternativeCalendar", "LO"),
            0x00100035: ("PatientAlternativeCalendar", "CS"),
            0x00100050: ("PatientInsurancePlanCodeSequence", "SQ"),
            0x00101001: ("OtherPatientNames", "PN"),
            0x00101005: ("PatientBirthName", "PN"),
            0x00101010: ("PatientAge", "AS"),
            0x00101021: ("PatientSizeCodeSequence", "SQ"),
            0x00101022: ("PatientBodyMassIndex", "DS"),
            0x00101023: ("MeasuredAPDimension", "DS"),
            0x00101024: ("MeasuredLateralDimension", "DS"),
            0x00101080: ("MilitaryRank", "LO"),
            0x00101081: ("BranchOfService", "LO"),
            0x00101090: ("MedicalRecordLocator", "LO"),
            0x00101100: ("ReferencedPatientPhotoSequence", "SQ"),
            0x00102150: ("CountryOfResidence", "LO"),
            0x00102152: ("RegionOfResidence", "LO"),
            0x00102155: ("PatientTelecomInformation", "LT"),
            0x00102161: ("EthnicGroupCodeSequence", "SQ"),
            0x00102180: ("Occupation", "SH"),
            0x001021A0: ("SmokingStatus", "CS"),
            0x001021B0: ("AdditionalPatientHistory", "LT"),
            0x001021D0: ("LastMenstrualDate", "DA"),
            0x001021F0: ("PatientReligiousPreference", "LO"),
            0x00102201: ("PatientSpeciesDescription", "LO"),
            0x00102202: ("PatientSpeciesCodeSequence", "SQ"),
            0x00102203: ("PatientSexNeutered", "CS"),
            0x00102292: ("PatientBreedDescription", "LO"),
            0x00102293: ("PatientBreedCodeSequence", "SQ"),
            0x00102294: ("BreedRegistrationSequence", "SQ"),
            0x00102297: ("ResponsiblePerson", "PN"),
            0x00102298: ("ResponsiblePersonRole", "CS"),
            0x00102299: ("ResponsibleOrganization", "LO"),
            0x00380050: ("SpecialNeeds", "LO"),
            0x00380100: ("PertinentDocumentsSequence", "SQ"),
        }
    ),
}

# What the items of our sequences hold.
_IN_ITEMS = {
    0x00080080: "LO",
    0x00080100: "SH",
    0x00080102: "SH",
    0x00080103: "SH",
    0x00080104: "LO",
    0x00100020: "LO",
    0x00100021: "LO",
    0x00100022: "CS",
    0x00100024: "SQ",
    0x00400031: "UT",
    0x00400032: "UT",
    0x00400033: "CS",
    0x00401101: "SQ",
}


@lru_cache(maxsize=4096)
def vr_of(tag: int) -> str:
    """Give the VR of any tag, "UN" for what no dictionary knows."""
    if tag == SCHEDULED_PROCEDURE_STEP_SEQUENCE:
        return "SQ"
    known = TOP.get(tag) or STEP.get(tag)
    return known.vr if known else _IN_ITEMS.get(tag) or _dictionary(tag)[0]


def is_creator(tag: int) -> bool:
    """Tell whether an element reserves a block of private ones (PS3.5 7.8.1)."""
    return bool(tag >> 16 & 1) and 0x10 <= tag & 0xFFFF <= 0xFF


def keyword_of(tag: int) -> str:
    """Give the keyword of a tag, its number if it has none."""
    return _dictionary(tag)[1] or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


@lru_cache(maxsize=4096)
def tag_of(keyword: str) -> int | None:
    """Give the tag of a keyword, None if it is none."""
    from pydicom.datadict import tag_for_keyword

    return tag_for_keyword(keyword)


@lru_cache(maxsize=4096)
def _dictionary(tag: int) -> tuple[str, str]:
    from pydicom.datadict import dictionary_keyword, dictionary_VR

    if tag >> 16 & 1:
        return ("LO" if is_creator(tag) else "UN"), ""
    try:
        # "US or SS" and the like: an empty value is the same in each.
        return dictionary_VR(tag)[:2], dictionary_keyword(tag)
    except KeyError:
        return "UN", ""
