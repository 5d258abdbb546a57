"""Apply many changes, each whole or not at all, several in one transaction.

A commit costs an fsync, whether it carries one order or fifty. What is wrong with one change
costs no other: a group in which one is rejected is undone, and done again with a savepoint for
each. Others who write wait for one group at most, so it is bounded in time.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

import structlog
from sqlmodel import Session

from mwl.db import Database, Savepoint
from mwl.db.faults import is_retriable, outage
from mwl.errors import ConfigError, Fault, Outage, Reason, Rejected
from mwl.orders import OrderChange
from mwl.worklist.apply import apply
from mwl.worklist.outcome import Applied

log = structlog.get_logger(__name__)

_MOST: Final = 64
_LONGEST_S: Final = 0.050

T = TypeVar("T")


def apply_each(
    database: Database,
    changes: Iterable[tuple[T, OrderChange | Rejected]],
    *,
    now: datetime,
    zone: ZoneInfo,
) -> Iterator[tuple[T, Applied | Rejected]]:
    """Apply changes in their order; tell what came of each once that is on disk.

    What could not be read comes as the error, and passes through. `zone` is the site's. Memory
    is that of one group. Raises Outage.
    """
    source = iter(changes)
    group: list[tuple[T, OrderChange | Rejected]] = []
    while group := [*group, *islice(source, _MOST - len(group))]:
        readable = [change for _, change in group if isinstance(change, OrderChange)]
        work = partial(_together, changes=readable, now=now, zone=zone)
        outcomes = iter(_written(database, work) if readable else ())
        done = 0
        for name, change in group:
            outcome = change if isinstance(change, Rejected) else next(outcomes, None)
            if outcome is None:
                break
            yield name, outcome
            done += 1
        del group[:done]


def _written(
    database: Database, work: Callable[..., list[Applied | Rejected]]
) -> list[Applied | Rejected]:
    try:
        return database.write(work)
    except (Outage, ConfigError):
        raise
    except Exception:  # which one it is, and why, will be seen
        return database.write(partial(work, apart=True))


def _together(
    session: Session,
    *,
    changes: Sequence[OrderChange],
    now: datetime,
    zone: ZoneInfo,
    apart: bool = False,
) -> list[Applied | Rejected]:
    """Apply as many of `changes` as there is time for, one at least."""
    end = time.monotonic() + _LONGEST_S
    outcomes: list[Applied | Rejected] = []
    for change in changes:
        if outcomes and time.monotonic() > end:
            break
        one = partial(apply, session, change, now=now, zone=zone)
        outcomes.append(_apart(session, one) if apart else one())
    return outcomes


def _apart(session: Session, one: Callable[[], Applied]) -> Applied | Rejected:
    """Do one change; what fails undoes itself alone, unless the database is to blame."""
    start = Savepoint(session, "change")
    try:
        applied = one()
        start.settle()
    except Exception as error:
        if is_retriable(error) or outage(error) is not None:
            raise
        start.undo()
        return error if isinstance(error, Rejected) else _defect(error)
    start.release()
    return applied


def _defect(error: Exception) -> Rejected:
    log.error("worklist.change_failed", exc_info=error)
    return Rejected(Fault(Reason.INTERNAL, "", f"an error of ours ({type(error).__name__})"))
