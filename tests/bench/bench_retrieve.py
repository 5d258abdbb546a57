"""A study of 200 CT slices by C-GET and by C-MOVE, beside Orthanc.

Each study is retrieved once, by a viewer or to an application that throws it away, the same
for both; before that it was stored by C-STORE, as a scanner would.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
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


def run() -> Iterator[Result]:
    with (
        tempfile.TemporaryDirectory() as name,
        Receiver(keeps=False, max_pdu_bytes=_MOST_PDU_BYTES) as receiver,
    ):
        folder = Path(name)
        with (
            served(folder) as server,
            orthanc(folder / "orthanc", {"STORE": ["STORE", "127.0.0.1", receiver.port]}) as port,
        ):
            where = ("--host", "127.0.0.1", "--port", str(receiver.port))
            server.run("device", "add", "STORE", *where)
            ports = server.ports["dicom"], port
            yield _told("C-GET", *contest(ports, get))
            yield _told("C-MOVE", *contest(ports, move))


def _told(name: str, ours: float, theirs: float) -> Result:
    note = f"{ours:,.0f} slices/s; Orthanc {theirs:,.0f}"
    return Result(f"{name} of a study, of Orthanc's", ours / theirs, "x", 1.5, note=note)


def contest(
    ports: Sequence[int],
    retrieve: Callable[[int, str], int],
    rounds: int = _ROUNDS,
    slices: int = _SLICES,
) -> list[float]:
    """Alternate; the medians of slices a second, in the order of `ports`."""
    rates: list[list[float]] = [[] for _ in ports]
    for round_ in range(rounds + 1):
        studies = [_stored(port, slices) for port in ports]
        os.sync()
        for taken, port, study in zip(rates, ports, studies, strict=True):
            began = time.perf_counter()
            assert retrieve(port, study) == slices
            if round_:  # the first one warms up
                taken.append(slices / (time.perf_counter() - began))
    return [statistics.median(taken) for taken in rates]


def _stored(port: int, slices: int) -> str:
    with Sender(port) as sender:
        sender.send(slices)
    return sender.study
