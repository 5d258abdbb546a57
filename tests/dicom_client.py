"""A raw, blocking DICOM requestor for tests and benchmarks.

It costs next to nothing: proposals and requests are encoded once, answers are cut at their
lengths and parsed only as far as asked for. It trusts the server that it talks to.
"""

import socket
from collections.abc import Iterator, Sequence
from functools import cache
from types import TracebackType
from typing import Self

from mwl.net.codec import COMMAND, HEADER, LAST, data_values, decode, encode
from mwl.net.dimse import (
    NO_DATA_SET,
    Command,
    CommandField,
    Element,
    decode_command,
    encode_command,
    fragments,
)
from mwl.net.pdu import (
    IMPLICIT_VR_LITTLE_ENDIAN,
    AssociateAccept,
    AssociateRequest,
    ExtendedItem,
    Pdu,
    PduType,
    ProposedContext,
    ReleaseRequest,
    UserInformation,
    title_bytes,
)

VERIFICATION = "1.2.840.10008.1.1"
MODALITY_WORKLIST_FIND = "1.2.840.10008.5.1.4.31"
PENDING = frozenset({0xFF00, 0xFF01})

_RELEASE = encode(ReleaseRequest())
_ANY_DATA_SET = 0x0001
_MEDIUM = 0


class Refused(Exception):
    """The association was not accepted; `answer` is the PDU that said so."""

    def __init__(self, answer: Pdu) -> None:
        super().__init__(repr(answer))
        self.answer = answer


@cache
def proposal(
    called: str,
    calling: str,
    sop_classes: tuple[str, ...],
    transfer_syntaxes: tuple[str, ...],
    max_pdu_bytes: int,
    extended: tuple[ExtendedItem, ...] = (),
) -> bytes:
    """Encode an A-ASSOCIATE-RQ with one context, 1, 3, 5 …, for each SOP class."""
    contexts = tuple(
        ProposedContext(2 * number + 1, sop_class, transfer_syntaxes)
        for number, sop_class in enumerate(sop_classes)
    )
    user = UserInformation(max_pdu_bytes, "2.25.1", extended=extended)
    return encode(AssociateRequest(title_bytes(called), title_bytes(calling), contexts, user))


@cache
def request(
    context_id: int,
    field: int,
    sop_class: str,
    message_id: int = 1,
    data_set: bytes | None = None,
    max_pdu_bytes: int = 16384,
) -> bytes:
    """Encode a DIMSE request as the PDUs that carry it."""
    elements: dict[int, int | str | bytes] = {
        Element.AFFECTED_SOP_CLASS_UID: sop_class,
        Element.COMMAND_FIELD: field,
        Element.MESSAGE_ID: message_id,
        Element.DATA_SET_TYPE: NO_DATA_SET if data_set is None else _ANY_DATA_SET,
    }
    if field == CommandField.C_FIND:
        elements[Element.PRIORITY] = _MEDIUM
    pdus = list(fragments(context_id, COMMAND, encode_command(elements), max_pdu_bytes))
    if data_set is not None:
        pdus += fragments(context_id, 0, data_set, max_pdu_bytes)
    return b"".join(pdus)


def cancel_request(context_id: int, message_id: int = 1) -> bytes:
    """Encode a C-CANCEL-RQ (PS3.7 9.3.2.3)."""
    command = encode_command(
        {
            Element.COMMAND_FIELD: CommandField.C_CANCEL,
            Element.MESSAGE_ID_BEING_RESPONDED_TO: message_id,
            Element.DATA_SET_TYPE: NO_DATA_SET,
        }
    )
    return b"".join(fragments(context_id, COMMAND, command, 16384))


