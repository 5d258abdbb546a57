"""What is set of a device does to its queries and answers, over the wire."""

import struct
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from mwl.config import DeviceTable, DeviceWorklist, Settings
from mwl.db import Database
from mwl.devices import Doorkeeper
from mwl.net import status
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mwl.roles.dicom import _services
from mwl.scp.worklist import WorklistService
from mwl.shortened import shorten
from mwl.sightings import Lookout
from tests.dicom_client import status as status_of
from tests.dicom_server import dial_fixture, serve_fixture  # noqa: F401 - fixtures
from tests.identifiers import asking, element
from tests.test_mwl_scp_worklist import Scanner
from tests.worklist_rows import NOW, insert_items, item

SITE = ZoneInfo("Europe/Berlin")  # NOW is nine o'clock there
ID = ("ScheduledProcedureStepID",)
# pydicom warns of what these tests send on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def device(ae_title="CT1", *, aliases=(), modality="CT", zone="", **shown):
    return DeviceTable(
        ae_title=ae_title,
        aliases=aliases,
        modality=modality,
        zone=zone,
        worklist=DeviceWorklist(**shown),
    )


@pytest.fixture
def scanner(sqlite_database, serve, dial):
    """Serve items to a scanner of which `set_of` is set; it calls by `calling`."""

    def begin(set_of, *items, calling="CT1", **service):
        if items:
            sqlite_database.write(lambda session: insert_items(session, items))
        service.setdefault("clock", lambda: NOW)
        serving = WorklistService(sqlite_database, SITE, device=lambda _title: set_of, **service)
        return Scanner(serve(serving), dial, calling)

    return begin


def steps_of(answers):
    return [each.ScheduledProcedureStepSequence[0] for each in answers]


def told(answers, keyword):
    return [str(each[keyword].value) for each in steps_of(answers)]


# --- what it is shown


EVERYWHERE = [
    item(0, "CT1"),
    item(1, "CT2"),
    item(2, step={"modality": "CT"}),
    item(3, step={"modality": "MR"}),
    item(4, step={"modality": ""}),
    item(5, "ROOM", step={"location": "ATTIC"}),
    item(6, "CT1", step={"location": "CELLAR", "modality": "PT"}),
    item(7, "CT1", step={"start_local": "20300101085959"}),
    item(8, "CT1", step={"start_local": "20300102150001"}),
    item(9, "OLD", step={"state": "ARRIVED"}),
]


@pytest.mark.parametrize(
    ("shown", "found"),
    [
        ({}, "0123456789"),
        ({"own_station": True}, "0246789"),
        ({"own_station": True, "stations": ("ROOM",)}, "02456789"),
        ({"modalities": ("CT",)}, "01245789"),
        ({"modalities": ("CT", "PT", "MR")}, "0123456789"),
        ({"locations": ("CELLAR",)}, "012346789"),
        ({"hours_back": 24.0}, "012345689"),
        ({"hours_ahead": 6.0}, "012345679"),
        ({"hours_back": 0.0, "hours_ahead": 6.0}, "01234569"),
        ({"hide": ("ARRIVED", "READY")}, "012345678"),
        (
            {"own_station": True, "modalities": ("CT",), "hours_back": 24.0, "hours_ahead": 6.0},
            "0249",
        ),
    ],
)
def test_a_device_is_shown_what_is_set(scanner, shown, found):
    server = scanner(device(aliases=("OLD",), **shown), *EVERYWHERE)
    assert sorted(server.steps(asking(step=ID))) == [f"SPS{number}" for number in found]


def test_no_key_shows_it_more(scanner):
    shown = {"own_station": True, "modalities": ("CT",), "hide": ("ARRIVED",), "hours_ahead": 6.0}
    server = scanner(device(**shown), *EVERYWHERE)
    for key in (
        {"step_ScheduledStationAETitle": "CT2"},
        {"step_Modality": "PT"},
        {"step_ScheduledProcedureStepStatus": "ARRIVED"},
        {
            "step_ScheduledProcedureStepStartDate": "20300102",
            "step_ScheduledProcedureStepStartTime": "1500-",
        },
    ):
        found = set(server.steps(asking(step=ID, **key)))
        assert found <= {"SPS2", "SPS4"}


