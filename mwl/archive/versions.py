"""Versions of one instance as rows: what a newcomer under a known UID becomes.

The caller holds the lock of the SOP Instance UID, so that one of an instance's objects, and
one only, is served.
"""

from dataclasses import replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    literal_column,
    or_,
    select,
    update,
)

from mwl.archive.received import Received, Stored, instance_row, object_row
from mwl.db import Insertion, Prepared
from mwl.db.tables import Instance, StoredObject
from mwl.devices.titles import caller
from mwl.studies import (
    WRONG_ENTRY_REASON,
    Decision,
    Kept,
    ObjectState,
    Outcome,
    Version,
    decide,
    quarantine,
)

_INSTANCE = Instance.__table__  # type: ignore[attr-defined]
_OBJECT = StoredObject.__table__  # type: ignore[attr-defined]

_INSERT = Insertion(_OBJECT)
_SERVED: ColumnElement[str] = literal_column(f"'{ObjectState.SERVED}'")
_HAS_THESE_BYTES = (
    _OBJECT.c.sha256 == bindparam("sha256"),
    _OBJECT.c.transfer_syntax == bindparam("transfer_syntax"),
)
# The one that is served, and those with the same bytes: seldom more than two.
_OF_INSTANCE = Prepared(
    select(
        *(column for column in _OBJECT.c if column.name != "source"),
        caller(_OBJECT.c.source).label("source"),
        caller(bindparam("new_source", type_=_OBJECT.c.source.type)).label("new_source"),
    )
    .where(
        _OBJECT.c.instance == bindparam("instance_row"),
        or_(_OBJECT.c.state == _SERVED, and_(*_HAS_THESE_BYTES)),
    )
    .order_by(_OBJECT.c.id)
)
# As the indexes of what is set aside say it: with parameters they could not be used.
IS_QUARANTINED = and_(
    _OBJECT.c.state != _SERVED,
    _OBJECT.c.state == literal_column(f"'{ObjectState.QUARANTINED}'"),
)
_QUARANTINED = Prepared(
    select(_OBJECT.c.id)
    .where(
        IS_QUARANTINED,
        _OBJECT.c.sop_instance_uid == bindparam("sop_instance_uid"),
        *_HAS_THESE_BYTES,
    )
    .limit(1)
)
_RESTATE = Prepared(
    update(_OBJECT).where(_OBJECT.c.id == bindparam("row")).values(state=bindparam("new_state"))
)
_DESCRIBED = ("instance_number", "rows", "columns", "frames")
_DESCRIBE = Prepared(
    update(_INSTANCE)
    .where(_INSTANCE.c.id == bindparam("row"))
    .values({name: bindparam(f"new_{name}") for name in _DESCRIBED})
)


def add(conn: Connection, received: Received, instance: Any) -> Stored:
    """Decide about, and keep, what came under the UID of `instance`, in its own series."""
    bytes_ = {"sha256": received.sha256, "transfer_syntax": received.transfer_syntax}
    asked = {"instance_row": instance.id, "new_source": received.source, **bytes_}
    rows = _OF_INSTANCE.all(conn, asked)
    kept = [Kept(row.id, ObjectState(row.state), _version(row, instance)) for row in rows]
    served = next((each for each in kept if each.state is ObjectState.SERVED), None)
    if served is None:
        # A person decides about the instance, and so about whatever else comes of it.
        return set_aside(conn, received, quarantine(WRONG_ENTRY_REASON), instance.id)
    # However it calls itself, a scanner is one source.
    new = replace(received.version(), source=rows[0].new_source)
    decision = decide(new, served.version, [each for each in kept if each.version.is_same_as(new)])
    if decision.outcome is Outcome.QUARANTINED:
        return set_aside(conn, received, decision, instance.id)
    if decision.outcome is Outcome.REPLACED or decision.serve is not None:
        _RESTATE.send(conn, {"row": served.row, "new_state": ObjectState.OLDER})
        described = {f"new_{k}": v for k, v in instance_row(received).items() if k in _DESCRIBED}
        _DESCRIBE.send(conn, {"row": instance.id, **described})
    if decision.serve is not None:
        _RESTATE.send(conn, {"row": decision.serve, "new_state": ObjectState.SERVED})
    if decision.state is not None:
        _keep(conn, received, decision, instance.id)
    return Stored(decision.outcome, decision.reason)


def set_aside(
    conn: Connection, received: Received, decision: Decision, instance: int | None = None
) -> Stored:
    """Keep it out of sight, unless these bytes are there already."""
    known = {
        "sop_instance_uid": received.sop_instance_uid,
        "sha256": received.sha256,
        "transfer_syntax": received.transfer_syntax,
    }
    if _QUARANTINED.first(conn, known) is not None:
        return Stored(Outcome.REPEATED, decision.reason)
    _keep(conn, received, decision, instance)
    return Stored(decision.outcome, decision.reason)


def _keep(conn: Connection, received: Received, decision: Decision, instance: int | None) -> None:
    values = {"instance": instance, "state": decision.state, "reason": decision.reason}
    _INSERT.send(conn, {**object_row(received), **values})


def _version(row: Any, instance: Any) -> Version:
    return Version(
        row.sha256,
        row.transfer_syntax,
        row.source,
        row.sop_class_uid,
        (instance.rows, instance.columns, instance.frames),
    )
