import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from shutil import copy

import pytest
from sqlalchemy import select

from mwl import journal
from mwl.db import Database, newest
from mwl.errors import Rejected
from mwl.journal import REUSED, Received, Settled, State, keeping
from mwl.journal.search import _TABLE, _ways
from tests.worklist_rows import insert_items, item

search_ = sys.modules[_ways.__module__]  # the package's `search` is a function

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
ACCEPTED = Settled(State.APPLIED, "AA", b"MSA|AA")
REFUSED = Settled(State.REJECTED, "AE", b"MSA|AE", "PID-3: no identifier")


def received(raw: bytes = b"MSH|1", control_id: str = "T1", source: str = "RIS^H", minute: int = 0):
    return Received(
        NOW + timedelta(minutes=minute),
        "127.0.0.1:4711",
        raw,
        journal.digest(raw),
        source,
        "ORM^O01",
        control_id,
        "utf-8",
    )


def record(database, message, settled):
    return database.write(lambda session: journal.record(session, message, settled))


def repeat(database, message):
    return database.write(lambda session: journal.repeat(session, message))


def search(database, *, limit=1000, after=None, before=None, **criteria):
    with database.read() as session:
        wanted = journal.Wanted(**criteria)
        return journal.search(session, wanted, limit=limit, after=after, before=before)


def test_a_message_is_kept_as_it_came(database):
    raw = bytes(range(1, 256))
    record(database, received(raw), ACCEPTED)
    with database.read() as session:
        kept = session.connection().exec_driver_sql("SELECT raw, ack FROM message").one()
    assert (bytes(kept[0]), bytes(kept[1])) == (raw, b"MSA|AA")


def test_an_accepted_message_is_kept_once_and_its_repeats_are_counted(database):
    record(database, received(), ACCEPTED)
    with pytest.raises(journal.Repeated):
        record(database, received(), ACCEPTED)
    assert repeat(database, received(minute=1)) == b"MSA|AA"
    (row,) = search(database)
    assert row.repeats == 1


def test_what_was_refused_is_no_repeat(database):
    record(database, received(), REFUSED)
    assert repeat(database, received()) is None
    record(database, received(), REFUSED)
    record(database, received(), ACCEPTED)
    assert [row.state for row in search(database)] == ["applied", "rejected", "rejected"]


@pytest.mark.parametrize(
    "other",
    [received(b"MSH|2"), received(control_id="T2"), received(source="OTHER")],
    ids=["content", "control ID", "sender"],
)
def test_a_repeat_has_the_same_sender_control_id_and_content(database, other):
    record(database, received(), ACCEPTED)
    assert repeat(database, other) is None
    record(database, other, ACCEPTED)


def test_a_control_id_that_was_used_for_something_else_is_flagged(database):
    record(database, received(b"MSH|1"), ACCEPTED)
    record(database, received(b"MSH|2", minute=1), ACCEPTED)
    record(database, received(b"MSH|3", source="OTHER", minute=2), ACCEPTED)
    assert [row.flags for row in search(database)] == [[], [REUSED], []]


def test_messages_without_control_id_are_not_taken_for_each_other(database):
    record(database, received(b"MSH|1", control_id=""), REFUSED)
    record(database, received(b"MSH|2", control_id=""), REFUSED)
    assert [row.flags for row in search(database)] == [[], []]


def test_search_lists_the_newest_first(database):
    for minute in range(3):
        record(database, received(b"%d" % minute, f"T{minute}", minute=minute), ACCEPTED)
    record(database, received(b"x", "T9", minute=9), REFUSED)
    assert [row.control_id for row in search(database)] == ["T9", "T2", "T1", "T0"]
    assert [row.control_id for row in search(database, limit=2)] == ["T9", "T2"]
    assert [row.control_id for row in search(database, state="rejected")] == ["T9"]
    assert [row.control_id for row in search(database, control_id="T1")] == ["T1"]
    assert search(database, type="ADT^A08") == []
    (row,) = search(database, state="REJECTED", type="ORM^O01")
    assert (row.error, row.received_at) == ("PID-3: no identifier", NOW + timedelta(minutes=9))


