"""Peers that vanish at every byte of every message: cut off, or reset."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from struct import pack

import pytest

from mwl.net.codec import HEADER
from mwl.net.server import AssociationServer
from tests.hostile import SHORT, Bridge, nothing_left
from tests.recorded import Stage, record, whole

_RESET = pack("ii", 1, 0)  # SO_LINGER: close() resets
# A peer that goes is seen at once; a time-out would only hide that it wasn't.
_PATIENT = replace(SHORT, idle_timeout_s=60.0, pdu_timeout_s=60.0, associate_timeout_s=60.0)


@pytest.fixture(scope="module")
def stage(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    bridge = Bridge(sqlite_template, tmp_path_factory.mktemp("bridge"))
    server = bridge.serve(_PATIENT)
    yield Stage(bridge, server, record(server))
    server.stop(0)
    bridge.close()


@pytest.mark.parametrize("farewell", ["close", "reset"])
@pytest.mark.parametrize(
    "name", ["echo", "worklist", "query", "move", "mpps", "commitment", "store"]
)
def test_a_peer_that_vanishes_at_any_byte_leaves_nothing(
    stage: Stage, name: str, farewell: str
) -> None:
    session = stage.sessions[name]
    proposal, rest = session[0].data, whole(session[1:])
    if name == "store":
        # Of pixels one byte is like the next: one image, its header, its last bytes.
        rest = whole(session[1:3])
    with nothing_left(stage.bridge, stage.server):
        for end in range(0, len(proposal), 1 if name == "echo" else 50):
            _vanish(stage.server, proposal[:end], b"", farewell)
        for end in range(len(rest)):
            _vanish(stage.server, proposal, rest[:end], farewell)


def _vanish(server: AssociationServer, proposal: bytes, sent: bytes, farewell: str) -> None:
    """Go after what was sent; the association is there by then, if it was proposed whole."""
    with socket.create_connection(server.address, 10.0) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if farewell == "reset":
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        peer.sendall(proposal)
        if sent:
            header = peer.recv(HEADER.size, socket.MSG_WAITALL)
            peer.recv(HEADER.unpack(header)[1], socket.MSG_WAITALL)
            with suppress(ConnectionError):  # it may have aborted what it could not read
                peer.sendall(sent)
