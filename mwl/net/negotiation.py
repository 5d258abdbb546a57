"""From a proposed association to the answer; pure.

The rules, all of the acceptor (PS3.8 7.1.1, PS3.7 annex D.3):

- A wrong application context, title or limit refuses the association; a presentation
  context that we can't serve is only a result in the accept.
- Of the transfer syntaxes that a context offers, ours that comes first is taken. But of an
  image, which is kept as it is sent, theirs that comes first if that is a compressed one:
  who proposes it first has the image so. That is not so of who takes images by C-GET.
- An identifier used twice means nothing to either side: both contexts are refused, with
  one answer. Contexts over the limit are refused. Even identifiers are let pass.
- Without role selection the requestor is SCU. With it, it gets of what it asked for what
  the service allows; if that is nothing, its contexts of that SOP class are refused.
- What a requestor may be SCP of, it is without role selection too where it also proposes
  to retrieve (C-GET): some viewers take that for granted.
- Operations stay synchronous: a window is answered with 1, 1 (PS3.7 D.3.3.3).
- Of the options that a query or a retrieval may have (`mwl.net.options`), those are agreed
  on that are asked for and that the service has.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from mwl.net.dimse import Context
from mwl.net.limits import Limits
from mwl.net.oddities import Oddity
from mwl.net.options import NONE, Options, answer, asked
from mwl.net.pdu import (
    APPLICATION_CONTEXT,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ContextAnswer,
    ExtendedItem,
    ProposedContext,
    Role,
    UserInformation,
)

# PS3.5 B.2: a UUID of this project's own as a UID.
IMPLEMENTATION_UID = "2.25.27040653439137975742817692594336045118"
IMPLEMENTATION_VERSION = "MWL_BRIDGE"

# PS3.8 table 9-21: result (1 permanent, 2 transient), source, reason.
NO_REASON_GIVEN = AssociateReject(1, 1, 1)
APPLICATION_CONTEXT_NOT_SUPPORTED = AssociateReject(1, 1, 2)
CALLING_TITLE_NOT_RECOGNIZED = AssociateReject(1, 1, 3)
CALLED_TITLE_NOT_RECOGNIZED = AssociateReject(1, 1, 7)
NOT_AUTHORIZED = AssociateReject(1, 2, 1)  # PS3.7 D.3.3.7
TEMPORARY_CONGESTION = AssociateReject(2, 3, 1)
LOCAL_LIMIT_EXCEEDED = AssociateReject(2, 3, 2)

# PS3.8 D.1 wants a maximum length; a peer that leaves it out gets the smallest in use.
_UNTOLD_PDU_BYTES = 16 * 1024


# PS3.5 annex A. To those who begin with one of them, they are as good as each other.
_UNCOMPRESSED = frozenset(
    {IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN}
)


class Result(IntEnum):
    """PS3.8 table 9-18."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(frozen=True, slots=True)
class Supported:
    """What we offer for an abstract syntax: transfer syntaxes, the best first, and roles.

    `invokes`: its SCP invokes operations of other SOP classes on the requestor, as C-GET does.
    `theirs_first`: a compressed transfer syntax that the requestor names first is taken.
    """

    transfer_syntaxes: tuple[str, ...]
    requestor_may_be_scu: bool = True
    requestor_may_be_scp: bool = False
    invokes: bool = False
    theirs_first: bool = False
    options: Options = NONE


@dataclass(frozen=True, slots=True)
class Agreement:
    """What holds on an association: its contexts by identifier and how long a PDU may be.

    `oddities` are the faults of the request that were overlooked.
    """

    accept: AssociateAccept
    contexts: Mapping[int, Context]
    max_send_pdu_bytes: int
    oddities: frozenset[Oddity] = frozenset()


def negotiate(
    request: AssociateRequest,
    supported: Mapping[str, Supported],
    limits: Limits,
    *,
    identified: bool = False,
) -> Agreement | AssociateReject:
    """Answer a proposal that was already admitted; `identified`: with the user that it names."""
    if request.application_context != APPLICATION_CONTEXT:
        return APPLICATION_CONTEXT_NOT_SUPPORTED
    max_send_pdu_bytes = send_limit(request.user.max_pdu_bytes, limits)
    if max_send_pdu_bytes < limits.min_peer_pdu_bytes:
        return NO_REASON_GIVEN
    roles = _roles(request, supported)
    options = _options(request, supported)
    answers, contexts = _answers(request, supported, roles, options, limits)
    spoken = {context.abstract_syntax for context in contexts.values()}
    user = UserInformation(
        max_pdu_bytes=limits.max_receive_pdu_bytes,
        implementation_uid=IMPLEMENTATION_UID,
        implementation_version=IMPLEMENTATION_VERSION,
        asynchronous=None if request.user.asynchronous is None else (1, 1),
        roles=tuple(role for uid, role in roles.items() if uid in spoken),
        extended=tuple(item for uid, (_, item) in options.items() if uid in spoken),
        identity_response=_identity_response(request) if identified else None,
    )
    accept = AssociateAccept(
        called_title=request.called_title,
        calling_title=request.calling_title,
        contexts=answers,
        user=user,
        reserved=request.reserved,
    )
    return Agreement(accept, contexts, max_send_pdu_bytes, request.oddities)


