"""Rows of `dicom_server` and `live_association`, as the process writes them that serves."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, select, update
from sqlmodel import Session

from mwl.db import Insertion, Prepared
from mwl.db.tables import DicomServer, LiveAssociation

SERVER = DicomServer.__table__  # type: ignore[attr-defined]
LIVE = LiveAssociation.__table__  # type: ignore[attr-defined]

BEAT: Final = timedelta(seconds=15)  # how often a process tells that it lives, at least
GONE: Final = timedelta(seconds=60)  # who has been silent for so long is dead


@dataclass(frozen=True, slots=True)
class Served:
    """What a process tells of one connection; titles are empty until its request was read.

    `contexts` are the accepted ones, each an abstract and a transfer syntax. `operation` is
    what is being done, "" between operations. `number` is the process's own.
    """

    number: int
    address: str
    since: datetime
    calling: str = ""
    called: str = ""
    tls: bool = False
    contexts: tuple[tuple[str, str], ...] = ()
    operation: str = ""
    received_bytes: int = 0
    sent_bytes: int = 0
    messages: int = 0

    @property
    def agreed(self) -> tuple[Any, ...]:
        """What stays as it is once an association is established."""
        return self.calling, self.called, self.tls, self.contexts


@dataclass(frozen=True, slots=True)
class Changes:
    """How what a process serves differs from what it told last.

    `agreed` have got titles and contexts meanwhile, `busy` have done something, no more;
    `gone` are numbers.
    """

    new: Sequence[Served] = ()
    agreed: Sequence[Served] = ()
    busy: Sequence[Served] = ()
    gone: Sequence[int] = ()


_ENTER: Final = Insertion(SERVER)
_ADD: Final = Prepared(
    insert(LIVE).values({c.name: bindparam(c.name) for c in LIVE.c if c.name != "id"})
)
_AGREED: Final = ("calling_ae_title", "called_ae_title", "tls", "contexts")
_DONE: Final = ("operation", "received_bytes", "sent_bytes", "messages", "changed_at")


def _changing(*names: str) -> Prepared:
    of_one = LIVE.c.server == bindparam("of_server"), LIVE.c.number == bindparam("of_number")
    return Prepared(update(LIVE).where(*of_one).values({name: bindparam(name) for name in names}))


_AGREE: Final = _changing(*_AGREED, *_DONE)
_PROGRESS: Final = _changing(*_DONE)
_DROP: Final = Prepared(
    delete(LIVE).where(
        LIVE.c.server == bindparam("of_server"), LIVE.c.number == bindparam("of_number")
    )
)
_BEAT: Final = Prepared(
    update(SERVER).where(SERVER.c.id == bindparam("of_server")).values(beat_at=bindparam("now"))
)
_ASKED: Final = Prepared(select(SERVER.c.asked).where(SERVER.c.id == bindparam("of_server")))
_ENDING: Final = Prepared(
    select(LIVE.c.number).where(LIVE.c.server == bindparam("of_server"), LIVE.c.ending)
)


def clear(session: Session, place: str) -> None:
    """Forget whoever told from a place."""
    _remove(session, SERVER.c.place == place)


def enter(session: Session, place: str, *, now: datetime) -> int:
    """Begin to tell from a place, instead of whoever told from there before; give the row."""
    clear(session, place)
    return _ENTER.send(session.connection(), {"place": place, "asked": 0, "beat_at": now})


def leave(session: Session, server: int) -> None:
    """Tell no more."""
    _remove(session, SERVER.c.id == server)


def beat(session: Session, server: int, *, now: datetime) -> bool:
    """Tell that a process lives; False: it was taken for dead. Those that are dead go."""
    _remove(session, SERVER.c.beat_at < now - GONE, SERVER.c.id != server)
    return _BEAT.run(session.connection(), {"of_server": server, "now": now}) == 1


def write(session: Session, server: int, changes: Changes, *, now: datetime) -> None:
    """Tell what has changed."""
    conn = session.connection()
    for number in changes.gone:
        _DROP.send(conn, {"of_server": server, "of_number": number})
    for each in changes.agreed:
        _AGREE.send(conn, {**_told(each), **_done(each, now), **_key(server, each)})
    for each in changes.busy:
        _PROGRESS.send(conn, {**_done(each, now), **_key(server, each)})
    for each in changes.new:
        made = {"server": server, "ending": False}
        _ADD.send(conn, {**_told(each), **_done(each, now), **made})


def asked(session: Session, server: int) -> int | None:
    """Tell how often a process was asked to end an association; None: it was taken for dead."""
    found: int | None = _ASKED.scalar(session.connection(), {"of_server": server})
    return found


def ending(session: Session, server: int) -> Sequence[int]:
    """List the numbers of the associations that a process is asked to end."""
    return [row.number for row in _ENDING.all(session.connection(), {"of_server": server})]


def _told(served: Served) -> dict[str, Any]:
    return {
        "number": served.number,
        "address": served.address,
        "calling_ae_title": served.calling,
        "called_ae_title": served.called,
        "tls": served.tls,
        "contexts": [list(context) for context in served.contexts],
        "since": served.since,
    }


def _done(served: Served, now: datetime) -> dict[str, Any]:
    return {
        "operation": served.operation,
        "received_bytes": served.received_bytes,
        "sent_bytes": served.sent_bytes,
        "messages": served.messages,
        "changed_at": now,
    }


def _key(server: int, served: Served) -> dict[str, int]:
    return {"of_server": server, "of_number": served.number}


def _remove(session: Session, *where: Any) -> None:
    conn = session.connection()
    servers = select(SERVER.c.id).where(*where)
    conn.execute(delete(LIVE).where(LIVE.c.server.in_(servers)))
    conn.execute(delete(SERVER).where(*where))
