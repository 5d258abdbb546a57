"""Look for orders that have ended, by the clock; each changes in a transaction of its own.

No order stands in the way of others: one that can't be judged is logged and looked at later.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import structlog
from sqlmodel import Session

from mwl import config
from mwl.closing import rows
from mwl.closing.choices import rules_of
from mwl.closing.judging import consider, expire, judge
from mwl.db import Database
from mwl.errors import Outage
from mwl.orders import OrderState
from mwl.outbox import Destinations

log = structlog.get_logger(__name__)

T = TypeVar("T")

_MOST = 500  # orders that one run looks at
_LONGEST_S = 20.0  # that one run takes
_LATER = timedelta(minutes=10)  # an order that can't be judged
_SOON = timedelta(seconds=2)  # not worth writing down: it stays due


def sweep(database: Database, close: config.Close, now: datetime, told: Destinations) -> None:
    """Look for what may be quiet and for what expires, then `follow`. Raises Outage.

    Its cost grows with the worklist, so it is for every minute or so.
    """
    with database.read() as session:
        conn = session.connection()
        quiet = rows.with_silent_images(conn, _MOST)
        old = rows.expirable(conn, now - rules_of(close).expire, _MOST)
    if quiet:
        database.write(lambda session: rows.begin_checks(session.connection(), quiet, now))
    for order in _in_time(old):
        if _guarded(database, order, partial(expire, order=order, close=close, now=now)):
            log.info("order.expired", order=order)
    follow(database, close, now, told)


def follow(database: Database, close: config.Close, now: datetime, told: Destinations) -> None:
    """Look at the orders whose time has come. Raises Outage.

    Its cost grows with what is waited for, so it is for every other second.
    """
    with database.read() as session:
        due = rows.due(session.connection(), now, _MOST)
    later: list[rows.Check] = []
    for check in _in_time(due):
        try:
            next_at = _look(database, check.order, close, now, told)
        except Outage:
            raise
        except Exception:
            log.exception("order.not_judged", order=check.order)
            next_at = now + _LATER
        if next_at is None or next_at > now + _SOON:
            later.append(check._replace(next_at=next_at))
    if later:
        database.write(lambda session: rows.postpone(session.connection(), later))


def _look(
    database: Database, order: int, close: config.Close, now: datetime, told: Destinations
) -> datetime | None:
    """Do what is to be done with an order; tell when to look at it again."""
    # Most of what is looked at has not ended yet, and needs no right to write.
    with database.read() as session:
        conn = session.connection()
        row = rows.order(conn, order)
        judgement = judge(conn, row, rules_of(close, row["profile"]), now)
    if not judgement.acts:
        return judgement.ruling.check_at
    state = database.write(lambda session: consider(session, order, close, now, told))
    if judgement.ruling.ask and judgement.flags:
        log.warning("order.images_missing", order=order, reasons=judgement.flags)
    if state is OrderState.CLOSED:
        log.info("order.closed", order=order, by=str(judgement.ruling.route))
    return now


def _guarded(database: Database, order: int, work: Callable[[Session], bool]) -> bool:
    try:
        return database.write(work)
    except Outage:
        raise
    except Exception:
        log.exception("order.not_judged", order=order)
        return False


def _in_time(found: Iterable[T]) -> Iterator[T]:
    """Give what was found, until this run has taken its time: the next one goes on."""
    end = time.monotonic() + _LONGEST_S
    for each in found:
        if time.monotonic() > end:
            return
        yield each
