"""Read SIU^S12 and its like: an appointment is an order, each of its services a step.

What is asked follows from the trigger event and SCH-25, by `[appointment.control]`. The
order is known by the order numbers of SCH-26 and SCH-27 where these are given, and is then
the one that ORM announced; else by the appointment's own numbers, SCH-1 and SCH-2.

A service (AIS) begins a step. The resources behind it, up to the next, are its own (AIG:
equipment, AIL: a room, AIP: a person); of kinds that it has none of, those of its group
(RGS) are taken, which several services in a row share.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, tzinfo
from typing import NamedTuple

from hl7 import columns
from hl7.chains import Chain
from hl7.er7 import Message, Path, Segment
from hl7.mapping import places, values
from hl7.mapping.envelope import Envelope
from hl7.mapping.grid import Grid
from hl7.mapping.groups import Named, with_notes
from hl7.mapping.observations import ObservationReader
from hl7.mapping.patient import PatientReader
from hl7.mapping.readers import Readers
from hl7.mapping.report import Report
from hl7.mapping.steps import Step, StepReader
from hl7.profile import Profile
from hl7.profile_tables import ANY, EMPTY, AppointmentTable
from mwl.errors import Reason
from mwl.orders import Action, OrderChange
from mwl.patients import Identifier

_RESOURCES = frozenset({"AIG", "AIL", "AIP"})
_ORDER_NUMBER = 64  # (0040,2016) and (0040,2017) are LO
_MOST_SERVICES = 1_000
# Actions that may create an order, so that all of it must be right.
_STATES = frozenset({Action.CREATE, Action.UPDATE})
_WHOLE = _STATES | {Action.ARRIVE, Action.READY}
_DELETED = "D"  # segment action code, table 0206


class _Numbers(NamedTuple):
    filler: Identifier | None
    placer: Identifier | None
    where: str
    is_of_order: bool = False  # not of the appointment alone


class _Parts(NamedTuple):
    """The segments of an appointment: who, when as a whole, and what is done."""

    patient: Named
    schedule: Named
    services: list[Named]


class AppointmentReader:
    """A profile's way to read appointments."""

    def __init__(self, profile: Profile, patient: PatientReader, grid: Grid) -> None:
        self._patient, self._patient_grid = patient, grid
        self._table: AppointmentTable | None = profile.appointment
        if self._table is None:
            return
        self._grid = Grid()
        merged = _merged(profile, self._table)
        self._columns = Readers(self._grid, merged, columns.ORDER, merged.order.columns)
        self._observations = ObservationReader(profile)
        self._steps = StepReader(merged, self._grid)
        self._order = merged.order
        self._policy = merged.procedure.study_uid_policy

    def read(
        self,
        message: Message,
        sent: Envelope,
        at: datetime | None,
        zone: tzinfo,
        report: Report,
    ) -> list[OrderChange]:
        """Read the changes that an appointment asks for; faults are in `report`."""
        table = self._table
        assert table is not None
        trigger = sent.type.partition("^")[2]
        parts = _sort(message, report)
        view = _named(message)
        numbers = self._numbers(view, table, report)
        action = self._action(view, trigger, table, report)
        row = self._patient_grid.lay_out({**parts.schedule, **parts.patient})
        patient = self._patient.read(with_notes(row, parts.patient), report)
        changes: dict[Action, OrderChange] = {}

        def change_of(wanted: Action) -> OrderChange:
            known = changes.get(wanted)
            if known is None:
                known = changes[wanted] = OrderChange(
                    sent.source,
                    wanted,
                    numbers.filler or numbers.placer or Identifier(""),
                    patient,
                    at,
                    trigger,
                    numbers.where,
                    numbers.placer,
                    numbers.filler,
                    study_uid_policy=self._policy,
                    is_appointment=True,
                )
                if wanted in _WHOLE:
                    self._read_columns(parts, known, report)
            return known

        for service in parts.services:
            self._read_service(parts, service, change_of, action, zone, report)
        if not parts.services:
            if action in _STATES:
                report.fault(Reason.SEQUENCE, "AIS", "an appointment without a service")
            change_of(action)
        found = list(changes.values())
        by_order = numbers.is_of_order
        for change in found:
            _name_the_only_one(change, defers=by_order)
        found[0].flags += report.take_flags()
        return found

    def _action(self, view: Named, trigger: str, table: AppointmentTable, report: Report) -> Action:
        by_status = table.control.get(trigger)
        if by_status is None:
            report.fault(Reason.UNSUPPORTED_EVENT, "MSH-9.2", "not in [appointment.control]")
            return Action.NOTE
        said = places.first(view, table.status).upper()
        return by_status.get(said or EMPTY, by_status[ANY])

    def _numbers(self, view: Named, table: AppointmentTable, report: Report) -> _Numbers:
        """Read the numbers of the order, else those of the appointment."""
        for is_of_order, fillers, placers in (
            (True, self._order.filler, self._order.placer),
            (False, table.filler_appointment, table.placer_appointment),
        ):
            filler, placer = places.entity(view, fillers), places.entity(view, placers)
            if filler or placer:
                where = (filler or placer)[1]  # type: ignore[index]
                for _, place in filter(None, (filler, placer)):
                    _tell_of_others(view, place, report)
                return _Numbers(_fit(filler, report), _fit(placer, report), str(where), is_of_order)
        where = str(table.filler_appointment[0][0]) if table.filler_appointment else "SCH-2"
        report.fault(Reason.MISSING, where, "no number of an order or an appointment")
        return _Numbers(None, None, where)

    def _read_columns(self, parts: _Parts, change: OrderChange, report: Report) -> None:
        view = {**parts.patient, **parts.schedule}
        row = with_notes(self._grid.lay_out(view), parts.schedule)
        self._columns.read(row, report, change.fields)
        if "OBX" in view:
            self._observations.read(view, report, change.fields)
        if change.action is Action.CREATE and not change.patient.fields.get("patient_name"):
            report.flag("a new order without the patient's name")

    def _read_service(  # noqa: PLR0913 - a service, and what it is a part of
        self,
        parts: _Parts,
        service: Named,
        change_of: Callable[[Action], OrderChange],
        action: Action,
        zone: tzinfo,
        report: Report,
    ) -> None:
        segment = service["AIS"][0]
        is_deleted = places.code(segment, 2) == _DELETED and action in _WHOLE
        wanted = Action.CANCEL if is_deleted else action
        whole = wanted in _WHOLE
        row = self._grid.lay_out({**parts.patient, **parts.schedule, **service})
        for step in self._steps.read(with_notes(row, service), zone, report, whole=whole):
            if whole:
                self._check(step, segment, wanted, report)
            _add(change_of(wanted), step, segment, report, whole=whole)

    def _check(self, step: Step, segment: Segment, action: Action, report: Report) -> None:
        """Refuse what can't become a step, rather than take it for something else."""
        if not step.procedure.key:
            report.fault(Reason.MISSING, "AIS-3", "no service", segment.occurrence)
        if action is not Action.CREATE:
            return
        if step.change.start is None and not any(f.where == "AIS-4" for f in report.faults):
            report.fault(Reason.MISSING, "AIS-4", "no start of the service", segment.occurrence)


