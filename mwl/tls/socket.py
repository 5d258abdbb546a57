"""A socket over TLS whose waits are bounded as those of the socket below it are.

OpenSSL works in memory here, and never touches the descriptor: so SO_RCVTIMEO and
MSG_DONTWAIT do for TLS what they do without, one system call reads several records, and
another thread may shut the connection down while this one reads.
"""

import socket
import ssl
from contextlib import suppress
from time import monotonic

from mwl.sockets import TimedSocket
from mwl.tls.certificates import Shown, shown

_FIRST_READ_BYTES = 4 * 1024  # does for a handshake and small messages: most rest after those
_READ_BYTES = 64 * 1024  # four records (RFC 8446 5.1)
_WRITE_BYTES = 64 * 1024  # is encrypted at one go
_HANDSHAKE = 0x16  # ContentType of the first record that a client sends
_ALERT_S = 1.0  # for the peer to take our last word
_LINGER_S = 1.0  # and to close, so that it isn't lost

# What OpenSSL calls it, and what a person should know. Alerts are the peer's words to us.
_WORDS = {
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know who signed our certificate: give it our authority",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not accept our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not accept our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it finds our certificate expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "it finds our certificate revoked",
    "TLSV1_ALERT_ACCESS_DENIED": "it does not let our certificate in",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it asks for a certificate of ours",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it asks for a certificate, or has no cipher in common",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it showed no certificate",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it has no TLS version in common: we speak 1.2 and 1.3",
    "UNSUPPORTED_PROTOCOL": "it has no TLS version in common: we speak 1.2 and 1.3",
    "NO_SHARED_CIPHER": "it has no cipher in common: we take ECDHE and DHE with AES-GCM",
    "WRONG_VERSION_NUMBER": "it answers without TLS",
    "HTTP_REQUEST": "it speaks HTTP without TLS",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not valid",
    "UNEXPECTED_EOF_WHILE_READING": "it closed the connection",
}

# X509_V_ERR_…: why a certificate is not valid.
_VERIFY_WORDS = {
    9: "its certificate is not valid yet: compare the clocks",
    10: "its certificate has expired",
    18: "its certificate is signed by itself, and not among those that we trust (ca)",
    19: "its certificate was signed by an authority that we don't trust: add it to ca",
    20: "its certificate was signed by an authority that we don't trust: add it to ca",
    21: "its certificate was signed by an authority that we don't trust: add it to ca",
    26: "its certificate is not made for this purpose (extended key usage)",
    62: "its certificate is another host's: correct the host, or name its certificate",
    64: "its certificate is another host's: correct the host, or name its certificate",
}


class TlsError(OSError):
    """TLS went wrong; `strerror` says it for people."""

    def __init__(self, text: str) -> None:
        super().__init__(None, text)


class TlsClosed(TlsError):
    """The peer closed the connection before the handshake was done."""


