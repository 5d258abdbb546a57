"""Which long identifiers of senders the short ones of ours stand for."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session

from mwl.db.tables import ShortIdentifier
from mwl.errors import Fault, Reason, Rejected
from mwl.shortened import may_stand_for

_TABLE = ShortIdentifier.__table__  # type: ignore[attr-defined]
_INSERT = {
    "sqlite": sqlite.insert(_TABLE).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(_TABLE).on_conflict_do_nothing(),
}


def remember(session: Session, pairs: Iterable[tuple[str, str]], now: datetime) -> None:
    """Keep pairs of short and long for good. Raises Rejected where a short one is another's."""
    conn = session.connection()
    stated = dict(pairs)
    known = _longs(conn, stated)
    new = [short for short in sorted(stated) if short not in known]
    if new:
        rows = [{"short": each, "long": stated[each], "created_at": now} for each in new]
        conn.execute(_INSERT[conn.dialect.name], rows)
        known |= _longs(conn, new)  # another connection may have been first
    if any(known.get(short) != long for short, long in stated.items()):
        text = "a short identifier stands for another long one already"
        raise Rejected(Fault(Reason.DUPLICATE_KEY, "", text))


def long_ones(conn: Connection, identifiers: Iterable[str]) -> dict[str, str]:
    """Give the long ones that short ones among `identifiers` stand for."""
    short = {each for each in identifiers if may_stand_for(each)}
    return _longs(conn, short) if short else {}


def _longs(conn: Connection, short: Collection[str]) -> dict[str, Any]:
    asked = select(_TABLE.c.short, _TABLE.c.long).where(_TABLE.c.short.in_(short))
    return {row.short: row.long for row in conn.execute(asked)}
