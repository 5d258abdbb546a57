"""Two numbers, one patient: merges (ADT^A40, A34, A36) and changes of identifier (A47).

A merge makes the prior patient an alias of the survivor, who gets its orders, its studies and
its reports in the same transaction; the worklist and MPPS follow, as they ask for an order's
patient. `patient_merge` keeps what moved, so that a person can undo it (`unmerging`).

Merges count by when they were made (`mwl.patients.trail`): one that comes late may make another
of the same patients the survivor. What is left of a later one then says nothing new, and ends.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, func, select, update
from sqlmodel import Session

from mwl import audit
from mwl.archive import following
from mwl.audit import Action, Actor, Event
from mwl.db import Insertion, Prepared
from mwl.db.tables import (
    ImagingOrder,
    Patient,
    PatientMerge,
    PerformedLink,
    Report,
    RequestedProcedure,
    ScheduledStep,
    Study,
)
from mwl.errors import Fault, Reason, Rejected
from mwl.patients import MergeStated, PatientChange, root, trail
from mwl.patients import PatientMerge as Merge
from mwl.worklist import demographics, visits
from mwl.worklist.changed import CREATED, Changes, join, kept
from mwl.worklist.locks import take_merges
from mwl.worklist.outcome import Applied, Outcome

Row = dict[str, Any]

SUPERSEDED: Final = "an older merge"
_MOST_MOVED: Final = 1_000  # rows of a kind that an undo record names
_MOST_ALIASES: Final = 500  # of one patient
_NEWEST: Final = 1 << 62  # comes after every merge that is on file

_PATIENT = Patient.__table__  # type: ignore[attr-defined]
_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_MERGE = PatientMerge.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]
_STUDY = Study.__table__  # type: ignore[attr-defined]
_REPORT = Report.__table__  # type: ignore[attr-defined]
_LINK = PerformedLink.__table__  # type: ignore[attr-defined]

_INSERT = Insertion(_MERGE)
_LEAD = Prepared(
    update(_PATIENT)
    .where(_PATIENT.c.id == bindparam("row"))
    .values(merged_into=bindparam("into"), updated_at=bindparam("now"))
)
_MOVE_ORDERS = Prepared(
    update(_ORDER)
    .where(_ORDER.c.patient == bindparam("loser"))
    .values(patient=bindparam("survivor"), updated_at=bindparam("now"))
)
_MOVE_REPORTS = Prepared(
    update(_REPORT)
    .where(_REPORT.c.patient == bindparam("loser"))
    .values(patient=bindparam("survivor"))
)
_END = Prepared(
    update(_MERGE)
    .where(_MERGE.c.id == bindparam("row"))
    .values(ended_at=bindparam("now"), ended_by=bindparam("by"))
)
_RENUMBER_VISIT = Prepared(
    update(_ORDER)
    .where(_ORDER.c.id == bindparam("row"))
    .values(admission_id=bindparam("number"), admission_issuer=bindparam("issuer"))
)


def merge_patients(session: Session, merge: Merge, *, now: datetime, zone: tzinfo = UTC) -> Applied:
    """Make `merge.prior` an alias of `merge.patient`, who gets its orders and its studies.

    A survivor who was not known is the same patient under a new number (ADT^A47). `zone` is
    the site's, by whose days patients arrive. Chains, repeats and inverse merges end at one
    survivor. Raises Rejected where MRG-1 and PID-3 name the same patient, or PID-3 somebody
    else than is on file.
    """
    if demographics.same(merge.prior, merge.patient.id):
        raise _same_patient()
    conn = session.connection()
    take_merges(conn)
    holder = demographics.find(conn, merge.patient.id) if merge.renumbers else None
    asked = demographics.ask(conn, merge.patient.id)
    found = demographics.resolve(conn, asked, merge.source, merge.patient, merge.at, now)
    changes, flags = found.changes, [*merge.flags, *found.flags]
    prior, is_known = _prior(conn, merge, now)
    if prior == found.stated:
        raise _same_patient()
    if not is_known:
        flags.append("the prior patient was not known here")
    family = Family.of(conn, [prior, found.stated])
    stated = MergeStated(merge.at or now, now, _NEWEST, prior, found.stated)
    if merge.at is not None and _was_undone(conn, stated):
        flags.append("a person has undone this merge: a newer message would make it again")
        return Applied(Outcome.NOTED, patient=found.row, flags=flags, changes=changes)
    parents, losers = trail([*family.merges, stated], family.legacy)
    loser = losers.get(stated)
    if loser is None:
        flags.append("these were merged before")
        return Applied(Outcome.NOTED, patient=found.row, flags=flags, changes=changes)
    is_new = changes.get(f"patient:{found.stated}") == CREATED
    if holder is not None:
        # As both were before this message told them anything.
        subject = family.patients[root(family.parents, prior)]
        demographics.refuse_another(subject, demographics.follow(conn, holder), merge.patient)
    record = _recorded(conn, merge, stated, loser, family, now, renumbered=is_new and is_known)
    survivor = _rearrange(conn, family, parents, now, changes)
    told = {key: each for row in family.patients.values() for key, each in row["visits"].items()}
    join(changes, visits.catch_up(conn, survivor, told, now, zone))
    _end_superseded(conn, family, losers, now)
    if is_new and is_known:
        _inherit(conn, family.patients[loser], found.stated, merge.patient, now)
    detail = {"prior": merge.prior.id, "message": merge.control_id, "merge": record}
    event = Event(Action.MERGE, f"patient:{survivor}", detail)
    audit.record(session, Actor(merge.source, "hl7"), event, now=now)
    return Applied(Outcome.APPLIED, patient=survivor, flags=flags, changes=changes)


def _same_patient() -> Rejected:
    return Rejected(Fault(Reason.MALFORMED, "MRG-1", "names the same patient as PID-3"))


def _prior(conn: Connection, merge: Merge, now: datetime) -> tuple[int, bool]:
    """Find whom MRG-1 names; kept if unknown, so that what still names it finds the survivor."""
    row = demographics.find(conn, merge.prior)
    if row is not None:
        return row["id"], True
    unknown = PatientChange(merge.prior)
    return demographics.create(conn, merge.source, unknown, None, now), False


class Family(NamedTuple):
    """Some patients with all their aliases, and the merges among them that are in force.

    `legacy` are aliases that no record tells of.
    """

    patients: dict[int, Row]
    merges: list[MergeStated]
    losers: dict[int, int]  # by record
    legacy: dict[int, int]

    @property
    def parents(self) -> dict[int, int]:
        """Whose alias each one is now."""
        rows = self.patients.values()
        return {row["id"]: row["merged_into"] for row in rows if row["merged_into"] is not None}

    @classmethod
    def of(cls, conn: Connection, rows: Sequence[int]) -> "Family":
        """Read the family of some patients, by row. Raises Rejected where it has no end."""
        patients: dict[int, Row] = {}
        latest = list(rows)
        while latest:
            statement = select(_PATIENT).where(
                _PATIENT.c.id.in_(latest) | _PATIENT.c.merged_into.in_(latest)
            )
            new = [dict(row) for row in conn.execute(statement.limit(_MOST_ALIASES)).mappings()]
            new = [row for row in new if row["id"] not in patients]
            patients |= {row["id"]: row for row in new}
            if len(patients) >= _MOST_ALIASES:
                text = f"this patient has had {_MOST_ALIASES} numbers or more"
                raise Rejected(Fault(Reason.INTERNAL, "PID-3", text))
            found = [row["id"] for row in new]
            found += [row["merged_into"] for row in new if row["merged_into"] not in patients]
            latest = [row for row in found if row is not None]
        return cls._with_merges(conn, patients)

    @classmethod
    def _with_merges(cls, conn: Connection, patients: dict[int, Row]) -> "Family":
        in_force = select(_MERGE).where(_MERGE.c.loser.in_(patients), _MERGE.c.ended_at.is_(None))
        records = conn.execute(in_force.order_by(_MERGE.c.id)).all()
        merges = [
            MergeStated(row.stated_at, row.applied_at, row.id, row.prior, row.survivor)
            for row in records
        ]
        losers = {row.id: row.loser for row in records}
        legacy = {
            row["id"]: row["merged_into"]
            for row in patients.values()
            if row["merged_into"] is not None and row["id"] not in losers.values()
        }
        return cls(patients, merges, losers, legacy)


def _was_undone(conn: Connection, stated: MergeStated) -> bool:
    """Tell whether a person undid this merge, or a newer one of the same two."""
    statement = select(_MERGE.c.id).where(
        _MERGE.c.prior.in_([stated.prior, stated.survivor]),
        _MERGE.c.survivor.in_([stated.prior, stated.survivor]),
        _MERGE.c.ended_at.is_not(None),
        _MERGE.c.ended_by != SUPERSEDED,
        _MERGE.c.stated_at >= stated.at,
    )
    return conn.execute(statement.limit(1)).first() is not None


# ---- what moves


def _rearrange(
    conn: Connection, family: Family, parents: dict[int, int], now: datetime, changes: Changes
) -> int:
    """Let aliases lead where they should, and what is theirs along; give the survivor."""
    before = family.parents
    for row in family.patients:
        if before.get(row) != parents.get(row):
            _LEAD.send(conn, {"row": row, "into": parents.get(row), "now": now})
            changes[f"patient:{row}"] = {"merged_into": [before.get(row), parents.get(row)]}
    survivors = {root(parents, row) for row in family.patients}
    (survivor,) = survivors
    for row in {root(before, row) for row in family.patients} - survivors:
        moved = {"loser": row, "survivor": survivor, "now": now}
        _MOVE_ORDERS.send(conn, moved)
        _MOVE_REPORTS.send(conn, moved)
        following.follow_merge(conn, row, survivor)
    return survivor


def _end_superseded(
    conn: Connection, family: Family, losers: dict[MergeStated, int], now: datetime
) -> None:
    """End the merges that say nothing new any more; correct whom the others made an alias."""
    for each in family.merges:
        loser = losers.get(each)
        if loser is None:
            _END.send(conn, {"row": each.number, "now": now, "by": SUPERSEDED})
        elif loser != family.losers[each.number]:
            conn.execute(update(_MERGE).where(_MERGE.c.id == each.number).values(loser=loser))


def _recorded(  # noqa: PLR0913 - a row, and what it is made of
    conn: Connection,
    merge: Merge,
    stated: MergeStated,
    loser: int,
    family: Family,
    now: datetime,
    *,
    renumbered: bool,
) -> int:
    """Keep what undoes a merge."""
    old = root(family.parents, stated.prior)
    moved, counts = _belongings(conn, old)
    row = family.patients[loser]
    values = {
        "loser": loser,
        "survivor": stated.survivor,
        "prior": stated.prior,
        "source": merge.source,
        "control_id": merge.control_id,
        "stated_at": stated.at,
        "applied_at": now,
        "renumbered": renumbered,
        "moved": moved,
        "counts": counts,
        "visits": _renumber_visits(conn, merge, old),
        "former": {name: kept(row[name]) for name in _FORMER if row[name]},
        "ended_at": None,
    }
    return _INSERT.send(conn, values)


_FORMER = ("patient_name", "birth_date", "sex", "mother_name", "address", "phone", "language")


def _belongings(conn: Connection, patient: int) -> tuple[dict[str, list[Any]], dict[str, int]]:
    """Tell what is a patient's: rows, and how many there are of each kind."""
    mpps = (
        select(_LINK.c.performed_step)
        .distinct()
        .join(_STEP, _LINK.c.scheduled_step == _STEP.c.id)
        .join(_PROCEDURE, _STEP.c.procedure == _PROCEDURE.c.id)
        .join(_ORDER, _PROCEDURE.c.imaging_order == _ORDER.c.id)
        .where(_ORDER.c.patient == patient)
    )
    kinds = {
        "orders": select(_ORDER.c.id).where(_ORDER.c.patient == patient),
        "studies": select(_STUDY.c.id).where(_STUDY.c.patient == patient),
        "mpps": mpps,
    }
    moved, counts = {}, {}
    for kind, rows in kinds.items():
        numbers = list(
            conn.execute(rows.order_by(*rows.selected_columns).limit(_MOST_MOVED)).scalars()
        )
        moved[kind] = numbers
        counts[kind] = len(numbers)
        if len(numbers) == _MOST_MOVED:
            counts[kind] = conn.scalar(select(func.count()).select_from(rows.subquery())) or 0
    return moved, counts


