"""Take a message: decode, read, journal and apply it, answer.

One transaction holds the raw bytes, what they change, and the answer's bytes; the answer
leaves after the commit. What becomes of a message:

- taken: AA, also where there was nothing to change or something newer came before;
- a repeat of what got AA: the same answer again, nothing applied;
- at fault: AE or AR naming every fault; nothing of it is applied, all of it is kept;
- not readable as HL7, or a batch: the same; what begins like neither is not kept;
- we are out (no database): tried again until `ack_timeout_s`, then no answer at all, so
  that the sender asks again, where it would move on after an AE or AR;
- a defect of ours: kept as FAILED and answered AE with ERR-3 207. Not silence: the message
  would come again for ever and hold up all that wait behind it. Not AR, after which some
  senders repeat as well (MC#2049).
"""

import itertools
import secrets
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import structlog
from sqlmodel import Session

from hl7 import ack, er7
from hl7.mapping import Change, Envelope, Mapper, envelope
from hl7.profile import Profile
from mwl import charsets, journal, procedures, worklist
from mwl.db import Database
from mwl.errors import Fault, Outage, Reason, Rejected
from mwl.journal import Received, Settled, State
from mwl.orders import OrderChange
from mwl.outbox import Destinations
from mwl.patients import PatientUpdate
from mwl.worklist import Applied, Outcome, changed
from mwl.worklist.changed import Changes

log = structlog.get_logger(__name__)

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_LONGEST_PEER = 64
# The most telling outcome of a message's changes is that of the message.
_STATES = (
    (Outcome.APPLIED, State.APPLIED),
    (Outcome.STALE, State.STALE),
    (Outcome.NOTED, State.NOTED),
)
_UNNAMED = Envelope()
_NOBODY = Destinations()
_BATCH_HEADERS = (b"FHS", b"BHS")  # 2.10.3
_NO_HEADER = Fault(Reason.SEQUENCE, "MSH", "no message header that can be read")
_BATCH = Fault(Reason.SEQUENCE, "MSH", "a batch: not taken here; send its messages one by one")
_TOO_LONG = Fault(
    Reason.TOO_LONG, "", "the message is longer than is taken here; its beginning is kept"
)
_DEFECT = Fault(Reason.INTERNAL, "", "could not be processed here; it is kept, tell the operator")


class _Incoming(NamedTuple):
    """A message as far as it can be read; `faults` if that is not to its end."""

    received: Received
    message: er7.Message | None  # its header alone where the rest can't be read
    sent: Envelope = _UNNAMED
    flags: Sequence[str] = ()
    faults: Sequence[Fault] = ()


