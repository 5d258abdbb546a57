"""What a person does to the worklist on the day when the RIS is down.

An entry made here is an order from the source "manual", with a number of ours; a person
matches it with the RIS's order later. A change goes through `apply` like any message, so
that the same rules hold; it carries no message time, and so never stands in the way of what
the RIS sends next. Cancelling and reopening are a person's own: reopening is the one way
back from a final state.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from sqlalchemy import Select, select, update
from sqlmodel import Session

from mwl.db.tables import ImagingOrder, Patient, RequestedProcedure, ScheduledStep
from mwl.errors import Fault, Reason, Rejected
from mwl.orders import (
    WAITING,
    Action,
    OrderChange,
    OrderState,
    ProcedureChange,
    StepChange,
    StepState,
    onward,
    stages,
)
from mwl.patients import Identifier, PatientChange
from mwl.worklist import standing
from mwl.worklist.apply import apply
from mwl.worklist.procedures import new_id

SOURCE = "manual"

_PATIENT = Patient.__table__  # type: ignore[attr-defined]
_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]

# PS3.5 6.2: the lengths of SH, LO and CS, in characters.
_LONGEST = {
    "patient_id": 64,
    "accession_number": 16,
    "requested_procedure_id": 16,
    "sps_id": 16,
    "modality": 16,
    "description": 64,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """What a person states of an entry; None keeps what is there.

    `patient_name` is a DICOM PN (`Doe^Jane`), `birth_date` YYYYMMDD, `start` aware.
    """

    patient_id: str | None = None
    issuer: str = ""
    patient_name: str | None = None
    birth_date: str | None = None
    sex: str | None = None
    accession_number: str | None = None
    modality: str | None = None
    description: str | None = None
    start: datetime | None = None
    stations: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Which:
    """How a person names an entry: by accession number, SPS ID, or both; a page by its row."""

    accession_number: str = ""
    sps_id: str = ""
    row: int | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The steps that a command touched, by SPS ID, and what the person should know."""

    sps_ids: list[str]
    flags: list[str] = field(default_factory=list)


def add(session: Session, entry: Entry, *, now: datetime, zone: ZoneInfo) -> Done:
    """Put an entry on the worklist; patient ID, name and modality are needed.

    A flag says so if the accession number is on the worklist already.

    Raises Rejected: MISSING, TOO_LONG, MALFORMED, or OTHER_PATIENT where the identifier is
    known for somebody else.
    """
    entry = _tidied(entry)
    _check(entry)
    _require(entry)
    flags = _seen(session, entry.accession_number)
    step = StepChange(sps_id=new_id(), start=entry.start or now, stations=entry.stations)
    step.fields = _step_fields(entry)
    procedure = ProcedureChange(key=SOURCE, steps=[step], fields=_procedure_fields(entry))
    change = OrderChange(
        source=SOURCE,
        action=Action.CREATE,
        number=Identifier(new_id()),
        patient=_patient(entry, Identifier(entry.patient_id or "", entry.issuer)),
        procedures=[procedure],
    )
    applied = apply(session, change, now=now, zone=zone)
    return Done([str(step.sps_id)], [*flags, *applied.flags])


def change(session: Session, which: Which, entry: Entry, *, now: datetime, zone: ZoneInfo) -> Done:
    """Change an entry; raises Rejected as `add`, and FINAL where the step has begun."""
    entry = _tidied(entry)
    _check(entry)
    _refuse_emptied(entry)
    row = _pick(session, which)
    _refuse_begun(row, "changed")
    if entry.patient_id not in (None, row["patient_id"]):
        raise Rejected(
            Fault(
                Reason.OTHER_PATIENT,
                "patient ID",
                "an entry does not change its patient: cancel it and add another",
            )
        )
    flags = _seen(session, entry.accession_number, row["procedure_row"])
    step = StepChange(row["sps_id"], entry.start, entry.stations, _step_fields(entry))
    procedure = ProcedureChange(row["key"], steps=[step], fields=_procedure_fields(entry))
    stated = OrderChange(
        source=row["source"],
        action=Action.UPDATE,
        number=Identifier(row["order_number"], row["order_namespace"]),
        patient=_patient(entry, Identifier(row["patient_id"], row["issuer_key"])),
        procedures=[procedure],
    )
    applied = apply(session, stated, now=now, zone=zone)
    return Done([row["sps_id"]], [*flags, *applied.flags])


def _nothing_reported(_session: Session, _step: int) -> None:
    return None


def cancel(session: Session, which: Which, *, now: datetime) -> Done:
    """Take an entry from the worklist; raises Rejected (FINAL) once the step has begun."""
    order, row = hold(session, which)
    _refuse_begun(row, "cancelled")
    _set_state(session, order, row, StepState.CANCELED, now)
    return Done([row["sps_id"]])


class Note(Protocol):
    """Notes where a patient is: `arrive`, `ready` or `depart`."""

    def __call__(self, session: Session, which: Which, *, now: datetime) -> Done: ...


