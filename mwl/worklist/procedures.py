"""The requested procedures of one order and their steps, as rows.

Identity, never position: a procedure is found by its key (OBR-19, else the OBR-4 code), a
step by its SPS ID. What a message does not name, it speaks of as a whole: no procedure, all
of them; no step, every step of its procedure.
"""

import base64
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, Self
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, bindparam, select

from mwl.archive import following
from mwl.db import Insertion, Prepared, rewriting
from mwl.db.tables import RequestedProcedure, ScheduledStep
from mwl.errors import Fault, Reason, Rejected
from mwl.names import words_key
from mwl.orders import (
    DEFAULT_POLICY,
    FINAL,
    WAITING,
    Action,
    OrderChange,
    Policy,
    ProcedureChange,
    StepChange,
    StepState,
    StudyUidPolicy,
    onward,
    transition,
)
from mwl.patients import name_key
from mwl.worklist import stations
from mwl.worklist.changed import Changes, note, note_new
from mwl.worklist.kept import stated_over, with_beside
from mwl.worklist.stations import Devices

Row = dict[str, Any]

_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]

_PROCEDURES_OF = Prepared(
    select(_PROCEDURE).where(_PROCEDURE.c.imaging_order == bindparam("order_row"))
)
_STEPS_OF = Prepared(
    select(_STEP)
    .join(_PROCEDURE, _STEP.c.procedure == _PROCEDURE.c.id)
    .where(_PROCEDURE.c.imaging_order == bindparam("order_row"))
    .order_by(_STEP.c.id)
)


_INSERT_PROCEDURE, _UPDATE_PROCEDURE = Insertion(_PROCEDURE), rewriting(_PROCEDURE)
_INSERT_STEP, _UPDATE_STEP = Insertion(_STEP, attributes={}, expired=False), rewriting(_STEP)


PROCEDURE_NEEDED: Final = Fault(
    Reason.MISSING, "OBR", "an order that is not known here needs its procedure"
)
# What identifiers begin with that we made because the RIS gave none.
_OURS = "MWL-"


