"""A service that not every peer may use."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from mwl.net.association import Association, Service
from mwl.net.dimse import CommandField, Message
from mwl.net.status import NOT_AUTHORIZED

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Guarded:
    """Let `service` answer those that `allows` says yes to, by their calling AE title."""

    service: Service
    allows: Callable[[str], bool]

    @property
    def abstract_syntaxes(self) -> tuple[str, ...]:
        return self.service.abstract_syntaxes

    @property
    def transfer_syntaxes(self) -> tuple[str, ...]:
        return self.service.transfer_syntaxes

    @property
    def operations(self) -> frozenset[CommandField]:
        return self.service.operations

    def handle(self, association: Association, message: Message) -> None:
        """Pass the request on, or refuse it."""
        if self.allows(association.calling_title):
            self.service.handle(association, message)
            return
        log.warning("operation.not_authorized", calling=association.calling_title)
        association.send_response(message, NOT_AUTHORIZED)
