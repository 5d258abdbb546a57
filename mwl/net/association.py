"""One established association, from either side: PS3.8 state 6, and its release (7 to 12).

One thread at a time works on it, and blocks where it waits for the peer; it costs nothing
while it waits. Only that thread writes to the peer.

- Operations are synchronous. What arrives while one is under way is looked at only when
  its service asks `cancelled`, streams with `send_responses` or has a `request` of its own:
  a C-CANCEL-RQ marks its operation, an A-RELEASE-RQ waits for the operation to end, an
  A-ABORT ends it by `PeerAborted` at that place, and another request waits for its turn.
- What we request of the peer is synchronous too: one at a time, and nothing else is sent
  until it is answered.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Self

from mwl.errors import ProtocolError
from mwl.net.codec import COMMAND, data_values, decode
from mwl.net.dimse import (
    RESPONSE,
    Command,
    CommandField,
    Context,
    Element,
    Message,
    MessageAssembler,
    fragments,
)
from mwl.net.ending import PeerAborted, end, let_close, unexpected
from mwl.net.errands import Errand, Errands
from mwl.net.framing import ReadTimeout, Silence, Transport
from mwl.net.limits import Limits
from mwl.net.messages import Elements, request_command, response_command
from mwl.net.negotiation import Agreement
from mwl.net.outgoing import Direct, answers, direct_writes, writes
from mwl.net.pace import Pace
from mwl.net.pdu import PduType, title_text
from mwl.net.releasing import answer_release, release
from mwl.net.sinks import Sink
from mwl.net.status import PENDING, PENDING_UNSUPPORTED_KEYS

_REQUESTS = frozenset(CommandField)
_MEANWHILE_S = 1.0  # between looks at something else while a response is awaited
_PENDING = frozenset({PENDING, PENDING_UNSUPPORTED_KEYS})


class PeerReleased(ProtocolError):
    """The peer wants to release the association, and so answers no request any more."""


class CutShort(ProtocolError):
    """A data set could not be read to its end while it was being sent."""


DataSet = bytes | Iterable[bytes | memoryview] | Direct
"""What is sent with a request: whole, in chunks that are read as they go, or read in place."""

# Asked for a request that has a data set; None: it is kept in memory.
Choose = Callable[["Association", Context, Command], Sink | None]


def _in_memory(_association: "Association", _context: Context, _command: Command) -> None:
    return None


class Association:
    """An established association; as a context manager it is released, or aborted on an error.

    `calling_title` and `called_title` are without padding; `address` is the peer's IP
    address, `certificate` what it has shown over TLS. `contexts` holds the accepted
    presentation contexts by identifier.
    """

    def __init__(
        self,
        transport: Transport,
        agreement: Agreement,
        address: str,
        limits: Limits,
        choose: Choose = _in_memory,
    ) -> None:
        self.calling_title = title_text(agreement.accept.calling_title)
        self.called_title = title_text(agreement.accept.called_title)
        self.address = address
        self.certificate = transport.certificate
        self.contexts = agreement.contexts
        self.messages = 0  # that came from the peer
        self.operations_done = 0
        self._transport = transport
        self._max_pdu_bytes = agreement.max_send_pdu_bytes
        self._limits = limits
        self._choose = choose
        self._assembler = MessageAssembler(agreement.contexts, limits, self._receive)
        self._waiting: deque[Message] = deque()  # requests that were read, not yet performed
        self._performing: int | None = None  # message ID
        self._field = 0  # command field of what comes or is performed, 0 in between
        self._requested: tuple[int, int] | None = None  # what we await: field, message ID
        self._answers: deque[Message] = deque()  # to what we requested
        self._requests = 0
        self._cancelled: set[int] = set()  # message IDs, of those two only
        self._release_requested = False
        self._ended = False
        self._errands = Errands()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, PeerReleased):
            with suppress(ProtocolError):  # all was answered: how the peer leaves is its affair
                self.release()
        else:
            self.abort(error if isinstance(error, ProtocolError) else None)

    @property
    def operation(self) -> str:
        """What the peer has us do just now, such as "C-STORE"; "" in between."""
        field = self._field
        return CommandField(field).name.replace("_", "-") if field in _REQUESTS else ""

    # --- the peer's requests

    def next_request(self) -> Message | None:
        """Wait for the peer's next request; None: it wants to release.

        With this call the request before counts as performed. ReadTimeout, ConnectionLost,
        PeerAborted, PduError, ProtocolError.
        """
        if self._performing is not None:
            self._cancelled.discard(self._performing)
            self._performing, self._field = None, 0
            self.operations_done += 1
        pace: Pace | None = None
        while not self._waiting:
            if self._release_requested:
                self._see_nothing_follows()
                return None
            if not self._assembler.is_open:
                pace = None
                self._rest()
                continue
            # Inside a message the rest is due.
            pace = pace or Pace(self._limits, self._transport.received_bytes)
            pace.judge(self._transport.received_bytes)
            self._take(*self._transport.read(self._limits.pdu_timeout_s))
        message = self._waiting.popleft()
        if message.command.field & RESPONSE:
            raise ProtocolError("a response that nobody asked for")
        self._performing, self._field = message.command.message_id, message.command.field
        return message

    def _rest(self) -> None:
        """Wait for a message to begin, as a peer may rest between them, and see to errands."""
        limits, errands = self._limits, self._errands
        deadline = monotonic() + limits.idle_timeout_s
        # As long as within a message at first, which needs no other time-out of the socket.
        longest_s = limits.pdu_timeout_s
        while True:
            with suppress(PeerReleased):
                errands.run()
            if self._waiting or self._release_requested:
                return  # it came while an errand was run
            left_s = errands.wait_s(min(longest_s, deadline - monotonic()))
            try:
                frame = self._transport.read(left_s, limits.pdu_timeout_s)
            except Silence:
                if monotonic() >= deadline:
                    raise
                self._transport.shrink()
                longest_s = limits.idle_timeout_s
                continue
            self._take(*frame)
            return

    def _see_nothing_follows(self) -> None:
        """PS3.8 state 8: who asks for the release sends nothing after it."""
        while (frame := self._transport.received()) is not None:
            self._take(*frame)

    # --- the end

    def close(self) -> None:
        """Let go of what waits to be done; the connection stays. Once and always."""
        self._assembler.abandon()
        for message in self._waiting:
            if message.sink is not None:
                message.sink.abort()
        self._waiting.clear()
        self._errands.end()

    def answer_release(self) -> None:
        """Answer the peer's release (PS3.8 AR-4); it is to close the connection."""
        answer_release(self._transport)

    def release(self) -> None:
        """Release, as the requestor, and close the connection. Once is enough.

        If the peer has asked for that, answer it. What it still sends of messages is passed
        over. ProtocolError: it ended otherwise, and is closed all the same.
        """
        if self._ended:
            return
        self._ended = True
        try:
            if self._release_requested:
                self.answer_release()
                let_close(self._transport)
            else:
                release(self._transport)
        except BaseException as error:
            end(self._transport, error)
            raise
        finally:
            self.close()

    def abort(self, error: BaseException | None = None) -> None:
        """End by A-ABORT, where `error` asks for it (PS3.8 AA-1, AA-8), and close."""
        if not self._ended:
            self._ended = True
            end(self._transport, error)
            self.close()

    # --- answering

    def send_response(
        self,
        request: Message,
        status: int,
        *,
        data_set: bytes | None = None,
        elements: Elements | None = None,
    ) -> None:
        """Answer a request; `elements` adds to the command set, by `dimse.Element`."""
        command = response_command(request.command, status, data_set is not None, elements)
        pdus = list(fragments(request.context.id, COMMAND, command, self._max_pdu_bytes))
        if data_set is not None:
            pdus += fragments(request.context.id, 0, data_set, self._max_pdu_bytes)
        self._transport.send(b"".join(pdus))

    def send_responses(
        self, request: Message, data_sets: Iterable[bytes], status: int = PENDING
    ) -> bool:
        """Stream one response for each data set; say whether all went (else: cancelled).

        Many responses share one write. The peer is listened to for C-CANCEL-RQ after each
        buffer and after `max_answers_between_looks`. The final response is the caller's.
        """
        message_id = request.command.message_id
        command = response_command(request.command, status, True)
        context_id, max_pdu_bytes = request.context.id, self._max_pdu_bytes
        head = b"".join(fragments(context_id, COMMAND, command, max_pdu_bytes))
        is_cancelled = partial(self.cancelled, message_id)
        for part in answers(head, context_id, data_sets, is_cancelled, max_pdu_bytes, self._limits):
            self._transport.send(part)
        return message_id not in self._cancelled

    def request(
        self,
        context_id: int,
        elements: Elements,
        data_set: DataSet | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> Command:
        """Invoke an operation on the peer; return the command set of its response.

        `elements` make up the command set, by `dimse.Element`; the message ID and the data
        set type are added. A data set that comes in chunks is read as it is sent, in
        bounded memory. What reading it raises before anything has been sent (that is,
        within the first `send_buffer_bytes`) comes out as it is, and the association goes
        on; later it ends the association by CutShort. PeerReleased: the association can
        still be ended well. ReadTimeout: no response within `response_timeout_s`.
        `meanwhile` is called every second until it comes; what it raises comes out.
        """
        self._invoke(context_id, elements, data_set)
        answer = self._awaited(meanwhile)
        if self._is_awaiting:
            raise ProtocolError("a pending response to an operation that has one response")
        return answer.command

    def responses(
        self,
        context_id: int,
        elements: Elements,
        data_set: DataSet | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> Iterator[Message]:
        """Invoke an operation that has several responses, as C-FIND; the final one comes last.

        It is sent when the first is asked for. Each must come within `response_timeout_s` of
        the one before. An iterator that isn't read to its end leaves the association good for
        `release` and `abort` only. `meanwhile` is as in `request`, and so is what it raises.
        """
        self._invoke(context_id, elements, data_set)
        is_final = False
        while not is_final:
            answer = self._awaited(meanwhile)
            is_final = not self._is_awaiting
            yield answer

    def attend(self, errand: Errand, after_s: float) -> None:
        """Let `errand` look after so many seconds, between messages, in this thread.

        It may `request`. At the association's end its `end` is called, unless it has said
        that it will never look again.
        """
        self._errands.add(errand, after_s)

    def cancelled(self, message_id: int) -> bool:
        """Look, without waiting, whether the peer gave up the operation under way."""
        if message_id != self._performing:
            return False
        # One request that waits is more than PS3.7 D.3.3.3 allows after 1, 1: no further.
        while not (message_id in self._cancelled or self._waiting or self._answers):
            frame = self._transport.poll()
            if frame is None:
                break
            self._take(*frame)
        return message_id in self._cancelled

    # --- requesting

    def _invoke(
        self,
        context_id: int,
        elements: Elements,
        data_set: DataSet | None,
    ) -> None:
        if self._release_requested:
            raise PeerReleased("the peer releases the association")
        if self._is_awaiting:
            raise ProtocolError("the last request isn't answered yet")
        self._requests += 1
        message_id = (self._requests - 1) % 0xFFFF + 1
        field = elements[Element.COMMAND_FIELD]
        assert isinstance(field, int)
        command = request_command(elements, message_id, data_set is not None)
        head = b"".join(fragments(context_id, COMMAND, command, self._max_pdu_bytes))
        if data_set is None:
            self._transport.send(head)
        else:
            self._send_data_set(head, context_id, data_set)
        self._requested = field | RESPONSE, message_id

    def _send_data_set(self, head: bytes, context_id: int, data_set: DataSet) -> None:
        max_pdu_bytes = self._max_pdu_bytes
        if isinstance(data_set, Direct):
            parts = direct_writes(head, context_id, data_set, max_pdu_bytes=max_pdu_bytes)
        else:
            parts = writes(
                head,
                context_id,
                (data_set,) if isinstance(data_set, bytes) else data_set,
                max_pdu_bytes=max_pdu_bytes,
                write_bytes=self._limits.send_buffer_bytes,
            )
        first: bytes | memoryview = next(parts)
        self._transport.send(first)
        while True:
            try:
                part = next(parts, None)
            except Exception as error:
                raise CutShort("a data set can't be sent to its end") from error
            if part is None:
                return
            self._transport.send(part)

    @property
    def _is_awaiting(self) -> bool:
        """Whether more answers to our last request are due, or here already."""
        return self._requested is not None or bool(self._answers)

    def _awaited(self, meanwhile: Callable[[], None] | None = None) -> Message:
        """Read until our request is answered, and keep what else comes for its turn."""
        limits = self._limits
        deadline = monotonic() + limits.response_timeout_s
        # PS3.7 D.3.3.3: one at a time was agreed on. One more may have crossed ours.
        most = max(1, len(self._waiting))
        while not self._answers:
            if self._release_requested:
                raise PeerReleased("the peer releases the association")
            if len(self._waiting) > most:
                raise ProtocolError("more requests at once than were agreed on")
            left = deadline - monotonic()
            if left <= 0:
                raise ReadTimeout("the peer doesn't answer our request")
            wait_s = left if meanwhile is None else min(left, _MEANWHILE_S)
            try:
                frame = self._transport.read(wait_s, limits.pdu_timeout_s)
            except Silence:
                if meanwhile is None:
                    raise
                meanwhile()
                continue
            self._take(*frame)
        return self._answers.popleft()

    # --- reading

    def _take(self, kind: int, body: memoryview) -> None:
        if kind == PduType.DATA_TF and not self._release_requested:
            for context_id, control, fragment in data_values(body):
                message = self._assembler.feed(context_id, control, fragment)
                if message is not None:
                    self._arrived(message)
        elif kind == PduType.RELEASE_RQ and not self._release_requested:
            decode(kind, body)
            self._release_requested = True
        elif kind == PduType.ABORT:
            decode(kind, body)
            raise PeerAborted("the peer aborted")
        else:
            # PS3.8 table 9-10, states 6 and 8, AA-8.
            raise unexpected(kind)

    def _receive(self, context: Context, command: Command) -> Sink | None:
        """Choose what becomes of the data set of a command that is whole."""
        if command.field & RESPONSE:
            return None
        if self._performing is None:
            self._field = command.field
        if sum(each.sink is not None for each in self._waiting) >= self._limits.max_waiting_streams:
            raise ProtocolError("more requests at once than were agreed on")
        return self._choose(self, context, command)

    def _arrived(self, message: Message) -> None:
        self.messages += 1
        message_id, field = message.command.message_id, message.command.field
        if field & RESPONSE and (field, message_id) == self._requested:
            if message.command.number(Element.STATUS) not in _PENDING:
                self._requested = None
            self._answers.append(message)
        elif field != CommandField.C_CANCEL:
            self._waiting.append(message)
        elif message_id in {self._performing, *(it.command.message_id for it in self._waiting)}:
            self._cancelled.add(message_id)
        # PS3.7 9.3.2.3: a cancel that finds its operation over is no error.
