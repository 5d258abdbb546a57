"""C-ECHO (PS3.4 annex A, PS3.7 9.1.5): whether a device is there, and knows us.

What comes of it is told to a person who stands in front of a scanner and wonders which of
the four settings is wrong: host, port, its AE title or ours. So the association is made by
our own upper layer, which sees the difference; and nothing is raised.
"""

from contextlib import closing, suppress
from dataclasses import replace
from time import perf_counter

from mwl.devices import Answer
from mwl.errors import Outage, ProtocolError
from mwl.net.codec import COMMAND, data_values, decode, encode
from mwl.net.dimse import (
    NO_DATA_SET,
    RESPONSE,
    CommandField,
    Element,
    decode_command,
    encode_command,
    fragments,
)
from mwl.net.framing import ReadTimeout, Transport
from mwl.net.limits import DEFAULTS
from mwl.net.negotiation import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION
from mwl.net.pdu import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    Abort,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    PduType,
    ProposedContext,
    ReleaseRequest,
    UserInformation,
    title_bytes,
)
from mwl.net.status import SUCCESS
from mwl.scu.peers import Peer
from mwl.tls import Keys

_VERIFICATION = "1.2.840.10008.1.1"
_CONTEXT = 1
_MESSAGE = 1
_ACCEPTED = 0  # PS3.8 table 9-18
_SMALLEST_PDU_BYTES = 16 * 1024  # what every peer takes, and more than an echo needs
_WAIT_S = 5.0

# PS3.8 table 9-21, by source and reason.
_CALLED_UNKNOWN, _CALLING_UNKNOWN = (1, 7), (1, 3)
_REFUSALS = {
    (1, 2): "application context name not supported",
    (2, 2): "protocol version not supported",
    (3, 1): "it is too busy just now (temporary congestion)",
    (3, 2): "it has as many associations as it takes (local limit exceeded)",
}


class _Failed(Exception):
    """The echo has come to nothing; the text says why."""


def echo(peer: Peer, calling: str, wait_s: float = _WAIT_S, keys: Keys | None = None) -> Answer:
    """Ask `peer` for an answer, as the AE title `calling`; each step may last `wait_s`.

    `keys` are ours, for a peer that is called over TLS.
    """
    began = perf_counter()
    try:
        with closing(peer.connect(wait_s, keys)) as connection:
            limits = replace(DEFAULTS, write_timeout_s=wait_s, close_timeout_s=wait_s)
            status = _ask(Transport(connection, limits), peer, calling, wait_s)
    except (Outage, _Failed) as failure:
        return Answer(False, str(failure))
    took = f"in {(perf_counter() - began) * 1e3:.0f} ms"
    if status is None:
        return Answer(True, f"took our association {took}; C-ECHO is nothing that it does")
    if status == SUCCESS:
        return Answer(True, f"answered {took}")
    return Answer(False, f"answered {took}, but with status {status:04X}")


def _ask(transport: Transport, peer: Peer, calling: str, wait_s: float) -> int | None:
    """Associate, ask, release; give the status, None where the peer knows no C-ECHO."""
    place = f"{peer.host}:{peer.port}"
    try:
        is_agreed = _associate(transport, peer, calling, wait_s)
        status = _exchange(transport, wait_s) if is_agreed else None
        with suppress(ProtocolError):  # it has answered: how it leaves is its own affair
            transport.send(encode(ReleaseRequest()))
            transport.read(wait_s)
    except ReadTimeout:
        text = f"{place} takes connections, but said nothing within {wait_s:g} s: is it DICOM?"
        raise _Failed(text) from None
    except ProtocolError as error:
        raise _Failed(f"{place} takes connections, but does not speak DICOM: {error}") from None
    return status


def _associate(transport: Transport, peer: Peer, calling: str, wait_s: float) -> bool:
    """Open the association; tell whether C-ECHO was agreed on."""
    syntaxes = (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN)
    proposal = AssociateRequest(
        title_bytes(peer.ae_title),
        title_bytes(calling),
        (ProposedContext(_CONTEXT, _VERIFICATION, syntaxes),),
        UserInformation(DEFAULTS.max_receive_pdu_bytes, IMPLEMENTATION_UID, IMPLEMENTATION_VERSION),
    )
    transport.send(encode(proposal))
    match decode(*transport.read(wait_s)):
        case AssociateAccept() as accept:
            return any(each.result == _ACCEPTED for each in accept.contexts)
        case AssociateReject() as reject:
            raise _Failed(_refusal(reject, peer, calling))
        case Abort():
            raise _Failed("it aborted the association before it began")
        case other:
            raise ProtocolError(f"it answered with {type(other).__name__}")


def _refusal(reject: AssociateReject, peer: Peer, calling: str) -> str:
    why = (reject.source, reject.reason)
    if why == _CALLED_UNKNOWN:
        return (
            f"it refuses {peer.ae_title}, as we call it: called AE title not recognised: "
            "it has another title"
        )
    if why == _CALLING_UNKNOWN:
        return (
            f"it refuses {calling}, our AE title: calling AE title not recognised: "
            "register it at the device"
        )
    return f"it refuses the association: {_REFUSALS.get(why, 'it gives no reason')}"


def _exchange(transport: Transport, wait_s: float) -> int:
    request = encode_command(
        {
            Element.AFFECTED_SOP_CLASS_UID: _VERIFICATION,
            Element.COMMAND_FIELD: int(CommandField.C_ECHO),
            Element.MESSAGE_ID: _MESSAGE,
            Element.DATA_SET_TYPE: NO_DATA_SET,
        }
    )
    transport.send(b"".join(fragments(_CONTEXT, COMMAND, request, _SMALLEST_PDU_BYTES)))
    kind, body = transport.read(wait_s)
    if kind == PduType.ABORT:
        raise _Failed("it aborted the association when asked for C-ECHO")
    if kind != PduType.DATA_TF:
        raise ProtocolError("its answer to C-ECHO is none")
    answer = decode_command(b"".join(bytes(part) for _, _, part in data_values(body)))
    status = answer.number(Element.STATUS)
    if answer.field != CommandField.C_ECHO | RESPONSE or status is None:
        raise ProtocolError("its answer to C-ECHO is none")
    return status
