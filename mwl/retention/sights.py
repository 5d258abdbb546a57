"""What scanners were shown of orders that are over and stay."""

from datetime import datetime
from typing import Final

from sqlalchemy import delete, select, tuple_
from sqlmodel import Session

from mwl.db.tables import ImagingOrder, RequestedProcedure, ScheduledStep, Sighting
from mwl.retention.orders import OVER

_SIGHTING = Sighting.__table__  # type: ignore[attr-defined]
_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]

AT_ONCE: Final = 500


def remove(session: Session, before: datetime) -> int:
    """Remove the oldest of them that are older than `before`; return how many."""
    key = (_SIGHTING.c.step, _SIGHTING.c.ae_title)
    old = (
        select(*key)
        .join(_STEP, _STEP.c.id == _SIGHTING.c.step)
        .join(_PROCEDURE, _PROCEDURE.c.id == _STEP.c.procedure)
        .join(_ORDER, _ORDER.c.id == _PROCEDURE.c.imaging_order)
        .where(_SIGHTING.c.last_at < before, _ORDER.c.status.in_(OVER))
        .order_by(_SIGHTING.c.last_at)
        .limit(AT_ONCE)
    )
    gone = session.connection().execute(delete(_SIGHTING).where(tuple_(*key).in_(old)))
    return gone.rowcount
