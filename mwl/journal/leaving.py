"""What becomes of the messages about an order that is removed."""

from sqlalchemy import Connection, delete, select, update

from mwl.db.tables import MessageOrder
from mwl.journal.counting import MESSAGE, add, progress, weight

_FURTHER = MessageOrder.__table__  # type: ignore[attr-defined]


def leave(conn: Connection, order: int) -> None:
    """Let its messages lead to the order no more, so that it can be removed.

    Those whose text has gone already (`clearing`) told its story and no more: they go.
    """
    emptied_to = progress(conn).emptied_to
    its = select(MESSAGE.c.id, MESSAGE.c.received_at, weight()).where(
        MESSAGE.c.imaging_order == order, MESSAGE.c.id <= emptied_to, MESSAGE.c.raw == b""
    )
    of_others = select(_FURTHER.c.message).where(_FURTHER.c.message == MESSAGE.c.id)
    gone = conn.execute(its.where(~of_others.exists())).all()
    conn.execute(delete(_FURTHER).where(_FURTHER.c.imaging_order == order))
    conn.execute(delete(MESSAGE).where(MESSAGE.c.id.in_([row.id for row in gone])))
    add(conn, gone, -1)
    leads = MESSAGE.c.imaging_order == order
    conn.execute(update(MESSAGE).where(leads).values(imaging_order=None))
