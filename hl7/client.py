"""Send HL7 messages over MLLP, one at a time, and read their acknowledgements."""

import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from hl7 import er7, mllp
from mwl import charsets
from mwl.devices import Answer
from mwl.errors import Outage, ProtocolError, Rejected
from mwl.sockets import dial

_CHUNK = 65_536  # bytes a read
_REACH_S = 5.0
_HANGS_UP_WITHIN_S = 0.3  # a receiver that doesn't want us
_MAX_ANSWER_BYTES = 1024 * 1024
_LONGEST_REST_S = 60.0  # then a firewall may have forgotten the connection
_MAX_STRAYS = 100  # answers to somebody else's questions before we give up


@dataclass(frozen=True, slots=True)
class Ack:
    """What a receiver answered: MSA-1 (table 0008), MSA-2, a text for a person, all of it."""

    code: str
    control_id: str
    text: str
    message: er7.Message
    raw: bytes = b""

    @property
    def accepted(self) -> bool:
        return self.code in {"AA", "CA"}


def reach(host: str, port: int, wait_s: float = _REACH_S) -> Answer:
    """See whether a receiver takes connections; send nothing, as a message would be acted on."""
    began = time.perf_counter()
    try:
        connection = dial(host, port, wait_s)
    except Outage as error:
        return Answer(False, str(error))
    took = f"{(time.perf_counter() - began) * 1e3:.0f} ms"
    with connection:
        return _first_words(connection, f"{host}:{port}", took)


def _first_words(connection: socket.socket, place: str, took: str) -> Answer:
    """Wait a moment for what no receiver does: it hangs up, or speaks first."""
    connection.settimeout(_HANGS_UP_WITHIN_S)
    try:
        said = connection.recv(_CHUNK)
    except TimeoutError:
        return Answer(True, f"takes connections ({took}); nothing was sent")
    except OSError as error:
        return Answer(False, f"{place} took the connection and broke it: {error.strerror}")
    if said:
        return Answer(False, f"{place} speaks first, which no HL7 receiver does: check the port")
    return Answer(False, f"{place} took the connection and closed it: does it know our address?")


def send(host: str, port: int, messages: Iterable[bytes], timeout_s: float) -> Iterator[Ack]:
    """Send messages over one connection and give the answer to each.

    The next message is sent when the answer to the last one has been taken. Raises as
    `Connection.exchange` does.
    """
    with Connection(host, port, timeout_s) as connection:
        for message in messages:
            yield connection.exchange(message)


class Connection:
    """A connection to a receiver, opened when there is something to send, and kept open.

    Not for several threads at once. `timeout_s` bounds connecting, each sending, and each
    waiting for an answer.
    """

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self._address = (host, port)
        self._peer = f"{host}:{port}"
        self._timeout_s = timeout_s
        self._sock: socket.socket | None = None
        self._answers: _Answers | None = None
        self._used_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def open(self) -> None:
        """Connect, unless we are. Raises Outage when the receiver can't be reached."""
        is_old = time.monotonic() - self._used_at > _LONGEST_REST_S
        if self._sock is not None and (is_old or _has_ended(self._sock)):
            self.close()
        if self._sock is not None:
            return
        try:
            self._sock = socket.create_connection(self._address, self._timeout_s)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            self.close()
            raise Outage(f"{self._peer} can't be reached: {_why(error)}") from error
        self._answers = _Answers(self._sock, self._peer)
        self._used_at = time.monotonic()

    def close(self) -> None:
        """End the connection, if there is one."""
        if self._sock is not None:
            self._sock.close()
        self._sock = self._answers = None

    def exchange(self, message: bytes) -> Ack:
        """Send a message and give its answer.

        An answer belongs to a message by MSA-2; late ones to earlier messages are passed
        over. After any error the connection is closed. Raises Outage when the receiver
        can't be reached, or ends or says nothing; ProtocolError when what it says is no
        acknowledgement.
        """
        try:
            ack = self._attempt(message)
        except BaseException:
            self.close()
            raise
        self._used_at = time.monotonic()
        return ack

    def _attempt(self, message: bytes) -> Ack:
        self.open()
        assert self._sock is not None
        assert self._answers is not None
        header = er7.header(message)
        control_id = header.text("MSH-10") if header else ""
        self._sock.settimeout(self._timeout_s)
        try:
            self._sock.sendall(mllp.frame(message))
        except OSError as error:
            raise Outage(f"{self._peer} took no message: {_why(error)}") from error
        deadline = time.monotonic() + self._timeout_s
        for _ in range(_MAX_STRAYS):
            ack = _read_ack(self._answers.next(deadline), self._peer)
            # An empty MSA-2 answers something that the receiver couldn't read at all.
            if ack.control_id in {control_id, ""} or not control_id:
                return ack
        raise ProtocolError(f"{self._peer} answered other messages, not the one that was sent")


def _has_ended(sock: socket.socket) -> bool:
    """Tell whether the other side has ended a connection, without waiting."""
    sock.setblocking(False)
    try:
        return sock.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


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
    said = text if isinstance(text, str) else ""
    return Ack(code, message.text("MSA-2"), said, message, raw)


def _why(error: OSError) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
