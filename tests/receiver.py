"""A raw acceptor of C-STORE for tests and benchmarks: it takes, counts and answers as it is told.

with Receiver() as receiver:
    receiver.port                    # on loopback
    receiver.answer = lambda command: 0xB000
    receiver.received                # (transfer syntax, data set) by SOP Instance UID
    receiver.commands                # of each C-STORE-RQ, in their order

Of a data set it keeps nothing unless `keeps`, and then doesn't even copy it.
"""

import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Event, Thread
from typing import Self

from mwl.net.codec import COMMAND, HEADER, LAST, decode, encode
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
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ContextAnswer,
    PduType,
    ProposedContext,
    ReleaseResponse,
    UserInformation,
)

_BUFFER_BYTES = 1024 * 1024
_PDV_HEADER = 6
_SHORTEST_PDU = 10
# Of Linux, for TCP: what is received is thrown away. Elsewhere it is copied, and then so.
_FORGET = socket.MSG_TRUNC if sys.platform == "linux" else 0


class Receiver:
    """An application that stores nothing; a context manager."""

    def __init__(self, *, keeps: bool = True, max_pdu_bytes: int = 16384) -> None:
        self.keeps, self.max_pdu_bytes = keeps, max_pdu_bytes
        self.accept: Callable[[ProposedContext], str] = lambda each: each.transfer_syntaxes[0]
        self.answer: Callable[[Command], int] = lambda _: 0
        self.refusal: AssociateReject | None = None
        self.at_instance: dict[int, Callable[[socket.socket], None]] = {}  # before it is read
        self.received: dict[str, tuple[str, bytes]] = {}
        self.commands: list[Command] = []
        self.requests: list[AssociateRequest] = []
        self.releases = 0
        self.aborted = Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept_all)
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _start(self, work: Callable[..., None], *given: object) -> None:
        thread = Thread(target=work, args=given, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept_all(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open.append(sock)
                self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        with suppress(OSError, EOFError), sock:
            _Conversation(self, sock).run()


class _Conversation:
    def __init__(self, receiver: Receiver, sock: socket.socket) -> None:
        self._receiver, self._socket = receiver, sock
        self._syntaxes: dict[int, str] = {}

    def run(self) -> None:
        receiver = self._receiver
        command: Command | None = None
        kept = bytearray()
        for kind, body in frames(self._socket, whole=receiver.keeps):
            if kind == PduType.DATA_TF:
                control = body[5]
                if control & COMMAND:
                    command = decode_command(bytes(body[_PDV_HEADER:]))
                    hook = receiver.at_instance.get(len(receiver.commands))
                    receiver.commands.append(command)
                    if hook is not None:
                        hook(self._socket)
                elif receiver.keeps:
                    kept += body[_PDV_HEADER:]
                if control & LAST and not control & COMMAND:
                    assert command is not None
                    self._stored(body[4], command, bytes(kept))
                    kept.clear()
            elif kind == PduType.ASSOCIATE_RQ:
                self._associated(decode(kind, body))
            elif kind == PduType.RELEASE_RQ:
                receiver.releases += 1
                self._socket.sendall(encode(ReleaseResponse()))
                return
            else:
                receiver.aborted.set()
                return

    def _associated(self, request: object) -> None:
        receiver = self._receiver
        assert isinstance(request, AssociateRequest)
        receiver.requests.append(request)
        if receiver.refusal is not None:
            self._socket.sendall(encode(receiver.refusal))
            return
        answers = []
        for each in request.contexts:
            syntax = receiver.accept(each)
            if syntax:
                self._syntaxes[each.id] = syntax
            answers.append(
                ContextAnswer(each.id, 0 if syntax else 4, syntax or "1.2.840.10008.1.2")
            )
        user = UserInformation(max_pdu_bytes=receiver.max_pdu_bytes, implementation_uid="2.25.1")
        accept = AssociateAccept(request.called_title, request.calling_title, tuple(answers), user)
        self._socket.sendall(encode(accept))

    def _stored(self, context_id: int, command: Command, data_set: bytes) -> None:
        receiver = self._receiver
        if receiver.keeps:
            receiver.received[command.sop_instance] = self._syntaxes[context_id], data_set
        self._socket.sendall(stored(context_id, command, receiver.answer(command)))


def stored(context_id: int, command: Command, status: int = 0) -> bytes:
    """Encode the response to a C-STORE-RQ."""
    response: dict[int, int | str | bytes] = {
        Element.AFFECTED_SOP_CLASS_UID: command.sop_class,
        Element.COMMAND_FIELD: CommandField.C_STORE | RESPONSE,
        Element.MESSAGE_ID_BEING_RESPONDED_TO: command.message_id,
        Element.DATA_SET_TYPE: NO_DATA_SET,
        Element.STATUS: status,
        Element.AFFECTED_SOP_INSTANCE_UID: command.sop_instance,
    }
    return b"".join(fragments(context_id, COMMAND, encode_command(response), 16384))


def frames(sock: socket.socket, *, whole: bool = True) -> Iterator[tuple[int, memoryview]]:
    """Read PDUs; each holds until the next. EOFError: the peer closed.

    Unless `whole`, what a data set's fragment says stays in the kernel, which forgets it
    there: a sender is then measured, not the copying of who receives.
    """
    return _whole(sock) if whole else _glimpses(sock)


def _glimpses(sock: socket.socket) -> Iterator[tuple[int, memoryview]]:
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    while True:
        have = _filled(sock, buffer, 0, _SHORTEST_PDU)
        kind, length = HEADER.unpack_from(buffer)
        end = HEADER.size + length
        if kind == PduType.DATA_TF:
            have = _filled(sock, buffer, have, HEADER.size + _PDV_HEADER)
        if kind == PduType.DATA_TF and not buffer[have - 1] & COMMAND:
            left = end - have
            while left:
                left -= _received(sock, buffer[have : have + left], _FORGET)
        else:
            have = _filled(sock, buffer, have, end)
        yield kind, buffer[HEADER.size : have]


def _filled(sock: socket.socket, buffer: memoryview, have: int, end: int) -> int:
    while have < end:
        have += _received(sock, buffer[have:end], socket.MSG_WAITALL)
    return have


def _received(sock: socket.socket, part: memoryview, flags: int) -> int:
    got = sock.recv_into(part, len(part), flags)
    if not got:
        raise EOFError
    return got


def _whole(sock: socket.socket) -> Iterator[tuple[int, memoryview]]:
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    start = end = 0
    while True:
        while end - start >= HEADER.size:
            kind, length = HEADER.unpack_from(buffer, start)
            after = start + HEADER.size + length
            if after > end:
                break
            yield kind, buffer[start + HEADER.size : after]
            start = after
        left = end - start
        if start and _BUFFER_BYTES - end < _BUFFER_BYTES // 4:
            buffer[:left] = bytes(buffer[start:end])
            start, end = 0, left
        got = sock.recv_into(buffer[end:])
        if not got:
            raise EOFError
        end += got


def reset(sock: socket.socket) -> None:
    """Close at once, by RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    raise EOFError