class TlsSocket:
    """A TLS connection; as `TimedSocket`, once `handshake` was done.

    Not for several threads at once, but for `shutdown`. A peer that closes without
    close_notify has closed: DICOM and MLLP know by themselves whether it had ended.
    """

    def __init__(self, raw: TimedSocket, context: ssl.SSLContext, host: str | None = None) -> None:
        """Take over `raw`: as its client if `host` says whom we call, else as its server."""
        self._raw = raw
        self._is_server = host is None
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._in, self._out, server_side=self._is_server, server_hostname=host or None
        )
        self._space = memoryview(bytearray(_FIRST_READ_BYTES))
        self._has_heard = False  # a byte of what is spoken over it
        self.peer: Shown | None = None  # the certificate that it showed

    def handshake(self, within_s: float) -> None:
        """Agree on everything within so many seconds. TlsError, OSError, TimeoutError."""
        deadline = monotonic() + within_s
        try:
            first = self._is_server
            while not self._agreed():
                self._flush(deadline)
                data = self._fill(deadline - monotonic())
                if not data:
                    raise TlsClosed("it closed the connection")
                if first and data[0] != _HANDSHAKE:
                    raise TlsError("it speaks no TLS, and this port nothing else")
                first = False
                self._in.write(data)
            self._flush(deadline)
        except ssl.SSLError as error:
            self._last_word()
            raise TlsError(_words(error)) from None
        self.peer = shown(self._tls)

    def recv(self, size: int, within_s: float) -> bytes:
        """Read what is there, b"" at the end. OSError; TimeoutError: nothing came."""
        buffer = bytearray(size)
        count = self.recv_into(memoryview(buffer), within_s)
        return bytes(buffer[:count])

    def recv_into(self, buffer: memoryview, within_s: float) -> int:
        """Read what is there into `buffer`, 0 at the end. OSError, TimeoutError."""
        deadline = monotonic() + within_s
        while (count := self._decrypted(buffer)) is None:
            try:
                data = self._fill(deadline - monotonic())
            except ConnectionError as error:
                raise self._refused(error) from None
            if not data:
                return 0  # OpenSSL needn't know: it would let us write no more
            self._in.write(data)
        return count

    def recv_waiting(self, buffer: memoryview) -> int | None:
        """Read what has come already, None if nothing has. OSError."""
        count = self._decrypted(buffer)
        if count is None:
            came = self._raw.recv_waiting(self._space)
            if not came:
                return came
            # Once only: whoever sends records without content would keep us here.
            self._in.write(self._received(came))
            count = self._decrypted(buffer)
        return count

    def sendall(self, data: bytes | memoryview, within_s: float) -> None:
        """Write all of `data` within so many seconds. OSError, TimeoutError."""
        deadline = monotonic() + within_s
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._tls.write(rest[:_WRITE_BYTES]) :]
                self._flush(deadline)
        except ssl.SSLError as error:
            raise TlsError(_words(error)) from None
        except ConnectionError as error:
            raise self._refused(error) from None

    def shutdown(self, how: int) -> None:
        """Shut one direction or both, from whatever thread. OSError: it is closed already."""
        self._raw.shutdown(how)

    def close(self) -> None:
        """Say close_notify, if it can be said at once, and close."""
        with suppress(OSError, ValueError):  # an SSLError is an OSError
            with suppress(ssl.SSLWantReadError):  # the peer's: nobody waits for it
                self._tls.unwrap()
            self._raw.send_waiting(self._out.read())
        self._raw.close()

    def _agreed(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def _decrypted(self, buffer: memoryview) -> int | None:
        """Read what was received; None: more must come first. TlsError."""
        try:
            count: object = self._tls.read(len(buffer), buffer)  # with a buffer, a number
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:
            return 0  # close_notify
        except ssl.SSLError as error:
            with suppress(OSError):
                self._flush(monotonic() + _ALERT_S)
            raise TlsError(_words(error)) from None
        assert isinstance(count, int)
        self._has_heard = True
        return count

    def _refused(self, error: ConnectionError) -> OSError:
        """Say why the peer of a fresh connection has reset it: it may not have let us in.

        Of TLS 1.3 the handshake is over for the client before its certificate was looked at.
        """
        if self._is_server or self._has_heard:
            return error
        try:
            self.recv_waiting(memoryview(bytearray(1)))
        except TlsError as told:
            return told
        except OSError:
            pass
        return TlsError("it wants none of us: it may ask for a certificate, or not accept ours")

    def _fill(self, within_s: float) -> memoryview:
        return self._received(self._raw.recv_into(self._space, within_s))

    def _received(self, count: int) -> memoryview:
        """Give so many bytes of what was read; make room for more if there is more."""
        data = self._space[:count]
        if count == len(self._space) < _READ_BYTES:
            self._space = memoryview(bytearray(_READ_BYTES))
        return data

    def _flush(self, deadline: float) -> None:
        if self._out.pending:
            self._raw.sendall(self._out.read(), deadline - monotonic())

    def _last_word(self) -> None:
        """Send the alert that says why, and let the peer read it: it may have sent more."""
        with suppress(OSError):
            self._flush(monotonic() + _ALERT_S)
            self._raw.shutdown(socket.SHUT_WR)
            deadline = monotonic() + _LINGER_S
            while (left_s := deadline - monotonic()) > 0 and self._fill(left_s):
                pass


def _words(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        known = _VERIFY_WORDS.get(error.verify_code)
        return known or f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError):
        return "it closed the connection"
    reason = error.reason or ""
    return _WORDS.get(reason) or f"TLS failed: {reason.replace('_', ' ').lower() or 'no reason'}"
