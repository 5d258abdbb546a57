"""Modality Worklist as SCU (PS3.4 annex K): what another server has on its list.

Answers are given on as they come, each in the memory of one. Nothing that the peer does lasts
longer, or brings more, than `Bounds` allow; what ends before its end ends by `Unfinished`.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from mwl.dataset import MAX_BYTES
from mwl.errors import MwlError, Outage, ProtocolError
from mwl.net.association import Association
from mwl.net.dimse import CommandField, Element
from mwl.net.limits import DEFAULTS
from mwl.net.messages import Elements
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, ProposedContext
from mwl.net.requestor import associate
from mwl.net.status import PENDING, PENDING_UNSUPPORTED_KEYS, SUCCESS
from mwl.scu.peers import Peer
from mwl.tls import Keys

SOP_CLASS = "1.2.840.10008.5.1.4.31"  # Modality Worklist Information Model - FIND
_CONTEXT = ProposedContext(1, SOP_CLASS, (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN))
_MEDIUM = 0x0000  # PS3.7 9.3.2.1: priority
_PENDING = frozenset({PENDING, PENDING_UNSUPPORTED_KEYS})


class Unfinished(MwlError):
    """The list was not answered to its end; the text says why, without patient data."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many answers a peer may give, of how many bytes, and in which time.

    `call_s` is for each step of the call, to connect and to associate; `wait_s` for an answer.
    """

    answers: int = 10_000
    whole_bytes: int = 64 * 1024 * 1024
    whole_s: float = 300.0
    call_s: float = 5.0
    wait_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer: an encoded data set."""

    data: bytes
    explicit: bool


def ask(  # noqa: PLR0913 - whom, what, how far, and as whom
    peer: Peer,
    calling: str,
    identifier: Callable[[bool], bytes],
    bounds: Bounds,
    keys: Keys | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> Iterator[Answered]:
    """Ask for a worklist; `identifier` encodes the query, in explicit VRs or not.

    It ends when the peer has answered that this is all (0000). Raises Unfinished. While an
    answer is awaited, `meanwhile` is called every second; what it raises comes out.
    """
    end = time.monotonic() + bounds.whole_s
    try:
        with _associated(peer, calling, bounds, keys) as association:
            yield from _answers(association, identifier, bounds, end, meanwhile)
    except (Outage, ProtocolError) as error:
        raise Unfinished(f"{peer}: {error}") from None
    except Unfinished as error:
        raise Unfinished(f"{peer}: {error}") from None


def _associated(peer: Peer, calling: str, bounds: Bounds, keys: Keys | None) -> Association:
    call_s = min(bounds.call_s, bounds.wait_s)
    limits = replace(
        DEFAULTS,
        associate_timeout_s=call_s,
        pdu_timeout_s=bounds.wait_s,
        response_timeout_s=bounds.wait_s,
        write_timeout_s=bounds.wait_s,
        release_timeout_s=call_s,
        close_timeout_s=min(call_s, 1.0),
        max_data_set_bytes=MAX_BYTES,
    )
    connection = peer.connect(call_s, keys)
    return associate(
        connection, called=peer.ae_title, calling=calling, contexts=(_CONTEXT,), limits=limits
    )


def _answers(
    association: Association,
    identifier: Callable[[bool], bytes],
    bounds: Bounds,
    end: float,
    meanwhile: Callable[[], None] | None,
) -> Iterator[Answered]:
    context = association.contexts.get(_CONTEXT.id)
    if context is None:
        raise Unfinished("it gives no worklist (it refuses the presentation context)")
    explicit = context.transfer_syntax == EXPLICIT_VR_LITTLE_ENDIAN
    about: Elements = {
        Element.COMMAND_FIELD: CommandField.C_FIND,
        Element.AFFECTED_SOP_CLASS_UID: SOP_CLASS,
        Element.PRIORITY: _MEDIUM,
    }
    count = size = 0
    query = identifier(explicit)
    for message in association.responses(_CONTEXT.id, about, query, meanwhile):
        status = message.command.number(Element.STATUS)
        if status not in _PENDING:
            _see_success(status, message.command.text(Element.ERROR_COMMENT))
            return
        data = message.data_set or b""
        count, size = count + 1, size + len(data)
        if count > bounds.answers:
            raise Unfinished(f"it gave more than {bounds.answers} answers")
        if size > bounds.whole_bytes:
            raise Unfinished(f"it gave more than {bounds.whole_bytes} bytes")
        if time.monotonic() > end:
            raise Unfinished(f"it was not done after {bounds.whole_s:g} s")
        yield Answered(data, explicit)


def _see_success(status: int | None, comment: str) -> None:
    if status == SUCCESS:
        return
    if status is None:
        raise Unfinished("its answer to C-FIND is none")
    said = "".join(each for each in comment if each.isprintable())[:64]
    raise Unfinished(f"it ended with status {status:04X}{f' ({said})' if said else ''}")
