"""From judged to told: on the association that it came on, or on a new one.

While that association lives, it holds its requests: it says so more often than every HOLD,
and finds there what was judged. A request that nobody holds any more is handed on to the
outbox, or, where we have no address to call, is kept as untold: the requester asks again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import select, update
from sqlmodel import Session

from mwl import devices, outbox
from mwl.commitment.event import Report
from mwl.commitment.requests import HOLD
from mwl.commitment.rules import Failure, Reference, State
from mwl.db.tables import Commitment, CommitmentItem, Delivery
from mwl.errors import Fault, Reason, Rejected

log = structlog.get_logger(__name__)

_REQUEST = Commitment.__table__  # type: ignore[attr-defined]
_ITEM = CommitmentItem.__table__  # type: ignore[attr-defined]
_DELIVERY = Delivery.__table__  # type: ignore[attr-defined]
_MOST_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Judged:
    """A request with its report; `state` tells whether that is still to be told."""

    id: int
    ae_title: str
    called_ae_title: str
    state: str
    report: Report


def subject(request: int) -> str:
    """Name a request in the outbox."""
    return f"commitment:{request}"


def settle(session: Session, request: int, now: datetime) -> None:
    """End the wait of a request if all its instances are decided."""
    conn = session.connection()
    undecided = select(_ITEM.c.id).where(_ITEM.c.commitment == request, _ITEM.c.failure.is_(None))
    if conn.execute(undecided.limit(1)).first() is not None:
        return
    row = _locked(session, request)
    if row.state == State.WAITING:
        _change(session, request, state=State.JUDGED, claimed_by="", claimed_until=None)
        if row.held_until is None or row.held_until <= now:
            _hand_on(session, row, now)


def hold(session: Session, requests: Sequence[int], association: str, now: datetime) -> None:
    """Say that the association of these requests still lives."""
    session.connection().execute(
        update(_REQUEST)
        .where(_REQUEST.c.id.in_(requests), _REQUEST.c.held_by == association)
        .values(held_until=now + HOLD)
    )


def judged(session: Session, requests: Sequence[int], association: str) -> list[int]:
    """Tell which of an association's requests are to be reported on it now."""
    found = select(_REQUEST.c.id).where(
        _REQUEST.c.id.in_(requests),
        _REQUEST.c.held_by == association,
        _REQUEST.c.state == State.JUDGED.value,
    )
    return list(session.connection().execute(found.order_by(_REQUEST.c.id)).scalars())


def let_go(session: Session, requests: Sequence[int], association: str, now: datetime) -> None:
    """Say that the association of these requests is over, or took no report of them."""
    for request in sorted(requests):
        row = _locked(session, request)
        if row.held_by == association:
            _change(session, request, held_by="", held_until=None)
            if row.state == State.JUDGED:
                _hand_on(session, row, now)


def hand_on_abandoned(session: Session, now: datetime) -> int:
    """Hand on what was judged while its association went without a word; say how many."""
    abandoned = session.connection().execute(
        select(_REQUEST.c.id).where(_is_abandoned(now)).limit(_MOST_AT_ONCE)
    )
    requests = sorted(abandoned.scalars())
    for request in requests:
        row = _locked(session, request)
        if row.state == State.JUDGED and (row.held_until is None or row.held_until <= now):
            _hand_on(session, row, now)
    return len(requests)


def has_abandoned(session: Session, now: datetime) -> bool:
    """Tell whether there is something to hand on: a cheap look before a transaction."""
    found = select(_REQUEST.c.id).where(_is_abandoned(now)).limit(1)
    return session.connection().execute(found).first() is not None


