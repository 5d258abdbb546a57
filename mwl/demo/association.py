"""An association as its requestor: blocking, one operation at a time, nothing lost.

Our codec speaks; the pydicom data sets are written in Explicit VR Little Endian, the only
syntax that is proposed. pynetdicom's requestor would do, but for a race: its reactor may take
a quick answer from the thread that waits for it (3.0.4; two of some two thousand C-STOREs on
a busy machine, each waited for in vain), and an association costs it 60 ms.
"""

import socket
from collections.abc import Iterator
from io import BytesIO
from types import TracebackType
from typing import NamedTuple, Self

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from mwl.errors import MwlError, ProtocolError
from mwl.net.codec import COMMAND, HEADER, LAST, data_values, decode, encode
from mwl.net.dimse import (
    NO_DATA_SET,
    RESPONSE,
    Command,
    CommandField,
    Element,
    decode_command,
    encode_command,
    fragments,
)
from mwl.net.pdu import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    PduType,
    ProposedContext,
    ReleaseRequest,
    UserInformation,
    title_bytes,
)

ANSWER_S = 30.0

_IMPLEMENTATION_UID = "2.25.291482345207374093126131213487265346781"
_OUR_MAX_PDU = 65_536
_ACCEPTED = 0
_A_DATA_SET = 0x0001
_MEDIUM = 0
_UNKNOWN_CALLER = (1, 3)  # PS3.8 table 9-21: from the service user, calling AE title unknown
_PENDING = frozenset({0xFF00, 0xFF01})


Elements = dict[int, int | str | bytes]
"""Of a command set, by element number."""


class Failed(MwlError):
    """The server did not do what the demo needs; the text says what, and what to type."""


class Strange(Failed):
    """The server does not know this AE title."""


class Answer(NamedTuple):
    """A message of the server's: its command, and its data set if it has one."""

    command: Command
    data_set: Dataset | None

    @property
    def status(self) -> int:
        return self.command.number(Element.STATUS) or 0

    @property
    def is_pending(self) -> bool:
        return self.status in _PENDING


class Association:
    """An open association; leaving the block releases it. Raises Failed."""

    def __init__(
        self, address: tuple[str, int], called: str, calling: str, sop_classes: tuple[str, ...]
    ) -> None:
        self._where = f"{address[0]}:{address[1]}"
        self._contexts = {uid: 2 * number + 1 for number, uid in enumerate(sop_classes)}
        self._message_id = 0
        self._max_pdu = 16_384
        try:
            self._socket = socket.create_connection(address, ANSWER_S)
        except OSError:
            raise Failed(f"nobody serves DICOM at {self._where}: `mwl serve` does") from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self._socket.makefile("rb")
        try:
            self._open(called, calling)
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._send(encode(ReleaseRequest()))
                self._read_pdu()
        finally:
            self._close()

    def ask(
        self,
        field: CommandField,
        sop_class: str,
        elements: Elements,
        data_set: Dataset | None = None,
    ) -> Iterator[Answer]:
        """Send a request, and give its answers, the final one last."""
        self._message_id += 1
        command: Elements = {
            Element.COMMAND_FIELD: field,
            Element.MESSAGE_ID: self._message_id,
            **elements,
        }
        if field in {CommandField.C_STORE, CommandField.C_FIND}:
            command[Element.PRIORITY] = _MEDIUM
        self._send_message(self._contexts[sop_class], command, data_set)
        while True:
            _, answer = self._read_message()
            yield answer
            if not answer.is_pending:
                return

    def take_report(self) -> Dataset:
        """Wait for an N-EVENT-REPORT of the server's, and answer that it has arrived."""
        context_id, report = self._read_message()
        if report.command.field != CommandField.N_EVENT_REPORT or report.data_set is None:
            raise Failed(f"{self._where} sent something else than a report of commitment")
        answer: Elements = {
            Element.AFFECTED_SOP_CLASS_UID: report.command.sop_class,
            Element.COMMAND_FIELD: CommandField.N_EVENT_REPORT | RESPONSE,
            Element.MESSAGE_ID_BEING_RESPONDED_TO: report.command.message_id,
            Element.STATUS: 0x0000,
            Element.AFFECTED_SOP_INSTANCE_UID: report.command.sop_instance,
        }
        self._send_message(context_id, answer, None)
        return report.data_set

    def _open(self, called: str, calling: str) -> None:
        proposed = tuple(
            ProposedContext(number, uid, (EXPLICIT_VR_LITTLE_ENDIAN,))
            for uid, number in self._contexts.items()
        )
        user = UserInformation(_OUR_MAX_PDU, implementation_uid=_IMPLEMENTATION_UID)
        self._send(
            encode(AssociateRequest(title_bytes(called), title_bytes(calling), proposed, user))
        )
        answer = decode(*self._read_pdu())
        if isinstance(answer, AssociateReject):
            if (answer.source, answer.reason) == _UNKNOWN_CALLER:
                raise Strange(
                    f"the server at {self._where} admits known devices only: "
                    f"`mwl device add {calling}` makes this one known"
                )
            raise Failed(f"{self._where} refused the association of {calling} to {called}")
        if not isinstance(answer, AssociateAccept):
            raise Failed(f"{self._where} answered no association: is it another program's port?")
        if any(context.result != _ACCEPTED for context in answer.contexts):
            raise Failed(f"{self._where} does not take all that {calling} does")
        self._max_pdu = min(answer.user.max_pdu_bytes or _OUR_MAX_PDU, _OUR_MAX_PDU)

    def _send_message(
        self,
        context_id: int,
        command: Elements,
        data_set: Dataset | None,
    ) -> None:
        has_none = data_set is None
        whole: Elements = {
            **command,
            Element.DATA_SET_TYPE: NO_DATA_SET if has_none else _A_DATA_SET,
        }
        pdus = [*fragments(context_id, COMMAND, encode_command(whole), self._max_pdu)]
        if data_set is not None:
            pdus += fragments(context_id, 0, _written(data_set), self._max_pdu)
        self._send(b"".join(pdus))

    def _read_message(self) -> tuple[int, Answer]:
        command, gathered = None, bytearray()
        while True:
            kind, body = self._read_pdu()
            if kind != PduType.DATA_TF:
                raise Failed(f"{self._where} ended the association before it answered")
            for context_id, control, fragment in data_values(body):
                gathered += fragment
                if not control & LAST:
                    continue
                if command is None:
                    command = decode_command(bytes(gathered))
                    gathered.clear()
                    if command.has_data_set:
                        continue
                return context_id, Answer(command, _read(gathered) if gathered else None)

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Failed(f"{self._where} took no more: {error.strerror or error}") from None

    def _read_pdu(self) -> tuple[int, bytes]:
        try:
            kind, length = HEADER.unpack(self._take(HEADER.size))
            return kind, self._take(length)
        except TimeoutError:
            raise Failed(f"{self._where} gave no answer within {ANSWER_S:.0f} s") from None
        except (OSError, ProtocolError) as error:
            raise Failed(f"{self._where} gave no answer: {error}") from None

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise OSError("it closed the connection")
        return data

    def _close(self) -> None:
        self._stream.close()
        self._socket.close()


def _written(data_set: Dataset) -> bytes:
    written = DicomBytesIO()
    written.is_little_endian, written.is_implicit_VR = True, False
    write_dataset(written, data_set)
    return written.getvalue()


def _read(data: bytes | bytearray) -> Dataset:
    return read_dataset(BytesIO(bytes(data)), is_implicit_VR=False, is_little_endian=True)
