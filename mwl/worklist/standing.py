"""How an order stands: the one way to change its state, or that of its steps.

Messages of the RIS, scanners, the clock and people all move steps, in processes that know
nothing of each other. Each of them first holds the order, reads its steps only then, and
writes what `columns` makes of them.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select

from mwl.db import Prepared, Reply
from mwl.db.tables import ImagingOrder
from mwl.orders import OrderState, StepState, derive

Row = dict[str, Any]

_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
# SQLite has one writer, and leaves FOR UPDATE out.
_HOLD = Prepared(select(_ORDER).where(_ORDER.c.id == bindparam("row")).with_for_update())
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
    closed, expired = order["closed_at"] is not None, order["expired_at"] is not None
    status = derive(states, closed=closed, expired=expired)
    made: Row = {"status": status}
    if closed and status is not OrderState.CLOSED:
        made |= {"closed_at": None, "closed_by": ""}
    if expired and status is not OrderState.EXPIRED:
        made["expired_at"] = None
    if status in _SETTLED:
        made["check_at"] = None
    elif status is OrderState.COMPLETED and order["status"] != status:
        made["check_at"] = now
    return made
