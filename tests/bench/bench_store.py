"""512 KiB CT slices by C-STORE, beside Orthanc and DCMTK's storescp; and one of 2 GiB."""

import os
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.bench.archives import orthanc, storescp
from tests.bench.measure import Result, at_most
from tests.bench.sender import fetch_huge, rate, send_huge
from tests.serving import Serving, served

_ROUNDS = 7
_SLICES = 200
_HUGE_BYTES = 2 * 1024**3


def run() -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            served(folder) as server,
            orthanc(folder / "orthanc") as theirs,
            storescp(folder / "storescp") as plain,
        ):
            ports = (server.ports["dicom"], theirs, plain)
            yield from _one(*contest(ports, 1))
            yield from _four(*contest(ports, 4))
            yield from _memory(server)


def _one(ours: float, theirs: float, plain: float) -> Iterator[Result]:
    note = f"{ours:,.0f} slices/s; Orthanc {theirs:,.0f}, storescp {plain:,.0f}"
    yield Result("C-STORE on one association, of Orthanc's", ours / theirs, "x", 1.8, note=note)
    yield Result("C-STORE on one association, of storescp's", ours / plain, "x", 0.4)


def _four(ours: float, theirs: float, plain: float) -> Iterator[Result]:
    note = f"{ours:,.0f} slices/s; Orthanc {theirs:,.0f}, storescp {plain:,.0f}"
    yield Result("C-STORE on four associations, of Orthanc's", ours / theirs, "x", 1.5, note=note)


def contest(ports: Sequence[int], associations: int, rounds: int = _ROUNDS) -> list[float]:
    """Alternate; the medians of slices a second, in the order of `ports`."""
    for port in ports:
        rate(port, associations, 40)
    rates: list[list[float]] = [[] for _ in ports]
    for _ in range(rounds):
        for taken, port in zip(rates, ports, strict=True):
            os.sync()
            taken.append(rate(port, associations, _SLICES))
    return [statistics.median(taken) for taken in rates]


def _memory(server: Serving) -> Iterator[Result]:
    port = server.ports["dicom"]
    studies: list[str] = []
    more = _growth_mb(server, lambda: studies.append(send_huge(port, _HUGE_BYTES)))
    yield at_most("memory of an instance of 2 GiB coming in, more", more, "MB", 64)
    sizes: list[int] = []
    more = _growth_mb(server, lambda: sizes.append(fetch_huge(port, studies[0])))
    assert sizes[0] > _HUGE_BYTES
    yield at_most("memory of the same going out, more", more, "MB", 64)


def _growth_mb(server: Serving, work: Callable[[], None]) -> float:
    (pid,) = server.pids("dicom")
    before = _resident_bytes(pid, "VmRSS")
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak counts from now on
    work()
    return (_resident_bytes(pid, "VmHWM") - before) / 1024**2


def _resident_bytes(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)
