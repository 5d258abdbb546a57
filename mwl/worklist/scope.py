"""What of the worklist a device is shown, whatever its keys: the rules for hiding.

1. What is over or held is hidden: CANCELED, DISCONTINUED, COMPLETED, HELD. STARTED stays
   for `STARTED_VISIBLE` (a crash, a second room, an appended series). A key on the step's
   status overrides this; HELD is ours, and never shown. Neither are the steps of an order
   that has EXPIRED, which is ours as well: many scanners ask for SCHEDULED every time.
2. A step that no station is given to is *unassigned*: any station key finds it, if the
   asking device is of the step's modality. Hiding it would hide the patient from everyone.
   So would a modality that nobody named: any modality key, and a device of any, finds that.
   The same goes for a location.
3. What is set of a device (`Scope`) narrows all this, and no key overrides it: whoever sets it
   means what stands on the screen in that room.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, and_, bindparam, exists, func, literal, or_

from mwl.db.matching import Shape, condition
from mwl.db.tables import ScheduledStep, StepStation
from mwl.matching import AnyOf, Single
from mwl.orders import StepState

STARTED_VISIBLE = timedelta(hours=12)

VISIBLE = (
    StepState.SCHEDULED,
    StepState.ARRIVED,
    StepState.READY,
    StepState.STARTED,
    StepState.DEPARTED,
)

_s = ScheduledStep.__table__.c  # type: ignore[attr-defined]
_STATION = StepStation.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Scope:
    """What a device is shown at a moment, by what is set of it; empty: no bound.

    stations: AE titles of its own, in capitals: their steps, and unassigned ones. modalities,
    locations: those of steps. earliest, latest: when they start, YYYYMMDDHHMMSS on the site's
    clock. hidden: states that it is not shown.
    """

    stations: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    locations: tuple[str, ...] = ()
    earliest: str = ""
    latest: str = ""
    hidden: tuple[str, ...] = ()


EVERYTHING: Final = Scope()


class Form(NamedTuple):
    """What of a caller decides the statement: how many values there are of each kind.

    `modalities` of the caller's own; none: it may see any unassigned step.
    """

    modalities: int
    scope_stations: int
    scope_modalities: int
    scope_locations: int
    earliest: bool
    latest: bool
    hidden: int


@dataclass(frozen=True, slots=True)
class Caller:
    """The device that asks; `modality` is its own, None if it may see any unassigned step.

    `also` are modalities that its own stands for, `scope` is what it is shown at all.
    """

    ae_title: str = ""
    modality: str | None = None
    also: tuple[str, ...] = ()
    scope: Scope = EVERYTHING

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities of unassigned steps that are for it; none: of all."""
        return () if self.modality is None else (self.modality, *self.also)

    @property
    def form(self) -> Form:
        """What decides the statement."""
        scope = self.scope
        return Form(
            _size(self.modalities),
            _size(scope.stations),
            _size(scope.modalities),
            _size(scope.locations),
            bool(scope.earliest),
            bool(scope.latest),
            _size(scope.hidden),
        )

    def values(self) -> dict[str, str]:
        """Give the values of the parameters that `within` and `stationed` name."""
        scope = self.scope
        values = {
            **_named("caller_modality", self.modalities),
            **_named("scope_station", scope.stations),
            **_named("scope_modality", scope.modalities),
            **_named("scope_location", scope.locations),
            **_named("scope_hidden", scope.hidden),
        }
        if scope.earliest:
            values["scope_earliest"] = scope.earliest
        if scope.latest:
            values["scope_latest"] = scope.latest
        return values


ANYBODY: Final = Caller()


def _size(values: Sequence[str]) -> int:
    # A power of two: statements are kept, and a fleet has lists of many lengths.
    return 1 << (len(values) - 1).bit_length() if values else 0


def _named(name: str, values: Sequence[str]) -> dict[str, str]:
    last = len(values) - 1
    return {f"{name}__{i}": values[min(i, last)] for i in range(_size(values))}


def _parameters(name: str, size: int) -> list[ColumnElement[str]]:
    return [bindparam(f"{name}__{i}") for i in range(size)]


def visible(status: Shape | None, dialect: str) -> ColumnElement[bool]:
    if status is not None:
        asked = condition(_s.state, "status", status, dialect)
        return and_(asked, _s.state != StepState.HELD.value, ~_s.expired)
    fresh = or_(
        _s.state != StepState.STARTED.value,
        _s.state_at >= bindparam("started_since", type_=_s.state_at.type),
    )
    return and_(_s.state.in_([literal(state.value) for state in VISIBLE]), fresh, ~_s.expired)


def of_modality(modality: Shape, dialect: str) -> ColumnElement[bool]:
    kind, *choices = modality
    # As nearly always; IN is for the index.
    if kind is Single or (kind is AnyOf and all(each == (Single,) for each in choices)):
        names = [f"modality__{i}" for i in range(len(choices))] or ["modality"]
        either: ColumnElement[bool] = _s.modality.in_([literal(""), *map(bindparam, names)])
        return either
    return or_(_s.modality == literal(""), condition(_s.modality, "modality", modality, dialect))


def stationed(station: Shape, dialect: str, form: Form) -> ColumnElement[bool]:
    title = condition(_STATION.c.ae_title, "station_ae_titles", station, dialect)
    assigned = exists().where(_STATION.c.step == _s.id, title)
    return or_(assigned, _unassigned(form))


def _unassigned(form: Form) -> ColumnElement[bool]:
    of_none: ColumnElement[bool] = _s.station_ae_titles == ""
    if not form.modalities:
        return of_none
    its = _parameters("caller_modality", form.modalities)
    return and_(of_none, _s.modality.in_([literal(""), *its]))


def within(form: Form) -> Mapping[str, ColumnElement[bool]]:
    """Give what a step must meet to be in a caller's scope, each by the setting that says so."""
    conditions: dict[str, ColumnElement[bool]] = {}
    if form.scope_stations:
        its = _parameters("scope_station", form.scope_stations)
        assigned = exists().where(
            _STATION.c.step == _s.id, func.upper(_STATION.c.ae_title).in_(its)
        )
        conditions["own_station"] = or_(assigned, _unassigned(form))
    for name, column, size in (
        ("modalities", _s.modality, form.scope_modalities),
        ("locations", _s.location, form.scope_locations),
    ):
        if size:
            parameter = {"modalities": "scope_modality", "locations": "scope_location"}[name]
            conditions[name] = column.in_([literal(""), *_parameters(parameter, size)])
    if form.earliest:
        conditions["hours_back"] = _s.start_local >= bindparam("scope_earliest")
    if form.latest:
        conditions["hours_ahead"] = _s.start_local <= bindparam("scope_latest")
    if form.hidden:
        conditions["hide"] = _s.state.not_in(_parameters("scope_hidden", form.hidden))
    return conditions


def tightened(values: dict[str, Any]) -> dict[str, Any]:
    """Let the start that is asked for, and the one in scope, each be as narrow as both.

    What is found is the same; an index is read from one of them, and nobody knows which.
    """
    for key, scope, narrower in (
        ("start__low", "scope_earliest", max),
        ("start__high", "scope_latest", min),
    ):
        asked, given = values.get(key), values.get(scope)
        if asked and given:
            values |= dict.fromkeys((key, scope), narrower(asked, given))
    return values
