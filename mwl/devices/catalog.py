"""The devices as a process keeps them, by each of their titles.

They are looked at every second, and a fleet has thousands. So each row has a number that is
drawn anew whenever what is set of it changes: the sum of them all tells that nothing has, and
they tell which rows are to be read again. A clock would not do: nodes differ in what time it is.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlmodel import Session

from mwl.config import DeviceTable
from mwl.db import Prepared
from mwl.db.tables import Device
from mwl.devices.rows import table_of, titles
from mwl.devices.titles import fold
from mwl.tls import Shown, matches

_DEVICE = Device.__table__  # type: ignore[attr-defined]
_SUM: Any = select(func.count(), func.coalesce(func.sum(_DEVICE.c.revision), 0))
_STATE = Prepared(_SUM.select_from(_DEVICE))
_REVISIONS = Prepared(select(_DEVICE.c.id, _DEVICE.c.revision))
_AT_ONCE = 500  # rows of one statement


@dataclass(frozen=True, slots=True)
class Known:
    """A device as services know it, however it called itself; `table` is what is set of it.

    `row` is its number, `oddities` what is odd about its association requests.
    """

    row: int
    table: DeviceTable
    may: frozenset[str]
    oddities: frozenset[str]

    @property
    def certificate(self) -> str:
        """The rule for its certificate; "": it need not show one."""
        return self.table.certificate

    def proven(self, shown: Shown | None) -> bool:
        """Tell whether who shows this certificate is the device."""
        return not self.certificate or (shown is not None and matches(self.certificate, shown))


def _known(row: Device) -> Known:
    return Known(row.id or 0, table_of(row), frozenset(row.may), frozenset(row.oddities))


class Catalog:
    """What is known of devices; one thread at a time."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[int, Known, frozenset[str]]] = {}  # revision, device, titles
        self._sum = (0, 0)
        self._by_title: dict[str, Known] = {}

    def get(self, title: str) -> Known | None:
        """Find a device by one of its titles, folded."""
        return self._by_title.get(title)

    def refresh(self, session: Session) -> None:
        """Read what has changed."""
        conn = session.connection()
        if tuple(_STATE.all(conn, {})[0]) == self._sum:
            return
        revisions = dict(map(tuple, _REVISIONS.all(conn, {})))
        rows = {row: self._rows[row] for row in self._rows.keys() & revisions.keys()}
        changed = [
            row for row, number in revisions.items() if row not in rows or rows[row][0] != number
        ]
        for device in _read(session, changed):
            rows[device.id or 0] = (device.revision, _known(device), frozenset(titles(device)))
        self._rows = rows
        # Of what was read: it may have changed again meanwhile.
        self._sum = (len(rows), sum(revision for revision, *_ in rows.values()))
        # By row, as ever: who of two has a title does not change with who was read last. Of
        # one that the settings give a device, and another is registered by, the latter's it is.
        in_order = sorted(rows.items(), reverse=True)
        self._by_title = {title: known for _, (_, known, its) in in_order for title in its}
        self._by_title |= {fold(known.table.ae_title): known for _, (_, known, _) in in_order}


def _read(session: Session, rows: list[int]) -> Iterable[Device]:
    for at in range(0, len(rows), _AT_ONCE):
        some = _DEVICE.c.id.in_(rows[at : at + _AT_ONCE])
        yield from session.execute(select(Device).where(some)).scalars()
