"""Many messages replayed: told first, then applied, once."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import SQLModel

from hl7 import profile, ranges
from hl7.inbound import Inbound
from hl7.intake import Intake
from hl7.profiles import Profiles
from hl7.ranges import Ranges
from hl7.replay import Replay
from mwl import audit, journal
from mwl.audit import Actor
from mwl.journal import Overrides, Wanted
from tests.builders import adt_a08, orm
from tests.hl7_mapping import BERLIN, DEFAULT, document

BEGIN = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
LATER = datetime(2030, 1, 1, 18, 0, tzinfo=UTC)
ANNA = Actor("anna", "admin", "10.0.0.1")
PLAIN, AGAIN = Overrides(), Overrides(accepted=True)
REJECTED = Wanted(state="rejected")
# What the default profile refuses, and a mended one takes: types of messages.
LOADED = Profiles.single(profile.load(DEFAULT), BERLIN)
events = {**document()["events"], "ADT^Z08": "update_patient", "ORM^Z01": "order"}
MENDED = Profiles.single(profile.parse({**document(), "events": events}, "mended"), BERLIN)


class Journal:
    """A way in that refuses what a mended profile takes, and a person who replays."""

    def __init__(self, database):
        self.database = database
        self.now = BEGIN
        self._inbound = Inbound(database, LOADED, clock=self._clock)
        self.ranges = Ranges(database, Replay(database, Intake(MENDED)))

    def _clock(self):
        self.now += timedelta(seconds=1)
        return self.now

    def send(self, message):
        self._inbound.receive(message.encode(), "127.0.0.1:4711")

    def rehearse(self, wanted=REJECTED, overrides=PLAIN, **more):
        return self.ranges.rehearse(wanted, ANNA, overrides, now=LATER, **more)

    def apply(self, wanted=REJECTED, overrides=PLAIN, **more):
        return self.ranges.apply(wanted, ANNA, overrides, clock=lambda: LATER, **more)

    def contents(self):
        with self.database.read() as session:
            conn = session.connection()
            return {
                name: conn.exec_driver_sql(f'SELECT * FROM "{name}"').all()
                for name in sorted(SQLModel.metadata.tables)
            }

    def value(self, sql):
        with self.database.read() as session:
            return session.connection().exec_driver_sql(sql).scalar()


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Let a busy machine take its time."""
    monkeypatch.setattr(ranges, "LONGEST_HELD_S", 60)


def order(number, **more):
    """An order of a type that the default profile refuses."""
    names = {"ORC_2": f"P{number}", "ORC_3": f"F{number}", "OBR_2": None, "OBR_3": None}
    study = {"ZDS_1": f"1.2.3.{number}", "OBR_18": f"ACC{number}"}
    return orm(**{"MSH_9": "ORM^Z01", **names, **study, **more})


@pytest.fixture
def kept(database):
    return Journal(database)


def test_a_rehearsal_counts_what_would_become_of_each_and_does_nothing(kept):
    kept.send(order(1))
    kept.send(order(2, PID_3=""))
    kept.send(orm(PID_7="yesterday", ORC_3="F9"))
    kept.send(adt_a08(MSH_9="ADT^Z08", MSH_7="20240101120000", PID_8="M"))
    before = kept.contents()
    course = kept.rehearse()
    assert kept.contents() == before
    assert course.counts == {
        "applied": 1,
        "stale": 1,
        "refused as before": 1,
        "refused otherwise": 1,
    }
    assert [each.message for each in course.tried] == [1, 2, 3, 4]
    assert "PID-3" in course.tried[1].error
    assert (course.left, course.after) == (0, None)
    what = {(each.kind, each.what) for each in course.differences}
    assert what == {(kind, "created") for kind in ("patient", "order", "procedure", "step")}


def test_each_sees_what_those_before_it_would_have_done(kept):
    kept.send(order(1))
    kept.send(order(1, ORC_1="XO", ORC_7="^^^20300102140000^^R"))
    kept.send(order(1, ORC_1="CA", MSH_7="20240101120000"))
    course = kept.rehearse()
    assert [str(each.fate) for each in course.tried] == ["applied", "applied", "stale"]
    assert "step:" in str(course.tried[1].changes)
    (step,) = [each for each in course.differences if each.kind == "step"]
    assert step.columns["start_local"] == (None, "20300102140000")
    # A message that is twice in the range would be accepted once.
    kept.send(order(1, MSH_10="TWICE"))
    kept.send(order(1, MSH_10="TWICE") + "ZZZ|1\r")
    assert kept.rehearse().counts["applied"] == 4


def test_what_is_applied_is_what_was_rehearsed(kept):
    for number in range(5):
        kept.send(order(number))
    kept.send(order(1, PID_5="Roe^Richard", PID_7="19700101"))
    told = kept.rehearse()
    done = kept.apply()
    assert done.counts == told.counts == {"applied": 5, "refused otherwise": 1}
    assert [each.error for each in done.tried] == [each.error for each in told.tried]
    assert kept.value("SELECT count(*) FROM imaging_order") == 5
    assert all(each.row for each in done.tried)


