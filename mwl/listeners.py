"""Listening sockets, opened before the fork: all ports are there, or one line says why not."""

import errno
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress

from mwl.config import Settings
from mwl.errors import ConfigError, Outage

_BACKLOG = 128


def needed(settings: Settings, roles: Sequence[str]) -> list[str]:
    """Name the sockets that roles listen on, by the settings."""
    tls = ["dicom.tls"] if "dicom" in roles and settings.dicom.tls.port else []
    return [*roles, *tls]


class Listeners:
    """The sockets that roles listen on, by the role's name; over TLS by `ROLE.tls`."""

    def __init__(self, settings: Settings, names: Sequence[str]) -> None:
        """Open them. Outage: a port is taken; ConfigError: no such address."""
        self._sockets: dict[str, socket.socket] = {}
        places = {
            "dicom": (settings.dicom.host, settings.dicom.port),
            "dicom.tls": (settings.dicom.host, settings.dicom.tls.port),
            "hl7": (settings.hl7.host, settings.hl7.port),
            "web": (settings.web.host, settings.web.port),
        }
        try:
            for name, (host, port) in places.items():
                if name in names:
                    self._sockets[name] = _open(name, host, port)
        except (ConfigError, Outage):
            self.close()
            raise
        if "web" in self._sockets:
            _reserve(self._sockets["web"])

    def address(self, name: str) -> tuple[str, int] | None:
        """Tell the host and port of a role, or of its TLS, if it listens here."""
        if name not in self._sockets:
            return None
        host, port = self._sockets[name].getsockname()[:2]
        return host, port

    def take(self, role: str) -> socket.socket:
        """In the role's process: keep its sockets, close the others'."""
        for name, each in self._sockets.items():
            if name.partition(".")[0] != role:
                each.close()
        return self._sockets[role]

    def over_tls(self, role: str) -> socket.socket | None:
        """Give the socket on which a role speaks TLS, if it does."""
        return self._sockets.get(f"{role}.tls")

    def close(self) -> None:
        for each in self._sockets.values():
            each.close()


def _open(name: str, host: str, port: int) -> socket.socket:
    role = name.partition(".")[0]
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"{role}.host: {host}: {error.strerror}") from None
    try:
        if sys.platform != "win32":  # there it would mean to steal a port in use
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        if role != "web":
            sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise _trouble(name, host, port, error) from None
    return sock


def _trouble(name: str, host: str, port: int, error: OSError) -> ConfigError | Outage:
    if error.errno == errno.EADDRINUSE:
        variable = f"MWL_{name.upper().replace('.', '__')}__PORT"
        return Outage(
            f"{name}.port: {host}:{port} is in use by another program: end that, "
            f"or set {name}.port ({variable})"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return ConfigError(f"{name.partition('.')[0]}.host: {host} is no address of this machine")
    return ConfigError(f"{name}.port: {host}:{port}: {error.strerror}")


def _reserve(sock: socket.socket) -> None:
    """Keep a port that is bound, not listened on, for granian's workers to listen on.

    They bind it again themselves, with SO_REUSEPORT on Linux. Set after our own bind it
    lets them, while that bind has still failed if somebody else was there.
    """
    if sys.platform == "linux":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        return
    with suppress(OSError):
        sock.close()
