"""The attributes of patients, studies, series and instances (PS3.4 C.6.1.1, C.6.2.1).

Each names the column of `mwl.archive.query` that it is answered from, and the key that it is
matched by. A row of a level tells what lies above it too.
"""

import json
from collections.abc import Mapping
from dataclasses import replace

from mwl.archive.query import REQUEST, Level
from mwl.scp.attributes import TOP, Attribute, Item, Model, tag_of


def _key(vr: str, name: str, *, multiple: bool = False) -> Attribute:
    return Attribute(vr, name, name, multiple=multiple)


def _identifier(vr: str, name: str, *, multiple: bool = False) -> Attribute:
    return Attribute(vr, name, name, exact=True, multiple=multiple)


def _count(name: str) -> Attribute:
    return Attribute("IS", name)


def _requests(text: str) -> list[Item]:
    # An item may hold what no dictionary names; a peer could do nothing with it.
    items = ({tag_of(keyword): value for keyword, value in each.items()} for each in _read(text))
    return [{tag: value for tag, value in item.items() if tag is not None} for item in items]


def _read(text: str) -> list[dict[str, str]]:
    read: list[dict[str, str]] = json.loads(text) if text else []
    return read


STUDY_START, SERIES_START = "study_start", "series_start"

OF_LEVEL: Mapping[Level, Model] = {
    Level.PATIENT: {
        0x00100010: _key("PN", "patient_name"),
        0x00100020: _identifier("LO", "patient_id"),
        0x00100021: replace(TOP[0x00100021], key="issuer"),
        0x00100024: TOP[0x00100024],  # Issuer of Patient ID Qualifiers Sequence
        0x00100030: _key("DA", "birth_date"),
        0x00100040: _key("CS", "sex"),
        0x00101002: TOP[0x00101002],  # Other Patient IDs Sequence
        0x00201200: _count("patient_studies"),
        0x00201202: _count("patient_series"),
        0x00201204: _count("patient_instances"),
    },
    Level.STUDY: {
        0x00080020: _key("DA", "study_date"),
        0x00080030: _key("TM", "study_time"),
        0x00080050: _identifier("SH", "accession_number"),
        0x00080061: _key("CS", "modalities", multiple=True),
        0x00080062: _identifier("UI", "sop_classes", multiple=True),
        0x00080090: _key("PN", "referring_physician"),
        0x00081030: _key("LO", "study_description"),
        0x0020000D: _identifier("UI", "study_instance_uid"),
        0x00200010: _identifier("SH", "study_id"),
        0x00201206: _count("study_series"),
        0x00201208: _count("study_instances"),
    },
    Level.SERIES: {
        0x00080021: _key("DA", "series_date"),
        0x00080031: _key("TM", "series_time"),
        0x00080060: _key("CS", "modality"),
        0x00081010: _key("SH", "station_name"),
        0x0008103E: _key("LO", "series_description"),
        0x00180015: _key("CS", "body_part"),
        0x0020000E: _identifier("UI", "series_instance_uid"),
        0x00200011: _key("IS", "series_number"),
        0x00201209: _count("series_instances"),
        0x00400275: Attribute("SQ", "request", items=_requests),
    },
    Level.IMAGE: {
        0x00080016: _identifier("UI", "sop_class_uid"),
        0x00080018: _identifier("UI", "sop_instance_uid"),
        0x00083002: Attribute("UI", "transfer_syntax", exact=True),
        0x00200013: _key("IS", "instance_number"),
        0x00280008: _count("frames"),
        0x00280010: Attribute("US", "rows"),
        0x00280011: Attribute("US", "columns"),
    },
}
# Inside Request Attributes Sequence (0040,0275), of the level SERIES.
REQUEST_ATTRIBUTES = 0x00400275
OF_REQUESTS: Model = {
    0x00080050: Attribute("SH", key=f"{REQUEST}AccessionNumber"),
    0x0020000D: Attribute("UI", key=f"{REQUEST}StudyInstanceUID"),
    0x00400009: Attribute("SH", key=f"{REQUEST}ScheduledProcedureStepID"),
    0x00401001: Attribute("SH", key=f"{REQUEST}RequestedProcedureID"),
}


def _down_to(lowest: Level) -> Model:
    return {
        tag: attribute
        for level, model in OF_LEVEL.items()
        if not lowest.is_above(level)
        for tag, attribute in model.items()
    }


# What a row of a level tells: its own attributes, and those of what lies above.
MODELS: Mapping[Level, Model] = {level: _down_to(level) for level in Level}
EVERYTHING: Model = MODELS[Level.IMAGE]
