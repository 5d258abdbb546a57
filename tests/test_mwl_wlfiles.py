"""Worklist folders of wlmscpfs and Orthanc, imported."""

import json
import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pydicom
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from mwl import wlfiles
from mwl.scp.attributes import vr_of
from mwl.scp.worklist import WorklistService
from mwl.wlfiles import importing, mapping
from mwl.worklist.listing import listing
from tests.dicom_server import serve_fixture  # noqa: F401 - a fixture
from tests.identifiers import encoded
from tests.peers import dcmtk, missing, require

ZONE = ZoneInfo("Europe/Berlin")
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def entry(number=1, **values):
    """Make a worklist item; `step_…` goes into its scheduled procedure step."""
    code, step, dataset = Dataset(), Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "P1", "99RIS", "Head"
    step.Modality, step.ScheduledStationAETitle = "CT", "CT1"
    step.ScheduledProcedureStepStartDate = "20300102"
    step.ScheduledProcedureStepStartTime = f"09{number:02}00"
    step.ScheduledProcedureStepID = f"SPS{number}"
    step.ScheduledProcedureStepDescription = "Head without contrast"
    step.ScheduledPerformingPhysicianName = "House^Gregory"
    step.ScheduledProtocolCodeSequence = Sequence([code])
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.AccessionNumber = f"ACC{number}"
    dataset.ReferringPhysicianName = "Welby^Marcus"
    dataset.PatientName, dataset.PatientID = f"Müller^Number{number}", f"P{number}"
    dataset.PatientBirthDate, dataset.PatientSex = "19800229", "F"
    dataset.PatientWeight, dataset.PregnancyStatus = "71.5", 4
    dataset.StudyInstanceUID = f"1.2.826.0.1.3680043.8.498.{number}"
    dataset.RequestedProcedureID = f"RP{number}"
    dataset.RequestedProcedureDescription = "CT head"
    dataset.RequestedProcedurePriority = "HIGH"
    dataset.AdmissionID, dataset.CurrentPatientLocation = f"V{number}", "Ward 7"
    for keyword, value in values.items():
        target = step if keyword.startswith("step_") else dataset
        setattr(target, keyword.removeprefix("step_"), value)
    dataset.ScheduledProcedureStepSequence = Sequence([step])
    return dataset


def save(dataset, path, *, explicit=True, meta=True):
    if not meta:
        path.write_bytes(encoded(dataset, explicit=explicit))
        return
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.276.0.7230010.3.1.0.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    syntaxes = pydicom.uid.ImplicitVRLittleEndian, pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.TransferSyntaxUID = syntaxes[explicit]
    dataset.save_as(path, enforce_file_format=True)


def bring(database, folder):
    return wlfiles.import_folder(database, folder, now=NOW, zone=ZONE)


def entries(database):
    return list(listing(database, zone=ZONE))


def test_a_file_becomes_an_entry(database, tmp_path):
    save(entry(7), tmp_path / "a.wl")
    report = bring(database, tmp_path)
    assert (report.imported, report.problems) == (1, [])
    (found,) = entries(database)
    assert found == found | {
        "accession_number": "ACC7",
        "patient_id": "P7",
        "patient_name": "Müller^Number7",
        "study_instance_uid": "1.2.826.0.1.3680043.8.498.7",
        "sps_id": "SPS7",
        "modality": "CT",
        "station_ae_title": "CT1",
        "start": "2030-01-02T09:07:00+01:00",
        "status": "SCHEDULED",
        "order_status": "SCHEDULED",
        "flags": [],
    }
    json.dumps(entries(database))


@pytest.mark.parametrize("meta", [True, False])
@pytest.mark.parametrize("explicit", [True, False])
def test_files_are_read_with_and_without_meta_in_both_syntaxes(
    sqlite_database, tmp_path, explicit, meta
):
    save(entry(1), tmp_path / "a.wl", explicit=explicit, meta=meta)
    assert bring(sqlite_database, tmp_path).imported == 1
    assert entries(sqlite_database)[0]["patient_name"] == "Müller^Number1"


