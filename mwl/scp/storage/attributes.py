"""From a header's raw values to the attributes that the archive is told, by keyword."""

from collections.abc import Mapping
from typing import Any

from mwl.charsets import Texts
from mwl.scp.storage.header import Header, Values

SPECIFIC_CHARACTER_SET = 0x00080005
SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
STUDY_INSTANCE_UID = 0x0020000D
SERIES_INSTANCE_UID = 0x0020000E

_TEXTS = {
    0x00080020: "StudyDate",
    0x00080021: "SeriesDate",
    0x00080030: "StudyTime",
    0x00080031: "SeriesTime",
    0x00080050: "AccessionNumber",
    0x00080060: "Modality",
    0x00080090: "ReferringPhysicianName",
    0x00081010: "StationName",
    0x00081030: "StudyDescription",
    0x0008103E: "SeriesDescription",
    0x00100010: "PatientName",
    0x00100020: "PatientID",
    0x00100021: "IssuerOfPatientID",
    0x00100030: "PatientBirthDate",
    0x00100040: "PatientSex",
    0x00180015: "BodyPartExamined",
    0x00200010: "StudyID",
    0x00200011: "SeriesNumber",
    0x00200013: "InstanceNumber",
    0x00280008: "NumberOfFrames",
}
_NUMBERS = {0x00280010: "Rows", 0x00280011: "Columns"}  # US

_OF_REQUESTS = {
    0x00080050: "AccessionNumber",
    0x0020000D: "StudyInstanceUID",
    0x00400009: "ScheduledProcedureStepID",
    0x00401001: "RequestedProcedureID",
}

WANTED = frozenset(
    {
        SPECIFIC_CHARACTER_SET,
        SOP_CLASS_UID,
        SOP_INSTANCE_UID,
        STUDY_INSTANCE_UID,
        SERIES_INSTANCE_UID,
        *_TEXTS,
        *_NUMBERS,
    }
)
OF_REQUESTS = frozenset(_OF_REQUESTS)


def plain(values: Values, tag: int) -> str:
    """Read a UID or a code string; "" if it isn't there."""
    return values.get(tag, b"").decode("latin-1").strip("\0 ")


def attributes(header: Header, *, big: bool, texts: Texts | None = None) -> dict[str, Any]:
    """Read all that there is; the items of (0040,0275) as a list under RequestAttributes.

    `texts` are how those of who sent it are read.
    """
    values = header.values
    texts = (texts or Texts(())).within(plain(values, SPECIFIC_CHARACTER_SET).split("\\"))
    found: dict[str, Any] = _texts(values, _TEXTS, texts)
    order = "big" if big else "little"
    for tag, keyword in _NUMBERS.items():
        if len(value := values.get(tag, b"")) == 2:
            found[keyword] = int.from_bytes(value, order)  # type: ignore[arg-type]
    if header.requests:
        found["RequestAttributes"] = [_texts(item, _OF_REQUESTS, texts) for item in header.requests]
    return found


def _texts(values: Values, keywords: Mapping[int, str], texts: Texts) -> dict[str, Any]:
    return {
        keyword: _text(values[tag], texts) for tag, keyword in keywords.items() if tag in values
    }


def _text(raw: bytes, texts: Texts) -> str:
    raw = raw.strip(b"\0 ")
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")
    return texts.decode(raw)
