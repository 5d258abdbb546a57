"""Read ORC groups as order changes.

Identity, never position: an order is known by its number (filler, else placer), a procedure
by OBR-19, else the code of OBR-4, a step by OBR-20 or IPC-4. What a message splits over
several groups is put together again; two things that would be one and the same row, but
differ, reject the message.
"""

from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import NamedTuple

from hl7 import columns
from hl7.er7 import Segment
from hl7.mapping.grid import Grid, Place, Row, first, leaf
from hl7.mapping.groups import Group, with_notes
from hl7.mapping.identifiers import entity, plain_entity
from hl7.mapping.observations import ObservationReader
from hl7.mapping.readers import Readers
from hl7.mapping.report import Report
from hl7.mapping.steps import Step, StepReader
from hl7.mapping.times import NotATime, read_instant
from hl7.profile import Profile
from hl7.profile_tables import ANY, EMPTY
from mwl.errors import Reason
from mwl.orders import DEFAULT_POLICY, Action, OrderChange, Policy, ProcedureChange
from mwl.patients import Identifier, PatientChange

ORDER_NUMBER = 64  # (0040,2016) and (0040,2017) are LO
_WITHOUT_ORC = Action.UPDATE
_MOST_PAIRS = 256
# Actions that may create an order, so that all of it must be right. The others only ask
# which order they speak of.
_WHOLE = (
    *(Action.CREATE, Action.UPDATE, Action.HOLD, Action.RELEASE),
    *(Action.ARRIVE, Action.READY),
)


class Context(NamedTuple):
    """What all orders of a message have in common."""

    source: str
    at: datetime | None
    zone: tzinfo
    patient: PatientChange


