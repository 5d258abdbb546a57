"""Find messages: for the page, for the command line.

A list is ordered by when its messages came, the newest first, and has a page by keyset in
both directions. Whatever narrows it goes by an index. What can be looked up in several
places, a patient by rows and by what refused messages name, is asked for place by place, in
as many small statements, since neither database sorts an OR by an index.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, func, or_, select, text
from sqlmodel import Session

from mwl.db.tables import ImagingOrder, Message, MessageOrder, Patient, RequestedProcedure
from mwl.errors import Fault, Reason, Rejected
from mwl.journal.keeping import State

_TABLE = Message.__table__  # type: ignore[attr-defined]
_FURTHER = MessageOrder.__table__  # type: ignore[attr-defined]
_PATIENT = Patient.__table__  # type: ignore[attr-defined]
_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]

_MOST_TYPES = 100
_MOST_ROWS = 500  # patients of one identifier, orders of one accession number
_MOST_BYTES = 256 * 1024  # of a message that is looked at
# As the partial indexes say it.
_IS_UNAPPLIED = text("message.state <> 'applied'")
_IS_FLAGGED = text("message.flags <> '[]'")
_NAMES_A_PATIENT = text("message.patient_id <> ''")
_NAMES_AN_ORDER = text("message.accession_number <> ''")

_SHOWN = (
    *("id", "received_at", "source", "peer", "control_id", "type", "state", "ack_code", "error"),
    *("flags", "repeats", "imaging_order", "patient", "patient_id", "accession_number"),
    "replay_of",
)

Key = tuple[datetime, int]  # no two messages share it
Condition = Any


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which messages: those that meet all that is given.

    `text` is a control ID, a patient ID or an accession number. `error` is part of an error's
    text. `flagged` have something that a person should see. They came from `since` on, before
    `until`.
    """

    text: str = ""
    control_id: str = ""
    patient: str = ""
    accession: str = ""
    source: str = ""  # MSH-3^MSH-4
    type: str = ""
    state: str = ""
    error: str = ""
    flagged: bool = False
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A message with what it is about. `raw` is its beginning, of `size` bytes.

    `orders` and `person` are what it was applied to; `replays` were made of it.
    """

    row: Any
    raw: bytes
    size: int
    orders: Sequence[Any]
    person: Any
    replays: Sequence[Any]


class About(NamedTuple):
    """Whom and what a message is about, in a list."""

    patient_name: str
    patient_id: str
    accession_number: str


_ALL = Wanted()


def search(
    session: Session,
    wanted: Wanted = _ALL,
    *,
    after: Key | None = None,
    before: Key | None = None,
    limit: int = 1000,
) -> Sequence[Any]:
    """List messages without their bytes: those after a key of the list, or right before one.

    Raises Rejected for no state.
    """
    conn = session.connection()
    found: dict[int, Any] = {}
    for way in _ways(conn, wanted):
        statement = _ordered(
            select(*(_TABLE.c[name] for name in _SHOWN)).where(*way), after, before
        )
        found |= {row.id: row for row in conn.execute(statement.limit(limit))}
    newest_first = sorted(found.values(), key=lambda row: (row.received_at, row.id), reverse=True)
    return newest_first[-limit:] if before is not None else newest_first[:limit]


def about(session: Session, rows: Sequence[Any]) -> dict[int, About]:
    """Tell of each message of a list whom and what it is about, as far as it says."""
    conn = session.connection()
    patients = {row.patient for row in rows if row.patient}
    orders = {row.imaging_order for row in rows if row.imaging_order}
    names = select(_PATIENT.c.id, _PATIENT.c.patient_name, _PATIENT.c.patient_id)
    people = {each.id: each for each in conn.execute(names.where(_PATIENT.c.id.in_(patients)))}
    numbers = select(_PROCEDURE.c.imaging_order, func.min(_PROCEDURE.c.accession_number))
    numbers = numbers.where(_PROCEDURE.c.imaging_order.in_(orders))
    found = conn.execute(numbers.group_by(_PROCEDURE.c.imaging_order))
    accessions: dict[int, str] = {row[0]: row[1] for row in found}
    return {row.id: _about(row, people.get(row.patient), accessions) for row in rows}


def _about(row: Any, person: Any, accessions: dict[int, str]) -> About:
    return About(
        person.patient_name if person else "",
        person.patient_id if person else row.patient_id,
        accessions.get(row.imaging_order, row.accession_number),
    )


def types(session: Session) -> list[str]:
    """List the types of messages that have come: one step of an index for each."""
    conn = session.connection()
    found: list[str] = []
    while len(found) < _MOST_TYPES:
        last = found[-1] if found else ""
        following = conn.scalar(select(func.min(_TABLE.c.type)).where(_TABLE.c.type > last))
        if following is None:
            break
        found.append(following)
    return found


def kept(session: Session, row: int, most_bytes: int = _MOST_BYTES) -> Kept:
    """Give one message with its bytes, at most so many. Raises Rejected where there is none."""
    conn = session.connection()
    columns = [c for c in _TABLE.c if c.name != "raw"]
    beginning = func.substr(_TABLE.c.raw, 1, most_bytes, type_=_TABLE.c.raw.type)
    found = conn.execute(
        select(
            *columns, beginning.label("beginning"), func.length(_TABLE.c.raw).label("size")
        ).where(_TABLE.c.id == row)
    ).first()
    if found is None:
        raise Rejected(Fault(Reason.UNKNOWN_KEY, f"message {row}", "there is none"))
    replays = select(_TABLE.c.id, _TABLE.c.received_at, _TABLE.c.state).where(
        _TABLE.c.replay_of == row
    )
    return Kept(
        found,
        bytes(found.beginning),
        found.size,
        _orders(conn, found),
        conn.execute(select(_PATIENT).where(_PATIENT.c.id == found.patient)).first(),
        conn.execute(replays.order_by(_TABLE.c.id)).all(),
    )


def _orders(conn: Connection, message: Any) -> Sequence[Any]:
    further = select(_FURTHER.c.imaging_order).where(_FURTHER.c.message == message.id)
    statement = select(_ORDER.c.id, _ORDER.c.order_number, _ORDER.c.status).where(
        or_(_ORDER.c.id == message.imaging_order, _ORDER.c.id.in_(further))
    )
    return conn.execute(statement.order_by(_ORDER.c.id).limit(_MOST_ROWS)).all()


def _ordered(statement: Select[Any], after: Key | None, before: Key | None) -> Select[Any]:
    at, id_ = _TABLE.c.received_at, _TABLE.c.id
    if before is not None:
        newer = or_(at > before[0], id_ > before[1])
        return statement.where(at >= before[0], newer).order_by(at, id_)
    if after is not None:
        statement = statement.where(at <= after[0], or_(at < after[0], id_ < after[1]))
    return statement.order_by(at.desc(), id_.desc())


def _ways(conn: Connection, wanted: Wanted) -> Iterator[list[Condition]]:
    """Give the statements' conditions: one of each filter's alternatives in every one."""
    filters: list[list[Condition]] = [[each] for each in _plain(wanted)]
    if wanted.patient:
        filters.append(_by_patient(conn, wanted.patient))
    if wanted.accession:
        filters.append(_by_accession(conn, wanted.accession))
    if wanted.text:
        filters.append(
            [
                _TABLE.c.control_id == wanted.text,
                *_by_patient(conn, wanted.text),
                *_by_accession(conn, wanted.text),
            ]
        )
    if wanted.error:
        filters.append([_TABLE.c.state == each for each in (State.REJECTED, State.FAILED)])
    elif wanted.source and not wanted.state:
        # The index of a feed is by state first, then by time.
        filters.append([_TABLE.c.state == each for each in State])
    for way in product(*filters):
        yield [*way]


def _plain(wanted: Wanted) -> Iterator[Condition]:
    """Give the conditions that are looked up in one place."""
    if wanted.control_id:
        yield _TABLE.c.control_id == wanted.control_id
    if wanted.source:
        yield _TABLE.c.source == wanted.source
    if wanted.type:
        # Of a type are so many that what else narrows the list is to be looked up first: a
        # type with something behind it is in no index.
        column = _TABLE.c.type.concat("") if _is_narrow(wanted) else _TABLE.c.type
        yield column == wanted.type
    if wanted.state:
        state = _state(wanted.state)
        yield _TABLE.c.state == state
    if wanted.error or (wanted.state and state is not State.APPLIED):
        yield _IS_UNAPPLIED
    if wanted.error:
        yield _TABLE.c.error.icontains(wanted.error, autoescape=True)
    if wanted.flagged:
        yield _IS_FLAGGED
    if wanted.since is not None:
        yield _TABLE.c.received_at >= wanted.since
    if wanted.until is not None:
        yield _TABLE.c.received_at < wanted.until


def _is_narrow(wanted: Wanted) -> bool:
    """Tell whether something but the type and the day leaves few messages."""
    named = (wanted.text, wanted.control_id, wanted.patient, wanted.accession, wanted.error)
    is_unapplied = wanted.state and wanted.state.lower() != State.APPLIED
    return any(named) or wanted.flagged or bool(is_unapplied)


def _by_patient(conn: Connection, patient_id: str) -> list[Condition]:
    """Find by the patient's row, merged ones included; else by what the message names."""
    known = select(_PATIENT.c.id, _PATIENT.c.merged_into).where(_PATIENT.c.patient_id == patient_id)
    rows = {each for row in conn.execute(known.limit(_MOST_ROWS)) for each in row if each}
    if rows:
        merged = select(_PATIENT.c.id).where(_PATIENT.c.merged_into.in_(rows)).limit(_MOST_ROWS)
        rows |= set(conn.scalars(merged))
    named: Condition = (_TABLE.c.patient_id == patient_id) & _NAMES_A_PATIENT
    return [*_among(_TABLE.c.patient, rows), named]


def _by_accession(conn: Connection, accession: str) -> list[Condition]:
    """Find by the order's row; else by what the message names."""
    orders = set(
        conn.scalars(
            select(_PROCEDURE.c.imaging_order)
            .where(_PROCEDURE.c.accession_number == accession)
            .limit(_MOST_ROWS)
        )
    )
    named: Condition = (_TABLE.c.accession_number == accession) & _NAMES_AN_ORDER
    found = _among(_TABLE.c.imaging_order, orders)
    if orders:
        further = select(_FURTHER.c.message).where(_FURTHER.c.imaging_order.in_(orders))
        messages = set(conn.scalars(further.limit(_MOST_ROWS)))
        found += _among(_TABLE.c.id, messages)
    return [*found, named]


def _among(column: ColumnElement[Any], rows: set[int]) -> list[Condition]:
    return [column.in_(sorted(rows))] if rows else []


def _state(name: str) -> State:
    try:
        return State(name.lower())
    except ValueError:
        known = ", ".join(State)
        raise Rejected(Fault(Reason.UNKNOWN_CODE, "state", f"must be one of {known}")) from None
