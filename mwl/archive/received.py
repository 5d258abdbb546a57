"""An instance as it was received, and the rows that describe it.

Here is the edge at which lengths are bounded: SQLite ignores them, and scanners do too.
What describes is cut; a UID that is none is refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from mwl.errors import Fault, Reason, Rejected
from mwl.names import words_key
from mwl.patients import name_key
from mwl.studies import Outcome, Person, Version

# No attribute that can be matched is longer: a PN has three groups of 64 characters.
_LONGEST = 256
# One image answers to a few orders at most.
MOST_REQUESTS = 8
_LARGEST = 2**31 - 1  # of what an integer column holds

_CONTROLS = dict.fromkeys((*range(32), 127), " ") | {0: None}

REQUEST_KEYS = (
    "AccessionNumber",
    "RequestedProcedureID",
    "ScheduledProcedureStepID",
    "StudyInstanceUID",
)

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Received:
    """An instance whose bytes are in the object store under `key`, durably.

    `sha256` is the digest of the data set as received, `size` that of the whole file in
    bytes; `source` is the calling AE title. `attributes` holds decoded texts by DICOM
    keyword; RequestAttributesSequence's items are a list of such mappings under
    `RequestAttributes`.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax: str
    source: str
    key: str
    size: int
    data_set_offset: int
    sha256: bytes
    attributes: Mapping[str, Any]
    received_at: datetime

    def text(self, keyword: str) -> str:
        """Tell an attribute as a column holds it; "" if it isn't there."""
        value = self.attributes.get(keyword)
        return "" if value is None else clean(value)

    def person(self) -> Person:
        """Tell whom it shows."""
        text = self.text
        return Person(
            text("PatientID"),
            text("IssuerOfPatientID"),
            text("PatientName"),
            _date(self, "PatientBirthDate"),
            text("PatientSex"),
        )

    def version(self) -> Version:
        """Tell what decides whether it replaces another."""
        picture = instance_row(self)
        return Version(
            self.sha256,
            self.transfer_syntax,
            self.source,
            self.sop_class_uid,
            (picture["rows"], picture["columns"], picture["frames"]),
        )


class Stored(NamedTuple):
    """What became of it; `reason` tells a person why it is quarantined."""

    outcome: Outcome
    reason: str = ""


def check(received: Received) -> None:
    """Raise Rejected (MALFORMED) unless its UIDs can be UIDs."""
    for where, uid in (
        ("StudyInstanceUID", received.study_instance_uid),
        ("SeriesInstanceUID", received.series_instance_uid),
        ("SOPInstanceUID", received.sop_instance_uid),
        ("SOPClassUID", received.sop_class_uid),
    ):
        if not is_uid(uid):
            raise Rejected(Fault(Reason.MALFORMED, where, "is no UID"))


def is_uid(text: str) -> bool:
    """Tell whether this may name a study, a series or an instance."""
    return _UID.fullmatch(text) is not None


# PS3.5 9.1 allows 64 digits and dots. Letters do no harm, and there are scanners that use
# them; what looks like a path or like markup is nobody's mistake.
_UID = re.compile(r"(?!.*\.\.)(?=.*[0-9A-Za-z])[0-9A-Za-z._-]{1,64}")


def clean(value: Any) -> str:
    """Make a text of at most 256 characters that any database takes."""
    text = value if isinstance(value, str) else str(value)
    if len(text) > _LONGEST:
        text = text[:_LONGEST]
    if not text.isprintable():
        # A lone surrogate is what some decoders leave of a byte that they don't know.
        text = text.translate(_CONTROLS).encode("utf-8", "replace").decode()
    return text.strip(" ")


def study_row(received: Received) -> Row:
    """Describe its study."""
    text = received.text
    return {
        "study_instance_uid": received.study_instance_uid,
        **person_row(received.person()),
        "sex": text("PatientSex"),
        "accession_number": text("AccessionNumber"),
        "study_id": text("StudyID"),
        "study_date": _date(received, "StudyDate"),
        "study_time": _time(received, "StudyTime"),
        "description": text("StudyDescription"),
        "referring_physician": text("ReferringPhysicianName"),
        "referring_physician_key": name_key(text("ReferringPhysicianName")),
        "referring_physician_words": words_key(text("ReferringPhysicianName")),
        "created_at": received.received_at,
    }


def person_row(person: Person) -> Row:
    """Tell the columns of a study that say whom it shows."""
    return {
        "patient_id": person.patient_id,
        "patient_id_issuer": person.issuer,
        "patient_name": person.name,
        "name_key": name_key(person.name),
        "name_words": words_key(person.name),
        "birth_date": person.birth_date,
    }


def series_row(received: Received) -> Row:
    """Describe its series."""
    text = received.text
    return {
        "series_instance_uid": received.series_instance_uid,
        "modality": text("Modality"),
        "series_number": text("SeriesNumber"),
        "description": text("SeriesDescription"),
        "body_part": text("BodyPartExamined"),
        "series_date": _date(received, "SeriesDate"),
        "series_time": _time(received, "SeriesTime"),
        "station_name": text("StationName"),
        "request": requests(received),
        "created_at": received.received_at,
    }


def instance_row(received: Received) -> Row:
    """Describe the instance."""
    attributes = received.attributes
    return {
        "sop_instance_uid": received.sop_instance_uid,
        "sop_class_uid": received.sop_class_uid,
        "instance_number": received.text("InstanceNumber"),
        "rows": _count(attributes.get("Rows")),
        "columns": _count(attributes.get("Columns")),
        "frames": _count(attributes.get("NumberOfFrames")),
        "created_at": received.received_at,
    }


def object_row(received: Received) -> Row:
    """Describe its bytes."""
    return {
        "key": received.key,
        "size": received.size,
        "data_set_offset": received.data_set_offset,
        "sha256": received.sha256,
        "transfer_syntax": received.transfer_syntax,
        "source": received.source,
        "study_instance_uid": received.study_instance_uid,
        "series_instance_uid": received.series_instance_uid,
        "sop_instance_uid": received.sop_instance_uid,
        "sop_class_uid": received.sop_class_uid,
        "patient_id": received.text("PatientID"),
        "received_at": received.received_at,
    }


def requests(received: Received) -> list[dict[str, str]]:
    """Tell what its Request Attributes Sequence names, by keyword; empty items left out."""
    items = list(received.attributes.get("RequestAttributes") or ())[:MOST_REQUESTS]
    read = [{key: clean(item.get(key) or "") for key in REQUEST_KEYS} for item in items]
    kept = [{key: value for key, value in item.items() if value} for item in read]
    return [item for item in kept if item]


def _date(received: Received, keyword: str) -> str:
    # The punctuation is that of ACR-NEMA 2.0, here and below.
    text = received.text(keyword)
    return text.replace(".", "") if "." in text else text


def _time(received: Received, keyword: str) -> str:
    text = received.text(keyword)
    return text.replace(":", "") if ":" in text else text


def _count(value: Any) -> int | None:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 <= number <= _LARGEST else None
