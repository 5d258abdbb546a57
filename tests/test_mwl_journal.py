from datetime import UTC, datetime, timedelta

import pytest

from mwl import journal
from mwl.errors import Rejected
from mwl.journal import REUSED, Received, Settled, State

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


def search(database, **criteria):
    with database.read() as session:
        return journal.search(session, **criteria)


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
    assert search(database, message_type="ADT^A08") == []
    (row,) = search(database, state="REJECTED", message_type="ORM^O01")
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