def read(session: Session, request: int) -> Judged | None:
    """Read a request and what is to be told of it; None: there is none, or it still waits."""
    conn = session.connection()
    row = conn.execute(select(_REQUEST).where(_REQUEST.c.id == request)).first()
    if row is None or row.state == State.WAITING:
        return None
    items = conn.execute(
        select(_ITEM.c.sop_class_uid, _ITEM.c.sop_instance_uid, _ITEM.c.failure)
        .where(_ITEM.c.commitment == request)
        .order_by(_ITEM.c.id)
    )
    results = [(Reference(each[0], each[1]), Failure(each[2])) for each in items]
    report = Report(row.transaction_uid, results)
    return Judged(request, row.ae_title, row.called_ae_title, row.state, report)


def reported(session: Session, request: int, now: datetime) -> None:
    """Keep that the requester has taken the report."""
    session.connection().execute(
        update(_REQUEST)
        .where(
            _REQUEST.c.id == request,
            _REQUEST.c.state.in_([State.JUDGED.value, State.QUEUED.value]),
        )
        .values(state=State.REPORTED.value, reported_at=now, held_by="", held_until=None)
    )


def report_again(session: Session, request: int, now: datetime) -> None:
    """Let a report be told once more, on a new association, as it was judged.

    Raises Rejected: there is no such request, it still waits, or we can't call who asked.
    """
    where = f"commitment {request}"
    found = select(_REQUEST).where(_REQUEST.c.id == request).with_for_update()
    row = session.connection().execute(found).first()
    if row is None:
        raise Rejected(Fault(Reason.UNKNOWN_KEY, where, "there is none"))
    if row.state == State.WAITING:
        raise Rejected(Fault(Reason.FINAL, where, "is not judged yet: it will be reported"))
    device = devices.lookup(session, row.ae_title)
    if device is None or not (device.host and device.port):
        how = f"`mwl device add {row.ae_title} --host … --port …` gives it one"
        raise Rejected(Fault(Reason.MISSING, where, f"{row.ae_title} has no address: {how}"))
    _hand_on(session, row, now)


def _is_abandoned(now: datetime) -> Any:
    return (_REQUEST.c.state == State.JUDGED.value) & (
        _REQUEST.c.held_until.is_(None) | (_REQUEST.c.held_until <= now)
    )


def _locked(session: Session, request: int) -> Any:
    found = select(_REQUEST).where(_REQUEST.c.id == request).with_for_update()
    return session.connection().execute(found).one()


def _change(session: Session, request: int, **values: Any) -> None:
    session.connection().execute(update(_REQUEST).where(_REQUEST.c.id == request).values(**values))


def _hand_on(session: Session, row: Any, now: datetime) -> None:
    device = devices.lookup(session, row.ae_title)
    if device is None or not (device.host and device.port):
        log.warning("commitment.untold", commitment=row.id, ae_title=row.ae_title)
        _change(session, row.id, state=State.UNTOLD.value, held_by="", held_until=None)
        return
    _change(session, row.id, state=State.QUEUED.value, may_call=True, held_by="", held_until=None)
    _queue(session, row.id, device.ae_title, now)


def _queue(session: Session, request: int, destination: str, now: datetime) -> None:
    """Let a report be delivered now, by the delivery that there is already if there is one.

    A second one would wait for a parked first. What is on its way may tell what was judged
    before: it is left alone.
    """
    there = (
        select(_DELIVERY.c.id)
        .where(
            _DELIVERY.c.subject == subject(request),
            _DELIVERY.c.kind == outbox.Kind.COMMITMENT_REPORT.value,
            _DELIVERY.c.destination == destination,
            _DELIVERY.c.state.in_([outbox.State.WAITING.value, outbox.State.PARKED.value]),
            _DELIVERY.c.claimed_by == "",
        )
        .order_by(_DELIVERY.c.id)
    )
    delivery = session.connection().execute(there.limit(1)).scalar()
    if delivery is not None:
        outbox.resend(session, [delivery], now=now)
        return
    outbox.enqueue(
        session,
        kind=outbox.Kind.COMMITMENT_REPORT,
        destination=destination,
        subject=subject(request),
        payload={"commitment": request},
        now=now,
    )
