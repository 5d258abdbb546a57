"""The worklist as people and programs read it."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from mwl.orders import OrderState, StepState
from mwl.worklist.listing import listing
from tests.worklist_rows import insert_items, item

ZONE = ZoneInfo("Europe/Berlin")
SUMMER = datetime(2030, 7, 2, 7, 30, tzinfo=UTC)


def insert(database, *items):
    database.write(lambda session: insert_items(session, items))


def steps(database, **options):
    return [entry["sps_id"] for entry in listing(database, zone=ZONE, **options)]


def test_an_entry_tells_both_states_and_the_start_in_the_sites_zone(database):
    step = {"state": "HELD", "start_at": SUMMER, "start_local": "20300702093000"}
    insert(database, item(1, "CT1", "CT2", step=step))
    (entry,) = listing(database, zone=ZONE)
    assert entry == {
        "accession_number": "ACC1",
        "patient_id": "P1",
        "patient_name": "Doe^Number1",
        "study_instance_uid": "1.2.826.0.1.3680043.8.498.1",
        "sps_id": "SPS1",
        "modality": "CT",
        "station_ae_title": "CT1\\CT2",
        "start": "2030-07-02T09:30:00+02:00",
        "status": "HELD",
        "order_status": "SCHEDULED",
        "flags": [],
        "warnings": [],
    }


def test_accession_number_and_state_narrow_it(database):
    insert(database, *(item(n, step={"state": s}) for n, s in enumerate(StepState)))
    assert len(steps(database)) == len(StepState)
    assert steps(database, accession="ACC3") == ["SPS3"]
    assert steps(database, status=StepState.SCHEDULED) == ["SPS1"]
    assert steps(database, accession="ACC3", status=StepState.SCHEDULED) == []


def test_states_that_only_orders_have_narrow_it_by_order(database):
    insert(database, *(item(n, order={"status": s}) for n, s in enumerate(OrderState)))
    for number, state in enumerate(OrderState):
        if state not in StepState.__members__:
            assert steps(database, status=state) == [f"SPS{number}"]
    assert [e["order_status"] for e in listing(database, zone=ZONE)] == list(OrderState)


def test_what_a_person_should_see_is_told_and_can_be_asked_for(database):
    odd = ["no start time", "Überraschung"]
    insert(database, item(1), item(2, order={"flags": odd}), item(3, order={"flags": odd[:1]}))
    found = {entry["sps_id"]: entry["flags"] for entry in listing(database, zone=ZONE)}
    assert found == {"SPS1": [], "SPS2": odd, "SPS3": odd[:1]}
    assert steps(database, flagged=True) == ["SPS2", "SPS3"]
    assert steps(database, flagged=True, accession="ACC1") == []
    assert steps(database, flagged=True, limit=1) == ["SPS2"]


def test_all_pages_are_read_in_the_order_of_start(sqlite_database):
    starts = [SUMMER - timedelta(minutes=n // 3) for n in range(1100)]
    insert(
        sqlite_database,
        *(
            item(n, step={"start_at": at, "start_local": f"{at:%Y%m%d%H%M%S}"})
            for n, at in enumerate(starts)
        ),
    )
    entries = list(listing(sqlite_database, zone=ZONE))
    assert len({entry["sps_id"] for entry in entries}) == 1100
    assert [entry["start"] for entry in entries] == sorted(entry["start"] for entry in entries)


@pytest.mark.parametrize(("limit", "expected"), [(1, 1), (500, 500), (501, 501), (9999, 502)])
def test_a_limit_ends_it(sqlite_database, limit, expected):
    insert(sqlite_database, *(item(n) for n in range(502)))
    assert len(steps(sqlite_database, limit=limit)) == expected
