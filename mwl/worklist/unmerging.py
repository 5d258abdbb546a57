"""Take a merge back, because a person says that these are two patients after all.

The rules that this module bears:

1. What was the loser's goes back: the orders, studies and reports that the merge moved, and what
   came later under the loser's number. What the survivor had, and what came under the survivor's
   number, stays. MPPS and the worklist follow their orders. Studies and reports without an
   order go by whom they name; in doubt, they are nobody's (`mwl.archive.splitting`).
2. The loser is as it would be without the merge: what later messages said of its number was kept
   with it. A survivor that the merge itself made (ADT^A47), and of whom nothing was heard since,
   is emptied: whoever gets that number is somebody else.
3. Merges are undone from the last one back: not while the survivor is an alias itself. What was
   merged into the loser stays with it.
4. A merge that was undone is not made again by a message as old as it, only by a newer one.
5. Images that came as the survivor's, in what is the loser's study now, contradict it: they go
   out as they came, and are shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Select, bindparam, func, select, update
from sqlmodel import Session

from mwl import sightings
from mwl.archive import reconsidering, splitting
from mwl.archive.splitting import Side
from mwl.db import Prepared
from mwl.db.tables import ImagingOrder, Patient, PatientMerge, Report, Study
from mwl.errors import Fault, Reason, Rejected
from mwl.patients import root
from mwl.studies import Person
from mwl.worklist import demographics
from mwl.worklist.locks import take_merges
from mwl.worklist.merging import Family

Row = dict[str, Any]

_MOST: Final = 5_000  # orders, or studies, of the patients that are told apart
_WHERE: Final = ""
_LONGEST_NAME: Final = 256

_PATIENT = Patient.__table__  # type: ignore[attr-defined]
_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_MERGE = PatientMerge.__table__  # type: ignore[attr-defined]
_STUDY = Study.__table__  # type: ignore[attr-defined]
_REPORT = Report.__table__  # type: ignore[attr-defined]

_GIVE_BACK = Prepared(
    update(_ORDER)
    .where(
        _ORDER.c.patient == bindparam("survivor"), _ORDER.c.stated_patient == bindparam("stated")
    )
    .values(patient=bindparam("loser"), updated_at=bindparam("now"))
)
_REPORTS_FOLLOW = Prepared(
    update(_REPORT)
    .where(_REPORT.c.patient == bindparam("survivor"), _REPORT.c.imaging_order.is_not(None))
    .values(
        patient=select(_ORDER.c.patient)
        .where(_ORDER.c.id == _REPORT.c.imaging_order)
        .scalar_subquery()
    )
)
_REPORTS = Prepared(
    select(
        *(_REPORT.c[name] for name in ("id", "patient_id", "issuer", "patient_name", "birth_date"))
    ).where(_REPORT.c.patient == bindparam("survivor"), _REPORT.c.imaging_order.is_(None))
)
_GIVE_REPORT = Prepared(
    update(_REPORT).where(_REPORT.c.id == bindparam("row")).values(patient=bindparam("whose"))
)
_FORGET_NAMES = Prepared(
    update(_PATIENT)
    .where(_PATIENT.c.id == bindparam("row"))
    .values(former_names=bindparam("none", type_=_PATIENT.c.former_names.type))
)
_VISIT_BACK = Prepared(
    update(_ORDER)
    .where(_ORDER.c.id == bindparam("row"), _ORDER.c.patient == bindparam("loser"))
    .values(admission_id=bindparam("number"), admission_issuer=bindparam("issuer"))
)


@dataclass(frozen=True, slots=True)
class Unmerged:
    """What a merge was taken back for: rows of patients, and how much went back."""

    merge: int
    loser: int
    survivor: int
    orders: int
    studies: int
    flags: Sequence[str] = ()


def unmerge(session: Session, merge: int, *, by: str, now: datetime) -> Unmerged:
    """Take merge number `merge` back, on behalf of the person `by`.

    Raises Rejected: UNKNOWN_KEY, or FINAL where it was undone before, the survivor has been
    merged on, or the patients have too much for one transaction.
    """
    conn = session.connection()
    take_merges(conn)
    record = _record(conn, merge)
    family = Family.of(conn, [record["loser"]])
    _check(family, record)
    loser, survivor = record["loser"], record["survivor"]
    parents = {row: into for row, into in family.parents.items() if row != loser}
    theirs = [row for row in family.patients if root(parents, row) == loser]
    _refuse_too_much(conn, survivor)
    shown = sightings.shown_to(conn, survivor)
    conn.execute(
        update(_PATIENT).where(_PATIENT.c.id == loser).values(merged_into=None, updated_at=now)
    )
    orders = _give_orders_back(conn, record, theirs, now)
    studies = _give_the_rest_back(conn, family, record, theirs)
    if record["renumbered"]:
        _empty(conn, record, now)
    ended = {"ended_at": now, "ended_by": by[:_LONGEST_NAME]}
    conn.execute(update(_MERGE).where(_MERGE.c.id == merge).values(**ended))
    flags = [f"scanners that were shown this patient's work: {', '.join(shown)}"] if shown else []
    return Unmerged(merge, loser, survivor, orders, studies, flags)


def told(done: Unmerged) -> tuple[str, dict[str, Any]]:
    """Give what the audit trail is told: the patient who got back what is theirs, and how much."""
    detail = {"merge": done.merge, "survivor": done.survivor}
    return f"patient:{done.loser}", {**detail, "orders": done.orders, "studies": done.studies}


def _record(conn: Connection, merge: int) -> Row:
    found = conn.execute(select(_MERGE).where(_MERGE.c.id == merge).with_for_update())
    row = found.mappings().first()
    if row is None:
        raise Rejected(Fault(Reason.UNKNOWN_KEY, _WHERE, "there is no such merge"))
    if row["ended_at"] is not None:
        text = f"this merge is in force no longer: {row['ended_by']} ended it"
        raise Rejected(Fault(Reason.FINAL, _WHERE, text))
    return dict(row)


def _check(family: Family, record: Row) -> None:
    survivor = family.patients[record["survivor"]]
    if survivor["merged_into"] is not None:
        text = "the survivor was merged into another patient: undo that merge first"
        raise Rejected(Fault(Reason.FINAL, _WHERE, text))
    if family.patients[record["loser"]]["merged_into"] != record["survivor"]:
        text = "what this merge did is not so any more: the patients were changed otherwise"
        raise Rejected(Fault(Reason.FINAL, _WHERE, text))


def _refuse_too_much(conn: Connection, survivor: int) -> None:
    for table in (_ORDER, _STUDY):
        few: Select[Any] = select(table.c.id).where(table.c.patient == survivor).limit(_MOST + 1)
        if (conn.scalar(select(func.count()).select_from(few.subquery())) or 0) > _MOST:
            text = f"more than {_MOST} orders or studies: too much to be told apart at once"
            raise Rejected(Fault(Reason.FINAL, _WHERE, text))


def _give_orders_back(conn: Connection, record: Row, theirs: list[int], now: datetime) -> int:
    loser, survivor = record["loser"], record["survivor"]
    moved = 0
    for stated in theirs:
        values = {"survivor": survivor, "stated": stated, "loser": loser, "now": now}
        moved += _GIVE_BACK.run(conn, values)
    for row, number, issuer in record["visits"]:
        _VISIT_BACK.send(
            conn, {"row": row, "loser": loser, "number": number, "issuer": issuer or ""}
        )
    return moved


def _give_the_rest_back(conn: Connection, family: Family, record: Row, theirs: list[int]) -> int:
    """Give studies and reports back; tell how many studies."""
    rows = family.patients
    loser = Side(record["loser"], [rows[row] for row in theirs])
    survivor = Side(record["survivor"], [rows[row] for row in rows if row not in theirs])
    _give_reports_back(conn, loser, survivor)
    moved = splitting.split(conn, loser, survivor)
    for side in (loser, survivor):
        reconsidering.reconsider(conn, side.patient)
    return moved


def _give_reports_back(conn: Connection, loser: Side, survivor: Side) -> None:
    _REPORTS_FOLLOW.send(conn, {"survivor": survivor.patient})
    for row in _REPORTS.all(conn, {"survivor": survivor.patient}):
        issuers = demographics.authority(row.issuer)
        said = Person(row.patient_id, "", row.patient_name, row.birth_date)
        found = splitting.whose(said, issuers, loser, survivor)
        if found != survivor.patient:
            _GIVE_REPORT.send(conn, {"row": row.id, "whose": found})


def _empty(conn: Connection, record: Row, now: datetime) -> None:
    """Forget what a merge said of the number that it made, if nobody else has said anything."""
    survivor = demographics.one(conn, record["survivor"])
    heard = {record["source"]: demographics.micros(record["stated_at"])}
    if survivor["applied_at"] in ({}, heard) and not _has_orders(conn, survivor["id"]):
        blank: Row = dict.fromkeys(demographics.DESCRIBED, "")
        demographics.save(conn, survivor, {**blank, "other_ids": [], "visits": {}}, now)
        _FORGET_NAMES.send(conn, {"row": survivor["id"], "none": []})


def _has_orders(conn: Connection, patient: int) -> bool:
    statement = select(_ORDER.c.id).where(_ORDER.c.patient == patient).limit(1)
    return conn.execute(statement).first() is not None