class DicomClient:
    """One connection; as a context manager, an association that is released at the end."""

    def __init__(self, address: tuple[str, int], timeout_s: float = 10.0, source: str = "") -> None:
        self._take_over(socket.create_connection(address, timeout_s, (source, 0)), timeout_s)

    @classmethod
    def over(cls, connection: socket.socket, timeout_s: float = 10.0) -> Self:
        """Speak over a connection that there is, as one that was accepted."""
        client = cls.__new__(cls)
        client._take_over(connection, timeout_s)
        return client

    def _take_over(self, connection: socket.socket, timeout_s: float) -> None:
        connection.settimeout(timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connection
        self._buffer = bytearray()
        self._at = 0
        self.sop_classes: tuple[str, ...] = ()
        self.accept: AssociateAccept | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None and self.accept is not None:
                self.release()
        finally:
            self.close()

    def associate(
        self,
        sop_classes: Sequence[str] = (VERIFICATION,),
        *,
        called: str = "MWL",
        calling: str = "MODALITY",
        transfer_syntaxes: tuple[str, ...] = (IMPLICIT_VR_LITTLE_ENDIAN,),
        max_pdu_bytes: int = 16384,
        extended: tuple[ExtendedItem, ...] = (),
    ) -> Self:
        """Propose one context for each SOP class; Refused unless accepted."""
        self.sop_classes = proposed = tuple(sop_classes)
        syntaxes = transfer_syntaxes
        self.send(proposal(called, calling, proposed, syntaxes, max_pdu_bytes, extended))
        answer = self.read_pdu()
        if not isinstance(answer, AssociateAccept):
            raise Refused(answer)
        self.accept = answer
        return self

    def echo(self, message_id: int = 1) -> int:
        """C-ECHO on the first context of Verification; return the status."""
        context_id = 2 * self.sop_classes.index(VERIFICATION) + 1
        self.send(request(context_id, CommandField.C_ECHO, VERIFICATION, message_id))
        return status(self.read_message()[0])

    def find(
        self, identifier: bytes, sop_class: str = MODALITY_WORKLIST_FIND, message_id: int = 1
    ) -> Iterator[tuple[int, bytes | None]]:
        """C-FIND; yield (status, identifier as bytes) of each response, the final one last."""
        context_id = 2 * self.sop_classes.index(sop_class) + 1
        self.send(request(context_id, CommandField.C_FIND, sop_class, message_id, identifier))
        while True:
            command, data_set = self.read_message()
            code = status(command)
            yield code, data_set
            if code not in PENDING:
                return

    def count_pending(self, identifier: bytes, sop_class: str = MODALITY_WORKLIST_FIND) -> int:
        """C-FIND that counts pending responses and reads none but the last: the cheapest."""
        context_id = 2 * self.sop_classes.index(sop_class) + 1
        self.send(request(context_id, CommandField.C_FIND, sop_class, 1, identifier))
        count = 0
        while True:
            _, body = self.read_frame()
            control = body[5]
            if not control & COMMAND:
                count += bool(control & LAST)
            elif control & LAST and status(decode_command(bytes(body[6:]))) not in PENDING:
                return count

    def release(self) -> None:
        """A-RELEASE, and wait for the answer."""
        self.send(_RELEASE)
        kind, _ = self.read_frame()
        assert kind == PduType.RELEASE_RP, kind

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def close(self) -> None:
        self.socket.close()

    def read_frame(self) -> tuple[int, bytes]:
        """Read one PDU: its type and variable field. EOFError: the server closed."""
        kind, length = HEADER.unpack(self._take(HEADER.size))
        return kind, self._take(length)

    def read_pdu(self) -> Pdu:
        return decode(*self.read_frame())

    def read_message(self) -> tuple[Command, bytes | None]:
        """Read one DIMSE message: command and data set."""
        command, fragments_ = None, bytearray()
        while True:
            kind, body = self.read_frame()
            assert kind == PduType.DATA_TF, (kind, body)
            for _, control, fragment in data_values(body):
                fragments_ += fragment
                if not control & LAST:
                    continue
                if not control & COMMAND:
                    assert command is not None
                    return command, bytes(fragments_)
                command = decode_command(bytes(fragments_))
                if not command.has_data_set:
                    return command, None
                fragments_.clear()

    def _take(self, size: int) -> bytes:
        while len(self._buffer) - self._at < size:
            if self._at:
                del self._buffer[: self._at]
                self._at = 0
            data = self.socket.recv(256 * 1024)
            if not data:
                raise EOFError("the server closed the connection")
            self._buffer += data
        data = bytes(self._buffer[self._at : self._at + size])
        self._at += size
        return data


def status(command: Command) -> int:
    """Read the status of a response."""
    code = command.number(Element.STATUS)
    assert code is not None
    return code
