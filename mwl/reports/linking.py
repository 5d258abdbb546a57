"""Which order a report is about.

Its filler or placer order number, its accession number or its Study Instance UID must name
an order, and the order must be of the report's patient: one who is beyond doubt, by
identifier, whatever merges there have been. An order of another patient is never taken. A
report that names no order that is known waits; `late.py` looks again.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, bindparam, select

from mwl.archive.patients import Patients
from mwl.db import Prepared
from mwl.db.tables import ImagingOrder, Patient, RequestedProcedure
from mwl.reports.values import Link
from mwl.studies import Likeness, Person

_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_PATIENT = Patient.__table__  # type: ignore[attr-defined]

_MOST_CANDIDATES = 20  # orders that share a number; more than that are no answer
_MOST_UIDS = 10


class About(NamedTuple):
    """What a report says of its order and its patient."""

    source: str
    filler: str
    placer: str
    accession: str
    study_uids: Sequence[str]
    person: Person


class Found(NamedTuple):
    """The order and the patient of a report, None where they aren't known beyond doubt."""

    order: int | None = None
    patient: int | None = None
    by: str = ""
    flag: str = ""


def _orders(condition: ColumnElement[bool], *, by_procedure: bool) -> Prepared:
    rows = _ORDER.join(_PATIENT, _PATIENT.c.id == _ORDER.c.patient)
    if by_procedure:
        rows = rows.join(_PROCEDURE, _PROCEDURE.c.imaging_order == _ORDER.c.id)
    statement: Select[Any] = select(
        _ORDER.c.id,
        _ORDER.c.source,
        _PATIENT.c.id.label("patient"),
        _PATIENT.c.patient_id,
        _PATIENT.c.issuer_key,
        _PATIENT.c.patient_name,
        _PATIENT.c.birth_date,
        _PATIENT.c.other_ids,
    ).select_from(rows)
    return Prepared(statement.where(condition).limit(_MOST_CANDIDATES))


# In the order in which they are believed.
_WAYS = (
    (Link.FILLER, _orders(_ORDER.c.filler_number == bindparam("value"), by_procedure=False)),
    (Link.PLACER, _orders(_ORDER.c.placer_number == bindparam("value"), by_procedure=False)),
    (
        Link.ACCESSION,
        _orders(_PROCEDURE.c.accession_number == bindparam("value"), by_procedure=True),
    ),
    (Link.STUDY, _orders(_PROCEDURE.c.study_instance_uid == bindparam("value"), by_procedure=True)),
)


def find(conn: Connection, about: About) -> Found:
    """Look for the order and the patient of a report: a few look-ups in indexes."""
    asked = [
        (by, statement.send(conn, {"value": value}))
        for by, statement in _WAYS
        for value in _values(about, by)
    ]
    patients = Patients(conn, about.person)
    is_named = False
    for by, reply in asked:
        rows = {row.id: row for row in reply.all()}
        is_named = is_named or bool(rows)
        same = [row for row in rows.values() if patients.likeness(row) is Likeness.SAME]
        # Numbers are the sender's own; its own orders go before those of others.
        own = [row for row in same if row.source == about.source] or same
        if len(own) == 1:
            return Found(own[0].id, own[0].patient, by)
    flag = "it names an order of another patient, or several: not linked" if is_named else ""
    return Found(patient=patients.only_one(), flag=flag)


def _values(about: About, by: Link) -> Sequence[str]:
    if by is Link.STUDY:
        return about.study_uids[:_MOST_UIDS]
    of = {Link.FILLER: about.filler, Link.PLACER: about.placer, Link.ACCESSION: about.accession}
    return [of[by]] if of[by] else []
