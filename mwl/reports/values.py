"""What a report is, as a message states it; pure."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from mwl.patients import Identifier
from mwl.shortened import Shortened


class Status(StrEnum):
    """How far a report has come (HL7 tables 0123 and 0085, summed up)."""

    PRELIMINARY = "PRELIMINARY"
    FINAL = "FINAL"
    CORRECTED = "CORRECTED"  # what was final says something else now
    CANCELED = "CANCELED"  # withdrawn, or never to come


# What says that the examination is done and read.
SETTLED = frozenset({Status.FINAL, Status.CORRECTED})


class Kind(StrEnum):
    """How a part of a report is shown."""

    TEXT = "text"  # as it is; UTF-8
    PDF = "pdf"  # in the browser's own viewer
    MARKUP = "markup"  # XML or HTML of others: its source, never as a page; UTF-8
    LINK = "link"  # where it is to be found, as text; not followed
    FILE = "file"  # anything else: to be saved


class Link(StrEnum):
    """How it is known which order a report is about."""

    FILLER = "filler order number"
    PLACER = "placer order number"
    ACCESSION = "accession number"
    STUDY = "Study Instance UID"


class Part(NamedTuple):
    """One part of a report, in its order."""

    kind: Kind
    content: bytes
    label: str = ""
    media_type: str = "text/plain"
    abnormal: str = ""


@dataclass(slots=True)
class ReportChange:
    """One report (an OBR with its OBX), as a message states it.

    `number` and `code` are what its versions share; without a number it has one version.
    `at` is when the sender made the message. `completes`: it says, once it is final, that
    its order is done. `fields` are columns of `report`.
    """

    source: str
    status: Status
    patient: Identifier
    number: str = ""
    code: str = ""
    placer: Identifier | None = None
    filler: Identifier | None = None
    study_uids: tuple[str, ...] = ()
    issued_at: datetime | None = None
    at: datetime | None = None
    completes: bool = False
    control_id: str = ""
    content_hash: bytes = b""
    fields: dict[str, str] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    shortened: Shortened = ()
