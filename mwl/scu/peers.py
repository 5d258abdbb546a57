"""Whom we call, and how we connect to them."""

from dataclasses import dataclass

from mwl.db.tables import Device
from mwl.devices import called
from mwl.sockets import Stream
from mwl.tls import Files, Keys, connect


@dataclass(frozen=True, slots=True)
class Peer:
    """A DICOM peer with its address.

    `tls`: it is called over TLS; its certificate is then the one that `certificate` names,
    or where that is empty one of its host.
    """

    ae_title: str
    host: str
    port: int
    tls: bool = False
    certificate: str = ""

    @classmethod
    def of(cls, device: Device, ae_title: str = "") -> "Peer":
        """Give a device that has a host and a port as a peer, by one of its titles or its own."""
        title = called(device, ae_title)
        return cls(title, device.host, device.port, device.tls, device.certificate)

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"

    def connect(self, wait_s: float, keys: Keys | None = None) -> Stream:
        """Connect, with `keys` over TLS. Outage says why not.

        Without keys we show no certificate, and trust whom the system trusts.
        """
        if not self.tls:
            return connect(self.host, self.port, wait_s)
        verifier = (keys or Keys(Files("tls"))).verifier(self.certificate)
        return connect(self.host, self.port, wait_s, verifier)