class Procedures:
    """Requested procedures and scheduled steps of one order, while a change is applied."""

    def __init__(
        self, conn: Connection, order: int, devices: Devices, now: datetime, zone: ZoneInfo
    ) -> None:
        self._conn, self._order, self._devices = conn, order, devices
        self._now, self._zone = now, zone
        self.rows: list[Row] = []
        self.steps: list[Row] = []
        self.flags: list[str] = []
        self.changes: Changes = {}
        self.undone = False  # not all of what was asked for could be done
        self._is_appointment = False

    @classmethod
    def load(
        cls, conn: Connection, order: int, devices: Devices, now: datetime, zone: ZoneInfo
    ) -> Self:
        """Read what the order has."""
        it = cls(conn, order, devices, now, zone)
        key = {"order_row": order}
        procedures, steps = _PROCEDURES_OF.send(conn, key), _STEPS_OF.send(conn, key)
        it.rows = [row._asdict() for row in procedures.all()]
        it.steps = [row._asdict() for row in steps.all()]
        return it

    def states(self) -> list[StepState]:
        """List the states of the steps."""
        return [StepState(step["state"]) for step in self.steps]

    def revive(self) -> None:
        """Show steps that had expired to scanners again."""
        for step in self.steps:
            self._save_step(step, {"expired": False})

    # ---- what a message states -------------------------------------------------------

    def state(self, change: OrderChange) -> None:
        """Create or update the procedures and steps that `change` names."""
        self._is_appointment = change.is_appointment
        for stated in change.procedures or [ProcedureChange(key="")]:
            known = self._match(stated)
            if known:
                for procedure in known:
                    self._update_procedure(procedure, stated)
            elif stated.is_only and len(self.rows) == 1:
                (procedure,) = self.rows
                self._update_procedure(procedure, _deferring(stated, procedure))
            elif stated.key:
                self._create_procedure(stated, change)
            else:
                # Of a tombstone, too: what was cancelled isn't scheduled as nobody knows what.
                raise Rejected(PROCEDURE_NEEDED)

    def _match(self, stated: ProcedureChange) -> list[Row]:
        """Find the rows that `stated` speaks of; none: it is new."""
        if not stated.key:
            return self.rows
        by_key = [row for row in self.rows if row["key"] == stated.key]
        if by_key:
            return by_key
        code = stated.fields.get("code_value")
        if stated.requested_procedure_id is not None:
            # The first message had no OBR-19 yet, and the row is known by its code.
            return [row for row in self.rows if code and row["key"] == code][:1]
        by_code = [row for row in self.rows if row["code_value"] == stated.key]
        if len(by_code) == 1:
            return by_code
        by_uid = [row for row in self.rows if row["study_instance_uid"] == stated.study_uid]
        return by_uid[:1] if by_uid or not by_code else self._by_step(by_code, stated)

    def _by_step(self, rows: list[Row], stated: ProcedureChange) -> list[Row]:
        """Tell procedures of one code apart by the steps that are named."""
        names = {step.sps_id for step in stated.steps} - {None}
        found = {step["procedure"] for step in self.steps if step["sps_id"] in names}
        meant = [row for row in rows if row["id"] in found]
        if len(meant) != 1:
            text = "the order has several procedures of this code: which one is open"
            raise Rejected(Fault(Reason.MISSING, "OBR-19", text))
        return meant

    def _create_procedure(self, stated: ProcedureChange, change: OrderChange) -> None:
        values = {
            **_INSERT_PROCEDURE.blank,
            **{name: value or "" for name, value in stated.fields.items()},
            "imaging_order": self._order,
            "key": stated.key,
            "requested_procedure_id": stated.requested_procedure_id or new_id(),
        }
        values["study_instance_uid"] = stated.study_uid or _new_study_uid(stated, change, values)
        values["id"] = _INSERT_PROCEDURE.send(self._conn, values)
        self.rows.append(values)
        note_new(self.changes, "procedure", values["id"])
        for step in stated.steps or [StepChange()]:
            self._create_step(values, step)

    def _update_procedure(self, row: Row, stated: ProcedureChange) -> None:
        steps = [step for step in self.steps if step["procedure"] == row["id"]]
        begun = any(step["state"] not in WAITING for step in steps)
        fields = {name: value or "" for name, value in stated.fields.items()}
        new = {**row, **with_beside(fields)}
        if stated.requested_procedure_id:
            new["key"] = stated.key
            new["requested_procedure_id"] = stated.requested_procedure_id
        if stated.study_uid and stated.study_uid != row["study_instance_uid"]:
            if begun:
                # The scanner has put the old one into its images.
                self.flags.append("another Study Instance UID after the procedure began: not taken")
                self.undone = True
            else:
                new["study_instance_uid"] = stated.study_uid
                for step in steps:
                    self._save_step(step, {"study_instance_uid": stated.study_uid})
        if new != row:
            _UPDATE_PROCEDURE.send(self._conn, {**new, "row": row["id"]})
            if new["accession_number"] != row["accession_number"]:
                following.follow_procedure(self._conn, row["id"])
            note(self.changes, "procedure", row, new)
            row.update(new)
        self._state_steps(row, steps, stated)

    def _state_steps(self, row: Row, steps: list[Row], stated: ProcedureChange) -> None:
        named: set[int] = set()
        for change in stated.steps:
            known = [s for s in steps if change.sps_id in (None, s["sps_id"])]
            if not known and len(steps) == 1 and _is_ours(steps[0]["sps_id"]):
                # Its first message named no step; now we learn what the RIS calls it.
                known = steps
                self._rename(steps[0], change.sps_id)
            for step in known:
                self._update_step(step, change)
                named.add(step["id"])
            if not known:
                named.add(self._create_step(row, change)["id"])
        if stated.snapshot:
            for step in steps:
                if step["id"] not in named:
                    self._move(step, Action.CANCEL)

    def _rename(self, step: Row, sps_id: str | None) -> None:
        if step["state"] in WAITING:
            self._save_step(step, {"sps_id": sps_id})

    def _create_step(self, procedure: Row, change: StepChange) -> Row:
        if change.start is None:
            self.flags.append("no start time: scheduled for now")
        if not change.fields.get("modality"):
            self.flags.append("a step of no known modality: scanners of any find it")
        values = {
            **_INSERT_STEP.blank,
            **self._stated(change),
            **self._clock(change.start or self._now),
            "procedure": procedure["id"],
            "study_instance_uid": procedure["study_instance_uid"],
            "sps_id": change.sps_id or new_id(),
            "state": StepState.SCHEDULED,
            "state_at": self._now,
        }
        if change.attributes:
            values["attributes"] = stated_over({}, change.attributes)
        titles = self._stations(change.stations, values["modality"])
        values["station_ae_titles"] = "\\".join(titles)
        values["id"] = _INSERT_STEP.send(self._conn, values, _collision)
        stations.assign(self._conn, values["id"], titles)
        self.steps.append(values)
        note_new(self.changes, "step", values["id"])
        return values

    def _update_step(self, step: Row, change: StepChange) -> None:
        stated = self._stated(change)
        if change.attributes:
            stated["attributes"] = stated_over(step["attributes"], change.attributes)
        if change.start is not None:
            stated |= self._clock(change.start)
        if step["state"] in FINAL:
            self.flags.append(f"a step that is {step['state']} is not scheduled again: reopen it")
            self.undone = True
            return
        if step["state"] not in WAITING:
            # Once STARTED the scanner owns the step; a person decides what to do.
            if names := [name for name, value in stated.items() if step[name] != value]:
                changed = ", ".join(sorted(names))
                self.flags.append(f"{changed} of a step that is {step['state']}: not taken")
                self.undone = True
            return
        modality: str = (step | stated)["modality"]
        if change.stations is not None or modality != step["modality"]:
            titles = self._stations(change.stations, modality)
            if step["station_ae_titles"] != "\\".join(titles):
                stated["station_ae_titles"] = "\\".join(titles)
                stations.assign(self._conn, step["id"], titles, again=True)
        if self._is_appointment and (start := stated.get("start_local", "")):
            self._tell_if_moved(step["start_local"], start)
        self._save_step(step, stated)

    def _tell_if_moved(self, old: str, new: str) -> None:
        if old != new:
            self.flags.append(f"the appointment was moved from {_clock_text(old)}")

    def _stated(self, change: StepChange) -> Row:
        stated: Row = with_beside({name: value or "" for name, value in change.fields.items()})
        if "performing_physician" in stated:
            stated["performing_physician_key"] = name_key(stated["performing_physician"])
            stated["performing_physician_words"] = words_key(stated["performing_physician"])
        return stated

    def _stations(self, stated: tuple[str, ...] | None, modality: str) -> tuple[str, ...]:
        """Choose the stations: the message's, else every device of the modality, else none."""
        return stated or self._devices.titles(modality)

    def _clock(self, start: datetime) -> Row:
        local = start.astimezone(self._zone)
        return {"start_at": start.astimezone(UTC), "start_local": local.strftime("%Y%m%d%H%M%S")}

    def _save_step(self, step: Row, stated: Row) -> None:
        new = {**step, **stated}
        if new == step:
            return
        _UPDATE_STEP.send(self._conn, {**new, "row": step["id"]}, _collision)
        note(self.changes, "step", step, new)
        step.update(new)

    # ---- what a message does -----------------------------------------------------------

    def act(self, change: OrderChange) -> None:
        """Move the steps that `change` speaks of to where its action leads."""
        if change.is_appointment and change.states:
            self._release_held()
        if change.action in (Action.CREATE, Action.UPDATE, Action.NOTE):
            return
        if not change.procedures:
            for step in self.steps:
                self._move(step, change.action, change.policy)
        self._is_appointment = change.is_appointment
        for stated in change.procedures:
            for step in self._spoken_of(stated):
                self._move(step, change.action, change.policy)

    def arrive(self, days: Sequence[str] | None) -> None:
        """Note that the patient came on one of `days`, YYYYMMDD; None: for all steps."""
        for step in self.steps:
            after = onward(Action.ARRIVE, StepState(step["state"]))
            if after is not None and (days is None or step["start_local"][:8] in days):
                self._save_step(step, {"state": after, "state_at": self._now})

    def _release_held(self) -> None:
        for step in self.steps:
            if step["state"] == StepState.HELD:
                self._move(step, Action.RELEASE)
                self.flags.append("a step that was held is released by its new appointment")

    def _spoken_of(self, stated: ProcedureChange) -> list[Row]:
        """Find the steps that a message means which only names them.

        Raises Rejected (UNKNOWN_KEY): a cancellation that does nothing must not look as if
        it did, for the patient would stay on the list.
        """
        if not self.rows:
            return []  # a tombstone
        rows = self._match(stated) or self._only_one(stated)
        found = {row["id"] for row in rows}
        steps = [step for step in self.steps if step["procedure"] in found]
        names = {step.sps_id for step in stated.steps} - {None}
        named = [step for step in steps if step["sps_id"] in names]
        if not names or (len(steps) == 1 and _is_ours(steps[0]["sps_id"])):
            named = steps
        if not named:
            where, what = ("OBR-20", "step") if rows else ("OBR-4", "procedure")
            where = "AIS-3" if self._is_appointment else where
            text = f"the order has no such {what}: nothing was done"
            raise Rejected(Fault(Reason.UNKNOWN_KEY, where, text))
        return named

    def _only_one(self, stated: ProcedureChange) -> list[Row]:
        """Take an order's only procedure to be meant, unless both sides have named it."""
        (row, *others) = self.rows
        if others or (
            stated.requested_procedure_id and row["key"] == row["requested_procedure_id"]
        ):
            return []
        return [row]

    def _move(self, step: Row, action: Action, policy: Policy = DEFAULT_POLICY) -> None:
        state = StepState(step["state"])
        if policy is not DEFAULT_POLICY and state not in WAITING:
            if policy.refused_after_start:
                text = f"{action} after {state}: this sender's are not taken then"
                raise Rejected(Fault(Reason.FINAL, "ORC-1", text))
            action = policy.after_start or action
        moved = transition(action, state)
        if moved.flag:
            self.flags.append(moved.flag)
            self.undone = True
        if moved.state != step["state"]:
            self._save_step(step, {"state": moved.state, "state_at": self._now})


