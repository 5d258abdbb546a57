"""Commitments that were reported, or can't be, of images that belong to no order."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, select
from sqlmodel import Session

from mwl import commitment
from mwl.commitment import State
from mwl.db.tables import Commitment, CommitmentItem, Instance, Series, Study
from mwl.retention.shelf import Shelf, forget_deliveries, is_to_be_told

_COMMITMENT = Commitment.__table__  # type: ignore[attr-defined]
_ITEM = CommitmentItem.__table__  # type: ignore[attr-defined]
_INSTANCE = Instance.__table__  # type: ignore[attr-defined]
_SERIES = Series.__table__  # type: ignore[attr-defined]
_STUDY = Study.__table__  # type: ignore[attr-defined]

_OVER: Final = (State.REPORTED.value, State.UNTOLD.value)


def _is_over(before: datetime) -> ColumnElement[bool]:
    is_of_order = exists().where(
        _ITEM.c.commitment == _COMMITMENT.c.id,
        _INSTANCE.c.sop_instance_uid == _ITEM.c.sop_instance_uid,
        _SERIES.c.id == _INSTANCE.c.series,
        _STUDY.c.id == _SERIES.c.study,
        _STUDY.c.requested_procedure.is_not(None),
    )
    old = _COMMITMENT.c.received_at < before
    return and_(_COMMITMENT.c.state.in_(_OVER), old, ~is_of_order)


def _find(conn: Connection, after: int, upto: int, before: datetime) -> Sequence[int]:
    numbers = select(_COMMITMENT.c.id).where(_COMMITMENT.c.id > after, _COMMITMENT.c.id <= upto)
    return conn.scalars(numbers.where(_is_over(before)).order_by(_COMMITMENT.c.id)).all()


def _remove(session: Session, row: int, before: datetime, now: datetime) -> bool:
    del now
    conn, about = session.connection(), commitment.subject(row)
    still = select(_COMMITMENT.c.id).where(_COMMITMENT.c.id == row, _is_over(before))
    if conn.scalar(still.with_for_update()) is None or is_to_be_told(conn, about):
        return False
    conn.execute(delete(_ITEM).where(_ITEM.c.commitment == row))
    forget_deliveries(conn, about)
    conn.execute(delete(_COMMITMENT).where(_COMMITMENT.c.id == row))
    return True


SHELF: Final = Shelf("commitments", _COMMITMENT, _find, _remove)