def test_a_window_moves_with_the_clock_of_the_site(scanner):
    now = [NOW]
    server = scanner(
        device(hours_ahead=1.0),
        item(1, step={"start_local": "20300102101500"}),
        clock=lambda: now[0],
    )
    assert server.steps(asking(step=ID)) == []
    now[0] += timedelta(minutes=15)
    assert server.steps(asking(step=ID)) == ["SPS1"]


@pytest.mark.parametrize("beyond", ["refuse", "cut"])
def test_a_list_that_is_too_long_for_it_is_refused_or_cut(scanner, beyond):
    server = scanner(device(max_answers=3, beyond=beyond), *(item(n) for n in range(4)))
    with capture_logs() as logs:
        answers, commands = server.ask(asking(step=ID))
    assert len(answers) == 3
    code = status_of(commands[-1])
    if beyond == "refuse":
        assert code == status.REFUSED_OUT_OF_RESOURCES
        comment = commands[-1].text(0x00000902)
        assert comment == "more than 3 match, and it may get no more"
    else:
        assert code == status.SUCCESS
        assert {
            "event": "worklist.cut",
            "log_level": "warning",
            "calling": "CT1",
            "answers": 3,
        } in logs


def test_as_many_as_it_takes_are_no_failure_and_the_server_s_own_bound_holds_too(scanner):
    server = scanner(device(max_answers=4, beyond="cut"), *(item(n) for n in range(4)))
    assert len(server.find(asking(step=ID))) == 4
    server = scanner(device(max_answers=4, beyond="cut"), max_answers=2)
    answers, commands = server.ask(asking(step=ID))
    assert (len(answers), status_of(commands[-1])) == (2, status.REFUSED_OUT_OF_RESOURCES)


# --- what it means, and what it is told


CALLED = [item(1, "CT1"), item(2, "CT1_OLD", "CT2"), item(3, "ROOM7"), item(4, "CT2"), item(5)]
SEVERAL = {"aliases": ("CT1_OLD",), "stations": ("ROOM7",)}


@pytest.mark.parametrize(
    ("calling", "key", "found", "stations"),
    [
        ("CT1", "CT1", "1235", ["CT1", "['CT1', 'CT2']", "CT1", "CT1"]),
        ("CT1_OLD", "CT1", "1235", ["CT1", "['CT1', 'CT2']", "CT1", "CT1"]),
        ("CT1", "CT1_OLD", "1235", ["CT1_OLD", "['CT1_OLD', 'CT2']", "CT1_OLD", "CT1_OLD"]),
        ("CT1", "ROOM7", "35", ["ROOM7", "CT1"]),
        ("CT1", "CT2", "245", ["['CT1', 'CT2']", "CT2", "CT1"]),
        ("CT1_OLD", "", "12345", ["CT1_OLD", "['CT1_OLD', 'CT2']", "CT1_OLD", "CT2", "CT1_OLD"]),
    ],
)
def test_its_own_station_is_all_of_its_titles(scanner, calling, key, found, stations):
    server = scanner(device(**SEVERAL), *CALLED, calling=calling)
    answers = server.find(asking(step=ID, step_ScheduledStationAETitle=key))
    assert told(answers, "ScheduledProcedureStepID") == [f"SPS{number}" for number in found]
    assert told(answers, "ScheduledStationAETitle") == stations


X_RAYS = [item(n, step={"modality": code}) for n, code in enumerate(["CR", "DX", "RG", "", "CT"])]


