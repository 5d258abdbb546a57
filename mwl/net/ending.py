"""How an association or a connection ends: the last PDU, then PS3.8 state 13."""

from contextlib import suppress
from dataclasses import replace
from time import monotonic

from mwl.errors import ProtocolError
from mwl.net.codec import encode
from mwl.net.framing import ConnectionLost, ReadTimeout, Transport, WriteTimeout
from mwl.net.pdu import Abort, AbortReason, AbortSource, PduError, PduType

_BY_USER = Abort(AbortSource.SERVICE_USER, AbortReason.NOT_SPECIFIED)


class PeerAborted(ProtocolError):
    """The peer sent A-ABORT."""


def unexpected(kind: int) -> PduError:
    """Tell of a PDU that has no place in the state that it was met in."""
    return PduError(f"PDU of type {kind} where none can stand", AbortReason.UNEXPECTED_PDU)


def last_word(
    error: BaseException, *, is_requested: bool = True, is_stopped: bool = False
) -> Abort | None:
    """Choose the A-ABORT that an ending needs; None where nothing is to be said.

    `is_requested`: an A-ASSOCIATE-RQ has been read or sent; before, it is PS3.8 state 2.
    `is_stopped`: the connection was interrupted by ourselves.
    """
    by_provider = Abort(AbortSource.SERVICE_PROVIDER, AbortReason.NOT_SPECIFIED)
    match error:
        case PeerAborted() | WriteTimeout():
            return None  # PS3.8 AA-3; who doesn't read wouldn't read that either
        case ConnectionLost():
            return _BY_USER if is_stopped else None  # AA-1, AA-4
        case ReadTimeout():
            # AA-2 before the association: the ARTIM timer closes without a word.
            return by_provider if is_requested else None
        case PduError() if is_requested:
            return replace(by_provider, reason=error.reason)  # AA-8
        case ProtocolError():
            # AA-1 before the association. On it: the upper layer did its part, and what it
            # carried is refused by its user. PS3.8 9.3.8: the reason is then not significant.
            return _BY_USER
        case _:
            return by_provider


def end(
    transport: Transport,
    error: BaseException | None,
    *,
    is_requested: bool = True,
    is_stopped: bool = False,
) -> None:
    """Say the last word that `error` asks for, and close; without an error it is our will."""
    word = _BY_USER
    if error is not None:
        chosen = last_word(error, is_requested=is_requested, is_stopped=is_stopped)
        if chosen is None:
            transport.close()
            return
        word = chosen
    with suppress(ConnectionLost):
        transport.send(encode(word))
    is_sound = not isinstance(error, PduError) or error.reason is AbortReason.UNEXPECTED_PDU
    let_close(transport, is_sound=is_sound)


def let_close(transport: Transport, *, is_sound: bool = True) -> None:
    """Wait for the peer to close, then close (PS3.8 state 13, with its timer).

    What it still sends is passed over (AA-6), as closing on unread bytes would reset the
    connection, and the peer might lose our last PDU. A new A-ASSOCIATE-RQ and what is no
    PDU are answered by A-ABORT (AA-7); an A-ABORT ends the waiting (AA-2). Where it was no
    sound PDU that brought us here, what follows isn't read as PDUs any more.
    """
    deadline = monotonic() + transport.limits.close_timeout_s
    with suppress(ConnectionLost, ReadTimeout):
        while is_sound:
            try:
                kind, _ = transport.read(deadline - monotonic())
            except PduError as error:
                _abort(transport, error.reason)
                break
            if kind == PduType.ABORT:
                transport.close()
                return
            if kind == PduType.ASSOCIATE_RQ:
                _abort(transport, AbortReason.UNEXPECTED_PDU)
        transport.drain(deadline - monotonic())
    transport.close()


def _abort(transport: Transport, reason: AbortReason) -> None:
    transport.send(encode(Abort(AbortSource.SERVICE_PROVIDER, reason)))
