"""Patients as rows: found by identifier and issuer, updated, merged.

A merged patient's row stays as an alias that points to its survivor (REFERENCE in
`mwl.patients`). Every function here expects `locks.take` to have been called for the
patient, so that two connections never create the same one.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, select, update
from sqlmodel import Session

from mwl.archive import following
from mwl.db import Insertion, Prepared, Reply, rewriting
from mwl.db.tables import ImagingOrder, Patient
from mwl.errors import Fault, Reason, Rejected
from mwl.names import words_key
from mwl.patients import (
    Identifier,
    PatientChange,
    PatientMerge,
    PatientUpdate,
    is_someone_else,
    name_key,
)
from mwl.worklist.changed import CREATED, Changes, note, note_new
from mwl.worklist.locks import patient_key, take, take_merges
from mwl.worklist.outcome import Applied, Outcome

Row = dict[str, Any]

_TABLE = Patient.__table__  # type: ignore[attr-defined]
_ORDERS = ImagingOrder.__table__  # type: ignore[attr-defined]
_BY_ID = Prepared(
    select(_TABLE).where(
        _TABLE.c.patient_id == bindparam("patient_id"),
        _TABLE.c.issuer_key == bindparam("issuer_key"),
    )
)
_BY_ROW = Prepared(select(_TABLE).where(_TABLE.c.id == bindparam("row")))
_INSERT = Insertion(_TABLE, other_ids=[], former_names=[], visits={})
# A merge is no demographics: nothing but a merge writes `merged_into`.
_UPDATE = rewriting(_TABLE, "created_at", "merged_into")
_MERGE = Prepared(
    update(_TABLE)
    .where(_TABLE.c.id == bindparam("loser"))
    .values(merged_into=bindparam("survivor"), updated_at=bindparam("now"))
)
_MOVE_ORDERS = Prepared(
    update(_ORDERS)
    .where(_ORDERS.c.patient == bindparam("loser"))
    .values(patient=bindparam("survivor"), updated_at=bindparam("now"))
)

_DESCRIBED = (
    *("patient_name", "name_key", "name_words", "birth_date", "sex", "mother_name", "address"),
    *("phone", "language", "medical_alerts", "allergies", "comments"),
)
# A trail longer than this is no history of merges but a loop that somebody made by hand.
_LONGEST_TRAIL = 64
_MOST_NAMES = 16  # former ones that are remembered
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Resolved:
    """The patient whom an identifier leads to, `alias` if by way of a merge; what is new."""

    row: int
    alias: bool = False
    stale: bool = False
    changes: Changes = field(default_factory=dict)


def issuer_text(identifier: Identifier) -> str:
    """Write an issuer as `namespace^universal ID^type`, trailing carets cut."""
    parts = (identifier.namespace, identifier.universal_id, identifier.universal_type)
    return "^".join(parts).rstrip("^")


def ask(conn: Connection, identifier: Identifier) -> Reply:
    """Ask for the patient of an identifier, without waiting for the answer."""
    key = {"patient_id": identifier.id, "issuer_key": identifier.issuer_key}
    return _BY_ID.send(conn, key)


def resolve(  # noqa: PLR0913 - what was asked, what is stated, and when
    conn: Connection,
    asked: Reply,
    source: str,
    change: PatientChange,
    at: datetime | None,
    now: datetime,
) -> Resolved:
    """Find or create the patient, and apply the demographics if they are news.

    `asked` is `ask()` for the identifier of `change`. Raises Rejected (OTHER_PATIENT) where
    the record says that this is somebody else.
    """
    row = _read(asked)
    changes: Changes = {}
    if row is None:
        created = _create(conn, source, change, at, now)
        note_new(changes, "patient", created)
        return Resolved(created, changes=changes)
    if row["merged_into"] is not None:
        # Never overwrite the survivor's demographics with an alias's.
        return Resolved(_survivor(conn, row)["id"], alias=True)
    stated = _stated(change)
    _refuse_someone_else(row, stated, change.where)
    last = row["applied_at"].get(source)
    if at is not None and last is not None and _micros(at) < last:
        return Resolved(row["id"], stale=True)
    _save(conn, row, {**stated, "applied_at": _heard(row["applied_at"], source, at)}, now)
    note(changes, "patient", row, stated)
    return Resolved(row["id"], changes=changes)


def update_patient(session: Session, change: PatientUpdate, *, now: datetime) -> Applied:
    """Apply new demographics (ADT^A08); an unknown patient is kept for the orders to come.

    Raises Rejected: UNKNOWN_KEY for an identifier that was merged away, OTHER_PATIENT.
    """
    conn = session.connection()
    key = patient_key(change.patient.id)
    take(conn, key)
    asked = ask(conn, change.patient.id)
    found = resolve(conn, asked, change.source, change.patient, change.at, now)
    if found.alias:
        raise Rejected(
            Fault(
                Reason.UNKNOWN_KEY,
                change.patient.where,
                "this identifier was merged into another patient; update the survivor",
            )
        )
    if found.stale:
        flags = [*change.flags, "older than the patient's last message: not applied"]
        return Applied(Outcome.STALE, patient=found.row, flags=flags)
    return Applied(Outcome.APPLIED, patient=found.row, flags=change.flags, changes=found.changes)


def merge_patients(session: Session, merge: PatientMerge, *, now: datetime) -> Applied:
    """Make `merge.prior` an alias of `merge.patient`, who gets its orders and its studies.

    A survivor who was not known is the same patient under a new number (ADT^A47).

    Both sides follow their alias trails first, so chains, repeats and inverse merges end at
    one survivor. Raises Rejected where MRG-1 and PID-3 name the same patient.
    """
    if _same(merge.prior, merge.patient.id):
        raise Rejected(Fault(Reason.MALFORMED, "MRG-1", "names the same patient as PID-3"))
    conn = session.connection()
    take_merges(conn)
    asked = ask(conn, merge.patient.id)
    found = resolve(conn, asked, merge.source, merge.patient, merge.at, now)
    survivor, changes = found.row, found.changes
    prior = _read(ask(conn, merge.prior))
    if prior is None:
        # Unknown until now; kept, so that what still names it finds the survivor.
        unknown = PatientChange(merge.prior)
        alias = _create(conn, merge.source, unknown, merge.at, now, merged_into=survivor)
        changes |= _merged(alias, survivor)
        flags = [*merge.flags, "the prior patient was not known here"]
        return Applied(Outcome.APPLIED, patient=survivor, flags=flags, changes=changes)
    loser = _survivor(conn, prior)
    if loser["id"] == survivor:
        return Applied(
            Outcome.NOTED,
            patient=survivor,
            flags=[*merge.flags, "these were merged before"],
            changes=changes,
        )
    moved = {"loser": loser["id"], "survivor": survivor, "now": now}
    _MERGE.send(conn, moved)
    _MOVE_ORDERS.send(conn, moved)
    if changes.get(f"patient:{survivor}") == CREATED:
        _inherit(conn, loser, survivor, merge.patient, now)
    following.follow_merge(conn, loser["id"], survivor)
    changes |= _merged(loser["id"], survivor)
    return Applied(Outcome.APPLIED, patient=survivor, flags=merge.flags, changes=changes)


def _inherit(
    conn: Connection, loser: Row, survivor: int, stated: PatientChange, now: datetime
) -> None:
    """Keep what is known of a patient whose number is a new one (ADT^A47), if not restated."""
    row = _BY_ROW.first(conn, {"row": survivor})._asdict()
    known = {
        name: loser[name]
        for name in (*_DESCRIBED, "other_ids")
        if name not in _stated(stated) and not row[name]
    }
    _save(conn, row, known, now)


def _merged(loser: int, survivor: int) -> Changes:
    return {f"patient:{loser}": {"merged_into": [None, survivor]}}


def _read(asked: Reply) -> Row | None:
    row = asked.first()
    return None if row is None else row._asdict()


def _survivor(conn: Connection, row: Row) -> Row:
    for _ in range(_LONGEST_TRAIL):
        if row["merged_into"] is None:
            return row
        row = _BY_ROW.first(conn, {"row": row["merged_into"]})._asdict()
    raise Rejected(Fault(Reason.INTERNAL, "PID-3", "the merges of this patient form a loop"))


def _create(  # noqa: PLR0913 - one row, and where it came from
    conn: Connection,
    source: str,
    change: PatientChange,
    at: datetime | None,
    now: datetime,
    *,
    merged_into: int | None = None,
) -> int:
    values = {
        **_stated(change),
        "patient_id": change.id.id,
        "issuer_key": change.id.issuer_key,
        "issuer": issuer_text(change.id),
        "merged_into": merged_into,
        "applied_at": _heard({}, source, at),
        "created_at": now,
        "updated_at": now,
    }
    return _INSERT.send(conn, values)


def _save(conn: Connection, row: Row, stated: Row, now: datetime) -> None:
    if all(row[name] == value for name, value in stated.items()):
        return
    former = {"former_names": _former_names(row, stated)}
    _UPDATE.send(conn, {**row, **stated, **former, "updated_at": now, "row": row["id"]})
    if any(row[name] != stated.get(name, row[name]) for name in following.FOLLOWED):
        following.follow_patient(conn, row["id"])


def _former_names(row: Row, stated: Row) -> list[str]:
    """Tell under which names images may still come."""
    known, old = row["former_names"], row["name_key"]
    if not old or stated.get("name_key", old) == old:
        return list(known)
    return [*(each for each in known if each != old), old][-_MOST_NAMES:]


def _stated(change: PatientChange) -> dict[str, Any]:
    stated: dict[str, Any] = {name: value or "" for name, value in change.fields.items()}
    if "patient_name" in stated:
        stated["name_key"] = name_key(stated["patient_name"])
        stated["name_words"] = words_key(stated["patient_name"])
    if change.others is not None:
        stated["other_ids"] = [[o.id, issuer_text(o), kind] for o, kind in change.others]
    return stated


def _refuse_someone_else(row: Row, stated: Row, where: str) -> None:
    name, birth_date = stated.get("patient_name", ""), stated.get("birth_date", "")
    if is_someone_else(row["patient_name"], row["birth_date"], name, birth_date):
        raise Rejected(
            Fault(
                Reason.OTHER_PATIENT,
                where,
                "this identifier is known with another name and birth date; "
                "merge or correct the patient first",
            )
        )


def _same(one: Identifier, other: Identifier) -> bool:
    return one.id == other.id and one.issuer_key == other.issuer_key


def _heard(applied: dict[str, int], source: str, at: datetime | None) -> dict[str, int]:
    # Equal or missing times go by arrival; a missing one doesn't move the mark.
    return dict(applied) if at is None else {**applied, source: _micros(at)}


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)
