"""A socket as a stream of PDUs, each bounded in length and in time.

One byte and silence holds a slot no longer than `pdu_timeout_s`: once a PDU's first byte
has come, the rest has one deadline that no further byte extends. A length is judged as
soon as the six bytes of the header are there, before anything is allocated for it.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from time import monotonic

from mwl.errors import ProtocolError
from mwl.net.codec import HEADER
from mwl.net.limits import Limits
from mwl.net.pdu import AbortReason, PduError, PduType
from mwl.sockets import Stream, TimedSocket
from mwl.tls import Shown, TlsClosed, TlsError, TlsSocket

Frame = tuple[int, memoryview]  # PDU type, variable field; the view holds until the next read

_FIRST_BUFFER_BYTES = 16 * 1024
_FIXED_BODY_BYTES = 4  # PS3.8 9.3.4, 9.3.6 to 9.3.8
_TLS = frozenset({0x15, 0x16})  # alert, handshake: where a PDU's type would be (RFC 8446 5.1)


class ConnectionLost(ProtocolError):
    """The peer closed or reset the connection: nothing more can be said to it."""


class ReadTimeout(ProtocolError):
    """The peer kept silent for too long."""


class Silence(ReadTimeout):
    """Nothing came, not a PDU's first byte: one may go on waiting."""


class WriteTimeout(ConnectionLost):
    """The peer doesn't take what we send; half a PDU may be on its way."""


class HandshakeFailed(ConnectionLost):
    """The peer and we don't come together over TLS."""


