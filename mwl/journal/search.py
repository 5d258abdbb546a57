"""Find messages: for the page, for the command line.

A list is ordered by when its messages came, the newest first, and has a page by keyset in
both directions. Whatever narrows it goes by an index. What can be looked up in several
places, a patient by rows and by what refused messages name, is asked for place by place, in
as many small statements, since neither database sorts an OR by an index.

No index serves some filters together with others. Messages are then read as the best index has
them, and at most so many (LOOKED_THROUGH), the nearest to where the page begins: one that
is before these isn't found, and a day is to be given.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, func, or_, select, text
from sqlmodel import Session

from mwl.db import newest
from mwl.db.newest import Key
from mwl.db.tables import ImagingOrder, Message, MessageOrder, Patient, RequestedProcedure
from mwl.errors import Fault, Reason, Rejected
from mwl.journal.keeping import State
from mwl.shortened import known_as

_TABLE = Message.__table__  # type: ignore[attr-defined]
_FURTHER = MessageOrder.__table__  # type: ignore[attr-defined]
_PATIENT = Patient.__table__  # type: ignore[attr-defined]
_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]

LOOKED_THROUGH: Final = 50_000

_REFUSED: Final = (State.REJECTED, State.FAILED)
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

    `orders` and `person` are what it was applied to; `replays` were made of it. Of one that is
    too old for its text to be kept there are no bytes (`clearing`).
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
    replayed: int | None = None  # a replay of it that was accepted


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
        asked = select(*(_TABLE.c[name] for name in _SHOWN)).where(*way.served, *way.unserved)
        statement = newest.ordered(asked, _TABLE, after, before)
        edge = _edge(conn, way, after, before)
        found |= {row.id: row for row in conn.execute(statement.where(*edge).limit(limit))}
    return newest.page(found.values(), before, limit)


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
    replays = _replays(conn, [row.id for row in rows if row.state in _REFUSED])
    return {row.id: _about(row, people.get(row.patient), accessions, replays) for row in rows}


def _replays(conn: Connection, refused: Sequence[int]) -> dict[int, int]:
    """Find replays that were accepted, by the messages that they repeat."""
    found = select(_TABLE.c.replay_of, _TABLE.c.id).where(
        _TABLE.c.replay_of.in_(refused), _TABLE.c.state.not_in([*_REFUSED])
    )
    return {row.replay_of: row.id for row in conn.execute(found)} if refused else {}


def _about(row: Any, person: Any, accessions: dict[int, str], replays: dict[int, int]) -> About:
    return About(
        person.patient_name if person else "",
        person.patient_id if person else row.patient_id,
        accessions.get(row.imaging_order, row.accession_number),
        replays.get(row.id),
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
        bytes(found.beginning or b""),  # SQLite has nothing at the beginning of nothing
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


def is_bounded(wanted: Wanted) -> bool:
    """Tell whether not more than LOOKED_THROUGH messages are looked through for these filters."""
    return bool(not _names(wanted) and {*_unserved(wanted)} & {*_given(wanted)})


def _edge(conn: Connection, way: "_Way", after: Key | None, before: Key | None) -> list[Condition]:
    """Give what bounds the messages that are looked through, where an index doesn't."""
    if not way.unserved:
        return []
    at = _TABLE.c.received_at
    walked = newest.ordered(select(at).where(*way.served), _TABLE, after, before)
    edge = conn.scalar(walked.offset(LOOKED_THROUGH).limit(1))
    if edge is None:
        return []
    return [at <= edge if before is not None else at >= edge]


class _Way(NamedTuple):
    """Conditions: those that an index serves, in the list's order, and those of each row."""

    served: list[Condition]
    unserved: list[Condition]


def _ways(conn: Connection, wanted: Wanted) -> Iterator[_Way]:
    """Give the statements' conditions: one of each filter's alternatives in every one."""
    filters = [*_looked_up(conn, wanted)]
    # Few have what is looked up: whatever else is asked of them is asked of each.
    served: list[Condition] = []
    unserved: list[Condition] = []
    for name, condition in _plain(wanted):
        (unserved if not filters and name in _unserved(wanted) else served).append(condition)
    if wanted.error and wanted.flagged:
        unserved.append(_TABLE.c.state.concat("").in_([*_REFUSED]))
    elif wanted.error and not wanted.state:
        filters.append([_TABLE.c.state == each for each in _REFUSED])
    elif wanted.source and not wanted.state and not wanted.flagged:
        # The index of a feed is by state first, then by time.
        filters.append([_TABLE.c.state == each for each in State])
    for way in product(*filters):
        yield _Way([*served, *way], unserved)


def _names(wanted: Wanted) -> bool:
    """Tell whether something is named that few messages have."""
    return any((wanted.text, wanted.control_id, wanted.patient, wanted.accession))


def _looked_up(conn: Connection, wanted: Wanted) -> Iterator[list[Condition]]:
    """Give, for what few messages have, the places in which it is looked up."""
    if wanted.control_id:
        yield [_TABLE.c.control_id == wanted.control_id]
    if wanted.patient:
        yield _by_patient(conn, wanted.patient)
    if wanted.accession:
        yield _by_accession(conn, wanted.accession)
    if wanted.text:
        yield [
            _TABLE.c.control_id == wanted.text,
            *_by_patient(conn, wanted.text),
            *_by_accession(conn, wanted.text),
        ]


def _given(wanted: Wanted) -> list[str]:
    return [name for name in ("source", "type", "state", "error") if getattr(wanted, name)]


def _unserved(wanted: Wanted) -> tuple[str, ...]:
    """Name the filters of which each message is asked that an index on the others finds."""
    if wanted.flagged:
        return ("source", "type", "state", "error")
    if wanted.source or wanted.error or _is_unapplied(wanted):
        return ("type", "error")
    return ("state",) if wanted.type else ()


def _is_unapplied(wanted: Wanted) -> bool:
    return bool(wanted.state) and _state(wanted.state) is not State.APPLIED


def _plain(wanted: Wanted) -> Iterator[tuple[str, Condition]]:
    """Give the conditions that are asked of a message's own row."""
    unserved = _given(wanted) if _names(wanted) else _unserved(wanted)
    for name in ("source", "type", "state"):
        if value := getattr(wanted, name):
            # A text with something behind it is in no index.
            column = _TABLE.c[name].concat("") if name in unserved else _TABLE.c[name]
            yield name, column == (_state(value) if name == "state" else value)
    if (wanted.error or _is_unapplied(wanted)) and "state" not in unserved:
        yield "state", _IS_UNAPPLIED
    if wanted.error:
        yield "error", _TABLE.c.error.icontains(wanted.error, autoescape=True)
    if wanted.flagged:
        yield "flagged", _IS_FLAGGED
    if wanted.since is not None:
        yield "day", _TABLE.c.received_at >= wanted.since
    if wanted.until is not None:
        yield "day", _TABLE.c.received_at < wanted.until


def _by_patient(conn: Connection, patient_id: str) -> list[Condition]:
    """Find by the patient's row, merged ones included; else by what the message names."""
    known = select(_PATIENT.c.id, _PATIENT.c.merged_into).where(
        _PATIENT.c.patient_id.in_(known_as(patient_id))
    )
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
            .where(_PROCEDURE.c.accession_number.in_(known_as(accession)))
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