def test_search_finds_what_has_a_flag(database):
    record(database, received(b"MSH|1", "T1"), ACCEPTED)
    record(database, received(b"MSH|2", "T2"), Settled(State.APPLIED, "AA", b"", flags=["ÄÖ"]))
    record(database, received(b"MSH|3", "T1"), ACCEPTED)
    found = search(database, flagged=True)
    assert {tuple(row.flags) for row in found} == {("ÄÖ",), (REUSED,)}


def test_searching_for_no_state_is_told(sqlite_database):
    with pytest.raises(Rejected, match="must be one of applied, noted"):
        search(sqlite_database, state="lost")


def test_what_is_kept_of_errors_and_flags_is_bounded(sqlite_database):
    settled = Settled(State.REJECTED, "AE", b"", "e" * 10_000, [f"flag {n}" for n in range(1000)])
    record(sqlite_database, received(), settled)
    (row,) = search(sqlite_database)
    assert (len(row.error), len(row.flags)) == (2_000, 100)


def found(database, **criteria):
    return [row.control_id for row in search(database, **criteria)]


def pages(database, size, **criteria):
    """Read a list page by page, down and up again."""
    down, after = [], None
    while page := search(database, limit=size, after=after, **criteria):
        down.append([row.control_id for row in page])
        after = (page[-1].received_at, page[-1].id)
    up, before = [], after
    while page := search(database, limit=size, before=before, **criteria):
        up.append([row.control_id for row in page])
        before = (page[0].received_at, page[0].id)
    return down, up


def test_pages_go_both_ways_past_messages_of_one_instant(database):
    for number in range(1, 8):
        minute = 0 if number < 6 else 1
        record(database, received(b"%d" % number, f"T{number}", minute=minute), ACCEPTED)
    down, up = pages(database, 3)
    assert down == [["T7", "T6", "T5"], ["T4", "T3", "T2"], ["T1"]]
    assert up == [["T4", "T3", "T2"], ["T7", "T6", "T5"]]


@pytest.fixture
def department(database):
    """Orders of two patients, the first merged into the second, and refused messages."""
    one = item(1, procedure={"accession_number": "A1"})
    two = item(2, procedure={"accession_number": "A2"})
    database.write(lambda session: insert_items(session, [one, two]))
    database.write(
        lambda session: session.connection().exec_driver_sql(
            "UPDATE patient SET merged_into = 2 WHERE id = 1"
        )
    )
    accepted = Settled(State.APPLIED, "AA", b"", order=1, patient=1)
    record(database, received(b"1", "T1", minute=1), accepted)
    record(database, received(b"2", "T2", minute=2), replace(accepted, order=2, patient=2))
    both = replace(accepted, order=2, patient=2, further=[1])
    record(database, received(b"3", "T3", minute=3), both)
    refused = replace(REFUSED, patient_id="P9", accession_number="A9")
    record(database, received(b"9", "T9", minute=9), refused)
    record(database, received(b"8", "A9", minute=8), replace(REFUSED, flags=["odd"]))
    return database


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        ({"patient": "P1"}, ["T3", "T2", "T1"]),  # what was merged is one patient
        ({"patient": "P2"}, ["T3", "T2", "T1"]),
        ({"patient": "P9"}, ["T9"]),
        ({"accession": "A1"}, ["T3", "T1"]),  # by its further order too
        ({"accession": "A9"}, ["T9"]),
        ({"text": "A9"}, ["T9", "A9"]),
        ({"text": "P2"}, ["T3", "T2", "T1"]),
        ({"text": "T2", "patient": "P1"}, ["T2"]),
        ({"text": "nothing"}, []),
        ({"error": "no IDENT"}, ["T9", "A9"]),
        ({"error": "100 %"}, []),
        ({"error": "identifier", "patient": "P9"}, ["T9"]),
        ({"flagged": True}, ["A9"]),
        ({"source": "RIS^H", "state": "rejected"}, ["T9", "A9"]),
        ({"source": "RIS^H", "type": "ORM^O01"}, ["T9", "A9", "T3", "T2", "T1"]),
        ({"source": "ADT^H"}, []),
        ({"state": "rejected", "flagged": True, "type": "ORM^O01"}, ["A9"]),
        ({"since": NOW + timedelta(minutes=8)}, ["T9", "A9"]),
        ({"since": NOW + timedelta(minutes=2), "until": NOW + timedelta(minutes=8)}, ["T3", "T2"]),
    ],
)
def test_messages_are_found_by_what_people_know(department, criteria, expected):
    assert found(department, **criteria) == expected


