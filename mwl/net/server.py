"""The listening side: one thread that accepts, one thread for each association.

Several processes may share a port, each with a server of its own: over one listening
socket made before the fork, or each over one with `reuse_port`.
"""

import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from selectors import EVENT_READ, DefaultSelector
from threading import Condition, Event, Thread
from time import monotonic

import structlog

from mwl.net.acceptor import Acceptor, Connection
from mwl.net.admission import Admit
from mwl.net.framing import Transport
from mwl.net.limits import DEFAULTS, Limits
from mwl.net.negotiation import Supported
from mwl.net.options import NONE
from mwl.net.service import Service
from mwl.net.threads import ParkedThreads
from mwl.sockets import TimedSocket
from mwl.tls import Keys, TlsSocket

log = structlog.get_logger(__name__)

_REST_S = 2.0  # who has said nothing for so long while we end is at nothing that would end
_LAST_WORDS_S = 1.0  # for peers to close after our A-ABORT, when we are about to end
_ACCEPT_PAUSE_S = 0.1  # when the system has no descriptor left for a connection


@dataclass(frozen=True, slots=True)
class Live:
    """One connection that is being served; titles are empty until its request was read.

    `number` is this server's own and is never used again. `contexts` are the accepted ones,
    each an abstract and a transfer syntax. `operation` is what is being done, such as
    "C-STORE", "" between operations; `messages` is how many have come.
    """

    number: int
    address: str
    calling: str
    called: str
    since: datetime
    contexts: tuple[tuple[str, str], ...] = ()
    operation: str = ""
    received_bytes: int = 0
    sent_bytes: int = 0
    messages: int = 0
    tls: bool = False


def listen(
    host: str, port: int, *, limits: Limits = DEFAULTS, reuse_port: bool = False
) -> socket.socket:
    """Open a listening socket; port 0 takes a free one. OSError: it can't be had."""
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    # create_server sets SO_REUSEADDR where that doesn't mean to steal a port in use.
    return socket.create_server(
        address, family=family, backlog=limits.max_backlog_connections, reuse_port=reuse_port
    )


@dataclass(frozen=True, slots=True)
class TlsListener:
    """A socket that is listened on, and the keys for whoever connects to it."""

    listener: socket.socket
    keys: Keys


