"""Associate, C-ECHO, release: what every look at a worklist pays first."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measure import Result, at_most, contest
from tests.bench.scanner import STATION, served, wlmscpfs
from tests.dicom_client import VERIFICATION, DicomClient


def run() -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with served(folder / "ours", 1) as server, wlmscpfs(folder / "theirs", 1) as port:
            ours, theirs = contest(
                lambda: echo(server.ports["dicom"], "MWL"), lambda: echo(port, STATION), runs=200
            )
    note = f"wlmscpfs {theirs * 1e3:.2f} ms"
    yield at_most("associate + C-ECHO + release", ours * 1e3, "ms", 1.5, note)


def echo(port: int, called: str) -> None:
    with DicomClient(("127.0.0.1", port)) as client:
        assert client.associate((VERIFICATION,), called=called).echo() == 0
