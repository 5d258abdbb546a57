"""MPPS forwarded to other PPS managers (PS3.4 annex F.7, as SCU), for the outbox.

Each message has an association of its own, as scanners have it. The answer decides:

- 0000 and warnings (0001, 0107, 0116, Bxxx): taken;
- 0111 to an N-CREATE: an earlier attempt, or the scanner itself, was heard; likewise
  0110 with Error ID A710 to an N-SET that ended it and was sent before;
- 0210, 0213: the manager's own trouble, so again later, as when there is no answer at all;
- any other: refused, and a person's to decide; so is a message that a manager that takes our
  associations never answers, or it would keep all others waiting for ever.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from struct import Struct
from typing import Final

from mwl import outbox
from mwl.config import MppsForward
from mwl.db import Database
from mwl.errors import Outage, ProtocolError
from mwl.net import status
from mwl.net.association import Association
from mwl.net.dimse import Command, CommandField, Element
from mwl.net.limits import DEFAULTS
from mwl.net.messages import Elements
from mwl.net.pdu import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    ProposedContext,
)
from mwl.net.requestor import associate
from mwl.outbox import Delivery, Done, Outcome, Park, Retry
from mwl.outbox.claims import Claimed
from mwl.performed import PerformedState
from mwl.scu.peers import Peer
from mwl.tls import Keys

SOP_CLASS: Final = "1.2.840.10008.3.1.2.3.3"  # Modality Performed Procedure Step

_SYNTAXES: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
_CONNECT_S: Final = 10.0
_NO_LONGER: Final = 0xA710  # PS3.4 table F.7.2-2
_FINAL: Final = frozenset({PerformedState.COMPLETED.value, PerformedState.DISCONTINUED.value})
_MOST_UNANSWERED: Final = 20  # attempts, in an hour
_WARNINGS: Final = frozenset({0x0001, 0x0107, 0x0116})
_PASSING: Final = frozenset({0x0210, status.RESOURCE_LIMITATION})
_AT: Final = Struct("<HH")
_MOST_NAMED: Final = 8
_LONGEST_COMMENT: Final = 256

# PS3.7 annex C, as people say it.
_WORDS: Final = {
    0x0001: "some attributes are not supported",
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0107: "some attributes were not taken",
    0x0110: "processing failure",
    0x0111: "it is there already",
    0x0112: "it knows no such performed procedure step",
    0x0116: "some values were out of range",
    0x0117: "invalid SOP Instance UID",
    0x0118: "no such SOP class",
    0x0119: "class and instance do not fit",
    0x0120: "missing attribute",
    0x0121: "missing attribute value",
    0x0122: "SOP class not supported",
    0x0124: "not authorized",
    0x0210: "duplicate invocation",
    0x0211: "unrecognized operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
}

Rewrite = Callable[[str, bytes, str, str], bytes]
"""Gives the data set of an operation, received in one transfer syntax, in another."""


class _Unreached(Exception):
    """The manager could not be spoken to; later perhaps."""


class _Unanswered(_Unreached):
    """It took our association, and then gave no answer."""


@dataclass(frozen=True, slots=True)
class _Message:
    """What is to be sent: the operation's name, what it is about, and its data set."""

    name: str
    uid: str
    state: str  # of the MPPS, as it says
    transfer_syntax: str
    data_set: bytes

    @classmethod
    def of(cls, claimed: Claimed) -> "_Message":
        told = claimed.payload
        uid, syntax = told["sop_instance_uid"], told["transfer_syntax"]
        return cls(told["event"], uid, told["state"], syntax, claimed.body)

    @property
    def begins(self) -> bool:
        return self.name == outbox.BEGUN

    @property
    def command(self) -> Elements:
        if self.begins:
            return {
                Element.COMMAND_FIELD: CommandField.N_CREATE,
                Element.AFFECTED_SOP_CLASS_UID: SOP_CLASS,
                Element.AFFECTED_SOP_INSTANCE_UID: self.uid,
            }
        return {
            Element.COMMAND_FIELD: CommandField.N_SET,
            Element.REQUESTED_SOP_CLASS_UID: SOP_CLASS,
            Element.REQUESTED_SOP_INSTANCE_UID: self.uid,
        }


