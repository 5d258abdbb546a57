"""Browsing the worklist, on both databases; a brute-force oracle says what it should show."""

from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mwl.db.tables import Device
from mwl.errors import Reason, Rejected
from mwl.orders import OrderState, StepState
from mwl.worklist import asking, browse
from mwl.worklist.browse import Sort, Wanted
from mwl.worklist.find import pages
from tests.worklist_rows import NOW, insert_items, item

ZONE = ZoneInfo("Europe/Berlin")
TODAY = "20300102"
NAMES = [
    "Doe^Jane",
    "DOE^JOHN",
    "Doering^Jo",
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "Müller^Änne",
]
CLOSED = {"status": "CLOSED"}


def insert(database, *items):
    return database.write(lambda session: insert_items(session, items))


def found(database, at=(), backwards=False, limit=1000, **wanted):
    with database.read() as session:
        rows = browse.page(
            session, Wanted(**wanted), now=NOW, at=at, backwards=backwards, limit=limit
        )
    return [row.sps_id for row in rows]


def counted(database, **wanted):
    with database.read() as session:
        return browse.counts(session, Wanted(**wanted), now=NOW)


def register(database, title, modality):
    row = Device(ae_title=title, modality=modality, created_at=NOW, updated_at=NOW)
    database.write(lambda session: session.add(row))


def crowd():
    """Make entries of three days in all states, of several scanners and names."""
    for number in range(120):
        state = [*StepState][number % 9]
        yield item(
            number,
            *[(), ("CT1",), ("CT1", "CT2"), ("MR1",)][number % 4],
            patient={"patient_name": NAMES[number % 5], "patient_id": f"P{number // 3}.{number}"},
            order={
                "status": ["COMPLETED", "CLOSED"][number % 2]
                if state == "COMPLETED"
                else "SCHEDULED",
                "flags": ["odd"] if number % 7 == 0 else [],
                "placer_number": f"PL{number}",
                "updated_at": NOW + timedelta(minutes=number * 37 % 60),
            },
            step={
                "state": state,
                "expired": number % 11 == 1,
                "modality": ["CT", "MR", ""][number // 3 % 3],
                "start_local": f"2030010{1 + number % 3}{8 + number % 9:02}0000",
            },
        )


def shown(row):
    step, status = row["scheduled_step"], row["imaging_order"]["status"]
    if step["expired"]:
        return "EXPIRED"
    is_closed = status == "CLOSED" and step["state"] == "COMPLETED"
    return "CLOSED" if is_closed else str(step["state"])


STATES = [StepState.SCHEDULED, StepState.COMPLETED, OrderState.CLOSED, OrderState.EXPIRED, None]


def test_what_is_listed_is_what_a_look_at_every_entry_finds(database):
    items = list(crowd())
    insert(database, *items)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        day=st.sampled_from(["", TODAY, "20300103"]),
        modality=st.sampled_from(["", "CT", "MR"]),
        state=st.sampled_from(STATES),
        flagged=st.booleans(),
        text=st.sampled_from(["", "doe", "Doe, Ja", "P1.4", "acc17", "PL9", "山田", "nobody"]),
        sort=st.sampled_from([*Sort]),
    )
    def agree(day, modality, state, flagged, text, sort):
        hits = [
            row
            for row in items
            if row["scheduled_step"]["start_local"].startswith(day)
            and modality in ("", row["scheduled_step"]["modality"])
            and state in (None, shown(row))
            and (row["imaging_order"]["flags"] or not flagged)
            and told(text, row)
        ]
        number = {id(row): n for n, row in enumerate(items)}
        hits.sort(key=lambda row: (key(sort, row), number[id(row)]), reverse=sort != "start")
        wanted = {
            "day": day,
            "modality": modality,
            "state": state,
            "flagged": flagged,
            "text": text,
            "sort": sort,
        }
        expected = [row["scheduled_step"]["sps_id"] for row in hits]
        assert found(database, **wanted) == expected

    agree()


def key(sort, row):
    is_changed = sort is Sort.CHANGED
    return (
        row["imaging_order"]["updated_at"] if is_changed else row["scheduled_step"]["start_local"]
    )


def told(text, row):
    if text in ("", "nobody"):
        return text == ""
    name, patient = row["patient"]["patient_name"], row["patient"]["patient_id"]
    by_name = {
        "doe": name in NAMES[:3],
        "Doe, Ja": name == NAMES[0],
        "山田": name == NAMES[3],
    }.get(text, False)
    accession, placer = (
        row["requested_procedure"]["accession_number"],
        row["imaging_order"]["placer_number"],
    )
    return by_name or text in (patient, placer) or text.upper() == accession


