"""How a process of the role `dicom` tells of the associations that it serves."""

import socket
from collections.abc import Iterator

from mwl.associations import Publisher, Served
from mwl.db import Database
from mwl.net.server import AssociationServer


def publisher(server: AssociationServer, database: Database, slot: int) -> Publisher:
    """Make what tells of `server`; `slot` is the process's among those of its supervisor."""
    place = f"{socket.gethostname()}:{server.address[1]}/{slot}"
    return Publisher(database, place, lambda: _served(server), server.abort)


def _served(server: AssociationServer) -> Iterator[Served]:
    for each in server.live():
        yield Served(
            number=each.number,
            address=each.address,
            since=each.since,
            calling=each.calling,
            called=each.called,
            tls=each.tls,
            contexts=each.contexts,
            operation=each.operation,
            received_bytes=each.received_bytes,
            sent_bytes=each.sent_bytes,
            messages=each.messages,
        )
