"""Find the orders that somebody asks for."""

from sqlalchemy import select
from sqlmodel import Session

from mwl.db.tables import RequestedProcedure, ScheduledStep
from mwl.shortened import known_as

_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]

_MOST = 20


def by_accession(session: Session, number: str) -> list[int]:
    """List the orders with an accession number, the newest first; usually there is one."""
    statement = (
        select(_PROCEDURE.c.imaging_order)
        .distinct()
        .where(_PROCEDURE.c.accession_number.in_(known_as(number)))
        .order_by(_PROCEDURE.c.imaging_order.desc())
        .limit(_MOST)
    )
    return list(session.connection().execute(statement).scalars())


def by_step(session: Session, step: int) -> int | None:
    """Name the order of a scheduled step, by its row."""
    statement = (
        select(_PROCEDURE.c.imaging_order)
        .join(_STEP, _STEP.c.procedure == _PROCEDURE.c.id)
        .where(_STEP.c.id == step)
    )
    found: int | None = session.connection().execute(statement).scalar()
    return found
