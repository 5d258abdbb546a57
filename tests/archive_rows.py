"""Instances as they would have been received, for tests of the archive's index.

    received(7, series=2, StudyDescription="CT head")

is instance 7, in series 2 of study 1, of patient P1; attributes are overridden by keyword,
fields by their names. Whatever is told apart by its number differs in its bytes as well.
"""

from dataclasses import fields
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from typing import Any

from mwl.archive import Received

NOW = datetime(2030, 1, 2, 8, 0, tzinfo=UTC)
ROOT = "1.2.826.0.1.3680043.8.498"
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT = "1.2.840.10008.1.2.1"
JPEG_LS = "1.2.840.10008.1.2.4.80"

_FIELDS = {field.name for field in fields(Received)}
_keys = count(1)


def study_uid(number: int) -> str:
    return f"{ROOT}.{number}"


def series_uid(number: int) -> str:
    return f"{ROOT}.1000.{number}"


def instance_uid(number: int) -> str:
    return f"{ROOT}.1000.1000.{number}"


def received(
    number: int = 1, *, series: int = 1, study: int = 1, content: str = "", **given: Any
) -> Received:
    """Make an instance; `content` stands for its bytes."""
    attributes = {
        "PatientName": f"Doe^Number{study}",
        "PatientID": f"P{study}",
        "IssuerOfPatientID": "",
        "PatientBirthDate": "19800229",
        "PatientSex": "F",
        "AccessionNumber": f"ACC{study}",
        "StudyDate": "20300102",
        "StudyTime": "093000",
        "Modality": "CT",
        "SeriesNumber": str(series),
        "InstanceNumber": str(number),
        "Rows": 512,
        "Columns": 512,
        **{name: value for name, value in given.items() if name not in _FIELDS},
    }
    text = content or f"{study}/{series}/{number}"
    values: dict[str, Any] = {
        "study_instance_uid": study_uid(study),
        "series_instance_uid": series_uid(series),
        "sop_instance_uid": instance_uid(number),
        "sop_class_uid": CT,
        "transfer_syntax": EXPLICIT,
        "source": "CT1",
        "key": f"ab/cd/{next(_keys):032x}.dcm",
        "size": 1000 + number,
        "data_set_offset": 400,
        "sha256": sha256(text.encode()).digest(),
        "received_at": NOW,
        **{name: value for name, value in given.items() if name in _FIELDS},
    }
    return Received(attributes=attributes, **values)
