"""What the worklist benchmarks share: items, identifiers, a server and DCMTK's."""

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian
from sqlmodel import Session

from mwl.db import Database
from mwl.db.migrate import upgrade
from mwl.db.tables import Device
from tests import serving
from tests.bench.archives import answers, orthanc
from tests.dicom_client import MODALITY_WORKLIST_FIND, DicomClient
from tests.peers import dcmtk
from tests.worklist_rows import NOW, insert_items, item

STATION = "CT1"
_PLUGIN = Path("/usr/share/orthanc/plugins/libModalityWorklists.so")

# The 22 attributes that a CT's worklist query commonly asks for.
RETURN_KEYS = (
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientWeight",
    "MedicalAlerts",
    "Allergies",
    "PregnancyStatus",
    "StudyInstanceUID",
    "RequestingPhysician",
    "RequestedProcedureDescription",
    "RequestedProcedureID",
    "AdmissionID",
)
RETURN_STEP_KEYS = (
    "Modality",
    "ScheduledStationAETitle",
    "ScheduledProcedureStepStartDate",
    "ScheduledProcedureStepStartTime",
    "ScheduledPerformingPhysicianName",
    "ScheduledProcedureStepDescription",
    "ScheduledProcedureStepID",
)


def identifier(*more: str, **matching: str) -> bytes:
    """Encode an identifier with all return keys, and `more`; `matching` gives values to some."""
    keys, step = Dataset(), Dataset()
    for name in (*RETURN_KEYS, *more):
        setattr(keys, name, matching.get(name))
    for name in RETURN_STEP_KEYS:
        setattr(step, name, matching.get(name))
    keys.ScheduledProcedureStepSequence = [step]
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, True
    write_dataset(stream, keys)
    return stream.getvalue()


@contextmanager
def served(
    folder: Path, count: int, names: Sequence[str] = (), sets: Sequence[str] = ()
) -> Iterator[serving.Serving]:
    """Serve a worklist of `count` items from SQLite.

    Patients are called by `names` in turn, with a number in each; `sets` are the character
    sets that the scanner is known to read.
    """

    def fill(session: Session) -> None:
        if sets:
            known = {"may": ["worklist"], "characters": {"sets": [*sets]}}
            session.add(Device(ae_title=STATION, created_at=NOW, updated_at=NOW, **known))
        patients = (
            {"patient_name": names[number % len(names)].format(number)} if names else {}
            for number in range(count)
        )
        insert_items(
            session,
            [item(number, STATION, patient=each) for number, each in enumerate(patients)],
        )

    (folder / "data").mkdir(parents=True)
    upgrade("sqlite:///mwl.db", folder / "data")
    with closing(Database("sqlite:///mwl.db", data_dir=folder / "data")) as database:
        database.write(fill)
    with serving.served(folder) as server:
        yield server


@contextmanager
def wlmscpfs(folder: Path, count: int) -> Iterator[int]:
    """Serve `count` such items by DCMTK's wlmscpfs; gives its port.

    It finds the folder of its items by the called AE title, here STATION.
    """
    shelf = folder / STATION
    _stock(shelf, count)
    (shelf / "lockfile").touch()
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [dcmtk("wlmscpfs"), "-s", "-dfp", str(folder), str(port)],
        env={"TCP_NODELAY": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 10
        while not answers(port):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


@contextmanager
def orthanc_worklist(folder: Path, count: int) -> Iterator[int]:
    """Serve `count` such items by Orthanc's worklist plugin; gives its port."""
    shelf = folder / "items"
    _stock(shelf, count)
    settings = {
        "Plugins": [str(_PLUGIN)],
        "DicomAlwaysAllowFindWorklist": True,
        "Worklists": {"Enable": True, "Database": str(shelf), "LimitAnswers": 0},
    }
    with orthanc(folder / "orthanc", settings=settings) as port:
        yield port


def _stock(shelf: Path, count: int) -> None:
    shelf.mkdir(parents=True)
    for number in range(count):
        _write(shelf / f"{number}.wl", number)


@contextmanager
def asking(port: int, called: str = "MWL") -> Iterator[DicomClient]:
    """Open an association for the worklist within the block."""
    with DicomClient(("127.0.0.1", port), 60) as client:
        client.associate((MODALITY_WORKLIST_FIND,), called=called, calling=STATION)
        yield client


def ask(port: int, question: bytes, called: str = "MWL") -> int:
    """Do what a scanner does: associate, C-FIND, release; gives the number of answers."""
    with asking(port, called) as client:
        return client.count_pending(question)


def _write(path: Path, number: int) -> None:
    row = item(number, STATION)
    patient, procedure, step = (
        row["patient"],
        row["requested_procedure"],
        row["scheduled_step"],
    )
    entry, exam = Dataset(), Dataset()
    entry.AccessionNumber = procedure["accession_number"]
    entry.ReferringPhysicianName = ""
    entry.PatientName = patient["patient_name"]
    entry.PatientID = patient["patient_id"]
    entry.PatientBirthDate = patient["birth_date"]
    entry.PatientSex = patient["sex"]
    entry.PatientWeight = None
    entry.MedicalAlerts = ""
    entry.Allergies = ""
    entry.PregnancyStatus = 4
    entry.StudyInstanceUID = procedure["study_instance_uid"]
    entry.RequestingPhysician = ""
    entry.RequestedProcedureDescription = procedure["description"]
    entry.RequestedProcedureID = procedure["requested_procedure_id"]
    entry.AdmissionID = ""
    exam.Modality = step["modality"]
    exam.ScheduledStationAETitle = STATION
    exam.ScheduledProcedureStepStartDate = step["start_local"][:8]
    exam.ScheduledProcedureStepStartTime = step["start_local"][8:]
    exam.ScheduledPerformingPhysicianName = ""
    exam.ScheduledProcedureStepDescription = step["description"]
    exam.ScheduledProcedureStepID = step["sps_id"]
    entry.ScheduledProcedureStepSequence = [exam]
    entry.file_meta = FileMetaDataset()
    entry.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    entry.file_meta.MediaStorageSOPClassUID = MODALITY_WORKLIST_FIND
    entry.file_meta.MediaStorageSOPInstanceUID = procedure["study_instance_uid"]
    entry.save_as(path, enforce_file_format=True)
