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


def register(database, title, modality="CT", may=("worklist",)):
    row = Device(ae_title=title, modality=modality, may=list(may), created_at=NOW, updated_at=NOW)
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
ITEMS = list(itertools.product(STATES, STATIONS, ("CT", "MR", ""), STARTS))
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
        lambda calling: door.allows(calling, "worklist"),
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
