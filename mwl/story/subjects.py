"""The rows that an order consists of: whom it is for, what is to be done."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from mwl.db.tables import ImagingOrder, Patient, RequestedProcedure, ScheduledStep

Row = dict[str, Any]

_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PATIENT = Patient.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]

_MOST_ALIASES = 50
_MOST_STEPS = 1_000  # as many as a message may bring


@dataclass(frozen=True, slots=True)
class Subject:
    """An order with its patient, procedures and steps, as they are on file now.

    `aliases` are the patients who were merged into this one.
    """

    order: Row
    patient: Row
    aliases: list[Row]
    procedures: list[Row]
    steps: list[Row]
    names: dict[str, str] = field(default_factory=dict)  # "step:17" → "step SPS1"

    @property
    def patients(self) -> list[int]:
        """The rows of the patient, under all identifiers."""
        return [self.patient["id"], *(alias["id"] for alias in self.aliases)]

    @property
    def accession_numbers(self) -> list[str]:
        """The accession numbers of the order; more than one where each procedure has its own."""
        found = (each["accession_number"] for each in self.procedures)
        return [number for number in dict.fromkeys(found) if number]

    def steps_of(self, procedure: Row) -> list[Row]:
        """List the steps of a procedure."""
        return [step for step in self.steps if step["procedure"] == procedure["id"]]


def read(conn: Connection, order: int) -> Subject | None:
    """Read an order's rows; None: there is no such order."""
    found = conn.execute(select(_ORDER).where(_ORDER.c.id == order)).mappings().first()
    if found is None:
        return None
    patient = one_patient(conn, found["patient"])
    assert patient is not None
    procedures = select(_PROCEDURE).where(_PROCEDURE.c.imaging_order == order)
    steps = (
        select(_STEP)
        .join(_PROCEDURE, _STEP.c.procedure == _PROCEDURE.c.id)
        .where(_PROCEDURE.c.imaging_order == order)
    )
    subject = Subject(
        dict(found),
        patient,
        aliases(conn, patient["id"]),
        _rows(conn, procedures.order_by(_PROCEDURE.c.id).limit(_MOST_STEPS)),
        _rows(conn, steps.order_by(_STEP.c.id).limit(_MOST_STEPS)),
    )
    subject.names.update(_names(subject))
    return subject


def one_patient(conn: Connection, row: int) -> Row | None:
    """Read a patient."""
    found = conn.execute(select(_PATIENT).where(_PATIENT.c.id == row)).mappings().first()
    return None if found is None else dict(found)


def aliases(conn: Connection, patient: int) -> list[Row]:
    """List the patients who were merged into one, directly or by way of another."""
    found: list[Row] = []
    seen, latest = {patient}, [patient]
    while latest and len(found) < _MOST_ALIASES:
        statement = select(_PATIENT).where(_PATIENT.c.merged_into.in_(latest))
        rows = _rows(conn, statement.order_by(_PATIENT.c.id).limit(_MOST_ALIASES))
        new = [row for row in rows if row["id"] not in seen]
        latest = [row["id"] for row in new]
        seen.update(latest)
        found += new
    return found


def _rows(conn: Connection, statement: Any) -> list[Row]:
    return [dict(row) for row in conn.execute(statement).mappings()]


def _names(subject: Subject) -> dict[str, str]:
    several = len(subject.procedures) > 1
    names = {f"order:{subject.order['id']}": "order"}
    names |= {f"patient:{row['id']}": "patient" for row in [subject.patient]}
    names |= {f"patient:{row['id']}": f"patient {row['patient_id']}" for row in subject.aliases}
    for row in subject.procedures:
        name = row["requested_procedure_id"] or row["key"]
        names[f"procedure:{row['id']}"] = f"procedure {name}" if several else "procedure"
    for row in subject.steps:
        names[f"step:{row['id']}"] = f"step {row['sps_id']}"
    return names
