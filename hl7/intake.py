"""What becomes of a message, whoever waits for the answer: read, applied, settled.

`hl7.inbound` takes messages from the wire by it, `hl7.replay` those of the journal.
"""

import itertools
import secrets
import traceback
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from sqlmodel import Session

from hl7 import ack, embedded, er7, forwarding, mllp, modes, order_answer, strictness
from hl7.chains import Chain
from hl7.mapping import Change, Envelope, envelope, places
from hl7.profiles import Profiles, Reader
from mwl import charsets, journal, procedures, reports, worklist
from mwl.errors import Fault, Reason, Rejected
from mwl.journal import Received, Settled, State
from mwl.orders import OrderChange
from mwl.outbox import Destinations, Forwards
from mwl.patients import PatientLink, PatientUpdate
from mwl.reports import ReportChange
from mwl.worklist import Applied, Outcome, changed
from mwl.worklist.changed import Changes

# The most telling outcome of a message's changes is that of the message.
_STATES = (
    (Outcome.APPLIED, State.APPLIED),
    (Outcome.STALE, State.STALE),
    (Outcome.NOTED, State.NOTED),
)
_UNNAMED = Envelope()
NOBODY: Final = Destinations()
NOWHERE: Final = Forwards()
_BATCH_HEADERS = (b"FHS", b"BHS")  # 2.10.3
_NO_HEADER = Fault(Reason.SEQUENCE, "MSH", "no message header that can be read")
_BATCH = Fault(
    Reason.SEQUENCE, "", "a batch, which is no message: its messages are taken one by one"
)
_UNTOLD = "its sender asked for no answer (MSH-15, MSH-16) and was not told"
_DEFECT = Fault(Reason.INTERNAL, "", "could not be processed here; it is kept, tell the operator")
_LONGEST_NAMED = 64  # characters of an identifier that a refused message is found by


class Incoming(NamedTuple):
    """A message as far as it can be read; `faults` if that is not to its end."""

    received: Received
    message: er7.Message | None  # its header alone where the rest can't be read
    reader: Reader
    sent: Envelope = _UNNAMED
    flags: Sequence[str] = ()
    faults: Sequence[Fault] = ()
    checked: Sequence[Fault] = ()  # what it is by the standard, where its profile asks for that
    asked: modes.Asked | None = modes.ORIGINAL  # which answers

    @property
    def is_kept(self) -> bool:
        """Whether it is worth a row: what begins like no message and no batch is not."""
        raw = self.received.raw
        return self.message is not None or _begins_with(raw, b"MSH", *_BATCH_HEADERS)


