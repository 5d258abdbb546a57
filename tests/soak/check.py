"""What must be true of the database when all messages have been answered."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import select

from mwl.db import Database
from mwl.db.tables import ImagingOrder, Message, Patient, RequestedProcedure, ScheduledStep
from mwl.orders import StepState, derive
from tests.soak.feed import SHARED, Order
from tests.soak.sender import Sender

Row = Any


def wrongs(database: Database, senders: Iterable[Sender]) -> list[str]:
    """Tell everything that is not as it must be."""
    senders = list(senders)
    found = [each for sender in senders for each in sender.wrong]
    found += _messages(database, senders)
    found += _orders(database, senders)
    found += _patients(database, senders)
    return found


def _messages(database: Database, senders: list[Sender]) -> Iterator[str]:
    """No AA without its row, no row twice, no answer but the one that is kept."""
    rows: dict[str, list[Row]] = defaultdict(list)
    m = Message.__table__  # type: ignore[attr-defined]
    for row in _read(database, select(m.c.control_id, m.c.ack_code, m.c.ack)):
        rows[row.control_id].append(row)
    tries: Counter[str] = Counter()
    for sender in senders:
        tries += sender.tries
        for control_id, answer in sender.answers.items():
            kept = rows.pop(control_id, [])
            if answer not in [bytes(row.ack) for row in kept]:
                yield f"{control_id}: answered, and not kept"
            if sum(row.ack_code == "AA" for row in kept) > 1:
                yield f"{control_id}: accepted {len(kept)} times"
            # What was refused is looked at again when it comes again.
            if len(kept) > tries[control_id]:
                yield f"{control_id}: sent {tries[control_id]} times, kept {len(kept)} times"
    yield from (f"{control_id}: kept, and never answered" for control_id in rows)


def _orders(database: Database, senders: list[Sender]) -> Iterator[str]:
    """Every order once, in the state of its last accepted message."""
    o, r, s = ImagingOrder.__table__, RequestedProcedure.__table__, ScheduledStep.__table__  # type: ignore[attr-defined]
    joined = o.outerjoin(r, r.c.imaging_order == o.c.id).outerjoin(s, s.c.procedure == r.c.id)
    asked = select(o.c.order_number, o.c.status, s.c.state, s.c.start_local).select_from(joined)
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in _read(database, asked):
        rows[row.order_number].append(tuple(row[1:]))
    for sender in senders:
        for order in sender.feed.orders.values():
            found, expected = rows.pop(f"FO{order.key}", []), _expected(order)
            if found != [expected]:
                yield f"order {order.key}: {found}, not {expected}"
    yield from (f"order {number}: never sent" for number in rows)


def _expected(order: Order) -> tuple[str | None, ...]:
    if order.is_gone:
        return "CANCELED", None, None
    return derive([StepState(order.state)]), order.state, order.start


def _patients(database: Database, senders: list[Sender]) -> Iterator[str]:
    """Every patient once, under its last name, merged as was told."""
    p = Patient.__table__  # type: ignore[attr-defined]
    rows = list(_read(database, select(p.c.id, p.c.patient_id, p.c.patient_name, p.c.merged_into)))
    ids = {row.id: row.patient_id for row in rows}
    known = {row.patient_id: (row.patient_name, ids.get(row.merged_into, "")) for row in rows}
    if len(known) != len(rows):
        yield "a patient is there twice"
    for sender in senders:
        for patient in sender.feed.patients.values():
            found = known.pop(f"PID{patient.key}", None)
            into = f"PID{patient.into}" if patient.into else ""
            # Some were only named by what was refused.
            if found is not None and (found[1] != into or (not into and found[0] != patient.name)):
                yield f"patient {patient.key}: {found}, not {(patient.name, into)}"
            if found is None and into:
                yield f"patient {patient.key}: merged, and unknown"
    shared = {f"PIDS{number}" for number in range(SHARED)}
    yield from (f"patient {key}: never sent" for key in known.keys() - shared)


def _read(database: Database, statement: Any) -> list[Row]:
    with database.read() as session:
        return list(session.connection().execute(statement))
