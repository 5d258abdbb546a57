"""DIMSE: command sets (PS3.7 section 6.3 and annex E) and messages made of fragments.

A command set is Implicit VR Little Endian whatever was negotiated, and holds only group
0000. Lengths are checked to the byte; an element that we don't know is kept as it came.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from mwl.errors import ProtocolError
from mwl.net.codec import COMMAND, LAST, VALUE, encode_value
from mwl.net.limits import Limits
from mwl.net.options import NONE, Options
from mwl.net.pdu import PduError
from mwl.net.sinks import Sink

_ELEMENT = Struct("<HHI")
_US = Struct("<H")
_UL = Struct("<I")


class CommandField(IntEnum):
    """PS3.7 table E.1-1, (0000,0100), the requests; a response has the highest bit set."""

    C_STORE = 0x0001
    C_GET = 0x0010
    C_FIND = 0x0020
    C_MOVE = 0x0021
    C_ECHO = 0x0030
    C_CANCEL = 0x0FFF
    N_EVENT_REPORT = 0x0100
    N_GET = 0x0110
    N_SET = 0x0120
    N_ACTION = 0x0130
    N_CREATE = 0x0140
    N_DELETE = 0x0150


RESPONSE = 0x8000
NO_DATA_SET = 0x0101  # PS3.7 E.1, (0000,0800); any other value: a data set follows


class Element(IntEnum):
    """Element numbers of group 0000 (PS3.7 table E.1-1)."""

    GROUP_LENGTH = 0x0000
    AFFECTED_SOP_CLASS_UID = 0x0002
    REQUESTED_SOP_CLASS_UID = 0x0003
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_BEING_RESPONDED_TO = 0x0120
    MOVE_DESTINATION = 0x0600
    PRIORITY = 0x0700
    DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    OFFENDING_ELEMENT = 0x0901
    ERROR_COMMENT = 0x0902
    ERROR_ID = 0x0903
    AFFECTED_SOP_INSTANCE_UID = 0x1000
    REQUESTED_SOP_INSTANCE_UID = 0x1001
    NUMBER_OF_REMAINING_SUB_OPERATIONS = 0x1020
    NUMBER_OF_COMPLETED_SUB_OPERATIONS = 0x1021
    NUMBER_OF_FAILED_SUB_OPERATIONS = 0x1022
    NUMBER_OF_WARNING_SUB_OPERATIONS = 0x1023
    MOVE_ORIGINATOR_AE_TITLE = 0x1030
    MOVE_ORIGINATOR_MESSAGE_ID = 0x1031
    EVENT_TYPE_ID = 0x1002
    ATTRIBUTE_IDENTIFIER_LIST = 0x1005
    ACTION_TYPE_ID = 0x1008


_UIDS = frozenset(
    {
        Element.AFFECTED_SOP_CLASS_UID,
        Element.REQUESTED_SOP_CLASS_UID,
        Element.AFFECTED_SOP_INSTANCE_UID,
        Element.REQUESTED_SOP_INSTANCE_UID,
    }
)


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context.

    `may_invoke`: we may invoke its operations on the peer (PS3.7 D.3.3.4). `options` are
    those that were agreed on for its SOP class (PS3.7 D.3.3.5).
    """

    id: int
    abstract_syntax: str
    transfer_syntax: str
    may_invoke: bool = False
    options: Options = NONE


@dataclass(frozen=True, slots=True)
class Command:
    """A command set; `elements` holds every value by element number, as it came.

    `message_id` is (0000,0110) of a request and (0000,0120) of a response or C-CANCEL.
    """

    field: int
    message_id: int
    has_data_set: bool
    elements: Mapping[int, bytes]

    def text(self, *numbers: int) -> str:
        """Read the first of these elements that is there, without padding; "" if none."""
        for number in numbers:
            if value := self.elements.get(number):
                return value.decode("latin-1").rstrip("\0 ")
        return ""

    def number(self, number: int) -> int | None:
        """Read an element of VR US. ProtocolError: it has another length."""
        return _number(self.elements, number)

    @property
    def sop_class(self) -> str:
        return self.text(Element.AFFECTED_SOP_CLASS_UID, Element.REQUESTED_SOP_CLASS_UID)

    @property
    def sop_instance(self) -> str:
        return self.text(Element.AFFECTED_SOP_INSTANCE_UID, Element.REQUESTED_SOP_INSTANCE_UID)


@dataclass(frozen=True, slots=True)
class Message:
    """A whole DIMSE message; `data_set` is encoded in the context's transfer syntax.

    `sink` has taken the data set where the service wanted it so; then `data_set` is None.
    """

    context: Context
    command: Command
    data_set: bytes | None
    sink: Sink | None = None


# Asked when a command that has a data set is whole; None: keep the data set in memory.
Receive = Callable[[Context, Command], Sink | None]


def _in_memory(_context: Context, _command: Command) -> None:
    return None


def decode_command(data: bytes) -> Command:
    """Read a command set. ProtocolError: not one, or without what every command has."""
    elements: dict[int, bytes] = {}
    offset, end = 0, len(data)
    while offset < end:
        start = offset + _ELEMENT.size
        if start > end:
            raise ProtocolError("command element cut short")
        group, number, length = _ELEMENT.unpack_from(data, offset)
        offset = start + length
        if group or offset > end:
            raise ProtocolError("command set with a foreign group or a wrong length")
        elements[number] = data[start:offset]
    field = _number(elements, Element.COMMAND_FIELD)
    data_set_type = _number(elements, Element.DATA_SET_TYPE)
    if field is None or data_set_type is None:
        raise ProtocolError("command set without command field or data set type")
    answers = field & RESPONSE or field == CommandField.C_CANCEL
    message_id = _number(
        elements, Element.MESSAGE_ID_BEING_RESPONDED_TO if answers else Element.MESSAGE_ID
    )
    if message_id is None:
        raise ProtocolError("command set without a message ID")
    return Command(field, message_id, data_set_type != NO_DATA_SET, elements)


