"""The connections to receivers: one each, opened when there is something to send."""

import threading
from functools import partial
from typing import Protocol

from hl7.client import Connection
from hl7.outbound.answer import outcome
from mwl.errors import ProtocolError
from mwl.outbox import Outcome, Retry
from mwl.tls import Files, Keys, Verifier


class Receiver(Protocol):
    """What is asked of a table of the settings that names one."""

    @property
    def name(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def ack_timeout_s(self) -> float: ...
    @property
    def tls(self) -> bool: ...
    @property
    def certificate(self) -> str: ...


class Connections:
    """One for each receiver, kept open; threads share them, but not one receiver's."""

    def __init__(self, keys: Keys | None = None) -> None:
        """With `keys` to those over TLS; without, no certificate is shown, the system's trusted."""
        self._keys = keys
        self._mutex = threading.Lock()
        self._open: dict[str, Connection] = {}

    def carry(self, to: Receiver, body: bytes) -> Outcome:
        """Send a message, and tell what its receiver made of it. Raises Outage."""
        try:
            return outcome(self._of(to).exchange(body))
        except ProtocolError as error:
            return Retry(str(error))  # whatever that was, it is no answer

    def close(self) -> None:
        """End all connections."""
        with self._mutex:
            for connection in self._open.values():
                connection.close()
            self._open.clear()

    def _of(self, to: Receiver) -> Connection:
        with self._mutex:
            if to.name not in self._open:
                tls = partial(self._verifier, to.certificate) if to.tls else None
                self._open[to.name] = Connection(to.host, to.port, to.ack_timeout_s, tls=tls)
            return self._open[to.name]

    def _verifier(self, rule: str) -> Verifier:
        """Give what a call is made with now; the files may be new ones."""
        self._keys = self._keys or Keys(Files("hl7.tls"))
        return self._keys.verifier(rule)
