"""A database that is locked, gone, full or stopped is an Outage, in time, and passes."""

import resource
import shutil
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from sqlmodel import func, select

from mwl.db import Database
from mwl.db.migrate import upgrade
from mwl.db.tables import Message
from mwl.errors import Outage
from tests import postgres
from tests.test_mwl_db_write import NOW, Company, until

WAIT_S = 0.3


@pytest.fixture
def impatient(sqlite_url, tmp_path):
    database = Database(sqlite_url, data_dir=tmp_path, wait_s=WAIT_S)
    yield database
    database.close()


def keeps(size=10):
    def work(session):
        session.add(Message(received_at=NOW, state="x", content_hash=b"", raw=b"x" * size))

    return work


def count(database):
    with database.read() as session:
        return session.exec(select(func.count()).select_from(Message)).one()


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_write_lock_held_by_another_program_is_an_outage_in_time(impatient, begin):
    with closing(sqlite3.connect(impatient.path, isolation_level=None)) as other:
        other.execute(begin)
        began = time.monotonic()
        with pytest.raises(Outage, match="write lock"):
            impatient.write(keeps())
        assert WAIT_S * 0.9 <= time.monotonic() - began < WAIT_S + 2
        assert count(impatient) == 0
        other.execute("ROLLBACK")
    impatient.write(keeps())
    assert count(impatient) == 1


def test_a_write_lock_that_is_let_go_in_time_is_no_outage(sqlite_database):
    with closing(
        sqlite3.connect(sqlite_database.path, isolation_level=None, check_same_thread=False)
    ) as other:
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(sqlite_database.write, keeps())
            until(lambda: sqlite_database._writes._leader is not None)
            other.execute("ROLLBACK")
            writing.result()
    assert count(sqlite_database) == 1


def test_a_file_that_is_gone_is_an_outage_until_it_is_back(impatient):
    impatient.write(keeps())
    aside = impatient.path.with_name("aside.db")
    shutil.move(impatient.path, aside)
    with pytest.raises(Outage, match="missing"):
        impatient.write(keeps())
    with pytest.raises(Outage, match="missing"):
        count(impatient)
    assert not impatient.path.exists()
    shutil.move(aside, impatient.path)
    impatient.write(keeps())
    assert count(impatient) == 2


def test_a_file_that_was_replaced_is_noticed(impatient, sqlite_template):
    impatient.write(keeps())
    assert count(impatient) == 1
    # As an operator restores a backup: the log of the old file goes too.
    restored = impatient.path.with_name("restored.db")
    shutil.copy(sqlite_template, restored)
    for name in ("mwl.db-wal", "mwl.db-shm"):
        impatient.path.with_name(name).unlink(missing_ok=True)
    restored.replace(impatient.path)
    assert count(impatient) == 0
    impatient.write(keeps())
    assert count(impatient) == 1


def test_a_file_that_is_no_database_is_an_outage(impatient):
    impatient.path.write_bytes(b"not a database" * 1000)
    with pytest.raises(Outage, match="something else"):
        impatient.write(keeps())
    with pytest.raises(Outage, match="something else"):
        count(impatient)


def test_a_full_database_is_an_outage_and_works_again_with_room(impatient):
    with impatient._writer.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(Outage, match="disk is full"):
        impatient.write(keeps(100_000))
    with impatient._writer.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    impatient.write(keeps(100_000))
    assert count(impatient) == 1


def test_a_commit_that_cannot_be_written_fails_all_who_were_in_it(impatient):
    company = Company(impatient)
    log = impatient.path.with_name("mwl.db-wal")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The disk takes nothing beyond what the log has already: the commit can't be appended.
    try:
        assert company.led.wait(10)
        resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, hard))
        futures = company.write(keeps(), keeps(), keeps())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    for future in futures:
        with pytest.raises(Outage):
            future.result()
    assert count(impatient) == 0
    impatient.write(keeps())
    assert count(impatient) == 1


def test_readers_that_take_all_connections_are_an_outage_for_the_next(impatient):
    go = threading.Event()

    def linger():
        with impatient.read():
            assert go.wait(10)

    with ThreadPoolExecutor(32) as pool:
        lingering = [pool.submit(linger) for _ in range(32)]
        until(lambda: impatient._reader.pool.checkedout() == 32)
        with pytest.raises(Outage, match="connections of this process"):
            count(impatient)
        go.set()
        for done in lingering:
            done.result()
    assert count(impatient) == 0


@pytest.fixture
def own_server():
    server = postgres.Server()
    yield server
    server.remove()


def test_a_postgresql_that_is_stopped_is_an_outage_until_it_is_back(own_server, tmp_path):
    upgrade(own_server.url, tmp_path)
    database = Database(own_server.url, data_dir=tmp_path)
    database.write(keeps())
    with ThreadPoolExecutor(4) as pool:  # several connections wait in the pool
        list(pool.map(lambda _: count(database), range(8)))
    own_server.stop()
    for ask in (lambda: database.write(keeps()), lambda: count(database)):
        began = time.monotonic()
        with pytest.raises(Outage):
            ask()
        assert time.monotonic() - began < 5
    own_server.start()
    database.write(keeps())
    assert count(database) == 2
    database.close()


def test_a_restart_between_two_transactions_is_not_noticed(own_server, tmp_path):
    upgrade(own_server.url, tmp_path)
    database = Database(own_server.url, data_dir=tmp_path)
    database.write(keeps())
    own_server.stop()
    own_server.start()
    assert count(database) == 1
    database.write(keeps())
    assert count(database) == 2
    database.close()


def test_a_lock_of_postgresql_that_is_not_free_in_time_is_an_outage(postgresql_url, tmp_path):
    database = Database(postgresql_url, data_dir=tmp_path, wait_s=WAIT_S)
    holds, go = threading.Event(), threading.Event()

    def lock(session):
        session.connection().exec_driver_sql("LOCK TABLE message")
        holds.set()
        assert go.wait(10)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(database.write, lock)
        assert holds.wait(10)
        with pytest.raises(Outage, match="lock was not free"):
            database.write(keeps())
        go.set()
        holding.result()
    database.close()


@pytest.mark.parametrize(
    ("change", "back", "says"),
    [
        ("RENAME TO aside", "ALTER TABLE aside RENAME TO message", "table of ours is not there"),
        (
            "RENAME COLUMN raw TO aside",
            "ALTER TABLE message RENAME COLUMN aside TO raw",
            "column of ours is not there",
        ),
    ],
)
def test_a_table_that_somebody_altered_is_an_outage_until_it_is_back(
    postgresql_url, tmp_path, change, back, says
):
    with closing(Database(postgresql_url, data_dir=tmp_path)) as database:
        postgres.execute(postgresql_url, f"ALTER TABLE message {change}")
        with pytest.raises(Outage, match=says):
            database.write(keeps())
        with pytest.raises(Outage, match=says), database.read() as session:
            session.exec(select(Message)).all()
        postgres.execute(postgresql_url, back)
        database.write(keeps())
        assert count(database) == 1


def test_a_permission_that_is_lost_is_an_outage(postgresql_url, tmp_path):
    def powerless(session):
        session.connection().exec_driver_sql("SET LOCAL ROLE pg_monitor")
        keeps()(session)
        session.flush()

    with closing(Database(postgresql_url, data_dir=tmp_path)) as database:
        with pytest.raises(Outage, match="permission"):
            database.write(powerless)
        database.write(keeps())
