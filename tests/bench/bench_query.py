"""C-FIND by a key in an archive of 100,000 studies, beside Orthanc with a hundredth of them.

A query is measured on an association that is open, and with an association of its own.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from pydicom.dataset import Dataset

from mwl.db import Database
from mwl.db.migrate import upgrade
from mwl.net.pdu import IMPLICIT_VR_LITTLE_ENDIAN
from mwl.scp.query import STUDY_ROOT_FIND
from tests import postgres, serving
from tests.bench import studies
from tests.bench.archives import orthanc
from tests.bench.bench_index import created
from tests.bench.measure import Result, at_most, contest
from tests.dicom_client import DicomClient
from tests.identifiers import encoded

_STUDIES = 100_000
_THEIR_STUDIES = 1_000
# Of the first days and patients, so that either archive has as many.
_PATIENT, _DAY = "P77", "20200105"
_RETURN_KEYS = (
    *("StudyInstanceUID", "PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyDate", "StudyTime", "StudyDescription", "ModalitiesInStudy"),
    *("ReferringPhysicianName", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"),
)
_BOUNDS_MS = {"patient ID": 5, "day": 15}


def run() -> Iterator[Result]:
    questions = {
        "patient ID": (_question(PatientID=_PATIENT), studies.PER_PATIENT),
        "day": (_question(StudyDate=_DAY), studies.A_DAY),
    }
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        server = postgres.Server(durable=True)
        stack.callback(server.remove)
        urls = {"SQLite": "sqlite:///mwl.db", "PostgreSQL": created(server.url, "studies")}
        ours = {}
        for kind, url in urls.items():
            _fill(url, folder / kind / "data")
            begun = serving.served(folder / kind, MWL_DATABASE__URL=url)
            ours[kind] = stack.enter_context(begun).ports["dicom"]
        theirs = stack.enter_context(orthanc(folder / "orthanc"))
        studies.store(theirs, _THEIR_STUDIES)
        for what, (question, count) in questions.items():
            for kind, port in ours.items():
                yield _compared(what, kind, question, count, port, theirs)


def _fill(url: str, data_dir: Path) -> None:
    data_dir.mkdir(parents=True)
    upgrade(url, data_dir)
    with closing(Database(url, data_dir=data_dir)) as database:
        studies.fill(database, _STUDIES)


def _compared(what: str, kind: str, question: bytes, count: int, ours: int, theirs: int) -> Result:
    with _asking(ours, "MWL") as here, _asking(theirs, "ORTHANC") as there:
        assert _find(here, question) == _find(there, question) == count
        open_, whole, their_open, their_whole = contest(
            lambda: _find(here, question),
            lambda: _whole(ours, "MWL", question),
            lambda: _find(there, question),
            lambda: _whole(theirs, "ORTHANC", question),
        )
    note = (
        f"{count} answers; {whole * 1e3:.2f} ms with its association; Orthanc among"
        f" {_THEIR_STUDIES:,}: {their_open * 1e3:.1f} and {their_whole * 1e3:.1f} ms"
    )
    name = f"C-FIND by {what} among {_STUDIES:,} studies, {kind}"
    return at_most(name, open_ * 1e3, "ms", _BOUNDS_MS[what], note)


def _question(**keys: str) -> bytes:
    wanted = Dataset()
    wanted.QueryRetrieveLevel = "STUDY"
    for name in _RETURN_KEYS:
        setattr(wanted, name, keys.get(name))
    return bytes(encoded(wanted, explicit=False))


def _asking(port: int, called: str) -> DicomClient:
    return DicomClient(("127.0.0.1", port), 60).associate(
        (STUDY_ROOT_FIND,), called=called, transfer_syntaxes=(IMPLICIT_VR_LITTLE_ENDIAN,)
    )


def _find(client: DicomClient, question: bytes) -> int:
    return client.count_pending(question, STUDY_ROOT_FIND)


def _whole(port: int, called: str, question: bytes) -> int:
    with _asking(port, called) as client:
        return _find(client, question)
