"""Listen for HL7 messages over MLLP: one thread a connection, blocking, 0 % when idle.

With keys a port speaks TLS and nothing else; the handshake is the connection's own, in its
thread and in bounded time. Who connects and sends no whole message keeps nobody out: at a
bound the oldest of those makes way.
"""

import selectors
import socket
import threading
import time
from collections import Counter

import structlog

from hl7.connection import Connection, Handle, Limits, Peer
from mwl.sockets import TimedSocket, keep_alive
from mwl.tls import Keys, TlsSocket

__all__ = ["Handle", "Limits", "MllpServer", "Peer", "listen"]

log = structlog.get_logger(__name__)

_ACCEPT_PAUSE_S = 1.0  # when the process is out of file descriptors or threads
_CUT_S = 1.0  # for connections to notice that they were cut


def listen(host: str, port: int, backlog: int = 128) -> socket.socket:
    """Open a listening socket; port 0 takes a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=backlog)


class MllpServer:
    """Serve MLLP on a listening socket, which stays the caller's to close."""

    def __init__(
        self,
        listener: socket.socket,
        handle: Handle,
        limits: Limits | None = None,
        *,
        refuse: Handle = lambda _beginning, _peer: None,
        keys: Keys | None = None,
    ) -> None:
        """Serve with `handle`; `refuse` is given the beginning of a message over the limit.

        With `keys` over TLS alone.
        """
        self._listener = listener
        self._handle = handle
        self._refuse = refuse
        self._limits = limits or Limits()
        self._keys = keys
        self._lock = threading.Lock()
        self._connections: dict[Connection, threading.Thread] = {}
        self._per_address: Counter[str] = Counter()
        self._stopping = threading.Event()
        self._wake, self._waker = socket.socketpair()
        self._acceptor = threading.Thread(target=self._accept, name="mllp-accept", daemon=True)

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def start(self) -> None:
        """Begin to accept connections, in a thread of its own."""
        # Several processes may wait on the same socket; the losers of a race must not block.
        self._listener.setblocking(False)
        self._acceptor.start()

    def stop(self, drain_s: float) -> None:
        """Stop accepting, let the messages in hand be answered, then close.

        What is not answered after `drain_s` seconds is cut off: its sender asks again.
        """
        deadline = time.monotonic() + drain_s
        self._stopping.set()
        self._waker.send(b"x")
        self._acceptor.join()
        for connection, _ in self._open_connections():
            connection.finish()
        self._join(deadline)
        for connection, _ in self._open_connections():
            log.warning("mllp.cut", peer=str(connection.peer))
            connection.cut()
        self._join(time.monotonic() + _CUT_S)
        self._wake.close()
        self._waker.close()

    def _open_connections(self) -> list[tuple[Connection, threading.Thread]]:
        with self._lock:
            return list(self._connections.items())

    def _join(self, deadline: float) -> None:
        for _, thread in self._open_connections():
            thread.join(max(0.0, deadline - time.monotonic()))

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while not self._stopping.is_set():
                selector.select()
                if self._stopping.is_set():
                    return
                try:
                    self._accept_one()
                except Exception:
                    # One connection at most is lost; with this thread all would be.
                    log.exception("mllp.accept_defect")
                    self._stopping.wait(_ACCEPT_PAUSE_S)

    def _accept_one(self) -> None:
        try:
            sock, address = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            log.warning("mllp.accept_failed", error=error.strerror or type(error).__name__)
            self._stopping.wait(_ACCEPT_PAUSE_S)
            return
        try:
            self._welcome(sock, Peer(address[0], address[1]))
        except Exception:
            sock.close()
            raise

    def _welcome(self, sock: socket.socket, peer: Peer) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        keep_alive(sock)
        plain = TimedSocket(sock)
        stream = plain if self._keys is None else TlsSocket(plain, self._keys.server())
        connection = Connection(
            stream, peer, self._handle, self._refuse, self._limits, self._stopping
        )
        thread = threading.Thread(
            target=self._serve, args=(connection,), name=f"mllp-{peer}", daemon=True
        )
        with self._lock:
            refusal = self._refusal(peer)
            if refusal is None:
                self._connections[connection] = thread
                self._per_address[peer.host] += 1
        if refusal is not None:
            log.warning("mllp.refused", peer=str(peer), reason=refusal)
            sock.close()
            return
        try:
            thread.start()
        except RuntimeError:
            log.warning("mllp.refused", peer=str(peer), reason="no more threads")
            self._forget(connection)
            sock.close()
            self._stopping.wait(_ACCEPT_PAUSE_S)

    def _refusal(self, peer: Peer) -> str | None:
        limits = self._limits
        if self._per_address[peer.host] >= limits.max_connections_per_address:
            if not self._make_way(peer.host):
                return "too many connections from this address"
        elif len(self._connections) >= limits.max_connections and not self._make_way(None):
            return "too many connections"
        return None

    def _make_way(self, host: str | None) -> bool:
        """End the oldest connection, of this address if given, that never sent a message."""
        for each in self._connections:
            if not each.has_sent and host in {None, each.peer.host}:
                log.warning("mllp.made_way", peer=str(each.peer))
                self._release(each)
                each.make_way()
                return True
        return False

    def _serve(self, connection: Connection) -> None:
        try:
            connection.serve()
        finally:
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        with self._lock:
            self._release(connection)

    def _release(self, connection: Connection) -> None:
        if self._connections.pop(connection, None) is None:
            return  # it has made way
        host = connection.peer.host
        self._per_address[host] -= 1
        if not self._per_address[host]:
            del self._per_address[host]
