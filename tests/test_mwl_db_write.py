"""Units of work: whole or not at all, in company or alone, on both databases."""

import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from datetime import UTC, datetime

import psycopg
import pytest
from sqlalchemy import bindparam, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlmodel import select

from mwl.db import Database, Prepared, group, transactions
from mwl.db.tables import Device
from mwl.errors import Fault, Outage, Reason, Rejected

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
INSERT = text("INSERT INTO step_station (step, ae_title) VALUES (:step, :title)")


def device(title):
    return Device(ae_title=title, created_at=NOW, updated_at=NOW)


def adds(*titles):
    return lambda session: session.add_all(map(device, titles))


def titles(database):
    with database.read() as session:
        return set(session.exec(select(Device.ae_title)))


def rejects(session):
    session.add(device("REJECTED"))
    session.flush()
    raise Rejected(Fault(Reason.MISSING, "PID-3", "no identifier"))


def until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.001)


class Company:
    """Writers that queue up behind one that is held, and so share a transaction."""

    def __init__(self, database):
        self.database = database
        self.pool = ThreadPoolExecutor(16)
        self.go, self.led = threading.Event(), threading.Event()
        self.first = self.pool.submit(database.write, self._hold)

    def _hold(self, session):
        self.led.set()
        assert self.go.wait(10)

    def write(self, *works):
        """Run `works` in one group, in this order; return their futures."""
        assert self.led.wait(10)
        futures = []
        for number, work in enumerate(works, 1):
            futures.append(self.pool.submit(self.database.write, work))
            until(lambda n=number: len(self.database._writes._queue) == n)
        self.go.set()
        self.pool.shutdown(wait=True)
        return futures


@pytest.fixture
def company(sqlite_database, monkeypatch):
    monkeypatch.setattr(group, "_LONGEST_S", 60)
    return Company(sqlite_database)


def test_what_write_returned_is_there_for_every_reader(database):
    assert database.write(lambda s: (adds("CT1")(s), "done")[1]) == "done"
    assert titles(database) == {"CT1"}


def test_what_work_raises_comes_out_and_undoes_it(database):
    with pytest.raises(Rejected):
        database.write(rejects)
    assert titles(database) == set()


def test_an_integrity_error_of_the_orm_comes_out_and_undoes_the_work(database):
    database.write(adds("CT1"))
    with pytest.raises(IntegrityError):
        database.write(adds("CT2", "CT1"))
    database.write(adds("CT3"))
    assert titles(database) == {"CT1", "CT3"}


def test_a_foreign_key_is_enforced(database):
    with pytest.raises(IntegrityError):
        database.write(lambda s: s.connection().execute(INSERT, {"step": 1, "title": "CT1"}))


NAME = "Doe^John"
BY_NAME = Prepared(update(Device.__table__).values(ae_title=bindparam("title")))


@pytest.mark.parametrize(
    "work",
    [
        lambda s: s.add_all([device(NAME), device(NAME)]),
        lambda s: (
            s.add_all([device("CT1"), device("CT2")])
            or s.flush()
            or BY_NAME.run(s.connection(), {"title": NAME})
        ),
        lambda s: s.connection().execute(INSERT, {"step": 2**40, "title": NAME}),
        lambda s: (
            s.connection().execute(text("SELECT CAST(:name AS integer) / 0"), {"name": NAME})
            and s.connection().execute(INSERT, {"step": 1, "title": NAME})
        ),
    ],
)
def test_an_error_tells_no_values(database, work):
    with pytest.raises(DBAPIError) as told:
        database.write(work)
    story = "".join(traceback.format_exception(told.value))
    assert NAME not in story


def test_rows_outlive_their_session(database):
    database.write(adds("CT1"))
    with database.read() as session:
        found = session.exec(select(Device)).one()
    assert (found.ae_title, found.created_at) == ("CT1", NOW)
    assert database.write(lambda s: s.exec(select(Device)).one()).ae_title == "CT1"


def test_work_may_not_commit_or_roll_back(database):
    for end in ("commit", "rollback"):
        with pytest.raises(RuntimeError, match=r"Database\.write"):
            database.write(lambda s, end=end: (adds("CT1")(s), getattr(s, end)()))
    assert titles(database) == set()


