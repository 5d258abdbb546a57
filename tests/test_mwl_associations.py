"""What processes tell of the associations that they serve, and what people see of it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from sqlmodel import select
from structlog.testing import capture_logs

from mwl import associations, devices
from mwl.associations import Publisher, Served, Wanted
from mwl.audit import Actor
from mwl.config import DeviceTable
from mwl.db import Database
from mwl.db.tables import AuditEvent, DicomServer, LiveAssociation
from mwl.errors import Outage, Rejected

NOW = datetime(2030, 1, 2, 12, tzinfo=UTC)
ECHO, IMPLICIT = "1.2.840.10008.1.1", "1.2.840.10008.1.2"
CT1 = Served(1, "10.0.0.21", NOW - timedelta(hours=3), "CT1", "MWL", contexts=((ECHO, IMPLICIT),))
CT2 = Served(2, "10.0.0.22", NOW - timedelta(minutes=1), "CT2", "MWL", tls=True)
SILENT = Served(3, "10.0.0.99", NOW - timedelta(seconds=4))
ADMIN = Actor("ada", "admin", "10.0.0.5")


class Process:
    """A process that serves what a test says."""

    def __init__(self, database: Database, place: str = "host:104/0", *served: Served) -> None:
        self.now = NOW
        self.served = list(served)
        self.aborted: list[int] = []
        self.writes = 0
        self._database = database
        self.publisher = Publisher(
            cast("Database", self),  # it counts what is written
            place,
            lambda: self.served,
            self.aborted.append,
            clock=lambda: self.now,
        )

    def read(self) -> Any:
        return self._database.read()

    def write(self, work: Callable[[Any], Any]) -> Any:
        self.writes += 1
        return self._database.write(work)

    def look(self, seconds: float = 2) -> None:
        self.now += timedelta(seconds=seconds)
        self.publisher.look()


def listed(database: Database, now: datetime = NOW, **wanted: str) -> list[str]:
    with database.read() as session:
        found = associations.page(session, Wanted(now, **wanted), limit=99)
    return [each.calling for each in found]


def first(database: Database, **wanted: str) -> associations.Open:
    with database.read() as session:
        return associations.page(session, Wanted(NOW, **wanted), limit=1)[0]


def servers(database: Database) -> list[str]:
    with database.read() as session:
        return [each.place for each in session.exec(select(DicomServer)).all()]


@pytest.fixture
def process(database: Database) -> Process:
    return Process(database, "host:104/0", CT1, CT2)


# --- telling


def test_what_is_open_is_told_and_the_longest_comes_first(
    database: Database, process: Process
) -> None:
    process.served = [SILENT, CT2, CT1]
    process.look()
    assert listed(database) == ["CT1", "CT2", ""]
    found = first(database)
    assert (found.calling, found.called, found.address) == ("CT1", "MWL", "10.0.0.21")
    assert (found.contexts, found.tls, found.since) == (((ECHO, IMPLICIT),), False, CT1.since)
    assert found.place == "host:104/0"


def test_what_has_changed_is_told_and_nothing_else_is_written(
    database: Database, process: Process
) -> None:
    process.look()
    row, process.writes = first(database).id, 0
    process.look()
    assert process.writes == 0
    busy = replace(CT1, operation="C-STORE", received_bytes=2**40, sent_bytes=120, messages=7)
    process.served = [busy, CT2]
    process.look()
    assert process.writes == 1
    found = first(database)
    assert found.id == row
    assert (found.operation, found.messages) == ("C-STORE", 7)
    assert (found.received_bytes, found.sent_bytes) == (2**40, 120)
    assert found.changed_at == process.now


def test_what_is_agreed_on_is_told_when_the_peer_has_asked(
    database: Database, process: Process
) -> None:
    process.served = [SILENT]
    process.look()
    before = first(database)
    process.served = [replace(CT2, number=SILENT.number, since=SILENT.since, contexts=CT1.contexts)]
    process.look()
    after = first(database)
    assert (before.id, before.calling, before.contexts) == (after.id, "", ())
    assert (after.calling, after.called, after.tls) == ("CT2", "MWL", True)
    assert after.contexts == CT1.contexts


def test_what_has_ended_is_told(database: Database, process: Process) -> None:
    process.look()
    process.served = [CT2]
    process.look()
    assert listed(database) == ["CT2"]


def test_where_nothing_is_open_nothing_is_written(database: Database, process: Process) -> None:
    process.served = []
    process.look()
    process.writes = 0
    for _ in range(3):
        process.look(60)
    assert process.writes == 0
    process.served = [CT1]
    process.look()
    process.served = []
    process.look()
    assert servers(database) == []


def test_a_process_with_idle_associations_writes_a_beat_each_quarter_of_a_minute(
    database: Database, process: Process
) -> None:
    process.look()
    process.writes = 0
    for _ in range(60):
        process.look(2)
    assert 7 <= process.writes <= 8
    assert listed(database, process.now) == ["CT1", "CT2"]


def test_more_than_go_into_one_transaction_are_told_in_several(
    sqlite_database: Database,
) -> None:
    many = [replace(CT2, number=n, since=NOW + timedelta(seconds=n)) for n in range(1201)]
    process = Process(sqlite_database, "host:104/0", *many)
    process.look()
    assert process.writes == 2 + 3
    with sqlite_database.read() as session:
        assert len(session.exec(select(LiveAssociation.id)).all()) == 1201


# --- processes that die, and those that are only taken for dead


def test_what_a_dead_process_told_is_not_listed_and_is_swept(
    database: Database, process: Process
) -> None:
    other = Process(database, "host:104/1", SILENT)
    process.look()
    other.look()
    for _ in range(5):
        other.look(15)
    assert listed(database, other.now) == [""]
    assert servers(database) == ["host:104/1"]
    with database.read() as session:
        assert len(session.exec(select(LiveAssociation)).all()) == 1


def test_who_follows_a_killed_process_tells_instead_of_it_at_once(
    database: Database, process: Process
) -> None:
    process.look()
    follower = Process(database, "host:104/0")
    follower.look()
    assert listed(database) == []
    follower.served = [SILENT]
    follower.look()
    assert listed(database) == [""]


def test_who_was_taken_for_dead_tells_everything_anew(database: Database, process: Process) -> None:
    process.look()
    other = Process(database, "host:104/0", SILENT)  # of the same place: a name that is not unique
    other.look()
    process.look()
    process.look()
    other.look()
    assert sorted(listed(database)) == ["", "CT1", "CT2"]
    assert len(set(servers(database))) == 2


def test_a_beat_that_finds_nothing_tells_everything_anew(
    database: Database, process: Process
) -> None:
    process.look()
    other = Process(database, "elsewhere:104/0", SILENT)
    other.look()
    other.look(70)
    other.look(0)
    process.look(100)  # its machine slept
    assert "CT1" in listed(database, process.now)


def test_an_outage_is_logged_once_and_then_everything_is_told_anew(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(sqlite_database, "host:104/0", CT1)
    process.look()

    def out(_work: object) -> None:
        raise Outage("the disk is full")

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(process, "write", out)
        process.served = [CT2]
        process.look()
        process.look()
    assert [line["event"] for line in logs] == ["associations.not_told"]
    process.look()
    assert listed(sqlite_database) == ["CT2"]


def test_the_thread_tells_and_takes_it_back_when_it_is_stopped(sqlite_database: Database) -> None:
    open_now = [CT1]
    publisher = Publisher(sqlite_database, "host:104/0", lambda: open_now, lambda _: None)
    publisher.look()
    publisher.start()
    assert servers(sqlite_database) == ["host:104/0"]
    open_now.clear()
    publisher.stop()
    assert servers(sqlite_database) == []


# --- looking


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"calling": "ct1 "}, ["CT1"]),
        ({"calling": "CT"}, []),
        ({"text": "ct"}, ["CT1", "CT2"]),
        ({"text": "0.0.22"}, ["CT2"]),
        ({"text": "mwl"}, ["CT1", "CT2"]),
        ({"text": "%"}, []),
        ({"calling": "CT1", "text": "10.0.0.22"}, []),
    ],
)
def test_titles_and_addresses_are_looked_for(
    database: Database, process: Process, wanted: dict[str, str], found: list[str]
) -> None:
    process.look()
    assert listed(database, NOW, **wanted) == found


def test_pages_go_on_where_the_last_ended_and_back(database: Database, process: Process) -> None:
    process.served = [CT1, CT2, SILENT, replace(SILENT, number=4)]  # two since the same instant
    process.look()
    seen: list[associations.Open] = []
    with database.read() as session:

        def page(**place: Any) -> Any:
            return associations.page(session, Wanted(NOW), limit=3, **place)

        seen += page()
        key = seen[-1].since, seen[-1].id
        rest = page(after=key)
        assert [each.since for each in [*seen, *rest]] == sorted(
            each.since for each in process.served
        )
        assert len({each.id for each in [*seen, *rest]}) == 4
        assert page(before=(rest[0].since, rest[0].id)) == seen


def test_what_devices_have_open_is_counted(database: Database, process: Process) -> None:
    process.served = [CT1, replace(CT1, number=9, calling="ct1"), CT2]
    process.look()
    with database.read() as session:
        assert associations.counts(session, now=NOW) == {"CT1": 2, "CT2": 1}
        assert associations.counts(session, now=NOW + timedelta(hours=1)) == {}


# --- ending


def ask(database: Database, row: int, now: datetime = NOW) -> associations.Open:
    return database.write(lambda session: associations.end(session, ADMIN, row, now=now))


def test_a_person_ends_an_association_and_the_trail_tells_who(
    database: Database, process: Process
) -> None:
    process.look()
    row = first(database, calling="CT2").id
    assert ask(database, row).calling == "CT2"
    process.look()
    assert process.aborted == [2]
    assert first(database, calling="CT2").ending
    process.look()
    assert process.aborted == [2]
    process.look(5)
    assert process.aborted == [2, 2]  # it was deaf
    process.served = [CT1]
    process.look(5)
    assert process.aborted == [2, 2]
    with database.read() as session:
        (event,) = session.exec(select(AuditEvent)).all()
    assert (event.who, event.action, event.subject) == ("ada", "abort", f"association:{row}")
    assert event.detail == {"calling": "CT2", "called": "MWL", "from": "10.0.0.22"}


def test_what_is_not_open_any_more_is_not_ended(database: Database, process: Process) -> None:
    process.look()
    row = first(database).id
    process.served = [CT2]
    process.look()
    for gone in (row, 4711):
        with pytest.raises(Rejected, match="not open any more"):
            ask(database, gone)
    with pytest.raises(Rejected):
        ask(database, first(database).id, NOW + timedelta(hours=1))  # its process is dead


def test_a_number_of_a_row_never_comes_again(database: Database, process: Process) -> None:
    numbers = []
    for each in (CT1, CT2, SILENT):
        process.served = [each]
        process.look()
        numbers.append(first(database).id)
    process.served = []
    process.look()
    process.served = [CT1]
    process.look()
    numbers.append(first(database).id)
    assert len(set(numbers)) == 4


def test_a_device_is_open_by_any_of_its_titles(database: Database, process: Process) -> None:
    aliased = DeviceTable(ae_title="CT1", aliases=("CT1_STORE",))
    database.write(lambda session: devices.add(session, aliased, now=NOW))
    process.served = [CT1, replace(CT1, number=9, calling="ct1_store"), CT2]
    process.look(0)
    with database.read() as session:
        assert associations.counts(session, now=NOW) == {"CT1": 2, "CT2": 1}
    for title in ("CT1", "ct1_store"):
        assert sorted(listed(database, calling=title)) == ["CT1", "ct1_store"]
    assert listed(database, calling="CT2") == ["CT2"]
