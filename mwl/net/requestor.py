"""An association that we ask for: PS3.8 states 4 and 5, and what the peer's answer is worth."""

import socket
from collections.abc import Sequence

from mwl.errors import ProtocolError
from mwl.net.association import Association
from mwl.net.codec import decode, encode
from mwl.net.dimse import Context
from mwl.net.ending import PeerAborted, end, unexpected
from mwl.net.framing import ReadTimeout, Transport
from mwl.net.limits import DEFAULTS, Limits
from mwl.net.negotiation import (
    IMPLEMENTATION_UID,
    IMPLEMENTATION_VERSION,
    Agreement,
    Result,
    send_limit,
)
from mwl.net.pdu import (
    Abort,
    AbortReason,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    PduError,
    ProposedContext,
    Role,
    UserInformation,
    title_bytes,
)
from mwl.sockets import Stream

# PS3.8 table 9-21, by source and reason.
_REASONS = {
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognised",
    (1, 7): "called AE title not recognised",
    (2, 2): "protocol version not supported",
    (3, 1): "it is too busy just now (temporary congestion)",
    (3, 2): "it has as many associations as it takes (local limit exceeded)",
}


class Refused(ProtocolError):
    """The peer answered A-ASSOCIATE-RJ: `answer`. `reason` is its words, "" if it gives none."""

    def __init__(self, answer: AssociateReject) -> None:
        self.answer = answer
        self.reason = _REASONS.get((answer.source, answer.reason), "")
        super().__init__(f"the association is refused: {self.reason or 'no reason given'}")


def associate(  # noqa: PLR0913 - the parties, by name, and what is proposed
    connection: socket.socket | Stream,
    *,
    called: str,
    calling: str,
    contexts: Sequence[ProposedContext],
    roles: Sequence[Role] = (),
    limits: Limits = DEFAULTS,
) -> Association:
    """Open an association over `connection`, which is then the association's to close.

    What the peer doesn't accept of `contexts` isn't in the association's. In a context that
    it accepts, we are what was agreed on: SCU where neither says more (PS3.7 D.3.3.4).
    Its `address` is "".

    Refused; PeerAborted, ConnectionLost, ReadTimeout (no answer within `associate_timeout_s`),
    PduError and ProtocolError (an answer that makes no sense). ValueError: a title is too long.
    """
    transport = Transport(connection, limits)
    user = UserInformation(
        limits.max_receive_pdu_bytes,
        IMPLEMENTATION_UID,
        IMPLEMENTATION_VERSION,
        roles=tuple(roles),
    )
    try:
        titles = title_bytes(called), title_bytes(calling)
    except ValueError:
        transport.close()
        raise
    proposal = AssociateRequest(*titles, tuple(contexts), user)
    try:
        transport.send(encode(proposal))
        agreement = _agreement(proposal, _answer(transport), limits)
        return Association(transport, agreement, "", limits)
    except Refused:
        transport.close()  # PS3.8 AE-4
        raise
    except ReadTimeout:
        end(transport, None)  # AA-1: in state 5 it is the user who has had enough
        raise
    except BaseException as error:
        end(transport, error)
        raise


def _answer(transport: Transport) -> AssociateAccept:
    kind, body = transport.read(transport.limits.associate_timeout_s)
    match decode(kind, body):
        case AssociateAccept() as accept:
            return accept
        case AssociateReject() as reject:
            raise Refused(reject)
        case Abort():
            raise PeerAborted("the peer aborted")
    raise unexpected(kind)  # AA-8


def _agreement(proposal: AssociateRequest, accept: AssociateAccept, limits: Limits) -> Agreement:
    """Take of the peer's answer what was proposed to it. PduError: it answers something else."""
    max_send_pdu_bytes = send_limit(accept.user.max_pdu_bytes, limits)
    if max_send_pdu_bytes < limits.min_peer_pdu_bytes:
        raise ProtocolError("the peer takes PDUs of a few bytes only")
    open_ones = {each.id: each for each in proposal.contexts}
    contexts: dict[int, Context] = {}
    for answer in accept.contexts:
        proposed = open_ones.pop(answer.id, None)
        if proposed is None:
            raise _senseless("a presentation context that was not proposed")
        if answer.result != Result.ACCEPTANCE:
            continue
        if answer.transfer_syntax not in proposed.transfer_syntaxes:
            raise _senseless("a transfer syntax that was not proposed")
        role = _role(proposed.abstract_syntax, proposal, accept)
        if role.scu or role.scp:
            contexts[answer.id] = Context(
                answer.id, proposed.abstract_syntax, answer.transfer_syntax, may_invoke=role.scu
            )
    return Agreement(
        AssociateAccept(proposal.called_title, proposal.calling_title, accept.contexts),
        contexts,
        max_send_pdu_bytes,
    )


def _role(uid: str, proposal: AssociateRequest, accept: AssociateAccept) -> Role:
    """Tell what we are of a SOP class: of what we proposed, what the peer accepted."""
    proposed = next((role for role in proposal.user.roles if role.sop_class == uid), None)
    accepted = next((role for role in accept.user.roles if role.sop_class == uid), None)
    if proposed is None or accepted is None:
        return Role(uid, scu=True, scp=False)
    return Role(uid, proposed.scu and accepted.scu, proposed.scp and accepted.scp)


def _senseless(what: str) -> PduError:
    return PduError(f"the peer accepts {what}", AbortReason.INVALID_PARAMETER)