@pytest.mark.parametrize(
    ("key", "found", "modalities"),
    [
        ("CR", "0123", ["CR", "CR", "CR", "CR"]),
        ("DX", "13", ["DX", "DX"]),
        ("CR\\DX", "0123", ["CR", "DX", "CR", "CR"]),
        ("C*", "3", ["OT"]),
        ("", "01234", ["CR", "DX", "RG", "OT", "CT"]),
    ],
)
def test_a_modality_stands_for_others_and_is_told_as_it_was_asked_by(
    scanner, key, found, modalities
):
    server = scanner(device(modality="CR", synonyms={"CR": ("CR", "DX", "RG")}), *X_RAYS)
    answers = server.find(asking(step=ID, step_Modality=key))
    assert told(answers, "ScheduledProcedureStepID") == [f"SPS{number}" for number in found]
    assert told(answers, "Modality") == modalities


def test_a_modality_that_nobody_named_is_told_as_the_one_that_was_asked_for(scanner):
    """Scanners drop what is not of their modality; of a stranger nothing else is known."""
    server = scanner(None, *X_RAYS)
    assert told(server.find(asking(step_Modality="MR")), "Modality") == ["MR"]
    assert told(server.find(asking(step_Modality="")), "Modality")[3] == "OT"


def test_an_unassigned_step_of_what_its_modality_stands_for_is_its_own(scanner):
    server = scanner(device(modality="CR", synonyms={"CR": ("DX",)}, own_station=True), *X_RAYS)
    assert server.steps(asking(step=ID)) == ["SPS0", "SPS1", "SPS3"]
    assert server.steps(asking(step=ID, step_ScheduledStationAETitle="CT1")) == [
        "SPS0",
        "SPS1",
        "SPS3",
    ]


def test_what_would_be_empty_has_its_default(scanner):
    defaults = {
        "PatientSex": "O",
        "PatientName": "Nobody^Städtisch",
        "PregnancyStatus": "4",
        "StudyDate": "20300101",
        "Modality": "CR",
        "BodyPartExamined": "HEAD",
        "ExposureTime": "7",
        "RecommendedDisplayFrameRateInFloat": "2.5",
        "ReferencedStudySequence": "1.2.3",
        "NoSuchKeyword": "x",
    }
    asked = asking(
        *(name for name in defaults if name not in ("Modality", "NoSuchKeyword")),
        "PatientID",
        step=("Modality", *ID),
    )
    bare = {"patient_name": "", "sex": ""}
    full = {"order": {"pregnancy_status": "1"}, "step": {"modality": "MR"}}
    server = scanner(
        device(defaults=defaults), item(1, patient=bare, step={"modality": ""}), item(2, **full)
    )
    for syntax in (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN):
        empty, known = server.find(asked, syntax)
        assert (empty.PatientSex, known.PatientSex) == ("O", "F")
        assert (empty.PatientName, known.PatientName) == ("Nobody^Städtisch", "Doe^Number2")
        assert (empty.PregnancyStatus, known.PregnancyStatus) == (4, 1)
        assert told([empty, known], "Modality") == ["CR", "MR"]
        assert empty.StudyDate == "20300101"
        assert empty.BodyPartExamined == "HEAD"
        assert empty.ExposureTime == 7
        assert empty.RecommendedDisplayFrameRateInFloat == 2.5
        assert not empty.ReferencedStudySequence
        assert empty.PatientID == "P1"


def test_a_number_that_is_none_is_left_out_alone(scanner):
    server = scanner(device(defaults={"PregnancyStatus": "none"}), item(1))
    (answer,) = server.find(asking("PregnancyStatus", "PatientID"))
    assert (answer.PregnancyStatus, answer.PatientID) == (None, "P1")


