"""Take a message, or a batch of them: decode, read, journal and apply each, answer.

One transaction holds the raw bytes, what they change, and the answer's bytes; the answer
leaves after the commit. What becomes of a message:

- taken: AA, also where there was nothing to change or something newer came before;
- a repeat of what got AA: the same answer again, nothing applied;
- at fault: AE or AR naming every fault; nothing of it is applied, all of it is kept;
- not readable as HL7: the same; what begins like neither message nor batch is not kept;
- we are out (no database): tried again until `ack_timeout_s`, then no answer at all, so
  that the sender asks again, where it would move on after an AE or AR; by option AR with
  ERR-3 207, where its sender asks again after that alone;
- a defect of ours: kept as FAILED and answered AE with ERR-3 207. Not silence: the message
  would come again for ever and hold up all that wait behind it. Not AR, after which some
  senders repeat as well (MC#2049).

The answers are those that the message asks for (`hl7.modes`): in enhanced mode there may be
two, or none. Each message of a batch (`hl7.batches`) is taken on its own, as if it had come
alone. When we are out before the last of them is taken, none is answered: the batch comes
again, and what was taken of it is a repeat.
"""

import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import structlog
from sqlmodel import Session

from hl7 import ack, batches, mllp, modes
from hl7.intake import NOBODY, NOWHERE, Incoming, Intake, where
from hl7.mapping import Change
from hl7.profiles import Profiles
from mwl import journal
from mwl.db import Database
from mwl.errors import Fault, Outage, Reason, Rejected
from mwl.journal import Settled
from mwl.outbox import Destinations, Forwards

log = structlog.get_logger(__name__)

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_LONGEST_PEER: Final = 64
_TOO_LONG = Fault(
    Reason.TOO_LONG, "", "the message is longer than is taken here; its beginning is kept"
)
_OUT = Fault(Reason.INTERNAL, "", "nothing can be kept here just now: send it again")


class _Came(NamedTuple):
    """From whom, on which listener, and whether alone or in a batch."""

    peer: str
    listener: str
    is_alone: bool = True


