"""What people do with devices, each with its audit event in the caller's transaction."""

from datetime import datetime
from typing import Any

from sqlmodel import Session

from mwl import audit
from mwl.audit import Action, Actor, Event
from mwl.config import DeviceTable
from mwl.db.tables import Device
from mwl.devices import rows
from mwl.devices.answer import Answer
from mwl.errors import Fault, Reason, Rejected


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
    event = Event(action, subject_of(device.ae_title), _differences(kept, rows.kept(after)))
    audit.record(session, actor, event, now=now)
    assert after.id is not None
    return after.id


def amend(session: Session, actor: Actor, row: int, device: DeviceTable, *, now: datetime) -> None:
    """Change a device as `rows.change` does."""
    before = rows.kept(rows.change(session, row, device, now=now))
    after = named(session, device.ae_title)
    changed = _differences(before, rows.kept(after))
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


def _stated(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in ("", 0)}


def _differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Give what is new in a device; of one that was there, what differs."""
    if not before:
        return _stated(after)
    return {name: value for name, value in after.items() if value != before[name]}
