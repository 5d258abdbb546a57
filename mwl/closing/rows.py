"""What the rows say of an order's steps, their performance, and their images."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    String,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
    true,
    update,
)

from mwl.closing_rules import Plan, Work
from mwl.db import Prepared
from mwl.db.tables import (
    Device,
    ImagingOrder,
    Instance,
    PerformedInstance,
    PerformedLink,
    PerformedStep,
    RequestedProcedure,
    ScheduledStep,
    Series,
    StepStation,
    StoredObject,
    Study,
)
from mwl.devices.titles import caller, is_station_of
from mwl.orders import FINAL, WAITING, StepState
from mwl.performed import LinkedBy, PerformedState
from mwl.procedures.matching import OTHER_PATIENT
from mwl.studies import ObjectState

_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]
_STATION = StepStation.__table__  # type: ignore[attr-defined]
_DEVICE = Device.__table__  # type: ignore[attr-defined]
_LINK = PerformedLink.__table__  # type: ignore[attr-defined]
_PERFORMED = PerformedStep.__table__  # type: ignore[attr-defined]
_LIST = PerformedInstance.__table__  # type: ignore[attr-defined]
_STUDY = Study.__table__  # type: ignore[attr-defined]
_SERIES = Series.__table__  # type: ignore[attr-defined]
_INSTANCE = Instance.__table__  # type: ignore[attr-defined]
_OBJECT = StoredObject.__table__  # type: ignore[attr-defined]
_o, _r, _s, _station, _device = _ORDER.c, _PROCEDURE.c, _STEP.c, _STATION.c, _DEVICE.c
_link, _performed, _listed = _LINK.c, _PERFORMED.c, _LIST.c
_study, _series, _instance, _object = _STUDY.c, _SERIES.c, _INSTANCE.c, _OBJECT.c

_MOST_FLAGS = 100

_GIVEN = bindparam("order_row", type_=_o.id.type)


def _one_of(
    states: Iterable[StepState], column: ColumnElement[str] = _s.state
) -> ColumnElement[bool]:
    values = [literal_column(f"'{state}'", String()) for state in sorted(states)]
    either: ColumnElement[bool] = column.in_(values)
    return either


_IS_WAITING = _one_of(WAITING)
_IS_OPEN = _one_of(set(StepState) - FINAL)


def _silent() -> ColumnElement[bool]:
    """Tell of a step and a device: one of its own scanners, and it sends no MPPS.

    A step that no station is given to may be done on any scanner of its modality.
    """
    given = exists().where(_station.step == _s.id, is_station_of(_station.ae_title, _device))
    unassigned = and_(
        _s.station_ae_titles == literal_column("''"),
        _s.modality != literal_column("''"),
        _s.modality == _device.modality,
    )
    return and_(~_device.mpps, or_(given, unassigned))


def _is_from() -> ColumnElement[bool]:
    # Never what somebody imports, prefetches or forwards: that comes from another title.
    return func.upper(_device.ae_title) == caller(_object.source)


# --- one order

_STEPS = Prepared(
    select(_s.id, _s.sps_id, _s.state, _s.state_at, _s.start_at)
    .join(_PROCEDURE, _s.procedure == _r.id)
    .where(_r.imaging_order == _GIVEN)
    .order_by(_s.id)
)
_REPORTS = Prepared(
    select(
        _link.scheduled_step,
        _link.by,
        _performed.state,
        _performed.final_at,
        _performed.updated_at,
        _performed.flags,
        _device.close_images,
    )
    .join(_PERFORMED, _link.performed_step == _performed.id)
    .outerjoin(
        _DEVICE,
        and_(
            _device.close_images != literal_column("''"),  # as its index says it
            func.upper(_device.ae_title) == caller(_performed.ae_title),
        ),
    )
    .join(_STEP, _link.scheduled_step == _s.id)
    .join(_PROCEDURE, _s.procedure == _r.id)
    .where(_r.imaging_order == _GIVEN)
)
_SERVED: ColumnElement[str] = literal_column(f"'{ObjectState.SERVED}'", String())
_SET_ASIDE: ColumnElement[str] = literal_column(f"'{ObjectState.QUARANTINED}'", String())
_aside = _OBJECT.alias("aside").c
# What the scanner itself sent under the UID is not what is served, or not all that it meant.
_IS_CONTRADICTED = exists().where(
    _aside.state != _SERVED,  # as the index of what is set aside says it
    _aside.state == _SET_ASIDE,
    _aside.sop_instance_uid == _listed.sop_instance_uid,
    caller(_aside.source) == caller(_performed.ae_title),
    or_(
        _object.id.is_(None),
        _aside.id > _object.id,
        caller(_object.source) != caller(_performed.ae_title),
    ),
)
# A study may be linked with any procedure of the orders that the MPPS was made for.
_made_for, _its_step = _LINK.alias("made_for").c, _STEP.alias("its_step").c
_its, _any = _PROCEDURE.alias("its_procedure").c, _PROCEDURE.alias("any_procedure").c
_IS_ITS_STUDY = exists().where(
    _any.id == _study.requested_procedure,
    _its.imaging_order == _any.imaging_order,
    _its_step.procedure == _its.id,
    _made_for.scheduled_step == _its_step.id,
    _made_for.performed_step == _performed.id,
)
_QUARANTINED, _UNLINKED, _NOT_COME, _KEPT = range(4)
_FATE = case(
    (_IS_CONTRADICTED, literal_column(f"{_QUARANTINED}")),
    (_object.id.is_(None), literal_column(f"{_NOT_COME}")),
    (~_IS_ITS_STUDY, literal_column(f"{_UNLINKED}")),
    else_=literal_column(f"{_KEPT}"),
)


def _count_listed(*by: ColumnElement[Any]) -> Prepared:
    """Count the instances that COMPLETED MPPS of an order list: by step, `by`, and fate."""
    return Prepared(
        select(_link.scheduled_step, *by, _FATE.label("fate"), func.count().label("instances"))
        .join(_PERFORMED, _link.performed_step == _performed.id)
        .join(_LIST, _listed.performed_step == _performed.id)
        .join(_STEP, _link.scheduled_step == _s.id)
        .join(_PROCEDURE, _s.procedure == _r.id)
        .outerjoin(_INSTANCE, _instance.sop_instance_uid == _listed.sop_instance_uid)
        .outerjoin(_OBJECT, and_(_object.instance == _instance.id, _object.state == _SERVED))
        .outerjoin(_SERIES, _series.id == _instance.series)
        .outerjoin(_STUDY, _study.id == _series.study)
        .where(
            _r.imaging_order == _GIVEN,
            _performed.state == literal_column(f"'{PerformedState.COMPLETED}'", String()),
        )
        .group_by(_link.scheduled_step, *by, literal_column("fate"))
    )


_LISTED = _count_listed()
_LISTED_BY_SERIES = _count_listed(_listed.series_instance_uid)
_SILENT = Prepared(
    select(_s.id, _device.close_images)
    .distinct()
    .join(_PROCEDURE, _s.procedure == _r.id)
    .join(_DEVICE, _silent())
    .where(_r.imaging_order == _GIVEN)
)
_IMAGES = Prepared(
    select(_s.id, _s.sps_id, _series.request, func.max(_object.received_at).label("newest"))
    .join(_PROCEDURE, _s.procedure == _r.id)
    .join(_STUDY, _study.requested_procedure == _r.id)
    .join(_SERIES, _series.study == _study.id)
    .join(_INSTANCE, _instance.series == _series.id)
    .join(_OBJECT, and_(_object.instance == _instance.id, _object.state != _SET_ASIDE))
    .join(_DEVICE, and_(_is_from(), _silent()))
    .where(_r.imaging_order == _GIVEN)
    .group_by(_s.id, _s.sps_id, _series.id, _series.request)
)
_COMPLETE = Prepared(
    update(_STEP)
    .where(_s.id == bindparam("row"))
    .values(state=StepState.COMPLETED.value, state_at=bindparam("now"))
)
_HIDE = Prepared(
    update(_STEP)
    .where(_s.procedure.in_(select(_r.id).where(_r.imaging_order == _GIVEN)), _IS_WAITING)
    .values(expired=true())
)
_FLAG = Prepared(
    update(_ORDER).where(_o.id == bindparam("row")).values(flags=bindparam("new_flags"))
)


def works(conn: Connection, order: int) -> dict[int, Work]:
    """Tell of each step of an order what is known of its performance and its images."""
    given = {"order_row": order}
    asked = [each.send(conn, given) for each in (_STEPS, _REPORTS, _LISTED)]
    steps, reports, listed = (reply.all() for reply in asked)
    found = {row.id: Work(StepState(row.state), state_at=row.state_at) for row in steps}
    for row in reports:
        found[row.scheduled_step] = _reported(found[row.scheduled_step], row)
    for row in listed:
        work = found[row.scheduled_step]
        found[row.scheduled_step] = _listed_by(work, row.fate, row.instances)
    if not all(work.reported for work in found.values()):
        _add_silent(conn, given, found, {row.sps_id for row in steps})
    return found


def _reported(work: Work, row: Any) -> Work:
    work = replace(work, reported=True)
    if row.state == PerformedState.IN_PROGRESS:
        return replace(work, running=True)
    if row.state == PerformedState.COMPLETED:
        at = row.final_at or row.updated_at
        # Where a person has linked it, it is known whose it is.
        is_other = OTHER_PATIENT in row.flags and row.by != LinkedBy.HAND
        return replace(
            work,
            listed_at=max(at, work.listed_at or at),
            other_patient=work.other_patient or is_other,
            elsewhere=_goes_elsewhere(work, row, is_first=work.listed_at is None),
        )
    return work


def _goes_elsewhere(work: Work, row: Any, *, is_first: bool) -> bool | None:
    """Tell where the images of a step go by its scanners; None: they say nothing, or differ."""
    own = {"elsewhere": True, "here": False}.get(row.close_images)
    if is_first or own is work.elsewhere:
        return own
    return False if False in (own, work.elsewhere) else None


def _listed_by(work: Work, fate: int, instances: int) -> Work:
    return replace(
        work,
        listed=work.listed + instances,
        missing=work.missing + instances * (fate != _KEPT),
        quarantined=work.quarantined + instances * (fate == _QUARANTINED),
        unlinked=work.unlinked + instances * (fate == _UNLINKED),
    )


def _add_silent(
    conn: Connection, given: dict[str, int], found: dict[int, Work], sps_ids: set[str]
) -> None:
    silent = _SILENT.all(conn, given)
    for row in silent:
        work = found[row.id]
        if not work.reported:
            elsewhere = _goes_elsewhere(work, row, is_first=not work.silent)
            work = replace(work, elsewhere=elsewhere)
        found[row.id] = replace(work, silent=True)
    for row in _IMAGES.all(conn, given) if silent else ():
        # What a series says that it was made for tells the steps of one procedure apart.
        named = {item.get("ScheduledProcedureStepID") for item in row.request} & sps_ids
        if not named or row.sps_id in named:
            at = found[row.id].image_at or row.newest
            found[row.id] = replace(found[row.id], image_at=max(at, row.newest))


def not_come(conn: Connection, order: int) -> dict[int, dict[str, int]]:
    """Count the listed images of an order that are not here: by step, and series UID."""
    found: dict[int, dict[str, int]] = {}
    for row in _LISTED_BY_SERIES.all(conn, {"order_row": order}):
        if row.fate == _NOT_COME:
            series = found.setdefault(row.scheduled_step, {})
            series[row.series_instance_uid] = row.instances
    return found


def plans(conn: Connection, order: int) -> list[Plan]:
    """Tell when the steps of an order were to begin."""
    rows = _STEPS.all(conn, {"order_row": order})
    return [Plan(StepState(row.state), row.start_at) for row in rows]


def complete_steps(conn: Connection, steps: Iterable[int], now: datetime) -> None:
    """Make steps COMPLETED."""
    for step in steps:
        _COMPLETE.send(conn, {"row": step, "now": now})


def hide_steps(conn: Connection, order: int) -> None:
    """Hide the steps of an order from scanners."""
    _HIDE.send(conn, {"order_row": order})


def write_flags(conn: Connection, order: int, flags: Sequence[str]) -> None:
    """Write what a person should see of an order, at most as much as messages may."""
    _FLAG.send(conn, {"row": order, "new_flags": list(flags)[-_MOST_FLAGS:]})


# --- which orders

_DUE = Prepared(
    select(_o.id, _o.check_at)
    .where(_o.check_at <= bindparam("now", type_=_o.check_at.type))
    .order_by(_o.check_at)
    .limit(bindparam("limit"))
)
_READ = Prepared(select(_ORDER).where(_o.id == bindparam("row")))
_POSTPONE = Prepared(
    update(_ORDER)
    .where(_o.id == bindparam("row"), _o.check_at == bindparam("seen", type_=_o.check_at.type))
    .values(check_at=bindparam("next"))
)
_BEGIN = Prepared(
    update(_ORDER)
    .where(_o.id == bindparam("row"), _o.check_at.is_(None))
    .values(check_at=bindparam("next"))
)
_ANY_SILENT = Prepared(select(_device.id).where(~_device.mpps).limit(literal_column("1")))
_ITS_IMAGE = (
    select(_object.id)
    .join(_INSTANCE, _object.instance == _instance.id)
    .join(_SERIES, _instance.series == _series.id)
    .where(_series.study == _study.id, _object.state != _SET_ASIDE, _is_from())
    .limit(literal_column("1"))
    .correlate(_STUDY, _DEVICE)
    .scalar_subquery()
)
_WITH_SILENT_IMAGES = Prepared(
    select(_o.id)
    .distinct()
    .join(_PROCEDURE, _r.imaging_order == _o.id)
    .join(_STEP, _s.procedure == _r.id)
    .join(_STUDY, _study.requested_procedure == _r.id)
    .join(_DEVICE, _silent())
    .where(_IS_OPEN, _o.check_at.is_(None), _ITS_IMAGE.is_not(None))
    .limit(bindparam("limit"))
)
_other = _STEP.alias("other")
_other_r = _PROCEDURE.alias("other_r")
_CUTOFF = bindparam("cutoff", type_=_s.start_at.type)
_IS_KEPT = exists().where(  # by a step under way, or one that is to come
    _other_r.c.imaging_order == _o.id,
    _other.c.procedure == _other_r.c.id,
    _one_of(set(StepState) - FINAL, _other.c.state),
    or_(_other.c.start_at > _CUTOFF, ~_one_of(WAITING, _other.c.state)),
)
_EXPIRABLE = Prepared(
    select(_o.id)
    .distinct()
    .join(_PROCEDURE, _r.imaging_order == _o.id)
    .join(_STEP, _s.procedure == _r.id)
    .where(
        _IS_WAITING,
        _s.start_local <= bindparam("cutoff_local"),  # for the index
        _s.start_at <= _CUTOFF,
        ~_s.expired,
        or_(_o.revived_at.is_(None), _o.revived_at <= _CUTOFF),
        ~_IS_KEPT,
    )
    .limit(bindparam("limit"))
)
_FURTHEST_ZONE = timedelta(hours=26)  # between two wall clocks


class Check(NamedTuple):
    """When an order is, or was, to be looked at."""

    order: int
    seen: datetime
    next_at: datetime | None = None


def due(conn: Connection, now: datetime, limit: int) -> list[Check]:
    """List the orders that are to be looked at, those that waited longest first."""
    return [Check(*row) for row in _DUE.all(conn, {"now": now, "limit": limit})]


def order(conn: Connection, row: int) -> dict[str, Any]:
    """Read an order as it is, without holding it."""
    found: dict[str, Any] = _READ.first(conn, {"row": row})._asdict()
    return found


def postpone(conn: Connection, checks: Iterable[Check]) -> None:
    """Look at orders again at `next_at`, unless somebody has changed that meanwhile."""
    for order, seen, next_at in sorted(checks):
        _POSTPONE.send(conn, {"row": order, "seen": seen, "next": next_at})


def begin_checks(conn: Connection, orders: Iterable[int], at: datetime) -> None:
    """Look at orders of which nothing was expected."""
    for order in sorted(orders):
        _BEGIN.send(conn, {"row": order, "next": at})


def with_silent_images(conn: Connection, limit: int) -> list[int]:
    """List orders that have not ended, though images from a scanner without MPPS are here."""
    if _ANY_SILENT.first(conn, {}) is None:
        return []
    return [row.id for row in _WITH_SILENT_IMAGES.all(conn, {"limit": limit})]


def expirable(conn: Connection, cutoff: datetime, limit: int) -> list[int]:
    """List orders of which all that is left was to begin at `cutoff` or before."""
    local = (cutoff + _FURTHEST_ZONE).strftime("%Y%m%d%H%M%S")
    given = {"cutoff": cutoff, "cutoff_local": local, "limit": limit}
    return [row.id for row in _EXPIRABLE.all(conn, given)]
