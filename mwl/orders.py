"""What an order is, its states, and which change is allowed; pure.

An **imaging order** asks for one or more **requested procedures**; each is carried out in
one or more **scheduled procedure steps**, the lines of a scanner's worklist (PS3.3 C.4.10).

The rules that this module bears:

1. A step moves forward only: SCHEDULED → ARRIVED → READY → STARTED → DEPARTED → final.
   A final state (COMPLETED, DISCONTINUED, CANCELED) never goes back because a message
   says so; only a person reopens a step.
2. HELD is beside that line: a hold hides a step that has not started, a release shows it.
3. Once a step has STARTED the scanner owns it: the RIS may correct names, but a new time, a
   hold or a wish to cancel is only flagged for a person. What the RIS reports holds: that the
   step was completed, discontinued or cancelled.
4. The state of an order is derived from its steps and two marks; nobody sets it. `closed`
   makes CLOSED of COMPLETED, `expired` makes EXPIRED of what was never begun; of what was, it
   hides the steps that are left. A mark holds as long as what it rests on: new work takes it
   away, a message about the old doesn't.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from mwl.patients import Identifier, PatientChange
from mwl.shortened import Shortened

Fields = dict[str, str | None]
"""Columns that a message states: a missing key keeps what is there, None deletes it."""


class StepState(StrEnum):
    """Scheduled Procedure Step Status (0040,0020), and HELD, which is ours."""

    HELD = "HELD"
    SCHEDULED = "SCHEDULED"
    ARRIVED = "ARRIVED"
    READY = "READY"
    STARTED = "STARTED"
    DEPARTED = "DEPARTED"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"
    CANCELED = "CANCELED"


WAITING = frozenset({StepState.HELD, StepState.SCHEDULED, StepState.ARRIVED, StepState.READY})
FINAL = frozenset({StepState.COMPLETED, StepState.DISCONTINUED, StepState.CANCELED})
YEARS = range(1900, 2200)  # when steps may start: any zone's clock can tell them


class OrderState(StrEnum):
    """What has become of an order as a whole; EXPIRED and CLOSED are ours, never on the wire."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"  # never begun, and its day is long past
    CLOSED = "CLOSED"  # COMPLETED, and the close rule holds


class Action(StrEnum):
    """What a pair of ORC-1 and ORC-5 asks for; profiles map the pairs to these."""

    CREATE = "create"
    UPDATE = "update"
    CANCEL = "cancel"  # it is wished
    CANCELED = "canceled"  # it is so: the filler reports it
    DISCONTINUE = "discontinue"
    HOLD = "hold"
    RELEASE = "release"
    ARRIVE = "arrive"  # the patient has come
    READY = "ready"  # … and all is prepared
    START = "start"
    DEPART = "depart"  # the patient has left
    COMPLETE = "complete"
    NOTE = "note"  # known, but nothing changes


# The state that an action leads to, from a step that has not started.
_TARGET = {
    Action.CANCEL: StepState.CANCELED,
    Action.CANCELED: StepState.CANCELED,
    Action.DISCONTINUE: StepState.DISCONTINUED,
    Action.HOLD: StepState.HELD,
    Action.START: StepState.STARTED,
    Action.COMPLETE: StepState.COMPLETED,
}
# Actions by which the RIS reports what has happened: they hold after STARTED as well.
_REPORTS = frozenset({Action.CANCELED, Action.DISCONTINUE, Action.COMPLETE})


@dataclass(frozen=True, slots=True)
class Transition:
    """What an action does to a step: its next state, and what a person should see."""

    state: StepState
    flag: str = ""


def transition(action: Action, state: StepState) -> Transition:
    """Tell what `action`, asked for by the RIS, makes of a step in `state`."""
    if action is Action.RELEASE:
        return _release(state)
    if action in _STAGES:
        return _onward(action, state)
    target = _TARGET.get(action)
    if target is None or target is state:
        return Transition(state)
    if state in WAITING or (action in _REPORTS and state not in FINAL):
        return Transition(target)
    if action is Action.START and state not in FINAL:
        return Transition(state)  # DEPARTED: further than STARTED already
    return Transition(state, f"{action} after {state}: not done")


def _release(state: StepState) -> Transition:
    if state is StepState.HELD:
        return Transition(StepState.SCHEDULED)
    return Transition(state, "" if state in WAITING else f"release after {state}: not done")


# What leads a step on by one stage, and from which.
_STAGES = {
    Action.ARRIVE: ({StepState.SCHEDULED}, StepState.ARRIVED),
    Action.READY: ({StepState.SCHEDULED, StepState.ARRIVED}, StepState.READY),
    Action.DEPART: ({StepState.STARTED}, StepState.DEPARTED),
}


def stages(action: Action) -> frozenset[StepState]:
    """Name the states from which the patient arrives, is ready, or departs."""
    return frozenset(_STAGES[action][0])


def onward(action: Action, state: StepState) -> StepState | None:
    """Tell what a step becomes when its patient arrives, is ready, or departs.

    None: that is no news, or too late, or too early.
    """
    before, after = _STAGES[action]
    return after if state in before else None


