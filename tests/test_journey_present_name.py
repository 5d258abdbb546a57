"""A patient is renamed, merged and renumbered over MLLP: what viewers get follows."""

import re
import subprocess

import pytest
from pydicom import dcmread

from tests.builders import adt_a08, adt_a40, orm
from tests.images import ct_slice, save
from tests.peers import dcmtk
from tests.serving import PATIENCE_S
from tests.test_journey_order import send, sqlite_server  # noqa: F401 - a fixture

# pydicom warns of what these tests send on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


class Viewer:
    """DCMTK's tools against a server."""

    def __init__(self, server, folder):
        self._address = ["127.0.0.1", str(server.ports["dicom"])]
        self._folder = folder
        self._turn = 0

    def run(self, name, *arguments, files=()):
        done = subprocess.run(
            [dcmtk(name), "-aec", "MWL", *arguments, *self._address, *files],
            capture_output=True,
            check=True,
            timeout=PATIENCE_S,
        )
        return (done.stdout + done.stderr).decode("utf-8", "replace").replace("\0", "")

    def store(self, *images):
        folder = self._folder / f"sent{self._next()}"
        folder.mkdir()
        self.run("storescu", files=[str(save(each, folder)) for each in images])

    def find(self, *keys):
        """Tell the Patient IDs and names of the studies that match."""
        wanted = ("QueryRetrieveLevel=STUDY", "PatientName", "PatientID", *keys)
        named = [part for key in wanted for part in ("-k", key)]
        output = self.run("findscu", "-v", "-S", *named)
        answers = re.split(r"Find Response: \d+", output)[1:]
        value = r"\({},{}\) .. \[(.*?) *\]"
        tags = (("0010", "0020"), ("0010", "0010"))
        return [
            tuple(re.search(value.format(*tag), answer)[1] for tag in tags) for answer in answers
        ]

    def get(self, study):
        folder = self._folder / f"got{self._next()}"
        folder.mkdir()
        keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
        self.run("getscu", "-S", "-od", str(folder), *keys)
        return [dcmread(path) for path in sorted(folder.iterdir())]

    def _next(self):
        self._turn += 1
        return self._turn


def test_what_viewers_get_follows_the_patient(sqlite_server, tmp_path):  # noqa: F811
    server, viewer = sqlite_server, Viewer(sqlite_server, tmp_path)
    assert send(server, orm(PID_5="Doe^Jane^Q"))[0].code == "AA"
    first, late = ct_slice(1), ct_slice(2)
    study = str(first.StudyInstanceUID)
    viewer.store(first)
    assert viewer.find("PatientID=PID1") == [("PID1", "Doe^Jane^Q")]

    assert send(server, adt_a08(PID_5="Roe^Jane^Q"))[0].code == "AA"
    viewer.store(late)  # from a scanner that still has the old entry
    assert viewer.find("PatientName=ROE*") == [("PID1", "Roe^Jane^Q")]
    got = viewer.get(study)
    assert [str(each.PatientName) for each in got] == ["Roe^Jane^Q"] * 2
    assert {each.PixelData for each in got} == {first.PixelData, late.PixelData}

    merge = adt_a40(PID_3="PID2^^^ADT1^MR", PID_5="Roe^Janet", MRG_1="PID1^^^ADT1^MR")
    assert send(server, merge)[0].code == "AA"
    assert viewer.find() == [("PID2", "Roe^Janet")]

    renumbered = adt_a40(
        MSH_9="ADT^A47^ADT_A30",
        PID_3="PID3^^^ADT1^MR",
        PID_5="Рое^Жанета",
        MRG_1="PID2^^^ADT1^MR",
        MSH_18="UNICODE UTF-8",
    )
    assert send(server, renumbered)[0].code == "AA"
    assert [each for each, _ in viewer.find()] == ["PID3"]
    got = viewer.get(study)
    assert {(each.PatientID, str(each.PatientName)) for each in got} == {("PID3", "Рое^Жанета")}
    # What is kept is what came, as the digests say.
    assert "2 in the store: all well" in server.run("verify", "--deep").stdout
