"""Whether it flows: feeds, scanners, hours, orders of the day, and what waits."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text, update

from mwl import devices, flow, reports
from mwl.config import DeviceTable
from mwl.db import Database
from mwl.db.tables import Delivery, Message
from mwl.devices import Visit
from mwl.flow import peers, throughput, today
from mwl.flow.waiting import _statement as waiting_statement
from mwl.orders import OrderState
from mwl.outbox import Destinations
from mwl.patients import Identifier
from mwl.reports import ReportChange, Status
from tests.closing_rows import report, set_aside, store
from tests.worklist_rows import insert_items, item

NOW = datetime(2030, 1, 2, 12, 30, tzinfo=UTC)
MIDNIGHT = datetime(2030, 1, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


def message(session: Any, source: str, state: str, at: datetime, count: int = 1) -> None:
    rows = [
        Message(
            received_at=at,
            source=source,
            state=state,
            control_id=f"{source} {state} {at} {number}",
            content_hash=b"",
            raw=b"",
        )
        for number in range(count)
    ]
    session.add_all(rows)
    session.flush()


def somebody_else(session: Any, at: datetime, count: int = 1) -> None:
    """Have refused what names another patient than is on file."""
    message(session, f"HIS {at}", "rejected", at, count)
    error = "PID-3: this identifier is known with another name and birth date"
    of_them = update(Message).where(Message.__table__.c.source == f"HIS {at}")  # type: ignore[attr-defined]
    session.connection().execute(of_them.values(error=error))


def delivery(session: Any, state: str, at: datetime, count: int = 1) -> None:
    for _ in range(count):
        session.add(
            Delivery(kind="order_status", destination="ris", state=state, next_at=at, created_at=at)
        )
    session.flush()


def unlinked_report(
    session: Any, *, at: datetime, patient: str = "PID9", status: Status = Status.FINAL
) -> None:
    """Keep a report of nobody who is known; a second one is its next version."""
    change = ReportChange("RIS", status, Identifier(patient), "F9", "CT")
    reports.receive(session, change, Destinations(), now=at)


def feeds(database: Database) -> list[tuple[str, datetime, int, int]]:
    with database.read() as session:
        found = flow.feeds(session, since=MIDNIGHT)
        return [(each.source, each.last_at, each.messages, each.errors) for each in found]


def test_a_feed_is_known_by_its_last_contact_and_its_day(database: Database) -> None:
    def fill(session: Any) -> None:
        message(session, "RIS^A", "applied", MIDNIGHT - HOUR, 5)
        message(session, "RIS^A", "applied", NOW - HOUR, 3)
        message(session, "RIS^A", "rejected", NOW - 2 * HOUR, 2)
        message(session, "RIS^A", "failed", MIDNIGHT - 2 * HOUR)
        message(session, "ADT^A", "noted", NOW - timedelta(minutes=1))
        message(session, "OLD^B", "applied", MIDNIGHT - timedelta(days=30))
        message(session, "", "rejected", MIDNIGHT)

    database.write(fill)
    assert feeds(database) == [
        ("ADT^A", NOW - timedelta(minutes=1), 1, 0),
        ("RIS^A", NOW - HOUR, 5, 2),
        ("", MIDNIGHT, 1, 1),
        ("OLD^B", MIDNIGHT - timedelta(days=30), 0, 0),
    ]


def test_without_messages_there_is_no_feed(database: Database) -> None:
    assert feeds(database) == []


def test_feeds_that_nobody_can_count_are_bounded(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "_MOST_FEEDS", 3)
    peers._feeds.cache_clear()
    database.write(
        lambda s: [message(s, f"S{number}", "applied", NOW) for number in range(9)] and None
    )
    assert len(feeds(database)) == 3
    monkeypatch.undo()
    peers._feeds.cache_clear()
    assert len(feeds(database)) == 9


def test_scanners_are_devices_and_the_strangers_that_were_let_in(database: Database) -> None:
    def fill(session: Any) -> None:
        for title in ("CT1", "MR1", "US1"):
            devices.add(session, DeviceTable(ae_title=title, modality=title[:2]), now=NOW)
        rows = {each.ae_title: each.id for each in devices.listing(session)}
        devices.seen(session, {rows["CT1"]: "10.0.0.1"}, now=NOW - HOUR)
        devices.seen(session, {rows["MR1"]: "10.0.0.2"}, now=NOW)
        knocks = {
            Visit("CT9", "MWL", "10.0.0.9", True): 1,
            Visit("CT8", "MWL", "10.0.0.8", False): 1,
        }
        devices.knocked(session, knocks, now=NOW - 2 * HOUR)
        devices.knocked(session, {Visit("CT9", "MWL", "10.0.0.7", True): 1}, now=NOW - 3 * HOUR)

    database.write(fill)
    with database.read() as session:
        found = flow.scanners(session, limit=10)
    assert [(each.ae_title, each.address, each.last_at) for each in found] == [
        ("MR1", "10.0.0.2", NOW),
        ("CT1", "10.0.0.1", NOW - HOUR),
        ("CT9", "10.0.0.9", NOW - 2 * HOUR),
        ("US1", "", None),
    ]
    assert [each.device is None for each in found] == [False, False, True, False]
    with database.read() as session:
        assert len(flow.scanners(session, limit=2)) == 2


def test_orders_of_a_day_are_counted_once_by_their_state(database: Database) -> None:
    def start(at: str) -> dict[str, Any]:
        return {"start_local": at}

    def fill(session: Any) -> None:
        items = [
            item(1, order={"status": "SCHEDULED"}, step=start("20300102000000")),
            item(2, order={"status": "SCHEDULED"}, step=start("20300102235959")),
            item(3, order={"status": "CLOSED"}, step=start("20300102120000")),
            item(4, order={"status": "CLOSED"}, step=start("20300103000000")),
            item(5, order={"status": "CANCELED"}, step=start("20300101235959")),
        ]
        insert_items(session, items)
        # A second step of the first order.
        copied = "state, state_at, expired, modality, station_ae_titles, station_name, location, "
        copied += "start_at, start_local, performing_physician, performing_physician_key, "
        copied += "description, protocol_value, protocol_scheme, protocol_meaning, "
        copied += "pre_medication, contrast_agent, comments, attributes, procedure"
        session.connection().execute(
            text(
                f"INSERT INTO scheduled_step (study_instance_uid, sps_id, {copied}) "
                f"SELECT study_instance_uid, 'again', {copied} FROM scheduled_step "
                "WHERE sps_id = 'SPS1'"
            )
        )

    database.write(fill)
    with database.read() as session:
        counted = flow.orders_by_state(session, date(2030, 1, 2))
        assert list(counted.items()) == [(OrderState.SCHEDULED, 2), (OrderState.CLOSED, 1)]
        assert flow.orders_by_state(session, date(2031, 1, 1)) == {}


def hours(database: Database, until: datetime) -> list[tuple[int, int, int]]:
    with database.read() as session:
        found = flow.hours(session, until=until)
        return [(each.messages, each.examinations, each.images) for each in found]


def test_a_day_is_counted_by_the_hour(database: Database) -> None:
    def fill(session: Any) -> None:
        message(session, "RIS", "applied", NOW, 2)
        message(session, "RIS", "failed", NOW - timedelta(minutes=30))
        message(session, "RIS", "applied", NOW - timedelta(minutes=31))
        message(session, "RIS", "applied", MIDNIGHT - 11 * HOUR)
        message(session, "RIS", "applied", MIDNIGHT - 11 * HOUR - timedelta(seconds=1))
        report(session, [], "IN PROGRESS", at=NOW - HOUR)
        report(session, [], "COMPLETED", at=NOW - HOUR)
        store(session, "1.2.3", "1.2", at=NOW - 2 * HOUR)

    database.write(fill)
    counted = hours(database, NOW)
    assert len(counted) == 24
    assert counted[23] == (3, 0, 0)
    assert counted[22] == (1, 2, 0)
    assert counted[21] == (0, 0, 1)
    assert counted[0] == (1, 0, 0)
    assert sum(messages for messages, _, _ in counted) == 5


def test_hours_are_those_of_the_clock_also_when_it_changes(sqlite_database: Database) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    with sqlite_database.read() as session:
        found = flow.hours(session, until=datetime(2030, 10, 27, 12, 30, tzinfo=berlin))
    labels = [f"{each.begins:%H:%M}" for each in found]
    assert labels[-1] == "12:00"
    assert labels.count("02:00") == 2
    lengths = {b.begins.timestamp() - a.begins.timestamp() for a, b in pairwise(found)}
    assert lengths == {3600.0}
    kathmandu = ZoneInfo("Asia/Kathmandu")  # UTC+05:45
    with sqlite_database.read() as session:
        found = flow.hours(session, until=NOW.astimezone(kathmandu))
    assert f"{found[-1].begins:%H:%M}" == "18:00"


def test_what_waits_is_counted(database: Database) -> None:
    def fill(session: Any) -> None:
        delivery(session, "done", NOW - 9 * HOUR)
        delivery(session, "waiting", NOW - 2 * HOUR, 2)
        delivery(session, "waiting", NOW)
        delivery(session, "parked", NOW - 5 * HOUR, 2)
        delivery(session, "blocked", NOW)
        delivery(session, "dropped", NOW)
        message(session, "RIS", "failed", NOW)
        message(session, "RIS", "rejected", NOW, 2)
        message(session, "RIS", "rejected", NOW - timedelta(days=3))
        somebody_else(session, NOW, 3)
        somebody_else(session, NOW - timedelta(days=3))
        message(session, "RIS", "applied", NOW)
        insert_items(session, [item(1), item(2, order={"flags": ["look"]})])
        report(session, [], "IN PROGRESS", at=NOW - 20 * HOUR)
        report(session, [], "IN PROGRESS", at=NOW - HOUR)
        report(session, [], "COMPLETED", at=NOW - 20 * HOUR)
        store(session, "1.2.3", "1.2", at=NOW)
        set_aside(session, "1.2.4", at=NOW)
        unlinked_report(session, at=NOW)
        unlinked_report(session, at=NOW, status=Status.CORRECTED)
        unlinked_report(session, at=NOW - timedelta(days=3), patient="PID8")
        knocks = {
            Visit("CT8", "MWL", "10.0.0.8", False): 4,
            Visit("CT9", "MWL", "10.0.0.9", True): 1,
        }
        devices.knocked(session, knocks, now=NOW)
        devices.knocked(session, {Visit("CT7", "MWL", "", False): 1}, now=NOW - timedelta(days=3))

    database.write(fill)
    with database.read() as session:
        found = flow.waiting(session, since=MIDNIGHT, stuck_before=NOW - 12 * HOUR)
    assert found == flow.Waiting(
        deliveries=3,
        deliveries_since=NOW - 2 * HOUR,
        parked=2,
        blocked=1,
        failed=1,
        rejected=2 + 3,
        conflicts=3,
        unmatched=1,
        quarantined=1,
        stuck=1,
        flagged=1,
        unlinked=1,
        refused=1,
    )


def test_where_nothing_waits_all_is_nought(database: Database) -> None:
    with database.read() as session:
        found = flow.waiting(session, since=MIDNIGHT, stuck_before=NOW)
    assert found.deliveries_since is None
    assert {getattr(found, name) for name in found.__slots__} == {0, None}


@contextmanager
def plans(database: Database) -> Iterator[Any]:
    """Give what explains a prepared statement, with sequential scans held to be dear."""
    with database.read() as session:
        conn = session.connection()
        if database.dialect == "postgresql":
            conn.execute(text("SET enable_seqscan = off"))

        def explain(statement: Any) -> str:
            sql = str(statement._statement.compile(dialect=conn.dialect))
            # Values of their types, since PostgreSQL reads nothing for a comparison with NULL.
            sql = re.sub(r"%\(\w+\)s::TIMESTAMP WITH TIME ZONE", "timestamptz '2030-01-02'", sql)
            sql = re.sub(r"%\(\w+\)s::VARCHAR", "'20300102'", sql)
            sql = re.sub(r"%\(\w+\)s::INTEGER|\?", "5", sql)
            word = "EXPLAIN" if database.dialect == "postgresql" else "EXPLAIN QUERY PLAN"
            rows = conn.exec_driver_sql(f"{word} {sql}").all()
            return "\n".join(str(row[-1]) for row in rows)

        yield explain


@pytest.mark.parametrize(
    "statement",
    [
        peers._feeds(),
        today._BY_STATE,
        waiting_statement(),
        *throughput._statements(),
    ],
    ids=["feeds", "today", "waiting", "messages", "examinations", "images"],
)
def test_nothing_is_read_whole(database: Database, statement: Any) -> None:
    with plans(database) as explain:
        plan = explain(statement)
    small = r"knock|of_day|feed|CONSTANT|SUBQUERY"
    if database.dialect == "sqlite":
        scans = [line for line in plan.splitlines() if line.startswith("SCAN")]
        # A partial index is read whole: it holds what waits, no more.
        partial = r"ix_delivery_(waiting|open)|ix_study_unmatched|ix_imaging_order_flagged"
        partial += r"|ix_report_unlinked"
        assert [line for line in scans if not re.search(f"{small}|{partial}", line)] == []
    else:
        scans = re.findall(r"Seq Scan on (\w+)", plan)
        assert set(scans) <= {"knock"}