def test_a_savepoint_of_the_work_undoes_only_a_part_of_it(database):
    def work(session):
        session.add(device("CT1"))
        session.flush()
        with pytest.raises(IntegrityError), session.begin_nested():
            session.add(device("CT1"))

    database.write(work)
    assert titles(database) == {"CT1"}


def test_a_read_sees_one_snapshot_and_is_not_held_up_by_a_writer(database):
    database.write(adds("CT1"))
    inside, go = threading.Event(), threading.Event()

    def work(session):
        session.add(device("CT2"))
        session.flush()
        inside.set()
        assert go.wait(10)

    with database.read() as session, ThreadPoolExecutor(1) as pool:
        writing = pool.submit(database.write, work)
        assert inside.wait(10)
        assert session.exec(select(Device.ae_title)).all() == ["CT1"]
        go.set()
        writing.result()
        assert session.exec(select(Device.ae_title)).all() == ["CT1"]
    assert titles(database) == {"CT1", "CT2"}


def test_a_read_cannot_write(database):
    def write():
        with database.read() as session:
            session.add(device("CT1"))
            session.flush()

    with pytest.raises(Outage, match=r"may not be written|read-only"):
        write()
    assert titles(database) == set()


def test_work_in_company_shares_a_transaction_and_fails_alone(company):
    seen = []

    def noting(work):
        def noted(session):
            seen.append(session.connection().get_transaction())
            return work(session)

        return noted

    works = [adds("CT1"), rejects, adds("CT2"), adds("CT3", "CT1"), adds("CT4")]
    one, bad, two, double, four = company.write(*map(noting, works))
    assert [one.result(), two.result(), four.result()] == [None] * 3
    with pytest.raises(Rejected):
        bad.result()
    with pytest.raises(IntegrityError):
        double.result()
    assert titles(company.database) == {"CT1", "CT2", "CT4"}
    assert len(seen) == 5
    assert len(set(map(id, seen))) == 1


def test_a_group_has_a_bound(company, monkeypatch):
    monkeypatch.setattr(group, "_MOST_WORKS", 2)
    seen = []
    works = [lambda s: seen.append(s.connection().get_transaction())] * 4
    for done in company.write(*works):
        done.result()
    # The held one leads the first; then they go by twos.
    assert [len({id(t) for t in seen[:i]}) for i in range(1, 5)] == [1, 2, 2, 3]


def test_work_in_company_sees_the_context_of_its_own_caller(company):
    peer = ContextVar("peer", default="nobody")
    seen = []

    def write_as(name):
        peer.set(name)
        company.database.write(lambda _: seen.append(peer.get()))

    callers = [threading.Thread(target=write_as, args=(name,)) for name in ("RIS", "PACS")]
    for caller in callers:
        caller.start()
    until(lambda: len(company.database._writes._queue) == 2)
    company.write()
    for caller in callers:
        caller.join(10)
    assert sorted(seen) == ["PACS", "RIS"]


def test_a_signal_in_the_leader_strands_nobody(company):
    def interrupted(session):
        raise KeyboardInterrupt

    first, second, third = company.write(adds("CT1"), interrupted, adds("CT2"))
    # The signal is the leader's; those in its group are told that nothing was kept.
    with pytest.raises(KeyboardInterrupt):
        company.first.result()
    for member in (first, second):
        with pytest.raises(Outage):
            member.result()
    third.result()
    assert titles(company.database) == {"CT2"}


def test_who_gets_no_turn_in_time_is_told_so_and_leaves_no_trace(sqlite_url, tmp_path):
    database = Database(sqlite_url, data_dir=tmp_path, wait_s=0.2)
    go, inside = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(database.write, lambda _: (inside.set(), go.wait(10)))
        assert inside.wait(10)
        with pytest.raises(Outage, match="no turn"):
            database.write(adds("CT1"))
        go.set()
        held.result()
    database.write(adds("CT2"))
    assert titles(database) == {"CT2"}
    database.close()


def test_writing_inside_a_write_is_a_mistake_that_is_named(sqlite_database):
    with pytest.raises(RuntimeError, match="may not write"):
        sqlite_database.write(lambda _: sqlite_database.write(adds("CT1")))
    sqlite_database.write(adds("CT2"))


