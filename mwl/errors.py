"""The one tree of errors.

An error says what is wrong, where, and what to do; it knows no protocol. Each edge maps
the tree once to what its peers understand: HL7 to AA/AE/AR with ERR, DICOM to a status,
the command line to an exit code.

- `ConfigError`: the operator's settings; ends the program.
- `Rejected`: the peer's fault or the world's state; asking again changes nothing.
- `Outage`: our own fault (database gone or locked, disk full); asking again may help.
- `ProtocolError`: bytes that no peer may send; ends the connection.
"""

from dataclasses import dataclass
from enum import StrEnum


class MwlError(Exception):
    """Whatever this program raises on purpose."""


class ConfigError(MwlError):
    """A setting that can't be used. The text is one line that names the key."""


class ProtocolError(MwlError):
    """Bytes that break the framing or the grammar of a protocol, or one of its bounds."""


class Outage(MwlError):
    """We can't do our part just now; nothing was kept, nothing was lost."""


class Reason(StrEnum):
    """Why something was rejected, in words of the domain."""

    MISSING = "missing"  # a required value is absent
    MALFORMED = "malformed"  # a value of the wrong type: a date that is none, a bad UID
    UNKNOWN_CODE = "unknown code"  # a coded value that is in no table we know
    TOO_LONG = "too long"  # an identifier that its DICOM attribute can't hold
    SEQUENCE = "sequence"  # segments in an impossible order
    UNSUPPORTED_TYPE = "unsupported type"
    UNSUPPORTED_EVENT = "unsupported event"
    UNSUPPORTED_PROCESSING = "unsupported processing"  # test or training data (MSH-11)
    UNSUPPORTED_VERSION = "unsupported version"
    UNKNOWN_KEY = "unknown key"  # it speaks of something that isn't here
    UNKNOWN_ORDER = (
        "unknown order"  # it ends an order that isn't here, and its sender wants to know
    )
    DUPLICATE_KEY = "duplicate key"  # it collides with something that is here
    OTHER_PATIENT = "other patient"  # a known order, but somebody else's
    FINAL = "final"  # a state that never goes back
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with what a peer or a person gave us.

    `where` names the place in the giver's own words: an HL7 field ("PID-3.1", with the
    occurrence of the segment in `occurrence`), a DICOM keyword, a command-line option.
    `text` never holds patient data: it may reach a log.
    """

    reason: Reason
    where: str
    text: str
    occurrence: int = 1

    def __str__(self) -> str:
        return f"{self.where}: {self.text}" if self.where else self.text


class Rejected(MwlError):
    """What was asked can't be done, and asking again changes nothing."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults
