"""What a performed procedure step (MPPS) is, what it does to orders, and how they close; pure.

The rules that this module bears:

1. A step is what all its MPPS together say: begun while one is IN PROGRESS, else COMPLETED
   if one is, else DISCONTINUED, else CANCELED. One that was taken back says nothing; where
   nothing else is said, the step is SCHEDULED again.
2. What the end of a DISCONTINUED one means, its reason tells, as the sender of the order
   reads reasons. By itself it is discontinued, and taken back where the wrong worklist entry
   was selected.
3. A final state never goes back. A new MPPS for such a step is linked, and shown to a
   person. It goes on in one case: what a scanner gave up, a scanner may yet complete.
4. What is told to the RIS is the order's, once: IP when it begins, CM when all its steps
   are final and one is COMPLETED, DC when none is, CA when a scanner cancelled the last of
   them and discontinued none. An end is never told before a beginning.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from mwl.orders import FINAL, WAITING, OrderState, StepState, Transition

INCORRECT_WORKLIST_ENTRY = "110514"  # PS3.16 CID 9300, of scheme DCM


class PerformedState(StrEnum):
    """Performed Procedure Step Status (0040,0252)."""

    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"


class Said(StrEnum):
    """What an MPPS says of the steps that it carries out."""

    BEGUN = "begun"
    COMPLETED = "completed"
    DISCONTINUED = "discontinued"
    CANCELED = "canceled"
    TAKEN_BACK = "taken back"  # the work is still to be done


Reasons = Mapping[str, Said]
"""What a DISCONTINUED MPPS says, by its reason: the code of scheme DCM, or code^scheme."""

NO_REASON: Final = "-"
ANY_REASON: Final = "*"  # any other
BY_ITSELF: Final[Reasons] = MappingProxyType({INCORRECT_WORKLIST_ENTRY: Said.TAKEN_BACK})


class Stated(NamedTuple):
    """The state of an MPPS, and its Discontinuation Reason as code^scheme^meaning."""

    state: str
    discontinuation: str = ""

    @property
    def is_wrong_entry(self) -> bool:
        """Whether it shows somebody else than it says (PS3.16, 110514)."""
        is_over = self.state == PerformedState.DISCONTINUED
        return is_over and _reason(self.discontinuation) == INCORRECT_WORKLIST_ENTRY


def said(stated: Stated, reasons: Reasons = BY_ITSELF) -> Said:
    """Tell what an MPPS says to who reads reasons so."""
    match PerformedState(stated.state):
        case PerformedState.IN_PROGRESS:
            return Said.BEGUN
        case PerformedState.COMPLETED:
            return Said.COMPLETED
    reason = _reason(stated.discontinuation) or NO_REASON
    return reasons.get(reason) or reasons.get(ANY_REASON) or Said.DISCONTINUED


def _reason(discontinuation: str) -> str:
    code, _, rest = discontinuation.partition("^")
    scheme = rest.partition("^")[0]
    return code if scheme in {"DCM", ""} else f"{code}^{scheme}"


def step_after(state: StepState, now: Said, others: Collection[Said]) -> Transition:
    """Tell what a step in `state` becomes when an MPPS says `now`.

    `others` is what the other MPPS of the same step have said last.
    """
    if state in FINAL:
        return _after_final(state, now, others)
    together = {now, *others}
    if Said.BEGUN in together:
        if state not in WAITING:
            return Transition(state)  # DEPARTED is further than STARTED
        flag = "begun by a scanner while on hold" if state is StepState.HELD else ""
        return Transition(StepState.STARTED, flag)
    for each, final in _FINAL_BY.items():
        if each in together:
            return Transition(final)
    # Nothing but what was taken back: the work is still to be done.
    return Transition(state if state in WAITING else StepState.SCHEDULED)


_FINAL_BY = {
    Said.COMPLETED: StepState.COMPLETED,
    Said.DISCONTINUED: StepState.DISCONTINUED,
    Said.CANCELED: StepState.CANCELED,
}
_GIVEN_UP = {
    StepState.DISCONTINUED: Said.DISCONTINUED,
    StepState.CANCELED: Said.CANCELED,
}


def _after_final(state: StepState, now: Said, others: Collection[Said]) -> Transition:
    if now is Said.BEGUN:
        return Transition(state, f"begun by a scanner after it was {state}")
    if now is Said.COMPLETED and _GIVEN_UP.get(state) in others:
        return Transition(StepState.COMPLETED, f"completed after it was {state}")
    match state, now:
        case StepState.CANCELED, Said.TAKEN_BACK | Said.CANCELED:
            expected = True
        case StepState.COMPLETED, _:
            expected = Said.COMPLETED in {now, *others}  # else the RIS or a person did it
        case StepState.DISCONTINUED, _:
            expected = now is not Said.COMPLETED
        case _:
            expected = False
    return Transition(state, "" if expected else f"{now} by a scanner, though it is {state}")


_News = tuple[Literal["IP", "CM", "DC", "CA"], ...]


def news(before: OrderState, after: OrderState, now: Said | None = None) -> _News:
    """List what is told of an order that a scanner brought from one state to another.

    `now` is what its MPPS says: who else cancels an order knows of it.
    """
    begun: _News = ("IP",) if before in _NOT_BEGUN else ()
    if before is after:
        return ()
    if after is OrderState.IN_PROGRESS:
        return ("IP",)
    if after in _COMPLETED and before not in _COMPLETED:
        return (*begun, "CM")
    if after is OrderState.DISCONTINUED and before not in _COMPLETED:
        return (*begun, "DC")
    if after is OrderState.CANCELED and now is Said.CANCELED:
        return (*begun, "CA")
    return ()


_NOT_BEGUN = frozenset({OrderState.SCHEDULED, OrderState.EXPIRED, OrderState.CANCELED})
_COMPLETED = frozenset({OrderState.COMPLETED, OrderState.CLOSED})


@dataclass(frozen=True, slots=True)
class Request:
    """An item of Scheduled Step Attributes Sequence (0040,0270): what the work is done for."""

    study_instance_uid: str
    sps_id: str = ""
    accession_number: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """An instance that an MPPS lists as made."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str = ""


