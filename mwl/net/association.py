"""One established association, on the acceptor's side: PS3.8 state 6 and what ends it.

A thread blocks here for as long as the association lives. It reads a message, hands it to
the service of its presentation context, and reads again; it costs nothing while it waits.

- Only this thread writes to the peer.
- Operations are synchronous. What arrives while one is under way is looked at only when
  its service asks `cancelled`, streams with `send_responses` or has a `request` of its own:
  a C-CANCEL-RQ marks its operation, an A-RELEASE-RQ waits for the operation to end, an
  A-ABORT ends it by `PeerAborted` at that place, and another request waits for its turn.
- What we request of the peer is synchronous too: one at a time, and nothing else is sent
  until it is answered.
- A service that raises ends this association and no other, by A-ABORT.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from struct import Struct
from time import monotonic
from typing import Protocol

from mwl.errors import ProtocolError
from mwl.net.codec import COMMAND, LAST, VALUE, data_values, decode, encode
from mwl.net.dimse import (
    NO_DATA_SET,
    RESPONSE,
    Command,
    CommandField,
    Context,
    Element,
    Message,
    MessageAssembler,
    encode_command,
    fragments,
)
from mwl.net.errands import Errand, Errands
from mwl.net.framing import ReadTimeout, Silence, Transport
from mwl.net.limits import Limits
from mwl.net.negotiation import Agreement
from mwl.net.outgoing import writes
from mwl.net.pdu import Abort, AbortReason, PduError, PduType, ReleaseResponse, title_text
from mwl.net.sinks import Drain, Sink
from mwl.net.status import (
    NO_SUCH_SOP_CLASS,
    PENDING,
    REFUSED_SOP_CLASS_NOT_SUPPORTED,
    UNRECOGNIZED_OPERATION,
)

_REQUESTS = frozenset(CommandField)
_DATA_SET_FOLLOWS = 0x0001
# A P-DATA-TF header and a value header at one go.
_WHOLE_VALUE = Struct(">BxIIBB")


class PeerAborted(ProtocolError):
    """The peer sent A-ABORT."""


class PeerReleased(ProtocolError):
    """The peer wants to release the association, and so answers no request any more."""


class CutShort(ProtocolError):
    """A data set could not be read to its end while it was being sent."""


class Service(Protocol):
    """A DICOM service class as SCP.

    `abstract_syntaxes` are the SOP classes that it serves; `transfer_syntaxes` what it
    reads and writes, the best first; `operations` the requests that it knows.

    It may have `invokes` too: by SOP class, the transfer syntaxes in which it invokes
    operations on who asked, as C-GET does of the storage classes. With `theirs_first`, what
    the requestor names first of what it reads is agreed on. With `receive(association,
    context, command)` it may give a `Sink` for a request's data set, which then comes to
    `handle` as `message.sink`.
    """

    @property
    def abstract_syntaxes(self) -> tuple[str, ...]: ...

    @property
    def transfer_syntaxes(self) -> tuple[str, ...]: ...

    @property
    def operations(self) -> frozenset[CommandField]: ...

    def handle(self, association: "Association", message: Message) -> None:
        """Perform one request, up to its final response."""


class Association:
    """An association that was accepted; services answer through it.

    `calling_title` and `called_title` are as the peer sent them, without padding;
    `address` is the peer's IP address.
    """

    def __init__(
        self,
        transport: Transport,
        agreement: Agreement,
        services: Mapping[str, Service],
        address: str,
        limits: Limits,
    ) -> None:
        self.calling_title = title_text(agreement.accept.calling_title)
        self.called_title = title_text(agreement.accept.called_title)
        self.address = address
        self.contexts = agreement.contexts
        self.messages = 0  # that came from the peer
        self.operations_done = 0
        self._transport = transport
        self._max_pdu_bytes = agreement.max_send_pdu_bytes
        self._services = services
        self._limits = limits
        self._assembler = MessageAssembler(agreement.contexts, limits, self._receive)
        self._waiting: deque[Message] = deque()  # read, not yet performed
        self._performing: int | None = None  # message ID
        self._field = 0  # command field of what comes or is performed, 0 in between
        self._requested: tuple[int, int] | None = None  # what we did: command field, message ID
        self._answer: Command | None = None  # to that
        self._requests = 0
        self._cancelled: set[int] = set()  # message IDs, of these two only
        self._release_requested = False
        self._errands = Errands()

    @property
    def operation(self) -> str:
        """What the peer has us do just now, such as "C-STORE"; "" in between."""
        field = self._field
        return CommandField(field).name.replace("_", "-") if field in _REQUESTS else ""

    # --- what the acceptor calls

    def run(self) -> None:
        """Serve until the peer releases, and answer its release.

        PeerAborted, PduError, ProtocolError, ReadTimeout, ConnectionLost, and whatever a
        service raises.
        """
        try:
            try:
                self._serve()
            finally:
                self._assembler.abandon()
                for message in self._waiting:
                    if message.sink is not None:
                        message.sink.abort()
            self._transport.send(encode(ReleaseResponse()))  # PS3.8 AR-4
        finally:
            self._errands.end()

    def _serve(self) -> None:
        limits = self._limits
        while self._waiting or not self._release_requested:
            if self._waiting:
                self._perform(self._waiting.popleft())
                continue
            if self._assembler.is_open:
                # Inside a message the rest is due.
                self._take(*self._transport.read(limits.pdu_timeout_s, limits.pdu_timeout_s))
            else:
                self._rest()

    def _rest(self) -> None:
        """Wait for a message to begin, as a peer may rest between them, and see to errands."""
        limits, errands = self._limits, self._errands
        deadline = monotonic() + limits.idle_timeout_s
        while True:
            with suppress(PeerReleased):
                errands.run()
            if self._waiting or self._release_requested:
                return  # it came while an errand was run
            left_s = deadline - monotonic()
            try:
                frame = self._transport.read(errands.wait_s(left_s), limits.pdu_timeout_s)
            except Silence:
                if monotonic() >= deadline:
                    raise
                continue
            self._take(*frame)
            return

    # --- what services call

    def send_response(
        self,
        request: Message,
        status: int,
        *,
        data_set: bytes | None = None,
        elements: Mapping[int, int | str | bytes] | None = None,
    ) -> None:
        """Answer a request; `elements` adds to the command set, by `dimse.Element`."""
        command = self._response(request.command, status, data_set is not None, elements)
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
        limits, message_id = self._limits, request.command.message_id
        context_id, max_pdu_bytes = request.context.id, self._max_pdu_bytes
        command = self._response(request.command, status, True, None)
        head = b"".join(fragments(context_id, COMMAND, command, max_pdu_bytes))
        room = max_pdu_bytes - VALUE.size
        header = _WHOLE_VALUE.pack
        kind: int = PduType.DATA_TF
        parts: list[bytes] = []
        gathered = answers = 0
        for data_set in data_sets:
            size = len(data_set)
            if size <= room:
                parts += (head, header(kind, size + 6, size + 2, context_id, LAST), data_set)
            else:
                parts.append(head)
                parts += fragments(context_id, 0, data_set, max_pdu_bytes)
            gathered += size + len(head)
            answers += 1
            if gathered >= limits.send_buffer_bytes:
                self._transport.send(b"".join(parts))
                parts, gathered = [], 0
            elif answers % limits.max_answers_between_looks:
                continue
            if self.cancelled(message_id):
                break
        if parts:
            self._transport.send(b"".join(parts))
        return message_id not in self._cancelled

    def request(
        self,
        context_id: int,
        elements: Mapping[int, int | str | bytes],
        data_set: bytes | Iterable[bytes | memoryview] | None = None,
    ) -> Command:
        """Invoke an operation on the peer; return the command set of its response.

        `elements` make up the command set, by `dimse.Element`; the message ID and the data
        set type are added. A data set that comes in chunks is read as it is sent, in
        bounded memory. What reading it raises before anything has been sent (that is,
        within the first `send_buffer_bytes`) comes out as it is, and the association goes
        on; later it ends the association by CutShort. PeerReleased: the association can
        still be ended well. ReadTimeout: no response within `response_timeout_s`.
        """
        if self._release_requested:
            raise PeerReleased("the peer releases the association")
        self._requests += 1
        message_id = (self._requests - 1) % 0xFFFF + 1
        field = elements[Element.COMMAND_FIELD]
        assert isinstance(field, int)
        command = encode_command(
            {
                **elements,
                Element.MESSAGE_ID: message_id,
                Element.DATA_SET_TYPE: NO_DATA_SET if data_set is None else _DATA_SET_FOLLOWS,
            }
        )
        head = b"".join(fragments(context_id, COMMAND, command, self._max_pdu_bytes))
        if data_set is None:
            self._transport.send(head)
        else:
            chunks = (data_set,) if isinstance(data_set, bytes) else data_set
            self._send_data_set(head, context_id, chunks)
        return self._awaited(field | RESPONSE, message_id)

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
        while not (message_id in self._cancelled or self._waiting or self._release_requested):
            frame = self._transport.poll()
            if frame is None:
                break
            self._take(*frame)
        return message_id in self._cancelled

    # --- requesting

    def _send_data_set(
        self, head: bytes, context_id: int, chunks: Iterable[bytes | memoryview]
    ) -> None:
        parts = writes(
            head,
            context_id,
            chunks,
            max_pdu_bytes=self._max_pdu_bytes,
            write_bytes=self._limits.send_buffer_bytes,
        )
        self._transport.send(next(parts))
        while True:
            try:
                part = next(parts, None)
            except Exception as error:
                raise CutShort("a data set can't be sent to its end") from error
            if part is None:
                return
            self._transport.send(part)

    def _awaited(self, field: int, message_id: int) -> Command:
        """Read until our request is answered, and keep what else comes for its turn."""
        limits = self._limits
        deadline = monotonic() + limits.response_timeout_s
        # PS3.7 D.3.3.3: one at a time was agreed on. One more may have crossed ours.
        most = max(1, len(self._waiting))
        self._requested, self._answer = (field, message_id), None
        while self._answer is None:
            if self._release_requested:
                raise PeerReleased("the peer releases the association")
            if len(self._waiting) > most:
                raise ProtocolError("more requests at once than were agreed on")
            left = deadline - monotonic()
            if left <= 0:
                raise ReadTimeout("the peer doesn't answer our request")
            self._take(*self._transport.read(left, limits.pdu_timeout_s))
        self._requested = None
        return self._answer

    # --- reading

    def _take(self, kind: int, body: memoryview) -> None:
        if kind == PduType.DATA_TF:
            for context_id, control, fragment in data_values(body):
                message = self._assembler.feed(context_id, control, fragment)
                if message is not None:
                    self._arrived(message)
            return
        pdu = decode(kind, body)
        if kind == PduType.RELEASE_RQ:
            self._release_requested = True
        elif isinstance(pdu, Abort):
            raise PeerAborted("the peer aborted")
        else:
            # PS3.8 table 9-10, state 6, AA-8.
            raise PduError(f"PDU of type {kind} on an association", AbortReason.UNEXPECTED_PDU)

    def _receive(self, context: Context, command: Command) -> Sink | None:
        """Choose what becomes of the data set of a command that is whole."""
        if self._performing is None:
            self._field = command.field
        service = self._services.get(context.abstract_syntax)
        receive = getattr(service, "receive", None)
        if service is None or receive is None or command.field & RESPONSE:
            return None
        if sum(each.sink is not None for each in self._waiting) >= self._limits.max_waiting_streams:
            raise ProtocolError("more requests at once than were agreed on")
        if _refusal(service, context, command) is not None:
            return Drain()
        sink: Sink | None = receive(self, context, command)
        return sink

    def _arrived(self, message: Message) -> None:
        self.messages += 1
        message_id, field = message.command.message_id, message.command.field
        if field & RESPONSE and (field, message_id) == self._requested:
            self._answer, self._requested = message.command, None
        elif field != CommandField.C_CANCEL:
            self._waiting.append(message)
        elif message_id in {self._performing, *(it.command.message_id for it in self._waiting)}:
            self._cancelled.add(message_id)
        # PS3.7 9.3.2.3: a cancel that finds its operation over is no error.

    # --- performing

    def _perform(self, message: Message) -> None:
        command, context = message.command, message.context
        if command.field & RESPONSE:
            raise ProtocolError("a response that nobody asked for")
        service = self._services.get(context.abstract_syntax)
        refusal = _refusal(service, context, command)
        try:
            if refusal is not None:
                self.send_response(message, refusal)
            elif service is not None:
                self._performing, self._field = command.message_id, command.field
                service.handle(self, message)
        finally:
            if message.sink is not None:
                message.sink.abort()
        self._performing, self._field = None, 0
        self._cancelled.discard(command.message_id)
        self.operations_done += 1

    def _response(
        self,
        request: Command,
        status: int,
        has_data_set: bool,
        more: Mapping[int, int | str | bytes] | None,
    ) -> bytes:
        elements: dict[int, int | str | bytes] = {
            Element.COMMAND_FIELD: request.field | RESPONSE,
            Element.MESSAGE_ID_BEING_RESPONDED_TO: request.message_id,
            Element.DATA_SET_TYPE: _DATA_SET_FOLLOWS if has_data_set else NO_DATA_SET,
            Element.STATUS: status,
        }
        if sop_class := request.sop_class:
            elements[Element.AFFECTED_SOP_CLASS_UID] = sop_class
        if sop_instance := request.sop_instance:
            elements[Element.AFFECTED_SOP_INSTANCE_UID] = sop_instance
        return encode_command({**elements, **(more or {})})


def _refusal(service: Service | None, context: Context, command: Command) -> int | None:
    """Give the status of a request that its service isn't even shown."""
    if service is None or command.field not in service.operations:
        return UNRECOGNIZED_OPERATION
    if command.sop_class not in {"", context.abstract_syntax}:
        # PS3.7 C.5: DIMSE-N and DIMSE-C say it with different codes.
        dimse_n = command.field & 0x0100
        return NO_SUCH_SOP_CLASS if dimse_n else REFUSED_SOP_CLASS_NOT_SUPPORTED
    return None