def _merged(profile: Profile, table: AppointmentTable) -> Profile:
    """Make a profile that asks the appointment's places first, then the general ones."""

    def both(first: dict[str, Chain], then: dict[str, Chain]) -> dict[str, Chain]:
        return {name: first.get(name, ()) + then.get(name, ()) for name in {**then, **first}}

    order, procedure, step = profile.order, profile.procedure, profile.step
    own, steps = table.procedure, table.step
    return profile.model_copy(
        update={
            "order": order.model_copy(
                update={
                    "filler": table.filler + order.filler,
                    "placer": table.placer + order.placer,
                    "columns": both(table.order, order.columns),
                }
            ),
            "procedure": procedure.model_copy(
                update={
                    "requested_procedure_id": own.requested_procedure_id
                    + procedure.requested_procedure_id,
                    "code": own.code + procedure.code,
                    "study_uid": own.study_uid + procedure.study_uid,
                    "columns": both(own.columns, procedure.columns),
                }
            ),
            "step": step.model_copy(
                update={
                    "sps_id": steps.sps_id + step.sps_id,
                    "modality": steps.modality + step.modality,
                    "start": steps.start + step.start,
                    "stations": steps.stations + step.stations,
                    "columns": both(steps.columns, step.columns),
                }
            ),
        }
    )


