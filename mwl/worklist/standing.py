"""How an order stands: the one way to change its state, or that of its steps.

Messages of the RIS, scanners, the clock and people all move steps, in processes that know
nothing of each other. Each of them first holds the order, reads its steps only then, and
writes what `columns` makes of them.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, false, select, update

from mwl.db import Prepared, Reply
from mwl.db.tables import ImagingOrder, RequestedProcedure, ScheduledStep
from mwl.orders import OrderState, StepState, derive, is_left

Row = dict[str, Any]

_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
# SQLite has one writer, and leaves FOR UPDATE out.
_HOLD = Prepared(select(_ORDER).where(_ORDER.c.id == bindparam("row")).with_for_update())
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]
_STATES = Prepared(
    select(_STEP.c.state)
    .join(_PROCEDURE, _STEP.c.procedure == _PROCEDURE.c.id)
    .where(_PROCEDURE.c.imaging_order == bindparam("row"))
)
_MARKS = ("closed_at", "closed_by", "expired_at", "revived_at", "check_at")
_SETTLE = Prepared(
    update(_ORDER)
    .where(_ORDER.c.id == bindparam("row"))
    .values({name: bindparam(f"new_{name}") for name in ("status", *_MARKS, "updated_at")})
)
_SHOW = Prepared(
    update(_STEP)
    .where(
        _STEP.c.procedure.in_(
            select(_PROCEDURE.c.id).where(_PROCEDURE.c.imaging_order == bindparam("row"))
        ),
        _STEP.c.expired,
    )
    .values(expired=false())
)
_BEGUN = frozenset({OrderState.IN_PROGRESS, OrderState.COMPLETED, OrderState.CLOSED})
# Where nothing is left to wait for; whoever leaves such a state says when to look again.
_SETTLED = frozenset({OrderState.CLOSED, OrderState.DISCONTINUED, OrderState.CANCELED})


def hold(conn: Connection, order: int) -> Reply:
    """Keep everybody else from an order until the transaction ends; the reply is its row.

    What is read after this is as the last holder left it. Who holds several takes them by
    ascending number.
    """
    return _HOLD.send(conn, {"row": order})


def columns(order: Row, states: Iterable[StepState], now: datetime) -> Row:
    """Give the columns of `order`, held, that follow from the states of its steps.

    A mark whose ground has gone goes with it. An order that has just become COMPLETED is to
    be looked at: the close rule may hold already.
    """
    seen = list(states)
    closed, expired = order["closed_at"] is not None, order["expired_at"] is not None
    begun = order["status"] in _BEGUN
    status = derive(seen, begun=begun, closed=closed, expired=expired)
    made: Row = {"status": status}
    if closed and status is not OrderState.CLOSED:
        made |= {"closed_at": None, "closed_by": ""}
    if expired and not is_left(seen):
        made["expired_at"] = None
    if status in _SETTLED:
        made["check_at"] = None
    elif status is OrderState.COMPLETED and order["status"] != status:
        made["check_at"] = now
    return made


def settle(
    conn: Connection,
    order: Row,
    now: datetime,
    states: Iterable[StepState] | None = None,
    /,
    **marks: Any,
) -> OrderState:
    """Write what the steps of `order`, held, make of it, and `marks` beside; tell its state.

    `states` are those of all its steps, where they are known already. What has expired no
    longer is shown to scanners again.
    """
    if states is None:
        states = [StepState(row.state) for row in _STATES.all(conn, {"row": order["id"]})]
    was_expired = order["expired_at"] is not None
    order |= marks
    order |= {**columns(order, states, now), "updated_at": now}
    written = {f"new_{name}": order[name] for name in ("status", *_MARKS, "updated_at")}
    _SETTLE.send(conn, {**written, "row": order["id"]})
    if was_expired and order["expired_at"] is None:
        _SHOW.send(conn, {"row": order["id"]})
    return OrderState(order["status"])