class Transport:
    """One transport connection. Not for several threads, but for `interrupt` and `cut`.

    `received_bytes` and `sent_bytes` count what has gone through it; any thread may look.
    """

    def __init__(self, sock: socket.socket | Stream, limits: Limits) -> None:
        self._socket = TimedSocket(sock) if isinstance(sock, socket.socket) else sock
        self.limits = limits
        self.received_bytes = self.sent_bytes = 0
        self._buffer = memoryview(bytearray(_FIRST_BUFFER_BYTES))
        self._start = self._end = 0  # what was received and not yet handed out
        self._bounds: dict[int, int] = {
            PduType.ASSOCIATE_RQ: limits.max_associate_bytes,
            PduType.ASSOCIATE_AC: limits.max_associate_bytes,
            PduType.ASSOCIATE_RJ: _FIXED_BODY_BYTES,
            PduType.DATA_TF: limits.max_receive_pdu_bytes,
            PduType.RELEASE_RQ: _FIXED_BODY_BYTES,
            PduType.RELEASE_RP: _FIXED_BODY_BYTES,
            PduType.ABORT: _FIXED_BODY_BYTES,
        }

    @property
    def is_tls(self) -> bool:
        return isinstance(self._socket, TlsSocket)

    @property
    def certificate(self) -> Shown | None:
        """The certificate that the peer has shown and that was verified, if any."""
        return self._socket.peer if isinstance(self._socket, TlsSocket) else None

    def secure(self, within_s: float) -> None:
        """Shake hands where it is TLS. HandshakeFailed, ConnectionLost."""
        if not isinstance(self._socket, TlsSocket):
            return
        try:
            self._socket.handshake(within_s)
        except TimeoutError:
            raise HandshakeFailed("no TLS handshake came to its end in time") from None
        except TlsClosed:
            raise ConnectionLost("the peer closed the connection") from None
        except TlsError as error:
            raise HandshakeFailed(error.strerror) from None
        except OSError as error:
            raise ConnectionLost(f"the connection broke: {error.strerror}") from None

    def read(self, wait_s: float, pdu_s: float | None = None) -> Frame:
        """Wait for the next PDU.

        Its first byte must come within `wait_s`, its last within `pdu_s` of the first;
        without `pdu_s` the whole within `wait_s`. ReadTimeout (Silence where nothing came),
        ConnectionLost, PduError.
        """
        begun = self._start != self._end
        deadline = monotonic() + (pdu_s if begun and pdu_s is not None else wait_s)
        while (frame := self.received()) is None:
            try:
                self._receive(deadline - monotonic())
            except ReadTimeout:
                if begun:
                    raise
                raise Silence("the peer kept silent for too long") from None
            if not begun:
                begun = True
                if pdu_s is not None:
                    deadline = monotonic() + pdu_s
        return frame

    def received(self) -> Frame | None:
        """Take the PDU that comes next, if it is here whole, without a look at the socket."""
        have = self._end - self._start
        if not have:
            self._start = self._end = 0
            return None
        kind = self._buffer[self._start]
        bound = self._bounds.get(kind)
        if bound is None:
            what = "TLS where none is spoken" if kind in _TLS else "PDU of unknown type"
            raise PduError(f"{what}: {kind:#04x}", AbortReason.UNRECOGNIZED_PDU)
        if have < HEADER.size:
            self._make_room(HEADER.size)
            return None
        _, length = HEADER.unpack_from(self._buffer, self._start)
        if length > bound:
            raise PduError(f"PDU of type {kind} with {length} bytes, over its limit")
        whole = HEADER.size + length
        if have < whole:
            self._make_room(whole)
            return None
        body = self._buffer[self._start + HEADER.size : self._start + whole]
        self._start += whole
        return kind, body

    def poll(self) -> Frame | None:
        """Return a PDU that is already here, or None at once."""
        frame = self.received()
        if frame is None and self._receive_waiting():
            frame = self.received()
        return frame

    def send(self, data: bytes | memoryview) -> None:
        """Write it all within `write_timeout_s`. WriteTimeout, ConnectionLost."""
        self.sent_bytes += len(data)
        try:
            self._socket.sendall(data, self.limits.write_timeout_s)
        except TimeoutError:
            raise WriteTimeout("the peer doesn't take what we send") from None
        except OSError as error:
            raise ConnectionLost(f"the connection broke: {error.strerror}") from None

    def drain(self, within_s: float) -> None:
        """Throw away what comes, until the peer has closed or so many seconds have passed."""
        deadline = monotonic() + within_s
        sink = self._buffer
        with suppress(OSError):  # reset or time-out: closed all the same
            while (left := deadline - monotonic()) > 0:
                if not self._socket.recv_into(sink, left):
                    break

    def shrink(self) -> None:
        """Give back the memory of the longest PDU, as nothing is to come for a while."""
        if self._start == self._end and len(self._buffer) > _FIRST_BUFFER_BYTES:
            self._buffer = memoryview(bytearray(_FIRST_BUFFER_BYTES))
            self._start = self._end = 0

    def interrupt(self) -> None:
        """Let a read that waits in another thread end as if the peer had closed."""
        with suppress(OSError):  # already gone
            self._socket.shutdown(socket.SHUT_RD)

    def cut(self) -> None:
        """End both directions at once, from whatever thread."""
        with suppress(OSError):  # already gone
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()

    def _make_room(self, size: int) -> None:
        """Let `size` bytes from the start fit: move what is there to the front, or grow."""
        if self._start + size <= len(self._buffer):
            return
        kept = self._end - self._start
        front = self._buffer
        if size > len(front):
            front = memoryview(bytearray(size))
        front[:kept] = self._buffer[self._start : self._end]
        self._buffer, self._start, self._end = front, 0, kept

    def _receive(self, timeout_s: float) -> None:
        try:
            count = self._socket.recv_into(self._buffer[self._end :], timeout_s)
        except TimeoutError:
            raise ReadTimeout("the peer kept silent for too long") from None
        except OSError as error:
            raise ConnectionLost(f"the connection broke: {error.strerror}") from None
        self._came(count)

    def _receive_waiting(self) -> bool:
        """Take what the peer has already sent; say whether there was any."""
        try:
            count = self._socket.recv_waiting(self._buffer[self._end :])
        except OSError as error:
            raise ConnectionLost(f"the connection broke: {error.strerror}") from None
        if count is None:
            return False
        self._came(count)
        return True

    def _came(self, count: int) -> None:
        if not count:
            raise ConnectionLost("the peer closed the connection")
        self._end += count
        self.received_bytes += count
