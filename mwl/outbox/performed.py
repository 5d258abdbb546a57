"""MPPS forwarded to other PPS managers: each N-CREATE and N-SET that was taken, as it came.

It is queued in the transaction that takes it, with bytes of its own. A manager hears of an
MPPS from its beginning: whoever was not sent the N-CREATE, since it was not among the settings
then, is sent that and what followed with the next N-SET. What a person ends here in a scanner's
stead is no message of the scanner's, and not forwarded.

The payload (version 1): event ("N-CREATE", "N-SET"), sop_instance_uid, state (of the MPPS, as
the message says; "" where it doesn't), calling (the AE title that it came from),
transfer_syntax of the data set in `body`.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from sqlalchemy import bindparam, select
from sqlmodel import Session

from mwl import devices
from mwl.db import Prepared
from mwl.db.tables import PerformedMessage
from mwl.outbox.destinations import is_among
from mwl.outbox.rows import TABLE, Kind, State, enqueue

BEGUN: Final = "N-CREATE"
_VERSION: Final = 1
_MESSAGE = PerformedMessage.__table__  # type: ignore[attr-defined]


class _Given(Protocol):
    """What is asked of a table `[[mpps.forward]]`."""

    @property
    def name(self) -> str: ...
    @property
    def devices(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Manager:
    """A PPS manager that MPPS are forwarded to; `devices` are patterns of AE titles, folded."""

    name: str
    devices: Sequence[str] = ()

    def wants(self, titles: Iterable[str]) -> bool:
        """Tell whether the MPPS of a device that has these AE titles are forwarded here."""
        return not self.devices or any(is_among(each, self.devices) for each in titles)


@dataclass(frozen=True, slots=True)
class Managers:
    """All PPS managers that MPPS are forwarded to; empty: none."""

    all: tuple[Manager, ...] = ()

    @classmethod
    def of(cls, tables: Iterable[_Given]) -> "Managers":
        """Take them from `settings.mpps.forward`."""
        return cls(
            tuple(Manager(each.name, tuple(map(devices.fold, each.devices))) for each in tables)
        )


@dataclass(frozen=True, slots=True)
class Operation:
    """An N-CREATE or N-SET: `calling` sent it, `data_set` is in `transfer_syntax`.

    `state` is the MPPS's, where the data set says so.
    """

    name: str
    state: str
    calling: str
    transfer_syntax: str
    data_set: bytes


@dataclass(frozen=True, slots=True)
class About:
    """The MPPS that an operation is about: its row, its UID, and who began it."""

    row: int
    sop_instance_uid: str
    ae_title: str


def pass_on(
    session: Session, managers: Managers, about: About, operation: Operation, now: datetime
) -> None:
    """Queue an operation for every manager that is to hear of it, in the caller's transaction.

    It is kept already (`performed_message`), and the MPPS is held or new.
    """
    if not managers.all:
        return
    begins = operation.name == BEGUN
    told: Collection[str] = () if begins else _told(session, about)
    titles = _titles(session, managers, about.ae_title)
    for each in managers.all:
        if each.name in told:
            _queue(session, each.name, about, operation, now)
        elif each.wants(titles):
            # It is the last of those that were kept.
            earlier = [] if begins else _kept(session, about)[:-1]
            for one in (*earlier, operation):
                _queue(session, each.name, about, one, now)


def performed_subject(row: int) -> str:
    """Name what the deliveries of an MPPS are about."""
    return f"mpps:{row}"


def _titles(session: Session, managers: Managers, ae_title: str) -> set[str]:
    """Give the titles of the device that calls by one of them, where somebody asks for them."""
    if not any(each.devices for each in managers.all):
        return set()
    device = devices.lookup(session, ae_title)
    return {devices.fold(ae_title), *(devices.titles(device) if device else ())}


_TOLD = Prepared(
    select(TABLE.c.destination)
    .distinct()
    .where(TABLE.c.subject == bindparam("of_subject"), TABLE.c.kind == Kind.MPPS.value)
)
_KEPT = Prepared(
    select(
        _MESSAGE.c.operation, _MESSAGE.c.ae_title, _MESSAGE.c.transfer_syntax, _MESSAGE.c.data_set
    )
    .where(_MESSAGE.c.performed_step == bindparam("row"))
    .order_by(_MESSAGE.c.id)
)


def _told(session: Session, about: About) -> set[str]:
    given = {"of_subject": performed_subject(about.row)}
    return {row.destination for row in _TOLD.all(session.connection(), given)}


def _kept(session: Session, about: About) -> list[Operation]:
    rows = _KEPT.all(session.connection(), {"row": about.row})
    return [
        Operation(row.operation, "", row.ae_title, row.transfer_syntax, bytes(row.data_set))
        for row in rows
    ]


def _queue(session: Session, name: str, about: About, operation: Operation, now: datetime) -> None:
    enqueue(
        session,
        kind=Kind.MPPS,
        destination=name,
        subject=performed_subject(about.row),
        payload={
            "version": _VERSION,
            "event": operation.name,
            "sop_instance_uid": about.sop_instance_uid,
            "state": operation.state,
            "calling": operation.calling,
            "transfer_syntax": operation.transfer_syntax,
        },
        now=now,
        body=operation.data_set,
    )


_BEGINNINGS = select(TABLE.c.state, TABLE.c.payload["event"].as_string().label("event")).where(
    TABLE.c.subject == bindparam("of_subject"),
    TABLE.c.kind == Kind.MPPS.value,
    TABLE.c.destination == bindparam("of_destination"),
)


def is_withheld(session: Session, destination: str, subject: str) -> bool:
    """Tell whether somebody dropped the N-CREATE of an MPPS, so that there is nothing to set."""
    given = {"of_subject": subject, "of_destination": destination}
    rows = session.connection().execute(_BEGINNINGS, given)
    states = {row.state for row in rows if row.event == BEGUN}
    return State.DROPPED in states and State.DONE not in states