def test_many_threads_write_everything_once(database):
    names = [f"AE{n}" for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: database.write(adds(name)), names))
    assert titles(database) == set(names)


def test_deadlocked_transactions_are_run_again(postgresql_database):
    both = threading.Barrier(2)
    runs = []

    def crossing(first, second):
        def work(session):
            runs.append(first)
            take = text("SELECT pg_advisory_xact_lock(:key)")
            session.connection().execute(take, {"key": first})
            if runs.count(first) == 1:
                both.wait(10)
            session.connection().execute(take, {"key": second})
            session.add(device(f"CT{first}"))

        return work

    with ThreadPoolExecutor(2) as pool:
        works = [crossing(1, 2), crossing(2, 1)]
        for done in [pool.submit(postgresql_database.write, work) for work in works]:
            done.result()
    assert len(runs) == 3
    assert titles(postgresql_database) == {"CT1", "CT2"}


def test_collisions_without_end_are_an_outage(postgresql_database):
    runs = []

    def collides(session):
        runs.append(1)
        session.connection().exec_driver_sql(
            "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$"
        )

    with pytest.raises(Outage, match="40001"):
        postgresql_database.write(collides)
    assert len(runs) == 7


def test_a_connection_lost_before_the_commit_is_replaced_once(postgresql_database):
    runs = []

    def breaks(times):
        def work(session):
            runs.append(1)
            session.add(device(f"CT{times}"))
            session.flush()
            if len(runs) <= times:
                session.connection().execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

        return work

    postgresql_database.write(breaks(1))
    assert len(runs) == 2
    assert titles(postgresql_database) == {"CT1"}
    runs.clear()
    with pytest.raises(Outage):
        postgresql_database.write(breaks(9))
    assert len(runs) == 2


def test_a_connection_lost_at_the_commit_is_an_outage_and_not_tried_again(
    postgresql_database, postgresql_url
):
    runs = []

    def work(session):
        runs.append(1)
        session.add(device("CT1"))
        session.flush()
        own = session.connection().scalar(text("SELECT pg_backend_pid()"))
        with psycopg.connect(postgresql_url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [own])

    with pytest.raises(Outage, match="outcome is open"):
        postgresql_database.write(work)
    assert len(runs) == 1


def test_work_that_swallows_an_error_of_postgresql_is_not_taken_for_done(postgresql_database):
    def swallows(session):
        session.add(device("CT1"))
        session.flush()
        with pytest.raises(ProgrammingError):
            session.connection().execute(text("SELECT nothing"))

    with pytest.raises(RuntimeError, match="went on after an error"):
        postgresql_database.write(swallows)
    assert titles(postgresql_database) == set()


def test_connections_that_rested_are_looked_at_before_they_write_again(
    postgresql_database, postgresql_url, monkeypatch
):
    def own(session):
        return session.connection().scalar(text("SELECT pg_backend_pid()"))

    first = postgresql_database.write(own)
    assert postgresql_database.write(own) == first
    monkeypatch.setattr(transactions, "_LONGEST_REST_S", 0.0)
    assert postgresql_database.write(own) == first
    with psycopg.connect(postgresql_url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [first])
    assert postgresql_database.write(own) != first


def test_connections_rest_in_bounds_and_are_closed_with_the_database(postgresql_database):
    barrier = threading.Barrier(12)

    def work(session):
        session.connection().scalar(text("SELECT 1"))
        barrier.wait(30)

    with ThreadPoolExecutor(12) as pool:
        for done in [pool.submit(postgresql_database.write, work) for _ in range(12)]:
            done.result()
    pool = postgresql_database._writer.pool
    assert pool.checkedout() == 8
    postgresql_database.close()
    assert pool.checkedout() == 0


def test_a_plan_made_while_a_table_is_empty_does_not_walk_it_for_ever(postgresql_database):
    asked = "SELECT * FROM performed_step WHERE accession_number = $1 OR patient_id = $2"
    with postgresql_database.read() as session:
        rows = session.connection().exec_driver_sql(f"EXPLAIN (GENERIC_PLAN) {asked}")
        plan = "\n".join(rows.scalars())
    assert "Seq Scan" not in plan, plan