def _sort(message: Message, report: Report) -> _Parts:
    """Sort the segments: before PID of the schedule, then the patient's, then the services."""
    patient: Named = {}
    schedule: Named = {}
    groups: list[tuple[Named, list[Named]]] = []
    current = schedule
    for segment in message.segments:
        name = segment.name
        if name == "PID" and "PID" in patient:
            report.fault(Reason.SEQUENCE, "PID", "one patient an appointment", segment.occurrence)
        if name == "PID":
            current = patient
        elif name == "RGS":
            groups.append(({}, []))
            current = groups[-1][0]
        elif name == "AIS" or name in _RESOURCES:
            if not groups:
                groups.append(({}, []))
            common, services = groups[-1]
            if name == "AIS":
                services.append({})
            current = services[-1] if services else common
        current.setdefault(name, []).append(segment)
    services = [
        {**_shared(common, group), **service} for common, group in groups for service in group
    ]
    if len(services) > _MOST_SERVICES:
        report.fault(Reason.SEQUENCE, "AIS", f"more than {_MOST_SERVICES} services")
        services = []
    return _Parts(patient, schedule, services)


def _shared(common: Named, services: Sequence[Named]) -> Named:
    """Give the resources that services of a group have which name none of their own."""
    shared = {name: common[name] for name in _RESOURCES & common.keys()}
    for service in services:
        shared |= {name: service[name] for name in _RESOURCES & service.keys()}
    return shared


def _named(message: Message) -> Named:
    named: Named = {}
    for segment in message.segments:
        named.setdefault(segment.name, []).append(segment)
    return named


def _tell_of_others(view: Named, place: Path, report: Report) -> None:
    segments = view.get(place.segment)  # a constant stands nowhere
    if segments and segments[place.occurrence - 1].count(place.field) > 1:
        report.flag(f"{place}: further numbers of orders: only the first is taken")


def _fit(found: tuple[Identifier, Path] | None, report: Report) -> Identifier | None:
    """Take a number as it is; a fault where it is none."""
    if found is None:
        return None
    number, place = found
    text = values.identifier(number.id, _ORDER_NUMBER, str(place), report)
    return number._replace(id=text) if text else None


def _add(change: OrderChange, step: Step, segment: Segment, report: Report, *, whole: bool) -> None:
    known = [each for each in change.procedures if each.key == step.procedure.key]
    if not known:
        if step.procedure.key or step.change.sps_id:
            change.procedures.append(step.procedure)
            if whole or step.change.sps_id:
                step.procedure.steps.append(step.change)
        return
    (procedure,) = known
    if whole and any(each.sps_id == step.change.sps_id for each in procedure.steps):
        text = "two services of one code, and nothing that tells them apart"
        report.fault(Reason.DUPLICATE_KEY, "AIS-3", text, segment.occurrence)
    elif whole or step.change.sps_id:
        procedure.steps.append(step.change)


def _name_the_only_one(change: OrderChange, *, defers: bool) -> None:
    # A service need not be called what the procedure is: where there is but one of each,
    # they are meant.
    if len(change.procedures) == 1:
        change.procedures[0].is_only = True
        change.procedures[0].defers = defers
