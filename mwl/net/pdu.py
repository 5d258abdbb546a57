"""The protocol data units of PS3.8 section 9.3 as plain values.

AE titles stay the 16 bytes that came: what a peer put there is for `title_text` to read
and for admission to judge, never a reason to break off. UIDs are text without padding.
"""

from dataclasses import dataclass, field
from enum import IntEnum

from mwl.errors import ProtocolError
from mwl.net.oddities import Oddity

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"  # PS3.7 A.2.1
IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"


class PduType(IntEnum):
    """PS3.8 tables 9-11 to 9-26, first byte."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    DATA_TF = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


class AbortSource(IntEnum):
    """PS3.8 table 9-26, byte 9."""

    SERVICE_USER = 0
    SERVICE_PROVIDER = 2


class AbortReason(IntEnum):
    """PS3.8 table 9-26, byte 10; significant only from the service provider."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class PduError(ProtocolError):
    """A PDU that can't be read or that this state doesn't allow, with the reason to abort."""

    def __init__(self, text: str, reason: AbortReason = AbortReason.INVALID_PARAMETER) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context as proposed (PS3.8 9.3.2.2)."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContextAnswer:
    """A presentation context as answered (PS3.8 9.3.3.2)."""

    id: int
    result: int
    transfer_syntax: str  # not significant unless accepted


@dataclass(frozen=True, slots=True)
class Role:
    """SCP/SCU role selection (PS3.7 D.3.3.4): what the requestor may be."""

    sop_class: str
    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class ExtendedItem:
    """SOP class extended negotiation (PS3.7 D.3.3.5)."""

    sop_class: str
    information: bytes


class IdentityType(IntEnum):
    """PS3.7 table D.3-14, user identity type."""

    USERNAME = 1
    USERNAME_AND_PASSCODE = 2
    KERBEROS = 3
    SAML = 4
    JWT = 5


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """Who uses the requestor, as it says (PS3.7 D.3.3.7).

    `primary` is a username or a ticket, `secondary` a passcode: neither shows in a repr.
    """

    kind: int  # IdentityType, or what a peer made of it
    primary: bytes = field(repr=False)
    secondary: bytes = field(default=b"", repr=False)
    wants_response: bool = False


@dataclass(frozen=True, slots=True)
class UserInformation:
    """The user information item (PS3.7 D.3.3), for either direction.

    `max_pdu_bytes` is None where the peer left it out, 0 where it sets no limit. `identity`
    goes with a request, `identity_response` with an accept.
    """

    max_pdu_bytes: int | None = None
    implementation_uid: str = ""
    implementation_version: str = ""
    asynchronous: tuple[int, int] | None = None  # operations invoked, performed
    roles: tuple[Role, ...] = ()
    extended: tuple[ExtendedItem, ...] = ()
    identity: UserIdentity | None = None
    identity_response: bytes | None = None  # empty to a username


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """A-ASSOCIATE-RQ (PS3.8 9.3.2); `oddities` is what was overlooked in reading it."""

    called_title: bytes
    calling_title: bytes
    contexts: tuple[ProposedContext, ...]
    user: UserInformation = field(default_factory=UserInformation)
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1
    reserved: bytes = bytes(32)
    oddities: frozenset[Oddity] = field(default=frozenset(), compare=False)


@dataclass(frozen=True, slots=True)
class AssociateAccept:
    """A-ASSOCIATE-AC (PS3.8 9.3.3); titles and `reserved` are sent as they were received."""

    called_title: bytes
    calling_title: bytes
    contexts: tuple[ContextAnswer, ...]
    user: UserInformation = field(default_factory=UserInformation)
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1
    reserved: bytes = bytes(32)


@dataclass(frozen=True, slots=True)
class AssociateReject:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

    result: int
    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class DataValue:
    """A presentation data value (PS3.8 9.3.5.1 and annex E.2)."""

    context_id: int
    is_command: bool
    is_last: bool
    fragment: bytes | memoryview


@dataclass(frozen=True, slots=True)
class DataTransfer:
    """P-DATA-TF (PS3.8 9.3.5)."""

    values: tuple[DataValue, ...]


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """A-RELEASE-RQ (PS3.8 9.3.6)."""


@dataclass(frozen=True, slots=True)
class ReleaseResponse:
    """A-RELEASE-RP (PS3.8 9.3.7)."""


@dataclass(frozen=True, slots=True)
class Abort:
    """A-ABORT (PS3.8 9.3.8)."""

    source: int
    reason: int


Pdu = (
    AssociateRequest
    | AssociateAccept
    | AssociateReject
    | DataTransfer
    | ReleaseRequest
    | ReleaseResponse
    | Abort
)


def title_text(title: bytes) -> str:
    """Read an AE title: Latin-1 up to a NUL, without the spaces around it.

    What can't be printed becomes "?", so that a title may stand in a log and in a database.
    """
    text = title.partition(b"\0")[0].decode("latin-1").strip(" ")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "?" for c in text)


def title_bytes(text: str) -> bytes:
    """Write an AE title as the 16 bytes of its field. ValueError: it doesn't fit."""
    title = text.encode("latin-1").ljust(16)
    if len(title) > 16:
        raise ValueError("an AE title has at most 16 characters")
    return title
