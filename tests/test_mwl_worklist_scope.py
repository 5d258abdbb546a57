"""What is set of a device and what it asks for, together: as looking at every item says."""

from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mwl import matching
from mwl.config import DeviceTable, DeviceWorklist
from mwl.db.tables import ScheduledStep
from mwl.matching import UNIVERSAL
from mwl.worklist import asking
from mwl.worklist.find import PAGE_ROWS, Query, criteria, hiding, pages
from mwl.worklist.scope import Caller, Form
from tests.worklist_rows import NOW, insert_items, item

SITE = ZoneInfo("Europe/Berlin")  # NOW is nine o'clock there
STATIONS = [(), ("CT1",), ("CT1_OLD", "CT2"), ("ROOM7",), ("ct1",), ("MR1",)]
MODALITIES = ["CT", "MR", "", "PT", "DX"]
LOCATIONS = ["", "CELLAR", "ATTIC"]
STATES = ["SCHEDULED", "ARRIVED", "READY", "STARTED", "COMPLETED"]
STARTS = ["20300101090000", "20300102085959", "20300102090000", "20300102150000", "20300103090001"]
ITEMS = [
    {
        "stations": STATIONS[n % 6],
        "modality": MODALITIES[n % 5],
        "location": LOCATIONS[n % 3],
        "state": STATES[n // 2 % 5],
        "start": STARTS[n // 3 % 5],
    }
    for n in range(120)
]
CODES = st.sampled_from(["CT", "MR", "PT", "DX"])
HOURS = st.sampled_from([None, 0.0, 0.0001, 6.0, 24.0, 48.0])


def some(*values, most=3):
    return st.lists(st.sampled_from(values), unique=True, max_size=most).map(tuple)


@st.composite
def devices(draw):
    """Draw what is set of a device."""
    shown = DeviceWorklist(
        own_station=draw(st.booleans()),
        stations=draw(some("ROOM7", "MR1")),
        modalities=draw(some("CT", "MR", "PT", "DX")),
        locations=draw(some("CELLAR", "ATTIC", "ROOF")),
        hours_back=draw(HOURS),
        hours_ahead=draw(HOURS),
        hide=draw(some("SCHEDULED", "ARRIVED", "STARTED")),
        synonyms=draw(st.dictionaries(CODES, st.lists(CODES, max_size=3).map(tuple), max_size=2)),
    )
    aliases = draw(some("CT1_OLD"))
    modality = draw(st.sampled_from(["", "CT", "DX"]))
    return DeviceTable(ae_title="CT1", aliases=aliases, modality=modality, worklist=shown)


@st.composite
def keys(draw):
    """Draw what it asks for, as its texts."""
    return {
        "station": draw(st.sampled_from(["", "", "CT1", "CT1_OLD", "ROOM7", "MR1", "CT1\\MR1"])),
        "modality": draw(st.sampled_from(["", "", "CT", "DX", "MR\\CT"])),
        "date": draw(st.sampled_from(["", "", "20300102", "20300102-", "-20300102"])),
        "status": draw(st.sampled_from(["", "", "", "ARRIVED", "STARTED"])),
    }


def queried(device, asked):
    matchers = {
        "station_ae_titles": matching.text(asked["station"], "", wildcards=False),
        "modality": matching.text(asked["modality"], "", wildcards=False),
        "start": matching.start(matching.dates(asked["date"], ""), UNIVERSAL).instant,
        "status": matching.text(asked["status"], ""),
    }
    caller = asking.caller(device, "CT1", now=NOW, zone=SITE)
    return Query(("sps_id",), asking.meant(matchers, device), caller)


def is_shown(one, device, asked):
    """Tell by the rules as they are written, one after another."""
    return is_asked_for(one, device, asked) and is_in_scope(one, device)


def stand_for(device, codes):
    return {other for code in codes for other in (code, *device.worklist.synonyms.get(code, ()))}


def is_its_to_do(one, device):
    codes = {"", *stand_for(device, [device.modality])}
    return not one["stations"] and (not device.modality or one["modality"] in codes)


def is_asked_for(one, device, asked):
    own = {device.ae_title, *device.aliases}
    stations, codes = (set(filter(None, asked[k].split("\\"))) for k in ("station", "modality"))
    wanted = stations | own | set(device.worklist.stations) if stations & own else stations
    low, dash, high = asked["date"].partition("-")
    last = (high or "9") if dash or not low else low
    return all(
        (
            one["state"] == asked["status"] if asked["status"] else one["state"] != "COMPLETED",
            not codes or one["modality"] in {"", *stand_for(device, codes)},
            not stations or wanted & set(one["stations"]) or is_its_to_do(one, device),
            low <= one["start"][:8] <= last,
        )
    )


def is_in_scope(one, device):
    shown = device.worklist
    its = {device.ae_title, *device.aliases, *shown.stations}
    back, ahead = (timedelta(hours=each or 0) for each in (shown.hours_back, shown.hours_ahead))
    first, last = (f"{NOW.astimezone(SITE) + by:%Y%m%d%H%M%S}" for by in (-back, ahead))
    on_its_own = its & {title.upper() for title in one["stations"]} or is_its_to_do(one, device)
    return all(
        (
            on_its_own or not shown.own_station,
            shown.hours_back is None or one["start"] >= first,
            shown.hours_ahead is None or one["start"] <= last,
            not shown.modalities or one["modality"] in ("", *shown.modalities),
            not shown.locations or one["location"] in ("", *shown.locations),
            one["state"] not in shown.hide,
        )
    )


@pytest.fixture
def steps(database):
    rows = [
        item(
            number,
            *each["stations"],
            step={
                "modality": each["modality"],
                "location": each["location"],
                "state": each["state"],
                "state_at": NOW,
                "start_local": each["start"],
            },
        )
        for number, each in enumerate(ITEMS)
    ]
    return database.write(lambda session: insert_items(session, rows))


@given(devices(), keys())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_found_is_what_a_look_at_every_item_finds(database, steps, device, asked):
    query = queried(device, asked)
    found = {row[0] for rows in pages(database, query, now=NOW) for row in rows}
    expected = {f"SPS{n}" for n, each in enumerate(ITEMS) if is_shown(each, device, asked)}
    assert found == expected
    with database.read() as session:
        # The reasons are those of the same rules.
        for number in range(0, len(ITEMS), 17):
            hidden = hiding(session, query, steps[number], now=NOW)
            assert (not hidden) == (f"SPS{number}" in expected)
        conn = session.connection()
        conditions, values = criteria(query, conn.dialect.name, NOW)
        step = ScheduledStep.__table__
        listed = conn.execute(step.select().where(*conditions), values)
        assert {row.sps_id for row in listed} == expected


def test_pages_are_whole_whatever_is_hidden(sqlite_database):
    modalities = ["CT", "MR", "PT"]
    rows = [item(n, step={"modality": modalities[n % 3]}) for n in range(PAGE_ROWS + 100)]
    sqlite_database.write(lambda session: insert_items(session, rows))
    device = DeviceTable(ae_title="CT1", worklist=DeviceWorklist(modalities=("MR",)))
    query = queried(device, {"station": "", "modality": "", "date": "", "status": ""})
    found = [row[0] for rows in pages(sqlite_database, query, now=NOW) for row in rows]
    assert len(found) == len(set(found)) == (PAGE_ROWS + 100) // 3


def test_lists_of_many_lengths_need_few_statements():
    def form(count):
        titles = tuple(f"CT{n}" for n in range(count))
        return replace(Caller(), scope=replace(Caller().scope, stations=titles)).form

    assert len({form(count) for count in range(65)}) == 8
    assert form(64).scope_stations == 64
    assert isinstance(form(0), Form)


@pytest.mark.parametrize(
    ("day", "zone", "found"),
    [("20300102", "", ["SPS1"]), ("20300102", "Asia/Tokyo", ["SPS0", "SPS1"]), ("", "", 3)],
)
def test_a_usual_query_is_meant_as_the_device_means_it(sqlite_database, day, zone, found):
    starts = ["20300101170000", "20300102120000", "20300102170000"]
    if not zone:
        starts[2] = "20300103000000"
    rows = [item(n, step={"start_local": start}) for n, start in enumerate(starts)]
    sqlite_database.write(lambda session: insert_items(session, rows))
    device = DeviceTable(ae_title="CT1", modality="CT", zone=zone)
    caller = asking.caller(device, "CT1", now=NOW, zone=SITE)
    query = replace(asking.usual_query(caller, day, device, SITE), columns=("sps_id",))
    answered = [row[0] for rows in pages(sqlite_database, query, now=NOW) for row in rows]
    assert answered == found if isinstance(found, list) else len(answered) == found
