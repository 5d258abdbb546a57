"""Many devices at once: what a file says of them is made so, in one transaction.

A device stands in the file with all that is set of it. What the settings own stays theirs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import delete
from sqlmodel import Session

from mwl import audit
from mwl.audit import Action, Actor, Event
from mwl.config import DeviceTable
from mwl.db.tables import Device
from mwl.devices import keeping, rows
from mwl.devices.titles import fold
from mwl.errors import Fault, Reason, Rejected

_DEVICE = Device.__table__  # type: ignore[attr-defined]
_MOST_FAULTS = 20  # that are told
_AT_ONCE = 500  # rows of one statement


class Becomes(StrEnum):
    """What becomes of a device."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"
    SAME = "as it was"
    OWNED = "left to the settings"


@dataclass(frozen=True, slots=True)
class Difference:
    """What becomes of one device; `detail` is what is new of it, by key, `values` its row."""

    becomes: Becomes
    ae_title: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    row: int | None = None


def differences(
    session: Session, devices: Sequence[DeviceTable], *, prune: bool = False
) -> list[Difference]:
    """Tell what `bring` would do: of each device in their order, then what would be removed.

    Rejected: a title that another device has, which stays as it is.
    """
    known = {fold(each.ae_title): each for each in rows.listing(session)}
    stated = {fold(each.ae_title) for each in devices}
    left = [each for title, each in known.items() if title not in stated]
    gone = [each for each in left if prune and each.origin != "config"]
    stay = {each.id for each in left} - {each.id for each in gone}
    stay |= {each.id for each in known.values() if each.origin == "config"}
    _refuse_shared(devices, [each for each in known.values() if each.id in stay])
    return [
        *(_difference(each, known.get(fold(each.ae_title))) for each in devices),
        *(_removed(each) for each in gone),
    ]


def bring(
    session: Session,
    actor: Actor,
    devices: Sequence[DeviceTable],
    *,
    now: datetime,
    prune: bool = False,
) -> list[Difference]:
    """Make devices what is stated of them; `prune` removes those by hand that are not among them.

    Each is recorded as if it had been done alone. Rejected as by `differences`.
    """
    found = differences(session, devices, prune=prune)
    _write(session, found, now)
    for each in found:
        if action := _ACTIONS.get(each.becomes):
            event = Event(action, keeping.subject_of(each.ae_title), each.detail)
            audit.record(session, actor, event, now=now)
    return found


_ACTIONS = {
    Becomes.ADDED: Action.CREATE,
    Becomes.CHANGED: Action.CHANGE,
    Becomes.REMOVED: Action.REMOVE,
}


def _refuse_shared(devices: Sequence[DeviceTable], staying: Sequence[Device]) -> None:
    """Refuse titles of devices that stay as they are; those of the file differ already."""
    owners = {title: each for each in staying for title in rows.titles(each)}
    faults = []
    for device in devices:
        mine = owners.get(fold(device.ae_title))
        if mine is not None and fold(mine.ae_title) == fold(device.ae_title):
            continue  # the settings own it
        for title in device.titles:
            if owner := owners.get(fold(title)):
                text = f"{title} is a title of {owner.ae_title} already"
                faults.append(Fault(Reason.DUPLICATE_KEY, device.ae_title, text))
    if faults:
        raise Rejected(*faults[:_MOST_FAULTS])


def _difference(device: DeviceTable, before: Device | None) -> Difference:
    values = rows.values_of(device, "manual")
    if before is None:
        return Difference(Becomes.ADDED, device.ae_title, keeping.differences({}, values), values)
    if before.origin == "config":
        return Difference(Becomes.OWNED, before.ae_title)
    detail = keeping.differences(rows.kept(before), values)
    becomes = Becomes.CHANGED if detail else Becomes.SAME
    return Difference(becomes, device.ae_title, detail, values, before.id)


def _removed(device: Device) -> Difference:
    detail = keeping.differences({}, rows.kept(device))
    return Difference(Becomes.REMOVED, device.ae_title, detail, row=device.id)


def _write(session: Session, found: Sequence[Difference], now: datetime) -> None:
    gone = [each.row for each in found if each.becomes is Becomes.REMOVED]
    conn = session.connection()
    for at in range(0, len(gone), _AT_ONCE):
        conn.execute(delete(_DEVICE).where(_DEVICE.c.id.in_(gone[at : at + _AT_ONCE])))
    written = [each for each in found if each.becomes in {Becomes.ADDED, Becomes.CHANGED}]
    rows.write(session, [(each.row, each.values) for each in written], now=now)
