"""A final report completes its order, where the profile says so: never backwards.

What has been done and what is under way is COMPLETED, as by SC CM; what had never begun as
well, for nobody reports on what was not made.
"""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, select, update
from sqlmodel import Session

from mwl import outbox
from mwl.db import Prepared
from mwl.db.tables import RequestedProcedure, ScheduledStep
from mwl.orders import Action, OrderState, StepState, transition
from mwl.outbox import Destinations
from mwl.performed import news
from mwl.worklist import standing
from mwl.worklist.changed import Changes, note

_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]

_STEPS = Prepared(
    select(_STEP.c.id, _STEP.c.state)
    .join(_PROCEDURE, _STEP.c.procedure == _PROCEDURE.c.id)
    .where(_PROCEDURE.c.imaging_order == bindparam("order_row"))
    .order_by(_STEP.c.id)
)
_MOVE = Prepared(
    update(_STEP)
    .where(_STEP.c.id == bindparam("row"))
    .values(state=bindparam("new_state"), state_at=bindparam("now"))
)


class Completed(NamedTuple):
    """What changed, and what a person should see."""

    changes: Changes
    flags: list[str]


def complete(
    session: Session, order: int, source: str, told: Destinations, *, now: datetime
) -> Completed:
    """Complete the steps of an order that have not ended, and tell of it. Holds the order.

    `source` (MSH-3^MSH-4) has sent the report: it is not told what it knows.
    """
    conn = session.connection()
    held = standing.hold(conn, order).first()._asdict()
    before = OrderState(held["status"] or OrderState.SCHEDULED)
    changes: Changes = {}
    states, flags = [], []
    for row in _STEPS.all(conn, {"order_row": order}):
        state = _move(conn, row.id, StepState(row.state), changes, now)
        if state is not StepState.COMPLETED:
            flags.append(f"a final report of a step that is {state}: left as it is")
        states.append(state)
    after = standing.settle(conn, held, now, states) if states else before
    if after is not before:
        note(changes, "order", {"id": order, "status": before}, {"status": after})
        for event in news(before, after):
            outbox.status_facts(session, told, order, event, now, cause=source)
    return Completed(changes, list(dict.fromkeys(flags)))


def _move(
    conn: Connection, step: int, state: StepState, changes: Changes, now: datetime
) -> StepState:
    moved = transition(Action.COMPLETE, state).state
    if moved is not state:
        _MOVE.send(conn, {"row": step, "new_state": moved, "now": now})
        note(changes, "step", {"id": step, "state": state}, {"state": moved})
    return moved
