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

    column: what it is answered from; "": always empty. key: what it is matched by.
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


def _code(text: str) -> list[Item]:
    value, scheme, meaning = text.split(UNIT_SEPARATOR)
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


def _no_items(text: str) -> list[Item]:  # noqa: ARG001 - the signature of every sequence
    return []


def further(name: str, vr: str, other: str = "") -> Attribute:
    """Answer an attribute from those that a step keeps by name, or by another name."""

    def look_up(text: str) -> str:
        found = json.loads(text)
        value = found.get(name) or found.get(other, "")
        return value if isinstance(value, str) else ""

    return Attribute(vr, "attributes", text=look_up)


def _of_step(keyword: str, vr: str) -> Attribute:
    return further(kept.STEP + keyword, vr, keyword)


def _identifier(vr: str, column: str, key: str = "", *, single: bool = False) -> Attribute:
    return Attribute(vr, column, key, exact=True, single=single)


def _sequence(column: str, items: Callable[[str], list[Item]]) -> Attribute:
    return Attribute("SQ", column, items=items)


_EMPTY_SEQUENCE = Attribute("SQ", items=_no_items)

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
    0x00400004: _of_step("ScheduledProcedureStepEndDate", "DA"),
    0x00400005: _of_step("ScheduledProcedureStepEndTime", "TM"),
    0x00400006: Attribute("PN", "performing_physician", "performing_physician"),
    0x00400007: Attribute("LO", "step_description"),
    0x00400008: _sequence("protocol_code", _code),
    0x00400009: _identifier("SH", "sps_id", "sps_id"),
    0x0040000B: _EMPTY_SEQUENCE,  # Scheduled Performing Physician Identification Sequence
    0x00400010: Attribute("SH", "station_name", multiple=True),
    0x00400011: Attribute("SH", "location"),
    0x00400012: Attribute("LO", "pre_medication"),
    0x00400020: Attribute("CS", "status", "status"),
    0x00400400: Attribute("LT", "step_comments"),
}

TOP: Model = {
    # Imaging service request
    0x00080050: _identifier("SH", "accession_number", "accession_number", single=True),
    0x00080051: _sequence("accession_issuer", _designator),
    0x00080090: Attribute("PN", "referring_physician"),
    0x00321032: Attribute("PN", "requesting_physician"),
    0x00321033: Attribute("LO", "requesting_service"),
    0x00400026: _sequence("placer_issuer", _designator),
    0x00400027: _sequence("filler_issuer", _designator),
    0x00402004: further("IssueDateOfImagingServiceRequest", "DA"),
    0x00402005: further("IssueTimeOfImagingServiceRequest", "TM"),
    0x00402008: further("OrderEnteredBy", "PN"),
    0x00402009: further("OrderEntererLocation", "SH"),
    0x00402010: further("OrderCallbackPhoneNumber", "SH"),
    0x00402016: _identifier("LO", "placer_number", "placer_number"),
    0x00402017: _identifier("LO", "filler_number", "filler_number"),
    0x00402400: Attribute("LT", "order_comments"),
    # Requested procedure
    0x0020000D: _identifier("UI", "study_instance_uid", "study_instance_uid"),
    0x00080020: Attribute("DA"),  # Study Date: there is no study yet
    0x00080030: Attribute("TM"),
    0x00081110: _EMPTY_SEQUENCE,  # Referenced Study Sequence
    0x00321060: Attribute("LO", "procedure_description"),
    0x00321064: _sequence("procedure_code", _code),
    0x00401001: _identifier("SH", "requested_procedure_id", "requested_procedure_id", single=True),
    0x00401002: Attribute("LO", "reason"),
    0x00401003: Attribute("SH", "priority"),
    0x00401004: Attribute("LO", "transport"),
    0x00401005: further("RequestedProcedureLocation", "LO"),
    0x0040100A: _EMPTY_SEQUENCE,  # Reason for Requested Procedure Code Sequence
    0x00401010: further("NamesOfIntendedRecipientsOfResults", "PN"),
    0x00401400: Attribute("LT", "procedure_comments"),
    # Visit
    0x00080080: further("InstitutionName", "LO"),
    0x00080081: further("InstitutionAddress", "ST"),
    0x00081120: _EMPTY_SEQUENCE,  # Referenced Patient Sequence
    0x00380010: _identifier("LO", "admission_id", "admission_id"),
    0x00380014: _sequence("admission_issuer", _designator),
    0x00380016: Attribute("LO", "route_of_admissions"),
    0x00380050: further("SpecialNeeds", "LO"),
    0x00380300: Attribute("LO", "current_patient_location"),
    0x00380500: Attribute("LO", "patient_state"),
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
    0x00102160: further("EthnicGroup", "SH"),
    0x00102180: further("Occupation", "SH"),
    0x001021A0: further("SmokingStatus", "CS"),
    0x001021B0: further("AdditionalPatientHistory", "LT"),
    0x001021C0: Attribute("US", "pregnancy_status"),
    0x001021D0: further("LastMenstrualDate", "DA"),
    0x00104000: Attribute("LT", "patient_comments"),
    0x00403001: Attribute("LO", "confidentiality"),
}

# What the items of our sequences hold.
_IN_ITEMS = {
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
}


@lru_cache(maxsize=4096)
def vr_of(tag: int) -> str:
    """Give the VR of any tag, "UN" for what no dictionary knows."""
    if tag == SCHEDULED_PROCEDURE_STEP_SEQUENCE:
        return "SQ"
    known = TOP.get(tag) or STEP.get(tag)
    return known.vr if known else _IN_ITEMS.get(tag) or _dictionary(tag)[0]


def keyword_of(tag: int) -> str:
    """Give the keyword of a tag, its number if it has none."""
    return _dictionary(tag)[1] or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def tag_of(keyword: str) -> int | None:
    """Give the tag of a keyword, None if it is none."""
    from pydicom.datadict import tag_for_keyword

    return tag_for_keyword(keyword)


@lru_cache(maxsize=4096)
def _dictionary(tag: int) -> tuple[str, str]:
    from pydicom.datadict import dictionary_keyword, dictionary_VR

    if tag >> 16 & 1:
        # PS3.5 7.8.1: a block is reserved by its private creator, an LO.
        return ("LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"), ""
    try:
        # "US or SS" and the like: an empty value is the same in each.
        return dictionary_VR(tag)[:2], dictionary_keyword(tag)
    except KeyError:
        return "UN", ""
