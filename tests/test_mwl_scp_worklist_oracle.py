"""Every key, in every way of matching, against a search through everything (PS3.4 K.6.1).

The items are random, and few values are shared by many, so that keys meet some and miss
others; among them are unknown ones, several stations, letters of several scripts, what SQL
would take for a pattern, and hours that the clock shows twice or never.
"""

import random
import shutil
from dataclasses import dataclass, field
from io import BytesIO
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.filereader import read_dataset

from mwl.config import DeviceTable
from mwl.db import Database
from mwl.net import status
from mwl.net.options import Options
from mwl.net.pdu import IMPLICIT_VR_LITTLE_ENDIAN
from mwl.orders import StepState
from mwl.scp.worklist import MODALITY_WORKLIST_FIND, WorklistService
from mwl.worklist import find as finding
from tests import worklist_oracle as oracle
from tests.worklist_items import identifier, rows
from tests.worklist_rows import NOW, insert_items

BERLIN = ZoneInfo("Europe/Berlin")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

PAGE_ROWS = 16
NAMES = (
    *("Doe^Jane", "DOE^JOHN^Q", "Doe", "", "Müller^Änne", "Muller^Anne", "O%Neil_^[x]"),
    *("Yamada^Tarou=山田^太郎=やまだ^たろう", "=山田^花子", "Ørsted^Łucja", "Иванов^Иван"),
)
TEXTS = ("A1", "a1", "A%", "A_", "[A]", "A*", "", "Ä1", "A12")
CODES = (
    [],
    [{"CodeValue": "CT1", "CodingSchemeDesignator": "99RIS", "CodeMeaning": "Head"}],
    [{"CodeValue": "CT1", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Kopf"}],
    [{"CodeValue": "MR1", "CodingSchemeDesignator": "99RIS", "CodeMeaning": "Head"}],
)
REFERENCED = (
    [],
    [
        {"ReferencedSOPClassUID": "1.2.840.1", "ReferencedSOPInstanceUID": "1.2.3"},
        {"ReferencedSOPClassUID": "1.2.840.2", "ReferencedSOPInstanceUID": "1.2.4"},
    ],
    [{"ReferencedSOPClassUID": "1.2.840.1", "ReferencedSOPInstanceUID": "1.2.4"}],
)
ISSUERS = (
    [],
    [{"LocalNamespaceEntityID": "HOSP"}],
    [
        {
            "LocalNamespaceEntityID": "HOSP",
            "UniversalEntityID": "1.2.3",
            "UniversalEntityIDType": "ISO",
        }
    ],
)
VALUES = {
    "Modality": ("CT", "MR", "US", ""),
    "ScheduledStationAETitle": ("", "CT1", "CT1\\CT2", "MR1", "ct1"),
    "ScheduledPerformingPhysicianName": NAMES,
    "ScheduledProcedureStepDescription": ("Head", "head", "Kopf [nativ]", "Head 100%"),
    "ScheduledStationName": ("", "ROOM 1", "ROOM 1\\ROOM 2", "ROOM_2"),
    "ScheduledProcedureStepLocation": ("", "EAST", "East", "E*ST"),
    "ScheduledProtocolCodeSequence": CODES,
    "PreMedication": TEXTS,
    "ScheduledProcedureStepStatus": tuple(StepState),
    "RequestedContrastAgent": ("", "Iopamidol", "iopamidol"),
    "CommentsOnTheScheduledProcedureStep": ("", "C:\\temp", "fasting"),
    "ScheduledProcedureStepEndDate": ("", "20300102", "20300103"),
    "ScheduledProcedureStepEndTime": ("", "1030", "103000.5", "11"),
    "AccessionNumber": TEXTS,
    "IssuerOfAccessionNumberSequence": ISSUERS,
    "ReferringPhysicianName": NAMES,
    "RequestingPhysician": NAMES,
    "RequestingService": TEXTS,
    "PlacerOrderNumberImagingServiceRequest": TEXTS,
    "FillerOrderNumberImagingServiceRequest": TEXTS,
    "ImagingServiceRequestComments": ("", "see\\above", "none"),
    "RequestedProcedureID": TEXTS[:3],
    "RequestedProcedureDescription": ("CT head", "ct head", "MR_1", "MRx1"),
    "RequestedProcedureCodeSequence": CODES,
    "RequestedProcedurePriority": ("STAT", "HIGH", ""),
    "PatientTransportArrangements": ("", "BED", "WALK"),
    "ReasonForTheRequestedProcedure": TEXTS,
    "ReferencedStudySequence": REFERENCED,
    "AdmissionID": TEXTS,
    "IssuerOfAdmissionIDSequence": ISSUERS,
    "CurrentPatientLocation": ("", "WARD 7", "ward 7"),
    "VisitStatusID": ("", "ADMITTED", "SCHEDULED"),
    "ReferencedPatientSequence": REFERENCED,
    "PatientName": NAMES,
    "IssuerOfPatientID": ("", "HOSP", "CITY"),
    "OtherPatientIDsSequence": (
        [],
        [{"PatientID": "X1", "IssuerOfPatientID": "CITY"}],
        [{"PatientID": "X1", "IssuerOfPatientID": "HOSP"}, {"PatientID": "X2"}],
    ),
    "PatientBirthDate": ("", "19800229", "20000101"),
    "PatientSex": ("F", "M", "O", ""),
    "PatientMotherBirthName": NAMES,
    "PatientWeight": ("", "70", "70.0", "70.5", "100"),
    "PatientSize": ("", "1.7", "1.70"),
    "ConfidentialityConstraintOnPatientDataDescription": ("", "VIP", "vip"),
    "PatientState": TEXTS,
    "PregnancyStatus": ("", "3", "4"),
    "MedicalAlerts": ("", "MRSA", "Pacemaker\\MRSA"),
    "Allergies": ("", "Latex", "Latex\\Iodine"),
    "SpecialNeeds": ("", "Wheelchair", "wheelchair"),
    "PatientComments": ("", "C:\\x", "calm"),
    "EthnicGroup": ("", "A", "B"),
    "Occupation": ("", "Nurse", "nurse"),
}
# Berlin's clock goes back on October 27th, 2030 at 3, and forth on March 31st at 2.
STARTS = (
    *("20300101235959", "20300102000000", "20300102093000", "20300102093059", "20300103180000"),
    *("20301027013000", "20301027023000", "20301027033000", "20300331013000", "20300331030000"),
)
KEYS = (
    *VALUES,
    *("ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime"),
    *("StudyInstanceUID", "ScheduledProcedureStepID", "PatientID"),
)
DEVICES = (None, DeviceTable(ae_title="CT1", modality="CT"))


def made(seed, count=80):
    """Make items, in the order in which they are stored."""
    chance = random.Random(seed)
    for number in range(count):
        start = chance.choice(STARTS)
        yield {
            **{name: chance.choice(values) for name, values in VALUES.items()},
            "ScheduledProcedureStepStartDate": start[:8],
            "ScheduledProcedureStepStartTime": start[8:],
            "StudyInstanceUID": f"1.2.826.0.1.{number}",
            "ScheduledProcedureStepID": f"{chance.choice(TEXTS)}.{number}",
            "PatientID": f"{chance.choice(TEXTS)}{number % 20}.{number}",
        }


ITEMS = list(made(5))


@dataclass
class Asked:
    """Stands for an association: keeps what is answered."""

    calling_title: str = "CT1"
    called_title: str = "MWL"
    address: str = "127.0.0.1"
    answers: list[bytes] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    def send_responses(self, _message, data_sets, pending):
        for data in data_sets:
            self.answers.append(data)
            self.statuses.append(pending)
        return True

    def send_response(self, _message, code, **_more):
        self.statuses.append(code)

    def cancelled(self, _message_id):
        return False


class Worklist:
    def __init__(self, database, items=ITEMS):
        self._database = database
        stored = [rows(number, item) for number, item in enumerate(items, 1)]
        database.write(lambda session: insert_items(session, stored))
        self._places = {item["ScheduledProcedureStepID"]: place for place, item in enumerate(items)}

    def find(self, keys, *, device=None, options=Options()):  # noqa: B008 - frozen
        """Give the places of the items that are found, and the statuses."""
        service = WorklistService(
            self._database, BERLIN, clock=lambda: NOW, device=lambda _title: device
        )
        context = SimpleNamespace(
            abstract_syntax=MODALITY_WORKLIST_FIND,
            transfer_syntax=IMPLICIT_VR_LITTLE_ENDIAN,
            options=options,
        )
        asked = Asked()
        service.handle(
            asked,
            SimpleNamespace(
                context=context,
                command=SimpleNamespace(message_id=1),
                data_set=identifier(keys),
            ),
        )
        return [self._places[_step_id(answer)] for answer in asked.answers], asked.statuses


def _step_id(answer):
    (step,) = read_dataset(BytesIO(answer), True, True).ScheduledProcedureStepSequence
    return step.ScheduledProcedureStepID


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def worklist(request, tmp_path_factory):
    """Keep the items once for all keys, so that a query has a few pages."""
    folder = tmp_path_factory.mktemp("worklist")
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), folder / "mwl.db")
        url = f"sqlite:///{folder / 'mwl.db'}"
    else:
        databases = request.getfixturevalue("postgresql_databases")
        url = databases.lend()
    database = Database(url, data_dir=folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finding, "PAGE_ROWS", PAGE_ROWS)
        yield Worklist(database)
    database.close()
    if request.param == "postgresql":
        databases.take_back(url)