def _onward(action: Action, state: StepState) -> Transition:
    after = onward(action, state)
    if after is not None:
        return Transition(after)
    is_early = state is StepState.HELD or (action is Action.DEPART and state in WAITING)
    return Transition(state, f"{action} while {state}: not done" if is_early else "")


def derive(
    states: Iterable[StepState],
    *,
    begun: bool = False,
    closed: bool = False,
    expired: bool = False,
) -> OrderState:
    """Derive the state of an order from those of its steps and from its marks.

    `begun`: it was in progress already. Where one step was discontinued and another is still
    to come, nothing else tells whether a scanner had begun.
    """
    seen = frozenset(states)
    state = _derive(seen)
    if state is OrderState.SCHEDULED and begun and StepState.DISCONTINUED in seen:
        return OrderState.IN_PROGRESS
    if closed and state is OrderState.COMPLETED:
        return OrderState.CLOSED
    if expired and state is OrderState.SCHEDULED:
        return OrderState.EXPIRED
    return state


def _derive(seen: frozenset[StepState]) -> OrderState:
    if not seen:
        return OrderState.SCHEDULED
    if seen <= FINAL:
        if StepState.COMPLETED in seen:
            return OrderState.COMPLETED
        if StepState.DISCONTINUED in seen:
            return OrderState.DISCONTINUED
        return OrderState.CANCELED
    if seen & {StepState.STARTED, StepState.DEPARTED, StepState.COMPLETED}:
        return OrderState.IN_PROGRESS
    return OrderState.SCHEDULED


def is_left(states: Iterable[StepState]) -> bool:
    """Tell whether an order has steps to come and none under way: such ones expire."""
    seen = frozenset(states)
    return bool(seen & WAITING) and seen <= WAITING | FINAL


@dataclass(slots=True)
class StepChange:
    """What a message states about one scheduled procedure step.

    `sps_id` is None where the message names no step: then it speaks of every step of its
    procedure, and a new procedure gets one step with an identifier of ours. `start` is an
    aware instant; None keeps the old one. `stations` holds AE titles; None keeps them.
    """

    sps_id: str | None = None
    start: datetime | None = None
    stations: tuple[str, ...] | None = None
    fields: Fields = field(default_factory=dict)  # columns of scheduled_step
    attributes: Fields = field(default_factory=dict)  # further ones, as `mwl.worklist.kept` names


@dataclass(slots=True)
class ProcedureChange:
    """What a message states about one requested procedure.

    `key` is its identity within the order: OBR-19, else the code of OBR-4. `study_uid` is
    None where the message gives none; then `study_uid_policy` decides at creation. A
    `snapshot` states all steps of the procedure: those it leaves out are cancelled.

    `key` may be what an appointment calls its only service: `is_only` lets it mean the only
    procedure of a known order, whatever that is called. If the message `defers` to what the
    order says, it tells only when and where, and what isn't known yet.
    """

    key: str
    requested_procedure_id: str | None = None
    study_uid: str | None = None
    snapshot: bool = False
    is_only: bool = False
    defers: bool = False
    fields: Fields = field(default_factory=dict)  # columns of requested_procedure
    steps: list[StepChange] = field(default_factory=list)


class StudyUidPolicy(StrEnum):
    """Where the Study Instance UID of a new procedure comes from if the RIS gives none."""

    GENERATE = "generate"
    FROM_ACCESSION = "from_accession"
    REJECT = "reject"


class Policy(NamedTuple):
    """What a sender's messages are to do where others' do something else.

    `after_start` is the action for steps that have STARTED or are further, None the same as
    for the others; `refused_after_start`: then the message is rejected. `knows_cancelled`:
    so is the cancellation of an order that is unknown.
    """

    after_start: Action | None = None
    refused_after_start: bool = False
    knows_cancelled: bool = False


DEFAULT_POLICY = Policy()


@dataclass(slots=True)
class OrderChange:
    """What one ORC group asks of one order: the inner form that no wire format owns.

    `number` identifies the order within `source` (the sender): the filler order number,
    else the placer's. `at` is when the sender made the message, None if it doesn't say.
    `where` names the field that holds the number, for errors. No `procedures`: the message
    speaks of all procedures of its order. An appointment (`is_appointment`) also releases
    what is held, and a step that it moves is flagged. `occurrences` number the ORC segments that
    it was read from, where they are answered one by one.
    """

    source: str
    action: Action
    number: Identifier
    patient: PatientChange
    at: datetime | None = None
    control: str = ""  # ORC-1 and ORC-5 as received, for people
    where: str = "ORC-3"
    placer: Identifier | None = None
    filler: Identifier | None = None
    fields: Fields = field(default_factory=dict)  # columns of imaging_order
    procedures: list[ProcedureChange] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    study_uid_policy: StudyUidPolicy = StudyUidPolicy.GENERATE
    is_appointment: bool = False
    occurrences: tuple[int, ...] = ()
    shortened: Shortened = ()
    policy: Policy = DEFAULT_POLICY
    profile: str = ""  # by which it was read
    issued: datetime | None = None  # when the order was made, an aware instant

    @property
    def states(self) -> bool:
        """Whether it says what is to be done, too, and not only what has come to pass."""
        if self.action in (Action.CREATE, Action.UPDATE):
            return True
        return self.is_appointment and self.action in (Action.ARRIVE, Action.READY)
