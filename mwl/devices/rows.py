"""Rows of `device` and `knock`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session

from mwl.config import DeviceCharacters, DeviceTable, DeviceWorklist
from mwl.db import Prepared
from mwl.db.tables import Device, DeviceTitle, Knock
from mwl.db.tables.devices import draw
from mwl.devices.titles import fold, keep
from mwl.errors import Fault, Reason, Rejected

_DEVICE = Device.__table__  # type: ignore[attr-defined]
_TITLE = DeviceTitle.__table__  # type: ignore[attr-defined]
_KNOCK = Knock.__table__  # type: ignore[attr-defined]
_MOST_KNOCKS = 1_000  # rows; a port scan must not fill a disk


def lookup(session: Session, ae_title: str) -> Device | None:
    """Find a device by its AE title, or by one of its aliases."""
    title = {"title": fold(ae_title)}
    device = session.execute(_BY_TITLE, title).scalars().first()
    return device or session.execute(_BY_ALIAS, title).scalars().first()


_BY_TITLE = select(Device).where(func.upper(_DEVICE.c.ae_title) == bindparam("title"))
_BY_ALIAS = (
    select(Device)
    .join(DeviceTitle, _TITLE.c.device == _DEVICE.c.id)
    .where(_TITLE.c.ae_title == bindparam("title"), _TITLE.c.calls)
)


def titles(device: Device) -> set[str]:
    """Give all AE titles that a device calls by, folded."""
    return {fold(device.ae_title), *map(fold, device.aliases)}


def called(device: Device, ae_title: str) -> str:
    """Give the title of a device by which it is called, as it is registered; else its own."""
    wanted = fold(ae_title)
    return next((title for title in device.aliases if fold(title) == wanted), device.ae_title)


def listing(session: Session) -> list[Device]:
    """List the devices, by AE title."""
    return list(session.execute(select(Device).order_by(_DEVICE.c.ae_title)).scalars())


def own_titles(session: Session) -> list[str]:
    """List the AE titles of the devices, of each its own."""
    return list(session.execute(select(_DEVICE.c.ae_title).order_by(_DEVICE.c.ae_title)).scalars())


def page(
    session: Session, text: str, *, after: str = "", before: str = "", limit: int
) -> list[Device]:
    """List devices by AE title: those after one, or those right before one.

    `text` is part of what they are called by or of where they stand; "" is in all.
    """
    title, backwards = _DEVICE.c.ae_title, bool(before)
    statement = select(Device).order_by(title.desc() if backwards else title).limit(limit)
    if before or after:
        statement = statement.where(title < before if backwards else title > after)
    if text:
        statement = statement.where(_about(text))
    found = list(session.execute(statement).scalars())
    return found[::-1] if backwards else found


def _about(text: str) -> ColumnElement[bool]:
    columns = (_DEVICE.c[name] for name in ("ae_title", "modality", "station_name", "location"))
    further = _TITLE.c.ae_title.icontains(text, autoescape=True)
    return or_(
        *(each.icontains(text, autoescape=True) for each in (*columns, _DEVICE.c.host)),
        exists().where(_TITLE.c.device == _DEVICE.c.id, further),
    )


def add(session: Session, device: DeviceTable, *, now: datetime, replace: bool = False) -> None:
    """Register a device by hand. Rejected: it is registered and not to be replaced.

    Replacing keeps whatever `device` doesn't set.
    """
    known = lookup(session, device.ae_title)
    if known is not None and known.origin == "config":
        raise _of_the_settings()
    if known is not None and not (replace and fold(known.ae_title) == fold(device.ae_title)):
        raise Rejected(
            Fault(Reason.DUPLICATE_KEY, "AE title", "is registered already; --replace changes it")
        )
    _refuse_aliases_of_others(session, device, known.id if known else None)
    if known is not None:
        device = _over(known, device)
    _put(session, device, known.id if known else None, "manual", now)


def _refuse_aliases_of_others(session: Session, device: DeviceTable, row: int | None) -> None:
    for alias in device.aliases:
        other = lookup(session, alias)
        if other is not None and other.id != row:
            text = f"is registered already: it is a title of {other.ae_title}"
            raise Rejected(Fault(Reason.DUPLICATE_KEY, f"alias {alias}", text))


def _over(known: Device, device: DeviceTable) -> DeviceTable:
    """Lay what was set of `device` over what is on file, in its tables key by key."""
    below = table_of(known)
    given = _given(device)
    for name in ("worklist", "characters"):
        if name in given:
            given[name] = getattr(below, name).model_copy(update=_given(given[name]))
    return below.model_copy(update=given)


def _given(table: DeviceTable | DeviceWorklist | DeviceCharacters) -> dict[str, Any]:
    return {name: getattr(table, name) for name in table.model_fields_set}


def table_of(row: Device) -> DeviceTable:
    """Give what is set of a device, as the settings would say it."""
    stated = {name: getattr(row, name) for name in DeviceTable.model_fields} | {
        "host": row.host or None,
        "port": row.port or None,
        "may": tuple(row.may),
        "aliases": tuple(row.aliases),
        "worklist": DeviceWorklist.model_validate(row.worklist),
        "characters": DeviceCharacters.model_validate(row.characters),
    }
    return DeviceTable.model_construct(**stated)


def get(session: Session, row: int) -> Device | None:
    """Read a device by the number of its row."""
    return session.get(Device, row)


def change(session: Session, row: int, device: DeviceTable, *, now: datetime) -> Device:
    """Make a device what `device` says, its title too; return what it was.

    Rejected: there is none, the settings own it, or another has the title.
    """
    before = _ours(session, row)
    namesake = lookup(session, device.ae_title)
    if namesake is not None and namesake.id != row:
        raise Rejected(Fault(Reason.DUPLICATE_KEY, "AE title", "is registered already"))
    _refuse_aliases_of_others(session, device, row)
    _put(session, device, row, before.origin, now)
    return before


def remove(session: Session, row: int) -> Device:
    """Forget a device; return what it was. Rejected: there is none, or the settings own it."""
    before = _ours(session, row)
    session.connection().execute(delete(_DEVICE).where(_DEVICE.c.id == row))
    return before


def _ours(session: Session, row: int) -> Device:
    """Read a device that may be changed here."""
    found = get(session, row)
    if found is None:
        raise Rejected(Fault(Reason.UNKNOWN_KEY, "device", "is not registered"))
    if found.origin == "config":
        raise _of_the_settings()
    session.expunge(found)  # it stays what it was, whatever is written now
    return found


def _of_the_settings() -> Rejected:
    return Rejected(
        Fault(Reason.DUPLICATE_KEY, "AE title", "comes from the settings: change it there")
    )


def sync(session: Session, devices: Iterable[DeviceTable], *, now: datetime) -> None:
    """Make the devices of origin "config" those of the settings.

    A device that was added by hand and stands in the settings belongs to the settings from
    then on; one that left the settings is gone.
    """
    known = {fold(each.ae_title): each for each in listing(session)}
    stated = {fold(each.ae_title): each for each in devices}
    gone = [
        each.id for title, each in known.items() if title not in stated and each.origin == "config"
    ]
    if gone:
        session.connection().execute(delete(_DEVICE).where(_DEVICE.c.id.in_(gone)))
    for title, device in stated.items():
        before = known.get(title)
        if before is None or values_of(device, "config") != kept(before):
            _put(session, device, before.id if before else None, "config", now)


def values_of(device: DeviceTable, origin: str) -> dict[str, Any]:
    """Give what is set of a device, as `kept` gives it of a row."""
    return {
        "ae_title": device.ae_title,
        "aliases": list(device.aliases),
        "host": device.host or "",
        "port": device.port or 0,
        "modality": device.modality,
        "station_name": device.station_name,
        "location": device.location,
        "may": list(device.may),
        "mpps": device.mpps,
        "commit_report": device.commit_report,
        "tls": device.tls,
        "certificate": device.certificate,
        "zone": device.zone,
        "close_images": device.close_images,
        "worklist": device.worklist.model_dump(mode="json", exclude_defaults=True),
        "characters": device.characters.model_dump(mode="json", exclude_defaults=True),
        "origin": origin,
    }


def kept(row: Device) -> dict[str, Any]:
    """Give what is set of a device, not what happened to it."""
    happened = {"created_at", "updated_at", "seen_at", "seen_address", "oddities", "revision"}
    return row.model_dump(exclude={"id", *happened})


def _put(
    session: Session, device: DeviceTable, row: int | None, origin: str, now: datetime
) -> None:
    write(session, [(row, values_of(device, origin))], now=now)


def write(
    session: Session, devices: Sequence[tuple[int | None, Mapping[str, Any]]], *, now: datetime
) -> None:
    """Write what is set of devices, each with its row; None: it is new."""
    conn = session.connection()
    new = {"seen_address": "", "oddities": [], "created_at": now}
    added = [{**each, **new, **_touched(now)} for row, each in devices if row is None]
    changed = [{**each, "row": row, **_touched(now)} for row, each in devices if row]
    if added:
        conn.execute(insert(_DEVICE), added)
    if changed:
        conn.execute(update(_DEVICE).where(_DEVICE.c.id == bindparam("row")), changed)
    keep(conn, devices)
    # They are no strangers any more.
    theirs = {fold(t) for _, each in devices for t in (each["ae_title"], *each["aliases"])}
    known = [row for row, title in conn.execute(_CALLED) if fold(title) in theirs]
    if known:
        conn.execute(delete(_KNOCK).where(_KNOCK.c.id.in_(known)))


def _touched(now: datetime) -> dict[str, Any]:
    return {"updated_at": now, "revision": draw()}


_CALLED = select(_KNOCK.c.id, _KNOCK.c.calling_ae_title)


_SEEN = Prepared(
    update(_DEVICE)
    .where(_DEVICE.c.id == bindparam("row"))
    .values(
        seen_at=bindparam("now"),
        seen_address=case(
            (bindparam("address") == literal_column("''"), _DEVICE.c.seen_address),
            else_=bindparam("address_again"),
        ),
    )
)


def seen(session: Session, contacts: Mapping[int, str], *, now: datetime) -> None:
    """Note that devices, by row, spoke to us, and from which addresses; "": where they were."""
    conn = session.connection()
    for row, address in sorted(contacts.items()):  # two processes never wait for each other
        values = {"row": row, "now": now, "address": address, "address_again": address}
        _SEEN.send(conn, values)


def found_odd(session: Session, oddities: Mapping[int, Iterable[str]]) -> None:
    """Add to what is odd about devices, by row."""
    conn = session.connection()
    for row, found in oddities.items():
        of_row = _DEVICE.c.id == row
        known = conn.scalar(select(_DEVICE.c.oddities).where(of_row).with_for_update())
        if known is not None and not set(found) <= set(known):
            both = sorted({*known, *found})
            conn.execute(update(_DEVICE).where(of_row).values(oddities=both, revision=draw()))


@dataclass(frozen=True, slots=True)
class Visit:
    """Who asked for an association, whom, from where, and whether it was granted."""

    calling: str
    called: str
    address: str
    admitted: bool


def knocked(session: Session, visits: Mapping[Visit, int], *, now: datetime) -> None:
    """Count visits of strangers, a row for each title and address; the oldest give way."""
    conn = session.connection()
    dialect_insert = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[conn.dialect.name]
    for visit, count in visits.items():
        statement: Any = dialect_insert(_KNOCK).values(
            calling_ae_title=visit.calling,
            called_ae_title=visit.called,
            address=visit.address,
            admitted=visit.admitted,
            count=count,
            first_at=now,
            last_at=now,
        )
        conn.execute(
            statement.on_conflict_do_update(
                index_elements=["calling_ae_title", "called_ae_title", "address"],
                set_={
                    "count": _KNOCK.c.count + count,
                    "admitted": statement.excluded.admitted,
                    "last_at": statement.excluded.last_at,
                },
            )
        )
    oldest = select(_KNOCK.c.id).order_by(_KNOCK.c.last_at.desc(), _KNOCK.c.id.desc())
    conn.execute(
        delete(_KNOCK).where(_KNOCK.c.id.not_in(oldest.limit(_MOST_KNOCKS).scalar_subquery()))
    )


def knocks(session: Session) -> list[Knock]:
    """List who knocked without being known, the latest first."""
    return list(session.execute(select(Knock).order_by(_KNOCK.c.last_at.desc())).scalars())


def knock(session: Session, row: int) -> Knock | None:
    """Read one of those who knocked by the number of its row."""
    return session.get(Knock, row)