class AssociationServer:
    """Accept associations on a listening socket and serve them, a thread each.

    `services` are asked by the SOP class of a presentation context. `admit` decides on
    (called title, calling title, IP address) in the connection's thread; titles come
    without padding, blank ones as "". An `Outage` that it raises is a transient refusal.
    `address` is the host and port that are listened on. With `tls` it listens on a second
    socket, whose connections begin by a handshake in their own threads.
    """

    def __init__(
        self,
        listener: socket.socket,
        services: Iterable[Service],
        *,
        admit: Admit,
        limits: Limits = DEFAULTS,
        tls: TlsListener | None = None,
    ) -> None:
        self.address: tuple[str, int] = listener.getsockname()[:2]
        self._listeners: dict[socket.socket, Keys | None] = {listener: None}
        if tls is not None:
            self._listeners[tls.listener] = tls.keys
        self._limits = limits
        by_class = _by_sop_class(services)
        self._acceptor = Acceptor(by_class, _supported(by_class), admit, limits)
        self._threads = ParkedThreads(self._serve, limits.max_parked_threads, "association")
        self._accepting = Thread(target=self._accept_all, name="accept", daemon=True)
        self._changed = Condition()  # guards the three below
        self._connections: dict[Connection, int] = {}  # to their numbers, in this order
        self._numbers = count(1)
        self._per_address: Counter[str] = Counter()
        self._stopping = Event()
        self._wake, self._waker = socket.socketpair()

    def start(self) -> None:
        """Begin to accept, in a thread. After any fork."""
        self._accepting.start()

    def live(self) -> tuple[Live, ...]:
        """List what is being served, the oldest first."""
        with self._changed:
            connections = tuple(self._connections.items())
        return tuple(_live(number, each) for each, number in connections)

    def abort(self, number: int) -> None:
        """End the connection that `live` tells with this number, by A-ABORT where it can hear.

        Asked again, it is cut off: busy in a service, or stuck on a peer that doesn't read.
        """
        with self._changed:
            found = [each for each, its in self._connections.items() if its == number]
        for connection in found:
            if connection.stopped:
                connection.transport.cut()
            else:
                connection.stop()

    def stop(self, drain_s: float) -> None:
        """Accept no more, give associations `drain_s` to end, abort the rest. Once is enough.

        Those that rest are aborted after two seconds: a scanner may hold one for hours, and
        meanwhile nobody else can connect.
        """
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._waker.send(b"\0")
        self._accepting.join()
        for listener in self._listeners:
            listener.close()
        self._threads.close()
        if not self._come_to_an_end(drain_s):
            for connection in self._snapshot():
                connection.stop()
            if not self._drained(min(_LAST_WORDS_S, self._limits.close_timeout_s)):
                # Busy in a service, or stuck on a peer that doesn't read.
                for connection in self._snapshot():
                    connection.transport.cut()
        self._wake.close()
        self._waker.close()

    def _come_to_an_end(self, drain_s: float) -> bool:
        """Wait for all connections to end, and abort those that rest; say whether all have."""
        deadline = monotonic() + drain_s
        before: dict[Connection, int] = {}
        while (left := deadline - monotonic()) > 0:
            received = {each: each.transport.received_bytes for each in self._snapshot()}
            for connection, bytes_now in received.items():
                if bytes_now == before.get(connection) and connection.rests:
                    connection.stop()
            before = received
            if self._drained(min(_REST_S, left)):
                return True
        return self._drained(0)

    def _snapshot(self) -> tuple[Connection, ...]:
        with self._changed:
            return tuple(self._connections)

    def _drained(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._connections, timeout_s)

    # --- accepting

    def _accept_all(self) -> None:
        # Another process may be quicker to accept what woke this one.
        with DefaultSelector() as selector:
            for listener, keys in self._listeners.items():
                listener.setblocking(False)
                selector.register(listener, EVENT_READ, (listener, keys))
            selector.register(self._wake, EVENT_READ)
            while not self._stopping.is_set():
                for ready, _ in selector.select():
                    if ready.data is not None:
                        self._accept(*ready.data)

    def _accept(self, listener: socket.socket, keys: Keys | None) -> None:
        try:
            self._accept_one(listener, keys)
        except Exception:
            # One connection at most is lost; with this thread all would be.
            log.exception("association.accept_defect")
            self._stopping.wait(_ACCEPT_PAUSE_S)

    def _accept_one(self, listener: socket.socket, keys: Keys | None) -> None:
        try:
            sock, peer = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            # EMFILE and its like: the connection stays in the backlog, so don't spin.
            log.critical("association.accept_failed", error=error.strerror)
            self._stopping.wait(_ACCEPT_PAUSE_S)
            return
        try:
            connection = self._admit(sock, peer[0], keys)
        except Exception:
            sock.close()
            raise
        if connection is None:
            sock.close()
            return
        try:
            self._threads.run(connection)
        except RuntimeError:
            log.critical("association.no_thread")
            connection.transport.close()
            self._forget(connection)

    def _admit(self, sock: socket.socket, address: str, keys: Keys | None) -> Connection | None:
        """Register a connection; None: there are too many even to refuse it politely."""
        limits = self._limits
        with self._changed:
            refused = sum(each.over_limit for each in self._connections)
            over_limit = not self._has_room(refused, address)
            if over_limit and refused >= limits.max_refusals:
                log.warning("association.refused_unheard", address=address)
                return None
            # An answer must not wait for the peer's delayed acknowledgement (Nagle).
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = sock if keys is None else TlsSocket(TimedSocket(sock), keys.server())
            transport = Transport(stream, limits)
            connection = Connection(transport, address, datetime.now(UTC), over_limit)
            self._connections[connection] = next(self._numbers)
            self._per_address[address] += not over_limit
            return connection

    def _has_room(self, refused: int, address: str) -> bool:
        """Say whether one more may be served, if need be in place of one that says nothing."""
        limits = self._limits
        if self._per_address[address] >= limits.max_associations_per_address:
            return self._make_way(address)
        if len(self._connections) - refused >= limits.max_associations:
            return self._make_way(None)
        return True

    def _make_way(self, address: str | None) -> bool:
        """End the oldest connection, of this address if given, that hasn't asked for anything.

        A peer that means to associate says so at once: who opens connections and is silent on
        them keeps nobody else out.
        """
        for each in self._connections:
            if not (each.heard or each.over_limit) and address in {None, each.address}:
                log.warning("association.made_way", address=each.address)
                each.over_limit = True
                self._per_address[each.address] -= 1
                each.transport.cut()
                return True
        return False

    def _serve(self, connection: Connection) -> None:
        try:
            self._acceptor.serve(connection)
        finally:
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        with self._changed:
            self._connections.pop(connection, None)
            self._per_address[connection.address] -= not connection.over_limit
            if not self._per_address[connection.address]:
                del self._per_address[connection.address]
            self._changed.notify_all()


def _live(number: int, connection: Connection) -> Live:
    transport, association = connection.transport, connection.association
    live = Live(
        number,
        connection.address,
        "",
        "",
        connection.since,
        tls=transport.is_tls,
        received_bytes=transport.received_bytes,
        sent_bytes=transport.sent_bytes,
    )
    if association is None:
        return live
    contexts = association.contexts.values()
    return replace(
        live,
        calling=association.calling_title,
        called=association.called_title,
        contexts=tuple((each.abstract_syntax, each.transfer_syntax) for each in contexts),
        operation=association.operation,
        messages=association.messages,
    )


def _by_sop_class(services: Iterable[Service]) -> dict[str, Service]:
    by_class: dict[str, Service] = {}
    for service in services:
        for uid in service.abstract_syntaxes:
            if uid in by_class:
                raise ValueError(f"two services for SOP class {uid}")
            by_class[uid] = service
    return by_class


def _supported(by_class: Mapping[str, Service]) -> dict[str, Supported]:
    invoked: dict[str, tuple[str, ...]] = {}
    for service in by_class.values():
        invoked |= _invokes(service)
    supported = {
        uid: Supported(syntaxes, requestor_may_be_scu=False, requestor_may_be_scp=True)
        for uid, syntaxes in invoked.items()
    }
    for uid, service in by_class.items():
        supported[uid] = Supported(
            service.transfer_syntaxes,
            requestor_may_be_scp=uid in invoked,
            theirs_first=uid in getattr(service, "theirs_first", ()),
            invokes=bool(_invokes(service)),
            options=getattr(service, "options", NONE),
        )
    return supported


def _invokes(service: Service) -> Mapping[str, tuple[str, ...]]:
    invokes: Mapping[str, tuple[str, ...]] = getattr(service, "invokes", {})
    return invokes
