"""What a scanner may agree on beside its worklist: fuzzy names, and its own time zone."""

from io import BytesIO
from zoneinfo import ZoneInfo

import pytest
from pydicom.filereader import read_dataset
from pynetdicom import AE
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from mwl.net.options import Options, proposal
from mwl.scp.worklist import WorklistService
from tests.dicom_client import MODALITY_WORKLIST_FIND
from tests.dicom_server import dial_fixture, serve_fixture  # noqa: F401 - fixtures
from tests.identifiers import asking, encoded
from tests.worklist_rows import NOW, insert_items, item

SITE = ZoneInfo("Europe/Berlin")
CLOCK = ("ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime")
NOTHING, FUZZY, TIMEZONE = Options(), Options(fuzzy=True), Options(timezone=True)
# pydicom warns of what these tests send on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


@pytest.fixture
def find(sqlite_database, serve, dial):
    """Serve items, ask for them with options agreed on, and give the answers."""

    def finding(items, options, asked):
        sqlite_database.write(lambda session: insert_items(session, items))
        server = serve(WorklistService(sqlite_database, SITE, clock=lambda: NOW))
        client = dial(server).associate(
            (MODALITY_WORKLIST_FIND,), extended=(proposal(MODALITY_WORKLIST_FIND, options),)
        )
        *pending, (last, _) = client.find(encoded(asked, explicit=False))
        client.release()
        answers = [read_dataset(BytesIO(data), True, True) for _, data in pending]
        return last, answers

    return finding


def ids(answers):
    return [each.ScheduledProcedureStepSequence[0].ScheduledProcedureStepID for each in answers]


def named(number, patient, physician="House^Gregory"):
    return item(number, patient={"patient_name": patient}, step={"performing_physician": physician})


PEOPLE = [
    named(1, "Müller^Anna"),
    named(2, "Meyer^Karl", "Иванов^Иван"),
    named(3, "Miller^Ann"),
    named(4, ""),
]
ID = ("ScheduledProcedureStepID",)


@pytest.mark.parametrize(
    ("options", "key", "found"),
    [
        (FUZZY, "mueller^anna", ["SPS1"]),
        (FUZZY, "Maier", ["SPS2"]),
        (FUZZY, "Karl Maier", ["SPS2"]),
        (FUZZY, "Mul*", ["SPS1"]),
        (FUZZY, "M?ller*", ["SPS1", "SPS3"]),
        (FUZZY, "", ["SPS1", "SPS2", "SPS3", "SPS4"]),
        (NOTHING, "mueller^anna", []),
        (NOTHING, "Maier", []),
        (NOTHING, "Müller^Anna", ["SPS1"]),
        (TIMEZONE, "Maier", []),
    ],
)
def test_names_match_fuzzily_where_that_was_agreed_on(find, options, key, found):
    asked = asking(PatientName=key, step=ID, charset="ISO_IR 192")
    last, answers = find(PEOPLE, options, asked)
    assert (last, ids(answers)) == (0x0000, found)


def test_physicians_match_fuzzily_too(find):
    asked = asking(step_ScheduledPerformingPhysicianName="Iwanow", step=ID)
    assert ids(find(PEOPLE, FUZZY, asked)[1]) == ["SPS2"]


def at(number, start, **step):
    return item(number, step={"start_local": start, **step})


# In Tokyo it is eight hours later than in Berlin in winter, seven in summer.
STARTS = [
    at(1, "20300102093000"),
    at(2, "20300102170000"),
    at(3, "20300103050000"),
    at(4, "20300702170000"),
]
TOKYO = "+0900"


def told(answers):
    steps = [each.ScheduledProcedureStepSequence[0] for each in answers]
    return [
        (each.ScheduledProcedureStepStartDate, each.ScheduledProcedureStepStartTime)
        for each in steps
    ]


def test_dates_and_times_are_told_in_the_zone_that_was_agreed_on(find):
    asked = asking(TimezoneOffsetFromUTC=TOKYO, step=(*ID, *CLOCK))
    last, answers = find(STARTS, TIMEZONE, asked)
    assert last == 0x0000
    assert told(answers) == [
        ("20300102", "173000"),
        ("20300103", "010000"),
        ("20300103", "130000"),
        ("20300703", "000000"),
    ]
    assert {each.TimezoneOffsetFromUTC for each in answers} == {TOKYO}


