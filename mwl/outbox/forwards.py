"""Messages that came in, forwarded to other systems as they came.

What is forwarded is queued in the transaction that takes the message, with bytes of its own:
it outlives the journal's. A system hears nothing that it sent itself; and what comes back to
us under another name is noticed by what it says: the third time within ten minutes, it is
forwarded no more.

The payload (version 1): event (MSH-9.1^MSH-9.2), source (MSH-3^MSH-4), digest (of all behind
MSH, in hexadecimal).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import bindparam, select
from sqlmodel import Session

from mwl.db import Prepared
from mwl.outbox.destinations import feed, is_among, namespace
from mwl.outbox.rows import TABLE, Kind, enqueue

_VERSION = 1
_MOST_ALIKE = 3
_WITHIN = timedelta(minutes=10)
_LOOKED_AT = 50


class _Given(Protocol):
    """What is asked of a table `[[hl7.forward]]`."""

    @property
    def name(self) -> str: ...
    @property
    def types(self) -> Sequence[str]: ...
    @property
    def sources(self) -> Sequence[str]: ...
    @property
    def listeners(self) -> Sequence[str]: ...
    @property
    def outcome(self) -> str: ...
    @property
    def application(self) -> str: ...
    @property
    def facility(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Forward:
    """A system that messages are forwarded to; see `[[hl7.forward]]`.

    `application` and `facility` are HDs, as MSH-5 and MSH-6 shall say them; empty: as it came.
    """

    name: str
    types: Sequence[str] = ()
    sources: Sequence[str] = ()
    listeners: Sequence[str] = ()
    only_applied: bool = False
    application: str = ""
    facility: str = ""

    def wants(self, type_: str, source: str, listener: str, *, applied: bool) -> bool:
        """Tell whether a message is forwarded here: what the system sent itself never is."""
        return (
            is_among(type_, self.types)
            and is_among(source, self.sources)
            and (not self.listeners or listener in self.listeners)
            and (applied or not self.only_applied)
            and not self._is(source)
        )

    def _is(self, source: str) -> bool:
        """Tell whether a feed (MSH-3^MSH-4) is this system's own, as far as we know its name."""
        own = (namespace(self.application), namespace(self.facility))
        application, _, facility = feed(source).partition("^")
        return any(own) and own[0] in {"", application} and own[1] in {"", facility}


@dataclass(frozen=True, slots=True)
class Forwards:
    """All systems that messages are forwarded to; empty: none."""

    all: tuple[Forward, ...] = ()

    @classmethod
    def of(cls, tables: Iterable[_Given]) -> "Forwards":
        """Take them from `settings.hl7.forward`."""
        return cls(
            tuple(
                Forward(
                    table.name,
                    tuple(table.types),
                    tuple(table.sources),
                    tuple(table.listeners),
                    table.outcome == "applied",
                    table.application,
                    table.facility,
                )
                for table in tables
            )
        )


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A message to be forwarded: its bytes as they shall be sent, and what it is about.

    `subject` ("order:4711") is what must not overtake itself.
    """

    body: bytes
    control_id: str
    type: str
    source: str
    subject: str
    digest: str


def forward(session: Session, name: str, message: Forwarded, now: datetime) -> bool:
    """Queue a message for one system, in the caller's transaction; False: it goes in circles."""
    if _times_forwarded(session, name, message, now) >= _MOST_ALIKE:
        return False
    enqueue(
        session,
        kind=Kind.FORWARD,
        destination=name,
        subject=message.subject,
        payload={
            "version": _VERSION,
            "event": message.type,
            "source": message.source,
            "digest": message.digest,
        },
        now=now,
        control_id=message.control_id,
        body=message.body,
    )
    return True


_ALIKE = Prepared(
    select(TABLE.c.payload)
    .where(
        TABLE.c.subject == bindparam("of_subject"),
        TABLE.c.kind == Kind.FORWARD.value,
        TABLE.c.destination == bindparam("of_destination"),
        TABLE.c.created_at > bindparam("since", type_=TABLE.c.created_at.type),
    )
    .order_by(TABLE.c.id.desc())
    .limit(_LOOKED_AT)
)


def _times_forwarded(session: Session, name: str, message: Forwarded, now: datetime) -> int:
    """Count how often just this was forwarded there lately."""
    given = {"of_subject": message.subject, "of_destination": name, "since": now - _WITHIN}
    rows = _ALIKE.all(session.connection(), given)
    return sum(row.payload.get("digest") == message.digest for row in rows)