class Intake:
    """Reads and applies messages, each by its profile. Threads share it.

    `told` are the systems that hear when a message leaves nothing to be done of an order
    that scanners have worked on, `forwards` those that messages are forwarded to.
    """

    def __init__(
        self,
        profiles: Profiles,
        *,
        told: Destinations = NOBODY,
        forwards: Forwards = NOWHERE,
        original_mode: Collection[str] = (),
    ) -> None:
        """Read by `profiles`; the listeners of `original_mode` answer in that alone."""
        self._profiles = profiles
        self._original_mode = frozenset(original_mode)
        self._zone = profiles.zone
        self._told = told
        self._forwards = forwards
        # MSH-10 of our answers: not a call of the system's random source for each.
        self._run = secrets.token_hex(5).upper()
        self._numbers = itertools.count(1)

    def open(self, raw: bytes, peer: str, at: datetime, listener: str = "") -> Incoming:
        """Choose the profile, decode by MSH-18 and split into segments."""
        try:
            declared = er7.character_sets(raw)
            default = None if any(declared) else self._profiles.charset_of(raw, listener)
            rest, documents = embedded.lift(raw)
            read = charsets.decode(rest, declared, default)
            message = er7.Message.parse(read.text, read.encoding)
            message.embedded = documents
        except (Rejected, er7.ParseError) as error:
            return self.unreadable(raw, peer, at, error, listener)
        sent = envelope(message)
        reader = self._profiles.choose(listener, sent.source)
        digest = journal.digest(raw)
        came = Received(at, peer, raw, digest, *sent, read.encoding, listener, reader.name)
        checked, flags = strictness.check(message, reader.profile.message.strictness)
        told = [*read.flags, *flags]
        asked = self._asked(message, listener)
        return Incoming(came, message, reader, sent, told, checked=checked, asked=asked)

    def unreadable(
        self, raw: bytes, peer: str, at: datetime, error: Rejected | er7.ParseError, listener: str
    ) -> Incoming:
        """Keep what is at fault under its header, if it has one."""
        header = er7.header(raw)
        sent = _UNNAMED if header is None else envelope(header)
        reader = self._profiles.choose(listener, sent.source)
        came = Received(at, peer, raw, journal.digest(raw), *sent, "", listener, reader.name)
        if header is None:
            return Incoming(came, None, reader, faults=_without_header(raw, error))
        asked = self._asked(header, listener)
        return Incoming(came, header, reader, sent, faults=faults(error), asked=asked)

    def _asked(self, message: er7.Message, listener: str) -> modes.Asked | None:
        if listener in self._original_mode and not modes.is_acknowledgement(message.header):
            return modes.ORIGINAL
        return modes.asked(message.header)

    def read(self, incoming: Incoming) -> list[Change]:
        """Give what a message asks for. Raises Rejected with every fault of it."""
        if incoming.message is None or incoming.faults:
            raise Rejected(*incoming.faults)
        if modes.is_acknowledgement(incoming.message.header):
            return []
        refused = incoming.checked if incoming.reader.profile.message.strictness == "strict" else ()
        try:
            changes = incoming.reader.mapper.read(
                incoming.message, incoming.sent, incoming.received.received_at
            )
        except (Rejected, er7.ParseError) as error:
            raise Rejected(*strictness.together(refused, faults(error))) from error
        if refused:
            raise Rejected(*refused)
        return changes

    def apply(
        self,
        session: Session,
        incoming: Incoming,
        changes: Sequence[Change],
        answer: bytes,
        *,
        forwarded: bool = False,
    ) -> Settled:
        """Apply what a message asks for, in the caller's transaction, and forward it.

        Unless it was `forwarded` when it was accepted before. Raises Rejected.
        """
        for change in changes:
            if change.shortened:
                worklist.remember(session, change.shortened, incoming.received.received_at)
        try:
            applied = [self._change(session, change, incoming) for change in changes]
        except er7.ParseError as error:
            raise Rejected(*faults(error)) from error
        if incoming.reader.answers_orders:
            answer = self.acknowledge(incoming, ack.Code.AA, undone=_undone(changes, applied))
        flags = incoming.flags if changes else [*incoming.flags, _why_needless(incoming.message)]
        settled = _settle(applied, answer, flags)
        if settled.order is None and settled.patient is None:
            settled = _with_names(settled, incoming)
        if not self._forwards.all or forwarded:
            return settled
        flags = forwarding.forward(session, self._forwards, incoming.received, settled)
        return replace(settled, flags=[*settled.flags, *flags])

    def reject(self, incoming: Incoming, found: Sequence[Fault]) -> Settled:
        """Say what is wrong with a message."""
        return self._refuse(incoming, State.REJECTED, ack.code_for(found), found)

    def fail(self, incoming: Incoming) -> Settled:
        """Say that a message met a defect of ours."""
        return self._refuse(incoming, State.FAILED, ack.Code.AE, [_DEFECT])

    def _refuse(
        self, incoming: Incoming, state: State, code: ack.Code, found: Sequence[Fault]
    ) -> Settled:
        answer = self.acknowledge(incoming, code, found)
        settled = Settled(
            state,
            code,
            answer,
            "; ".join(map(str, found)),
            incoming.flags if answer else [*incoming.flags, _UNTOLD],
        )
        return _with_names(settled, incoming)

    def acknowledge(
        self,
        incoming: Incoming,
        code: ack.Code,
        found: Sequence[Fault] = (),
        *,
        undone: Collection[int] = (),
    ) -> bytes:
        """Write the answers, as they go out (`mllp.join`): one in most cases, b"" for none.

        `code` is the application's. What was found in a message that is taken is a warning.
        `undone` are the orders of it, by the occurrence of ORC, that could not be done as asked.
        """
        told = found or incoming.checked
        orders = None
        if incoming.reader.answers_orders:
            refused = code != ack.Code.AA
            orders = order_answer.answer(incoming.message, lambda orc: refused or orc in undone)
        if incoming.asked is modes.ORIGINAL:
            return self._write(incoming, code, told, orders)
        codes = modes.answers(incoming.asked, code, found)
        return mllp.join(
            self._write(
                incoming,
                each,
                told if each == codes[-1] else (),
                orders if each == code else None,
                is_enhanced=each == code,
            )
            for each in codes
        )

    def _write(
        self,
        incoming: Incoming,
        code: ack.Code,
        told: Sequence[Fault],
        orders: order_answer.OrderAnswer | None,
        *,
        is_enhanced: bool = False,
    ) -> bytes:
        return ack.acknowledge(
            incoming.message,
            code,
            told,
            now=incoming.received.received_at,
            control_id=self.control_id(),
            is_enhanced=is_enhanced,
            orders=orders,
        )

    def control_id(self) -> str:
        """Give the MSH-10 of an answer, never used before."""
        return f"{self._run}{next(self._numbers):X}"

    def _change(self, session: Session, change: Change, incoming: Incoming) -> Applied:
        now = incoming.received.received_at
        if isinstance(change, OrderChange):
            change.profile = incoming.reader.name
            applied = worklist.apply(session, change, now=now, zone=self._zone)
            if applied.ended and applied.order is not None:
                procedures.tell_end(session, applied.order, applied.ended, self._told, now)
            return applied
        if isinstance(change, ReportChange):
            change.content_hash = incoming.received.content_hash
            return reports.receive(session, change, self._told, now=now)
        if isinstance(change, PatientUpdate):
            return worklist.update_patient(session, change, now=now, zone=self._zone)
        if isinstance(change, PatientLink):
            return worklist.link_patients(session, change, now=now)
        return worklist.merge_patients(session, change, now=now, zone=self._zone)


