"""The same peers against `mwl serve`, as it is installed: its process, its settings, its log."""

import socket
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from struct import pack

import pytest

from mwl.net.codec import HEADER
from mwl.net.pdu import PduType
from mwl.net.status import SUCCESS
from tests.dicom_client import DicomClient
from tests.hostile import until
from tests.mutations import damaged
from tests.recorded import play, record, whole
from tests.serving import Serving

MUTATIONS = 400
_RESET = pack("ii", 1, 0)  # SO_LINGER: close() resets


@dataclass(frozen=True)
class Place:
    server: Serving

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.server.ports["dicom"])

    @property
    def process(self) -> Path:
        return Path(f"/proc/{self.server.pids('dicom')[-1]}")

    def echo(self) -> None:
        with DicomClient(self.address) as client:
            assert client.associate().echo() == SUCCESS

    def held(self) -> Counter[str]:
        """Count sockets and files of the object store that are open, and threads."""
        held: Counter[str] = Counter(threads=len(list((self.process / "task").iterdir())))
        for number in (self.process / "fd").iterdir():
            try:
                target = str(number.readlink())
            except FileNotFoundError:  # closed meanwhile
                continue
            if target.startswith("socket:"):
                held["sockets"] += 1
            elif "/objects/" in target:
                held["files"] += Path(target).is_file()
        return held


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("served")
    limits = {"MWL_DICOM__ASSOCIATE_TIMEOUT_S": "3", "MWL_DICOM__IDLE_TIMEOUT_S": "3"}
    with Serving(folder, environ=limits) as server:
        server.start()
        yield Place(server)


@pytest.fixture(autouse=True)
def left_as_it_was(place: Place) -> Iterator[None]:
    """See that the process holds no more than before, and that nothing went wrong in it."""
    place.echo()
    before, pid = place.held(), place.process
    yield
    place.echo()
    most = before + Counter(threads=8)  # threads are kept for the next

    def is_left() -> bool:
        now = place.held()
        return all(now[what] <= most[what] for what in now)

    until(is_left, f"{place.held()} to be {most}")
    assert place.process == pid
    log = place.server.log
    assert "Traceback" not in log
    assert "[error" not in log
    assert "[critical" not in log


def test_a_hundred_silent_clients_keep_nobody_waiting(place: Place) -> None:
    with ExitStack() as stack:
        for _ in range(100):
            silent = stack.enter_context(socket.create_connection(place.address))
            silent.send(b"\x01")
        began = time.monotonic()
        place.echo()
        assert time.monotonic() - began < 1.0  # what was promised, not how fast it is


def test_a_pdu_that_claims_gigabytes_costs_no_memory(place: Place) -> None:
    def resident() -> int:
        return int((place.process / "statm").read_text().split()[1]) * 4096

    before = resident()
    for kind in PduType:
        client = DicomClient(place.address)
        client.send(HEADER.pack(kind, 0xFFFFFFFF) + bytes(1000))
        client.read_frame()
        client.close()
    assert resident() - before < 32 * 1024 * 1024


def test_broken_sessions_and_peers_that_vanish_leave_nothing(place: Place) -> None:
    sessions = record(place, "echo", "store", "mpps", "commitment")
    with ThreadPoolExecutor(4) as players:
        for _ in players.map(
            lambda seed: play(place, damaged(sessions, seed)[1]), range(MUTATIONS)
        ):
            pass
    stream = whole(sessions["store"])
    for end in range(0, len(stream), 50):
        with socket.create_connection(place.address) as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            peer.sendall(stream[:end])
    place.echo()
    until(lambda: files(place) == kept(place), "an object that nobody knows to be gone")
    assert len(files(place)) >= 2


def files(place: Place) -> set[str]:
    """List all that lies in the object store's folder."""
    folder = place.server.data_dir / "objects"
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def kept(place: Place) -> set[str]:
    """List what the index knows of."""
    with closing(sqlite3.connect(place.server.data_dir / "mwl.db")) as database:
        return {key for (key,) in database.execute("SELECT key FROM stored_object")}
