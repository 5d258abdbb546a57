"""Tell other systems what becomes of orders, and forward to them what comes in.

What is rendered is kept before it is sent, and sent the same again until it is answered; so
is what is forwarded, which is sent as it came.
"""

import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hl7.outbound.connections import Connections
from hl7.outbound.status import Style, render
from mwl.config import Destination, Forward
from mwl.outbox import Delivery, Outcome, Park
from mwl.tls import Keys

__all__ = ["Forwarder", "OrderStatus", "Style", "render"]


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
        self._connections = Connections(keys)

    def deliver(self, delivery: Delivery) -> Outcome:
        """Send a delivery, and tell what its receiver made of it. Raises Outage, Lost."""
        claimed = delivery.claimed
        destination = self._destinations.get(claimed.channel.destination)
        if destination is None:
            return Park("there is no [[hl7.destination]] of this name any more")
        body = claimed.body or self._render(delivery, destination)
        return self._connections.carry(destination, body)

    def close(self) -> None:
        """End all connections."""
        self._connections.close()

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


class Forwarder:
    """Delivers messages that came in over MLLP, one connection a system, kept open.

    `deliver` is called in one thread a system.
    """

    def __init__(self, forwards: Iterable[Forward], *, keys: Keys | None = None) -> None:
        """Send to `forwards`; `keys` as for `OrderStatus`."""
        self._forwards = {each.name: each for each in forwards}
        self._connections = Connections(keys)

    def deliver(self, delivery: Delivery) -> Outcome:
        """Send a delivery, and tell what its receiver made of it. Raises Outage."""
        claimed = delivery.claimed
        system = self._forwards.get(claimed.channel.destination)
        if system is None:
            return Park("there is no [[hl7.forward]] of this name any more")
        return self._connections.carry(system, claimed.body)

    def close(self) -> None:
        """End all connections."""
        self._connections.close()