class Inbound:
    """The way in, for all listeners. Threads share it.

    `told` are the systems that hear when a message leaves nothing to be done of an order
    that scanners have worked on, `forwards` those that messages are forwarded to. The
    listeners of `original_mode` answer in that alone. `refuses_when_out`: an outage is
    answered AR, in original mode; the other one has no word for what may be tried again. A
    batch goes unanswered all the same, for each of its messages would be waited with.
    """

    def __init__(  # noqa: PLR0913 - wired once, in app.py
        self,
        database: Database,
        profiles: Profiles,
        *,
        told: Destinations = NOBODY,
        forwards: Forwards = NOWHERE,
        ack_timeout_s: float = 20.0,
        original_mode: Collection[str] = (),
        refuses_when_out: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._database = database
        self._intake = Intake(profiles, told=told, forwards=forwards, original_mode=original_mode)
        self._ack_timeout_s = ack_timeout_s
        self._refuses_when_out = refuses_when_out
        self._clock = clock
        self._pause = pause

    def receive(self, raw: bytes, peer: object, listener: str = "") -> bytes | None:
        """Take what came in one frame; give the answer's bytes, or None for no answer.

        The answer is b"" where none was asked for, and may be several messages (`mllp.join`).
        """
        came = _Came(str(peer)[:_LONGEST_PEER], listener)
        flags = (batches.UNENDED,) if isinstance(raw, mllp.Unended) else ()
        raw = bytes(raw)
        try:
            batch = batches.split(raw)
        except Rejected as error:
            return self._refuse(raw, came, error)
        if batch is None:
            return self._take(raw, came, flags)
        batch.flags += flags
        return self._take_batch(batch, came)

    def refuse(self, beginning: bytes, peer: object, listener: str = "") -> bytes | None:
        """Answer a message that is too long to be read on, and keep its beginning."""
        came = _Came(str(peer)[:_LONGEST_PEER], listener)
        return self._refuse(beginning, came, Rejected(_TOO_LONG))

    def _take_batch(self, file: batches.File, came: _Came) -> bytes | None:
        answers, came = [], came._replace(is_alone=False)
        for batch in file.batches:
            said = []
            for number, each in enumerate(batch.messages):
                one = self._take(each, came, file.flags_of(batch, number))
                if one is None:
                    return None
                said.append(one)
            answers.append(said)
        control_id = self._intake.control_id()
        return batches.answer(file, answers, now=self._clock(), control_id=control_id)

    def _take(self, raw: bytes, came: _Came, flags: Sequence[str] = ()) -> bytes | None:
        deadline = time.monotonic() + self._ack_timeout_s
        incoming = self._intake.open(raw, came.peer, self._clock(), came.listener)
        if flags:
            incoming = incoming._replace(flags=[*incoming.flags, *flags])
        try:
            return self._insist(self._answer, incoming, deadline)
        except Outage as error:
            return self._out(incoming, came, error)
        except Exception as error:
            # Not its text, which may quote the message.
            log.error("hl7.defect", peer=incoming.received.peer, **where(error))  # noqa: TRY400
        try:
            return self._insist(self._fail, incoming, deadline)
        except Outage as error:
            return self._out(incoming, came, error)

    def _refuse(self, raw: bytes, came: _Came, error: Rejected) -> bytes | None:
        """Keep and answer as one what is not looked into."""
        deadline = time.monotonic() + self._ack_timeout_s
        given = (raw, came.peer, self._clock(), error, came.listener)
        incoming = self._intake.unreadable(*given)
        try:
            return self._insist(self._answer, incoming, deadline)
        except Outage as out:
            return self._out(incoming, came, out)

    def _insist(
        self, answer: Callable[[Incoming, bool], bytes], incoming: Incoming, deadline: float
    ) -> bytes:
        """Try again while the database is out, as long as the sender waits. Raises Outage.

        `answer` is told whether it is tried again: then it may have kept the message before.
        """
        pause, again = _FIRST_PAUSE_S, False
        while True:
            began = time.monotonic()
            try:
                return answer(incoming, again)
            except Outage:
                # The next attempt may wait for as many locks, as long, as this one did.
                now = time.monotonic()
                if now + pause + (now - began) > deadline:
                    raise
            again = True
            self._pause(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _answer(self, incoming: Incoming, again: bool) -> bytes:
        try:
            return self._apply(incoming, self._intake.read(incoming))
        except Rejected as error:
            return self._reject(incoming, error.faults, again=again)

    def _apply(self, incoming: Incoming, changes: Sequence[Change]) -> bytes:
        answer = self._intake.acknowledge(incoming, ack.Code.AA)

        def work(session: Session) -> bytes:
            settled = self._intake.apply(session, incoming, changes, answer)
            journal.record(session, incoming.received, settled)
            return settled.ack

        try:
            return self._database.write(work)
        except journal.Repeated:
            kept = self._database.write(lambda session: journal.repeat(session, incoming.received))
            if kept is None:
                raise Outage("database: an accepted message was deleted just now") from None
            return kept

    def _reject(self, incoming: Incoming, faults: Sequence[Fault], *, again: bool) -> bytes:
        settled = self._intake.reject(incoming, faults)
        log.info(
            "hl7.rejected",
            peer=incoming.received.peer,
            type=incoming.received.type,
            code=settled.ack_code,
            error=settled.error,
        )
        return self._keep(incoming, settled, again=again)

    def _fail(self, incoming: Incoming, again: bool) -> bytes:
        return self._keep(incoming, self._intake.fail(incoming), again=again)

    def _keep(self, incoming: Incoming, settled: Settled, *, again: bool) -> bytes:
        """Journal a message that was not applied, unless it is a repeat of one that was."""
        received = incoming.received
        if not incoming.is_kept:
            return settled.ack

        def work(session: Session) -> bytes:
            kept = journal.repeat(session, received)
            if kept is None and again:
                kept = journal.written(session, received)
            if kept is not None:
                return kept
            journal.record(session, received, settled)
            return settled.ack

        return self._database.write(work)

    def _out(self, incoming: Incoming, came: _Came, error: Outage) -> bytes | None:
        """Give no answer, or AR by option, and say why in the log."""
        log.error("hl7.outage", peer=came.peer, error=str(error))
        in_original_mode = incoming.asked is modes.ORIGINAL
        if self._refuses_when_out and in_original_mode and came.is_alone:
            return self._intake.acknowledge(incoming, ack.Code.AR, [_OUT])
        return None
