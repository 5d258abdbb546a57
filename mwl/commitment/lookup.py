"""Which versions of instances are here: one query for many."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Select, select
from sqlmodel import Session

from mwl.archive import IS_QUARANTINED
from mwl.commitment.rules import Held
from mwl.db.tables import Instance, StoredObject
from mwl.devices.titles import caller
from mwl.studies import ObjectState

_OBJECT = StoredObject.__table__  # type: ignore[attr-defined]
_INSTANCE = Instance.__table__  # type: ignore[attr-defined]

_COLUMNS = (
    _OBJECT.c.id,
    _OBJECT.c.key,
    _OBJECT.c.data_set_offset,
    _OBJECT.c.size,
    _OBJECT.c.sha256,
    caller(_OBJECT.c.source).label("source"),
)


@dataclass(slots=True)
class Versions:
    """What is here of one instance: the version that is served, and contradictions to it."""

    served: Held | None = None
    quarantined: list[Held] = field(default_factory=list)


def versions(session: Session, instance_uids: Sequence[str]) -> Mapping[str, Versions]:
    """Find the versions of some hundred instances, by SOP Instance UID."""
    found: defaultdict[str, Versions] = defaultdict(Versions)
    for row in _rows(session, _served(instance_uids)):
        found[row.sop_instance_uid].served = _held(row)
    for row in _rows(session, _quarantined(instance_uids)):
        found[row.sop_instance_uid].quarantined.append(_held(row))
    return found


def _served(instance_uids: Sequence[str]) -> Select[Any]:
    return (
        select(_INSTANCE.c.sop_instance_uid, _INSTANCE.c.sop_class_uid, *_COLUMNS)
        .join(_OBJECT, _OBJECT.c.instance == _INSTANCE.c.id)
        .where(
            _INSTANCE.c.sop_instance_uid.in_(instance_uids),
            _OBJECT.c.state == ObjectState.SERVED.value,
        )
    )


def _quarantined(instance_uids: Sequence[str]) -> Select[Any]:
    # There may be no instance of it at all: what it is, it alone tells.
    return select(_OBJECT.c.sop_instance_uid, _OBJECT.c.sop_class_uid, *_COLUMNS).where(
        _OBJECT.c.sop_instance_uid.in_(instance_uids), IS_QUARANTINED
    )


def _rows(session: Session, statement: Select[Any]) -> Iterable[Any]:
    return session.connection().execute(statement)


def _held(row: Any) -> Held:
    return Held(
        row=row.id,
        sop_class_uid=row.sop_class_uid,
        key=row.key,
        data_set_offset=row.data_set_offset,
        size=row.size,
        sha256=row.sha256,
        source=row.source,
    )
