"""What the standard calls segments, fields and their parts, for people.

Fields and parts are named by hl7apy's tables of each version; it takes 0.1 s to import, so
that happens when somebody looks at a message. It has no names for segments: these are here,
as chapter headings of v2.5.1 and v2.8 have them.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

DEFAULT_VERSION: Final = "2.5.1"  # for a sender that names none, or one that nobody knows

Reference = Any
"""hl7apy's (kind, parts or None, data type, name, table, …) of a field or a part."""

_TITLES = {
    "AIG": "Appointment information: general resource",
    "AIL": "Appointment information: location resource",
    "AIP": "Appointment information: personnel resource",
    "AIS": "Appointment information: service",
    "AL1": "Patient allergy information",
    "BHS": "Batch header",
    "BLG": "Billing",
    "BTS": "Batch trailer",
    "CTD": "Contact data",
    "CTI": "Clinical trial identification",
    "DG1": "Diagnosis",
    "DSC": "Continuation pointer",
    "ERR": "Error",
    "EVN": "Event type",
    "FHS": "File header",
    "FT1": "Financial transaction",
    "FTS": "File trailer",
    "GT1": "Guarantor",
    "IAM": "Patient adverse reaction information",
    "IN1": "Insurance",
    "IN2": "Insurance, additional information",
    "IPC": "Imaging procedure control",
    "MRG": "Merge patient information",
    "MSA": "Message acknowledgment",
    "MSH": "Message header",
    "NK1": "Next of kin",
    "NTE": "Notes and comments",
    "OBR": "Observation request",
    "OBX": "Observation or result",
    "ORC": "Common order",
    "PD1": "Patient additional demographics",
    "PID": "Patient identification",
    "PR1": "Procedures",
    "PRT": "Participation information",
    "PV1": "Patient visit",
    "PV2": "Patient visit, additional information",
    "RGS": "Resource group",
    "ROL": "Role",
    "SCH": "Scheduling activity information",
    "SFT": "Software",
    "SPM": "Specimen",
    "TQ1": "Timing and quantity",
    "TQ2": "Timing and quantity relationship",
    "TXA": "Transcription document header",
    "ZDS": "Study Instance UID (IHE)",
}
_UPPER = re.compile(r"\b(ae|id|uid|hl7|ssn|vip|dna|dicom|ndc|url|drg|hcfa|ub)\b")
_NUMBERED = "SET_ID"  # hl7apy says whose: SET_ID_PID


def title(segment: str) -> str:
    """Tell what a segment is called; "" for one that nobody knows."""
    return _TITLES.get(segment, "")


def field(version: str, segment: str, number: int) -> Reference | None:
    """Find what is known of a field; where its version has none, in the default version."""
    for each in (version, DEFAULT_VERSION):
        fields = _segments(each).get(segment)
        if fields is not None and number <= len(fields[1]):
            return fields[1][number - 1][1]
    return None


def part(whole: Reference | None, number: int) -> Reference | None:
    """Find what is known of a field's component, or of a component's subcomponent."""
    if whole is None or whole[0] != "sequence" or number > len(whole[1]):
        return None
    return whole[1][number - 1][1]


def spoken(reference: Reference | None) -> str:
    """Write a name for people: MOTHER_S_MAIDEN_NAME as "Mother's maiden name"."""
    if reference is None or not reference[3]:
        return ""
    name = str(reference[3])
    words = (_NUMBERED if name.startswith(_NUMBERED) else name).lower()
    words = words.replace("_s_", "'s ").replace("_", " ").strip()
    text = _UPPER.sub(lambda match: match[0].upper(), words)
    return text[:1].upper() + text[1:]


@lru_cache(maxsize=16)
def _segments(version: str) -> Mapping[str, Any]:
    import hl7apy

    if version not in hl7apy.SUPPORTED_LIBRARIES:
        return {}
    segments: Mapping[str, Any] = hl7apy.load_library(version).SEGMENTS
    return segments
