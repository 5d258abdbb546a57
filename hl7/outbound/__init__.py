"""Tell other systems what becomes of orders: render, send, read the answer.

What is rendered is kept before it is sent, and sent the same again until it is answered.
"""

import secrets
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from zoneinfo import ZoneInfo

from hl7.client import Connection
from hl7.outbound.answer import outcome
from hl7.outbound.status import Style, render
from mwl.config import Destination
from mwl.errors import ProtocolError
from mwl.outbox import Delivery, Outcome, Park, Retry
from mwl.tls import Files, Keys, Verifier

__all__ = ["OrderStatus", "Style", "render"]


class OrderStatus:
    """Delivers order statuses over MLLP, one connection a destination, kept open.

    `deliver` is called in one thread a destination.
    """

    def __init__(
        self,
        destinations: Iterable[Destination],
        zone: ZoneInfo,
        *,
        application: str = "MWL",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        keys: Keys | None = None,
    ) -> None:
        """Send to `destinations`, in the site's `zone`; `application` is our MSH-3.

        With `keys` to those over TLS; without, we show no certificate and trust whom the
        system trusts.
        """
        self._destinations = {each.name: each for each in destinations}
        self._zone = zone
        self._application = application
        self._clock = clock
        self._keys = keys
        self._mutex = threading.Lock()
        self._connections: dict[str, Connection] = {}

    def deliver(self, delivery: Delivery) -> Outcome:
        """Send a delivery, and tell what its receiver made of it. Raises Outage, Lost."""
        claimed = delivery.claimed
        destination = self._destinations.get(claimed.channel.destination)
        if destination is None:
            return Park("there is no [[hl7.destination]] of this name any more")
        body = claimed.body or self._render(delivery, destination)
        try:
            return outcome(self._connection(destination).exchange(body))
        except ProtocolError as error:
            return Retry(str(error))  # whatever that was, it is no answer

    def close(self) -> None:
        """End all connections."""
        with self._mutex:
            for connection in self._connections.values():
                connection.close()
            self._connections.clear()

    def _render(self, delivery: Delivery, destination: Destination) -> bytes:
        # MSH-10: at most 20 characters, and never again, were the database restored.
        control_id = f"{delivery.claimed.id}-{secrets.token_hex(4).upper()}"
        style = Style(
            destination.message,
            destination.version,
            destination.application,
            destination.facility,
            destination.charset,
            self._application,
        )
        body = render(
            delivery.claimed.payload,
            style,
            control_id=control_id,
            now=self._clock(),
            zone=self._zone,
        )
        delivery.keep(control_id, body)
        return body

    def _connection(self, to: Destination) -> Connection:
        with self._mutex:
            if to.name not in self._connections:
                tls = partial(self._verifier, to.certificate) if to.tls else None
                given = (to.host, to.port, to.ack_timeout_s)
                self._connections[to.name] = Connection(*given, tls=tls)
            return self._connections[to.name]

    def _verifier(self, rule: str) -> Verifier:
        """Give what a call is made with now; the files may be new ones."""
        self._keys = self._keys or Keys(Files("hl7.tls"))
        return self._keys.verifier(rule)
