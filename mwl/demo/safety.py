"""Where the demo may play: the orders that it makes are real ones to the server.

So it plays on a server that this machine alone can reach, and that tells nobody elsewhere of
the demo's orders. Everything else asks for a person who says that it is meant.
"""

import socket
from collections.abc import Iterator

from mwl.config import Settings, is_loopback
from mwl.demo.ris import NAMESPACE, SENDER
from mwl.demo.stations import STATIONS
from mwl.errors import Outage
from mwl.outbox import Managers
from mwl.outbox.destinations import is_among

_CONNECT_S = 3.0


def dangers(settings: Settings) -> Iterator[str]:
    """Tell what speaks against playing here."""
    for name, host in (("dicom", settings.dicom.host), ("hl7", settings.hl7.host)):
        if not is_loopback(host):
            yield f"{name}.host is {host}: scanners may take test patients for real ones"
    managers = Managers.of(settings.mpps.forward)
    ours = f"{SENDER}^{NAMESPACE}"
    for each in settings.hl7.destination:
        if not is_loopback(each.host) and is_among(ours, each.sources):
            yield f"[[hl7.destination]] {each.name} at {each.host} would be told of test orders"
    for other in settings.hl7.forward:
        if not is_loopback(other.host) and is_among(ours, other.sources):
            yield f"[[hl7.forward]] {other.name} at {other.host} would be sent test orders"
    scanners = STATIONS.values()
    for table, manager in zip(settings.mpps.forward, managers.all, strict=True):
        if not is_loopback(table.host) and manager.wants(scanners):
            yield f"[[mpps.forward]] {table.name} at {table.host} would be sent test MPPS"


def reachable(host: str) -> str:
    """Give the address at which this machine reaches what listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def check_served(settings: Settings) -> None:
    """Raise Outage unless somebody listens on our ports; the text says what to type."""
    for what, host, port in (
        ("HL7", settings.hl7.host, settings.hl7.port),
        ("DICOM", settings.dicom.host, settings.dicom.port),
    ):
        try:
            socket.create_connection((reachable(host), port), _CONNECT_S).close()
        except OSError:
            raise Outage(
                f"nobody serves {what} at {host}:{port}: type `mwl serve` in another terminal"
            ) from None
