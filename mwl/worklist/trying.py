"""What would a device be shown now? What it is taken to ask, and what comes of it.

The one who answers scanners answers this, too (`mwl.scp.trying`); here is what is said of it,
and what people see of the worklist that the device does not.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from sqlmodel import Session

from mwl.config import DeviceTable
from mwl.orders import OrderState, StepState
from mwl.worklist import asking, browse
from mwl.worklist.browse import Item, Wanted

MOST_TOLD: Final = 200  # answers that are written out
MOST_LOOKED_THROUGH: Final = 500  # entries of a day, for those that are hidden
_OVER = frozenset(
    {StepState.COMPLETED, StepState.DISCONTINUED, StepState.CANCELED, OrderState.CLOSED}
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a device asks by; "" is any, None what is usual for it.

    `day` is a DA of its wall clock, `character_set` the (0008,0005) that it asks in.
    """

    day: str | None = None
    modality: str | None = None
    station: str | None = None
    patient_id: str = ""
    patient_name: str = ""
    accession_number: str = ""
    character_set: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """An answer as the device reads it: attributes by keyword, those of the step among them.

    `step` is the row of its step. `rewritten` are those which it is told in other letters, as
    they are kept.
    """

    step: int
    attributes: Mapping[str, str]
    character_set: str
    rewritten: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Tried:
    """What comes of a query.

    refused: why it is not let ask at all; "" it is. status, comment: how the C-FIND ends.
    count: its answers, of which `answers` are the first; more: how many would match, had the
    device no bound. hidden: entries that people see for that day or patient, and it does not;
    None: it asks for neither; `more_hidden`: there may be others.
    """

    ae_title: str
    device: DeviceTable | None
    asked: Asked
    refused: str
    status: int
    comment: str
    count: int
    more: int
    answers: Sequence[Shown]
    hidden: Sequence[Item] | None = None
    more_hidden: bool = False

    @property
    def is_cut(self) -> bool:
        """Whether more match than it is given, and it isn't told."""
        return not self.status and self.more > self.count


Try = Callable[[str, Asked, datetime], Tried]


def usual(
    asked: Asked, device: DeviceTable | None, calling: str, now: datetime, zone: ZoneInfo
) -> Asked:
    """Fill in what such a device usually asks by; `zone` is the site's."""
    day, modality, station = asked.day, asked.modality, asked.station
    if day is None:
        day = asking.today(now, (device and device.zone_info) or zone)
    if modality is None:
        modality = device.modality if device else ""
    if station is None:
        station = calling
    return replace(asked, day=day, modality=modality, station=station)


def hidden(
    session: Session, asked: Asked, shown: AbstractSet[int], *, now: datetime, zone: ZoneInfo
) -> tuple[Sequence[Item] | None, bool]:
    """List what people see for the asked day and patient, and is not among steps shown.

    And whether there may be more. What is over is not looked for.
    """
    text = asked.accession_number or asked.patient_id or asked.patient_name.rstrip("*")
    day, modality = asked.day or "", asked.modality or ""
    wanted = Wanted(
        day=day if _is_day(day) else "",
        modality=modality if re.fullmatch(r"[A-Z0-9_ ]*", modality) else "",
        text=text,
        zone=zone,
    )
    if not (wanted.day or text):
        return None, False
    found = browse.page(session, wanted, now=now, limit=MOST_LOOKED_THROUGH + 1)
    some = found[:MOST_LOOKED_THROUGH]
    left = [each for each in some if each.id not in shown and each.shown_state not in _OVER]
    return left, len(found) > len(some)


def _is_day(text: str) -> bool:
    try:
        return len(text) == 8 and bool(datetime.strptime(text, "%Y%m%d"))  # noqa: DTZ007 - a DA
    except ValueError:
        return False
