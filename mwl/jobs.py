"""What is done by the clock: APScheduler calling plain functions.

A job that was missed, because the machine slept or the last run took long, runs once as
soon as it can (`misfire_grace_time` of 1 s, the default, would skip it). Every node has this
role: a job must not mind that others run it too.
"""

from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.background import BackgroundScheduler

from mwl.db import Database, optimize

_FIRST = timedelta(minutes=5)  # not while everything starts, yet also where nothing runs for long
_OPTIMIZE_EVERY_H = 6


def scheduler(database: Database) -> BackgroundScheduler:
    """Make the scheduler with its jobs; it runs them in threads of its own."""
    made = BackgroundScheduler(
        timezone="UTC", job_defaults={"misfire_grace_time": None, "coalesce": True}
    )
    made.add_job(
        optimize,
        "interval",
        args=[database],
        hours=_OPTIMIZE_EVERY_H,
        next_run_time=datetime.now(UTC) + _FIRST,
    )
    return made