def test_keys_whose_values_are_not_looked_at_are_returned(scanner):
    server = scanner(
        device(
            ignore=("ScheduledStationAETitle", "ScheduledProcedureStepStartDate", "PatientWeight")
        ),
        item(1, "CT9", step={"start_local": "20291231080000"}),
    )
    keys = {
        "PatientWeight": "70",
        "step_ScheduledStationAETitle": "WRONG",
        "step_ScheduledProcedureStepStartDate": "tomorrow",
    }
    answers, commands = server.ask(asking(step=ID, **keys))
    assert [status_of(each) for each in commands] == [status.PENDING, status.SUCCESS]
    assert told(answers, "ScheduledStationAETitle") == ["CT9"]
    assert told(answers, "ScheduledProcedureStepStartDate") == ["20291231"]


def test_a_sequence_that_is_not_looked_at_has_no_keys(scanner):
    server = scanner(device(ignore=("ScheduledProcedureStepSequence",)), item(1, "CT9"))
    assert server.steps(asking(step=ID, step_Modality="XA", step_ScheduledStationAETitle="Z")) == [
        "SPS1"
    ]


def test_what_it_was_shown_is_noted_by_its_own_title(scanner):
    noted = []
    server = scanner(
        device(aliases=("CT1_OLD",)),
        item(1),
        calling="CT1_OLD",
        note=lambda *what: noted.append(what),
    )
    server.find(asking(step=ID))
    assert [(title, address) for title, address, *_ in noted] == [("CT1", "127.0.0.1")]


def test_what_is_set_of_it_costs_no_read(sqlite_database, scanner, monkeypatch):
    shown = {"own_station": True, "synonyms": {"CT": ("PT",)}, "hours_back": 12.0}
    server = scanner(device(aliases=("CT1_OLD",), **shown), *(item(n) for n in range(3)))
    reads, read = [], Database.read
    monkeypatch.setattr(Database, "read", lambda self: reads.append(1) or read(self))
    asked = asking(step=ID, step_ScheduledStationAETitle="CT1", step_Modality="CT")
    assert len(server.steps(asked)) == 3
    assert len(reads) == 1


def test_the_role_asks_the_doorkeeper_what_is_set(sqlite_database, tmp_path):
    given = Settings(data_dir=tmp_path)
    door = Doorkeeper(sqlite_database, ae_title="MWL", mode="any", host="127.0.0.1")
    lookout = Lookout(sqlite_database)
    services = _services(
        given, sqlite_database, door, lookout, lambda service, _what: service, None
    )
    (worklist,) = (each for each in services if isinstance(each, WorklistService))
    assert worklist.device == door.settings


# --- its wall clock


@pytest.mark.parametrize(
    ("date", "time", "found"),
    [
        ("20300102", "", ["SPS1"]),
        ("20300101", "", ["SPS0"]),
        ("20300702", "1500", ["SPS2"]),
        ("20300101-20300703", "0930", []),
        ("20300102-20300703", "0830-0900", ["SPS1", "SPS2"]),
        ("20300102-20300703", "0845-0900", ["SPS2"]),
    ],
)
def test_its_own_wall_clock_is_asked_by_and_told(scanner, date, time, found):
    # An hour behind Berlin, in summer and in winter.
    server = scanner(
        device(zone="Europe/Lisbon"),
        item(0, step={"start_local": "20300102003000"}),
        item(1, step={"start_local": "20300102093000"}),
        item(2, step={"start_local": "20300702160000"}),
    )
    clock = {
        "0": ("20300101", "233000", "+0000"),
        "1": ("20300102", "083000", "+0000"),
        "2": ("20300702", "150000", "+0100"),
    }
    answers = server.find(
        asking(
            "TimezoneOffsetFromUTC",
            "PatientBirthDate",
            step=ID,
            step_ScheduledProcedureStepStartDate=date,
            step_ScheduledProcedureStepStartTime=time,
        )
    )
    assert told(answers, "ScheduledProcedureStepID") == found
    for answer, name in zip(answers, found, strict=True):
        (step,) = answer.ScheduledProcedureStepSequence
        start = step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime
        assert (*start, answer.TimezoneOffsetFromUTC) == clock[name[-1]]
        assert answer.PatientBirthDate == "19800229"