def test_only_worklist_files_are_looked_at(sqlite_database, tmp_path):
    (tmp_path / "AE").mkdir()
    save(entry(1), tmp_path / "AE" / "a.wl")
    save(entry(2), tmp_path / "b.DCM")
    (tmp_path / "AE" / "lockfile").touch()
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "folder.wl").mkdir()
    report = bring(sqlite_database, tmp_path)
    assert (report.imported, report.problems) == (2, [])


def test_a_folder_that_can_t_be_read_costs_no_other(sqlite_database, tmp_path, monkeypatch):
    scan = os.scandir

    def locked(folder):
        if folder.endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    for number, name in enumerate((".", "a", "locked", "z")):
        (tmp_path / name).mkdir(exist_ok=True)
        save(entry(number), tmp_path / name / "1.wl")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "loop.wl").symlink_to(tmp_path / "a" / "loop.wl")
    monkeypatch.setattr(os, "scandir", locked)
    report = bring(sqlite_database, tmp_path)
    assert report.imported == 3
    assert report.problems == [(tmp_path / "locked", "Permission denied")]
    assert wlfiles.count_files(tmp_path) == report.seen


def test_folders_are_as_deep_as_they_are(tmp_path, monkeypatch):
    file = tmp_path / "1.wl"
    file.touch()

    def listed(folder):
        return [(f"{folder}/d", True)] if folder.count("/d") < 3000 else [(str(file), False)]

    monkeypatch.setattr(importing, "_listed", listed)
    assert wlfiles.count_files(Path()) == 1


def test_importing_twice_is_importing_once(database, tmp_path):
    for number in range(1, 5):
        save(entry(number), tmp_path / f"{number}.wl")
    bring(database, tmp_path)
    before = entries(database)
    report = bring(database, tmp_path)
    assert (report.imported, report.problems) == (4, [])
    assert entries(database) == before
    assert len(before) == 4


@pytest.mark.parametrize(
    "values",
    [
        {"AccessionNumber": "", "FillerOrderNumberImagingServiceRequest": "F1"},
        {"AccessionNumber": "", "PlacerOrderNumberImagingServiceRequest": "O1"},
        {"AccessionNumber": ""},
        {"RequestedProcedureID": ""},
        {"StudyInstanceUID": ""},
        {"step_ScheduledProcedureStepID": ""},
        {"step_ScheduledProcedureStepStartDate": ""},
    ],
)
def test_an_order_is_known_again_by_what_it_has(sqlite_database, tmp_path, values):
    save(entry(1, **values), tmp_path / "a.wl")
    bring(sqlite_database, tmp_path)
    before = entries(sqlite_database)
    assert bring(sqlite_database, tmp_path).problems == []
    assert entries(sqlite_database) == before
    assert len(before) == 1


