"""What is done by the clock: APScheduler calling plain functions.

A job that was missed, because the machine slept or the last run took long, runs once as
soon as it can (`misfire_grace_time` of 1 s, the default, would skip it). Every node has this
role: a job must not mind that others run it too.

A **sweep** looks every few seconds for what is to be done. It bounds its own work, and one
that fails stops neither itself nor the others: it is tried again when its time comes, and
logged when it begins to fail, now and then, and when it is well again.
"""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from mwl import accounts, archive, closing, journal, outbox, procedures, reports, retention
from mwl.accounts import Bounds
from mwl.config import Close, Journal, Worklist
from mwl.db import Database, optimize
from mwl.errors import Outage
from mwl.procedures import Effects

log = structlog.get_logger(__name__)

_FIRST = timedelta(minutes=5)  # not while everything starts, yet also where nothing runs for long
_OPTIMIZE_EVERY_H = 6
_LINK_EVERY_S = 5.0  # what came before its order
_FOLLOW_EVERY_S = 2.0  # orders that may have ended
_CLOSE_EVERY_S = 60.0  # quiet studies, and what expires
_END_EVERY_S = 3600.0  # sessions that are good no more already
_CLEAR_EVERY_S = 30.0  # messages that are old, or more than there is room for
_REMOVE_EVERY_S = 2.5  # what is long over: two seconds of these, until there is no more
_LONG_S = 30.0  # a run that takes longer is told of
_REMIND_S = 600.0  # of a sweep that goes on failing
_BOUNDS = Bounds()
_KEEP = Journal()


@dataclass(frozen=True, slots=True)
class Sweep:
    """Work that is done every `every_s` seconds; `run` is given the time."""

    name: str
    every_s: float
    run: Callable[[datetime], object]


def sweeps(
    database: Database,
    close: Close,
    effects: Effects,
    bounds: Bounds = _BOUNDS,
    keep: Journal = _KEEP,
) -> list[Sweep]:
    """List the services' sweeps; `effects` is what follows from the work that they find.

    `bounds` says when sessions of the web pages have ended, `keep` how long messages stay.

    What links comes before what closes: it finds what an order has waited for.
    """
    told = effects.told
    return [
        Sweep("link studies", _LINK_EVERY_S, lambda now: archive.link_unmatched(database, now)),
        Sweep(
            "link procedures",
            _LINK_EVERY_S,
            lambda now: procedures.link_unscheduled(database, now, effects=effects),
        ),
        Sweep("link reports", _LINK_EVERY_S, lambda now: reports.link_late(database, told, now)),
        Sweep(
            "follow orders",
            _FOLLOW_EVERY_S,
            lambda now: closing.follow(database, close, now, told),
        ),
        Sweep(
            "close orders", _CLOSE_EVERY_S, lambda now: closing.sweep(database, close, now, told)
        ),
        Sweep(
            "end sessions",
            _END_EVERY_S,
            lambda now: database.write(lambda session: accounts.ended(session, bounds, now=now)),
        ),
        Sweep("clear the journal", _CLEAR_EVERY_S, lambda now: journal.clear(database, keep, now)),
        Sweep("clear the outbox", _CLOSE_EVERY_S, lambda now: outbox.clear(database, keep, now)),
    ]


def clearing(database: Database, keep: Worklist) -> Sweep:
    """Give the sweep that removes what is long over, as `keep` says."""
    return Sweep("clear the worklist", _REMOVE_EVERY_S, retention.Keeper(database, keep).run)


def scheduler(database: Database, sweeps: Iterable[Sweep] = ()) -> BackgroundScheduler:
    """Make the scheduler with its jobs; it runs them in threads of its own."""
    planned = list(sweeps)
    # A run that takes long is told of by itself; that the next was left out is no news.
    logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)
    made = BackgroundScheduler(
        timezone="UTC",
        # A slow one leaves the others their threads.
        executors={"default": ThreadPoolExecutor(len(planned) + 1)},
        job_defaults={"misfire_grace_time": None, "coalesce": True},
    )
    made.add_job(
        optimize,
        "interval",
        args=[database],
        name="optimize",
        hours=_OPTIMIZE_EVERY_H,
        next_run_time=datetime.now(UTC) + _FIRST,
    )
    for sweep in planned:
        made.add_job(
            _Runner(sweep).run,
            "interval",
            name=sweep.name,
            seconds=sweep.every_s,
            next_run_time=datetime.now(UTC),
        )
    return made


class _Runner:
    """Runs one sweep and tells of its health; never raises."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._failing = False
        self._remind_at = 0.0

    def run(self) -> None:
        begun = time.monotonic()
        try:
            self._sweep.run(datetime.now(UTC))
        except Exception as error:
            self._failed(error)
        else:
            if self._failing:
                log.info("sweep.well_again", sweep=self._sweep.name)
            self._failing = False
        took_s = time.monotonic() - begun
        if took_s > _LONG_S:
            log.warning("sweep.long", sweep=self._sweep.name, took_s=round(took_s, 1))

    def _failed(self, error: Exception) -> None:
        now = time.monotonic()
        if self._failing and now < self._remind_at:
            return
        self._failing, self._remind_at = True, now + _REMIND_S
        if isinstance(error, Outage):
            log.warning("sweep.failed", sweep=self._sweep.name, error=str(error))
        else:
            log.error("sweep.failed", sweep=self._sweep.name, exc_info=error)
