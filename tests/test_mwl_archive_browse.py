"""People look for studies, and go through series and instances."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from mwl import archive
from mwl.archive import browse
from mwl.archive.browse import Wanted
from mwl.db import Database
from mwl.db.tables import StoredObject
from tests.archive_rows import NOW, received, series_uid, study_uid
from tests.worklist_rows import insert_items, item


def found(database: Database, **wanted: Any) -> list[str]:
    """Give the patient IDs of the studies that are found."""
    with database.read() as session:
        return [each.patient_id for each in browse.search(session, Wanted(**wanted), limit=50)]


def fill(database: Database, count: int = 4) -> None:
    for n in range(1, count + 1):
        archive.store(database, received(n, study=n, series=n))


def quarantine(database: Database, *numbers: int) -> None:
    """Set aside what is served of instances, as of a wrong worklist entry."""
    table = StoredObject.__table__  # type: ignore[attr-defined]
    changed = update(table).where(table.c.instance.in_(numbers)).values(state="quarantined")
    database.write(lambda session: session.connection().execute(changed))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, ["P4", "P3", "P2", "P1"]),
        ({"text": "P2"}, ["P2"]),
        ({"text": "ACC3"}, ["P3"]),
        ({"text": study_uid(4)}, ["P4"]),
        ({"text": "doe"}, ["P4", "P3", "P2", "P1"]),
        ({"text": "DOE, number2"}, ["P2"]),
        ({"text": "Doe^Number3"}, ["P3"]),
        ({"text": "number"}, []),
        ({"text": "%"}, []),
        ({"text": "^"}, []),
        ({"patient": "P1"}, ["P1"]),
        ({"patient": "P"}, []),
        ({"accession": "ACC1"}, ["P1"]),
        ({"modality": "CT"}, ["P4", "P3", "P2", "P1"]),
        ({"modality": "ct"}, ["P4", "P3", "P2", "P1"]),
        ({"modality": "MR"}, []),
        ({"day": "20300102"}, ["P4", "P3", "P2", "P1"]),
        ({"day": "20300103"}, []),
        ({"day": "20300102", "modality": "CT", "text": "doe", "accession": "ACC2"}, ["P2"]),
    ],
)
def test_studies_are_found_newest_first(
    database: Database, wanted: dict[str, str], expected: list[str]
) -> None:
    fill(database)
    assert found(database, **wanted) == expected


def test_a_study_of_two_modalities_is_found_by_each_and_once(database: Database) -> None:
    archive.store(database, received(1))
    archive.store(database, received(2, series=2, Modality="PR"))
    archive.store(database, received(3, series=3, Modality="CT"))
    assert found(database, modality="PR") == found(database, modality="CT") == ["P1"]
    with database.read() as session:
        (one,) = browse.search(session, Wanted(), limit=5)
    assert (one.modalities, one.series, one.instances) == (["CT", "PR"], 3, 3)


def test_a_study_tells_its_order_and_unmatched_ones_are_listed(database: Database) -> None:
    database.write(lambda session: insert_items(session, [item(2)]))
    fill(database)
    assert found(database, unmatched=True) == ["P4", "P3", "P1"]
    assert found(database, unmatched=True, modality="CT", text="doe") == ["P4", "P3", "P1"]
    with database.read() as session:
        (two,) = browse.search(session, Wanted(patient="P2"), limit=5)
        row = browse.study(session, two.id)
    assert (two.imaging_order, two.matched_by) == (1, "accession")
    assert (row.imaging_order, row.order_accession) == (1, "ACC2")


@pytest.mark.parametrize("wanted", [{}, {"modality": "CT"}, {"text": "doe"}])
def test_pages_go_on_where_the_last_one_ended_both_ways(
    database: Database, wanted: dict[str, str]
) -> None:
    fill(database, 7)
    with database.read() as session:

        def page(**place: Any) -> list[int]:
            rows = browse.search(session, Wanted(**wanted), limit=3, **place)
            return [each.id for each in rows]

        assert page() == [7, 6, 5]
        assert page(after=5) == [4, 3, 2]
        assert page(after=2) == [1]
        assert page(after=2, backwards=True) == [5, 4, 3]
        assert page(after=6, backwards=True) == [7]


def test_series_come_by_number_and_instances_by_theirs(database: Database) -> None:
    for n, (series, number) in enumerate(
        [(2, "10"), (2, "9"), (2, ""), (2, "x"), (2, "-1"), (10, "1"), (1, "1")], 1
    ):
        archive.store(database, received(n, series=series, InstanceNumber=number))
    with database.read() as session:
        all_series = browse.series_of(session, 1)
        one = browse.series(session, 1)
        assert browse.series(session, 99) is None
    assert [each.row.series_number for each in all_series] == ["1", "2", "10"]
    assert one is not None
    assert one == all_series[1]
    assert [each.number for each in one.instances] == ["-1", "9", "10", "", "x"]
    assert one.row.series_instance_uid == series_uid(2)
    assert one.size == sum(1000 + n for n in range(1, 6))


def test_frames_are_slices_and_the_middle_shows_the_series(database: Database) -> None:
    archive.store(database, received(1, NumberOfFrames=30))
    archive.store(database, received(2))
    archive.store(database, received(3, Rows=None, Columns=None))
    with database.read() as session:
        one = browse.series(session, 1)
    assert one is not None
    assert one.slices == 32
    assert one.middle is not None
    assert one.middle.number == "2"
    assert [each.is_image for each in one.instances] == [True, True, False]


def test_only_what_is_served_is_shown_and_counted(database: Database) -> None:
    for n in (1, 2, 3):
        archive.store(database, received(n))
    # A newer version from the same source: the older one is kept, not counted.
    archive.store(database, received(2, content="again"))
    quarantine(database, 3)
    with database.read() as session:
        (one,) = browse.search(session, Wanted(), limit=5)
        (series,) = browse.series_of(session, 1)
        gone, there = browse.instance(session, 3), browse.instance(session, 2)
        assert browse.instance(session, 4) is None
    assert len(series.instances) == 2
    assert one.instances == 3  # a list counts them all
    assert gone.object is None
    assert there.object == 4
    assert there.study == 1


def test_a_study_of_which_nothing_is_served_is_listed_without_images(database: Database) -> None:
    archive.store(database, received(1))
    quarantine(database, 1)
    with database.read() as session:
        (one,) = browse.search(session, Wanted(), limit=5)
        (series,) = browse.series_of(session, 1)
    assert one.instances == 0
    assert series.middle is None


def test_what_contradicts_the_archive_is_listed_newest_first_both_ways(database: Database) -> None:
    archive.store(database, received(1))
    for n in range(2, 6):
        later = NOW + timedelta(minutes=n)
        archive.store(database, received(n, PatientID="P9", PatientName="X", received_at=later))
    with database.read() as session:
        rows = browse.quarantined(session, limit=3)
        assert [each.patient_id for each in rows] == ["P9"] * 3
        assert [each.id for each in rows] == [5, 4, 3]
        assert [each.id for each in browse.quarantined(session, after=3, limit=3)] == [2]
        back = browse.quarantined(session, after=2, backwards=True, limit=2)
        assert [each.id for each in back] == [4, 3]
        assert (rows[0].study, rows[0].study_patient_id) == (1, "P1")
        assert "patient" in rows[0].reason


def test_searches_read_an_index_and_sort_little(sqlite_database: Database) -> None:
    plans = {}
    for wanted in (
        {},
        {"text": "doe"},
        {"patient": "P1"},
        {"accession": "A"},
        {"modality": "CT"},
        {"day": "20300102"},
        {"day": "20300102", "modality": "CT"},
        {"unmatched": True},
    ):
        plans[str(wanted)] = plan(sqlite_database, Wanted(**wanted))  # type: ignore[arg-type]
    for wanted_, steps in plans.items():
        scanned = [s for s in steps if s.startswith("SCAN") and "page" not in s]
        assert not scanned, (wanted_, steps)


def plan(database: Database, wanted: Wanted) -> list[str]:
    """Tell how SQLite would answer a search."""
    statement = browse._search(
        bool(wanted.text),
        bool(wanted.patient),
        bool(wanted.accession),
        bool(wanted.modality),
        bool(wanted.day),
        wanted.unmatched,
        False,
    )
    with database.read() as session:
        conn = session.connection()
        browse.search(session, wanted, limit=5)
        made = statement._plans["sqlite"]
        driver: Any = conn.connection.driver_connection
        rows = driver.execute("EXPLAIN QUERY PLAN " + made.text, [1] * len(made.types))
        return [row[3] for row in rows]
