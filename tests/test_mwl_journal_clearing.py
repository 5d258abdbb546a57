"""The journal makes room: by age, by size, never of what is needed still."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import SQLModel

from mwl import audit, journal
from mwl.config import Journal
from mwl.journal import Cleared, Received, Settled, State, clearing, counting
from tests.plans import plan_of
from tests.worklist_rows import insert_items, item

NOW = datetime(2030, 6, 1, 12, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=100)
KEEP = Journal(keep_days=90, max_bytes=0)
ACK = b"MSA|AA"
_numbers = itertools.count(1)


def keep(database, at=LONG_AGO, state=State.APPLIED, text=b"x" * 100, **settled):
    """Keep a message; give its number."""
    raw = b"%06d|" % next(_numbers) + text
    code = "AE" if state in {State.REJECTED, State.FAILED} else "AA"
    came = Received(at, "peer", raw, journal.digest(raw), "RIS^H", "ORM^O01", raw[:6].decode())
    became = Settled(state, code, ACK, **settled)
    database.write(lambda session: journal.record(session, came, became))
    with database.read() as session:
        return session.connection().exec_driver_sql("SELECT max(id) FROM message").scalar()


def clear(database, settings=KEEP, now=NOW, **options):
    """Clear as the clock does: what has just come is counted a minute later."""
    for minutes in (0, 2):
        at = now + timedelta(minutes=minutes)
        done = journal.clear(database, settings, at, pause=lambda _s: None, **options)
    return done


def texts(database):
    """Give the lengths of the messages that are there, by their numbers."""
    with database.read() as session:
        rows = session.connection().exec_driver_sql("SELECT id, length(raw) FROM message")
        return dict(map(tuple, rows))


def held(database):
    with database.read() as session:
        rows = session.connection().exec_driver_sql("SELECT message FROM journal_held")
        return sorted(rows.scalars())


def size(database, now=NOW):
    with database.read() as session:
        return journal.size(session, now=now)


def order(database, number, status):
    made = item(number, order={"status": status})
    database.write(lambda session: insert_items(session, [made]))
    return number


def set_status(database, number, status):
    sql = f"UPDATE imaging_order SET status = '{status}' WHERE id = {number}"
    database.write(lambda session: session.connection().exec_driver_sql(sql))


def is_counted_rightly(database):
    """Compare what was counted with what there is."""
    with database.read() as session:
        conn = session.connection()
        there = conn.exec_driver_sql(
            f"SELECT count(*), sum(length(raw) + length(ack) + {counting.ROW_BYTES}) FROM message"
        ).one()
    found = size(database)
    return (found.messages, found.bytes) == tuple(there)


def test_what_is_too_old_goes_and_the_rest_stays(database):
    over = order(database, 1, "CLOSED")
    told = keep(database, order=over, patient=1)
    renamed = keep(database, patient=1, changes={"patient:1": {"sex": ["F", "M"]}})
    unchanged = keep(database, patient=1)
    refused = keep(database, state=State.REJECTED)
    young = keep(database, at=NOW - timedelta(days=89))
    done = clear(database)
    assert texts(database) == {told: 0, renamed: 0, young: 107}
    assert {unchanged, refused}.isdisjoint(texts(database))
    weight = 107 + len(ACK) + counting.ROW_BYTES
    assert done == Cleared(emptied=2, removed=2, refused=1, bytes=2 * 107 + 2 * weight)
    assert is_counted_rightly(database)
    assert clear(database) == Cleared()


def test_messages_go_by_whole_days(sqlite_database):
    limit = NOW.replace(hour=0) - timedelta(days=90)
    keep(sqlite_database, at=limit - timedelta(seconds=1))
    stays = keep(sqlite_database, at=limit)
    keep(sqlite_database, at=NOW)
    assert clear(sqlite_database).removed == 1
    assert stays in texts(sqlite_database)


def test_an_order_s_story_goes_on_telling_what_its_messages_did(sqlite_database):
    keep(sqlite_database, order=order(sqlite_database, 1, "CLOSED"), changes={"order:1": "created"})
    keep(sqlite_database, at=NOW)
    clear(sqlite_database)
    with sqlite_database.read() as session:
        (row,) = journal.search(session, journal.Wanted(accession="ACC1"))
        kept = journal.kept(session, row.id)
    assert (kept.size, kept.row.ack, kept.row.changes) == (0, ACK, {"order:1": "created"})


def test_a_repeat_of_what_lost_its_text_gets_the_kept_answer(database):
    number = keep(database, order=order(database, 1, "CLOSED"))
    keep(database, at=NOW)
    with database.read() as session:
        raw = journal.kept(session, number).raw
    clear(database)
    again = Received(NOW, "peer", raw, journal.digest(raw), "RIS^H", "ORM^O01", raw[:6].decode())
    assert database.write(lambda session: journal.repeat(session, again)) == ACK


@pytest.mark.parametrize("status", ["SCHEDULED", "IN_PROGRESS", "COMPLETED"])
def test_an_open_order_keeps_its_messages_until_it_is_over(database, status):
    order(database, 1, status), order(database, 2, "CLOSED")
    own = keep(database, order=1)
    further = keep(database, order=2, further=[1])
    last = keep(database, at=NOW)
    assert clear(database) == Cleared()
    assert held(database) == [own, further]
    set_status(database, 1, "EXPIRED")
    assert clear(database).emptied == 2
    assert texts(database) == {own: 0, further: 0, last: 107}
    assert held(database) == []
    assert is_counted_rightly(database)


def test_what_another_table_refers_to_stays(database, monkeypatch):
    table = SQLModel.metadata.tables["message_order"]
    monkeypatch.setattr(clearing, "_referring", lambda: (table.c.message,))
    order(database, 1, "CLOSED"), order(database, 2, "CLOSED")
    needed = keep(database, order=1, further=[2])
    keep(database, at=NOW)
    assert clear(database) == Cleared()
    assert held(database) == [needed]


def test_whatever_refers_to_messages_is_asked_and_has_an_index():
    referring = clearing._referring()
    for column in referring:
        indexed = {next(iter(index.columns)).name for index in column.table.indexes}
        assert column.primary_key or column.unique or column.name in indexed, column
    assert "message_order" not in {column.table.name for column in referring}


def test_the_oldest_go_until_the_journal_fits(database):
    order(database, 1, "CLOSED"), order(database, 2, "SCHEDULED"), order(database, 3, "COMPLETED")
    young = NOW - timedelta(days=1)
    numbers = [keep(database, at=young, order=each) for each in (1, 2, 3, 1)]
    weight = 107 + len(ACK) + counting.ROW_BYTES
    settings = Journal(keep_days=90, max_bytes=2 * weight + 1)
    done = clear(database, settings)
    # The first, the one that waits for images, and not that of the order that is to be done.
    assert done == Cleared(removed=2, bytes=2 * weight)
    assert [*texts(database)] == [numbers[1], numbers[3]]
    assert held(database) == [numbers[1]]
    assert is_counted_rightly(database)


def test_what_was_held_beyond_the_size_goes_when_its_order_is_over(database):
    order(database, 1, "SCHEDULED")
    kept = keep(database, at=NOW, order=1)
    last = keep(database, at=NOW, text=b"x" * 5000)
    settings = Journal(keep_days=90, max_bytes=1000)
    clear(database, settings)
    assert [*texts(database)] == [kept, last]
    set_status(database, 1, "CLOSED")
    assert clear(database, settings).removed == 1
    assert [*texts(database)] == [last]


def test_the_last_message_stays_so_that_its_number_never_comes_again(database):
    for _ in range(3):
        last = keep(database)
    clear(database, Journal(keep_days=90, max_bytes=1))
    assert [*texts(database)] == [last]
    assert keep(database) == last + 1


def test_nothing_goes_without_bounds(database):
    numbers = [keep(database) for _ in range(3)]
    assert clear(database, Journal(keep_days=0, max_bytes=0)) == Cleared()
    assert [*texts(database)] == numbers


def test_a_clock_that_was_wrong_holds_up_only_what_came_then(sqlite_database):
    ahead = keep(sqlite_database, at=NOW + timedelta(days=1000))
    behind = keep(sqlite_database)
    last = keep(sqlite_database, at=NOW)
    clear(sqlite_database)
    assert [*texts(sqlite_database)] == [ahead, last]
    assert behind not in texts(sqlite_database)
    clear(sqlite_database, now=NOW + timedelta(days=1200))
    assert [*texts(sqlite_database)] == [last]


def test_it_goes_on_where_its_time_was_over_and_does_not_go_twice(database):
    for _ in range(120):
        keep(database)
    last = keep(database, at=NOW)
    clear(database, budget_s=0)
    assert len(texts(database)) == 121
    database.write(lambda session: counting.move(session.connection(), seen_to=0, seen_at=None))
    runs = []
    for minute in range(2, 20, 2):
        at = NOW + timedelta(minutes=minute)
        journal.clear(database, KEEP, at, budget_s=0.02, pause=lambda _s: None)
        runs.append(len(texts(database)))
    while len(texts(database)) > 1:
        clear(database)
    assert [*texts(database)] == [last]
    assert is_counted_rightly(database)


def test_another_node_that_does_it_is_not_disturbed(database):
    keep(database)
    keep(database, at=NOW)
    clear(database, Journal(keep_days=0, max_bytes=0))
    assert database.write(lambda session: clearing._claim(session, NOW))
    assert journal.clear(database, KEEP, NOW + timedelta(seconds=59)) == Cleared()
    # One that died has its claim for a minute only, and so has one whose clock was wrong.
    assert journal.clear(database, KEEP, NOW + timedelta(seconds=61)).removed == 1
    far = NOW + timedelta(days=9)
    assert database.write(lambda session: clearing._claim(session, far))
    assert database.write(lambda session: clearing._claim(session, NOW))


def test_a_run_that_removes_something_is_audited(database):
    keep(database, state=State.REJECTED)
    keep(database, at=NOW)
    clear(database)
    with database.read() as session:
        (event,) = audit.listing(session, audit.Wanted(subject="journal"), limit=9)
    assert (event.who, event.action) == ("mwl", "remove")
    assert event.detail == {
        "texts removed": 0,
        "messages removed": 1,
        "of them refused": 1,
        "bytes": 107 + len(ACK) + counting.ROW_BYTES,
    }


def test_the_size_is_known_also_of_what_came_just_now(database):
    assert size(database) == journal.Size(0, 0, 0, None, None, 0, is_whole=True)
    weight = 107 + len(ACK) + counting.ROW_BYTES
    keep(database, at=NOW - timedelta(days=2))
    keep(database, at=NOW)
    assert (size(database).messages, size(database).bytes) == (2, 2 * weight)
    clear(database)
    found = size(database)
    assert (found.messages, found.bytes, found.daily_bytes) == (2, 2 * weight, weight // 7)
    assert found.first == found.oldest == NOW - timedelta(days=2)
    assert is_counted_rightly(database)


def test_what_is_being_counted_is_counted_up_to_a_bound(sqlite_database, monkeypatch):
    monkeypatch.setattr(counting, "_MOST_UNCOUNTED", 2)
    for _ in range(4):
        keep(sqlite_database)
    assert (size(sqlite_database).messages, size(sqlite_database).is_whole) == (3, False)


def test_what_comes_while_it_is_counted_is_counted_once(database):
    keep(database)
    journal.clear(database, Journal(keep_days=0, max_bytes=0), NOW)  # sees the first
    keep(database)
    clear(database, Journal(keep_days=0, max_bytes=0), NOW + timedelta(minutes=5))
    assert is_counted_rightly(database)
    with database.read() as session:
        at = counting.progress(session.connection())
    assert (at.counted_to, at.seen_to) == (2, 2)


def test_neither_counting_nor_clearing_reads_all_of_the_journal(sqlite_database):
    def ask(session):
        conn = session.connection()
        at = counting.progress(conn)
        journal.size(session, now=NOW)
        clearing._by_age(session, KEEP, NOW)
        clearing._next(conn, 5, 100)
        clearing._last(conn, at)
        clearing._needed(conn, [1, 2], ["SCHEDULED"])

    keep(sqlite_database)
    clear(sqlite_database, Journal(keep_days=0, max_bytes=0))

    def undone(session):
        session.connection().exec_driver_sql("PRAGMA query_only = OFF")
        ask(session)

    plan = plan_of(sqlite_database, undone)
    scans = [line for line in plan.splitlines() if "SCAN" in line and "journal_" not in line]
    # In order of time, or of number, and only as far as the first.
    assert all(line == "SCAN message" for line in scans), plan
    assert "TEMP B-TREE" not in plan.replace("ORDER BY journal", "")
