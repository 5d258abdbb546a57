"""What an order's state was when it changed: the fact that destinations are told.

The payload of an order status (version 1); texts as in the tables, "" unknown:

    event        IP, CM, DC, CA, or CLOSED
    at           when it happened, ISO 8601 with offset
    order        columns of imaging_order: numbers with their issuers, visit, source
    patient      columns of patient
    procedures   [{columns of requested_procedure, "steps": [{columns of scheduled_step}]}]
    performed    {"start", "end": YYYYMMDDHHMMSS of the scanner's clock, "station": AE title,
                 "modality"}

Everything is as it was in that transaction: what changes before the message leaves is told
by a message of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, select
from sqlmodel import Session

from mwl.db import Prepared
from mwl.db.tables import (
    ImagingOrder,
    Patient,
    PerformedLink,
    PerformedStep,
    RequestedProcedure,
    ScheduledStep,
)
from mwl.outbox.destinations import Destinations
from mwl.outbox.rows import Kind, enqueue
from mwl.worklist.longer import long_ones

Event = Literal["IP", "CM", "DC", "CA", "CLOSED"]

_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PATIENT = Patient.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]
_PERFORMED = PerformedStep.__table__  # type: ignore[attr-defined]
_LINK = PerformedLink.__table__  # type: ignore[attr-defined]

_ORDER_COLUMNS = (
    "source",
    "order_number",
    "order_namespace",
    "placer_number",
    "placer_issuer",
    "filler_number",
    "filler_issuer",
    "admission_id",
    "admission_issuer",
    "route_of_admissions",
)
_PATIENT_COLUMNS = ("patient_id", "issuer", "patient_name", "birth_date", "sex")
_PROCEDURE_COLUMNS = (
    "requested_procedure_id",
    "study_instance_uid",
    "accession_number",
    "accession_issuer",
    "description",
    "code_value",
    "code_scheme",
    "code_meaning",
    "priority",
)
_STEP_COLUMNS = (
    "sps_id",
    "state",
    "modality",
    "station_ae_titles",
    "station_name",
    "location",
    "start_local",
    "description",
    "protocol_value",
    "protocol_scheme",
    "protocol_meaning",
)
_MOST_STEPS = 1_000  # of an order; as many as a message may bring

_GIVEN = bindparam("order_row", type_=_ORDER.c.id.type)
_ORDER_AND_PATIENT = Prepared(
    select(
        *(_ORDER.c[name] for name in _ORDER_COLUMNS),
        *(_PATIENT.c[name] for name in _PATIENT_COLUMNS),
    )
    .join(_PATIENT, _ORDER.c.patient == _PATIENT.c.id)
    .where(_ORDER.c.id == _GIVEN)
)
_STEPS = Prepared(
    select(
        _PROCEDURE.c.id.label("procedure_row"),
        *(_PROCEDURE.c[name].label(f"procedure_{name}") for name in _PROCEDURE_COLUMNS),
        *(_STEP.c[name] for name in _STEP_COLUMNS),
    )
    .join(_STEP, _STEP.c.procedure == _PROCEDURE.c.id)
    .where(_PROCEDURE.c.imaging_order == _GIVEN)
    .order_by(_PROCEDURE.c.id, _STEP.c.id)
    .limit(_MOST_STEPS)
)
_PERFORMED_OF = Prepared(
    select(
        _PERFORMED.c.start_local,
        _PERFORMED.c.end_local,
        _PERFORMED.c.station_ae_title,
        _PERFORMED.c.modality,
    )
    .distinct()
    .join(_LINK, _LINK.c.performed_step == _PERFORMED.c.id)
    .join(_STEP, _LINK.c.scheduled_step == _STEP.c.id)
    .join(_PROCEDURE, _STEP.c.procedure == _PROCEDURE.c.id)
    .where(_PROCEDURE.c.imaging_order == _GIVEN)
    .order_by(_PERFORMED.c.start_local)
    .limit(_MOST_STEPS)
)


def status_facts(  # noqa: PLR0913 - what happened, when, and who hears of it
    session: Session,
    told: Destinations,
    order: int | Any,
    event: Event,
    now: datetime,
    *,
    cause: str | None = None,
    **more: str,
) -> None:
    """Queue the news of an order for every destination that wants it.

    `order` is its row, or the row's number. `cause` is the source (MSH-3^MSH-4) of the HL7
    message that brought the event about, None for a scanner, a rule or a person: whoever
    caused it is not told. `more` replaces what is known of the performed steps linked with
    the order: `start`, `end` (YYYYMMDDHHMMSS), `station` (AE title), `modality`.
    """
    if not told.hear_of(event):
        return
    conn = session.connection()
    row = order if isinstance(order, int) else _number(order)
    asked = _ORDER_AND_PATIENT.send(conn, {"order_row": row})
    steps = _STEPS.send(conn, {"order_row": row})
    performed = _PERFORMED_OF.send(conn, {"order_row": row})
    known = asked.first()
    if known is None:
        return  # deleted meanwhile: there is nothing to tell of
    known = known._asdict()
    names = told.wanting(event, known["source"], cause)
    if not names:
        return
    payload = {
        "version": 1,
        "event": event,
        "at": now.isoformat(),
        "order": {name: known[name] for name in _ORDER_COLUMNS},
        "patient": {name: known[name] for name in _PATIENT_COLUMNS},
        "procedures": _procedures(steps.all()),
        "performed": {**_performed(performed.all()), **more},
    }
    _with_long_identifiers(conn, payload)
    for name in names:
        enqueue(
            session,
            kind=Kind.ORDER_STATUS,
            destination=name,
            subject=subject(row),
            payload=payload,
            now=now,
        )


def _with_long_identifiers(conn: Connection, payload: dict[str, Any]) -> None:
    """Give a sender's own identifiers back where short ones of ours stand for them."""
    stated = [(payload["patient"], "patient_id")]
    for procedure in payload["procedures"]:
        stated += [(procedure, "accession_number"), (procedure, "requested_procedure_id")]
        stated += [(step, "sps_id") for step in procedure["steps"]]
    known = long_ones(conn, [row[name] for row, name in stated])
    for row, name in stated if known else ():
        row[name] = known.get(row[name], row[name])


def subject(order: int) -> str:
    """Name what an order's deliveries are about."""
    return f"order:{order}"


def _number(row: Any) -> int:
    number: int = row["id"] if isinstance(row, Mapping) else row.id
    return number


def _procedures(rows: Iterable[Any]) -> list[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for each in rows:
        row = each._asdict()
        procedure = found.setdefault(
            row["procedure_row"],
            {name: row[f"procedure_{name}"] for name in _PROCEDURE_COLUMNS} | {"steps": []},
        )
        procedure["steps"].append({name: row[name] for name in _STEP_COLUMNS})
    return list(found.values())


def _performed(rows: Sequence[Any]) -> dict[str, str]:
    """Sum up the performed steps of an order: first start, last end, the latest's station."""
    if not rows:
        return {"start": "", "end": "", "station": "", "modality": ""}
    starts = [row.start_local for row in rows if row.start_local]
    latest = rows[-1]
    return {
        "start": min(starts, default=""),
        "end": max(row.end_local for row in rows),
        "station": latest.station_ae_title,
        "modality": latest.modality,
    }
