"""MPPS: those of removed orders go with them, those of no order when they are old."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, or_, select
from sqlmodel import Session

from mwl.db.tables import (
    Instance,
    PerformedInstance,
    PerformedLink,
    PerformedMessage,
    PerformedStep,
    Study,
)
from mwl.outbox import performed_subject
from mwl.performed import PerformedState
from mwl.procedures import rows
from mwl.retention.shelf import Shelf, forget_deliveries, has_newest, is_to_be_told

_PERFORMED = PerformedStep.__table__  # type: ignore[attr-defined]
_MESSAGE = PerformedMessage.__table__  # type: ignore[attr-defined]
_LISTED = PerformedInstance.__table__  # type: ignore[attr-defined]
_LINK = PerformedLink.__table__  # type: ignore[attr-defined]
_STUDY = Study.__table__  # type: ignore[attr-defined]
_INSTANCE = Instance.__table__  # type: ignore[attr-defined]


def _is_needless() -> ColumnElement[bool]:
    """Tell of an MPPS that it is of no order, and of no images that are here."""
    has_images = or_(
        exists().where(_STUDY.c.study_instance_uid == _PERFORMED.c.study_instance_uid),
        exists().where(
            _LISTED.c.performed_step == _PERFORMED.c.id,
            _INSTANCE.c.sop_instance_uid == _LISTED.c.sop_instance_uid,
        ),
    )
    return ~or_(exists().where(_LINK.c.performed_step == _PERFORMED.c.id), has_images)


def _is_over(before: datetime) -> ColumnElement[bool]:
    return and_(
        _PERFORMED.c.state != PerformedState.IN_PROGRESS.value,
        _PERFORMED.c.updated_at < before,
        _is_needless(),
    )


def _find(conn: Connection, after: int, upto: int, before: datetime) -> Sequence[int]:
    numbers = select(_PERFORMED.c.id).where(_PERFORMED.c.id > after, _PERFORMED.c.id <= upto)
    return conn.scalars(numbers.where(_is_over(before)).order_by(_PERFORMED.c.id)).all()


def _remove(session: Session, row: int, before: datetime, now: datetime) -> bool:
    del now
    conn = session.connection()
    rows.hold_row(conn, row).first()
    still = select(_PERFORMED.c.id).where(_PERFORMED.c.id == row, _is_over(before))
    return conn.scalar(still) is not None and remove_needless(conn, row)


def remove_needless(conn: Connection, row: int) -> bool:
    """Remove an MPPS that neither steps nor images need, and nobody is to be told of."""
    about = performed_subject(row)
    needless = select(_PERFORMED.c.id).where(_PERFORMED.c.id == row, _is_needless())
    if conn.scalar(needless) is None:
        return False
    if is_to_be_told(conn, about) or has_newest(conn, _PERFORMED, [row]):
        return False
    for table in (_MESSAGE, _LISTED):
        conn.execute(delete(table).where(table.c.performed_step == row))
    forget_deliveries(conn, about)
    conn.execute(delete(_PERFORMED).where(_PERFORMED.c.id == row))
    return True


SHELF: Final = Shelf("performed_steps", _PERFORMED, _find, _remove)
