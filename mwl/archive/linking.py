"""Studies and the orders that asked for them.

A study is linked when its first instance comes, or a series that tells more; the sweep
links those whose order came later. Nothing here is a fact for the RIS: who closes orders
looks at what is linked. What is not beyond doubt (`mwl.studies.match`) stays unmatched.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import structlog
from sqlalchemy import ColumnElement, Connection, Select, bindparam, select, update
from sqlmodel import Session

from mwl.archive import following
from mwl.archive.known import known_of
from mwl.archive.patients import Patients
from mwl.db import Database, Prepared, Reply
from mwl.db.tables import (
    ImagingOrder,
    Patient,
    RequestedProcedure,
    ScheduledStep,
    Series,
    Study,
)
from mwl.orders import OrderState
from mwl.studies import Candidate, Evidence, Likeness, Match, match

log = structlog.get_logger(__name__)

_STUDY = Study.__table__  # type: ignore[attr-defined]
_SERIES = Series.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PATIENT = Patient.__table__  # type: ignore[attr-defined]
_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]

# Procedures that share an identifier; more than that are no answer.
_MOST_CANDIDATES: Final = 20
_MOST_SERIES: Final = 50  # of a study, whose requests are looked at
# Of one sweep, which runs every few seconds: a tenth of a second of reading.
_NEWEST, _NEXT = 100, 50

_OVER = frozenset({OrderState.CANCELED, OrderState.DISCONTINUED})


def _candidates(*conditions: ColumnElement[bool], step: bool = False) -> Prepared:
    rows = _PROCEDURE.join(_ORDER, _ORDER.c.id == _PROCEDURE.c.imaging_order)
    rows = rows.join(_PATIENT, _PATIENT.c.id == _ORDER.c.patient)
    if step:
        rows = rows.join(_STEP, _STEP.c.procedure == _PROCEDURE.c.id)
    statement: Select[Any] = select(
        _PROCEDURE.c.id,
        _PROCEDURE.c.imaging_order,
        _PROCEDURE.c.accession_number,
        _PROCEDURE.c.requested_procedure_id,
        _PROCEDURE.c.study_instance_uid,
        _ORDER.c.status,
        _PATIENT.c.id.label("patient"),
        _PATIENT.c.patient_id,
        _PATIENT.c.issuer_key,
        _PATIENT.c.patient_name,
        _PATIENT.c.birth_date,
        _PATIENT.c.other_ids,
    )
    return Prepared(statement.select_from(rows).where(*conditions).limit(_MOST_CANDIDATES))


_BY_ACCESSION = _candidates(_PROCEDURE.c.accession_number == bindparam("value"))
_BY_PROCEDURE = _candidates(_PROCEDURE.c.requested_procedure_id == bindparam("value"))
_BY_STUDY = _candidates(_PROCEDURE.c.study_instance_uid == bindparam("value"))
_BY_STEP = _candidates(
    _STEP.c.study_instance_uid == bindparam("value"), _STEP.c.sps_id == bindparam("sps"), step=True
)
# Whoever noted how it is matched, though it isn't, wants a person to do it.
_IS_OPEN = (_STUDY.c.requested_procedure.is_(None), _STUDY.c.matched_by == "")
_LINK = Prepared(
    update(_STUDY)
    .where(_STUDY.c.id == bindparam("row"), *_IS_OPEN)
    .values(requested_procedure=bindparam("procedure"), matched_by=bindparam("by"))
)
_UNMATCHED = select(_STUDY).where(*_IS_OPEN)
_NEWEST_UNMATCHED = Prepared(_UNMATCHED.order_by(_STUDY.c.id.desc()).limit(_NEWEST))
_NEXT_UNMATCHED = Prepared(
    _UNMATCHED.where(_STUDY.c.id > bindparam("after")).order_by(_STUDY.c.id).limit(_NEXT)
)
_REQUESTS = Prepared(
    select(_SERIES.c.request)
    .where(_SERIES.c.study == bindparam("study"))
    .order_by(_SERIES.c.id)
    .limit(_MOST_SERIES)
)


def consider(conn: Connection, study: int, evidence: Evidence) -> Match | None:
    """Link the unmatched study in row `study` if its order is beyond doubt.

    Else note whose it is, if that is: then it follows the patient all the same.
    """
    found = find(conn, evidence)
    if found.match is not None:
        by = {"procedure": found.match.procedure, "by": found.match.by}
        _LINK.send(conn, {"row": study, **by})
        following.follow(conn, study)
    elif found.patient is not None:
        following.claim(conn, study, found.patient)
    return found.match


class Found(NamedTuple):
    """What is beyond doubt: the order of a study, or else its patient (a row)."""

    match: Match | None = None
    patient: int | None = None


def find(conn: Connection, evidence: Evidence) -> Found:
    """Look for the procedure that a study was made for: a few look-ups in indexes."""
    asked = _ask(conn, evidence)
    rows: dict[int, Any] = {}
    steps: dict[int, set[tuple[str, str]]] = {}
    for step, reply in asked:
        for row in reply.all():
            rows[row.id] = row
            if step is not None:
                steps.setdefault(row.id, set()).add(step)
    patients = Patients(conn, evidence.person)
    candidates = [
        Candidate(
            procedure=row.id,
            order=row.imaging_order,
            patient=patients.likeness(row),
            accession_number=row.accession_number,
            requested_procedure_id=row.requested_procedure_id,
            study_instance_uid=row.study_instance_uid,
            steps=frozenset(steps.get(row.id, ())),
            over=row.status in _OVER,
        )
        for row in rows.values()
    ]
    found = match(evidence, candidates)
    if found is None and all(each.patient is Likeness.SAME for each in candidates):
        # Nobody else's order has its numbers.
        return Found(patient=patients.only_one())
    return Found(found)


def _ask(conn: Connection, evidence: Evidence) -> list[tuple[tuple[str, str] | None, Reply]]:
    """Send everything before the first answer is waited for."""
    items = evidence.requests
    accessions = [evidence.accession_number, *(i.get("AccessionNumber", "") for i in items)]
    procedures = [i.get("RequestedProcedureID", "") for i in items]
    steps = [(i.get("StudyInstanceUID", ""), i.get("ScheduledProcedureStepID", "")) for i in items]
    asked: list[tuple[tuple[str, str] | None, Reply]] = [
        (None, _BY_STUDY.send(conn, {"value": evidence.study_instance_uid}))
    ]
    asked += [(None, _BY_ACCESSION.send(conn, {"value": v})) for v in _known(accessions)]
    asked += [(None, _BY_PROCEDURE.send(conn, {"value": v})) for v in _known(procedures)]
    asked += [
        ((uid, sps), _BY_STEP.send(conn, {"value": uid, "sps": sps}))
        for uid, sps in dict.fromkeys(steps)
        if uid and sps
    ]
    return asked


def _known(values: Iterable[str]) -> list[str]:
    return [value for value in dict.fromkeys(values) if value]


def link_unmatched(database: Database, now: datetime) -> int:  # noqa: ARG001 - as all sweeps
    """Link studies whose order came after them; tell how many. Raises Outage.

    A run looks at the newest unmatched studies, and at some of the older ones in turn: its
    work has a bound, however many studies will never have an order.
    """
    known = known_of(database)
    with database.read() as session:
        conn = session.connection()
        older = _NEXT_UNMATCHED.all(conn, {"after": known.swept_to})
        known.swept_to = older[-1].id if len(older) == _NEXT else 0
        studies = {row.id: row for row in (*_NEWEST_UNMATCHED.all(conn, {}), *older)}
        found = [row for row in studies.values() if _is_news(row, find(conn, _evidence(conn, row)))]
    linked = 0
    for row in found:
        if database.write(lambda session, row=row: _consider_again(session, row)):  # type: ignore[misc]
            log.info("archive.linked_later", study_instance_uid=row.study_instance_uid)
            linked += 1
    return linked


def _is_news(study: Any, found: Found) -> bool:
    return found.match is not None or (found.patient is not None and study.patient is None)


def _consider_again(session: Session, row: Any) -> bool:
    conn = session.connection()
    return consider(conn, row.id, _evidence(conn, row)) is not None


def _evidence(conn: Connection, row: Any) -> Evidence:
    requests: Sequence[Any] = _REQUESTS.all(conn, {"study": row.id})
    return Evidence(
        study_instance_uid=row.study_instance_uid,
        accession_number=following.said(row)["accession_number"],
        person=following.person_said(row),
        requests=tuple(item for series in requests for item in series.request)[:_MOST_SERIES],
    )