def test_the_steps_of_one_order_stay_together(sqlite_database, tmp_path):
    for number in (1, 2):
        save(
            entry(
                number,
                AccessionNumber="A",
                PatientID="P",
                PatientName="Doe",
                StudyInstanceUID="1.2.3",
                RequestedProcedureID="RP",
            ),
            tmp_path / f"{number}.wl",
        )
    assert bring(sqlite_database, tmp_path).problems == []
    assert [each["sps_id"] for each in entries(sqlite_database)] == ["SPS1", "SPS2"]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"PatientID": ""}, "PatientID: nothing identifies the patient"),
        ({"PatientBirthDate": "1980"}, "PatientBirthDate: no value of its type"),
        ({"AccessionNumber": "A" * 17}, "AccessionNumber: more than 16 characters"),
        ({"AccessionNumber": r"A\B"}, "AccessionNumber: several values"),
        (
            {"step_ScheduledProcedureStepStartDate": "00010101"},
            "ScheduledProcedureStepStartDate: no date and time",
        ),
        ({"StudyInstanceUID": "1.2.x"}, "StudyInstanceUID: no value of its type"),
        (
            {"AccessionNumber": "", "StudyInstanceUID": ""},
            "AccessionNumber: nothing identifies the order",
        ),
        (
            {"step_ScheduledProcedureStepStartTime": "9999"},
            "ScheduledProcedureStepStartDate: no date and time",
        ),
        (
            {"step_ScheduledStationAETitle": "A" * 17},
            "ScheduledStationAETitle: no value of its type",
        ),
        (
            {"step_ScheduledProcedureStepStatus": "COMPLETED"},
            "ScheduledProcedureStepStatus: the step is COMPLETED already",
        ),
        ({"TimezoneOffsetFromUTC": "CET"}, "TimezoneOffsetFromUTC: no offset"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_bad_file_is_reported_and_the_others_go_on(sqlite_database, tmp_path, values, problem):
    save(entry(1, **values), tmp_path / "a.wl")
    save(entry(2), tmp_path / "b.wl")
    report = bring(sqlite_database, tmp_path)
    assert report.imported == 1
    assert report.problems == [(tmp_path / "a.wl", problem)]


def test_a_fault_names_no_field_of_hl7_that_a_file_does_not_have(sqlite_database, tmp_path):
    first = entry(1)
    (step,) = first.ScheduledProcedureStepSequence
    save(first, tmp_path / "a.wl")
    same = {"StudyInstanceUID": first.StudyInstanceUID}
    same["step_ScheduledProcedureStepID"] = step.ScheduledProcedureStepID
    save(entry(2, **same), tmp_path / "b.wl")
    problem = "another order has a step with this Study Instance UID and step ID"
    assert bring(sqlite_database, tmp_path).problems == [(tmp_path / "b.wl", problem)]


def test_a_file_cut_anywhere_never_becomes_half_an_entry(sqlite_database, tmp_path):
    save(entry(1), tmp_path / "whole.wl")
    data = (tmp_path / "whole.wl").read_bytes()
    (tmp_path / "whole.wl").unlink()
    half = tmp_path / "half"
    half.mkdir()
    # All but the last two elements are what makes an entry of it.
    for cut in range(0, data.index(b"\x40\x00\x00\x01SQ") + 200, 7):
        (half / f"{cut:05}.wl").write_bytes(data[:cut])
    report = bring(sqlite_database, half)
    assert report.imported == 0
    assert len(report.problems) == len(list(half.iterdir()))
    assert entries(sqlite_database) == []


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 1000, b"hello, world", os.urandom(5000), b"\0" * 128 + b"DICM", b"x" * 300_000],
    ids=["empty", "zeros", "text", "noise", "no meta", "large"],
)
def test_what_is_no_worklist_file_is_a_problem(sqlite_database, tmp_path, data):
    (tmp_path / "a.wl").write_bytes(data)
    report = bring(sqlite_database, tmp_path)
    assert report.imported == 0
    assert len(report.problems) == 1


def test_a_deflated_file_is_not_inflated(sqlite_database, tmp_path):
    save(entry(1), tmp_path / "a.wl")
    data = (tmp_path / "a.wl").read_bytes()
    old, new = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0"
    (tmp_path / "a.wl").write_bytes(data.replace(old, new))
    assert "dcmconv" in bring(sqlite_database, tmp_path).problems[0][1]


def test_every_keyword_is_one(sqlite_database):
    tables = mapping._PATIENT, mapping._ORDER, mapping._PROCEDURE, mapping._STEP
    for keyword in (k for table in tables for k in table.values()):
        assert vr_of(tag_for_keyword(keyword)) != "UN"


# --- side by side


QUERIES = [
    ["PatientName"],
    ["PatientName=M*"],
    ["PatientID=P2", "AccessionNumber"],
    ["AccessionNumber=ACC3", "PatientName"],
    ["AccessionNumber=NONE"],
    ["ScheduledProcedureStepSequence[0].Modality=CT"],
    ["ScheduledProcedureStepSequence[0].Modality=MR"],
    ["ScheduledProcedureStepSequence[0].ScheduledStationAETitle=CT2"],
    ["ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate=20300102"],
    ["ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate=20300103-"],
    [
        "ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate=20300102",
        "ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartTime=090200-090300",
    ],
]
RETURNED = [
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientWeight",
    "PregnancyStatus",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyInstanceUID",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    "RequestedProcedurePriority",
    "AdmissionID",
    "CurrentPatientLocation",
    "ScheduledProcedureStepSequence[0].Modality",
    "ScheduledProcedureStepSequence[0].ScheduledStationAETitle",
    "ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate",
    "ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartTime",
    "ScheduledProcedureStepSequence[0].ScheduledPerformingPhysicianName",
    "ScheduledProcedureStepSequence[0].ScheduledProcedureStepDescription",
    "ScheduledProcedureStepSequence[0].ScheduledProcedureStepID",
    "ScheduledProcedureStepSequence[0].ScheduledProtocolCodeSequence[0].CodeValue",
    "ScheduledProcedureStepSequence[0].ScheduledProtocolCodeSequence[0].CodeMeaning",
]