# --- what it does wrong


def begun(*keys):
    """Write keys of a step, in a sequence and an item that never end."""
    start = struct.pack("<HHI", 0x0040, 0x0100, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    return element(0x00100020, b"") + start + b"".join(keys)


def test_a_sequence_without_an_end_is_read_where_that_is_set(scanner):
    keys = begun(element(0x00080060, b"MR"), element(0x00400009, b""))
    items = item(1), item(2, step={"modality": "MR"})
    server = scanner(device(), *items)
    assert status_of(server.send(keys, IMPLICIT_VR_LITTLE_ENDIAN)[1][-1]) == 0xC001
    answers, commands = scanner(device(tolerates=("open-sequences",))).send(
        keys, IMPLICIT_VR_LITTLE_ENDIAN
    )
    assert status_of(commands[-1]) == status.SUCCESS
    assert told(answers, "ScheduledProcedureStepID") == ["SPS2"]


@pytest.mark.parametrize(
    ("date", "found"),
    [
        ("2030-01-02", "1"),
        ("2030/01/02", "1"),
        ("2030-01-02 - 2030-01-03", "12"),
        ("20300102,", "1"),
        ("20300102120000", "1"),
        ("-20300102120000", "01"),
        ("20300103-20300102", "12"),
        ("20300102\\20300103", "12"),
        ("203001*", "0123"),
        ("2030*", "01234"),
        ("TODAY", "01234"),
        ("20301302", "01234"),
    ],
)
def test_days_in_other_forms_are_read_where_that_is_set(scanner, date, found):
    starts = ["20300101", "20300102", "20300103", "20300131", "20301231"]
    items = [item(n, step={"start_local": f"{day}120000"}) for n, day in enumerate(starts)]
    tag = element(0x00400002, date.encode() + b" " * (len(date) % 2))
    keys = begun(tag, element(0x00400009, b"")) + _END
    server = scanner(device(tolerates=("dates",)), *items)
    answers, commands = server.send(keys, IMPLICIT_VR_LITTLE_ENDIAN)
    assert status_of(commands[-1]) == status.SUCCESS
    assert told(answers, "ScheduledProcedureStepID") == [f"SPS{n}" for n in found]
    strict, commands = scanner(device()).send(keys, IMPLICIT_VR_LITTLE_ENDIAN)
    assert status_of(commands[-1]) == 0xC001 or len(strict) < len(answers)


_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


@pytest.mark.parametrize(
    ("time", "found"),
    [("9:30", "1"), ("9:30-24:00", "123"), ("1200-2400", "23"), ("noon", "0123"), ("08*", "0")],
)
def test_times_in_other_forms_are_read_where_that_is_set(scanner, time, found):
    starts = ["080000", "093000", "120000", "235959"]
    items = [item(n, step={"start_local": f"20300102{clock}"}) for n, clock in enumerate(starts)]
    server = scanner(device(tolerates=("dates",)), *items)
    keys = begun(
        element(0x00400002, b"20300102"),
        element(0x00400003, time.encode() + b" " * (len(time) % 2)),
        element(0x00400009, b""),
    )
    answers, commands = server.send(keys + _END, IMPLICIT_VR_LITTLE_ENDIAN)
    assert status_of(commands[-1]) == status.SUCCESS
    assert told(answers, "ScheduledProcedureStepID") == [f"SPS{n}" for n in found]


LONG = "RIS-2030-0000-000-4711"


def test_a_long_number_finds_what_stands_for_it_where_that_is_set(scanner):
    items = [
        item(1, procedure={"accession_number": shorten(LONG, 16)}),
        item(2, procedure={"accession_number": LONG[:16]}),
        item(3, "CT_IN_A_LONG_ROOM"[:16]),
    ]
    by_number = asking("PatientID", step=ID, AccessionNumber=LONG)
    by_station = asking(step=ID, step_ScheduledStationAETitle="CT_IN_A_LONG_ROOM")
    tolerant = scanner(device(modality="MR", tolerates=("long-values",)), *items)
    assert tolerant.steps(by_number) == ["SPS1"]
    assert tolerant.steps(by_station) == ["SPS3"]
    strict = scanner(device(modality="MR"))
    assert strict.steps(by_station) == []


def test_wildcards_are_meant_everywhere_where_that_is_set(scanner):
    items = [item(n, patient={"patient_id": name}) for n, name in enumerate(["A1", "A2", "B1"])]
    asked = asking(step=ID, PatientID="A?")
    assert scanner(device(tolerates=("wildcards",)), *items).steps(asked) == ["SPS0", "SPS1"]
    assert scanner(device()).steps(asked) == []


NAMES = ["Doe^Jane", "Doering^Ann", "Roe^Doe", "Yamada^Tarou=山田^太郎"]


@pytest.mark.parametrize(
    ("key", "found"),
    [("Doe", "01"), ("doe^j", "0"), ("Doe^*", "0"), ("Yam", "3"), ("=山田", "3"), ("Roe^Doe", "2")],
)
def test_a_name_stands_for_how_it_begins_where_that_is_set(scanner, key, found):
    items = [item(n, patient={"patient_name": name}) for n, name in enumerate(NAMES)]
    asked = asking(step=ID, PatientName=key, charset="ISO_IR 192")
    tolerant = scanner(device(tolerates=("bare-names",)), *items)
    assert tolerant.steps(asked) == [f"SPS{n}" for n in found]
    if key in ("Doe", "Yam"):
        assert scanner(device()).steps(asked) == []


def test_it_is_not_told_that_a_key_is_not_supported_where_that_is_set(scanner):
    asked = asking("BodyPartExamined", step=ID)
    _, commands = scanner(device(), item(1)).ask(asked)
    assert status_of(commands[0]) == status.PENDING_UNSUPPORTED_KEYS
    _, commands = scanner(device(tolerates=("ff01",))).ask(asked)
    assert [status_of(each) for each in commands] == [status.PENDING, status.SUCCESS]


SEQUENCES = ("ReferencedStudySequence", "RequestedProcedureCodeSequence", "PatientID")


@pytest.mark.parametrize("syntax", [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN])
def test_sequences_are_told_as_it_can_read_them(scanner, syntax):
    asked = asking(
        *SEQUENCES, "PatientName", step=("ScheduledProtocolCodeSequence", *ID), charset="ISO_IR 192"
    )
    one = item(1, patient={"patient_name": "Müller^Änne"})
    plain = scanner(device(), one).find(asked, syntax)[0]
    lean = scanner(device(tolerates=("empty-sequences",))).find(asked, syntax)[0]
    defined = scanner(device(tolerates=("undefined-lengths",))).find(asked, syntax)[0]
    both = scanner(device(tolerates=("empty-sequences", "undefined-lengths"))).find(asked, syntax)[
        0
    ]
    assert defined == plain
    assert both == lean
    assert "ReferencedStudySequence" in plain
    assert "ReferencedStudySequence" not in lean
    assert "ScheduledProtocolCodeSequence" not in lean.ScheduledProcedureStepSequence[0]
    for answer in (plain, lean):
        assert answer.RequestedProcedureCodeSequence[0].CodeValue == "CTHEAD"
        assert answer.PatientName == "Müller^Änne"
        assert answer.ScheduledProcedureStepSequence.is_undefined_length
        assert answer.ScheduledProcedureStepSequence[0].is_undefined_length_sequence_item
    for answer in (defined, both):
        for sequence in (
            answer.ScheduledProcedureStepSequence,
            answer.RequestedProcedureCodeSequence,
        ):
            assert not sequence.is_undefined_length
            assert not sequence[0].is_undefined_length_sequence_item