class MppsForwarder:
    """Delivers N-CREATE and N-SET to other PPS managers."""

    def __init__(
        self,
        forwards: Iterable[MppsForward],
        database: Database,
        rewrite: Rewrite,
        *,
        calling: str,
        keys: Keys | None = None,
    ) -> None:
        """Send to `forwards`; `calling` is our own AE title, `keys` are for those over TLS."""
        self._forwards: Mapping[str, MppsForward] = {each.name: each for each in forwards}
        self._database = database
        self._rewrite = rewrite
        self._calling = calling
        self._keys = keys

    def deliver(self, delivery: Delivery) -> Outcome:
        """Send a delivery, and tell what the manager made of it."""
        claimed = delivery.claimed
        to = self._forwards.get(claimed.channel.destination)
        if to is None:
            return Park("there is no [[mpps.forward]] of this name any more")
        message, told = _Message.of(claimed), claimed.payload
        if not message.begins and self._is_withheld(to, claimed.subject):
            return Park("its N-CREATE was dropped: send that again first, or drop this too")
        calling = self._calling if to.calling == "own" else told["calling"]
        try:
            answer = self._send(to, calling, message)
            return _outcome(answer, message, again=claimed.attempts > 1)
        except _Unanswered as error:
            is_enough = claimed.attempts >= _MOST_UNANSWERED
            return Park(str(error)) if is_enough else Retry(str(error))
        except (_Unreached, ProtocolError) as error:
            return Retry(str(error))

    def _is_withheld(self, to: MppsForward, subject: str) -> bool:
        with self._database.read() as session:
            return outbox.is_withheld(session, to.name, subject)

    def _send(self, to: MppsForward, calling: str, message: _Message) -> Command:
        peer = Peer(to.ae_title, to.host, to.port, to.tls, to.certificate)
        try:
            connection = peer.connect(_CONNECT_S, self._keys)
        except Outage as error:
            raise _Unreached(f"{peer}: can't be reached: {error}") from None
        try:
            association = associate(
                connection,
                called=to.ae_title,
                calling=calling,
                contexts=_contexts(message.transfer_syntax),
                limits=replace(DEFAULTS, response_timeout_s=to.response_timeout_s),
            )
        except ProtocolError as error:
            raise _Unreached(f"{peer}: {error}") from None
        try:
            with association:
                if association.contexts:
                    return self._ask(association, message)
        except ProtocolError as error:
            raise _Unanswered(f"{peer}: {message.name} was not answered: {error}") from None
        raise _Unreached(f"{peer}: does not take MPPS on this port")

    def _ask(self, association: Association, message: _Message) -> Command:
        context = association.contexts[min(association.contexts)]
        data_set = self._rewrite(
            message.name, message.data_set, message.transfer_syntax, context.transfer_syntax
        )
        return association.request(context.id, message.command, data_set or None)


def _contexts(received: str) -> tuple[ProposedContext, ...]:
    """Propose the syntax that the data set came in first, each in a context of its own."""
    others = [each for each in _SYNTAXES if each != received]
    return tuple(
        ProposedContext(2 * number + 1, SOP_CLASS, (syntax,))
        for number, syntax in enumerate([received, *others])
    )


def _outcome(answer: Command, message: _Message, *, again: bool) -> Outcome:
    """Tell what became of a message by its answer; `again`: it may have been sent before.

    The manager's own words stay in the answer's bytes: they may quote the patient.
    """
    code = answer.number(Element.STATUS)
    if code is None:
        return Retry(f"answered {message.name} without a status")
    said = _said(answer, code)
    if code == status.SUCCESS or code in _WARNINGS or code >> 12 == 0xB:
        return Done(said)
    if message.begins:
        was_taken = code == status.DUPLICATE_SOP_INSTANCE
    else:
        is_final = message.state in _FINAL
        was_taken = again and is_final and answer.number(Element.ERROR_ID) == _NO_LONGER
    if was_taken:
        return Done(said)
    error = f"answered {message.name} with {_named(answer, code)}"
    return Retry(error, answer=said) if code in _PASSING else Park(error, said)


def _named(answer: Command, code: int) -> str:
    """Name a status, and the attributes that it is about."""
    words = f"{code:04X}, {_WORDS.get(code, 'a status that MPPS does not define')}"
    if answer.number(Element.ERROR_ID) == _NO_LONGER:
        words += " (A710, it may no longer be updated)"
    value = b"".join(
        answer.elements.get(number, b"")
        for number in (Element.ATTRIBUTE_IDENTIFIER_LIST, Element.OFFENDING_ELEMENT)
    )
    whole = value[: min(len(value) // _AT.size, _MOST_NAMED) * _AT.size]
    tags = [f"({group:04X},{number:04X})" for group, number in _AT.iter_unpack(whole)]
    return " ".join([words, *dict.fromkeys(tags)])


def _said(answer: Command, code: int) -> bytes:
    """Write the answer down for people: its status, and its Error Comment."""
    comment = answer.text(Element.ERROR_COMMENT)[:_LONGEST_COMMENT]
    comment = "".join(each for each in comment if each.isprintable())
    said = "0000" if code == status.SUCCESS else _named(answer, code)
    return (f"{said}: {comment}" if comment else said).encode()