def _identity_response(request: AssociateRequest) -> bytes | None:
    """Tell a peer that wants to know that its user was accepted; a username's is empty."""
    identity = request.user.identity
    return b"" if identity is not None and identity.wants_response else None


def send_limit(peer: int | None, limits: Limits) -> int:
    """Say how long our PDUs may be for a peer that tells this maximum length, or none."""
    if peer is None:
        return min(_UNTOLD_PDU_BYTES, limits.max_send_pdu_bytes)
    # PS3.8 D.1.1: 0 sets no limit.
    return min(peer, limits.max_send_pdu_bytes) if peer else limits.max_send_pdu_bytes


def _roles(request: AssociateRequest, supported: Mapping[str, Supported]) -> dict[str, Role]:
    """Answer role selection per SOP class; the first item for a class counts."""
    # PS3.7 D.3.3.4: a role that was not proposed can't be accepted.
    roles: dict[str, Role] = {}
    for proposed in request.user.roles:
        ours = supported.get(proposed.sop_class)
        if ours is not None and proposed.sop_class not in roles:
            roles[proposed.sop_class] = Role(
                proposed.sop_class,
                proposed.scu and ours.requestor_may_be_scu,
                proposed.scp and ours.requestor_may_be_scp,
            )
    return roles


def _answers(
    request: AssociateRequest,
    supported: Mapping[str, Supported],
    roles: Mapping[str, Role],
    options: Mapping[str, tuple[Options, ExtendedItem | None]],
    limits: Limits,
) -> tuple[tuple[ContextAnswer, ...], dict[int, Context]]:
    uses = Counter(proposed.id for proposed in request.contexts)
    invoked = any(
        proposed.abstract_syntax in supported and supported[proposed.abstract_syntax].invokes
        for proposed in request.contexts
    )
    answers: dict[int, ContextAnswer] = {}
    contexts: dict[int, Context] = {}
    for position, proposed in enumerate(request.contexts):
        uid, transfer_syntax = proposed.abstract_syntax, ""
        ours = supported.get(uid)
        if uses[proposed.id] > 1 or position >= limits.max_contexts:
            result = Result.NO_REASON
        elif ours is None:
            result = Result.ABSTRACT_SYNTAX_NOT_SUPPORTED
        elif not ((role := _role(uid, ours, roles, invoked)).scu or role.scp):
            result = Result.USER_REJECTION
        elif not (transfer_syntax := _taken(proposed, ours, role)):
            result = Result.TRANSFER_SYNTAXES_NOT_SUPPORTED
        else:
            result = Result.ACCEPTANCE
            agreed, _ = options.get(uid, (NONE, None))
            contexts[proposed.id] = Context(proposed.id, uid, transfer_syntax, role.scp, agreed)
        # PS3.8 9.3.3.2: not significant unless accepted; some peers want to see a UID.
        offered = transfer_syntax or next(iter(proposed.transfer_syntaxes), "")
        answers.setdefault(proposed.id, ContextAnswer(proposed.id, result, offered))
    return tuple(answers.values()), contexts


def _role(uid: str, ours: Supported, roles: Mapping[str, Role], invoked: bool) -> Role:
    """Tell what the requestor is of a SOP class."""
    # PS3.7 D.3.3.4: without an item the requestor is SCU and nothing else. But see above.
    return roles.get(uid) or Role(
        uid, ours.requestor_may_be_scu, invoked and ours.requestor_may_be_scp
    )


def _taken(proposed: ProposedContext, ours: Supported, role: Role) -> str:
    """Choose a transfer syntax; "": none of them."""
    wanted, known = ours.transfer_syntaxes, proposed.transfer_syntaxes
    # Who also takes instances from us, by C-GET, can have each of them uncompressed, but of
    # the compressed ones those alone that are kept so.
    if ours.theirs_first and not role.scp and known and known[0] not in _UNCOMPRESSED:
        wanted, known = known, wanted
    return next((each for each in wanted if each in known), "")


def _options(
    request: AssociateRequest, supported: Mapping[str, Supported]
) -> dict[str, tuple[Options, ExtendedItem]]:
    """Agree on options per SOP class, and answer; the first item for a class counts."""
    options: dict[str, tuple[Options, ExtendedItem]] = {}
    for item in request.user.extended:
        uid = item.sop_class
        if uid in supported and uid not in options:
            agreed = asked(item) & supported[uid].options
            answered = answer(item, agreed)
            if answered is not None:
                options[uid] = agreed, answered
    return options
