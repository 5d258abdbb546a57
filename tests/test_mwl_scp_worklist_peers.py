"""Programs that nobody here wrote ask for the worklist: DCMTK's findscu and pynetdicom."""

import re
import subprocess
from zoneinfo import ZoneInfo

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import ModalityWorklistInformationFind

from mwl.db.tables import Device
from mwl.scp.worklist import WorklistService
from tests.dicom_server import serve_fixture  # noqa: F401 - a fixture
from tests.identifiers import asking
from tests.peers import dcmtk
from tests.worklist_rows import NOW, insert_items, item

ZONE = ZoneInfo("Europe/Berlin")
STEP = "ScheduledProcedureStepSequence[0]"
KEYS = [
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
    "RequestedProcedureID",
    "ReferencedStudySequence",
    "AdmissionID",
    "PatientWeight",
    "PregnancyStatus",
    f"{STEP}.ScheduledStationAETitle",
    f"{STEP}.ScheduledProcedureStepStartDate",
    f"{STEP}.ScheduledProcedureStepStartTime",
    f"{STEP}.Modality",
    f"{STEP}.ScheduledPerformingPhysicianName",
    f"{STEP}.ScheduledProcedureStepDescription",
    f"{STEP}.ScheduledProtocolCodeSequence",
    f"{STEP}.ScheduledProcedureStepID",
]


@pytest.fixture
def port(sqlite_database, serve):
    """Serve thirty items and return the port."""
    items = (
        item(
            n,
            "CT1",
            patient={"patient_name": "Müller^Änne" if n == 7 else f"Doe^Number{n}"},
            step={"modality": "MR" if n % 2 else "CT", "protocol_value": "P1"},
        )
        for n in range(30)
    )
    sqlite_database.write(lambda session: insert_items(session, items))
    return serve(WorklistService(sqlite_database, ZONE, clock=lambda: NOW)).address[1]


def findscu(port, *arguments, keys=()):
    command = [dcmtk("findscu"), "-v", "-W", "-aet", "CT1", "-aec", "MWL", *arguments]
    command += [part for key in keys for part in ("-k", key)]
    done = subprocess.run(
        [*command, "127.0.0.1", str(port)], capture_output=True, timeout=30, check=True
    )
    return (done.stdout + done.stderr).decode("latin-1")


def matches(port, *keys):
    output = findscu(port, keys=[f"{STEP}.ScheduledProcedureStepID", *keys])
    assert "Received Final Find Response (Success)" in output
    # The request is printed as well, its key without a value.
    return sorted(re.findall(r"\[(SPS\d+) *\]", output))


@pytest.mark.parametrize("syntax", ["-xe", "-xi"])
def test_findscu_gets_every_key_of_every_item(port, tmp_path, syntax):
    output = findscu(port, syntax, "-X", "-od", str(tmp_path), keys=KEYS)
    assert "Received Final Find Response (Success)" in output
    assert not re.search(r"^[WE]:", output, re.MULTILINE)
    files = sorted(tmp_path.glob("*.dcm"))
    assert len(files) == 30
    for file in files:
        dataset = pydicom.dcmread(file)
        for key in KEYS:
            _, _, inner = key.partition(f"{STEP}.")
            target = dataset.ScheduledProcedureStepSequence[0] if inner else dataset
            assert (inner or key) in target
    dumped = subprocess.run(
        [dcmtk("dcmdump"), *map(str, files)], capture_output=True, check=True, timeout=30
    )
    assert dumped.stderr == b""


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["PatientName=doe^number1*"], [1, *range(10, 20)]),
        (["PatientName=*number29"], [29]),
        (["AccessionNumber=ACC5"], [5]),
        (["PatientID=P12"], [12]),
        ([f"{STEP}.Modality=MR"], range(1, 30, 2)),
        ([f"{STEP}.Modality=US"], []),
        ([f"{STEP}.ScheduledStationAETitle=CT1", "PatientID=P3"], [3]),
        ([f"{STEP}.ScheduledStationAETitle=CT2"], []),
        ([f"{STEP}.ScheduledProcedureStepStartDate=20300101-20300103"], range(30)),
        ([f"{STEP}.ScheduledProcedureStepStartDate=-20300101"], []),
        ([r"StudyInstanceUID=1.2.826.0.1.3680043.8.498.2\1.2.826.0.1.3680043.8.498.3"], [2, 3]),
        (["(0010,0010)=M?ller*", "SpecificCharacterSet=ISO_IR 192"], [7]),
    ],
)
def test_findscu_finds_what_it_asks_for(port, keys, expected):
    assert matches(port, *keys) == sorted(f"SPS{n}" for n in expected)


