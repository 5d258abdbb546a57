"""C-ECHO (PS3.4 annex A, PS3.7 9.1.5): whether a device is there, and knows us.

What comes of it is told to a person who stands in front of a scanner and wonders which of
the four settings is wrong: host, port, its AE title or ours. So the association is made by
our own upper layer, which sees the difference; and nothing is raised.
"""

from dataclasses import replace
from time import perf_counter

from mwl.devices import Answer
from mwl.errors import Outage, ProtocolError
from mwl.net.association import Association
from mwl.net.dimse import CommandField, Element
from mwl.net.ending import PeerAborted
from mwl.net.framing import ReadTimeout
from mwl.net.limits import DEFAULTS
from mwl.net.messages import Elements
from mwl.net.negotiation import CALLED_TITLE_NOT_RECOGNIZED, CALLING_TITLE_NOT_RECOGNIZED
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, ProposedContext
from mwl.net.requestor import Refused, associate
from mwl.net.status import SUCCESS
from mwl.scu.peers import Peer
from mwl.tls import Keys

_VERIFICATION = "1.2.840.10008.1.1"
_SYNTAXES = (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN)
_CONTEXT = ProposedContext(1, _VERIFICATION, _SYNTAXES)
_WAIT_S = 5.0


class _Failed(Exception):
    """The echo has come to nothing; the text says why."""


def echo(peer: Peer, calling: str, wait_s: float = _WAIT_S, keys: Keys | None = None) -> Answer:
    """Ask `peer` for an answer, as the AE title `calling`; each step may last `wait_s`.

    `keys` are ours, for a peer that is called over TLS.
    """
    began = perf_counter()
    try:
        with _associated(peer, calling, _CONTEXT, wait_s, keys) as association:
            status = _ask(association) if association.contexts else None
    except (Outage, _Failed) as failure:
        return Answer(False, str(failure))
    except PeerAborted:
        return Answer(False, "it aborted the association when asked for C-ECHO")
    except ProtocolError as error:
        return Answer(False, _no_dicom(peer, error, wait_s))
    took = f"in {(perf_counter() - began) * 1e3:.0f} ms"
    if status is None:
        return Answer(True, f"took our association {took}; C-ECHO is nothing that it does")
    if status == SUCCESS:
        return Answer(True, f"answered {took}")
    return Answer(False, f"answered {took}, but with status {status:04X}")


def takes(  # noqa: PLR0913 - whom, by which name, and for what
    peer: Peer,
    calling: str,
    sop_class: str,
    what: str,
    wait_s: float = _WAIT_S,
    keys: Keys | None = None,
) -> Answer:
    """See whether `peer` takes an association for a SOP class; nothing is asked of it.

    `what` is the class in the words of the answer; the others are as in `echo`.
    """
    context = ProposedContext(1, sop_class, _SYNTAXES)
    try:
        with _associated(peer, calling, context, wait_s, keys) as association:
            if association.contexts:
                return Answer(True, f"takes {what} of {calling}")
    except (Outage, _Failed) as failure:
        return Answer(False, str(failure))
    except ProtocolError as error:
        return Answer(False, _no_dicom(peer, error, wait_s))
    return Answer(False, f"took our association, but takes no {what} on this port")


def _associated(
    peer: Peer, calling: str, context: ProposedContext, wait_s: float, keys: Keys | None
) -> Association:
    limits = replace(
        DEFAULTS,
        associate_timeout_s=wait_s,
        response_timeout_s=wait_s,
        write_timeout_s=wait_s,
        release_timeout_s=wait_s,
        close_timeout_s=min(wait_s, 1.0),
    )
    connection = peer.connect(wait_s, keys)
    try:
        return associate(
            connection,
            called=peer.ae_title,
            calling=calling,
            contexts=(context,),
            limits=limits,
        )
    except Refused as refused:
        raise _Failed(_refusal(refused, peer, calling)) from None
    except PeerAborted:
        raise _Failed("it aborted the association before it began") from None


def _ask(association: Association) -> int:
    about: Elements = {
        Element.COMMAND_FIELD: CommandField.C_ECHO,
        Element.AFFECTED_SOP_CLASS_UID: _VERIFICATION,
    }
    status = association.request(_CONTEXT.id, about).number(Element.STATUS)
    if status is None:
        raise ProtocolError("its answer to C-ECHO is none")
    return status


def _refusal(refused: Refused, peer: Peer, calling: str) -> str:
    if refused.answer == CALLED_TITLE_NOT_RECOGNIZED:
        return (
            f"it refuses {peer.ae_title}, as we call it: called AE title not recognised: "
            "it has another title"
        )
    if refused.answer == CALLING_TITLE_NOT_RECOGNIZED:
        return (
            f"it refuses {calling}, our AE title: calling AE title not recognised: "
            "register it at the device"
        )
    return f"it refuses the association: {refused.reason or 'it gives no reason'}"


def _no_dicom(peer: Peer, error: ProtocolError, wait_s: float) -> str:
    taken = f"{peer.host}:{peer.port} takes connections, but"
    if isinstance(error, ReadTimeout):
        return f"{taken} said nothing within {wait_s:g} s: is it DICOM?"
    return f"{taken} does not speak DICOM: {error}"
