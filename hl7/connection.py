"""One connection of an HL7 sender: read, handle, answer, until somebody ends it.

A connection carries any number of messages, however the network cuts them. Each goes to
`handle`, one after another, and its answer goes back before the next is looked at, so
answers are in order when a sender doesn't wait for them.

When `handle` returns None, or raises, the connection closes without an answer: the sender
then asks again, whereas it would move on after an AE or AR. An answer without a byte is
none, and the connection stays: the sender asked for none. The same end where the stream
can't be read on: half a message and silence, garbage without end. A message over the limit
would be over it again, for ever, with all others waiting behind it: it gets the answer of
`refuse`, then the connection closes. Nothing is logged that came out of a message.
"""

import contextlib
import socket
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from hl7 import mllp
from mwl.sockets import Stream
from mwl.tls import TlsClosed, TlsError, TlsSocket

log = structlog.get_logger(__name__)

_CHUNK = 65_536  # bytes a read
_LINGER_S = 1.0  # for a peer to read the last answer
_MOST_DRAINED = 16  # times the longest message
_ORDINARY = frozenset({"ended by the peer", "idle", "stopped", "made way"})


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a server: bytes, counts, and seconds."""

    max_message_bytes: int = 10 * 1024 * 1024
    max_connections: int = 256
    max_connections_per_address: int = 64
    idle_timeout_s: float = 3600.0  # between messages; engines keep connections for hours
    message_timeout_s: float = 30.0  # for the whole of a message, once its first byte came
    write_timeout_s: float = 30.0  # for the whole of an answer
    handshake_timeout_s: float = 15.0  # of TLS, from the connection on


@dataclass(frozen=True, slots=True)
class Peer:
    """Who sent a message, as far as the network knows."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


Handle = Callable[[bytes, Peer], bytes | None]
"""Takes one message, unframed, and gives its answer; None: none, close the connection.

An answer may be several messages (`mllp.join`), or b"" where none is asked for.
"""


class Connection:
    """One peer's connection: read, handle, answer, until somebody ends it."""

    def __init__(  # noqa: PLR0913 - made in one place
        self,
        stream: Stream,
        peer: Peer,
        handle: Handle,
        refuse: Handle,
        limits: Limits,
        stopping: threading.Event,
    ) -> None:
        self.peer = peer
        self.has_sent = False  # a whole message
        self._has_made_way = False
        self._sock = stream
        self._handle = handle
        self._refuse = refuse
        self._limits = limits
        self._stopping = stopping
        self._framer = mllp.Framer(limits.max_message_bytes)
        self._deadline: float | None = None  # of the message that has begun

    def finish(self) -> None:
        """Make the peer's next read the last: what was read is still answered."""
        self._shut(socket.SHUT_RD)

    def cut(self) -> None:
        self._shut(socket.SHUT_RDWR)

    def make_way(self) -> None:
        self._has_made_way = True
        self.cut()

    def _shut(self, how: int) -> None:
        with contextlib.suppress(OSError):  # it is closed already
            self._sock.shutdown(how)

    def serve(self) -> None:
        reason = "failed"
        try:
            reason = self._shake() or self._converse()
        except TimeoutError:
            reason = "write timeout"
        except OSError as error:
            reason = error.strerror or type(error).__name__
        finally:
            if self._has_made_way:
                reason = "made way"
            self._sock.close()
            tell = log.debug if reason in _ORDINARY else log.warning
            tell("mllp.closed", peer=str(self.peer), reason=reason, skipped=self._framer.skipped)

    def _shake(self) -> str | None:
        """Agree on TLS where it is spoken; give a reason to end the connection, or None."""
        if not isinstance(self._sock, TlsSocket):
            log.debug("mllp.connected", peer=str(self.peer))
            return None
        try:
            self._sock.handshake(self._limits.handshake_timeout_s)
        except TimeoutError:
            return "no TLS handshake in time"
        except TlsClosed:
            return "ended by the peer"
        except TlsError as error:
            return f"no TLS: {error.strerror}"
        shown = str(self._sock.peer or "none")
        log.debug("mllp.connected", peer=str(self.peer), certificate=shown)
        return None

    def _converse(self) -> str:
        """Answer messages until the end; give the reason of the end."""
        while True:
            try:
                data = self._read()
            except TimeoutError:
                return "half a message, then silence" if self._framer.pending else "idle"
            if not data:
                return self._end()
            try:
                messages = self._framer.feed(data)
            except mllp.TooLongError as error:
                return self._answer_all(error.complete) or self._turn_away(error)
            except mllp.FrameError as error:
                return self._answer_all(error.complete) or str(error)
            if (reason := self._answer_all(messages)) is not None:
                return reason
            if not self._framer.pending:
                self._deadline = None
            elif messages or self._deadline is None:
                self._deadline = time.monotonic() + self._limits.message_timeout_s
            messages.clear()  # who rests for hours shall not hold ten megabytes meanwhile

    def _read(self) -> bytes:
        patience = self._limits.idle_timeout_s
        if self._deadline is not None:
            patience = self._deadline - time.monotonic()
        return self._sock.recv(_CHUNK, patience)

    def _turn_away(self, error: mllp.TooLongError) -> str:
        """Answer a message that is too long, when its sender has come to listen."""
        answer = self._answer(error.beginning, self._refuse)
        if answer is None:
            return str(error)
        if not error.ended:
            self._drain(self._limits.message_timeout_s, until=mllp.FS)
        self._send(answer)
        # A close while bytes are unread would reset the connection, and the answer with it.
        self._shut(socket.SHUT_WR)
        self._drain(_LINGER_S)
        return str(error)

    def _drain(self, patience_s: float, until: bytes | None = None) -> None:
        """Read and forget, in bounds, until the stream ends, or `until` is in it."""
        deadline = time.monotonic() + patience_s
        left = _MOST_DRAINED * self._limits.max_message_bytes
        with contextlib.suppress(OSError):  # a time-out, too; the answer is tried all the same
            while left > 0 and (patience := deadline - time.monotonic()) > 0:
                data = self._sock.recv(_CHUNK, patience)
                if not data or (until is not None and until in data):
                    return
                left -= len(data)

    def _end(self) -> str:
        if self._stopping.is_set():
            return "stopped"  # it was we who ended the stream: what is left may be half a message
        pending = self._framer.pending
        messages = self._framer.close()
        if pending and not messages:
            return "half a message, then the end"
        return self._answer_all(messages) or "ended by the peer"

    def _answer_all(self, messages: list[bytes]) -> str | None:
        """Answer messages in order; give a reason to end the connection, or None."""
        for message in messages:
            self.has_sent = True
            answer = self._answer(message, self._handle)
            if answer is None:
                return "not answered"
            self._send(answer)
            if self._stopping.is_set():
                return "stopped"
        return None

    def _send(self, answer: bytes) -> None:
        if answer:
            self._sock.sendall(mllp.frame(answer), self._limits.write_timeout_s)

    def _answer(self, message: bytes, handle: Handle) -> bytes | None:
        try:
            return handle(message, self.peer)
        except Exception as error:
            # Not the error's text and no locals: a database's errors quote the values.
            place = traceback.extract_tb(error.__traceback__)[-1]
            log.error(  # noqa: TRY400
                "mllp.handle_failed",
                peer=str(self.peer),
                error=type(error).__name__,
                at=f"{place.filename}:{place.lineno}",
            )
            return None
