"""C-FIND by accession number among 10,000 items, against DCMTK's wlmscpfs."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measure import Result, contest
from tests.bench.scanner import STATION, ask, identifier, served, wlmscpfs

_ITEMS = 10_000


def run() -> Iterator[Result]:
    question = identifier(AccessionNumber="ACC4711")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            served(folder / "ours", _ITEMS) as server,
            wlmscpfs(folder / "theirs", _ITEMS) as port,
        ):
            assert ask(server.ports["dicom"], question) == ask(port, question, STATION) == 1
            ours, theirs = contest(
                lambda: ask(server.ports["dicom"], question),
                lambda: ask(port, question, STATION),
                rounds=5,
                runs=3,
            )
    note = f"{ours * 1e3:.2f} ms, wlmscpfs {theirs * 1e3:.0f} ms"
    yield Result("C-FIND by accession among 10,000, × wlmscpfs", theirs / ours, "×", 50, note=note)
