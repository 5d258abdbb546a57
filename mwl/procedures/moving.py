"""What an MPPS does to scheduled steps and their orders, and who is told.

An order is held before its steps are read, so that two scanners that end its last two steps
at the same time are one after the other, and the second sees that all are final.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, exists, or_, select, text, update
from sqlmodel import Session

from mwl import outbox
from mwl.db import Prepared
from mwl.db.tables import (
    Delivery,
    ImagingOrder,
    PerformedLink,
    PerformedStep,
    RequestedProcedure,
    ScheduledStep,
)
from mwl.orders import OrderState, StepState
from mwl.outbox import Destinations, Event
from mwl.performed import PerformedState, Reasons, Said, Stated, news, said, step_after
from mwl.procedures.effects import Effects
from mwl.procedures.matching import Match
from mwl.procedures.rows import remember
from mwl.worklist import standing

Row = dict[str, Any]

_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PERFORMED = PerformedStep.__table__  # type: ignore[attr-defined]
_DELIVERY = Delivery.__table__  # type: ignore[attr-defined]
_LINK = PerformedLink.__table__  # type: ignore[attr-defined]

_STATES = Prepared(
    select(_STEP.c.id, _STEP.c.state)
    .join(_PROCEDURE, _STEP.c.procedure == _PROCEDURE.c.id)
    .where(_PROCEDURE.c.imaging_order == bindparam("order_row"))
)
# By subqueries, each of one row: joined, PostgreSQL would walk the table while it is short,
# and its connections keep the plan when it no longer is.
_OTHERS = Prepared(
    select(
        *(
            select(column)
            .where(_PERFORMED.c.id == _LINK.c.performed_step)
            .correlate(_LINK)
            .scalar_subquery()
            .label(column.name)
            for column in (_PERFORMED.c.state, _PERFORMED.c.discontinuation)
        )
    ).where(_LINK.c.scheduled_step == bindparam("step"), _LINK.c.performed_step != bindparam("but"))
)
_ENDED_BY_MPPS = (StepState.COMPLETED, StepState.DISCONTINUED)
_IS_OURS_TO_TELL = Prepared(
    select(
        or_(
            exists(
                select(_LINK.c.scheduled_step)
                .join(_PERFORMED, _LINK.c.performed_step == _PERFORMED.c.id)
                .join(_STEP, _LINK.c.scheduled_step == _STEP.c.id)
                .join(_PROCEDURE, _STEP.c.procedure == _PROCEDURE.c.id)
                .where(
                    _PROCEDURE.c.imaging_order == bindparam("order_row"),
                    _PERFORMED.c.final_at.is_not(None),
                    or_(*(_STEP.c.state == text(f"'{state}'") for state in _ENDED_BY_MPPS)),
                )
            ),
            exists(select(_DELIVERY.c.id).where(_DELIVERY.c.subject == bindparam("subject"))),
        )
    )
)
_MOVE = Prepared(
    update(_STEP)
    .where(_STEP.c.id == bindparam("row"))
    .values(state=bindparam("new_state"), state_at=bindparam("now"))
)
_FLAG = Prepared(
    update(_ORDER).where(_ORDER.c.id == bindparam("row")).values(flags=bindparam("new_flags"))
)


def carry(  # noqa: PLR0913 - who says what, of which steps, and what follows
    session: Session,
    performed: int,
    stated: Stated,
    matches: Collection[Match],
    effects: Effects,
    now: datetime,
) -> list[str]:
    """Move the steps that an MPPS carries out, and their orders; return what is odd.

    `performed` is held or new, and `stated` what it is from now on.
    """
    by_order: dict[int, list[Match]] = {}
    for match in matches:
        by_order.setdefault(match.order, []).append(match)
    flags: list[str] = []
    for order in sorted(by_order):
        flags += _move(session, order, by_order[order], performed, stated, effects, now)
    if stated.state == PerformedState.COMPLETED:
        for order in sorted(by_order):
            effects.consider(session, order, now)
    return flags


def derive_order(session: Session, order: int, *, told: Destinations, now: datetime) -> OrderState:
    """Derive an order's state from its steps, write it, and tell what is news."""
    held: Row = standing.hold(session.connection(), order).first()._asdict()
    return _settle(session, held, told, now)


def as_reported(session: Session, step: int, *, reasons: Reasons) -> StepState | None:
    """Tell what the MPPS of a step would have made of it, had it waited; None: it has none."""
    rows = _OTHERS.all(session.connection(), {"step": step, "but": _NO_MPPS})
    told = [said(Stated(*row), reasons) for row in rows]
    return step_after(StepState.SCHEDULED, told[0], told[1:]).state if told else None


_NO_MPPS = 0  # rows are counted from 1


def _move(  # noqa: PLR0913 - as carry()
    session: Session,
    order: int,
    matches: Sequence[Match],
    performed: int,
    stated: Stated,
    effects: Effects,
    now: datetime,
) -> list[str]:
    conn = session.connection()
    asked = standing.hold(conn, order)
    # All is sent before the first answer is waited for, and executed in this order.
    steps = _STATES.send(conn, {"order_row": order})
    others = [_OTHERS.send(conn, {"step": match.step, "but": performed}) for match in matches]
    held: Row = asked.first()._asdict()
    reasons = effects.reasons(held["profile"])
    now_said = said(stated, reasons)
    flags: list[str] = []
    states = {row.id: StepState(row.state) for row in steps.all()}
    for match, rest in zip(matches, others, strict=True):
        was = states[match.step]
        after = step_after(was, now_said, [said(Stated(*row), reasons) for row in rest.all()])
        flags += [*match.flags, *([after.flag] if after.flag else [])]
        if after.state is not was:
            states[match.step] = after.state
            _MOVE.send(conn, {"row": match.step, "new_state": after.state, "now": now})
    if flags:
        _FLAG.send(conn, {"row": order, "new_flags": remember(held["flags"], flags)})
    _settle(session, held, effects.told, now, states.values(), now_said)
    return flags


def _settle(  # noqa: PLR0913 - an order, its steps, and who hears why
    session: Session,
    held: Row,
    told: Destinations,
    now: datetime,
    states: Collection[StepState] | None = None,
    now_said: Said | None = None,
) -> OrderState:
    before = OrderState(held["status"] or OrderState.SCHEDULED)
    after = standing.settle(session.connection(), held, now, states)
    tell(session, held["id"], news(before, after, now_said), told, now)
    return after


def tell_end(
    session: Session,
    order: int,
    ended: tuple[OrderState, OrderState],
    told: Destinations,
    now: datetime,
) -> None:
    """Tell that an order has ended since what was left of it was taken away.

    `ended` is its state before and after. Whoever cancelled the rest knows of that, not
    that the work is done: all are told, provided that a scanner has ended a step of it, or
    that something was told of it before. Holds the order.
    """
    events = news(*ended)
    if not any(map(told.hear_of, events)):
        return
    conn = session.connection()
    standing.hold(conn, order).first()
    about = {"order_row": order, "subject": outbox.subject(order)}
    if _IS_OURS_TO_TELL.scalar(conn, about):
        tell(session, order, events, told, now)


def tell(
    session: Session,
    order: int,
    events: Iterable[Event],
    told: Destinations,
    now: datetime,
) -> None:
    """Queue the news of an order, one after another."""
    for event in events:
        outbox.status_facts(session, told, order, event, now)
