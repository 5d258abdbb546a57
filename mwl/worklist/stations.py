"""Which scanners a step is scheduled on."""

from sqlalchemy import Connection, bindparam, delete, insert, select

from mwl.db.tables import Device, StepStation

_DEVICE = Device.__table__  # type: ignore[attr-defined]
_TABLE = StepStation.__table__  # type: ignore[attr-defined]
_OF_MODALITY = (
    select(_DEVICE.c.ae_title)
    .where(_DEVICE.c.modality == bindparam("modality"))
    .order_by(_DEVICE.c.ae_title)
)
_INSERT = insert(_TABLE)
_CLEAR = delete(_TABLE).where(_TABLE.c.step == bindparam("step_row"))


def of_modality(conn: Connection, modality: str) -> tuple[str, ...]:
    """List the AE titles of every device of `modality`; none: the step stays unassigned."""
    return tuple(conn.execute(_OF_MODALITY, {"modality": modality}).scalars())


def assign(conn: Connection, step: int, titles: tuple[str, ...], *, again: bool = False) -> None:
    """Schedule a step on stations; `again` where it may have had others."""
    if again:
        conn.execute(_CLEAR, {"step_row": step})
    if titles:
        conn.execute(_INSERT, [{"step": step, "ae_title": title} for title in titles])
