"""Patients as rows: found by identifier and issuer, created, updated.

A merged patient's row stays as an alias that points to its survivor (the rules are in
`mwl.patients`). What still names it is the survivor's, but tells of nobody but the alias: so
the alias is as it would be without the merge, should that be undone.

Every function here expects `locks.take` to have been called for the patient, so that two
connections never create the same one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from sqlalchemy import Connection, bindparam, case, select
from sqlmodel import Session

from mwl import sightings
from mwl.archive import following
from mwl.db import Insertion, Prepared, Reply, rewriting
from mwl.db.tables import Patient, PatientMerge
from mwl.errors import Fault, Reason, Rejected
from mwl.names import words_key
from mwl.patients import (
    Identifier,
    PatientChange,
    PatientUpdate,
    is_placeholder,
    is_someone_else,
    name_key,
)
from mwl.worklist import visits
from mwl.worklist.changed import Changes, join, note, note_new
from mwl.worklist.locks import patient_key, take
from mwl.worklist.outcome import Applied, Outcome

Row = dict[str, Any]

_TABLE = Patient.__table__  # type: ignore[attr-defined]
_MERGE = PatientMerge.__table__  # type: ignore[attr-defined]
_MOST_ISSUERS = 20  # who gave somebody the same number
_BY_ID = Prepared(
    select(_TABLE)
    .where(_TABLE.c.patient_id == bindparam("patient_id"))
    .order_by(case((_TABLE.c.issuer_key == bindparam("issuer_key"), 0), else_=1), _TABLE.c.id)
    .limit(_MOST_ISSUERS)
)
_BY_ROW = Prepared(select(_TABLE).where(_TABLE.c.id == bindparam("row")))
_INSERT = Insertion(_TABLE, other_ids=[], former_names=[], visits={})
# A merge is no demographics: nothing but a merge writes `merged_into`.
_UPDATE = rewriting(_TABLE, "created_at", "merged_into")
_MERGED_AT = Prepared(
    select(_MERGE.c.stated_at)
    .where(
        _MERGE.c.loser == bindparam("loser"),
        _MERGE.c.source == bindparam("source"),
        _MERGE.c.ended_at.is_(None),
    )
    .limit(1)
)

DESCRIBED = (
    *("patient_name", "name_key", "name_words", "birth_date", "sex", "mother_name", "address"),
    *("phone", "language", "medical_alerts", "allergies", "ethnic_group", "comments"),
)
# A trail longer than this is no history of merges but a loop that somebody made by hand.
_LONGEST_TRAIL = 64
_MOST_NAMES = 16  # former ones that are remembered
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Resolved:
    """The patient whom an identifier leads to, and what is new.

    `stated` is the row of the identifier itself: another one where a merge led on from it.
    `visits` are the patient's (`mwl.worklist.visits`).
    """

    row: int
    stated: int
    stale: bool = False
    changes: Changes = field(default_factory=dict)
    flags: Sequence[str] = ()
    visits: Mapping[str, Any] = field(default_factory=dict)

    @property
    def alias(self) -> bool:
        """Whether a merge led to the patient."""
        return self.row != self.stated


def issuer_text(identifier: Identifier) -> str:
    """Write an issuer as `namespace^universal ID^type`, trailing carets cut."""
    _, namespace, universal_id, universal_type = identifier
    if not universal_id and not universal_type:
        return namespace.rstrip("^")
    return f"{namespace}^{universal_id}^{universal_type}".rstrip("^")


def ask(conn: Connection, identifier: Identifier) -> Reply:
    """Ask for the patient of an identifier, without waiting for the answer."""
    key = {"patient_id": identifier.id, "issuer_key": identifier.issuer_key}
    return _BY_ID.send(conn, key)


def find(conn: Connection, identifier: Identifier) -> Row | None:
    """Find the patient of an identifier, or the alias that it is."""
    return _chosen(ask(conn, identifier), identifier)


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
    row = _chosen(asked, change.id)
    changes: Changes = {}
    if row is None:
        created = create(conn, source, change, at, now)
        note_new(changes, "patient", created)
        return Resolved(created, created, changes=changes)
    if row["merged_into"] is not None:
        return _through_alias(conn, row, source, change, at, now)
    stated = stated_of(change)
    stale = _is_older(row, source, at)
    flags = _judge(conn, row, stated, change, stale=stale)
    if stale:
        return Resolved(row["id"], row["id"], stale=True, visits=row["visits"])
    stated |= _fuller_issuer(row, change.id)
    save(conn, row, {**stated, "applied_at": heard(row["applied_at"], source, at)}, now)
    note(changes, "patient", row, stated)
    return Resolved(row["id"], row["id"], False, changes, flags, row["visits"])


def _through_alias(  # noqa: PLR0913 - as resolve
    conn: Connection,
    row: Row,
    source: str,
    change: PatientChange,
    at: datetime | None,
    now: datetime,
) -> Resolved:
    """Lead to the survivor, whose demographics stay; what is said, is said of the alias."""
    survivor = follow(conn, row)
    stated = stated_of(change)
    if not _contradicts(row, stated):
        if not _is_older(row, source, at):
            save(conn, row, {**stated, "applied_at": heard(row["applied_at"], source, at)}, now)
    elif _contradicts(survivor, stated) and not change.confirmed:
        raise _someone_else(change.where)
    return Resolved(survivor["id"], row["id"], visits={**row["visits"], **survivor["visits"]})


def update_patient(
    session: Session, change: PatientUpdate, *, now: datetime, zone: tzinfo = UTC
) -> Applied:
    """Apply new demographics (ADT^A08), and what is said of a visit; `zone` is the site's.

    An unknown patient is kept for the orders to come. Raises Rejected: UNKNOWN_KEY for an
    identifier that was merged away, OTHER_PATIENT.
    """
    conn = session.connection()
    key = patient_key(change.patient.id)
    take(conn, key)
    asked = ask(conn, change.patient.id)
    found = resolve(conn, asked, change.source, change.patient, change.at, now)
    if found.alias and not _is_before_merge(conn, found.stated, change):
        raise Rejected(
            Fault(
                Reason.UNKNOWN_KEY,
                change.patient.where,
                "this identifier was merged into another patient; update the survivor",
            )
        )
    flags = [*change.flags, *found.flags]
    visited = visits.Visited()
    if change.visit is not None:
        visited = visits.state(conn, found.row, change.visit, change.at, now, zone)
        join(found.changes, visited.changes)
    if found.alias:
        flags.append("older than the merge of this identifier: kept with the merged one")
    elif found.stale:
        flags.append("older than the patient's last message: not applied")
    if (found.stale or found.alias) and not visited.changes:
        return Applied(Outcome.STALE, patient=found.row, flags=flags)
    return Applied(Outcome.APPLIED, patient=found.row, flags=flags, changes=found.changes)


def _is_before_merge(conn: Connection, alias: int, change: PatientUpdate) -> bool:
    merged_at = _MERGED_AT.scalar(conn, {"loser": alias, "source": change.source})
    return merged_at is not None and change.at is not None and change.at < merged_at


def _chosen(asked: Reply, identifier: Identifier) -> Row | None:
    """Choose the row of an identifier: under its issuer's name, else under another one."""
    rows = asked.all()
    if not rows:
        return None
    if rows[0].issuer_key != identifier.issuer_key:
        rows = [row for row in rows if identifier.authority & authority(row.issuer)]
    return rows[0]._asdict() if rows else None


