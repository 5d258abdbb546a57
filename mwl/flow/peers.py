"""Who speaks to us: HL7 feeds and scanners, each with its last contact."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import bindparam, func, literal_column, select
from sqlmodel import Session

from mwl.db import Prepared
from mwl.db.tables import Device, Knock, Message
from mwl.devices import fold
from mwl.journal import State

_MESSAGE = Message.__table__  # type: ignore[attr-defined]
_DEVICE = Device.__table__  # type: ignore[attr-defined]
_KNOCK = Knock.__table__  # type: ignore[attr-defined]

_MOST_FEEDS: Final = 100


@dataclass(frozen=True, slots=True)
class Feed:
    """Who sends messages: MSH-3^MSH-4, when it did last, and how many since a time."""

    source: str
    last_at: datetime
    messages: int
    rejected: int  # of these: answered AE or AR
    failed: int  # of these: our own fault

    @property
    def errors(self) -> int:
        return self.rejected + self.failed


def feeds(session: Session, *, since: datetime) -> list[Feed]:
    """List the feeds, the latest first, with what came of each since a time."""
    rows = _feeds().all(session.connection(), {"since": since})
    found = [_feed(row) for row in rows]
    return sorted((each for each in found if each), key=lambda each: each.last_at, reverse=True)


def _feed(row: Any) -> Feed | None:
    counts = {state: getattr(row, f"{state.value}_count") for state in State}
    times = [at for state in State if (at := getattr(row, f"{state.value}_at")) is not None]
    if not times:
        return None
    rejected, failed = counts[State.REJECTED], counts[State.FAILED]
    return Feed(row.source, max(times), sum(counts.values()), rejected, failed)


@cache
def _feeds() -> Prepared:
    """Hop from one source to the next, and within each from one state to the next.

    A GROUP BY would read the whole index; SQLite and PostgreSQL skip nothing by themselves.
    """
    feed = select(
        func.min(_MESSAGE.c.source).label("source"), literal_column("1").label("number")
    ).cte("feed", recursive=True)
    following = select(func.min(_MESSAGE.c.source)).where(_MESSAGE.c.source > feed.c.source)
    feed = feed.union_all(
        select(following.scalar_subquery(), feed.c.number + literal_column("1")).where(
            feed.c.source.is_not(None), feed.c.number < literal_column(str(_MOST_FEEDS))
        )
    )
    columns = []
    for state in State:
        of_it = (
            _MESSAGE.c.source == feed.c.source,
            _MESSAGE.c.state == literal_column(f"'{state.value}'"),
        )
        latest = select(func.max(_MESSAGE.c.received_at)).where(*of_it)
        count = select(func.count()).where(*of_it, _MESSAGE.c.received_at >= bindparam("since"))
        columns += [
            latest.scalar_subquery().label(f"{state.value}_at"),
            count.scalar_subquery().label(f"{state.value}_count"),
        ]
    return Prepared(select(feed.c.source, *columns).where(feed.c.source.is_not(None)))


@dataclass(frozen=True, slots=True)
class Scanner:
    """Who asks for associations: a device, or a stranger that was let in (`device` is None)."""

    ae_title: str
    address: str
    last_at: datetime | None
    modality: str = ""
    device: int | None = None


_KNOWN: Final = Prepared(
    select(
        _DEVICE.c.id,
        _DEVICE.c.ae_title,
        _DEVICE.c.seen_address,
        _DEVICE.c.seen_at,
        _DEVICE.c.modality,
    )
    .order_by(_DEVICE.c.seen_at.desc().nulls_last(), _DEVICE.c.ae_title)
    .limit(bindparam("limit"))
)
_STRANGERS: Final = Prepared(
    select(_KNOCK.c.calling_ae_title, _KNOCK.c.address, _KNOCK.c.last_at)
    .where(_KNOCK.c.admitted)
    .order_by(_KNOCK.c.last_at.desc())
    .limit(bindparam("limit"))
)


def scanners(session: Session, *, limit: int) -> list[Scanner]:
    """List so many of who associate with us, the latest first; who never did comes last."""
    conn = session.connection()
    sent = _KNOWN.send(conn, {"limit": limit}), _STRANGERS.send(conn, {"limit": limit})
    known = [
        Scanner(row.ae_title, row.seen_address, row.seen_at, row.modality, row.id)
        for row in sent[0].all()
    ]
    strangers = [Scanner(row.calling_ae_title, row.address, row.last_at) for row in sent[1].all()]
    return _latest([*known, *strangers])[:limit]


def _latest(scanners: Iterable[Scanner]) -> list[Scanner]:
    """Sort by last contact, and keep the last one of each title."""
    newest: dict[str, Scanner] = {}
    for each in sorted(scanners, key=_age, reverse=True):
        newest.setdefault(fold(each.ae_title), each)
    return list(newest.values())


def _age(scanner: Scanner) -> float:
    return scanner.last_at.timestamp() if scanner.last_at else 0.0