@pytest.mark.parametrize("sort", [*Sort])
def test_pages_go_on_both_ways_without_gap_or_repeat(database, sort):
    insert(database, *crowd())
    wanted = Wanted(sort=sort)
    with database.read() as session:
        everything = browse.page(session, wanted, now=NOW, limit=1000)
        forth, at = [], ()
        while rows := browse.page(session, wanted, now=NOW, at=at, limit=17):
            forth += rows
            at = tuple(map(str, rows[-1].place(sort)))
        back, at = [], tuple(map(str, everything[-1].place(sort)))
        while rows := browse.page(session, wanted, now=NOW, at=at, backwards=True, limit=17):
            back = rows + back
            at = tuple(map(str, rows[0].place(sort)))
    assert forth == everything
    assert back == everything[:-1]
    assert len(everything) == 120


def test_a_devices_list_is_what_it_would_be_answered(database):
    register(database, "CT1", "CT")
    insert(database, *crowd())
    with database.read() as session:
        device = asking.known(session, "CT1")
        asker = asking.caller(device, "CT1", now=NOW, zone=ZONE)
        query = replace(asking.usual_query(asker, TODAY, device, ZONE), columns=("sps_id",))
    answered = [row[0] for rows in pages(database, query, now=NOW) for row in rows]
    assert found(database, day=TODAY, device="ct1") == answered != []


def test_the_counts_of_a_day_are_how_many_each_states_list_has(database):
    insert(database, *crowd())
    counts = counted(database, day=TODAY, state=StepState.HELD)
    lists = {
        state: len(found(database, day=TODAY, state=state))
        for state in browse.STATES.values()
        if state is not OrderState.IN_PROGRESS
    }
    assert counts == {state: count for state, count in lists.items() if count}
    assert sum(counts.values()) == 40
    narrowed = counted(database, day=TODAY, modality="CT", text="doe")
    assert sum(narrowed.values()) == len(found(database, day=TODAY, modality="CT", text="doe"))


def test_orders_in_progress_are_found_with_all_their_steps(database):
    insert(database, item(1), item(2), item(3))
    insert(
        database,
        item(4, order={"status": "IN_PROGRESS"}, step={"state": "STARTED"}),
        item(5, order={"status": "CLOSED"}, step={"state": "COMPLETED"}),
    )
    assert found(database, state=OrderState.IN_PROGRESS) == ["SPS4"]
    assert found(database, state=OrderState.IN_PROGRESS, day=TODAY) == ["SPS4"]


def test_a_common_name_and_many_flags_are_found_too(database, monkeypatch):
    monkeypatch.setattr(browse, "_FEW", 3)
    insert(database, *crowd())
    doe = found(database, text="doe")
    assert doe == [row for row in found(database) if row in doe]
    assert len(doe) == 72
    assert len(found(database, flagged=True)) == 18
    assert len(found(database, flagged=True, text="doe")) == 11


@pytest.mark.parametrize("typed", ["%", "_", "*", "?", "\\", "a\\b", "=", "^", "' OR 1=1 --", "\0"])
def test_what_is_typed_is_text_and_no_pattern(database, typed):
    insert(database, item(1))
    assert found(database, text=typed) == []
    assert found(database, text=typed, day=TODAY) == []


@pytest.mark.parametrize("at", [("20300102",), ("x", "y"), ("", ""), ("1", "2", "3")])
def test_a_place_that_is_none_is_refused(database, at):
    with pytest.raises(Rejected) as caught:
        found(database, at=at)
    assert caught.value.faults[0].reason is Reason.MALFORMED


@pytest.mark.parametrize("day", ["2030", "20301301", "abcdefgh", "2030-01-02"])
def test_a_day_that_is_none_is_refused(database, day):
    with pytest.raises(Rejected):
        found(database, day=day)


def test_the_modalities_of_the_worklist_are_known(database):
    insert(database, *crowd())
    with database.read() as session:
        assert browse.modalities(session) == ["CT", "MR"]


def test_one_entry_is_read_by_its_number(database):
    (step,) = insert(database, item(7, "CT1", "CT2"))
    with database.read() as session:
        entry = browse.one(session, step)
        assert browse.one(session, 4711) is None
    assert (entry.sps_id, entry.stations, entry.shown_state) == (
        "SPS7",
        ["CT1", "CT2"],
        "SCHEDULED",
    )
