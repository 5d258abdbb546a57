"""What the clock looks at is bounded, and no order stands in the way of another."""

import threading
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import insert, text
from sqlmodel import select
from structlog.testing import capture_logs

from mwl import closing, worklist
from mwl.closing import rows as closing_statements
from mwl.closing import sweeps
from mwl.config import Close
from mwl.db.tables import (
    Delivery,
    Device,
    ImagingOrder,
    Instance,
    PerformedInstance,
    PerformedLink,
    PerformedStep,
    Series,
    StoredObject,
    Study,
)
from mwl.errors import Outage
from mwl.orders import Action, OrderChange
from mwl.patients import Identifier, PatientChange
from mwl.worklist.procedures import Procedures
from tests.closing_rows import TOLD, report, store
from tests.worklist_rows import NOW, insert_items, item

HERE = Close()
STUDY = "1.2.826.0.1.3680043.8.498"


def completed(session, *numbers, here=True):
    """Write completed orders, each with one listed image that is here or not."""
    order = {"status": "COMPLETED", "check_at": NOW}
    step = {"state": "COMPLETED"}
    insert_items(session, [item(n, order=order, step=step) for n in numbers])
    for n in numbers:
        report(session, [f"SPS{n}"], listed=[f"1.1.{n}"], at=NOW)
        if here:
            store(session, f"1.1.{n}", f"{STUDY}.{n}", at=NOW)


def orders(database):
    with database.read() as session:
        found = session.exec(select(ImagingOrder).order_by(ImagingOrder.id)).all()
        session.expunge_all()
        return found


def test_nodes_that_look_at_the_same_time_close_each_order_once(database):
    numbers = range(1, 21)
    database.write(lambda s: completed(s, *numbers))
    begin = threading.Barrier(4)

    def node():
        begin.wait()
        closing.follow(database, HERE, NOW, TOLD)

    nodes = [threading.Thread(target=node) for _ in range(4)]
    for each in nodes:
        each.start()
    for each in nodes:
        each.join()
    assert {each.status for each in orders(database)} == {"CLOSED"}
    with database.read() as session:
        subjects = [row.subject for row in session.exec(select(Delivery)).all()]
    assert sorted(subjects) == sorted({f"order:{each.id}" for each in orders(database)})


def test_an_order_closes_beside_a_message_about_it(database, monkeypatch):
    database.write(lambda s: completed(s, 1))
    reading, read_on = threading.Event(), threading.Event()
    act = Procedures.act

    def slowly(procedures, change):
        # It has read the order, and not yet written it.
        reading.set()
        assert read_on.wait(10)
        act(procedures, change)

    monkeypatch.setattr(Procedures, "act", slowly)
    change = OrderChange(
        source="TEST",
        action=Action.UPDATE,
        number=Identifier("F1"),
        patient=PatientChange(Identifier("P1", "HOSP")),
        fields={"comments": "news"},
    )
    zone = ZoneInfo("UTC")
    message = threading.Thread(
        target=lambda: database.write(lambda s: worklist.apply(s, change, now=NOW, zone=zone))
    )
    clock = threading.Thread(target=closing.follow, args=(database, HERE, NOW, TOLD))
    message.start()
    assert reading.wait(10)
    clock.start()
    clock.join(0.5)  # it waits for the message; if it didn't, it would be overwritten
    read_on.set()
    message.join()
    clock.join()
    (after,) = orders(database)
    assert (after.comments, after.status, after.closed_at) == ("news", "CLOSED", NOW)


def test_an_order_that_cannot_be_judged_is_left_for_later_and_the_others_are_not(
    database, monkeypatch
):
    database.write(lambda s: completed(s, 1, 2, 3))
    bad = orders(database)[0].id
    judge = sweeps.judge

    def stumble(conn, order, rules, now):
        if order["id"] == bad:
            raise ValueError("what nobody thought of")
        return judge(conn, order, rules, now)

    monkeypatch.setattr(sweeps, "judge", stumble)
    with capture_logs() as logs:
        closing.follow(database, HERE, NOW, TOLD)
    assert [each["event"] for each in logs if each["log_level"] == "error"] == ["order.not_judged"]
    assert [each.status for each in orders(database)] == ["COMPLETED", "CLOSED", "CLOSED"]
    assert orders(database)[0].check_at == NOW + timedelta(minutes=10)


def test_what_cannot_be_told_closes_nothing(sqlite_database, monkeypatch):
    database = sqlite_database
    database.write(lambda s: completed(s, 1))

    def fail(*_):
        raise Outage("database: disk full")

    monkeypatch.setattr("mwl.closing.judging.status_facts", fail)
    with pytest.raises(Outage):
        closing.follow(database, HERE, NOW, TOLD)
    assert [each.status for each in orders(database)] == ["COMPLETED"]
    monkeypatch.undo()
    closing.follow(database, HERE, NOW, TOLD)
    assert [each.status for each in orders(database)] == ["CLOSED"]


def test_whom_it_concerns_is_told_once_which_order_misses_images(database):
    database.write(lambda s: completed(s, 1, here=False))
    with capture_logs() as logs:
        for hours in (23, 25, 49):
            closing.follow(database, HERE, NOW + timedelta(hours=hours), TOLD)
    (told,) = (each for each in logs if each["event"] == "order.images_missing")
    assert told == {
        "event": "order.images_missing",
        "log_level": "warning",
        "order": orders(database)[0].id,
        "reasons": [closing.ASKED],
    }


