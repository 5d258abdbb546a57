"""Messages that came in: those about the order, and those about its patient meanwhile."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Select, or_, select, text

from mwl.db.tables import Message, MessageOrder
from mwl.journal import State
from mwl.story import changes
from mwl.story.entries import Entry, Kind, known
from mwl.story.subjects import Subject

_MESSAGE = Message.__table__  # type: ignore[attr-defined]
_FURTHER = MessageOrder.__table__  # type: ignore[attr-defined]
_m = _MESSAGE.c

_MOST = 500
_SHOWN = (
    *(_m.id, _m.received_at, _m.source, _m.peer, _m.control_id, _m.type, _m.state),
    *(_m.ack_code, _m.error, _m.flags, _m.changes, _m.repeats),
)


def read(conn: Connection, subject: Subject) -> list[Any]:
    """Read messages, the last hundreds of them, as they came."""
    rows: dict[int, Any] = {}
    for statement in _statements(subject):
        found = conn.execute(statement.order_by(_m.id.desc()).limit(_MOST))
        rows |= {row.id: row for row in found}
    return [row for _, row in sorted(rows.items())[-_MOST:]]


def entries(rows: Iterable[Any], subject: Subject) -> list[Entry]:
    """Tell of messages that `read` gave."""
    return [_entry(row, subject) for row in rows]


def _statements(subject: Subject) -> list[Select[Any]]:
    order = subject.order["id"]
    since = subject.order["created_at"]
    further = select(_FURTHER.c.message).where(_FURTHER.c.imaging_order == order)
    found: list[Select[Any]] = [
        select(*_SHOWN).where(_m.imaging_order == order),
        select(*_SHOWN).where(_m.id.in_(further)),
        # What the scanners were shown of the patient, and when that became something else.
        select(*_SHOWN).where(
            _m.patient.in_(subject.patients),
            _m.imaging_order.is_(None),
            _m.received_at >= since,
        ),
    ]
    if numbers := subject.accession_numbers:
        # Refused: it may be the very message that somebody misses.
        is_named = _m.accession_number.in_(numbers)
        found.append(
            select(*_SHOWN).where(
                is_named,
                _m.accession_number != text("''"),
                or_(_m.state == State.REJECTED.value, _m.state == State.FAILED.value),
            )
        )
    return found


def _entry(row: Any, subject: Subject) -> Entry:
    names = subject.names
    mine = changes.about(row.changes, names)
    done = changes.summary(mine, names)
    if not done:
        done = "not applied" if row.state != State.APPLIED else "changed nothing"
    repeats = f"{row.repeats} more, answered with the same" if row.repeats else ""
    return Entry(
        row.received_at,
        Kind.MESSAGE,
        f"{row.type or 'a message'} from {row.source or row.peer}: {done}",
        row.ack_code,
        [*filter(None, [row.error]), *row.flags],
        [
            *changes.facts(mine, names),
            *known(
                ("message control ID", row.control_id),
                ("sent by", row.peer),
                ("what became of it", row.state),
                ("came again", repeats),
            ),
        ],
        about=f"message:{row.id}",
    )
