"""MPPS that we make and pass on are as PS3.4 table F.7.2-1 wants them; and the check can fail."""

from datetime import UTC, datetime
from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from mwl.demo import datasets
from mwl.demo.entries import Entry
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN as EXPLICIT
from mwl.net.pdu import IMPLICIT_VR_LITTLE_ENDIAN as IMPLICIT
from mwl.outbox import BEGUN
from mwl.scp.mpps import passed_on
from mwl.scp.mpps.requirements import ASKED_OF_CREATE
from tests import iod
from tests.identifiers import encoded
from tests.images import ct_slice
from tests.worklist_model import MPPS

NOW = datetime(2030, 1, 2, 9, 30, tzinfo=UTC)
ENTRY = Entry(
    patient_name="Doe^Jane",
    patient_id="P1",
    issuer="HOSP",
    birth_date="19800229",
    sex="F",
    accession="ACC1",
    study_uid="1.2.9",
    procedure_id="RP1",
    description="Head",
    step_id="SPS1",
    modality="CT",
    referring_physician="",
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def performed(**changed) -> Dataset:
    """Give an MPPS of the demo's scanner, as it is once it has ended."""
    found = datasets.begun(ENTRY, "CT1", NOW)
    found.update(datasets.ended([ct_slice(1, SeriesDescription="Head")], NOW))
    for path, value in changed.items():
        *sequences, keyword = path.split("__")
        level = found
        for sequence in sequences:
            level = level[sequence].value[0]
        if value is None:
            del level[keyword]
        else:
            setattr(level, keyword, value)
    return found


def test_the_demo_tells_all_that_an_mpps_must():
    assert iod.faults(datasets.begun(ENTRY, "CT1", NOW), MPPS) == []
    assert iod.faults(performed(), MPPS) == []


@pytest.mark.parametrize("agreed", [EXPLICIT, IMPLICIT])
def test_what_is_passed_on_has_what_its_scanner_left_out(agreed):
    data = datasets.begun(ENTRY, "CT1", NOW)
    for tag in ASKED_OF_CREATE:
        del data[tag]
    sent = passed_on(BEGUN, encoded(data, explicit=True), EXPLICIT, agreed)
    forwarded = read_dataset(BytesIO(sent), agreed == IMPLICIT, True)
    forwarded.decode()
    assert iod.faults(data, MPPS) != []
    assert iod.faults(forwarded, MPPS) == []


SERIES, SCHEDULED = "PerformedSeriesSequence", "ScheduledStepAttributesSequence"


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"Modality": None}, "Modality is missing"),
        ({"Modality": ""}, "Modality has no value"),
        ({"PatientSex": None}, "PatientSex is missing"),
        ({f"{SCHEDULED}__AccessionNumber": None}, f"{SCHEDULED}.AccessionNumber is missing"),
        ({f"{SERIES}__SeriesInstanceUID": "1.02"}, f"{SERIES}.SeriesInstanceUID: no UI: '1.02'"),
        ({"PatientSex": "X"}, "PatientSex: no value of it: X"),
        ({"PatientBirthDate": "20300231"}, "PatientBirthDate: no DA: '20300231'"),
        ({"PerformedProcedureStepStartTime": "2500"}, "StartTime: no TM: '2500'"),
        ({"StudyID": "S" * 17}, f"StudyID: no SH: '{'S' * 17}'"),
        ({"PatientID": ["P1", "P2"]}, "PatientID: 2 values"),
        ({"PatientName": "a^b^c^d^e^f"}, "PatientName: no PN: 'a^b^c^d^e^f'"),
        ({"PatientName": f"{'x' * 65}"}, f"PatientName: no PN: '{'x' * 65}'"),
        ({"Modality": "ct"}, "Modality: no CS: 'ct'"),
        (
            {"ProcedureCodeSequence": [Dataset()]},
            "ProcedureCodeSequence.CodeValue is required here",
        ),
    ],
)
def test_what_is_wrong_is_found(changed, fault):
    found = iod.faults(performed(**changed), MPPS)
    assert any(each.endswith(fault) for each in found), found
