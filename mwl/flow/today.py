"""What a day's orders have come to."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Final

from sqlalchemy import bindparam, distinct, func, select
from sqlmodel import Session

from mwl.db import Prepared
from mwl.db.tables import ImagingOrder, RequestedProcedure, ScheduledStep
from mwl.orders import OrderState

_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]

_MOST_STEPS: Final = 20_000  # of a day; no department has so many

_day = (
    select(_STEP.c.procedure)
    .where(_STEP.c.start_local >= bindparam("begins"), _STEP.c.start_local < bindparam("ends"))
    .order_by(_STEP.c.start_local)
    .limit(_MOST_STEPS)
    .subquery("of_day")
)
_BY_STATE: Final = Prepared(
    select(_ORDER.c.status, func.count(distinct(_ORDER.c.id)).label("orders"))
    .select_from(_day)
    .join(_PROCEDURE, _PROCEDURE.c.id == _day.c.procedure)
    .join(_ORDER, _ORDER.c.id == _PROCEDURE.c.imaging_order)
    .group_by(_ORDER.c.status)
)


def orders_by_state(session: Session, day: date) -> Mapping[OrderState, int]:
    """Count the orders that have a step on a day, by their states, in the order of an order's life.

    A day is the site's: by the wall clock that steps are scheduled by.
    """
    params = {"begins": f"{day:%Y%m%d}", "ends": f"{day + timedelta(days=1):%Y%m%d}"}
    found = {row.status: row.orders for row in _BY_STATE.all(session.connection(), params)}
    return {state: found[state] for state in OrderState if found.get(state)}
