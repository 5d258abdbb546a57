"""/api/v1/patients: who is on file, merges and what takes them back, conflicts."""

from datetime import datetime
from typing import Any

from flask import Blueprint
from pydantic import BaseModel, Field
from spectree import Tag
from sqlmodel import Session

from mwl import audit
from mwl.accounts import Role
from mwl.audit import Action, Event
from mwl.errors import Reason, Rejected
from mwl.worklist import patients, unmerging
from mwl.worklist.unmerging import Unmerged
from web.api.endpoints import Found, Listed, absent, endpoint, found, place
from web.errors import Problem
from web.guard import actor, viewed
from web.wiring import wired

blueprint = Blueprint("patients", __name__, url_prefix="/patients")

TAG = Tag(name="Patients", description="Patients, their merges, and what takes a merge back.")


class Patient(BaseModel):
    """A patient, under one number."""

    id: int = Field(description="The number of the patient here.")
    patient_id: str = Field(description="Patient ID (0010,0020); PID-3.")
    issuer: str = Field(
        description="Issuer of Patient ID (0010,0021): namespace^universal ID^type."
    )
    patient_name: str = Field(description="Patient's Name (0010,0010); PID-5.")
    birth_date: str = Field(description="Patient's Birth Date (0010,0030); PID-7.")
    sex: str = Field(description="Patient's Sex (0010,0040); PID-8.")
    merged_into: int | None = Field(description="The patient into whom this one was merged.")


class PatientSearch(Listed):
    """Which patients."""

    text: str = Field("", max_length=200, description="A patient ID, or a name's beginning.")


class Merge(BaseModel):
    """A merge, or a change of identifier."""

    id: int = Field(description="The number of the merge.")
    loser: int = Field(description="The patient who was merged: the number here.")
    loser_id: str = Field(description="Their Patient ID (0010,0020).")
    survivor: int = Field(description="The patient into whom: the number here.")
    survivor_id: str = Field(description="Their Patient ID (0010,0020).")
    stated_at: datetime = Field(description="When its sender made it: MSH-7.")
    source: str = Field(description="Its sender: MSH-3^MSH-4.")
    control_id: str = Field(description="Its message: MSH-10.")
    renumbered: bool = Field(description="The survivor was not known: a new number.")
    orders: int = Field(description="How many orders it moved.")
    studies: int = Field(description="How many studies it moved.")
    mpps: int = Field(description="How many performed steps followed.")
    ended_at: datetime | None = Field(description="When it was undone; null: it is in force.")
    ended_by: str = Field(description="Who undid it.")


class Conflict(BaseModel):
    """A message that was refused because it names somebody else than is on file."""

    id: int = Field(description="The number of the message, by which it may be replayed.")
    received_at: datetime = Field(description="When it came.")
    source: str = Field(description="Its sender: MSH-3^MSH-4.")
    control_id: str = Field(description="MSH-10.")
    type: str = Field(description="MSH-9: ORM^O01.")
    patient_id: str = Field(description="The Patient ID (0010,0020) that it names.")
    accession_number: str = Field(description="The Accession Number (0008,0050) that it names.")
    error: str = Field(description="Why it was refused.")


class Undone(BaseModel):
    """What went back."""

    loser: int = Field(description="The patient who got it back.")
    survivor: int = Field(description="The patient who had it.")
    orders: int = Field(description="How many orders.")
    studies: int = Field(description="How many studies.")
    notes: list[str] = Field(description="What a person should see.")


@blueprint.get("")
@endpoint(Role.VIEWER, TAG, Found[Patient], problems=(422,))
def search(query: PatientSearch) -> Found[Patient]:
    """Find patients, the newest first."""
    with wired().database.read() as session:
        rows = patients.search(session, query.text, after=_row(query.after), limit=query.limit + 1)
    viewed("patients", **query.model_dump(mode="json", exclude_defaults=True))
    items = [
        Patient(**{name: getattr(row, name) for name in Patient.model_fields})
        for row in rows[: query.limit]
    ]
    return Found[Patient](items=items, after=found(rows, query.limit, lambda row: [row.id]))


@blueprint.get("/merges")
@endpoint(Role.VIEWER, TAG, Found[Merge], problems=(422,))
def merges(query: Listed) -> Found[Merge]:
    """List merges, the newest first."""
    with wired().database.read() as session:
        rows = patients.merges(session, after=_row(query.after), limit=query.limit + 1)
    viewed("merges")
    items = [_merge(row) for row in rows[: query.limit]]
    return Found[Merge](items=items, after=found(rows, query.limit, lambda row: [row.id]))


@blueprint.get("/conflicts")
@endpoint(Role.VIEWER, TAG, Found[Conflict], problems=(422,))
def conflicts(query: Listed) -> Found[Conflict]:
    """List messages that name somebody else than is on file, and that nobody settled yet."""
    with wired().database.read() as session:
        rows = patients.conflicts(session, after=_row(query.after), limit=query.limit + 1)
    viewed("conflicts")
    items = [Conflict(**row._asdict()) for row in rows[: query.limit]]
    return Found[Conflict](items=items, after=found(rows, query.limit, lambda row: [row.id]))


@blueprint.post("/merges/<int:merge>/undo")
@endpoint(Role.ADMIN, TAG, Undone, problems=(404, 409), numbers="The number of the merge.")
def undo(merge: int) -> Undone:
    """Take a merge back: what was the merged patient's goes back, with what came since."""
    wiring, who = wired(), actor()
    now = wiring.clock()

    def work(session: Session) -> Unmerged:
        done = unmerging.unmerge(session, merge, by=who.name, now=now)
        audit.record(session, who, Event(Action.UNMERGE, *unmerging.told(done)), now=now)
        return done

    try:
        done = wiring.database.write(work)
    except Rejected as error:
        if any(fault.reason is Reason.UNKNOWN_KEY for fault in error.faults):
            raise absent("merge") from None
        raise Problem(409, str(error)) from None
    same = {name: getattr(done, name) for name in ("loser", "survivor", "orders", "studies")}
    return Undone(**same, notes=list(done.flags))


def _merge(row: Any) -> Merge:
    counts = {kind: row.counts.get(kind, 0) for kind in ("orders", "studies", "mpps")}
    same = [name for name in Merge.model_fields if name not in counts]
    return Merge(**{name: getattr(row, name) for name in same}, **counts)


def _row(cursor: str | None) -> int | None:
    keys = place(cursor)
    return int(keys[-1]) if keys else None
