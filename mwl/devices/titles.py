"""By which AE titles a device is known, for statements: `device_title` holds all but its own.

A scanner calls by several titles, and orders name its stations. What came from it, or is
planned for it, keeps the title that it came with; whose that is, is asked when it matters, so
that a title that is registered today holds for yesterday's images too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    String,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
)

from mwl.db.tables import Device, DeviceTitle

_DEVICE = Device.__table__  # type: ignore[attr-defined]
_TITLE = DeviceTitle.__table__  # type: ignore[attr-defined]
_FORGET = delete(_TITLE).where(_TITLE.c.device == bindparam("row"))
_ROWS = select(_DEVICE.c.ae_title, _DEVICE.c.id)


def fold(ae_title: str) -> str:
    """Make AE titles comparable: no spaces or NULs around, case ignored.

    PS3.5 6.2 calls other case another title, but people type what they read off a screen.
    """
    return ae_title.strip(" \0").upper()


def keep(conn: Connection, devices: Sequence[tuple[int | None, Mapping[str, Any]]]) -> None:
    """Write the further titles of devices that were written, each with its row; None: new."""
    changed = [{"row": row} for row, _ in devices if row]
    if changed:
        conn.execute(_FORGET, changed)
    titles = {each["ae_title"]: _further(each) for _, each in devices}
    if any(titles.values()):
        rows = {title: row for title, row in conn.execute(_ROWS) if title in titles}
        conn.execute(
            insert(_TITLE),
            [
                {"ae_title": other, "device": rows[title], "calls": calls}
                for title, further in titles.items()
                for other, calls in further.items()
            ],
        )


def _further(device: Mapping[str, Any]) -> dict[str, bool]:
    """Give the titles of a device but its own, folded, and whether it calls by them."""
    stations = dict.fromkeys(map(fold, device["worklist"].get("stations", ())), False)
    titles = stations | dict.fromkeys(map(fold, device["aliases"]), True)
    titles.pop(fold(device["ae_title"]), None)
    return titles


def caller(ae_title: ColumnElement[str]) -> ColumnElement[str]:
    """Give, of who calls so, the device's own title, folded; a stranger's is its own."""
    # An alias: the statement around may be about devices itself.
    device, title = _DEVICE.alias(), _TITLE.alias()
    found = (
        select(func.upper(device.c.ae_title))
        .join(title, title.c.device == device.c.id)
        .where(title.c.ae_title == func.upper(ae_title), title.c.calls)
        .limit(1)
        .correlate_except(device, title)
        .scalar_subquery()
    )
    return func.coalesce(found, func.upper(ae_title))


def is_station_of(ae_title: ColumnElement[str], device: Any) -> ColumnElement[bool]:
    """Tell of a station and a device, as the columns of its table, whether it is one of its own."""
    title = _TITLE.alias()
    further = exists().where(title.c.device == device.id, title.c.ae_title == func.upper(ae_title))
    further = further.correlate_except(title)
    return or_(func.upper(ae_title) == func.upper(device.ae_title), further)


_CALLER = select(caller(bindparam("title", type_=String())))


def own(conn: Connection, ae_title: str) -> str:
    """Give, of who calls so, the device's own title, folded; a stranger's is its own."""
    found = conn.scalar(_CALLER, {"title": fold(ae_title)})
    return str(found)
