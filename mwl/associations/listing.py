"""What is open now, for people: the longest first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, and_, func, literal, or_, select
from sqlmodel import Session

from mwl.associations.rows import GONE, LIVE, SERVER
from mwl.devices.titles import caller, fold

Key = tuple[datetime, int]  # since when, row: no two associations share it

_STATEMENT: Final = select(*LIVE.c, SERVER.c.place).join(SERVER, SERVER.c.id == LIVE.c.server)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which associations, of those open `now`.

    Where they are given: of the device `calling`; with `text` in a title or the address.
    """

    now: datetime
    calling: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Open:
    """One connection that is open. Titles are empty until its request was read.

    `contexts` are the accepted ones, each an abstract and a transfer syntax. `operation` is
    what is being done, "" between operations. `changed_at` is when it last did something;
    `place` names the process that serves it; `ending`: somebody wants it ended.
    """

    id: int
    place: str
    address: str
    calling: str
    called: str
    tls: bool
    contexts: tuple[tuple[str, str], ...]
    operation: str
    received_bytes: int
    sent_bytes: int
    messages: int
    ending: bool
    since: datetime
    changed_at: datetime


def page(
    session: Session,
    wanted: Wanted,
    *,
    after: Key | None = None,
    before: Key | None = None,
    limit: int,
) -> Sequence[Open]:
    """List what is open, the longest first: behind a key of the list, or right before one."""
    statement = _wanted(wanted)
    if before is not None:
        at, row = before
        earlier = or_(LIVE.c.since < at, and_(LIVE.c.since == at, LIVE.c.id < row))
        statement = statement.where(earlier).order_by(LIVE.c.since.desc(), LIVE.c.id.desc())
    else:
        if after is not None:
            at, row = after
            later = or_(LIVE.c.since > at, and_(LIVE.c.since == at, LIVE.c.id > row))
            statement = statement.where(later)
        statement = statement.order_by(LIVE.c.since, LIVE.c.id)
    found = [_open(row) for row in session.connection().execute(statement.limit(limit))]
    return found if before is None else found[::-1]


def get(session: Session, row: int, *, now: datetime) -> Open | None:
    """Read one that is open by the number of its row."""
    statement = _alive(_STATEMENT.where(LIVE.c.id == row), now)
    found = session.connection().execute(statement).first()
    return _open(found) if found else None


def counts(session: Session, *, now: datetime) -> Mapping[str, int]:
    """Count what is open by who calls: a device's own title, a stranger's, folded."""
    who = caller(LIVE.c.calling_ae_title).label("who")
    statement: Any = select(who, func.count()).group_by(who)
    statement = statement.join(SERVER, SERVER.c.id == LIVE.c.server)
    found: dict[str, int] = {}
    for title, count in session.connection().execute(_alive(statement, now)):
        found[fold(title)] = found.get(fold(title), 0) + count
    return found


def _alive(statement: Select[Any], now: datetime) -> Select[Any]:
    """Leave out what a process told that is dead."""
    return statement.where(SERVER.c.beat_at >= now - GONE)


def _wanted(wanted: Wanted) -> Select[Any]:
    statement = _alive(_STATEMENT, wanted.now)
    if wanted.calling:
        asked = literal(fold(wanted.calling))
        statement = statement.where(caller(LIVE.c.calling_ae_title) == caller(asked))
    if wanted.text:
        within = (LIVE.c.calling_ae_title, LIVE.c.called_ae_title, LIVE.c.address)
        text = wanted.text.upper()
        statement = statement.where(
            or_(*(func.upper(each).contains(text, autoescape=True) for each in within))
        )
    return statement


def _open(row: Any) -> Open:
    return Open(
        id=row.id,
        place=row.place,
        address=row.address,
        calling=row.calling_ae_title,
        called=row.called_ae_title,
        tls=row.tls,
        contexts=tuple((abstract, transfer) for abstract, transfer in row.contexts),
        operation=row.operation,
        received_bytes=row.received_bytes,
        sent_bytes=row.sent_bytes,
        messages=row.messages,
        ending=row.ending,
        since=row.since,
        changed_at=row.changed_at,
    )
