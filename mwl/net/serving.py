"""Requests of a peer, each handed to the service of its presentation context.

A thread works here for as long as the peer's association lives. A service that raises ends
this association and no other.
"""

from collections.abc import Mapping

from mwl.net.association import Association, Choose
from mwl.net.dimse import Command, Context, Message
from mwl.net.service import Service
from mwl.net.sinks import Drain, Sink
from mwl.net.status import (
    NO_SUCH_SOP_CLASS,
    REFUSED_SOP_CLASS_NOT_SUPPORTED,
    UNRECOGNIZED_OPERATION,
)


def serve(association: Association, services: Mapping[str, Service]) -> None:
    """Serve until the peer releases, and answer its release.

    PeerAborted, PduError, ProtocolError, ReadTimeout, ConnectionLost, and whatever a
    service raises.
    """
    try:
        while (message := association.next_request()) is not None:
            try:
                _perform(association, message, services.get(message.context.abstract_syntax))
            finally:
                if message.sink is not None:
                    message.sink.abort()
    finally:
        association.close()
    association.answer_release()


def sink_chooser(services: Mapping[str, Service]) -> Choose:
    """Let services say where the data sets of their requests go."""

    def choose(association: Association, context: Context, command: Command) -> Sink | None:
        service = services.get(context.abstract_syntax)
        receive = getattr(service, "receive", None)
        if service is None or receive is None:
            return None
        if _refusal(service, context, command) is not None:
            return Drain()
        sink: Sink | None = receive(association, context, command)
        return sink

    return choose


def _perform(association: Association, message: Message, service: Service | None) -> None:
    refusal = _refusal(service, message.context, message.command)
    if refusal is not None:
        association.send_response(message, refusal)
    elif service is not None:
        service.handle(association, message)


def _refusal(service: Service | None, context: Context, command: Command) -> int | None:
    """Give the status of a request that its service isn't even shown."""
    if service is None or command.field not in service.operations:
        return UNRECOGNIZED_OPERATION
    if command.sop_class not in {"", context.abstract_syntax}:
        # PS3.7 C.5: DIMSE-N and DIMSE-C say it with different codes.
        dimse_n = command.field & 0x0100
        return NO_SUCH_SOP_CLASS if dimse_n else REFUSED_SOP_CLASS_NOT_SUPPORTED
    return None
