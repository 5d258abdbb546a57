"""What is done by the clock is done, late rather than never."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from mwl import jobs
from mwl.db import Database


def test_upkeep_is_planned_soon_and_never_skipped(database: Database) -> None:
    scheduler = jobs.scheduler(database)
    scheduler.start(paused=True)
    try:
        (job,) = scheduler.get_jobs()
        assert job.next_run_time < datetime.now(UTC) + timedelta(hours=1)
        assert (job.misfire_grace_time, job.coalesce) == (None, True)
        job.func(*job.args)
    finally:
        scheduler.shutdown()


def test_upkeep_gives_the_planner_its_statistics(sqlite_database: Database) -> None:
    scheduler = jobs.scheduler(sqlite_database)
    scheduler.start(paused=True)
    try:
        (job,) = scheduler.get_jobs()
        job.func(*job.args)
    finally:
        scheduler.shutdown()
    with sqlite_database.read() as session:
        statistics = text("SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_stat1'")
        assert session.connection().scalar(statistics) == 1