def authority(issuer: str) -> frozenset[str]:
    """Tell the names of an issuer, as `issuer_text` writes it."""
    return frozenset(filter(None, issuer.split("^")[:2]))


def _fuller_issuer(row: Row, identifier: Identifier) -> Row:
    """Learn an issuer's other name."""
    known = authority(row["issuer"])
    if identifier.authority <= known:
        return {}
    namespace, universal_id, kind = [*row["issuer"].split("^"), "", "", ""][:3]
    both = Identifier(
        "",
        identifier.namespace or namespace,
        identifier.universal_id or universal_id,
        identifier.universal_type or kind,
    )
    return {"issuer": issuer_text(both), "issuer_key": both.issuer_key}


def one(conn: Connection, row: int) -> Row:
    """Read a patient's row."""
    found: Row = _BY_ROW.first(conn, {"row": row})._asdict()
    return found


def follow(conn: Connection, row: Row) -> Row:
    """Follow the trail of aliases to the survivor."""
    for _ in range(_LONGEST_TRAIL):
        if row["merged_into"] is None:
            return row
        row = one(conn, row["merged_into"])
    raise Rejected(Fault(Reason.INTERNAL, "PID-3", "the merges of this patient form a loop"))


def create(
    conn: Connection, source: str, change: PatientChange, at: datetime | None, now: datetime
) -> int:
    """Make a patient's row."""
    values = {
        **stated_of(change),
        "patient_id": change.id.id,
        "issuer_key": change.id.issuer_key,
        "issuer": issuer_text(change.id),
        "applied_at": heard({}, source, at),
        "created_at": now,
        "updated_at": now,
    }
    return _INSERT.send(conn, values)


