"""Look into the outbox, and decide for what is parked."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlmodel import Session

from mwl.errors import Fault, Reason, Rejected
from mwl.outbox.claims import Channel, line_up
from mwl.outbox.rows import AS_IT_CAME, IS_OPEN, TABLE, State, named_state

_SHOWN = ("id", "destination", "kind", "subject", "control_id", "attempts", "error", "created_at")
_SENT_AGAIN = frozenset({State.WAITING, State.PARKED, State.DROPPED, State.DONE})
_DROPPED = frozenset({State.WAITING, State.BLOCKED, State.PARKED})


def listing(
    session: Session,
    *,
    state: str | None = None,
    destination: str | None = None,
    limit: int = 1000,
) -> list[dict[str, Any]]:
    """List deliveries, the newest first, without patient data. Raises Rejected for no state.

    `next_at` is when a waiting one is tried; `event` what it tells, where it tells one.
    """
    statement = select(
        *(TABLE.c[name] for name in _SHOWN),
        TABLE.c.state,
        TABLE.c.next_at,
        TABLE.c.payload["event"].as_string().label("event"),
    ).order_by(TABLE.c.id.desc())
    if state is not None:
        named = named_state(state)
        statement = statement.where(TABLE.c.state == named.value)
        if named is not State.DONE:
            statement = statement.where(IS_OPEN)
    if destination is not None:
        statement = statement.where(TABLE.c.destination == destination)
    rows = session.connection().execute(statement.limit(limit)).mappings()
    return [_entry(row) for row in rows]


def _entry(row: Any) -> dict[str, Any]:
    is_waiting = row["state"] == State.WAITING
    return {
        "id": row["id"],
        "destination": row["destination"],
        "kind": row["kind"],
        "subject": row["subject"],
        "event": row["event"] or "",
        "control_id": row["control_id"],
        "state": row["state"],
        "attempts": row["attempts"],
        "next_at": row["next_at"].isoformat(timespec="seconds") if is_waiting else "",
        "error": row["error"],
        "created_at": row["created_at"].isoformat(timespec="seconds"),
    }


def resend(session: Session, ids: Sequence[int], *, now: datetime, anew: bool = False) -> None:
    """Send deliveries again, now: the same bytes, or `anew`, rendered as it is done today.

    All or none. Raises Rejected: UNKNOWN_KEY; FINAL for one that waits behind a parked one,
    and anew for one that is on its way, or forwarded as it came.
    """
    for row in _pick(session, ids, _SENT_AGAIN, "it waits behind a parked one: send that again"):
        if anew:
            _refuse_without_rendering(row)
            _refuse_on_its_way(row, now)
        rendered = {"control_id": "", "body": b""} if anew else {}
        values = {"state": State.WAITING.value, "next_at": now, "done_at": None}
        _change(session, row, {**values, **rendered})


def drop(session: Session, ids: Sequence[int], *, now: datetime) -> None:
    """Give deliveries up; what waited behind them goes on.

    All or none. Raises Rejected: UNKNOWN_KEY; FINAL for what is done, dropped or on its way.
    """
    for row in _pick(session, ids, _DROPPED, "it is done or dropped already"):
        _refuse_on_its_way(row, now)
        _change(session, row, {"state": State.DROPPED.value})


def _refuse_without_rendering(row: Any) -> None:
    if row.kind in AS_IT_CAME:
        text = "it is forwarded as it came: there is nothing to write anew"
        raise Rejected(Fault(Reason.FINAL, f"delivery {row.id}", text))


def _refuse_on_its_way(row: Any, now: datetime) -> None:
    if row.claimed_by and row.claimed_until > now:
        raise Rejected(Fault(Reason.FINAL, f"delivery {row.id}", "it is on its way just now"))


def _pick(session: Session, ids: Sequence[int], states: frozenset[State], why: str) -> list[Any]:
    columns = ("id", "kind", "destination", "subject", "state", "claimed_by", "claimed_until")
    statement = (
        select(*(TABLE.c[name] for name in columns))
        .where(TABLE.c.id.in_(ids))
        .order_by(TABLE.c.id)
        .with_for_update()
    )
    rows = session.connection().execute(statement).all()
    missing = sorted(set(ids) - {row.id for row in rows})
    faults = [Fault(Reason.UNKNOWN_KEY, f"delivery {id_}", "there is none") for id_ in missing]
    faults += [
        Fault(Reason.FINAL, f"delivery {row.id}", why) for row in rows if row.state not in states
    ]
    if faults:
        raise Rejected(*faults)
    return list(rows)


def _change(session: Session, row: Any, values: dict[str, Any]) -> None:
    conn = session.connection()
    conn.execute(update(TABLE).where(TABLE.c.id == row.id).values(values))
    line_up(conn, Channel(row.kind, row.destination), row.subject)