class Inbound:
    """The way in, for one profile. Threads share it.

    `told` are the systems that hear when a message leaves nothing to be done of an order
    that scanners have worked on.
    """

    def __init__(  # noqa: PLR0913 - wired once, in app.py
        self,
        database: Database,
        profile: Profile,
        site_zone: ZoneInfo,
        *,
        told: Destinations = _NOBODY,
        ack_timeout_s: float = 20.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._database = database
        self._mapper = Mapper(profile, site_zone)
        self._default_charset = profile.message.charset or None
        self._zone = site_zone
        self._told = told
        self._ack_timeout_s = ack_timeout_s
        self._clock = clock
        self._pause = pause
        # MSH-10 of our answers: not a call of the system's random source for each.
        self._run = secrets.token_hex(5).upper()
        self._numbers = itertools.count(1)

    def receive(self, raw: bytes, peer: object) -> bytes | None:
        """Take one message, unframed; give the answer's bytes, or None for no answer."""
        deadline = time.monotonic() + self._ack_timeout_s
        incoming = self._open(raw, str(peer)[:_LONGEST_PEER])
        try:
            return self._insist(self._answer, incoming, deadline)
        except Outage as error:
            return _silence(incoming, error)
        except Exception as error:
            # Not its text, which may quote the message.
            log.error("hl7.defect", peer=incoming.received.peer, **_where(error))  # noqa: TRY400
        try:
            return self._insist(self._fail, incoming, deadline)
        except Outage as error:
            return _silence(incoming, error)

    def refuse(self, beginning: bytes, peer: object) -> bytes | None:
        """Answer a message that is too long to be read on, and keep its beginning."""
        deadline = time.monotonic() + self._ack_timeout_s
        came = (self._clock(), str(peer)[:_LONGEST_PEER], beginning, journal.digest(beginning))
        incoming = _unreadable(came, Rejected(_TOO_LONG))
        try:
            return self._insist(self._answer, incoming, deadline)
        except Outage as error:
            return _silence(incoming, error)

    def _open(self, raw: bytes, peer: str) -> _Incoming:
        """Decode by MSH-18 and split into segments."""
        came = (self._clock(), peer, raw, journal.digest(raw))
        try:
            read = charsets.decode(raw, er7.character_sets(raw), self._default_charset)
            message = er7.Message.parse(read.text, read.encoding)
        except (Rejected, er7.ParseError) as error:
            return _unreadable(came, error)
        sent = envelope(message)
        return _Incoming(Received(*came, *sent, read.encoding), message, sent, read.flags)

    def _insist(
        self, answer: Callable[[_Incoming], bytes], incoming: _Incoming, deadline: float
    ) -> bytes:
        """Try again while the database is out, as long as the sender waits. Raises Outage."""
        pause = _FIRST_PAUSE_S
        while True:
            began = time.monotonic()
            try:
                return answer(incoming)
            except Outage:
                # The next attempt may wait for as many locks, as long, as this one did.
                now = time.monotonic()
                if now + pause + (now - began) > deadline:
                    raise
            self._pause(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _answer(self, incoming: _Incoming) -> bytes:
        if incoming.message is None or incoming.faults:
            return self._reject(incoming, incoming.faults)
        try:
            now = incoming.received.received_at
            changes = self._mapper.read(incoming.message, incoming.sent, now)
            return self._apply(incoming, changes)
        except (Rejected, er7.ParseError) as error:
            return self._reject(incoming, _faults(error))

    def _apply(self, incoming: _Incoming, changes: Sequence[Change]) -> bytes:
        answer = self._acknowledge(incoming, ack.Code.AA)

        def work(session: Session) -> None:
            applied = [self._change(session, change, incoming) for change in changes]
            settled = _settle(applied, answer, incoming.flags)
            journal.record(session, incoming.received, settled)

        try:
            self._database.write(work)
        except journal.Repeated:
            kept = self._database.write(lambda session: journal.repeat(session, incoming.received))
            if kept is None:
                raise Outage("database: an accepted message was deleted just now") from None
            return kept
        return answer

    def _change(self, session: Session, change: Change, incoming: _Incoming) -> Applied:
        now = incoming.received.received_at
        if isinstance(change, OrderChange):
            applied = worklist.apply(session, change, now=now, zone=self._zone)
            if applied.ended and applied.order is not None:
                procedures.tell_end(session, applied.order, applied.ended, self._told, now)
            return applied
        if isinstance(change, PatientUpdate):
            return worklist.update_patient(session, change, now=now)
        return worklist.merge_patients(session, change, now=now)

    def _reject(self, incoming: _Incoming, faults: Sequence[Fault]) -> bytes:
        code = ack.code_for(faults)
        error = "; ".join(map(str, faults))
        received = incoming.received
        log.info("hl7.rejected", peer=received.peer, type=received.type, code=code, error=error)
        answer = self._acknowledge(incoming, code, faults)
        return self._keep(incoming, Settled(State.REJECTED, code, answer, error, incoming.flags))

    def _fail(self, incoming: _Incoming) -> bytes:
        code = ack.Code.AE
        answer = self._acknowledge(incoming, code, [_DEFECT])
        settled = Settled(State.FAILED, code, answer, str(_DEFECT), incoming.flags)
        return self._keep(incoming, settled)

    def _keep(self, incoming: _Incoming, settled: Settled) -> bytes:
        """Journal a message that was not applied, unless it is a repeat of one that was."""
        received = incoming.received
        if incoming.message is None and not _begins_with(received.raw, b"MSH", *_BATCH_HEADERS):
            return settled.ack

        def work(session: Session) -> bytes:
            kept = journal.repeat(session, received)
            if kept is not None:
                return kept
            journal.record(session, received, settled)
            return settled.ack

        return self._database.write(work)

    def _acknowledge(
        self, incoming: _Incoming, code: ack.Code, faults: Sequence[Fault] = ()
    ) -> bytes:
        return ack.acknowledge(
            incoming.message,
            code,
            faults,
            now=incoming.received.received_at,
            control_id=f"{self._run}{next(self._numbers):X}",
        )


def _unreadable(
    came: tuple[datetime, str, bytes, bytes], error: Rejected | er7.ParseError
) -> _Incoming:
    """Keep what is at fault under its header, if it has one."""
    header = er7.header(came[2])
    if header is None:
        fault = _BATCH if _begins_with(came[2], *_BATCH_HEADERS) else _NO_HEADER
        return _Incoming(Received(*came), None, faults=[fault])
    sent = envelope(header)
    return _Incoming(Received(*came, *sent), header, sent, faults=_faults(error))


def _settle(applied: Sequence[Applied], answer: bytes, flags: Sequence[str]) -> Settled:
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


def _faults(error: Rejected | er7.ParseError) -> Sequence[Fault]:
    if isinstance(error, Rejected):
        return error.faults
    return [Fault(Reason.MALFORMED, error.where, error.text)]


def _silence(incoming: _Incoming, error: Outage) -> bytes | None:
    """Give no answer, and say why in the log."""
    log.error("hl7.outage", peer=incoming.received.peer, error=str(error))
    return None


def _begins_with(raw: bytes, *segments: bytes) -> bool:
    return raw.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(segments)


def _where(error: BaseException) -> dict[str, str]:
    """Tell where a defect lies, without its text, which may quote the message."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-3:]]
    return {"error": type(error).__name__, "at": " > ".join(places)}
