"""Connecting to a peer, plain or over TLS: whoever waits is told in words what is wrong."""

from mwl.errors import Outage
from mwl.sockets import Stream, TimedSocket, dial
from mwl.tls.certificates import matches
from mwl.tls.contexts import Verifier
from mwl.tls.socket import TlsClosed, TlsError, TlsSocket


def connect(host: str, port: int, wait_s: float, tls: Verifier | None = None) -> Stream:
    """Connect within `wait_s`, and shake hands within as long again. Outage says why not.

    With `tls` (`Keys.verifier`) the peer's certificate was signed by whom we trust, and is the
    one that its rule asks for, or without a rule one of `host`.
    """
    raw = TimedSocket(dial(host, port, wait_s))
    if tls is None:
        return raw
    stream = TlsSocket(raw, tls.context, host)
    try:
        _shake(stream, f"{host}:{port}", wait_s)
        _verify(stream, tls.rule)
    except Outage:
        stream.close()
        raise
    return stream


def _shake(stream: TlsSocket, place: str, wait_s: float) -> None:
    try:
        stream.handshake(wait_s)
    except TimeoutError:
        text = f"{place} takes connections, but no TLS handshake within {wait_s:g} s"
        raise Outage(f"{text}: does it speak TLS there?") from None
    except (TlsClosed, ConnectionError):
        raise Outage(f"{place} closed the connection: does it speak TLS there?") from None
    except TlsError as error:
        raise Outage(f"{place} and we don't come together over TLS: {error.strerror}") from None
    except OSError as error:
        raise Outage(f"{place} broke the connection off: {error.strerror}") from None


def _verify(stream: TlsSocket, rule: str) -> None:
    shown = stream.peer
    if rule and (shown is None or not matches(rule, shown)):
        raise Outage(f"its certificate is that of {shown}, not {rule}, as we know it")