def test_what_waits_is_looked_at_ever_more_rarely(database):
    database.write(lambda s: completed(s, 1, here=False))
    waits = {
        timedelta(minutes=10): timedelta(seconds=10),
        timedelta(days=1): timedelta(minutes=24),
        timedelta(days=90): timedelta(hours=12),
    }
    for waited, pause in waits.items():
        now = NOW + waited
        closing.follow(database, HERE, now, TOLD)  # asks a person, once
        closing.follow(database, HERE, now, TOLD)
        assert orders(database)[0].check_at == now + pause
        closing.follow(database, HERE, now + pause - timedelta(seconds=1), TOLD)
        assert orders(database)[0].check_at == now + pause


def test_a_run_ends_and_the_next_goes_on(sqlite_database, monkeypatch):
    database = sqlite_database
    monkeypatch.setattr(sweeps, "_MOST", 2)
    database.write(lambda s: completed(s, 1, 2, 3, 4, 5))
    for expected in (2, 4, 5):
        closing.follow(database, HERE, NOW, TOLD)
        assert [each.status for each in orders(database)].count("CLOSED") == expected
    monkeypatch.setattr(sweeps, "_LONGEST_S", -1.0)
    database.write(lambda s: completed(s, 6))
    closing.follow(database, HERE, NOW, TOLD)
    assert orders(database)[-1].status == "COMPLETED"


# ---- cost -------------------------------------------------------------------------------------

PREPARED = {
    closing_statements._DUE: {"now": NOW, "limit": 10},
    closing_statements._STEPS: {"order_row": 1},
    closing_statements._REPORTS: {"order_row": 1},
    closing_statements._LISTED: {"order_row": 1},
}
BIG = ("imaging_order", "scheduled_step", "performed_step", "performed_link")
BIG = (*BIG, "performed_instance", "instance", "stored_object")


def test_judging_an_order_walks_no_table(database):
    database.write(lambda s: many(s, 600))
    database.write(lambda s: s.connection().execute(text("ANALYZE")))
    with database.read() as session:
        conn = session.connection()
        for statement, params in PREPARED.items():
            statement.all(conn, params)
            plan = _plan(conn, statement._plans[database.dialect].text)
            for table in BIG:
                assert f"SCAN {table}" not in plan, plan
                assert f"Seq Scan on {table}" not in plan, plan


def many(session, count):
    """Write orders, each with one listed image, which is here."""
    conn = session.connection()
    steps = insert_items(session, [item(n) for n in range(count)])
    rows = {
        PerformedStep: {"state": "COMPLETED", "requests": [], "unscheduled": False, "flags": []},
        PerformedLink: {"by": "step"},
        PerformedInstance: {},
        Study: {"requested_procedure": None, "coerced": False},
        Series: {"request": []},
        Instance: {},
        StoredObject: {
            "state": "served",
            "size": 1,
            "data_set_offset": 1,
            "sha256": b"",
            "received_at": NOW,
        },
    }
    for table, more in rows.items():
        made = [_row(table, n, step, more) for n, step in enumerate(steps, 1)]
        conn.execute(insert(table), made)


def _row(table, number, step, more):
    """Fill the columns of a row: parents by number, UIDs that tell rows apart."""
    parents = {"study", "series", "instance", "performed_step"}
    row = {}
    for column in table.__table__.c:
        if column.name in more:
            row[column.name] = more[column.name]
        elif column.name == "scheduled_step":
            row[column.name] = step
        elif column.name == "id" or column.name in parents:
            row[column.name] = number
        elif column.name in {"created_at", "updated_at"}:
            row[column.name] = NOW
        elif not column.nullable:
            row[column.name] = f"1.1.{number}" if "uid" in column.name else f"{number}"
    return row


def _plan(conn, asked):
    if conn.dialect.name == "postgresql":
        rows = conn.exec_driver_sql(f"EXPLAIN (GENERIC_PLAN) {asked}").scalars()
        return "\n".join(rows)
    rows = conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}", (None,) * asked.count("?"))
    return "\n".join(row[3] for row in rows)


def test_nothing_is_looked_for_where_every_scanner_sends_mpps(sqlite_database):
    database = sqlite_database
    database.write(lambda s: insert_items(s, [item(1, "CT1")]))
    database.write(lambda s: store(s, "1.1", f"{STUDY}.1", at=NOW))
    row = {"ae_title": "CT1", "created_at": NOW, "updated_at": NOW, "may": []}
    row |= {"host": "", "port": 0, "modality": "CT", "station_name": "", "location": ""}
    row |= {"commit_report": "new", "origin": "manual", "tls": False, "oddities": []}
    database.write(lambda s: s.connection().execute(insert(Device).values(mpps=True, **row)))
    with database.read() as session:
        assert closing_statements.with_silent_images(session.connection(), 10) == []


def test_what_is_over_or_has_expired_is_not_looked_for_again(database):
    items = [
        item(1, step={"state": "COMPLETED"}),
        item(2, step={"expired": True}, order={"expired_at": NOW, "status": "EXPIRED"}),
        item(3, step={"state": "STARTED"}),
        item(4),
    ]
    database.write(lambda s: insert_items(s, items))
    with database.read() as session:
        found = closing_statements.expirable(session.connection(), NOW, 10)
        (order,) = found
        assert session.get(ImagingOrder, order).order_number == "F4"
