"""Other worklists that are brought in: whose turn it is, how it went, what was on their lists.

Every node may ask; who does has claimed the turn, by putting off the next one. A source that
fails is asked less and less often, every quarter of an hour at the least.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam, delete, insert, select, update
from sqlmodel import Session

from mwl.db import Database, Prepared
from mwl.db.tables import (
    ImagingOrder,
    ListedItem,
    RequestedProcedure,
    ScheduledStep,
    WorklistSource,
)
from mwl.errors import Fault, Reason, Rejected
from mwl.orders import WAITING, StepState
from mwl.worklist.numbers import IMPORTED

_SOURCE = WorklistSource.__table__  # type: ignore[attr-defined]
_ITEM = ListedItem.__table__  # type: ignore[attr-defined]
_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]

_LEAST_OFTEN: Final = timedelta(minutes=15)
_CLOCKS_DIFFER: Final = timedelta(hours=1)  # of several nodes: more was a clock that was wrong
_LONGEST_ERROR: Final = 500
_GROUP: Final = 200  # rows of one transaction

_DUE = Prepared(
    select(_SOURCE.c.next_at, _SOURCE.c.asked_at).where(_SOURCE.c.name == bindparam("source"))
)
_KNOWN = Prepared(
    select(_ITEM.c.item, _ITEM.c.digest, _ITEM.c.vanished, _ITEM.c.missing_since).where(
        _ITEM.c.source == bindparam("source_name")
    )
)


class Listed(NamedTuple):
    """What is known of an item: a digest of what was said of it, and whether it has vanished.

    `missing_since`: the first of the whole lists in a row that did not have it.
    """

    digest: str
    vanished: bool = False
    missing_since: datetime | None = None


class Step(NamedTuple):
    """A step of an order that a source gave."""

    id: int
    order: int
    study_instance_uid: str
    sps_id: str
    state: StepState

    @property
    def is_waiting(self) -> bool:
        """Whether it was never begun, and may yet be."""
        return self.state in WAITING


def order_source(name: str) -> str:
    """Name the source of the orders that a worklist gives."""
    return f"{IMPORTED}:{name}"


# ---- whose turn it is ------------------------------------------------------------------


def is_due(database: Database, name: str, now: datetime) -> bool:
    """Tell whether a worklist is to be asked."""
    with database.read() as session:
        row = _DUE.first(session.connection(), {"source": name})
    return row is None or _is_time(row, now)


def _is_time(row: Any, now: datetime) -> bool:
    # What was put off by a clock that ran ahead would not be asked until that time.
    return bool(row.next_at <= now or row.asked_at > now + _CLOCKS_DIFFER)


def claim(session: Session, name: str, now: datetime, until: datetime, *, at_once: bool) -> bool:
    """Take the turn, until a time; False: it is nobody's yet, or somebody else's.

    `at_once`: also before its time.
    """
    conn = session.connection()
    row = conn.execute(select(_SOURCE).where(_SOURCE.c.name == name).with_for_update()).first()
    if row is None:
        new = {"name": name, "next_at": until, "asked_at": now, "failures": 0, "error": ""}
        conn.execute(insert(_SOURCE).values(**new, counts={}))
        return True
    if not (at_once or _is_time(row, now)):
        return False
    _set(session, name, next_at=until, asked_at=now)
    return True


def put_off(session: Session, name: str, until: datetime) -> None:
    """Give the turn back: somebody may ask from then on."""
    _set(session, name, next_at=until)


def succeeded(
    session: Session, name: str, counts: Mapping[str, int], now: datetime, every: timedelta
) -> None:
    """Note that a list came whole, and what came of it."""
    told = dict(counts)
    _set(session, name, next_at=now + every, succeeded_at=now, failures=0, error="", counts=told)


def failed(session: Session, name: str, error: str, now: datetime, every: timedelta) -> None:
    """Note why a list did not come whole; the next turn is later each time."""
    conn = session.connection()
    failures = (conn.scalar(select(_SOURCE.c.failures).where(_SOURCE.c.name == name)) or 0) + 1
    wait = min(every * 2 ** min(failures, 20), max(every, _LEAST_OFTEN))
    text = error[:_LONGEST_ERROR]
    _set(session, name, next_at=now + wait, failures=failures, error=text)


def _set(session: Session, name: str, **values: Any) -> None:
    session.connection().execute(update(_SOURCE).where(_SOURCE.c.name == name).values(**values))


def states(session: Session) -> dict[str, Any]:
    """Give the rows of all worklists that were ever asked, by name."""
    return {row.name: row for row in session.connection().execute(select(_SOURCE))}


def losses(row: Any) -> int:
    """Tell how much is missing from a list, and kept, since it is so much."""
    return int(row.counts.get("losses", 0))


def kept(name: str, losses: int) -> str:
    """Say what a person is to do about losses."""
    return (
        f"{losses:,} entries are missing from its list and were kept, since they are so many;"
        f" if it is right: mwl worklist fetch {name} --accept-losses"
    )


def troubles(row: Any) -> str:
    """Say what is wrong with a worklist that was asked; "": nothing."""
    said = [row.error] if row.error else []
    return "; ".join([*said, kept(row.name, losses(row))] if losses(row) else said)


# ---- what was on their lists -----------------------------------------------------------


def known_items(session: Session, name: str) -> dict[str, Listed]:
    """Give what was on a worklist when it was last seen."""
    rows = _KNOWN.all(session.connection(), {"source_name": name})
    return {row.item: Listed(row.digest, row.vanished, row.missing_since) for row in rows}


def of_others(session: Session, name: str, since: datetime) -> set[str]:
    """Give what of a worklist's items others have as well, whose lists came whole since then."""
    theirs = _ITEM.alias("theirs")
    statement = (
        select(theirs.c.item)
        .join(_SOURCE, _SOURCE.c.name == theirs.c.source)
        .join(_ITEM, _ITEM.c.item == theirs.c.item)
        .where(
            _ITEM.c.source == name,
            theirs.c.source != name,
            ~theirs.c.vanished,
            theirs.c.missing_since.is_(None),
            _SOURCE.c.succeeded_at >= since,
        )
    )
    return set(session.connection().scalars(statement))