def faults(error: Rejected | er7.ParseError) -> Sequence[Fault]:
    """Give the faults that an error stands for."""
    if isinstance(error, Rejected):
        return error.faults
    return [Fault(Reason.MALFORMED, error.where, error.text)]


def _without_header(raw: bytes, error: Rejected | er7.ParseError) -> Sequence[Fault]:
    if isinstance(error, Rejected):
        return error.faults
    return [_BATCH if _begins_with(raw, *_BATCH_HEADERS) else _NO_HEADER]


def where(error: BaseException) -> dict[str, str]:
    """Tell where a defect lies, without its text, which may quote the message."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-3:]]
    return {"error": type(error).__name__, "at": " > ".join(places)}


def _undone(changes: Sequence[Change], applied: Sequence[Applied]) -> set[int]:
    """Give the ORC segments, by occurrence, of which not all could be done."""
    return {
        occurrence
        for change, each in zip(changes, applied, strict=True)
        if each.undone and isinstance(change, OrderChange)
        for occurrence in change.occurrences
    }


def _settle(applied: Sequence[Applied], answer: bytes, flags: Sequence[str]) -> Settled:
    if not applied:
        return Settled(State.NOTED, ack.Code.AA, answer, "", flags)
    outcomes = [each.outcome for each in applied]
    told = [*flags]
    orders = list(dict.fromkeys(each.order for each in applied if each.order))
    patient = None
    changes: Changes = {}
    for each in applied:
        told += each.flags
        patient = patient or each.patient
        changed.join(changes, each.changes)
    return Settled(
        next(state for outcome, state in _STATES if outcome in outcomes),
        ack.Code.AA,
        answer,
        "",
        list(dict.fromkeys(told)),
        orders[0] if orders else None,
        patient,
        orders[1:],
        changes,
    )


def _why_needless(message: er7.Message | None) -> str:
    """Say why nothing is asked for by a message that is taken."""
    if message is None or not modes.is_acknowledgement(message.header):
        return "the profile asks nothing of such messages"
    said = message.text("MSA-1")
    code = said if said in set(ack.Code) else "no known code"
    return f"an acknowledgement ({code}): read on the connection that its message went out on alone"


def _with_names(settled: Settled, incoming: Incoming) -> Settled:
    """Name whom and which order a message is about, since it leads to no row of theirs."""
    return replace(
        settled,
        patient_id=_first(incoming.message, incoming.reader.patient_ids),
        accession_number=_first(incoming.message, incoming.reader.accession_numbers),
    )


def _first(message: er7.Message | None, chain: Chain) -> str:
    """Read what a chain says of the first segments of their names."""
    if message is None:
        return ""
    return places.first(message.named, chain)[:_LONGEST_NAMED]


def _begins_with(raw: bytes, *segments: bytes) -> bool:
    return raw.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(segments)
