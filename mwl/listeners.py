"""Listening sockets, opened before the fork: all ports are there, or one line says why not."""

import errno
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from mwl.config import Settings, is_loopback
from mwl.errors import ConfigError, Outage

_BACKLOG = 128
_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - they are recognised, not listened on
FURTHER_HL7: Final = "hl7.listener."  # before the name of an [[hl7.listener]]


class Place(NamedTuple):
    """Where a socket listens, and the settings that say so."""

    host: str
    port: int
    table: str  # `dicom`, `dicom.tls`, `[[hl7.listener]] cardiology`
    host_key: str
    variable: str = ""  # that overrides the port, if one can

    @property
    def port_key(self) -> str:
        return _key(self.table, "port")

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def _key(table: str, key: str) -> str:
    return f"{table}: {key}" if table.startswith("[[") else f"{table}.{key}"


def places(settings: Settings) -> dict[str, Place]:
    """Give every socket that the settings name, by its name: `ROLE`, or `ROLE.` and what for."""
    dicom, hl7, web = settings.dicom, settings.hl7, settings.web
    found = {
        "dicom": (dicom.host, dicom.port),
        "dicom.tls": (dicom.host, dicom.tls.port),
        "hl7": (hl7.host, hl7.port),
        "hl7.tls": (hl7.host, hl7.tls.port),
        "web": (web.host, web.port),
    }
    for without_tls in (name for name in ("dicom.tls", "hl7.tls") if not found[name][1]):
        del found[without_tls]
    given = {name: _of_role(name, host, port) for name, (host, port) in found.items()}
    for each in hl7.listener:
        table = f"[[hl7.listener]] {each.name}"
        place = Place(each.host, each.port, table, _key(table, "host"))
        given[f"{FURTHER_HL7}{each.name}"] = place
    return given


def _of_role(name: str, host: str, port: int) -> Place:
    variable = f"MWL_{name.upper().replace('.', '__')}__PORT"
    return Place(host, port, name, f"{name.partition('.')[0]}.host", variable)


def doubled(place: Place, others: Iterable[Place]) -> str:
    """Say which of `others` names the same port; "": none."""
    for other in others:
        same_host = place.host == other.host or not _EVERYWHERE.isdisjoint((place.host, other.host))
        if place.port and place.port == other.port and same_host:
            return f"{place} is that of {other.port_key} too: set another"
    return ""


def own_place(settings: Settings, host: str, port: int) -> Place | None:
    """Tell which of our own sockets a message would come in on that is sent there; None: none."""
    for place in places(settings).values():
        everywhere = place.host in _EVERYWHERE
        same_host = host == place.host or (is_loopback(host) and is_loopback(place.host))
        if place.port == port and (same_host or (everywhere and is_loopback(host))):
            return place
    return None


def needed(settings: Settings, roles: Sequence[str]) -> list[str]:
    """Name the sockets that roles listen on, by the settings."""
    return [name for name in places(settings) if _role(name) in roles]


class Listeners:
    """The sockets that roles listen on, by their names; see `places`."""

    def __init__(self, settings: Settings, names: Sequence[str]) -> None:
        """Open them. Outage: a port is taken; ConfigError: no such address."""
        self._sockets: dict[str, socket.socket] = {}
        asked = {name: each for name, each in places(settings).items() if name in names}
        try:
            for name, place in asked.items():
                ours = [asked[other] for other in self._sockets]
                self._sockets[name] = _open(name, place, ours)
        except (ConfigError, Outage):
            self.close()
            raise
        if "web" in self._sockets:
            _reserve(self._sockets["web"])

    def address(self, name: str) -> tuple[str, int] | None:
        """Tell where a socket listens, if there is one of that name here."""
        if name not in self._sockets:
            return None
        host, port = self._sockets[name].getsockname()[:2]
        return host, port

    def take(self, role: str) -> socket.socket:
        """In the role's process: keep its sockets, close the others'."""
        for name, each in self._sockets.items():
            if _role(name) != role:
                each.close()
        return self._sockets[role]

    def over_tls(self, role: str) -> socket.socket | None:
        """Give the socket on which a role speaks TLS beside its plain one, if it does."""
        return self._sockets.get(f"{role}.tls")

    def further(self) -> Mapping[str, socket.socket]:
        """Give the sockets of the [[hl7.listener]] tables, by those tables' names."""
        return {
            name.removeprefix(FURTHER_HL7): each
            for name, each in self._sockets.items()
            if name.startswith(FURTHER_HL7)
        }

    def close(self) -> None:
        for each in self._sockets.values():
            each.close()


def _role(name: str) -> str:
    return name.partition(".")[0]


def _open(name: str, place: Place, ours: Sequence[Place]) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"{place.host_key}: {place.host}: {error.strerror}") from None
    try:
        if sys.platform != "win32":  # there it would mean to steal a port in use
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        if name != "web":
            sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise _trouble(place, error, ours) from None
    return sock


def _trouble(place: Place, error: OSError, ours: Sequence[Place]) -> ConfigError | Outage:
    if error.errno == errno.EADDRINUSE:
        if twice := doubled(place, ours):
            return ConfigError(f"{place.port_key}: {twice}")
        hint = f" ({place.variable})" if place.variable else ""
        return Outage(
            f"{place.port_key}: {place} is in use by another program: end that, "
            f"or set {place.port_key}{hint}"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return ConfigError(f"{place.host_key}: {place.host} is no address of this machine")
    return ConfigError(f"{place.port_key}: {place}: {error.strerror}")


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