class OrderReader:
    """A profile's way to read the orders of a message."""

    def __init__(self, profile: Profile, grid: Grid) -> None:
        self._control = profile.control
        # By ORC-1 and ORC-5 as they came, where nothing is to be said about them.
        self._known_actions: dict[tuple[str, str] | None, tuple[Action, str]] = {}
        self.filler = grid.places(profile.order.filler)
        self.placer = grid.places(profile.order.placer)
        self._numbers = frozenset(place.where for place in self.filler + self.placer)
        self._issued = grid.places(profile.order.issued)
        self.issued_cells = sum({1 << place.slot for place in self._issued})
        self.columns = Readers(grid, profile, columns.ORDER, profile.order.columns)
        self._observations = ObservationReader(profile)
        self.steps = StepReader(profile, grid)
        self.study_uid_policy = profile.procedure.study_uid_policy
        self._started = profile.started
        self._refuses_unknown = profile.order.unknown_cancel == "refuse"
        self.answers_orders = profile.message.answer == "order"
        self._has_policies = bool(self._started) or self._refuses_unknown

    def read(self, groups: list[Group], context: Context, report: Report) -> list[OrderChange]:
        """Read every order of a message, in its order; faults are in `report`."""
        changes: dict[tuple[Identifier, Action], OrderChange] = {}
        for group in groups:
            self._read_group(group, context, changes, report)
        found = list(changes.values())
        if len(found) > 1:
            _reconcile(found)
        return found

    def _read_group(
        self,
        group: Group,
        context: Context,
        changes: dict[tuple[Identifier, Action], OrderChange],
        report: Report,
    ) -> None:
        action, control = self._action(group, report)
        obr_first = self._numbers_differ(group)
        for row in group.rows:
            filler, placer, where = self._number(row, report, obr_first=obr_first)
            number = filler or placer or Identifier("")
            change = changes.get((number, action))
            if change is None:
                change = changes[number, action] = OrderChange(
                    context.source,
                    action,
                    number,
                    context.patient,
                    context.at,
                    control,
                    where,
                    placer,
                    filler,
                    study_uid_policy=self.study_uid_policy,
                    policy=self.policy_of(control),
                )
                if action is Action.CREATE and not context.patient.fields.get("patient_name"):
                    report.flag("a new order without the patient's name")
                if action in _WHOLE:
                    self._read_columns(row, group, change, context.zone, report)
            if self.answers_orders and group.common:
                change.occurrences += (group.common["ORC"][0].occurrence,)
            if group.details:
                self._read_steps(row, change, context.zone, report)
            elif action in _WHOLE and (stated := self.steps.timing(row, context.zone, report)):
                change.procedures.append(stated)
            change.flags += [flag for flag in report.take_flags() if flag not in change.flags]

    def _action(self, group: Group, report: Report) -> tuple[Action, str]:
        """Look ORC-1 and ORC-5 up in the profile's `[control]`."""
        if not group.common:
            report.flag("an order without ORC: taken as an update")
            return _WITHOUT_ORC, ""
        orc = group.common["ORC"][0]
        said = _said(orc) if group.details else None
        return self._known_actions.get(said) or self._look_up(orc, said, group, report)

    def known(self, orc: Segment) -> tuple[Action, str] | None:
        """Give the action of an ORC with its OBR if it creates or updates all of its order.

        None: `read` has something to say about it.
        """
        known = self._known_actions.get(_said(orc))
        return known if known and known[0] in _WHOLE else None

    def _look_up(
        self, orc: Segment, said: tuple[str, str] | None, group: Group, report: Report
    ) -> tuple[Action, str]:
        control, status = _code(orc, 1), _code(orc, 5)
        by_status = self._control.get(control)
        if by_status is None:
            reason = Reason.UNKNOWN_CODE if control else Reason.MISSING
            text = "no code of table 0119 known here" if control else "no order control code"
            report.fault(reason, "ORC-1", text, orc.occurrence)
            return Action.NOTE, ""
        action = by_status.get(status or EMPTY)
        if action is None:
            action = by_status[ANY]
            if len(by_status) > 1:
                report.flag(f"ORC-5: not expected with {control}: taken as {action}")
        elif said is not None and len(self._known_actions) < _MOST_PAIRS:
            self._known_actions[said] = action, f"{control} {status}".strip()
        if action is Action.CREATE and not group.details:
            report.fault(Reason.SEQUENCE, "ORC", "a new order without OBR", orc.occurrence)
        return action, f"{control} {status}".strip()

    def policy_of(self, control: str) -> Policy:
        """Give what is peculiar to this sender, for ORC-1 and ORC-5 as in OrderChange."""
        if not self._has_policies:
            return DEFAULT_POLICY
        code, _, status = control.partition(" ")
        by_status = self._started.get(code)
        if by_status is None:
            return Policy(knows_cancelled=self._refuses_unknown)
        action = by_status[status or EMPTY if (status or EMPTY) in by_status else ANY]
        return Policy(action, action is None, self._refuses_unknown)

    def _numbers_differ(self, group: Group) -> bool:
        """Tell whether several OBR under one ORC have numbers of their own.

        ORC-3 and OBR-3 are one number where both are given (4.5.3.3); but OBRs that differ
        among themselves are different orders, whatever their ORC says. Placer numbers, OBR-2,
        tell them apart where no filler has numbered them yet.
        """
        if len(group.details) < 2:
            return False
        filled = any(leaf(row, self.filler) for row in group.rows)
        chain = self.filler if filled else self.placer
        own = [place for place in chain if place.path.segment == "OBR"]
        found = [leaf(row, own) for row in group.rows]
        return len({each[0] if each else None for each in found}) > 1

    def _number(
        self, row: Row, report: Report, *, obr_first: bool
    ) -> tuple[Identifier | None, Identifier | None, str]:
        """Read filler and placer number, and where the one that counts stood."""
        filler, filler_where = _entity(row, self.filler, report, obr_first=obr_first)
        placer, placer_where = _entity(row, self.placer, report, obr_first=obr_first)
        if not filler and not placer and self._numbers.isdisjoint(f.where for f in report.faults):
            orc = row[0].get("ORC")
            occurrence = orc[0].occurrence if orc else 1
            report.fault(Reason.MISSING, self.filler[0].where, "no order number", occurrence)
        return filler, placer, filler_where or placer_where

    def issued(self, row: Row, zone: tzinfo, report: Report) -> datetime | None:
        """Read when an order was made; what is no time is flagged, and costs nothing else."""
        found = leaf(row, self._issued)
        if found is None or not isinstance(found[0], str):
            return None
        try:
            return read_instant(found[0].strip(), zone)[0]
        except NotATime as error:
            report.flag(f"{found[1].where}: {error}: not taken")
            return None

    def _read_columns(
        self, row: Row, group: Group, change: OrderChange, zone: tzinfo, report: Report
    ) -> None:
        row = with_notes(row, group.common)
        self.columns.read(row, report, change.fields)
        change.issued = self.issued(row, zone, report)
        if "OBX" in row[0]:
            self._observations.read(row[0], report, change.fields)

    def _read_steps(self, row: Row, change: OrderChange, zone: tzinfo, report: Report) -> None:
        whole = change.action in _WHOLE
        for step in self.steps.read(row, zone, report, whole=whole):
            if not step.procedure.key and change.action is Action.CREATE:
                occurrence = row[0]["OBR"][0].occurrence
                report.fault(Reason.MISSING, "OBR-4", "no requested procedure", occurrence)
            if whole:
                _add(change, step, report)
            else:
                _name(change, step)