def test_findscu_cancels(port, sqlite_database):
    sqlite_database.write(
        lambda session: insert_items(session, (item(n, "CT1") for n in range(100, 5000)))
    )
    output = findscu(port, "--cancel", "3", keys=KEYS)
    assert "Received Final Find Response (Cancel: MatchingTerminatedDueToCancelRequest)" in output
    assert 3 <= len(re.findall(r"Find Response: \d+ \(Pending", output)) < 4930


def test_findscu_is_told_of_an_unsupported_key(port):
    output = findscu(port, keys=["PatientID=P1", "SeriesDescription"])
    assert "Pending: WarningUnsupportedOptionalKeys" in output


@pytest.mark.parametrize("syntax", ["-xe", "-xi"])
def test_findscu_reads_what_is_told_to_devices_that_read_little(port, sqlite_database, syntax):
    shown = {"tolerates": ["ff01", "empty-sequences", "undefined-lengths"]}
    at = {"created_at": NOW, "updated_at": NOW}
    row = Device(ae_title="CT1", modality="CT", may=["worklist"], worklist=shown, **at)
    sqlite_database.write(lambda session: session.add(row))
    output = findscu(port, syntax, keys=[*KEYS, "PatientID=P7", "SeriesDescription"])
    (answer,) = re.split(r"Find Response: \d+ ", output)[1:]
    assert answer.startswith("(Pending)")
    assert "Received Final Find Response (Success)" in output
    assert not re.search(r"^[WE]:", output, re.MULTILINE)
    sequences = re.findall(
        r"SQ \(Sequence with (\w+) length #=(\d)\) .*? (\w+)$", answer, re.MULTILINE
    )
    assert sorted(sequences) == [
        ("explicit", "1", "RequestedProcedureCodeSequence"),
        ("explicit", "1", "ScheduledProcedureStepSequence"),
        ("explicit", "1", "ScheduledProtocolCodeSequence"),
    ]
    assert answer.count("Item with explicit length") == 3


def test_findscu_may_ask_for_a_deflated_syntax_but_is_not_given_it(port, tmp_path):
    output = findscu(port, "-xd", "-X", "-od", str(tmp_path), keys=["PatientID=P1"])
    assert "Received Final Find Response (Success)" in output
    assert len(list(tmp_path.glob("*.dcm"))) == 1


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_pynetdicom_gets_the_same_answers(port, syntax):
    entity = AE(ae_title="CT1")
    entity.add_requested_context(ModalityWorklistInformationFind, syntax)
    association = entity.associate("127.0.0.1", port, ae_title="MWL")
    assert association.is_established
    keys = asking(
        "PatientName", "PatientID", step=["Modality"], step_ScheduledProcedureStepID="SPS7"
    )
    responses = list(association.send_c_find(keys, ModalityWorklistInformationFind))
    association.release()
    assert [status.Status for status, _ in responses] == [0xFF00, 0x0000]
    answer = responses[0][1]
    assert str(answer.PatientName) == "Müller^Änne"
    assert answer.PatientID == "P7"
    assert answer.ScheduledProcedureStepSequence[0].Modality == "MR"
