"""Send HL7 messages over MLLP, one at a time, and read their acknowledgements."""

import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hl7 import er7, mllp
from mwl import charsets
from mwl.errors import Outage, ProtocolError, Rejected

_CHUNK = 65_536  # bytes a read
_MAX_ANSWER_BYTES = 1024 * 1024
_MAX_STRAYS = 100  # answers to somebody else's questions before we give up


@dataclass(frozen=True, slots=True)
class Ack:
    """What a receiver answered: MSA-1 (table 0008), MSA-2, a text for a person, all of it."""

    code: str
    control_id: str
    text: str
    message: er7.Message

    @property
    def accepted(self) -> bool:
        return self.code in {"AA", "CA"}


def send(host: str, port: int, messages: Iterable[bytes], timeout_s: float) -> Iterator[Ack]:
    """Send messages over one connection and give the answer to each.

    The next message is sent when the answer to the last one has been taken. An answer
    belongs to a message by MSA-2; late ones to earlier messages are passed over.
    `timeout_s` bounds connecting, each sending, and each waiting for an answer. Raises
    Outage when the receiver can't be reached, or ends or says nothing; ProtocolError when
    what it says is no acknowledgement.
    """
    peer = f"{host}:{port}"
    try:
        sock = socket.create_connection((host, port), timeout_s)
    except OSError as error:
        raise Outage(f"{peer} can't be reached: {_why(error)}") from error
    with sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = _Answers(sock, peer)
        for message in messages:
            yield _exchange(sock, peer, answers, message, timeout_s)


def _exchange(
    sock: socket.socket, peer: str, answers: "_Answers", message: bytes, timeout_s: float
) -> Ack:
    header = er7.header(message)
    control_id = header.text("MSH-10") if header else ""
    sock.settimeout(timeout_s)
    try:
        sock.sendall(mllp.frame(message))
    except OSError as error:
        raise Outage(f"{peer} took no message: {_why(error)}") from error
    deadline = time.monotonic() + timeout_s
    for _ in range(_MAX_STRAYS):
        ack = _read_ack(answers.next(deadline), peer)
        # An empty MSA-2 answers something that the receiver couldn't read at all.
        if ack.control_id in {control_id, ""} or not control_id:
            return ack
    raise ProtocolError(f"{peer} answered other messages, not the one that was sent")


class _Answers:
    """The frames that come back on a connection."""

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self._sock = sock
        self._peer = peer
        self._framer = mllp.Framer(_MAX_ANSWER_BYTES)
        self._ready: list[bytes] = []

    def next(self, deadline: float) -> bytes:
        while not self._ready:
            data = self._read(deadline)
            try:
                self._ready = self._framer.feed(data) if data else self._framer.close()
            except mllp.FrameError as error:
                raise ProtocolError(f"{self._peer} sent {error}") from error
            if not data and not self._ready:
                raise Outage(f"{self._peer} closed the connection without an answer")
        return self._ready.pop(0)

    def _read(self, deadline: float) -> bytes:
        patience = deadline - time.monotonic()
        if patience > 0:
            self._sock.settimeout(patience)
            try:
                return self._sock.recv(_CHUNK)
            except TimeoutError:
                pass
            except OSError as error:
                raise Outage(f"{self._peer} gave no answer: {_why(error)}") from error
        raise Outage(f"{self._peer} gave no answer in time")


def _read_ack(raw: bytes, peer: str) -> Ack:
    header = er7.header(raw)
    declared = header.text("MSH-18") if header else ""
    try:
        decoded = charsets.decode(raw, (declared,))
        message = er7.Message.parse(decoded.text, decoded.encoding)
    except (Rejected, er7.ParseError) as error:
        raise ProtocolError(f"{peer} sent an answer that is no HL7 message: {error}") from error
    code = message.text("MSA-1")
    if not code:
        raise ProtocolError(f"{peer} sent an answer without MSA-1")
    # ERR-8, user message, came with v2.5; MSA-3 is older.
    text = message.whole("ERR-8") or message.whole("MSA-3")
    return Ack(code, message.text("MSA-2"), text if isinstance(text, str) else "", message)


def _why(error: OSError) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