def _said(orc: Segment) -> tuple[str, str] | None:
    fields = orc.fields
    return (fields[1], fields[5]) if orc.odd == () and len(fields) > 5 else None


def _code(segment: Segment, field: int) -> str:
    value = first(segment, field)
    return value.strip().upper() if isinstance(value, str) else ""


def _obr_first(chain: Sequence[Place]) -> Sequence[Place]:
    return sorted(chain, key=lambda place: place.path.segment != "OBR")


def _entity(
    row: Row, chain: Sequence[Place], report: Report, *, obr_first: bool
) -> tuple[Identifier | None, str]:
    """Read an order number and where it stood."""
    if chain and not obr_first and not chain[0].path.component:
        simply = plain_entity(row[1][chain[0].slot], ORDER_NUMBER)
        if simply is not None:
            return simply, chain[0].where
    found = leaf(row, _obr_first(chain) if obr_first else chain)
    if found is None or not isinstance(found[0], str):
        return None, ""
    return entity(found, ORDER_NUMBER, row, report), found[1].where


def _name(change: OrderChange, step: Step) -> None:
    """Add what an action speaks of; without a name it speaks of all there is."""
    sps_id = step.change.sps_id
    if not step.procedure.key and not sps_id:
        return
    known = [each for each in change.procedures if each.key == step.procedure.key]
    procedure = known[0] if known else step.procedure
    if not known:
        change.procedures.append(procedure)
    if sps_id:
        procedure.steps.append(step.change)


def _add(change: OrderChange, step: Step, report: Report) -> None:
    """Add a step to its procedure, which several OBR or IPC may share."""
    stated = step.procedure
    known = [each for each in change.procedures if each.key == stated.key]
    if not known:
        stated.steps.append(step.change)
        change.procedures.append(stated)
        return
    procedure = known[0]
    _unite(procedure, stated, step, report)
    same = [each for each in procedure.steps if each.sps_id == step.change.sps_id]
    if not same:
        procedure.steps.append(step.change)
    elif step.change.sps_id is None:
        report.fault(
            Reason.MISSING,
            step.where,
            "several steps of one procedure, and nothing that tells them apart",
            step.occurrence,
        )
    elif same[0] != step.change:
        report.fault(
            Reason.DUPLICATE_KEY, step.where, "two different steps of one name", step.occurrence
        )


def _unite(procedure: ProcedureChange, stated: ProcedureChange, step: Step, report: Report) -> None:
    """Let what names one procedure twice be one; its identifiers must agree."""
    accession = stated.fields.get("accession_number")
    differs = (
        None not in (procedure.study_uid, stated.study_uid)
        and procedure.study_uid != stated.study_uid
    ) or (accession and procedure.fields.get("accession_number") not in (None, accession))
    if differs:
        report.fault(
            Reason.DUPLICATE_KEY,
            step.where.partition("-")[0],
            "one requested procedure with two accession numbers or study UIDs",
            step.occurrence,
        )
    procedure.study_uid = procedure.study_uid or stated.study_uid
    procedure.fields = {**stated.fields, **procedure.fields}


def _reconcile(changes: list[OrderChange]) -> None:
    """Settle what several changes of one message state of one procedure.

    A snapshot must be whole: what is stated in two parts states neither. One ZDS at the end
    speaks of its requested procedure in every order of the message (IHE RAD TF-2 4.4.4.1).
    """
    stated: dict[tuple[str, str, str], list[ProcedureChange]] = {}
    by_id: dict[str, list[ProcedureChange]] = {}
    for change in changes:
        for procedure in change.procedures:
            key = (change.number.id, change.number.issuer_key, procedure.key)
            stated.setdefault(key, []).append(procedure)
            if procedure.requested_procedure_id:
                by_id.setdefault(procedure.requested_procedure_id, []).append(procedure)
    for parts in stated.values():
        if len(parts) > 1:
            for procedure in parts:
                procedure.snapshot = False
    for procedures in by_id.values():
        uids = {procedure.study_uid for procedure in procedures if procedure.study_uid}
        if len(uids) == 1:
            for procedure in procedures:
                procedure.study_uid = procedure.study_uid or next(iter(uids))