def compared(worklist, keys, device=None, *, fuzzy=False, hours=None):
    options = Options(fuzzy=fuzzy, timezone=hours is not None)
    zone = {"TimezoneOffsetFromUTC": f"{hours:+03d}00"} if hours is not None else {}
    found, statuses = worklist.find({**keys, **zone}, device=device, options=options)
    modality = device.modality if device else None
    expected = oracle.find(ITEMS, keys, modality=modality, fuzzy=fuzzy, hours_ahead=hours)
    assert found == expected, (keys, device, fuzzy, hours)
    assert statuses == [status.PENDING] * len(found) + [status.SUCCESS], keys
    return len(found)


def ways(name):
    """List keys for an attribute: single values, wildcards, lists, ranges, and what means all."""
    if name.endswith("Date"):
        days = ["20300102", "20300102-", "-20300102", "20300102-20301027"]
        return [*days, "19800229-", "-", "", "19000101"]
    if name.endswith("Time"):
        return ["0930", "1030", "103000", "09-18", "0931-", "-0929", "*", "1030-11", "05"]
    if name not in VALUES:
        values = [item[name] for item in ITEMS[:30:7]]
        return [*values, "\\".join(values), "none", "*", "*2", "?1*"]
    values = VALUES[name]
    if isinstance(values[0], list):
        return list(_items_asked(values))
    known = [part for value in values if value for part in value.split("\\")]
    if name in ("PregnancyStatus", "PatientWeight", "PatientSize"):
        return ["", *known, "9", *(["070.0", "1.700"] if name != "PregnancyStatus" else [])]
    first, last = known[0], known[-1]
    keys = [
        "",
        "none",
        *known,
        "*",
        f"{first[:1]}*",
        f"*{last[-1:]}",
        f"?{first[1:]}",
        "?*?",
        f"{first}\\{last}",
    ]
    keys += [f"{first}  ", first.upper(), f"*{first[1:]}*"]
    if values is NAMES:
        keys += ["doe^*", "muller*", "MÜLLER^ÄNNE^^", "山田*", "*たろう", "=山田^花子", "o%neil_*"]
        keys += ["doe^jane=*", "orsted^lucja", "ИВАНОВ*", "d?e^j*", "^Jane", "*^*a*"]
    return keys


def _items_asked(values):
    items = [item for value in values for item in value]
    for item in items:
        yield [item]
        for name, text in item.items():
            yield [{name: text}]
            yield [{name: f"{text[:1]}*"}]
    yield [dict.fromkeys(items[0], "")]
    yield [dict.fromkeys(items[0], "none")]
    yield [{**items[0], **dict.fromkeys(list(items[0])[:1], next(iter(items[-1].values())))}]


@pytest.mark.parametrize("name", KEYS)
def test_each_key_in_each_way_finds_what_is_there(worklist, name):
    counts = [compared(worklist, {name: key}) for key in ways(name)]
    assert min(counts) < PAGE_ROWS < max(counts)


@st.composite
def questions(draw):
    device = draw(st.sampled_from(DEVICES))
    names = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4, unique=True))
    keys = {name: draw(st.sampled_from(ways(name))) for name in names}
    return keys, device, draw(st.booleans()), draw(st.sampled_from([None, 0, 1, 9, -5]))


def test_keys_together_find_what_is_there(worklist):
    @settings(
        max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(questions())
    def check(question):
        keys, device, fuzzy, hours = question
        compared(worklist, keys, device, fuzzy=fuzzy, hours=hours)

    check()
