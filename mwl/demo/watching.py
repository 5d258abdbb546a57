"""What has become of the demo's orders: read from the database, as other commands do."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from sqlalchemy import bindparam, select

from mwl.db import Database, Prepared
from mwl.db.tables import ImagingOrder, RequestedProcedure, Study
from mwl.orders import OrderState

_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_STUDY = Study.__table__  # type: ignore[attr-defined]

_PAUSE_S = 0.05

_BY_ACCESSION = Prepared(
    select(_ORDER.c.id, _ORDER.c.status, _STUDY.c.id.label("study"))
    .select_from(_PROCEDURE)
    .join(_ORDER, _ORDER.c.id == _PROCEDURE.c.imaging_order)
    .outerjoin(_STUDY, _STUDY.c.requested_procedure == _PROCEDURE.c.id)
    .where(_PROCEDURE.c.accession_number == bindparam("accession"))
    .order_by(_ORDER.c.id, _STUDY.c.id)
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class Standing:
    """An order's row, its state, and the row of its study if there is one."""

    order: int
    state: str
    study: int | None


def standing(database: Database, accession: str) -> Standing | None:
    """Look an order up by its accession number. Raises Outage."""
    with database.read() as session:
        row = _BY_ACCESSION.first(session.connection(), {"accession": accession})
    return Standing(row.id, row.status, row.study) if row else None


def closed(database: Database, accessions: Collection[str], patience_s: float) -> list[str]:
    """Wait until all these orders are CLOSED; list those that are not in time."""
    left = list(accessions)

    def all_closed() -> bool:
        left[:] = [each for each in left if not _is_closed(database, each)]
        return not left

    until(all_closed, patience_s)
    return left


def until(condition: Callable[[], bool], patience_s: float) -> bool:
    """Wait until `condition` holds; tell whether it did in time."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE_S)
    return True


def _is_closed(database: Database, accession: str) -> bool:
    found = standing(database, accession)
    return found is not None and found.state == OrderState.CLOSED
