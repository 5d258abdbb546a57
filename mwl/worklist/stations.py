"""Which scanners a step is scheduled on."""

from sqlalchemy import Connection, bindparam, delete, insert, select

from mwl.db import Prepared, Reply
from mwl.db.tables import Device, StepStation

_DEVICE = Device.__table__  # type: ignore[attr-defined]
_TABLE = StepStation.__table__  # type: ignore[attr-defined]
_OF_MODALITY = Prepared(
    select(_DEVICE.c.ae_title)
    .where(_DEVICE.c.modality == bindparam("modality"))
    .order_by(_DEVICE.c.ae_title)
    .limit(bindparam("limit"))
)
_INSERT = Prepared(insert(_TABLE).values(step=bindparam("step_row"), ae_title=bindparam("title")))
# A step that any of so many may do is as good as unassigned, and costs each answer no kilobytes.
_MOST_STATIONS = 64
_CLEAR = Prepared(delete(_TABLE).where(_TABLE.c.step == bindparam("step_row")))


class Devices:
    """The devices of each modality that a change is about, asked for once.

    What is known to be needed can be asked for ahead, together with other things.
    """

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._asked: dict[str, Reply] = {}

    def ask(self, modality: str) -> Reply:
        """Ask for the devices of `modality` without waiting for the answer."""
        if modality not in self._asked:
            wanted = {"modality": modality, "limit": _MOST_STATIONS + 1}
            self._asked[modality] = _OF_MODALITY.send(self._conn, wanted)
        return self._asked[modality]

    def titles(self, modality: str) -> tuple[str, ...]:
        """List the AE titles of every device of `modality`; none: the step stays unassigned.

        It does so as well where they are more than a few dozen.
        """
        found = self.ask(modality).all() if modality else ()
        return tuple(row.ae_title for row in found) if len(found) <= _MOST_STATIONS else ()


def assign(conn: Connection, step: int, titles: tuple[str, ...], *, again: bool = False) -> None:
    """Schedule a step on stations; `again` where it may have had others."""
    if again:
        _CLEAR.send(conn, {"step_row": step})
    for title in titles:
        _INSERT.send(conn, {"step_row": step, "title": title})
