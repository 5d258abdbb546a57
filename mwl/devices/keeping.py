"""What people do with devices, each with its audit event in the caller's transaction."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlmodel import Session

from mwl import audit
from mwl.audit import Action, Actor, Event
from mwl.config import DeviceCharacters, DeviceTable, DeviceWorklist
from mwl.db.tables import Device
from mwl.devices import rows
from mwl.devices.answer import Answer
from mwl.errors import Fault, Reason, Rejected

_TABLES: Mapping[str, type[DeviceWorklist | DeviceCharacters]] = {
    "worklist": DeviceWorklist,
    "characters": DeviceCharacters,
}


def register(
    session: Session, actor: Actor, device: DeviceTable, *, now: datetime, replace: bool = False
) -> int:
    """Register a device as `rows.add` does; give its row."""
    before = rows.lookup(session, device.ae_title)
    kept = rows.kept(before) if before else {}
    rows.add(session, device, now=now, replace=replace)
    after = named(session, device.ae_title)
    session.refresh(after)
    action = Action.CHANGE if kept else Action.CREATE
    event = Event(action, subject_of(device.ae_title), differences(kept, rows.kept(after)))
    audit.record(session, actor, event, now=now)
    assert after.id is not None
    return after.id


def amend(session: Session, actor: Actor, row: int, device: DeviceTable, *, now: datetime) -> None:
    """Change a device as `rows.change` does."""
    before = rows.kept(rows.change(session, row, device, now=now))
    after = named(session, device.ae_title)
    changed = differences(before, rows.kept(after))
    event = Event(Action.CHANGE, subject_of(before["ae_title"]), changed)
    audit.record(session, actor, event, now=now)


def forget(session: Session, actor: Actor, row: int, *, now: datetime) -> str:
    """Remove a device as `rows.remove` does; give its AE title."""
    gone = rows.kept(rows.remove(session, row))
    title = str(gone["ae_title"])
    event = Event(Action.REMOVE, subject_of(title), _stated(gone))
    audit.record(session, actor, event, now=now)
    return title


def note_test(
    session: Session, actor: Actor, subject: str, result: Answer, *, now: datetime
) -> None:
    """Record that a peer was asked whether it is there, and what came of it."""
    detail = {"answers": result.well, "result": result.text}
    audit.record(session, actor, Event(Action.TEST, subject, detail), now=now)


def named(session: Session, ae_title: str) -> Device:
    """Find a device by its AE title. Rejected: there is none."""
    found = rows.lookup(session, ae_title)
    if found is None:
        raise Rejected(Fault(Reason.UNKNOWN_KEY, ae_title, "is not registered: `mwl device list`"))
    return found


def subject_of(ae_title: str) -> str:
    """Name a device for the audit trail."""
    return f"device:{ae_title}"


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Give what is new in a device, by key; of one that was there, what differs."""
    if not before:
        return _stated(after)
    if before == after:
        return {}
    was = _by_key(_whole(before))
    return {name: value for name, value in _by_key(_whole(after)).items() if value != was[name]}


def _stated(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in _by_key(values).items() if value not in ("", 0, [])}


def _by_key(values: Mapping[str, Any]) -> dict[str, Any]:
    """Give each setting by its own key, those in tables by dotted ones."""
    flat = {name: value for name, value in values.items() if name not in _TABLES}
    for table in _TABLES:
        flat |= {f"{table}.{name}": value for name, value in values[table].items()}
    return flat


def _whole(values: Mapping[str, Any]) -> dict[str, Any]:
    """Give the tables with what is as ever, too."""
    whole = {
        name: table.model_validate(values[name]).model_dump(mode="json")
        for name, table in _TABLES.items()
    }
    return {**values, **whole}
