"""Why a scanner sees an entry, or does not: compared with what scanners are answered."""

import itertools
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from mwl.config import Dicom
from mwl.db.tables import Device
from mwl.devices import Doorkeeper
from mwl.errors import Reason, Rejected
from mwl.net import status
from mwl.orders import StepState
from mwl.scp.guarded import Guarded
from mwl.scp.worklist import WorklistService
from mwl.worklist.scope import STARTED_VISIBLE
from mwl.worklist.why import Hides, why
from tests.dicom_client import status as status_of
from tests.dicom_server import dial_fixture, serve_fixture  # noqa: F401 - fixtures
from tests.identifiers import asking
from tests.test_mwl_scp_worklist import Scanner
from tests.worklist_rows import NOW, insert_items, item

ZONE = ZoneInfo("Europe/Berlin")
OPEN = Dicom()
TODAY, TOMORROW = "20300102", "20300103"
LONG_AGO = NOW - STARTED_VISIBLE - timedelta(seconds=1)


def register(database, title, modality="CT", may=("worklist",), **more):
    at = {"created_at": NOW, "updated_at": NOW}
    row = Device(ae_title=title, modality=modality, may=list(may), **at, **more)
    database.write(lambda session: session.add(row))


def put(database, *stations, number=1, **step):
    return database.write(
        lambda session: insert_items(session, [item(number, *stations, step=step)])
    )[0]


def asked(database, step, title="CT1", dicom=OPEN, now=NOW):
    return why(database, step, title, dicom=dicom, now=now, zone=ZONE)


def hides(*given, **settings):
    return [each.by for each in asked(*given, **settings).hidden]


STATES = [
    *((state, NOW, False) for state in StepState),
    (StepState.STARTED, LONG_AGO, False),
    (StepState.SCHEDULED, NOW, True),
    (StepState.READY, NOW, True),
]
STATIONS = [(), ("CT1",), ("CT2", "MR1"), ("STRANGER", "CT1")]
STARTS = ["20300101235959", "20300102000000", "20300102235959", "20300103000000"]
# Every fifth: all pairs of any two, in a fifth of the time.
ITEMS = list(itertools.product(STATES, STATIONS, ("CT", "MR", ""), STARTS))[::5]
DEVICES = {"CT1": "CT", "MR1": "MR", "ANY1": "", "STRANGER": None}


def test_the_answer_is_that_of_a_real_c_find(sqlite_database, serve, dial):
    for title, modality in DEVICES.items():
        if modality is not None:
            register(sqlite_database, title, modality)
    items = [
        item(
            number,
            *stations,
            step={
                "state": state,
                "state_at": at,
                "expired": expired,
                "modality": modality,
                "start_local": start,
            },
        )
        for number, ((state, at, expired), stations, modality, start) in enumerate(ITEMS)
    ]
    steps = sqlite_database.write(lambda session: insert_items(session, items))
    server = serve(WorklistService(sqlite_database, ZONE, clock=lambda: NOW))
    seen = 0
    for title, modality in DEVICES.items():
        by_modality = {"step_Modality": modality} if modality else {}
        scanner = Scanner(server, dial, title)
        answered = set(
            scanner.steps(
                asking(
                    step=("ScheduledProcedureStepID",),
                    step_ScheduledStationAETitle=title,
                    step_ScheduledProcedureStepStartDate=TODAY,
                    **by_modality,
                )
            )
        )
        told = {
            f"SPS{number}"
            for number, step in enumerate(steps)
            if asked(sqlite_database, step, title).is_seen
        }
        assert told == answered
        seen += len(answered)
    assert 0 < seen < len(items) * len(DEVICES)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ({}, []),
        ({"state": "CANCELED"}, [Hides.STATE]),
        ({"state": "COMPLETED"}, [Hides.STATE]),
        ({"state": "HELD"}, [Hides.STATE]),
        ({"state": "STARTED", "state_at": LONG_AGO}, [Hides.STARTED]),
        ({"state": "STARTED"}, []),
        ({"expired": True}, [Hides.EXPIRED]),
        ({"start_local": "20300103080000"}, [Hides.DAY]),
        ({"modality": "MR"}, [Hides.MODALITY]),
        (
            {"modality": "MR", "start_local": "20300103080000", "state": "HELD"},
            [Hides.STATE, Hides.DAY, Hides.MODALITY],
        ),
    ],
)
def test_each_thing_that_hides_an_entry_is_told(database, step, expected):
    register(database, "CT1")
    assert hides(database, put(database, "CT1", **step)) == expected


def test_another_scanner_of_the_modality_is_told_whose_it_is(database):
    register(database, "CT2")
    (hidden,) = asked(database, put(database, "CT1"), "CT2").hidden
    assert hidden.by is Hides.STATION
    assert "it is for CT1" in hidden.text


def test_an_unassigned_entry_is_for_scanners_of_its_modality(database):
    register(database, "US1", "US")
    step = put(database)
    assert hides(database, step, "US1") == [Hides.MODALITY, Hides.STATION]
    assert hides(database, step, "STRANGER") == []


def test_the_site_decides_what_today_is(database):
    step = put(database, "CT1", start_local="20300103003000")
    late = NOW.replace(hour=23, minute=30)  # half past midnight in Berlin
    assert hides(database, step, now=NOW) == [Hides.DAY]
    assert hides(database, step, now=late) == []


def test_a_title_typed_in_small_letters_is_the_registered_device(database):
    register(database, "CT1", "MR")
    told = asked(database, put(database, "CT1", modality="MR"), " ct1 ")
    assert (told.ae_title, told.modality, told.registered) == ("CT1", "MR", True)
    assert told.is_seen


