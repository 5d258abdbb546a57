"""What of the worklist a device is shown, whatever its keys: the rules for hiding.

1. What is over or held is hidden: CANCELED, DISCONTINUED, COMPLETED, HELD. STARTED stays
   for `STARTED_VISIBLE` (a crash, a second room, an appended series). A key on the step's
   status overrides this; HELD is ours, and never shown. Neither are the steps of an order
   that has EXPIRED, which is ours as well: many scanners ask for SCHEDULED every time.
2. A step that no station is given to is *unassigned*: any station key finds it, if the
   asking device is of the step's modality. Hiding it would hide the patient from everyone.
   So would a modality that nobody named: any modality key, and a device of any, finds that.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import ColumnElement, and_, bindparam, exists, literal, or_

from mwl.db.matching import Shape, condition
from mwl.db.tables import ScheduledStep, StepStation
from mwl.matching import Single
from mwl.orders import StepState

STARTED_VISIBLE = timedelta(hours=12)

_VISIBLE = (
    StepState.SCHEDULED,
    StepState.ARRIVED,
    StepState.READY,
    StepState.STARTED,
    StepState.DEPARTED,
)

_s = ScheduledStep.__table__.c  # type: ignore[attr-defined]
_STATION = StepStation.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Caller:
    """The device that asks; `modality` is its own, None if it may see any unassigned step."""

    ae_title: str = ""
    modality: str | None = None


ANYBODY: Final = Caller()


def visible(status: Shape | None, dialect: str) -> ColumnElement[bool]:
    if status is not None:
        asked = condition(_s.state, "status", status, dialect)
        return and_(asked, _s.state != StepState.HELD.value, ~_s.expired)
    fresh = or_(
        _s.state != StepState.STARTED.value,
        _s.state_at >= bindparam("started_since", type_=_s.state_at.type),
    )
    return and_(_s.state.in_([literal(state.value) for state in _VISIBLE]), fresh, ~_s.expired)


def of_modality(modality: Shape, dialect: str) -> ColumnElement[bool]:
    if modality == (Single,):  # as nearly always; IN is for the index
        either: ColumnElement[bool] = _s.modality.in_([literal(""), bindparam("modality")])
        return either
    return or_(_s.modality == literal(""), condition(_s.modality, "modality", modality, dialect))


def stationed(station: Shape, dialect: str, one_modality: bool) -> ColumnElement[bool]:
    title = condition(_STATION.c.ae_title, "station_ae_titles", station, dialect)
    assigned = exists().where(_STATION.c.step == _s.id, title)
    unassigned = _s.station_ae_titles == ""
    if one_modality:
        unassigned &= _s.modality.in_([literal(""), bindparam("caller_modality")])
    return or_(assigned, unassigned)