def arrive(session: Session, which: Which, *, now: datetime) -> Done:
    """Note that the patient has come; raises Rejected (FINAL) where it is too late for that.

    What is held or has expired is on no scanner's list: reopening puts it back first.
    """
    return _lead_on(session, which, Action.ARRIVE, "the patient arrives for one", now)


def ready(session: Session, which: Which, *, now: datetime) -> Done:
    """Note that the patient is ready to be scanned; as `arrive`."""
    return _lead_on(session, which, Action.READY, "the patient is ready for one", now)


def depart(session: Session, which: Which, *, now: datetime) -> Done:
    """Note that the patient has left the scanner, which has not ended its work; as `arrive`."""
    return _lead_on(session, which, Action.DEPART, "the patient departs from one", now)


def _lead_on(session: Session, which: Which, action: Action, text: str, now: datetime) -> Done:
    order, row = hold(session, which)
    after = onward(action, StepState(row["state"]))
    if row["expired"] or after is None:
        state = OrderState.EXPIRED if row["expired"] else row["state"]
        before = " or ".join(each for each in StepState if each in stages(action))
        raise Rejected(Fault(Reason.FINAL, "", f"the step is {state}: {text} {before}"))
    _set_state(session, order, row, after, now)
    return Done([row["sps_id"]])


def reopen(
    session: Session,
    which: Which,
    *,
    now: datetime,
    reported: Callable[[Session, int], StepState | None] = _nothing_reported,
) -> Done:
    """Put a step that was ended, begun, held back or has expired on the worklist again.

    Its order is CLOSED or EXPIRED no longer; `close.expire_days` counts from now. Asked of
    a step (session, row) that was cancelled, `reported` tells what scanners made of it all
    the same, None for nothing: that it becomes, for nobody shall be scanned twice.
    """
    order, row = hold(session, which)
    state, expired = StepState(row["state"]), order["expired_at"] is not None
    if state is StepState.SCHEDULED and not expired:
        raise Rejected(Fault(Reason.FINAL, "", "the entry is on the worklist already"))
    marks = {"expired_at": None, "revived_at": now} if expired else {}
    after = StepState.SCHEDULED
    if expired and state in (StepState.ARRIVED, StepState.READY):
        after = state
    elif state is StepState.CANCELED:
        after = reported(session, row["id"]) or after
    _set_state(session, order, row, after, now, **marks)
    return Done([row["sps_id"]])


def order_of(session: Session, which: Which) -> int:
    """Find the order of an entry, or of several if they are of one order; its row's number.

    Raises Rejected as all that name an entry.
    """
    return int(_pick(session, which, _PICK_ORDER)["order_row"])


def hold(session: Session, which: Which) -> tuple[dict[str, Any], dict[str, Any]]:
    """Hold the order of an entry; give its row and, as it then is, the entry's."""
    order = standing.hold(session.connection(), _pick(session, which)["order_row"])
    return order.first()._asdict(), _pick(session, which)


_ENTRIES = (
    _STEP.join(_PROCEDURE, _STEP.c.procedure == _PROCEDURE.c.id)
    .join(_ORDER, _PROCEDURE.c.imaging_order == _ORDER.c.id)
    .join(_PATIENT, _ORDER.c.patient == _PATIENT.c.id)
)
_PICK = (
    select(
        _STEP.c.id,
        _STEP.c.sps_id,
        _STEP.c.state,
        _STEP.c.expired,
        _PROCEDURE.c.key,
        _PROCEDURE.c.id.label("procedure_row"),
        _ORDER.c.id.label("order_row"),
        _ORDER.c.source,
        _ORDER.c.order_number,
        _ORDER.c.order_namespace,
        _PATIENT.c.patient_id,
        _PATIENT.c.issuer_key,
    )
    .select_from(_ENTRIES)
    .limit(2)
)
_PICK_ORDER = select(_ORDER.c.id.label("order_row")).distinct().select_from(_ENTRIES).limit(2)


def _pick(session: Session, which: Which, picked: Select[Any] = _PICK) -> dict[str, Any]:
    statement = picked
    if which.accession_number:
        statement = statement.where(_PROCEDURE.c.accession_number == which.accession_number)
    if which.sps_id:
        statement = statement.where(_STEP.c.sps_id == which.sps_id)
    if which.row is not None:
        statement = statement.where(_STEP.c.id == which.row)
    if which == Which():
        raise Rejected(Fault(Reason.MISSING, "", "give the accession number or the step ID"))
    rows = session.connection().execute(statement).mappings().all()
    if not rows:
        raise Rejected(Fault(Reason.UNKNOWN_KEY, "", "no entry on file answers to that"))
    if len(rows) > 1:
        raise Rejected(
            Fault(
                Reason.DUPLICATE_KEY,
                "",
                "several entries answer to that: give the step ID as well "
                "(`mwl worklist list` shows it)",
            )
        )
    return dict(rows[0])


