"""Requests for commitment, for people."""

from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlmodel import Session

from mwl.commitment.outcome import subject
from mwl.commitment.rules import State
from mwl.db.tables import Commitment, CommitmentItem, Delivery
from mwl.errors import Fault, Reason, Rejected

_REQUEST = Commitment.__table__  # type: ignore[attr-defined]
_ITEM = CommitmentItem.__table__  # type: ignore[attr-defined]
_DELIVERY = Delivery.__table__  # type: ignore[attr-defined]
_AT_ONCE = 500  # values that a statement is given


def listing(
    session: Session,
    *,
    state: str | None = None,
    limit: int = 1000,
    after: int | None = None,
    backwards: bool = False,
) -> list[dict[str, Any]]:
    """List requests, the newest first: those behind `after`, a request, or before it.

    Raises Rejected for no state.

    `failed` counts instances by failure reason, as four hexadecimal digits; `open` are not
    decided yet. `delivery` is where the report stands in the outbox, if it does.
    """
    number = _REQUEST.c.id
    statement = select(_REQUEST).order_by(number if backwards else number.desc()).limit(limit)
    if after is not None:
        statement = statement.where(number > after if backwards else number < after)
    if state is not None:
        statement = statement.where(_in_state(_state(state)))
    conn = session.connection()
    rows = conn.execute(statement).all()
    if backwards:
        rows = rows[::-1]
    entries = []
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        counts = _counts(session, [row.id for row in some])
        deliveries = _deliveries(session, [row.id for row in some])
        entries += [_entry(row, counts[row.id], deliveries.get(row.id)) for row in some]
    return entries


def _in_state(state: State) -> ColumnElement[bool]:
    # In the end nearly all are reported: those are walked, not looked for and sorted.
    column = _REQUEST.c.state
    return (func.coalesce(column, "") if state is State.REPORTED else column) == state.value


def _counts(session: Session, requests: list[int]) -> dict[int, dict[int | None, int]]:
    found = session.connection().execute(
        select(_ITEM.c.commitment, _ITEM.c.failure, func.count())
        .where(_ITEM.c.commitment.in_(requests))
        .group_by(_ITEM.c.commitment, _ITEM.c.failure)
    )
    counts: dict[int, dict[int | None, int]] = {request: {} for request in requests}
    for request, failure, count in found:
        counts[request][failure] = count
    return counts


def _deliveries(session: Session, requests: list[int]) -> dict[int, Any]:
    """Give the latest delivery of each."""
    of_subject = {subject(request): request for request in requests}
    found = session.connection().execute(
        select(_DELIVERY.c.subject, _DELIVERY.c.state, _DELIVERY.c.attempts, _DELIVERY.c.error)
        .where(_DELIVERY.c.subject.in_(of_subject))
        .order_by(_DELIVERY.c.id)
    )
    return {of_subject[row.subject]: row for row in found}


def _entry(row: Any, counts: dict[int | None, int], delivery: Any) -> dict[str, Any]:
    reported_at = row.reported_at
    return {
        "id": row.id,
        "transaction_uid": row.transaction_uid,
        "ae_title": row.ae_title,
        "state": row.state,
        "instances": sum(counts.values()),
        "committed": counts.get(0, 0),
        "open": counts.get(None, 0),
        "failed": {f"{failure:04X}": n for failure, n in _failures(counts)},
        "received_at": row.received_at.isoformat(timespec="seconds"),
        "wait_until": row.wait_until.isoformat(timespec="seconds"),
        "reported_at": reported_at.isoformat(timespec="seconds") if reported_at else "",
        "delivery": delivery.state if delivery else "",
        "attempts": delivery.attempts if delivery else 0,
        "error": delivery.error if delivery else "",
    }


def _failures(counts: dict[int | None, int]) -> list[tuple[int, int]]:
    """Leave of counts those of failures, by reason."""
    return sorted((failure, count) for failure, count in counts.items() if failure)


def _state(name: str) -> State:
    try:
        return State(name.lower())
    except ValueError:
        known = ", ".join(State)
        raise Rejected(Fault(Reason.UNKNOWN_CODE, "state", f"must be one of {known}")) from None
