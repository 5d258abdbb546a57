"""DCMTK's wlmscpfs, given the same items as files, and asked the same by findscu.

Where it answers otherwise, that is set out here, each with what the standard says of it.
"""

import re
import socket
import subprocess
import time
from zoneinfo import ZoneInfo

import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian

from mwl.scp.worklist import MODALITY_WORKLIST_FIND, WorklistService
from tests.dicom_server import serve_fixture  # noqa: F401 - a fixture
from tests.peers import dcmtk
from tests.worklist_items import data_set, identifier, rows
from tests.worklist_rows import NOW, insert_items

COUNT = 24
NAMES = ("Doe^Jane", "Doe^John^Q", "Roe", "Miller^Anne^^Dr.", "O%Neil_^[x]", "Doe")
PHYSICIANS = ("Welby^Marcus", "House^Gregory", "")


def item(number):
    """Make an item without anything that wlmscpfs would not serve."""
    return {
        "AccessionNumber": f"A{number:03}",
        "ReferringPhysicianName": PHYSICIANS[number % 3],
        "PatientName": NAMES[number % 6],
        "PatientID": f"P{number:03}",
        "IssuerOfPatientID": ("HOSP", "")[number % 2],
        "PatientBirthDate": ("19800229", "", "20000101")[number % 3],
        "PatientSex": ("F", "M", "O")[number % 3],
        "StudyInstanceUID": f"1.2.826.0.1.{number}",
        "RequestedProcedureID": f"RP{number % 5}",
        "RequestedProcedureDescription": ("Head", "head", "Chest")[number % 3],
        "RequestedProcedurePriority": ("STAT", "HIGH")[number % 2],
        "RequestingPhysician": PHYSICIANS[(number + 1) % 3],
        "AdmissionID": ("V_1", "V%1", "Vx1")[number % 3],
        "CurrentPatientLocation": ("WARD 7", "ER")[number % 2],
        "ScheduledStationAETitle": ("CT1", "CT1\\CT2", "MR1")[number % 3],
        "ScheduledProcedureStepStartDate": f"203001{1 + number % 4:02}",
        "ScheduledProcedureStepStartTime": ("080000", "093000", "093059", "180000")[number // 6],
        "Modality": ("CT", "CT", "MR")[number % 3],
        "ScheduledPerformingPhysicianName": PHYSICIANS[(number + 2) % 3],
        "ScheduledProcedureStepDescription": "Plain",
        "ScheduledProcedureStepID": f"SPS{number}",
        "ScheduledProcedureStepStatus": "SCHEDULED",
    }


ITEMS = [item(number) for number in range(COUNT)]


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """Serve the items by wlmscpfs; its port."""
    folder = tmp_path_factory.mktemp("wlm")
    (folder / "MWL").mkdir()
    (folder / "MWL" / "lockfile").touch()
    for number, told in enumerate(ITEMS):
        made = data_set(told)
        made.SpecificCharacterSet = None  # all ASCII
        made.file_meta = FileMetaDataset()
        made.file_meta.MediaStorageSOPClassUID = MODALITY_WORKLIST_FIND
        made.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.2.{number}"
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dcmwrite(folder / "MWL" / f"{number}.wl", made, enforce_file_format=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = subprocess.Popen(
        [dcmtk("wlmscpfs"), "-s", "-dfr", "-dfp", str(folder), str(port)],
        env={"TCP_NODELAY": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port)
        yield port
    finally:
        program.terminate()
        program.wait(10)


def _wait_for(port):
    until = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.02)
        else:
            return


@pytest.fixture
def ours(sqlite_database, serve):
    """Serve the items; our port."""
    stored = [rows(number, told) for number, told in enumerate(ITEMS)]
    sqlite_database.write(lambda session: insert_items(session, stored))
    return serve(WorklistService(sqlite_database, ZoneInfo("UTC"), clock=lambda: NOW)).address[1]


def found(port, queries, folder):
    """Ask each in turn: give the numbers of the items that are answered with, and how it ends."""
    files = []
    for number, keys in enumerate(queries):
        files.append(folder / f"{number:03}.dcm")
        files[-1].write_bytes(identifier(keys))
    command = [dcmtk("findscu"), "-v", "-W", "-aet", "CT1", "-aec", "MWL", "127.0.0.1", str(port)]
    done = subprocess.run([*command, *files], capture_output=True, timeout=30, check=False)
    output = (done.stdout + done.stderr).decode("latin-1")
    *answers, _ = re.split(r"(?<=Received Final Find Response \()", output)
    ends = re.findall(r"Received Final Find Response \((\w+)", output)
    assert len(answers) == len(ends) == len(queries)
    # What is asked for is printed as well, where it is a number.
    ids = (sorted(set(map(int, re.findall(r"\[SPS(\d+) *\]", each)))) for each in answers)
    return list(zip(ids, ends, strict=True))


SAME = [
    {},
    {"PatientName": "Doe^Jane"},
    {"PatientName": "Doe*"},
    {"PatientName": "*J?n*"},
    {"PatientName": "O%Neil_*"},
    {"PatientName": "???"},
    {"PatientName": "None"},
    {"PatientName": "*"},
    {"PatientID": "P003"},
    {"PatientID": "P99"},
    {"PatientID": "P00*"},
    {"AccessionNumber": "A007"},
    {"IssuerOfPatientID": "HOSP"},
    {"PatientBirthDate": "19800229"},
    {"PatientBirthDate": "19900101-"},
    {"PatientSex": "F"},
    {"RequestedProcedureID": "RP2"},
    {"RequestedProcedurePriority": "STAT"},
    {"AdmissionID": "V_1"},
    {"AdmissionID": "V?1"},
    {"ReferringPhysicianName": "House*"},
    {"RequestingPhysician": "Welby^Marcus"},
    {"Modality": "MR"},
    {"Modality": "US"},
    {"ScheduledStationAETitle": "CT1"},
    {"ScheduledStationAETitle": "CT2"},
    {"ScheduledStationAETitle": "NONE"},
    {"ScheduledPerformingPhysicianName": "*Gregory"},
    {"ScheduledProcedureStepStartDate": "20300102"},
    {"ScheduledProcedureStepStartDate": "20300102-20300103"},
    {"ScheduledProcedureStepStartDate": "-20300101"},
    {"ScheduledProcedureStepStartDate": "20300104-"},
    {"ScheduledProcedureStepStartTime": "090000-100000"},
    {
        "ScheduledProcedureStepStartDate": "20300102-20300103",
        "ScheduledProcedureStepStartTime": "093000-120000",
    },
    {
        "Modality": "CT",
        "ScheduledStationAETitle": "CT1",
        "ScheduledProcedureStepStartDate": "20300102",
        "PatientName": "Doe*",
    },
]


def test_both_answer_the_same(ours, theirs, tmp_path):
    mine, its = (found(port, SAME, tmp_path) for port in (ours, theirs))
    assert mine[0] == (list(range(COUNT)), "Success")
    for keys, one, other in zip(SAME, mine, its, strict=True):
        assert one == other, keys


# What is asked, how many we find, what it finds or says, and why.
OTHERWISE = [
    ({"PatientName": "DOE^jane"}, 4, 0, "C.2.2.2.1: names may be matched without regard to case"),
    ({"PatientName": "Doe^Jane^^"}, 4, 0, "PS3.5 6.2.1: empty components at the end mean nothing"),
    ({"PatientName": "Doe^*"}, 12, 8, "… and so does a caret before what may be empty"),
    ({"RequestedProcedureID": "RP?"}, 0, 24, "a number as a whole; or as `wildcards` is tolerated"),
    ({"AccessionNumber": "A00*"}, 0, 10, "the same"),
    ({"PatientBirthDate": "-"}, 24, 16, "a range without ends says nothing of what is unknown"),
    (
        {"ScheduledProcedureStepStartTime": "0930"},
        12,
        6,
        "PS3.5 6.2: 0930 is the whole minute, not its first second",
    ),
    (
        {"ScheduledProcedureStepStartTime": "*"},
        24,
        "Error",
        "some scanners say it for any; it is no time",
    ),
    ({"PatientSex": r"F\O"}, 16, "Error", "C.2.2.2.8: several values mean any of them"),
    ({"Modality": r"CT\MR"}, 24, "Error", "the same"),
    # It looks at no other attribute, and doesn't tell so: FF00, where FF01 would say it.
    ({"CurrentPatientLocation": "ER"}, 12, 24, "table K.6-1: O, as all below"),
    ({"StudyInstanceUID": "1.2.826.0.1.7"}, 1, 24, "C.2.2.2.1"),
    ({"StudyInstanceUID": r"1.2.826.0.1.7\1.2.826.0.1.8"}, 2, 24, "C.2.2.2.2: a list"),
    ({"RequestedProcedureDescription": "head"}, 8, 24, "C.2.2.2.1: other texts have their case"),
    ({"ScheduledProcedureStepID": "SPS7"}, 1, 24, ""),
    ({"ScheduledProcedureStepStatus": "ARRIVED"}, 0, 24, ""),
]


def test_it_answers_otherwise_where_the_standard_is_ours(ours, theirs, tmp_path):
    queries = [keys for keys, *_ in OTHERWISE]
    mine, its = (found(port, queries, tmp_path) for port in (ours, theirs))
    for (keys, count, other, why), one, another in zip(OTHERWISE, mine, its, strict=True):
        assert (len(one[0]), one[1]) == (count, "Success"), (keys, why)
        assert (len(another[0]) if another[1] == "Success" else another[1]) == other, (keys, why)
