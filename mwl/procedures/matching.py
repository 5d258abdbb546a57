"""Which scheduled steps an MPPS carries out.

By what the worklist gave the scanner: the Study Instance UID and SPS ID of each item of
(0040,0270), several items meaning several steps. Those find their step whoever the patient
is said to be, for the step is what the scanner had in hand; another patient is flagged on
both sides, and so is what tells that the scanner's copy was old. An item that finds none goes
by its accession number, and one that names neither step nor accession number by its study alone:
who scans an emergency before its order has neither, and the order takes the study over. Both are
flagged, and only where one order answers, for the same patient, with one step that can be meant.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select

from mwl.db import Prepared, Reply
from mwl.db.tables import (
    ImagingOrder,
    Patient,
    PerformedLink,
    PerformedStep,
    RequestedProcedure,
    ScheduledStep,
)
from mwl.orders import FINAL
from mwl.patients import name_key
from mwl.performed import LinkedBy, Request

_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PATIENT = Patient.__table__  # type: ignore[attr-defined]
_PERFORMED = PerformedStep.__table__  # type: ignore[attr-defined]
_LINK = PerformedLink.__table__  # type: ignore[attr-defined]

_MOST_STEPS = 50  # under one accession number; more than that are no answer
_LONGEST_TRAIL = 64  # of merges; as worklist.demographics has it

_SELECT = (
    select(
        _STEP.c.id,
        _STEP.c.sps_id,
        _STEP.c.state,
        _STEP.c.modality,
        _PROCEDURE.c.imaging_order,
        _PROCEDURE.c.accession_number,
        _PATIENT.c.id.label("patient"),
        _PATIENT.c.patient_id,
        _PATIENT.c.issuer,
        _PATIENT.c.other_ids,
        _PATIENT.c.name_key,
        _PATIENT.c.former_names,
    )
    .select_from(_STEP)
    .join(_PROCEDURE, _STEP.c.procedure == _PROCEDURE.c.id)
    .join(_ORDER, _PROCEDURE.c.imaging_order == _ORDER.c.id)
    .join(_PATIENT, _ORDER.c.patient == _PATIENT.c.id)
)
_BY_STEP = Prepared(
    _SELECT.where(
        _STEP.c.study_instance_uid == bindparam("study"), _STEP.c.sps_id == bindparam("sps")
    )
)
_BY_ACCESSION = Prepared(
    _SELECT.where(_PROCEDURE.c.accession_number == bindparam("accession"))
    .order_by(_STEP.c.id)
    .limit(_MOST_STEPS + 1)
)
_BY_STUDY = Prepared(
    _SELECT.where(_STEP.c.study_instance_uid == bindparam("study"))
    .order_by(_STEP.c.id)
    .limit(_MOST_STEPS + 1)
)
_LINKED = Prepared(
    select(_LINK.c.scheduled_step, _LINK.c.by, _PROCEDURE.c.imaging_order)
    .join(_STEP, _LINK.c.scheduled_step == _STEP.c.id)
    .join(_PROCEDURE, _STEP.c.procedure == _PROCEDURE.c.id)
    .join(_PERFORMED, _LINK.c.performed_step == _PERFORMED.c.id)
    .where(_PERFORMED.c.sop_instance_uid == bindparam("uid"))
    .order_by(_STEP.c.id)
)
_ALIASES = Prepared(
    select(_PATIENT.c.id, _PATIENT.c.merged_into)
    .where(_PATIENT.c.patient_id == bindparam("given"))
    .limit(_MOST_STEPS)
)
_SURVIVOR = Prepared(select(_PATIENT.c.merged_into).where(_PATIENT.c.id == bindparam("row")))

OTHER_PATIENT = "the MPPS names another patient than the order"
FORMER_NAME = "the MPPS has a former name of the patient: the scanner's copy was old"
OTHER_ACCESSION = "the MPPS has another accession number than the order"
BY_ACCESSION = "linked by accession number: the scanner lost the step's identifiers"
BY_STUDY = "linked by its study: the scanner named no step, and no accession number"


@dataclass(frozen=True, slots=True)
class Subject:
    """What an MPPS says that helps to find its steps, beside its requests."""

    patient_id: str
    patient_id_issuer: str
    modality: str
    patient_name: str = ""


class Match(NamedTuple):
    """A scheduled step that an MPPS carries out, its order, and what is odd about it."""

    step: int
    order: int
    by: LinkedBy
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """The steps of an MPPS; `unscheduled` if some request found none."""

    matches: tuple[Match, ...]
    unscheduled: bool
    flags: tuple[str, ...] = ()


def find(conn: Connection, requests: Sequence[Request], subject: Subject) -> Found:
    """Find the step of each request."""
    replies = [
        _BY_STEP.send(conn, {"study": each.study_instance_uid, "sps": each.sps_id})
        for each in requests
    ]
    matches: dict[int, Match] = {}
    flags: list[str] = []
    unscheduled = not requests
    for request, reply in zip(requests, replies, strict=True):
        row = reply.first() if request.sps_id else None
        if row is not None:
            odd = tuple(_odd(conn, request, subject, row))
            matches[row.id] = Match(row.id, row.imaging_order, LinkedBy.STEP, odd)
            continue
        match = _by_number(conn, request, subject, flags)
        if match is None:
            unscheduled = True
        else:
            matches.setdefault(match.step, match)
    return Found(tuple(matches.values()), unscheduled, tuple(flags))


def ask_linked(conn: Connection, uid: str) -> Reply:
    """Ask for the steps that an MPPS is linked with, without waiting for the answer."""
    return _LINKED.send(conn, {"uid": uid})


def linked(asked: Reply) -> list[Match]:
    """List the steps that `ask_linked` has asked for."""
    return [Match(row.scheduled_step, row.imaging_order, LinkedBy(row.by)) for row in asked.all()]


def _by_number(
    conn: Connection, request: Request, subject: Subject, flags: list[str]
) -> Match | None:
    """Find the step of a request by its accession number, else by its study."""
    if request.accession_number:
        what, by, flag = "accession number", LinkedBy.ACCESSION, BY_ACCESSION
        rows = _BY_ACCESSION.all(conn, {"accession": request.accession_number})
    elif request.study_instance_uid and not request.sps_id:
        what, by, flag = "study", LinkedBy.STUDY, BY_STUDY
        rows = _BY_STUDY.all(conn, {"study": request.study_instance_uid})
    else:
        return None
    if not rows:
        return None
    if len({row.imaging_order for row in rows}) > 1 or len(rows) > _MOST_STEPS:
        flags.append(f"several orders have its {what}: link it by hand")
        return None
    if not (subject.patient_id and _may_be(conn, subject, rows[0])):
        flags.append(f"its {what} is an order's of another patient: not linked")
        return None
    likely = _narrowed(rows, request, subject)
    if len(likely) > 1:
        flags.append(f"several steps have its {what}: link it by hand")
        return None
    return Match(likely[0].id, likely[0].imaging_order, by, (flag,))


def _narrowed(rows: Sequence[Any], request: Request, subject: Subject) -> Sequence[Any]:
    """Keep the steps that can be meant: by step ID, by modality, by what is still open."""
    open_ones = [row for row in rows if row.state not in FINAL]
    for fitting in (
        [row for row in rows if request.sps_id and row.sps_id == request.sps_id],
        open_ones,
        [row for row in open_ones or rows if row.modality == subject.modality],
    ):
        rows = [row for row in rows if row in fitting] or rows
    return rows


def _odd(conn: Connection, request: Request, subject: Subject, row: Any) -> Iterator[str]:
    """Tell what an MPPS says otherwise than its step's order: its scanner had an old copy."""
    if not _may_be(conn, subject, row):
        yield OTHER_PATIENT
    elif row.former_names:
        # Scanners write names in their own ways: what the patient was called is no such way.
        key = name_key(subject.patient_name)
        if key != row.name_key and key in row.former_names:
            yield FORMER_NAME
    if request.accession_number not in ("", row.accession_number):
        yield OTHER_ACCESSION


