"""What is done by the clock is done, late rather than never."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from mwl import jobs
from mwl.config import Close
from mwl.db import Database
from mwl.errors import Outage
from mwl.procedures import Effects
from tests import closing_rows, worklist_rows


@pytest.fixture
def running():
    """Start schedulers that end with the test."""
    started = []

    def start(database, sweeps=(), **options):
        made = jobs.scheduler(database, sweeps)
        made.start(**options)
        started.append(made)
        return made

    yield start
    for made in started:
        made.shutdown()


def job(scheduler, name):
    return next(each for each in scheduler.get_jobs() if each.name == name)


def test_upkeep_is_planned_soon_and_never_skipped(database: Database, running) -> None:
    upkeep = job(running(database, paused=True), "optimize")
    assert upkeep.next_run_time < datetime.now(UTC) + timedelta(hours=1)
    assert (upkeep.misfire_grace_time, upkeep.coalesce) == (None, True)
    upkeep.func(*upkeep.args)


def test_upkeep_gives_the_planner_its_statistics(sqlite_database: Database, running) -> None:
    upkeep = job(running(sqlite_database, paused=True), "optimize")
    upkeep.func(*upkeep.args)
    with sqlite_database.read() as session:
        statistics = text("SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_stat1'")
        assert session.connection().scalar(statistics) == 1


def test_sweeps_begin_at_once_and_are_never_skipped(sqlite_database, running):
    planned = jobs.sweeps(sqlite_database, Close(), Effects())
    scheduler = running(sqlite_database, planned, paused=True)
    names = {
        "link studies",
        "link procedures",
        "link reports",
        "follow orders",
        "close orders",
        "end sessions",
    }
    names |= {"clear the journal", "clear the outbox"}
    assert names == {each.name for each in planned}
    for sweep in planned:
        plan = job(scheduler, sweep.name)
        assert plan.next_run_time <= datetime.now(UTC)
        assert plan.trigger.interval == timedelta(seconds=sweep.every_s)
        assert (plan.misfire_grace_time, plan.coalesce) == (None, True)


def test_every_sweep_runs_on_an_empty_database(database):
    for sweep in jobs.sweeps(database, Close(), Effects()):
        sweep.run(datetime.now(UTC))


def test_the_clock_closes_an_order_whose_image_came_last(sqlite_database, running):
    database, now = sqlite_database, worklist_rows.NOW

    def completed(session):
        order = {"status": "COMPLETED", "check_at": now}
        step = {"state": "COMPLETED"}
        worklist_rows.insert_items(session, [worklist_rows.item(1, order=order, step=step)])
        closing_rows.report(session, ["SPS1"], listed=["1.1"], at=now)
        closing_rows.store(session, "1.1", "1.2.826.0.1.3680043.8.498.1", at=now)

    database.write(completed)
    told = Effects(told=closing_rows.TOLD)
    moved = threading.Event()
    (follow,) = (s for s in jobs.sweeps(database, Close(), told) if s.name == "follow orders")

    def run(at):
        follow.run(now)  # the rows' own day
        moved.set()

    running(database, [jobs.Sweep("follow orders", 60, run)])
    assert moved.wait(30)
    assert closing_rows.order(database).status == "CLOSED"
    assert closing_rows.told(database) == ["CLOSED"]


def test_a_sweep_that_fails_goes_on_and_so_do_the_others(sqlite_database, running):
    failed, well = threading.Semaphore(0), threading.Semaphore(0)

    def fail(_now):
        failed.release()
        raise RuntimeError("a mistake of ours")

    sweeps = [jobs.Sweep("bad", 0.01, fail), jobs.Sweep("good", 0.01, lambda _: well.release())]
    running(sqlite_database, sweeps)
    for done in (failed, well):
        for _ in range(3):
            assert done.acquire(timeout=30)


def test_a_sweep_that_hangs_leaves_the_others_their_threads(sqlite_database, running):
    release, well = threading.Event(), threading.Semaphore(0)
    hanging = [jobs.Sweep(f"hangs {n}", 60, lambda _: release.wait(60)) for n in range(12)]
    try:
        running(sqlite_database, [*hanging, jobs.Sweep("good", 0.01, lambda _: well.release())])
        for _ in range(3):
            assert well.acquire(timeout=30)
    finally:
        release.set()


def test_trouble_is_told_of_when_it_begins_and_when_it_ends():
    troubles = [Outage("database: locked"), Outage("database: locked"), None, None]

    def work(_now):
        if trouble := troubles.pop(0):
            raise trouble

    runner = jobs._Runner(jobs.Sweep("some", 1, work))
    with capture_logs() as logs:
        for _ in range(4):
            runner.run()
    assert [each["event"] for each in logs] == ["sweep.failed", "sweep.well_again"]
    assert logs[0]["error"] == "database: locked"


def test_trouble_that_lasts_is_told_of_again(monkeypatch):
    def work(_now):
        raise Outage("database: locked")

    runner = jobs._Runner(jobs.Sweep("some", 1, work))
    with capture_logs() as logs:
        runner.run()
        monkeypatch.setattr(jobs, "_REMIND_S", 0.0)
        runner._remind_at = 0.0
        runner.run()
    assert [each["event"] for each in logs] == ["sweep.failed"] * 2