def test_pages_of_what_is_looked_up_in_several_places_go_both_ways(department):
    down, up = pages(department, 2, patient="P1")
    assert down == [["T3", "T2"], ["T1"]]
    assert up == [["T3", "T2"]]


def test_one_message_is_shown_with_what_it_is_about(department):
    with department.read() as session:
        (row,) = journal.search(session, journal.Wanted(control_id="T3"))
        kept = journal.kept(session, row.id)
        assert [order.order_number for order in kept.orders] == ["F1", "F2"]
        assert (kept.person.patient_id, kept.raw, kept.size) == ("P2", b"3", 1)
        with pytest.raises(Rejected, match="message 99: there is none"):
            journal.kept(session, 99)


def test_of_a_long_message_the_beginning_is_read(database):
    record(database, received(b"MSH|" + b"x" * 1000), ACCEPTED)
    with database.read() as session:
        kept = journal.kept(session, 1, 6)
    assert (kept.raw, kept.size) == (b"MSH|xx", 1004)


def test_types_are_those_that_came(database):
    for number, kind in enumerate(["ORM^O01", "ADT^A08", "", "ORM^O01"]):
        message = replace(received(b"%d" % number, str(number)), type=kind)
        record(database, message, ACCEPTED)
    with database.read() as session:
        assert journal.types(session) == ["ADT^A08", "ORM^O01"]


@pytest.mark.parametrize(
    ("criteria", "index"),
    [
        ({}, "received_at"),
        ({"control_id": "T1"}, "control_id"),
        ({"type": "ORM^O01"}, "type"),
        ({"state": "rejected"}, "unapplied"),
        ({"flagged": True}, "flagged"),
        ({"error": "x"}, "unapplied"),
        ({"flagged": True, "type": "ORM^O01"}, "flagged"),
        ({"state": "rejected", "type": "ORM^O01"}, "unapplied"),
        ({"control_id": "T1", "type": "ORM^O01"}, "control_id"),
        ({"source": "RIS^HOSPITAL"}, "feed"),
    ],
)
def test_no_list_reads_or_sorts_all_of_the_journal(sqlite_database, criteria, index):
    for plan in plans(sqlite_database, criteria):
        assert f"USING INDEX ix_message_{index}" in plan, plan
        assert "SCAN message" not in plan or index in {"received_at", "flagged"}
        assert "TEMP B-TREE" not in plan or index == "control_id"


def test_a_patient_s_messages_are_found_by_indexes(department):
    if department.dialect != "sqlite":
        return
    by_row, by_name = plans(department, {"patient": "P1"})
    assert "USING INDEX ix_message_patient (patient=?)" in by_row
    assert "USING INDEX ix_message_patient_id (patient_id=?)" in by_name


def plans(database, criteria):
    """Explain the statements of a search on SQLite."""
    with database.read() as session:
        conn = session.connection()
        found = []
        for way in list(_ways(conn, journal.Wanted(**criteria))):
            asked = select(_TABLE.c.id, _TABLE.c.peer).where(*way.served, *way.unserved)
            statement = newest.ordered(asked, _TABLE, None, None)
            sql = statement.limit(51).compile(conn, compile_kwargs={"literal_binds": True})
            rows = conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}".replace("%", "%%"))
            found.append("; ".join(row[3] for row in rows))
        return found


NOTHING = {
    "source": "NOBODY^",
    "type": "ADT^A99",
    "state": "failed",
    "error": "nothing like it",
    "flagged": True,
}