def _may_be(conn: Connection, subject: Subject, row: Any) -> bool:
    """Tell whether the order's patient is whom the MPPS names; nobody contradicts nothing."""
    given = subject.patient_id
    if not given:
        return True
    known = [(row.patient_id, row.issuer), *((each[0], each[1]) for each in row.other_ids)]
    for identifier, issuer in known:
        if identifier == given and _issuers_agree(issuer, subject.patient_id_issuer):
            return True
    return _was_merged(conn, given, row.patient)


def _issuers_agree(one: str, two: str) -> bool:
    first, second = _names(one), _names(two)
    return not first or not second or bool(first & second)


def _names(issuer: str) -> set[str]:
    return set(filter(None, issuer.split("^")[:2]))


def _was_merged(conn: Connection, given: str, patient: int) -> bool:
    """Tell whether an identifier is an alias of `patient`: its list was taken before a merge."""
    return any(
        _leads_to(conn, row.merged_into, patient)
        for row in _ALIASES.all(conn, {"given": given})
        if row.merged_into is not None
    )


def _leads_to(conn: Connection, at: int | None, patient: int) -> bool:
    for _ in range(_LONGEST_TRAIL):
        if at is None or at == patient:
            return at == patient
        at = _SURVIVOR.scalar(conn, {"row": at})
    return False


def flags_of(matches: Iterable[Match]) -> list[str]:
    """List what is odd about any of them."""
    return [flag for match in matches for flag in match.flags]
