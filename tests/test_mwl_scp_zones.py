"""A device asks by its own wall clock, also in the weeks in which clocks change."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mwl import matching
from mwl.scp import zones
from mwl.worklist.find import Check, Query, pages
from tests.worklist_rows import NOW, insert_items, item

SITE = ZoneInfo("Europe/Berlin")
WALL = "%Y%m%d%H%M%S"
# Clocks go forward in New York on March 10, in Berlin on March 31; back on November 3 and
# October 27. Lord Howe's change by half an hour.
DAYS = ["20300309", "20300310", "20300331", "20301027", "20301028", "20301103", "20300401"]
ZONES = ["America/New_York", "Asia/Tokyo", "Europe/Lisbon", "Australia/Lord_Howe"]
STARTS = [
    f"{datetime.strptime(day, '%Y%m%d') + timedelta(minutes=30 * half):{WALL}}"  # noqa: DTZ007
    for day in DAYS
    for half in (0, 1, 3, 4, 5, 6, 12, 23, 36, 47)
]


@pytest.fixture
def starts(sqlite_database):
    rows = [item(n, step={"start_local": start}) for n, start in enumerate(STARTS)]
    sqlite_database.write(lambda session: insert_items(session, rows))


days = st.sampled_from(DAYS)
dates = st.one_of(days, days.map("{}-".format), days.map("-{}".format), st.just(""))
times = st.sampled_from(["", "", "0130", "0200-0259", "0000-0130", "1800-", "-0300", "02"])


@given(st.sampled_from(ZONES), st.one_of(dates, st.tuples(days, days).map("-".join)), times)
@example("Europe/Lisbon", "20301027", "0000-0130")
@example("America/New_York", "20300310", "0200-0259")
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_found_is_what_its_own_clock_shows_then(sqlite_database, starts, name, date, time):
    there = ZoneInfo(name)
    asked = matching.start(matching.dates(date, ""), matching.times(time, ""))
    keys = {"start": asked.instant, "time_of_day": asked.time_of_day}
    is_then = zones.shift_start(keys, there, SITE)
    checks = (Check("start_local", is_then),) if is_then else ()
    query = Query(("start_local",), keys, checks=checks)
    found = [row[0] for rows in pages(sqlite_database, query, now=NOW) for row in rows]
    told = {
        start: datetime.strptime(start, WALL).replace(tzinfo=SITE).astimezone(there).strftime(WALL)
        for start in STARTS
    }
    assert found == sorted(start for start in STARTS if asked.matches(told[start]))


@pytest.mark.parametrize(
    ("low", "high", "there"),
    [
        ("20300131", "20300231", ("20300131060000", "20300301055959")),
        ("20300231", "20300301", ("20300301060000", "20300302055959")),
        ("00010101", "99991231", ("00010101054930", "99991231235959")),
        ("00000101", "09990101", ("00000101000000", "09990102054929")),
        ("", "20300101", ("", "20300102055959")),
    ],
)
def test_days_that_no_calendar_has_order_as_they_should(low, high, there):
    asked = matching.start(matching.dates(f"{low}-{high}", ""), matching.UNIVERSAL).instant
    found = matching.elsewhere(asked, ZoneInfo("America/New_York"), SITE)
    assert (found.low, found.high) == there


def test_whoever_asks_for_all_days_from_another_zone_is_answered(sqlite_database, starts):
    for days in ("00010101-99991231", "20300101-20310231", "-99991231"):
        keys = {"start": matching.start(matching.dates(days, ""), matching.UNIVERSAL).instant}
        is_then = zones.shift_start(keys, ZoneInfo("America/New_York"), SITE)
        query = Query(("start_local",), keys, checks=(Check("start_local", is_then),))
        assert sum(len(rows) for rows in pages(sqlite_database, query, now=NOW)) == len(STARTS)