def ask(port, folder, keys):
    """Ask by DCMTK's findscu; return the answers as sets of values by keyword."""
    folder.mkdir()
    named = {key.partition("=")[0] for key in keys}
    wanted = [*keys, *(name for name in RETURNED if name not in named)]
    command = [dcmtk("findscu"), "-W", "-aec", "MWL", "-aet", "CT1", "-X", "-od", str(folder)]
    command += [part for key in wanted for part in ("-k", key)]
    command += ["127.0.0.1", str(port)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return sorted(_values(pydicom.dcmread(file)) for file in folder.glob("*.dcm"))


def _values(dataset):
    return sorted(
        (element.keyword, str(element.value))
        for element in dataset.iterall()
        if element.VR != "SQ" and element.keyword != "SpecificCharacterSet"
    )


@pytest.fixture
def folder(tmp_path):
    """Keep four items as wlmscpfs wants them: a folder for its AE title, and a lockfile."""
    place = tmp_path / "wlm" / "MWL"
    place.mkdir(parents=True)
    (place / "lockfile").touch()
    save(entry(1), place / "1.wl")
    save(entry(2, step_ScheduledStationAETitle="CT2"), place / "2.wl")
    save(entry(3, step_ScheduledProcedureStepStartDate="20300103"), place / "3.wl")
    save(entry(4, step_Modality="MR", PatientName="Roe^Richard"), place / "4.wl")
    return place


@contextmanager
def serving_wlmscpfs(folders, _place):
    """Serve folders, each named by an AE title, by DCMTK."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = subprocess.Popen(
        [dcmtk("wlmscpfs"), "-csk", "-dfp", str(folders), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield _listening(program, port)
    finally:
        program.terminate()
        program.wait(10)


@pytest.fixture
def wlmscpfs(folder, tmp_path):
    """Serve the folder by DCMTK."""
    with serving_wlmscpfs(folder.parent, tmp_path) as port:
        yield port


ORTHANC_WORKLISTS = Path("/usr/share/orthanc/plugins/libModalityWorklists.so")


@contextmanager
def serving_orthanc(folder, place):
    """Serve a folder by Orthanc's plugin."""
    if not ORTHANC_WORKLISTS.exists():
        missing("Orthanc's worklist plugin is not installed on this machine")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = place / "orthanc.json"
    settings.write_text(
        json.dumps(
            {
                "StorageDirectory": str(place / "orthanc"),
                "Plugins": [str(ORTHANC_WORKLISTS)],
                "Worklists": {"Enable": True, "Database": str(folder)},
                "DicomPort": port,
                "DicomAet": "MWL",
                "DicomAlwaysAllowFindWorklist": True,
                "DefaultEncoding": "Utf8",
                "HttpServerEnabled": False,
            }
        )
    )
    program = subprocess.Popen(
        [require("Orthanc"), str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield _listening(program, port)
    finally:
        program.terminate()
        program.wait(10)


@pytest.fixture
def orthanc(folder, tmp_path):
    """Serve the folder by Orthanc's plugin."""
    with serving_orthanc(folder, tmp_path) as port:
        yield port


def _listening(program, port):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        assert program.poll() is None, "the program ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return port
    raise TimeoutError("the program does not listen")


@pytest.mark.parametrize("peer", ["wlmscpfs", "orthanc"])
def test_what_we_import_we_answer_as_its_keeper_does(
    peer, folder, request, sqlite_database, serve, tmp_path
):
    assert bring(sqlite_database, folder).problems == []
    server = serve(WorklistService(sqlite_database, ZONE))
    theirs = request.getfixturevalue(peer)
    for number, keys in enumerate(QUERIES):
        ours = ask(server.address[1], tmp_path / f"ours{number}", keys)
        assert ours == ask(theirs, tmp_path / f"theirs{number}", keys), keys
        shutil.rmtree(tmp_path / f"ours{number}")
