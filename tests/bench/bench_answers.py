"""Lists of 1,000 answers: with 22 return keys, beside DCMTK's wlmscpfs; with 25, in five sets.

The second list is asked for by a scanner that reads Latin-1, Japanese and Korean by ISO 2022, and
UTF-8. Of its patients a fifth each have names in ASCII and in one of these; no two are the same.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measure import Result, contest
from tests.bench.scanner import STATION, ask, asking, identifier, served, wlmscpfs

_ITEMS = 1_000
_SETS = ("ISO_IR 100", r"\ISO 2022 IR 87", r"\ISO 2022 IR 149", "ISO_IR 192")
_NAMES = (
    "Doe^Number{}",
    "Müller^Jörg{}",
    "Yamada^Tarou{}=山田^太郎=やまだ^たろう",
    "Hong^Gildong{}=洪^吉洞=홍^길동",
    "قباني^نزار{}",
)
_MORE = ("PatientAddress", "CurrentPatientLocation", "RequestedProcedurePriority")


def run() -> Iterator[Result]:
    yield _beside_wlmscpfs()
    yield _in_five_sets()


def _in_five_sets() -> Result:
    question = identifier(*_MORE, Modality="CT")
    with (
        tempfile.TemporaryDirectory() as name,
        served(Path(name), _ITEMS, _NAMES, _SETS) as server,
    ):
        port = server.ports["dicom"]
        with asking(port) as client:
            answers = [answer for _, answer in client.find(question) if answer]
        assert len(answers) == _ITEMS
        counts = [sum(term.encode() in answer for answer in answers) for term in _SETS]
        assert counts == [_ITEMS // len(_NAMES)] * len(_SETS)
        (took,) = contest(lambda: ask(port, question))
    note = "Latin-1, Japanese, Korean, Arabic, ASCII; a whole association"
    return Result(
        "1,000 answers with 25 return keys, five sets", _ITEMS / took, "/s", 30_000, note=note
    )


def _beside_wlmscpfs() -> Result:
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
    return Result("1,000 answers with 22 return keys", _ITEMS / ours, "/s", 30_000, note=note)
