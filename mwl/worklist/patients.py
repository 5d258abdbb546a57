"""Patients for people: found by number or name, their merges, and what contradicts them."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, or_, select, text
from sqlmodel import Session

from mwl.db.tables import Message, Patient, PatientMerge
from mwl.errors import Fault, Reason, Rejected
from mwl.patients import name_key

_PATIENT = Patient.__table__  # type: ignore[attr-defined]
_MERGE = PatientMerge.__table__  # type: ignore[attr-defined]
_MESSAGE = Message.__table__  # type: ignore[attr-defined]
_p = _PATIENT.c

_BEHIND_ALL: Final = "\U0010ffff"  # sorts behind every letter
_MOST_MERGES: Final = 200
_LOSER, _SURVIVOR = _PATIENT.alias("loser_row"), _PATIENT.alias("survivor_row")

# What a message is refused with that says another patient's name than is on file, or that an
# order is another patient's.
_SAYS_SO: Final = ("another name and birth date", "this order belongs to another patient")


def search(
    session: Session,
    wanted: str = "",
    *,
    after: int | None = None,
    backwards: bool = False,
    limit: int = 50,
) -> Sequence[Any]:
    """List patients, the newest first; `wanted` is a number, or how a name begins.

    Those after a row of the list, or, `backwards`, right before it.
    """
    statement = select(_PATIENT)
    if wanted:
        statement = statement.where(_is_named(wanted))
    return _page(session, statement, _p.id, after=after, backwards=backwards, limit=limit)


def _is_named(wanted: str) -> ColumnElement[bool]:
    given = wanted.strip()
    family, comma, rest = given.partition(",")
    key = name_key(f"{family.strip()}^{rest.strip()}" if comma else given)
    return or_(_p.patient_id == given, (_p.name_key >= key) & (_p.name_key < key + _BEHIND_ALL))


def _page(  # noqa: PLR0913 - a statement, and which part of its rows
    session: Session,
    statement: Select[Any],
    row: ColumnElement[Any],
    *,
    after: int | None,
    backwards: bool,
    limit: int,
) -> Sequence[Any]:
    if after is not None:
        statement = statement.where(row > after if backwards else row < after)
    statement = statement.order_by(row if backwards else row.desc()).limit(limit)
    found = session.connection().execute(statement).all()
    return found[::-1] if backwards else found


def one(session: Session, patient_id: str, issuer: str = "") -> int:
    """Find a patient by number; its row. Raises Rejected where none, or several, have it."""
    statement = select(_p.id, _p.issuer).where(_p.patient_id == patient_id).order_by(_p.id)
    rows = session.connection().execute(statement.limit(_MOST_MERGES)).all()
    if issuer:
        rows = [row for row in rows if issuer in row.issuer.split("^")[:2]]
    if not rows:
        raise Rejected(Fault(Reason.UNKNOWN_KEY, "", "no patient on file has this number"))
    if len(rows) > 1:
        several = "several issuers gave this number: give --issuer as well"
        raise Rejected(Fault(Reason.DUPLICATE_KEY, "", several))
    return int(rows[0].id)


def merges(
    session: Session,
    patients: Sequence[int] | None = None,
    *,
    after: int | None = None,
    backwards: bool = False,
    limit: int = _MOST_MERGES,
) -> Sequence[Any]:
    """List merges, the newest first, with who was merged into whom; those of some patients."""
    statement = (
        select(
            *(_MERGE.c[name] for name in ("id", "loser", "survivor", "source", "control_id")),
            *(_MERGE.c[name] for name in ("stated_at", "applied_at", "renumbered", "counts")),
            *(_MERGE.c[name] for name in ("former", "ended_at", "ended_by")),
            _LOSER.c.patient_id.label("loser_id"),
            _LOSER.c.issuer.label("loser_issuer"),
            _LOSER.c.patient_name.label("loser_name"),
            _SURVIVOR.c.patient_id.label("survivor_id"),
            _SURVIVOR.c.issuer.label("survivor_issuer"),
            _SURVIVOR.c.patient_name.label("survivor_name"),
            _SURVIVOR.c.merged_into.label("survivor_into"),
        )
        .join(_LOSER, _LOSER.c.id == _MERGE.c.loser)
        .join(_SURVIVOR, _SURVIVOR.c.id == _MERGE.c.survivor)
    )
    if patients is not None:
        statement = statement.where(_MERGE.c.loser.in_(patients) | _MERGE.c.survivor.in_(patients))
    return _page(session, statement, _MERGE.c.id, after=after, backwards=backwards, limit=limit)


def conflicts(
    session: Session, *, after: int | None = None, backwards: bool = False, limit: int = 50
) -> Sequence[Any]:
    """List messages that were refused as another patient's, and not applied since, newest first."""
    columns = ("id", "received_at", "source", "control_id", "type", "error", "patient_id")
    statement = select(*(_MESSAGE.c[name] for name in (*columns, "accession_number"))).where(
        is_conflict()
    )
    row = _MESSAGE.c.id
    return _page(session, statement, row, after=after, backwards=backwards, limit=limit)


def is_conflict() -> ColumnElement[bool]:
    """Give the condition that a message is a conflict which nobody has settled yet."""
    replay = _MESSAGE.alias("replay")
    was_applied = select(replay.c.id).where(
        replay.c.replay_of == _MESSAGE.c.id, text("replay.state <> 'rejected'")
    )
    says_so = " OR ".join(f"message.error LIKE '%{each}%'" for each in _SAYS_SO)
    # Written out as the partial indexes have it, or they would not be used.
    return and_(
        text("message.state = 'rejected' AND message.state <> 'applied'"),
        text(f"({says_so})"),
        _MESSAGE.c.replay_of.is_(None),
        ~was_applied.exists(),
    )


def by_number(session: Session, numbers: Sequence[str]) -> dict[str, list[Any]]:
    """Find who has each of some numbers, whoever gave it."""
    found: dict[str, list[Any]] = {}
    statement = select(_PATIENT).where(_p.patient_id.in_(set(numbers) - {""}))
    for row in session.connection().execute(statement.order_by(_p.id)):
        found.setdefault(row.patient_id, []).append(row)
    return found