OWN = {"own_station": True, "stations": ["ROOM7"]}


@pytest.mark.parametrize(
    ("shown", "step", "stations", "by", "says"),
    [
        (OWN, {}, ["CT2", "CT1"], None, ""),
        (OWN, {}, ["ROOM7"], None, ""),
        (OWN, {}, [], None, ""),
        (OWN | {"ignore": ["ScheduledStationAETitle"]}, {}, ["CT2"], Hides.OWN_STATION, "for CT2,"),
        ({"modalities": ["CT", "PT"]}, {}, [], None, ""),
        (
            {"modalities": ["MR", "PT"]},
            {},
            ["CT1"],
            Hides.MODALITIES,
            "its modality is CT, and CT1 is shown MR, PT alone",
        ),
        ({"locations": ["ATTIC"]}, {}, ["CT1"], None, ""),
        (
            {"locations": ["ATTIC"]},
            {"location": "CELLAR"},
            ["CT1"],
            Hides.LOCATIONS,
            "to be done at CELLAR, and CT1 is shown ATTIC alone",
        ),
        (
            {"hours_back": 1.5},
            {"start_local": "20300102072959"},
            ["CT1"],
            Hides.HOURS_BACK,
            "it was due at 2030-01-02 07:29, and CT1 is shown what was due 1.5 hours ago at most",
        ),
        (
            {"hours_ahead": 2},
            {"start_local": "20300102110001"},
            ["CT1"],
            Hides.HOURS_AHEAD,
            "it is due at 2030-01-02 11:00, and CT1 is shown what is due in 2 hours at most",
        ),
        ({"hide": ["READY"]}, {"state": "READY"}, ["CT1"], Hides.HIDE, "it is READY, and CT1"),
        ({"synonyms": {"CT": ["PT"]}}, {"modality": "PT"}, ["CT1"], None, ""),
        (
            {"ignore": ["ScheduledProcedureStepStartDate"]},
            {"start_local": "20310101"},
            [],
            None,
            "",
        ),
    ],
)
def test_what_is_set_of_the_device_is_told_in_its_own_words(
    sqlite_database, shown, step, stations, by, says
):
    register(sqlite_database, "CT1", worklist=shown)
    (told, *more) = asked(sqlite_database, put(sqlite_database, *stations, **step)).hidden or [None]
    assert more == []
    if by is None:
        assert told is None
    else:
        assert (told.by, told.is_set) == (by, True)
        assert says in told.text
        assert told.remedy.endswith(".")


@pytest.mark.parametrize("beyond", ["refuse", "cut"])
def test_what_is_beyond_the_most_answers_is_told(sqlite_database, beyond):
    register(sqlite_database, "CT1", worklist={"max_answers": 2, "beyond": beyond})
    starts = ["20300102090000", "20300102100000", "20300102110000"]
    first, second = (put(sqlite_database, number=n, start_local=starts[n]) for n in (0, 1))
    assert hides(sqlite_database, first) == hides(sqlite_database, second) == []
    third = put(sqlite_database, number=2, start_local=starts[2])
    (hidden,) = asked(sqlite_database, third).hidden
    assert hidden.by is Hides.MAX_ANSWERS
    assert ("its query fails" in hidden.text) == (beyond == "refuse")
    assert hides(sqlite_database, first) == ([] if beyond == "cut" else [Hides.MAX_ANSWERS])


def test_its_day_is_that_of_its_own_clock(sqlite_database):
    register(sqlite_database, "CT1", zone="Asia/Tokyo")
    late = NOW.replace(hour=15, minute=30)  # after midnight in Tokyo
    evening = put(sqlite_database, start_local="20300102163000")
    told = asked(sqlite_database, evening, now=late)
    assert (told.day, told.is_seen) == ("20300103", True)
    assert hides(sqlite_database, put(sqlite_database, number=2), now=late) == [Hides.DAY]


@pytest.mark.parametrize("admit", ["auto", "any", "known"])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_who_may_not_ask_is_told_as_the_door_would(sqlite_database, serve, dial, admit, host):
    register(sqlite_database, "CT1")
    register(sqlite_database, "WS1", "", may=("query",))
    step = put(sqlite_database, "CT1", "WS1", "STRANGER")
    dicom = Dicom(admit=admit, host=host)
    door = Doorkeeper(sqlite_database, ae_title="MWL", mode=admit, host=host)
    stranger = [] if door.admit("MWL", "STRANGER", "").value == "admitted" else [Hides.UNKNOWN]
    assert hides(sqlite_database, step, "CT1", dicom) == []
    assert hides(sqlite_database, step, "WS1", dicom) == [Hides.NOT_ALLOWED]
    assert hides(sqlite_database, step, "STRANGER", dicom) == stranger
    guarded = Guarded(
        WorklistService(sqlite_database, ZONE, clock=lambda: NOW),
        lambda peer: door.allows(peer.calling_title, "worklist"),
    )
    _, commands = Scanner(serve(guarded), dial, "WS1").ask(
        asking(step=("ScheduledProcedureStepID",))
    )
    assert status_of(commands[-1]) not in (status.SUCCESS, status.PENDING)
    assert not asked(sqlite_database, step, "WS1", dicom).is_seen


def test_what_is_no_title_and_what_is_no_entry_are_refused(database):
    with pytest.raises(Rejected) as caught:
        asked(database, put(database), "A" * 17)
    assert caught.value.faults[0].reason is Reason.MALFORMED
    with pytest.raises(Rejected) as caught:
        asked(database, 4711)
    assert caught.value.faults[0].reason is Reason.UNKNOWN_KEY