def save(conn: Connection, row: Row, stated: Row, now: datetime) -> None:
    """Write what is new of a patient; studies follow."""
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


def stated_of(change: PatientChange) -> dict[str, Any]:
    """Give the columns that a message states."""
    stated: dict[str, Any] = {name: value or "" for name, value in change.fields.items()}
    if "patient_name" in stated:
        stated["name_key"] = name_key(stated["patient_name"])
        stated["name_words"] = words_key(stated["patient_name"])
    if change.others is not None:
        stated["other_ids"] = [[o.id, issuer_text(o), kind] for o, kind in change.others]
    return stated


def _contradicts(row: Row, stated: Row) -> bool:
    name, birth_date = stated.get("patient_name", ""), stated.get("birth_date", "")
    return is_someone_else(row["patient_name"], row["birth_date"], name, birth_date)


def _judge(
    conn: Connection, row: Row, stated: Row, change: PatientChange, *, stale: bool
) -> list[str]:
    """Tell what a person should know of another name and birth date; refuse somebody else's.

    What is `stale`, and not applied, may be from before the patient had the present name.
    """
    if not _contradicts(row, stated):
        return []
    if stale and (
        is_placeholder(stated["patient_name"], change.unknown_names)
        or stated["name_key"] in row["former_names"]
    ):
        return []
    if change.confirmed:
        found = "another name and birth date: taken, as a person confirmed"
    elif is_placeholder(row["patient_name"], change.unknown_names) and not is_placeholder(
        stated["patient_name"], change.unknown_names
    ):
        found = "a patient who was unknown is identified"
    else:
        raise _someone_else(change.where)
    if stale:
        return []
    shown = ", ".join(sightings.shown_to(conn, row["id"]))
    return [found, *([f"shown the former name: {shown}"] if shown else [])]


def refuse_another(row: Row, holder: Row, change: PatientChange) -> None:
    """Raise Rejected (OTHER_PATIENT) where who has a number can't be the patient in `row`.

    Unless that one was nobody yet, or a person confirmed the `change`.
    """
    nobody = is_placeholder(row["patient_name"], change.unknown_names)
    if _contradicts(holder, row) and not nobody and not change.confirmed:
        raise _someone_else(change.where)


def _someone_else(where: str) -> Rejected:
    return Rejected(
        Fault(
            Reason.OTHER_PATIENT,
            where,
            "this identifier is known with another name and birth date; "
            "merge or correct the patient first",
        )
    )


def _is_older(row: Row, source: str, at: datetime | None) -> bool:
    last = row["applied_at"].get(source)
    return at is not None and last is not None and micros(at) < last


def same(first: Identifier, other: Identifier) -> bool:
    """Tell whether two identifiers are one: of one issuer, by whichever of its names."""
    if first.id != other.id:
        return False
    return first.issuer_key == other.issuer_key or bool(first.authority & other.authority)


def heard(applied: dict[str, int], source: str, at: datetime | None) -> dict[str, int]:
    """Move the mark of a source."""
    # Equal or missing times go by arrival; a missing one doesn't move the mark.
    return dict(applied) if at is None else {**applied, source: micros(at)}


def micros(at: datetime) -> int:
    """Write an instant as whole microseconds since 1970."""
    return (at - _EPOCH) // timedelta(microseconds=1)