def _seen(session: Session, accession: str | None, but: int | None = None) -> list[str]:
    """Note that another procedure's entry on the worklist has this accession number."""
    if not accession:
        return []
    others = (
        select(_STEP.c.id)
        .join(_PROCEDURE, _STEP.c.procedure == _PROCEDURE.c.id)
        .where(_PROCEDURE.c.accession_number == accession, _STEP.c.state.in_(WAITING))
        .limit(1)
    )
    if but is not None:
        others = others.where(_PROCEDURE.c.id != but)
    found = session.connection().execute(others).first()
    return ["the accession number is on the worklist already"] if found else []


def _refuse_begun(row: dict[str, Any], done: str) -> None:
    if row["state"] not in WAITING:
        raise Rejected(
            Fault(
                Reason.FINAL,
                "",
                f"the step is {row['state']} and can't be {done}; reopen it first",
            )
        )


def _set_state(
    session: Session,
    order: dict[str, Any],
    row: dict[str, Any],
    state: StepState,
    now: datetime,
    **marks: datetime | None,
) -> None:
    conn = session.connection()
    if state != row["state"]:
        moved = {"state": state, "state_at": now, "expired": False}
        conn.execute(update(_STEP).where(_STEP.c.id == row["id"]).values(moved))
    standing.settle(conn, order, now, **marks)


def _tidied(entry: Entry) -> Entry:
    """Drop the spaces around values, which mean nothing (PS3.5 6.2); a CS has capitals."""
    stated = {each.name: getattr(entry, each.name) for each in fields(entry)}
    tidied: dict[str, Any] = {
        name: value.strip(" ") for name, value in stated.items() if isinstance(value, str)
    }
    if entry.modality is not None:
        tidied["modality"] = tidied["modality"].upper()
    if entry.patient_name is not None and not entry.patient_name.strip(" ^="):
        tidied["patient_name"] = ""  # separators alone are no name
    if entry.stations is not None:
        tidied["stations"] = tuple(title.strip(" ") for title in entry.stations)
    return replace(entry, **tidied)


def _needed(entry: Entry) -> dict[str, str | None]:
    return {
        "patient ID": entry.patient_id,
        "patient name": entry.patient_name,
        "modality": entry.modality,
    }


def _require(entry: Entry) -> None:
    missing = [name for name, value in _needed(entry).items() if not value]
    if missing:
        raise Rejected(*(Fault(Reason.MISSING, name, "is needed") for name in missing))


def _refuse_emptied(entry: Entry) -> None:
    emptied = [name for name, value in _needed(entry).items() if value == ""]
    if emptied:
        raise Rejected(*(Fault(Reason.MISSING, name, "can't be emptied") for name in emptied))


def _check(entry: Entry) -> None:
    faults = []
    for name, longest in _LONGEST.items():
        value = getattr(entry, name, None) or ""
        label = name.replace("_", " ")
        if len(value) > longest:
            faults.append(Fault(Reason.TOO_LONG, label, f"longer than {longest} characters"))
        if "\\" in value or not value.isprintable():
            faults.append(Fault(Reason.MALFORMED, label, "holds a backslash or control character"))
    # A scanner that asks for "CT" finds nothing but "CT" (PS3.5 6.2, CS).
    if entry.modality and not faults and not re.fullmatch(r"[A-Z0-9_]{1,16}", entry.modality):
        faults.append(Fault(Reason.MALFORMED, "modality", "is a code of A-Z, 0-9 and _, like CT"))
    faults += [
        Fault(Reason.MALFORMED, "station", "an AE title has 1 to 16 characters, no backslash")
        for title in entry.stations or ()
        if not 1 <= len(title) <= 16 or "\\" in title or not title.isprintable()
    ]
    name = entry.patient_name or ""
    if "\\" in name or not name.isprintable() or any(len(g) > 64 for g in name.split("=")):
        faults.append(
            Fault(Reason.MALFORMED, "patient name", "a group holds up to 64 printable characters")
        )
    faults += _check_birth_date(entry.birth_date)
    if entry.sex not in (None, "", "F", "M", "O"):
        faults.append(Fault(Reason.UNKNOWN_CODE, "sex", "is F, M or O"))
    if faults:
        raise Rejected(*faults)


def _check_birth_date(value: str | None) -> list[Fault]:
    if not value:
        return []
    try:
        datetime.strptime(value, "%Y%m%d")  # noqa: DTZ007 - a DA has no zone and never shifts
    except ValueError:
        return [Fault(Reason.MALFORMED, "birth date", "is written YYYYMMDD")]
    return [] if len(value) == 8 else [Fault(Reason.MALFORMED, "birth date", "is written YYYYMMDD")]


def _patient(entry: Entry, identifier: Identifier) -> PatientChange:
    fields = {
        "patient_name": entry.patient_name,
        "birth_date": entry.birth_date,
        "sex": entry.sex,
    }
    return PatientChange(identifier, where="patient ID", fields=_given(fields))


def _procedure_fields(entry: Entry) -> dict[str, str | None]:
    fields = {"accession_number": entry.accession_number, "description": entry.description}
    return _given(fields)


def _step_fields(entry: Entry) -> dict[str, str | None]:
    return _given({"modality": entry.modality, "description": entry.description})


def _given(fields: dict[str, str | None]) -> dict[str, str | None]:
    return {name: value for name, value in fields.items() if value is not None}
