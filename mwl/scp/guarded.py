"""A service that not every peer may use."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from mwl.net.association import Association
from mwl.net.dimse import Command, CommandField, Context, Message
from mwl.net.options import NONE, Options
from mwl.net.service import Service
from mwl.net.sinks import Drain, Sink
from mwl.net.status import NOT_AUTHORIZED

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Guarded:
    """Let `service` answer those that `allows` says yes to."""

    service: Service
    allows: Callable[[Association], bool]

    @property
    def abstract_syntaxes(self) -> tuple[str, ...]:
        return self.service.abstract_syntaxes

    @property
    def transfer_syntaxes(self) -> tuple[str, ...]:
        return self.service.transfer_syntaxes

    @property
    def operations(self) -> frozenset[CommandField]:
        return self.service.operations

    @property
    def invokes(self) -> Mapping[str, tuple[str, ...]]:
        invokes: Mapping[str, tuple[str, ...]] = getattr(self.service, "invokes", {})
        return invokes

    @property
    def theirs_first(self) -> frozenset[str]:
        return frozenset(getattr(self.service, "theirs_first", ()))

    @property
    def options(self) -> Options:
        options: Options = getattr(self.service, "options", NONE)
        return options

    def receive(self, association: Association, context: Context, command: Command) -> Sink | None:
        """Let `service` take a data set as it comes, if it wants to and may."""
        receive = getattr(self.service, "receive", None)
        if receive is None:
            return None
        if not self.allows(association):
            return Drain()
        sink: Sink | None = receive(association, context, command)
        return sink

    def handle(self, association: Association, message: Message) -> None:
        """Pass the request on, or refuse it."""
        # Who was not allowed when its data set began to come has sent it to nowhere.
        if not isinstance(message.sink, Drain) and self.allows(association):
            self.service.handle(association, message)
            return
        log.warning("operation.not_authorized", calling=association.calling_title)
        association.send_response(message, NOT_AUTHORIZED)