def remember(database: Database, name: str, items: Mapping[str, Listed | None]) -> None:
    """Note what is on a worklist now; None: it is there no more."""
    left = iter(items.items())
    while group := list(islice(left, _GROUP)):
        database.write(partial(note, name=name, items=group))


def note(session: Session, name: str, items: Sequence[tuple[str, Listed | None]]) -> None:
    """Note some of what `remember` notes, with what else a transaction does."""
    conn = session.connection()
    named = [item for item, _ in items]
    conn.execute(delete(_ITEM).where(_ITEM.c.source == name, _ITEM.c.item.in_(named)))
    rows = [
        {"source": name, "item": item, **listed._asdict()}
        for item, listed in items
        if listed is not None
    ]
    if rows:
        conn.execute(insert(_ITEM), rows)


def steps(session: Session, name: str, span: tuple[str, str], modality: str) -> Iterable[Step]:
    """List the steps that a source gave, of the days that it was asked for: a pair of DA."""
    statement = (
        select(
            _STEP.c.id,
            _PROCEDURE.c.imaging_order,
            _STEP.c.study_instance_uid,
            _STEP.c.sps_id,
            _STEP.c.state,
        )
        .join(_PROCEDURE, _STEP.c.procedure == _PROCEDURE.c.id)
        .join(_ORDER, _PROCEDURE.c.imaging_order == _ORDER.c.id)
        .where(
            _ORDER.c.source == order_source(name),
            _STEP.c.start_local.between(f"{span[0]}000000", f"{span[1]}235959"),
        )
    )
    if modality:
        statement = statement.where(_STEP.c.modality == modality)
    for row in session.connection().execute(statement):
        yield Step(*row[:-1], StepState(row.state))


def unknown(name: str) -> Rejected:
    """Say that the settings name no such worklist."""
    text = f"there is no [[worklist.source]] called {name} in the settings"
    return Rejected(Fault(Reason.UNKNOWN_KEY, "NAME", text))
