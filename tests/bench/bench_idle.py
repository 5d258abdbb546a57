"""Many associations: what 500 cost that say nothing, and whether 100 that store starve.

The processor's time is that of our process of the role `dicom`, its memory the share that is
its own (PSS); beside it an Orthanc, which takes as many as it takes.
"""

import os
import re
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

from tests.bench.archives import orthanc_process
from tests.bench.measure import Result, at_most
from tests.bench.sender import Sender
from tests.dicom_client import DicomClient, Refused
from tests.serving import served

_IDLE = 500
_STORING = 100
_LOOK_S = 10.0
_STORE_S = 15.0
_LIMITS = {
    "MWL_DICOM__MAX_ASSOCIATIONS": str(_IDLE + 100),
    "MWL_DICOM__MAX_ASSOCIATIONS_PER_ADDRESS": str(_IDLE + 100),
}


def run() -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as name, served(Path(name), **_LIMITS) as server:
        (pid,) = server.pids("dicom")
        yield from _idle(server.ports["dicom"], pid, Path(name))
    # With the limits that a site has: a hundred from one address must be let in.
    with tempfile.TemporaryDirectory() as name, served(Path(name)) as server:
        yield from _storing(server.ports["dicom"])


def _idle(port: int, pid: int, folder: Path) -> Iterator[Result]:
    held, share, more = _held(port, "MWL", pid)
    assert held == _IDLE, f"{_IDLE - held} of {_IDLE} are not served"
    with orthanc_process(folder / "orthanc") as (theirs, their_pid):
        took, their_share, their_more = _held(theirs, "ORTHANC", their_pid)
    note = f"Orthanc answers {took}: {their_share:.2f} %, {their_more:.1f} MB"
    yield at_most(f"{_IDLE} idle associations, of one core", share, "%", 2.0, note)
    yield at_most("the same, more memory", more, "MB", 60.0)


def _held(port: int, called: str, pid: int) -> tuple[int, float, float]:
    """Hold as many as are let in: how many are answered, per cent of a core more, MB more."""
    before_mb, before = _pss_mb(pid), _share(pid)
    with ExitStack() as stack:
        answered = _answered([*_opened(port, called, stack)])
        time.sleep(3)  # what came of opening them is over
        share = _share(pid)
        more_mb = _pss_mb(pid) - before_mb
        return answered, max(0.0, share - before) * 100, more_mb


def _answered(held: Sequence[DicomClient]) -> int:
    """Count those that C-ECHO is answered to: some let in more than they serve."""
    count = 0
    with suppress(TimeoutError, OSError, EOFError):
        for client in held:
            count += client.echo() == 0
    return count


def _opened(port: int, called: str, stack: ExitStack) -> Iterator[DicomClient]:
    with suppress(Refused, OSError, EOFError):
        for _ in range(_IDLE):
            client = DicomClient(("127.0.0.1", port), 5)
            stack.callback(client.close)
            yield client.associate(called=called, calling="CT1")


def _share(pid: int) -> float:
    """Tell how much of a core a process takes."""
    used, began = _cpu_s(pid), time.monotonic()
    time.sleep(_LOOK_S)
    return (_cpu_s(pid) - used) / (time.monotonic() - began)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def _pss_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def _storing(port: int) -> Iterator[Result]:
    with ExitStack() as stack:
        # Refused: an exception that ends the benchmark.
        senders = [stack.enter_context(Sender(port)) for _ in range(_STORING)]
        counts = _counts(senders)
    median = statistics.median(counts)
    note = (
        f"{min(counts)} to {max(counts)} slices, median {median:g}; "
        f"{sum(counts) / _STORE_S:,.0f} slices/s in all"
    )
    title = f"{_STORING} associations storing, the slowest of the median"
    yield Result(title, min(counts) / median, "x", 0.5, note=note)


def _counts(senders: Sequence[Sender]) -> list[int]:
    with ThreadPoolExecutor(len(senders)) as pool:
        deadline = time.monotonic() + _STORE_S
        return list(pool.map(lambda sender: sender.send_until(deadline), senders))
