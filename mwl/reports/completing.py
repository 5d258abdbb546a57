"""A final report completes its order, where the profile says so: never backwards.

What has been done and what is under way is COMPLETED, as by SC CM; what had never begun as
well, for nobody reports on what was not made. Of several procedures, those that it is about.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, select, update
from sqlmodel import Session

from mwl import outbox
from mwl.db import Prepared
from mwl.db.tables import RequestedProcedure, ScheduledStep
from mwl.orders import FINAL, Action, OrderState, StepState, transition
from mwl.outbox import Destinations
from mwl.performed import news
from mwl.worklist import standing
from mwl.worklist.changed import Changes, note

_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]

_STEPS = Prepared(
    select(
        _STEP.c.id,
        _STEP.c.state,
        _PROCEDURE.c.id.label("procedure"),
        _PROCEDURE.c.study_instance_uid,
        _PROCEDURE.c.code_value,
        _PROCEDURE.c.key,
        _PROCEDURE.c.accession_number,
    )
    .join(_PROCEDURE, _STEP.c.procedure == _PROCEDURE.c.id)
    .where(_PROCEDURE.c.imaging_order == bindparam("order_row"))
    .order_by(_STEP.c.id)
)
_MOVE = Prepared(
    update(_STEP)
    .where(_STEP.c.id == bindparam("row"))
    .values(state=bindparam("new_state"), state_at=bindparam("now"))
)

_ANOTHER: Final = "a final report of one procedure of several: the others are left as they are"


class Completed(NamedTuple):
    """What changed, and what a person should see."""

    changes: Changes
    flags: list[str]


class Reported(NamedTuple):
    """What a report says of what was made."""

    code: str
    accession_number: str
    study_uids: Sequence[str]


def complete(  # noqa: PLR0913 - what is done, and who has said so
    session: Session,
    order: int,
    reported: Reported,
    source: str,
    told: Destinations,
    *,
    now: datetime,
) -> Completed:
    """Complete the steps that a report is about and that have not ended, and tell of it.

    Of an order with several procedures, the others still have to be made. Holds the order.
    `source` (MSH-3^MSH-4) has sent the report: it is not told what it knows.
    """
    conn = session.connection()
    held = standing.hold(conn, order).first()._asdict()
    before = OrderState(held["status"] or OrderState.SCHEDULED)
    changes: Changes = {}
    states, flags = [], []
    steps = _STEPS.all(conn, {"order_row": order})
    meant = _meant(steps, reported)
    for row in steps:
        is_meant = row.procedure in meant
        state = StepState(row.state)
        if is_meant:
            state = _move(conn, row.id, state, changes, now)
        if is_meant and state is not StepState.COMPLETED:
            flags.append(f"a final report of a step that is {state}: left as it is")
        elif not is_meant and state not in FINAL:
            flags.append(_ANOTHER)
        states.append(state)
    after = standing.settle(conn, held, now, states) if states else before
    if after is not before:
        note(changes, "order", {"id": order, "status": before}, {"status": after})
        for event in news(before, after):
            outbox.status_facts(session, told, order, event, now, cause=source)
    return Completed(changes, list(dict.fromkeys(flags)))


def _meant(steps: Sequence[Any], reported: Reported) -> set[int]:
    """Tell which procedures a report is about: those that it names, else all."""
    code, accession = reported.code, reported.accession_number
    for named in (
        {row.procedure for row in steps if row.study_instance_uid in reported.study_uids},
        {row.procedure for row in steps if code and code in (row.code_value, row.key)},
        {row.procedure for row in steps if accession and row.accession_number == accession},
    ):
        if named:
            return named
    return {row.procedure for row in steps}


def _move(
    conn: Connection, step: int, state: StepState, changes: Changes, now: datetime
) -> StepState:
    moved = transition(Action.COMPLETE, state).state
    if moved is not state:
        _MOVE.send(conn, {"row": step, "new_state": moved, "now": now})
        note(changes, "step", {"id": step, "state": state}, {"state": moved})
    return moved
