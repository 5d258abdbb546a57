"""Send HL7 messages over MLLP, one at a time, and read their acknowledgements.

What answers a message is asked for by the message itself (v2.5.1 2.9.2, 2.9.3):

- MSH-15 and MSH-16 empty, original mode: one answer, whichever code it has;
- otherwise an accept acknowledgement (CA, CE, CR) by MSH-15, and an application
  acknowledgement (AA, AE, AR) by MSH-16, both on this connection. After a CA the other is
  waited for where MSH-16 says AL; a receiver that sends it elsewhere, or never, has taken
  the message all the same. Where neither is asked for, nothing is waited for.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Self

from hl7 import er7, mllp
from mwl import charsets
from mwl.devices import Answer
from mwl.errors import Outage, ProtocolError, Rejected
from mwl.sockets import Stream
from mwl.tls import Verifier, connect

_CHUNK = 65_536  # bytes a read
_REACH_S = 5.0
_HANGS_UP_WITHIN_S = 0.3  # a receiver that doesn't want us
_COMPLAINS_WITHIN_S = 2.0  # a receiver that was told to answer faults alone
_MAX_ANSWER_BYTES = 1024 * 1024
_LONGEST_REST_S = 600.0  # probes keep a connection known to firewalls, but for some
_MAX_STRAYS = 100  # answers to somebody else's questions before we give up
_COMMIT_CODES: Final = frozenset({"CA", "CE", "CR"})  # MSA-1, table 0008
_ACCEPTED: Final = frozenset({"AA", "CA", ""})

Tls = Callable[[], Verifier]
"""Gives what a call over TLS is made with just now."""


@dataclass(frozen=True, slots=True)
class Ack:
    """What a receiver answered: MSA-1 (table 0008), MSA-2, a text for a person, all of it.

    `code` is empty where no answer was asked for, and none came.
    """

    code: str
    control_id: str
    text: str
    message: er7.Message
    raw: bytes = b""

    @property
    def accepted(self) -> bool:
        return self.code in _ACCEPTED


def reach(host: str, port: int, wait_s: float = _REACH_S, tls: Verifier | None = None) -> Answer:
    """See whether a receiver takes connections; send nothing, as a message would be acted on."""
    began = time.perf_counter()
    try:
        connection = connect(host, port, wait_s, tls)
    except Outage as error:
        return Answer(False, str(error))
    took = f"{(time.perf_counter() - began) * 1e3:.0f} ms"
    try:
        return _first_words(connection, f"{host}:{port}", f"{took}, TLS" if tls else took)
    finally:
        connection.close()


def _first_words(connection: Stream, place: str, took: str) -> Answer:
    """Wait a moment for what no receiver does: it hangs up, or speaks first."""
    try:
        said = connection.recv(_CHUNK, _HANGS_UP_WITHIN_S)
    except TimeoutError:
        return Answer(True, f"takes connections ({took}); nothing was sent")
    except OSError as error:
        return Answer(False, f"{place} took the connection and broke it: {error.strerror}")
    if said:
        return Answer(False, f"{place} speaks first, which no HL7 receiver does: check the port")
    return Answer(False, f"{place} took the connection and closed it: does it know our address?")


def send(
    host: str, port: int, messages: Iterable[bytes], timeout_s: float, tls: Tls | None = None
) -> Iterator[Ack]:
    """Send messages over one connection and give the answer to each.

    The next message is sent when the answer to the last one has been taken. Raises as
    `Connection.exchange` does.
    """
    with Connection(host, port, timeout_s, tls=tls) as connection:
        for message in messages:
            yield connection.exchange(message)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which answers a message asks for: its MSH-10, MSH-15 and MSH-16 (table 0155)."""

    control_id: str = ""
    accept: str = ""
    application: str = ""

    @classmethod
    def by(cls, message: bytes) -> "_Asked":
        header = er7.header(message)
        if header is None:
            return cls()
        return cls(*(header.text(f"MSH-{field}") for field in (10, 15, 16)))

    @property
    def wants_both(self) -> bool:
        return self.application == "AL"

    @property
    def complains_within_s(self) -> float | None:
        """Tell after how long silence means that it was taken; None: never."""
        if not self.accept and not self.application:
            return None
        if not {self.accept, self.application} <= {"NE", "ER", ""}:
            return None
        return _COMPLAINS_WITHIN_S if "ER" in {self.accept, self.application} else 0.0

    def is_answered_by(self, ack: Ack) -> bool:
        # An empty MSA-2 answers something that the receiver couldn't read at all.
        return ack.control_id in {self.control_id, ""} or not self.control_id


