"""Blocking sockets whose waits the kernel bounds, and connecting in words for people.

A socket with settimeout() asks poll() before each recv() and send(), and every change of the
time-out is one more system call; each of them gives the interpreter up to other threads and
has to win it back. With SO_RCVTIMEO and SO_SNDTIMEO a read is one call: of eight connections
that send orders, each spends a tenth less.
"""

import socket
from collections.abc import Callable
from contextlib import suppress
from struct import Struct
from time import monotonic
from typing import Protocol, TypeVar

from mwl.errors import Outage

_TIMEVAL = Struct("ll")  # seconds, microseconds; both 0: for ever
_LONGEST_S = 1e9
# A bound is set this much longer than asked for, and then does for those that are about as
# long: until a deadline each read has a little less time than the last.
_SLACK = 1.05
# A shorter bound that is still set does for the beginning of a long wait, which seldom lasts:
# inside a message the next piece is due soon, between messages it may rest.
_A_WHILE_S = 1.0

_KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}  # seconds, and how often

T = TypeVar("T")


def dial(host: str, port: int, wait_s: float) -> socket.socket:
    """Connect, for somebody who waits and wonders: Outage says why not, and what to look at."""
    place = f"{host}:{port}"
    try:
        connection = socket.create_connection((host, port), wait_s)
    except socket.gaierror:
        raise Outage(f"no machine is called {host}: check the host") from None
    except ConnectionRefusedError:
        raise Outage(f"nobody listens at {place}: connection refused") from None
    except TimeoutError:
        text = f"no answer from {place} within {wait_s:g} s: is it on, and does a firewall let us?"
        raise Outage(text) from None
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "that is no host name"
        raise Outage(f"{place} can't be reached: {why or error}") from None
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    keep_alive(connection)
    return connection


def keep_alive(connection: socket.socket) -> None:
    """Have the kernel ask a peer that rests whether it is there; a minute of nothing ends it.

    Firewalls, too, then don't forget a connection that is kept open for hours.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if hasattr(socket, name):  # elsewhere the system's own: two hours, mostly
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class Stream(Protocol):
    """What is read and written with bounds: a `TimedSocket`, or TLS over one."""

    def recv(self, size: int, within_s: float) -> bytes: ...

    def recv_into(self, buffer: memoryview, within_s: float) -> int: ...

    def recv_waiting(self, buffer: memoryview) -> int | None: ...

    def sendall(self, data: bytes | memoryview, within_s: float) -> None: ...

    def shutdown(self, how: int) -> None: ...

    def close(self) -> None: ...


class TimedSocket:
    """A connected socket that raises TimeoutError rather than wait for longer than it may.

    A wait may last a tenth longer than it was asked for.

    Not for several threads at once, but for `shutdown`.
    """

    def __init__(self, sock: socket.socket) -> None:
        """Take over `sock`."""
        sock.settimeout(None)
        self._socket = sock
        self._read_s: float | None = None  # as last set
        self._write_s: float | None = None

    def recv(self, size: int, within_s: float) -> bytes:
        """Read what is there, b"" at the end. OSError; TimeoutError: nothing came."""
        return self._read(lambda: self._socket.recv(size), within_s)

    def recv_into(self, buffer: memoryview, within_s: float) -> int:
        """Read what is there into `buffer`, 0 at the end. OSError, TimeoutError."""
        return self._read(lambda: self._socket.recv_into(buffer), within_s)

    def recv_waiting(self, buffer: memoryview) -> int | None:
        """Read what has come already, None if nothing has. OSError."""
        try:
            return self._socket.recv_into(buffer, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None

    def sendall(self, data: bytes | memoryview, within_s: float) -> None:
        """Write all of `data` within so many seconds. OSError, TimeoutError."""
        try:
            self._bound_writes(within_s)
            sent = self._socket.send(data)
            if sent == len(data):
                return
            deadline = monotonic() + within_s
            rest = memoryview(data)[sent:]
            while rest:
                self._bound_writes(deadline - monotonic())
                rest = rest[self._socket.send(rest) :]
        except BlockingIOError:
            raise TimeoutError from None

    def send_waiting(self, data: bytes) -> None:
        """Write what can be written without waiting; the rest is lost. OSError."""
        with suppress(BlockingIOError):
            self._socket.send(data, socket.MSG_DONTWAIT)

    def shutdown(self, how: int) -> None:
        """Shut one direction or both, from whatever thread. OSError: it is closed already."""
        self._socket.shutdown(how)

    def close(self) -> None:
        self._socket.close()

    def _read(self, read: Callable[[], T], within_s: float) -> T:
        began = monotonic()
        if self._read_s is not None and _A_WHILE_S <= self._read_s < within_s:
            with suppress(BlockingIOError):
                return read()
        left_s = within_s - (monotonic() - began)
        if not _does_for(self._read_s, left_s):
            self._read_s = self._set(socket.SO_RCVTIMEO, left_s)
        try:
            return read()
        except BlockingIOError:
            raise TimeoutError from None

    def _bound_writes(self, seconds: float) -> None:
        if not _does_for(self._write_s, seconds):
            self._write_s = self._set(socket.SO_SNDTIMEO, seconds)

    def _set(self, option: int, seconds: float) -> float:
        if seconds <= 0:
            raise TimeoutError
        bound_s = min(seconds * _SLACK, _LONGEST_S)
        micros = max(1, int(bound_s * 1_000_000))
        value = _TIMEVAL.pack(micros // 1_000_000, micros % 1_000_000)
        self._socket.setsockopt(socket.SOL_SOCKET, option, value)
        return bound_s


def _does_for(is_set: float | None, seconds: float) -> bool:
    return is_set is not None and 0 < seconds <= is_set <= seconds * _SLACK**2