def test_without_agreement_or_zone_they_are_told_as_the_site_s_clock_has_them(find):
    asked = asking(TimezoneOffsetFromUTC=TOKYO, step=(*ID, *CLOCK))
    answers = find(STARTS, NOTHING, asked)[1]
    assert told(answers)[1] == ("20300102", "170000")
    assert answers[1].TimezoneOffsetFromUTC == "+0100"


def test_an_agreed_zone_that_is_not_named_changes_nothing(find):
    answers = find(STARTS, TIMEZONE, asking(step=(*ID, *CLOCK)))[1]
    assert told(answers)[1] == ("20300102", "170000")


@pytest.mark.parametrize(
    ("date", "time", "found"),
    [
        ("20300103", "", ["SPS2", "SPS3"]),
        ("20300102", "", ["SPS1"]),
        ("20300103-", "", ["SPS2", "SPS3", "SPS4"]),
        ("-20300102", "", ["SPS1"]),
        ("20300102-20300103", "1700-0100", ["SPS1", "SPS2"]),
        ("20300102-20300103", "13", ["SPS3"]),
        ("20300102-20300703", "00", ["SPS4"]),
        ("", "0000-0130", ["SPS2", "SPS4"]),
        ("", "173000", ["SPS1"]),
        ("", "170000", []),
    ],
)
def test_dates_and_times_are_asked_for_in_the_zone_that_was_agreed_on(find, date, time, found):
    asked = asking(
        TimezoneOffsetFromUTC=TOKYO,
        step=ID,
        step_ScheduledProcedureStepStartDate=date,
        step_ScheduledProcedureStepStartTime=time,
    )
    assert ids(find(STARTS, TIMEZONE, asked)[1]) == found


def test_other_moments_shift_and_dates_alone_do_not(find):
    more = {
        "ScheduledProcedureStepEndDate": "20300102",
        "ScheduledProcedureStepEndTime": "2000",
        "LastMenstrualDate": "20291220",
    }
    step = {"start_local": "20300102190000", "attributes": more}
    shown = ("ScheduledProcedureStepEndDate", "ScheduledProcedureStepEndTime")
    asked = asking(
        *("IssueDateOfImagingServiceRequest", "IssueTimeOfImagingServiceRequest"),
        *("LastMenstrualDate", "PatientBirthDate"),
        step=shown,
        TimezoneOffsetFromUTC=TOKYO,
    )
    (answer,) = find([item(1, order={"issued_local": "20291231"}, step=step)], TIMEZONE, asked)[1]
    step = answer.ScheduledProcedureStepSequence[0]
    assert [step[name].value for name in shown] == ["20300103", "0400"]
    assert answer.IssueDateOfImagingServiceRequest == "20291231"  # at a time that nobody knows
    assert answer.IssueTimeOfImagingServiceRequest == ""
    assert answer.LastMenstrualDate == "20291220"
    assert answer.PatientBirthDate == "19800229"


@pytest.mark.parametrize("zone", ["Tokyo", "+9", "+2500", "0900"])
def test_a_zone_that_is_none_is_refused_with_its_attribute(find, zone):
    last, answers = find(STARTS, TIMEZONE, asking(TimezoneOffsetFromUTC=zone, step=ID))
    assert (last, answers) == (0xC001, [])


def test_pynetdicom_is_told_what_was_agreed_on(sqlite_database, serve):
    sqlite_database.write(lambda session: insert_items(session, PEOPLE))
    server = serve(WorklistService(sqlite_database, SITE, clock=lambda: NOW))
    wanted = SOPClassExtendedNegotiation()
    wanted.sop_class_uid = MODALITY_WORKLIST_FIND
    wanted.service_class_application_information = b"\1\1\1"
    ae = AE("CT1")
    ae.add_requested_context(MODALITY_WORKLIST_FIND)
    asked = ae.associate(*server.address, ae_title="MWL", ext_neg=[wanted])
    assert asked.acceptor.sop_class_extended == {MODALITY_WORKLIST_FIND: b"\1\1\1"}
    answers = list(asked.send_c_find(asking(PatientName="Maier", step=ID), MODALITY_WORKLIST_FIND))
    asked.release()
    assert [status.Status for status, _ in answers] == [0xFF00, 0x0000]
    assert ids([answers[0][1]]) == ["SPS2"]