@dataclass(frozen=True, slots=True)
class Created:
    """What an N-CREATE states, decoded; texts are empty where it says nothing."""

    sop_instance_uid: str
    ae_title: str  # who sent it
    transfer_syntax: str
    data_set: bytes  # as received
    requests: tuple[Request, ...]
    station_ae_title: str = ""
    modality: str = ""
    patient_id: str = ""
    patient_id_issuer: str = ""  # namespace^universal ID^type
    patient_name: str = ""
    performed_step_id: str = ""
    start_local: str = ""  # YYYYMMDDHHMMSS
    end_local: str = ""
    discontinuation: str = ""  # code^scheme^meaning
    listed: tuple[Listed, ...] = ()
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Modified:
    """What an N-SET states, decoded; None where it says nothing."""

    sop_instance_uid: str
    ae_title: str
    transfer_syntax: str
    data_set: bytes
    state: PerformedState | None = None
    discontinuation: str | None = None  # code^scheme^meaning
    end_local: str | None = None
    listed: tuple[Listed, ...] | None = None
    flags: tuple[str, ...] = ()


class LinkedBy(StrEnum):
    """How it is known which scheduled step an MPPS carries out."""

    STEP = "step"  # Study Instance UID and SPS ID of (0040,0270)
    ACCESSION = "accession"  # flagged: the scanner lost the step's identifiers
    STUDY = "study"  # flagged: it had none, and the order came later, for the study that it made
    HAND = "hand"


class Route(StrEnum):
    """By which rule an order closed."""

    ARCHIVED = "archived"  # every instance that its MPPS listed is here
    ELSEWHERE = "elsewhere"  # COMPLETED, and images are another archive's
    QUIET = "quiet"  # no MPPS from this scanner, and its study has been quiet
    HAND = "hand"