def _renumber_visits(conn: Connection, merge: Merge, patient: int) -> list[Any]:
    """Give the prior patient's visit its new number (ADT^A36: MRG-3, PID-18)."""
    if merge.prior_visit is None or merge.visit is None:
        return []
    statement = select(_ORDER.c.id, _ORDER.c.admission_id, _ORDER.c.admission_issuer).where(
        _ORDER.c.patient == patient, _ORDER.c.admission_id == merge.prior_visit.id
    )
    found = conn.execute(statement.order_by(_ORDER.c.id).limit(_MOST_MOVED)).all()
    issuer = demographics.issuer_text(merge.visit)
    for row in found:
        _RENUMBER_VISIT.send(conn, {"row": row.id, "number": merge.visit.id, "issuer": issuer})
    return [list(row) for row in found]


def _inherit(
    conn: Connection, loser: Row, survivor: int, stated: PatientChange, now: datetime
) -> None:
    """Keep what is known of a patient whose number is a new one (ADT^A47), if not restated."""
    row = demographics.one(conn, survivor)
    said = demographics.stated_of(stated)
    known = {
        name: loser[name]
        for name in (*demographics.DESCRIBED, "other_ids", "visits")
        if name not in said and not row[name]
    }
    demographics.save(conn, row, known, now)


__all__ = ["SUPERSEDED", "Family", "merge_patients"]