# What an appointment calls its service, which says nothing new of an order that is known.
_DESCRIBE = frozenset(
    {
        *("description", "protocol_value", "protocol_scheme", "protocol_meaning"),
        *("modality", "comments"),
    }
)


def _deferring(stated: ProcedureChange, row: Row) -> ProcedureChange:
    """Leave of what an appointment states what its order doesn't say already, if it defers."""
    if not stated.defers:
        return stated
    fields = {name: value for name, value in stated.fields.items() if not row[name]}
    steps = [
        replace(step, fields={k: v for k, v in step.fields.items() if k not in _DESCRIBE})
        for step in stated.steps
    ]
    return replace(stated, fields=fields, steps=steps)


def _clock_text(local: str) -> str:
    """Write YYYYMMDDHHMMSS to the minute."""
    return f"{local[:4]}-{local[4:6]}-{local[6:8]} {local[8:10]}:{local[10:12]}"


def _collision() -> Rejected:
    return Rejected(
        Fault(
            Reason.DUPLICATE_KEY,
            "OBR-20",
            "another order has a step with this Study Instance UID and step ID",
        )
    )


def new_id() -> str:
    """Make an identifier of 16 characters, the most that an SH holds."""
    return _OURS + base64.b32encode(secrets.token_bytes(10)).decode()[:12]


def _is_ours(identifier: str) -> bool:
    return identifier.startswith(_OURS)


def _new_study_uid(stated: ProcedureChange, change: OrderChange, procedure: Row) -> str:
    """Make a Study Instance UID under 2.25 (PS3.5 B.2), by the policy of the change."""
    if change.study_uid_policy is StudyUidPolicy.REJECT:
        where = "IPC-3" if stated.snapshot else "ZDS-1"
        raise Rejected(Fault(Reason.MISSING, where, "no Study Instance UID"))
    accession = procedure["accession_number"]
    if change.study_uid_policy is StudyUidPolicy.FROM_ACCESSION and accession:
        issuer = procedure["accession_issuer"]
        return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{issuer}/{accession}').int}"
    return f"2.25.{uuid.uuid4().int}"