class _Stale(Exception):
    """A connection that was kept open is reset: the receiver was started anew since."""


class _Silence(Outage):
    """Nothing came in time."""


class Connection:
    """A connection to a receiver, opened when there is something to send, and kept open.

    Not for several threads at once. `timeout_s` bounds connecting, each sending, and each
    waiting for an answer. With `tls` it is one over TLS.
    """

    def __init__(self, host: str, port: int, timeout_s: float, *, tls: Tls | None = None) -> None:
        self._host, self._port = host, port
        self._peer = f"{host}:{port}"
        self._timeout_s = timeout_s
        self._tls = tls
        self._stream: Stream | None = None
        self._answers: _Answers | None = None
        self._used_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def open(self) -> bool:
        """Connect, unless we are; say whether we were. Raises Outage: it can't be reached."""
        if self._answers is not None:
            is_old = time.monotonic() - self._used_at > _LONGEST_REST_S
            if not is_old and self._answers.may_come():
                return True
            self.close()
        tls = self._tls() if self._tls is not None else None
        self._stream = connect(self._host, self._port, self._timeout_s, tls)
        self._answers = _Answers(self._stream, self._peer)
        self._used_at = time.monotonic()
        return False

    def close(self) -> None:
        """End the connection, if there is one."""
        if self._stream is not None:
            self._stream.close()
        self._stream = self._answers = None

    def exchange(self, message: bytes) -> Ack:
        """Send a message and give its answer.

        An answer belongs to a message by MSA-2; late ones to earlier messages are passed
        over. After any error the connection is closed. Raises Outage when the receiver
        can't be reached, or ends or says nothing; ProtocolError when what it says is no
        acknowledgement.
        """
        try:
            try:
                ack = self._attempt(message)
            except _Stale:
                self.close()
                ack = self._attempt(message)
        except BaseException:
            self.close()
            raise
        self._used_at = time.monotonic()
        return ack

    def _attempt(self, message: bytes) -> Ack:
        was_open = self.open()
        assert self._stream is not None
        asked = _Asked.by(message)
        has_taken = False
        try:
            self._stream.sendall(mllp.frame(message), self._timeout_s)
            has_taken = True
            return self._answer(message, asked)
        except OSError as error:
            if was_open and isinstance(error, ConnectionError):
                raise _Stale from error
            what = "gave no answer" if has_taken else "took no message"
            raise Outage(f"{self._peer} {what}: {_why(error)}") from error

    def _answer(self, message: bytes, asked: _Asked) -> Ack:
        silence_s = asked.complains_within_s
        if silence_s is None:
            return self._awaited(asked, self._timeout_s)
        try:
            return self._awaited(asked, min(silence_s, self._timeout_s))
        except _Silence:
            header = er7.header(message)
            assert header is not None
            return Ack("", asked.control_id, "no answer was asked for", header)

    def _awaited(self, asked: _Asked, wait_s: float) -> Ack:
        deadline = time.monotonic() + wait_s
        committed: Ack | None = None
        strays = 0
        assert self._answers is not None
        for _ in range(_MAX_STRAYS):
            try:
                ack = _read_ack(self._answers.next(deadline), self._peer)
            except (Outage, OSError) as error:
                if committed is not None:
                    return committed
                if strays and isinstance(error, _Silence):
                    raise _Silence(f"{error}: the MSA-2 of what came is another's") from error
                raise
            if not asked.is_answered_by(ack):
                strays += 1
                continue
            if ack.code != "CA" or not asked.wants_both:
                return ack
            committed = ack
        raise ProtocolError(f"{self._peer} answered other messages, not the one that was sent")


class _Answers:
    """The frames that come back on a connection."""

    def __init__(self, stream: Stream, peer: str) -> None:
        self._stream = stream
        self._peer = peer
        self._framer = mllp.Framer(_MAX_ANSWER_BYTES)
        self._ready: list[bytes] = []

    def may_come(self) -> bool:
        """Tell, without waiting, whether the other side has not ended the connection.

        What it has said meanwhile is a late answer.
        """
        buffer = memoryview(bytearray(_CHUNK))
        try:
            for _ in range(_MAX_STRAYS):
                count = self._stream.recv_waiting(buffer)
                if not count:
                    return count is None
                self._ready += self._framer.feed(bytes(buffer[:count]))
        except (OSError, mllp.FrameError):
            pass
        return False

    def next(self, deadline: float) -> bytes:
        """Give the next answer. Raises Outage, ProtocolError, OSError."""
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
            try:
                return self._stream.recv(_CHUNK, patience)
            except TimeoutError:
                pass
        raise _Silence(f"{self._peer} gave no answer in time")


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