def test_it_may_be_run_again_and_does_nothing_twice(kept):
    kept.send(order(1))
    kept.send(orm(PID_7="yesterday"))
    kept.send(order(2, PID_3=""))
    kept.apply()
    rows = kept.value("SELECT count(*) FROM message")
    again = kept.apply()
    assert again.counts == {
        "refused as before": 2,
        "accepted before": 1,
        "a replay itself": 1,
    }
    assert kept.value("SELECT count(*) FROM message") == rows
    assert kept.value("SELECT count(*) FROM imaging_order") == 1


def test_it_stops_when_told_and_goes_on_from_there(kept):
    for number in range(5):
        kept.send(order(number))
    heard = []

    def tell(tried):
        heard.append(tried.message)
        if len(heard) == 2:
            raise StopIteration

    course = kept.apply(tell=tell)
    assert (heard, course.left) == ([1, 2], 3)
    rest = kept.apply(after=course.after)
    assert [each.message for each in rest.tried] == [3, 4, 5]
    assert (rest.left, rest.after) == (0, None)


def test_so_many_at_once_and_it_says_what_it_left(kept, monkeypatch):
    for number in range(5):
        kept.send(order(number))
    monkeypatch.setattr(ranges, "MOST", 2)
    course = kept.rehearse()
    assert (len(course.tried), course.left) == (2, 3)
    assert (len(kept.apply(after=course.after).tried), kept.rehearse().left) == (2, 3)
    monkeypatch.setattr(ranges, "LONGEST_HELD_S", 0)
    assert len(kept.rehearse().tried) == 2
    monkeypatch.setattr(ranges, "LEAST", 1)
    assert len(kept.rehearse().tried) == 1
    monkeypatch.setattr(ranges, "MOST_BYTES", 10)
    assert len(kept.apply().tried) == 1


def test_what_came_after_the_last_that_was_shown_is_left_alone(kept):
    kept.send(order(1))
    shown = kept.rehearse()
    kept.send(order(2))
    last = shown.tried[-1]
    done = kept.apply(upto=(last.received_at, last.message))
    assert [each.message for each in done.tried] == [1]
    assert done.left == 0


def test_filters_choose_and_time_bounds(kept):
    kept.send(order(1))
    kept.send(order(2, MSH_3="OTHER"))
    kept.send(order(3))
    assert [each.message for each in kept.rehearse(Wanted(source="OTHER^HOSPITAL")).tried] == [2]
    since = Wanted(state="rejected", since=BEGIN + timedelta(seconds=3))
    assert [each.message for each in kept.rehearse(since).tried] == [3]
    until = Wanted(state="rejected", until=BEGIN + timedelta(seconds=3))
    assert [each.message for each in kept.rehearse(until).tried] == [1, 2]


def test_what_was_accepted_is_applied_again_only_if_a_person_says_so(kept):
    kept.send(orm())
    every = Wanted(type="ORM^O01")
    assert kept.rehearse(every).counts == {"accepted before": 1}
    assert kept.rehearse(every, AGAIN).counts == {"applied": 1}
    kept.apply(every, AGAIN)
    assert kept.value("SELECT count(*) FROM message WHERE ack_code = 'AA'") == 1


def test_it_is_audited_as_a_whole_and_each(kept):
    kept.send(order(1))
    kept.rehearse()
    kept.apply()
    with kept.database.read() as session:
        found = audit.listing(session, audit.Wanted(), limit=10)
    assert [(each.action, each.subject) for each in found] == [
        ("replay", "message:1"),
        ("replay", "messages"),
    ]
    assert (found[1].detail["state"], found[1].detail["messages"]) == ("rejected", 1)


def test_orders_that_come_meanwhile_are_taken(kept):
    for number in range(20):
        kept.send(order(number))
    failed = []

    def send():
        try:
            for number in range(100, 120):
                kept.send(order(number, MSH_9="ORM^O01"))
        except Exception as error:  # told below, by the thread that may fail a test
            failed.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    for _ in range(5):
        assert kept.rehearse().counts == {"applied": 20}
    thread.join(timeout=60)
    assert not failed
    assert kept.value("SELECT count(*) FROM imaging_order") == 20


def test_a_message_without_text_is_passed_over(kept):
    kept.send(order(1))
    clear = "UPDATE message SET raw = " + ("X''" if kept.database.dialect == "sqlite" else "''")
    kept.database.write(lambda session: session.connection().exec_driver_sql(clear))
    assert kept.apply().counts == {"its text is kept no longer": 1}
    with kept.database.read() as session:
        assert journal.texts(session, [1])[0].raw == b""