@pytest.fixture(scope="module")
def long_feed(sqlite_template, tmp_path_factory):
    """Give a journal of 8,000 messages: of one sender, of one type, refused and flagged."""
    folder = tmp_path_factory.mktemp("feed")
    copy(sqlite_template, folder / "mwl.db")
    database = Database("sqlite:///mwl.db", data_dir=folder)
    refused = replace(REFUSED, flags=["odd"])
    row = keeping.row_of(received(), refused) | {"flags": ["odd"], "repeats": 0}
    rows = [row | {"received_at": NOW + timedelta(seconds=number)} for number in range(8_000)]
    database.write(lambda session: session.connection().execute(_TABLE.insert(), rows))
    yield database
    database.close()


@pytest.mark.parametrize("names", [names for n in range(6) for names in combinations(NOTHING, n)])
@pytest.mark.parametrize("there", [True, False], ids=["there", "nowhere"])
def test_no_filters_together_look_through_all_of_the_journal(long_feed, monkeypatch, names, there):
    monkeypatch.setattr(search_, "LOOKED_THROUGH", 100)
    here = {"source": "RIS^H", "type": "ORM^O01", "state": "rejected", "error": "no IDENT"}
    # All but the last narrow nothing, and that leaves nothing.
    criteria = {name: here.get(name, True) for name in names}
    if names and not there:
        criteria[names[-1]] = NOTHING[names[-1]]
    for key in ({}, {"after": (NOW + timedelta(seconds=6_000), 1)}, {"before": (NOW, 1)}):
        steps = []
        with long_feed.read() as session:
            raw = session.connection().connection.driver_connection
            raw.set_progress_handler(lambda steps=steps: steps.append(1), 100)
            try:
                journal.search(session, journal.Wanted(**criteria), limit=5, **key)
            finally:
                raw.set_progress_handler(None, 0)
        # Twenty steps a row, and once more for where to end; all rows would be 80,000 at least.
        assert len(steps) * 100 < 15_000, (criteria, key)


def test_what_lies_further_back_than_is_looked_through_is_found_by_its_day(database, monkeypatch):
    monkeypatch.setattr(search_, "LOOKED_THROUGH", 3)
    for minute in range(8):
        kind = "ADT^A08" if minute == 1 else "ORM^O01"
        message = received(b"%d" % minute, f"T{minute}", minute=minute)
        record(database, replace(message, type=kind), ACCEPTED)
    wanted = {"source": "RIS^H", "type": "ADT^A08"}
    assert journal.is_bounded(journal.Wanted(**wanted))
    assert found(database, **wanted) == []
    assert found(database, **wanted, until=NOW + timedelta(minutes=5)) == ["T1"]
    assert found(database, **wanted, after=(NOW + timedelta(minutes=5), 99)) == []
    assert found(database, **wanted, after=(NOW + timedelta(minutes=4), 99)) == ["T1"]
    assert found(database, **wanted, before=(NOW, 0)) == ["T1"]


@pytest.mark.parametrize(
    "criteria",
    [
        {},
        *({name: value} for name, value in NOTHING.items() if name != "error"),
        {"source": "RIS^H", "state": "rejected"},
        {"text": "T1", "type": "ORM^O01", "source": "RIS^H", "flagged": True},
        {"patient": "P1", "error": "x"},
        {"type": "ORM^O01", "since": NOW},
    ],
)
def test_whatever_an_index_serves_is_looked_through_as_a_whole(criteria):
    assert not journal.is_bounded(journal.Wanted(**criteria))


def test_a_reused_control_id_is_looked_for_by_the_control_id(sqlite_database):
    # By the sender it would be a walk through all messages of a feed, with every order.
    dialect = sqlite_database._writer.dialect
    sql = str(keeping._INSERT._statement.compile(dialect=dialect))
    with sqlite_database.read() as session:
        conn = session.connection()
        rows = conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", (None,) * sql.count("?"))
        plan = " ".join(row[3] for row in rows)
    assert "ix_message_control_id (control_id=?)" in plan
    assert "ix_message_feed" not in plan
