"""Which scanners a step is scheduled on."""

from sqlalchemy import Connection, bindparam, delete, insert, select

from mwl.db import Prepared
from mwl.db.tables import Device, StepStation

_DEVICE = Device.__table__  # type: ignore[attr-defined]
_TABLE = StepStation.__table__  # type: ignore[attr-defined]
_OF_MODALITY = Prepared(
    select(_DEVICE.c.ae_title)
    .where(_DEVICE.c.modality == bindparam("modality"))
    .order_by(_DEVICE.c.ae_title)
)
_INSERT = Prepared(insert(_TABLE).values(step=bindparam("step_row"), ae_title=bindparam("title")))
_CLEAR = Prepared(delete(_TABLE).where(_TABLE.c.step == bindparam("step_row")))


def of_modality(conn: Connection, modality: str) -> tuple[str, ...]:
    """List the AE titles of every device of `modality`; none: the step stays unassigned."""
    return tuple(row.ae_title for row in _OF_MODALITY.all(conn, {"modality": modality}))


def assign(conn: Connection, step: int, titles: tuple[str, ...], *, again: bool = False) -> None:
    """Schedule a step on stations; `again` where it may have had others."""
    if again:
        _CLEAR.run(conn, {"step_row": step})
    for title in titles:
        _INSERT.run(conn, {"step_row": step, "title": title})
