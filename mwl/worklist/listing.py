"""List the worklist for people and programs: every step, whatever its state."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Text, bindparam, cast, literal_column, or_, select

from mwl import sightings
from mwl.db import Database, Prepared
from mwl.db.tables import ImagingOrder, Patient, RequestedProcedure, ScheduledStep
from mwl.orders import FINAL, OrderState, StepState
from mwl.shortened import known_as
from mwl.sightings import Seen
from mwl.worklist.ways import IS_CURRENT

_PAGE_ROWS = 500

_patient = Patient.__table__  # type: ignore[attr-defined]
_order = ImagingOrder.__table__  # type: ignore[attr-defined]
_procedure = RequestedProcedure.__table__  # type: ignore[attr-defined]
_step = ScheduledStep.__table__  # type: ignore[attr-defined]


def listing(  # noqa: PLR0913 - the ways to narrow it, by name
    database: Database,
    *,
    zone: ZoneInfo,
    accession: str | None = None,
    status: StepState | OrderState | None = None,
    flagged: bool = False,
    limit: int | None = None,
) -> Iterator[dict[str, Any]]:
    """List entries by start time, one dictionary a step, read page by page.

    `warnings` tell of scanners that hold an old copy of it.

    `status` is a step's or, of those that only orders have, its order's: what has expired is
    EXPIRED, whatever its step's state. `flags` is what a person should see of the order;
    `flagged` keeps the entries that have some. `start` is ISO 8601 with the offset of `zone`;
    several stations are parted by a backslash, as on the wire. Raises Outage.
    """
    statement = _statement(
        accession is not None,
        isinstance(status, StepState),
        isinstance(status, OrderState),
        flagged,
    )
    # What is too long for (0008,0050) is kept as the short one that stands for it.
    kept = known_as(accession)[:2][-1] if accession else accession
    values = {"accession": kept, "status": status, "after_start": "", "after_id": 0}
    left = limit
    while left is None or left > 0:
        rows = _PAGE_ROWS if left is None else min(left, _PAGE_ROWS)
        with database.read() as session:
            page = statement.all(session.connection(), {**values, "limit": rows})
            open_ = [row.id for row in page if row.state not in FINAL]
            stale = sightings.outdated(session, open_) if open_ else {}
        for row in page:
            yield _entry(row, stale.get(row.id, ()), zone)
        if len(page) < rows:
            return
        left = None if left is None else left - rows
        values |= {"after_start": page[-1].start_local, "after_id": page[-1].id}


def _entry(row: Any, stale: Iterable[Seen], zone: ZoneInfo) -> dict[str, Any]:
    return {
        "accession_number": row.accession_number,
        "patient_id": row.patient_id,
        "patient_name": row.patient_name,
        "study_instance_uid": row.study_instance_uid,
        "sps_id": row.sps_id,
        "modality": row.modality,
        "station_ae_title": row.station_ae_titles,
        "start": row.start_at.astimezone(zone).isoformat(),
        "status": row.state,
        "order_status": row.status,
        "flags": row.flags,
        "warnings": [seen.warning(zone) for seen in stale],
    }


@lru_cache(maxsize=12)
def _statement(by_accession: bool, by_step: bool, by_order: bool, flagged: bool) -> Prepared:
    start = bindparam("after_start", type_=_step.c.start_local.type)
    statement = (
        select(
            _procedure.c.accession_number,
            _patient.c.patient_id,
            _patient.c.patient_name,
            _step.c.study_instance_uid,
            _step.c.sps_id,
            _step.c.modality,
            _step.c.station_ae_titles,
            _step.c.start_at,
            _step.c.state,
            _order.c.status,
            _order.c.flags,
            _step.c.start_local,
            _step.c.id,
        )
        .select_from(_step)
        .join(_procedure, _procedure.c.id == _step.c.procedure)
        .join(_order, _order.c.id == _procedure.c.imaging_order)
        .join(_patient, _patient.c.id == _order.c.patient)
        .where(
            _step.c.start_local >= start,
            or_(_step.c.start_local > start, _step.c.id > bindparam("after_id")),
        )
        .order_by(_step.c.start_local, _step.c.id)
        .limit(bindparam("limit"))
    )
    if by_accession:
        statement = statement.where(_procedure.c.accession_number == bindparam("accession"))
    if by_step:
        statement = statement.where(_step.c.state == bindparam("status"), IS_CURRENT)
    if by_order:
        statement = statement.where(_order.c.status == bindparam("status"))
    if flagged:
        statement = statement.where(cast(_order.c.flags, Text) != literal_column("'[]'"))
    return Prepared(statement)
