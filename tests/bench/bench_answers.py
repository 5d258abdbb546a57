"""A list of 1,000 answers with 22 return keys, beside DCMTK's wlmscpfs."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measure import Result, contest
from tests.bench.scanner import STATION, ask, identifier, served, wlmscpfs

_ITEMS = 1_000


def run() -> Iterator[Result]:
    question = identifier(Modality="CT")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            served(folder / "ours", _ITEMS) as server,
            wlmscpfs(folder / "theirs", _ITEMS) as port,
        ):
            assert ask(server.ports["dicom"], question) == ask(port, question, STATION) == _ITEMS
            ours, theirs = contest(
                lambda: ask(server.ports["dicom"], question), lambda: ask(port, question, STATION)
            )
    note = f"wlmscpfs {_ITEMS / theirs:,.0f}/s; whole associations"
    yield Result("1,000 answers with 22 return keys", _ITEMS / ours, "/s", 30_000, note=note)