def _number(elements: Mapping[int, bytes], number: int) -> int | None:
    value = elements.get(number)
    if not value:
        return None
    if len(value) != _US.size:
        raise ProtocolError(f"command element (0000,{number:04X}) has a wrong length")
    return int.from_bytes(value, "little")


def encode_command(elements: Mapping[int, int | str | bytes]) -> bytes:
    """Write a command set: int as US, text padded to even length, bytes as they are."""
    parts = []
    for number, value in sorted(elements.items()):
        if isinstance(value, int):
            data = _US.pack(value)
        elif isinstance(value, str):
            data = value.encode("latin-1", "replace")
            data += (b"\0" if number in _UIDS else b" ") * (len(data) % 2)
        else:
            data = value
        parts.append(_ELEMENT.pack(0, number, len(data)) + data)
    body = b"".join(parts)
    return _ELEMENT.pack(0, Element.GROUP_LENGTH, _UL.size) + _UL.pack(len(body)) + body


def fragments(context_id: int, kind: int, data: bytes, max_pdu_bytes: int) -> Iterator[bytes]:
    """Yield the P-DATA-TF PDUs that carry `data`: a command (`kind` COMMAND) or a data set (0).

    One presentation data value each: older peers don't look for a second one.
    """
    # PS3.8 D.1: the maximum counts the PDU's variable field, value header included.
    room = (max_pdu_bytes - VALUE.size) & ~1
    whole = len(data)
    for start in range(0, whole, room):
        last = LAST if start + room >= whole else 0
        yield encode_value(context_id, kind | last, data[start : start + room])
    if not whole:
        yield encode_value(context_id, kind | LAST, b"")


class MessageAssembler:
    """Put messages together from presentation data values, one after another.

    PS3.7 6.3.1: the command's fragments first, then the data set's, all on one
    presentation context, none of another message in between. `receive` says which data
    sets go to a sink as they come; whoever takes the message then has the sink.
    """

    def __init__(
        self, contexts: Mapping[int, Context], limits: Limits, receive: Receive = _in_memory
    ) -> None:
        self._contexts = contexts
        self._limits = limits
        self._receive = receive
        self._sink: Sink | None = None  # of the message that is open
        self._streamed = 0  # bytes, to that sink
        self._context: Context | None = None  # of the message that is open
        self._command: Command | None = None  # once it is whole
        self._fragments = bytearray()  # of the command, then of the data set
        self._empty = 0  # fragments without a byte, in the message that is open

    @property
    def is_open(self) -> bool:
        """Whether the rest of a message is still to come."""
        return self._context is not None

    def feed(self, context_id: int, control: int, fragment: memoryview) -> Message | None:
        """Take one value; return the message that it completes.

        PduError: a value that can't stand here. ProtocolError: the message is broken or
        over a limit.
        """
        if self._context is None:
            self._context = self._contexts.get(context_id)
            if self._context is None:
                raise PduError("data on a presentation context that was not accepted")
        elif context_id != self._context.id:
            raise PduError("a message changes its presentation context")
        if bool(control & COMMAND) != (self._command is None):
            raise PduError("command and data set fragments out of order")
        if not fragment:
            self._count_empty()
        if self._sink is None:
            self._keep(fragment)
        else:
            self._stream(self._sink, fragment)
        if not control & LAST:
            return None
        return self._end_of_command() if self._command is None else self._end_of_data_set()

    def abandon(self) -> None:
        """Give up the message that is open."""
        if self._sink is not None:
            self._sink.abort()
            self._sink = None

    def _count_empty(self) -> None:
        self._empty += 1
        if self._empty > self._limits.max_empty_fragments:
            raise ProtocolError("a message of empty fragments")

    def _keep(self, fragment: memoryview) -> None:
        limits = self._limits
        limit = limits.max_command_bytes if self._command is None else limits.max_data_set_bytes
        if len(self._fragments) + len(fragment) > limit:
            raise ProtocolError("command set or data set over its limit")
        self._fragments += fragment

    def _stream(self, sink: Sink, fragment: memoryview) -> None:
        self._streamed += len(fragment)
        if self._streamed > self._limits.max_streamed_bytes:
            raise ProtocolError("data set over its limit")
        sink.write(fragment)

    def _end_of_command(self) -> Message | None:
        assert self._context is not None
        self._command = decode_command(bytes(self._fragments))
        self._fragments.clear()
        if not self._command.has_data_set:
            return self._whole(None)
        self._sink, self._streamed = self._receive(self._context, self._command), 0
        return None

    def _end_of_data_set(self) -> Message:
        if self._sink is not None:
            self._sink.close()
            return self._whole(None)
        data_set = bytes(self._fragments)
        self._fragments = bytearray()  # clear() would keep the memory of the longest
        return self._whole(data_set)

    def _whole(self, data_set: bytes | None) -> Message:
        assert self._context is not None
        assert self._command is not None
        message = Message(self._context, self._command, data_set, self._sink)
        self._context = self._command = self._sink = None
        self._empty = 0
        return message
