"""A study of 200 CT slices by C-GET and by C-MOVE, beside Orthanc.

A viewer, or an application that a study is moved to, throws away what comes; it is the same
for both archives. All studies are stored first, as by a scanner; Orthanc keeps the last 128
MiB of what it took in or read in memory. Then each is retrieved twice: once when it is on
disk alone, as a study of last week is, and once more while it is in memory.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.archives import orthanc
from tests.bench.measure import Result
from tests.bench.sender import Sender
from tests.bench.viewer import get, move
from tests.receiver import Receiver
from tests.serving import served

_ROUNDS = 7
_SLICES = 200
_MOST_PDU_BYTES = 131_072
_IMAGE_BYTES = 512 * 1024

Retrieve = Callable[[int, str], int]


@dataclass(frozen=True)
class Archive:
    """Its DICOM port, and where it keeps its files."""

    port: int
    folder: Path


def run() -> Iterator[Result]:
    with (
        tempfile.TemporaryDirectory() as name,
        Receiver(keeps=False, max_pdu_bytes=_MOST_PDU_BYTES) as receiver,
    ):
        folder = Path(name)
        knows = {"STORE": ["STORE", "127.0.0.1", receiver.port]}
        with served(folder) as server, orthanc(folder / "orthanc", knows) as port:
            where = ("--host", "127.0.0.1", "--port", str(receiver.port))
            server.run("device", "add", "STORE", *where)
            ours = Archive(server.ports["dicom"], server.data_dir)
            archives = ours, Archive(port, folder / "orthanc")
            for way, retrieve in (("C-GET", get), ("C-MOVE", move)):
                from_disk, from_memory = contest(archives, retrieve)
                yield _told(f"{way} of a study on disk, of Orthanc's", *from_disk)
                yield _told(f"{way} of a study in memory, of Orthanc's", *from_memory)


def _told(name: str, ours: float, theirs: float) -> Result:
    note = f"{ours:,.0f} slices/s; Orthanc {theirs:,.0f}"
    return Result(name, ours / theirs, "x", 1.5, note=note)


def contest(
    archives: Sequence[Archive], retrieve: Retrieve, rounds: int = _ROUNDS, slices: int = _SLICES
) -> tuple[list[float], list[float]]:
    """Alternate; the medians of slices a second of each, from disk and from memory."""
    studies = [[_stored(each.port, slices) for _ in range(rounds + 1)] for each in archives]
    from_disk: list[list[float]] = [[] for _ in archives]
    from_memory: list[list[float]] = [[] for _ in archives]
    for round_ in range(rounds + 1):  # the first one warms up
        os.sync()
        for archive in archives:
            _forget(archive.folder)
        for taken in (from_disk, from_memory):
            for number, archive in enumerate(archives):
                rate = _rate(archive.port, retrieve, studies[number][round_], slices)
                taken[number] += [rate] if round_ else []
    return [statistics.median(each) for each in from_disk], [
        statistics.median(each) for each in from_memory
    ]


def _rate(port: int, retrieve: Retrieve, study: str, slices: int) -> float:
    began = time.perf_counter()
    assert retrieve(port, study) == slices
    return slices / (time.perf_counter() - began)


def _stored(port: int, slices: int) -> str:
    with Sender(port) as sender:
        sender.send(slices)
    return sender.study


def _forget(folder: Path) -> None:
    """Have the kernel drop what it keeps of the files in a folder."""
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size > _IMAGE_BYTES:
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
