"""Contexts for servers and for clients, made from files, and made anew when those change."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Literal

from mwl.errors import ConfigError
from mwl.tls.certificates import expiry

ClientMode = Literal["none", "optional", "required"]

# RFC 9325 4.2, which PS3.15 B.12 refers to: forward secrecy and authenticated encryption
# only. Of TLS 1.3 OpenSSL offers nothing else anyway.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL:!aDSS:!PSK:!SRP"
# RFC 7919: a group that everybody may know, of the 2048 bits that B.13 asks for.
_DH_GROUP = Path(__file__).with_name("ffdhe2048.pem")
_MAX_FILE_BYTES = 4 * 1024 * 1024
_SOON = timedelta(days=30)

_Callers = tuple[ssl.SSLContext, ssl.SSLContext]  # by the host's name, by a rule

_MODES = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


@dataclass(frozen=True, slots=True)
class Files:
    """PEM files: our certificate and its key, and who signed those of our peers.

    None for what is not given. `table` names them in errors, as `dicom.tls`.
    """

    table: str
    certificate: Path | None = None
    key: Path | None = None
    key_password: str = field(default="", repr=False)
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Verifier:
    """How one peer that we call is known: by `rule`, or else by the name of its host."""

    context: ssl.SSLContext
    rule: str = ""


class Keys:
    """The contexts of one set of files. Threads may share it.

    Connections that are open keep what they were made with.
    """

    def __init__(self, files: Files, client: ClientMode = "none") -> None:
        """Read the files. ConfigError says which can't be used, and what to do."""
        self._files = files
        self._client = client
        self._lock = Lock()
        self._server, self._callers = self._made()

    def server(self) -> ssl.SSLContext:
        """Give the context for whoever connects to us now."""
        with self._lock:
            assert self._server is not None, "no certificate of ours"
            return self._server

    def verifier(self, rule: str = "") -> Verifier:
        """Give what a call to a peer is made with; `rule` says which certificate it has."""
        with self._lock:
            if self._callers is None:
                self._callers = self._calling()
            by_host, by_rule = self._callers
        return Verifier(by_rule if rule else by_host, rule)

    def reload(self) -> None:
        """Read the files again. ConfigError: what there was stays in use."""
        made = self._made()
        with self._lock:
            self._server, self._callers = made

    def concerns(self, now: datetime) -> Iterator[str]:
        """Say what a person should look at before it hurts: certificates that end."""
        for key in ("certificate", "ca"):
            path = getattr(self._files, key)
            if path is None:
                continue
            try:
                ends = expiry(_text(self._files.table, key, path))
            except (ConfigError, ValueError, IndexError, StopIteration):
                continue  # OpenSSL reads it, so it is odd, not broken
            where = f"{self._files.table}.{key}: {path}"
            if ends <= now:
                yield f"{where}: expired on {ends:%Y-%m-%d}: get a new one, then send SIGHUP"
            elif ends - now < _SOON:
                yield f"{where}: expires on {ends:%Y-%m-%d}: get a new one, then send SIGHUP"

    def _made(self) -> tuple[ssl.SSLContext | None, _Callers | None]:
        files = self._files
        server = None
        if files.certificate is not None:
            server = _bare(ssl.PROTOCOL_TLS_SERVER)
            server.load_dh_params(str(_DH_GROUP))
            _show(server, files)
            _trust(server, files)
            server.verify_mode = _MODES[self._client]
        # The system's authorities take long to read, and few have devices that need them.
        return server, self._calling() if files.ca is not None else None

    def _calling(self) -> _Callers:
        by_host, by_rule = (_calling(self._files) for _ in range(2))
        by_rule.check_hostname = False
        return by_host, by_rule


def _bare(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    # A device that signs for itself, or an authority below another, may stand in `ca`.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _calling(files: Files) -> ssl.SSLContext:
    context = _bare(ssl.PROTOCOL_TLS_CLIENT)
    if files.certificate is not None:
        _show(context, files)
    if files.ca is None:
        context.load_default_certs()
    _trust(context, files)
    return context


def _show(context: ssl.SSLContext, files: Files) -> None:
    """Let `context` show our certificate. ConfigError."""
    certificate, key = files.certificate, files.key
    assert certificate is not None
    _text(files.table, "certificate", certificate)
    if key is not None:
        _text(files.table, "key", key)
    try:
        # Without a password OpenSSL would ask the terminal for one.
        context.load_cert_chain(certificate, key, password=lambda: files.key_password)
    except ssl.SSLError as error:
        raise ConfigError(_unusable(files, error)) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{files.table}.certificate: {certificate}: {error}") from None


def _unusable(files: Files, error: ssl.SSLError) -> str:
    of_key = f"{files.table}.key: {files.key or files.certificate}"
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"{of_key}: is not the key of {files.certificate}: name the one that belongs to it"
    key = (files.key or files.certificate or Path()).read_text("latin-1")
    if "ENCRYPTED" in key:
        hint = "is wrong" if files.key_password else "is needed"
        return f"{of_key}: is encrypted: {files.table}.key_password {hint}"
    try:
        expiry((files.certificate or Path()).read_text("latin-1"))
    except (ValueError, IndexError, StopIteration):
        return (
            f"{files.table}.certificate: {files.certificate}: holds no certificate in PEM form: "
            "convert it (openssl x509 -inform DER)"
        )
    if "PRIVATE KEY" not in key:
        return f"{of_key}: holds no private key in PEM form: name the file that does"
    why = (error.reason or "OpenSSL gives no reason").replace("_", " ").lower()
    return f"{files.table}.certificate: {files.certificate}: can't be used: {why}"


def _trust(context: ssl.SSLContext, files: Files) -> None:
    """Let `context` believe who signed our peers' certificates. ConfigError."""
    if files.ca is None:
        return
    text = _text(files.table, "ca", files.ca)
    try:
        context.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        raise ConfigError(
            f"{files.table}.ca: {files.ca}: holds no certificate in PEM form: "
            "convert it (openssl x509 -inform DER)"
        ) from None


def _text(table: str, key: str, path: Path) -> str:
    """Read a PEM file, whatever people write around it. ConfigError."""
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{table}.{key}: {path}: can't be read: {error.strerror}: "
            "correct the path, or let this user read it"
        ) from None
    if len(content) > _MAX_FILE_BYTES:
        raise ConfigError(f"{table}.{key}: {path}: longer than {_MAX_FILE_BYTES} bytes: no PEM")
    return content.decode("ascii", "replace").replace("\ufffd", "?")
