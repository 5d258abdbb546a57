"""/api/v1/orders: imaging orders, and what happened to them."""

from datetime import datetime
from typing import Any

from flask import Blueprint
from pydantic import BaseModel, Field
from spectree import Tag

from mwl import story
from mwl.accounts import Role
from mwl.orders import StepState
from web.api.endpoints import Given, absent, endpoint
from web.api.worklist import Person
from web.guard import viewed
from web.wiring import wired

blueprint = Blueprint("orders", __name__, url_prefix="/orders")

TAG = Tag(name="Orders", description="Orders: for whom, what, what happened, what comes next.")


class Step(BaseModel):
    """A scheduled procedure step."""

    id: int = Field(description="Its number on the worklist.")
    sps_id: str = Field(description="Scheduled Procedure Step ID (0040,0009).")
    state: StepState = Field(description="Scheduled Procedure Step Status (0040,0020), or HELD.")
    state_at: datetime = Field(description="Since when it is in that state.")
    modality: str = Field(description="Modality (0008,0060).")
    stations: list[str] = Field(description="Scheduled Station AE Title (0040,0001).")
    start: datetime = Field(
        description="Scheduled Procedure Step Start Date and Time (0040,0002), (0040,0003)."
    )
    description: str = Field(description="Scheduled Procedure Step Description (0040,0007).")


class Procedure(BaseModel):
    """A requested procedure."""

    requested_procedure_id: str = Field(description="Requested Procedure ID (0040,1001); OBR-19.")
    study_instance_uid: str = Field(description="Study Instance UID (0020,000D).")
    accession_number: str = Field(description="Accession Number (0008,0050); OBR-18, IPC-1.")
    description: str = Field(description="Requested Procedure Description (0032,1060).")
    code_value: str = Field(description="Code Value (0008,0100); OBR-4.1.")
    code_scheme: str = Field(description="Coding Scheme Designator (0008,0102); OBR-4.3.")
    code_meaning: str = Field(description="Code Meaning (0008,0104); OBR-4.2.")
    steps: list[Step]


class Happening(BaseModel):
    """Something that happened to an order."""

    at: datetime = Field(description="When.")
    kind: story.Kind = Field(description="Who speaks.")
    text: str = Field(description="What happened, in a line.")
    state: str = Field(description="How it ended, in a word.")
    notes: list[str] = Field(description="What a person should see.")
    facts: list[tuple[str, str]] = Field(description="More: a label and a value each.")
    about: str = Field(description="What it is told from: message:17, say.")


class Outlook(BaseModel):
    """What comes next, or why nothing does."""

    text: str = Field(description="In a sentence.")
    points: list[str] = Field(description="What that rests on.")
    asks: bool = Field(description="A person should do something.")


class Order(BaseModel):
    """An order as it is on file, what happened, and what comes next."""

    id: int = Field(description="The number of the order here.")
    source: str = Field(description="Who ordered it: MSH-3^MSH-4, manual, or import.")
    placer_number: str = Field(
        description="Placer Order Number / Imaging Service Request (0040,2016); ORC-2."
    )
    filler_number: str = Field(
        description="Filler Order Number / Imaging Service Request (0040,2017); ORC-3."
    )
    state: str = Field(description="What has become of it as a whole.")
    flags: list[str] = Field(description="What a person should see of it.")
    warnings: list[str] = Field(description="Scanners that hold an old copy of it.")
    referring_physician: str = Field(description="Referring Physician's Name (0008,0090).")
    updated_at: datetime = Field(description="When it changed last.")
    patient: Person
    procedures: list[Procedure]
    outlook: Outlook
    story: list[Happening] = Field(description="What happened, the earliest first.")


class OrderSearch(Given):
    """Which orders."""

    accession: str = Field(
        min_length=1, max_length=64, description="The accession number of one of its procedures."
    )


class Numbers(BaseModel):
    """The numbers of orders."""

    items: list[int] = Field(description="Each the id of an order.")


@blueprint.get("")
@endpoint(Role.VIEWER, TAG, Numbers, problems=(422,))
def search(query: OrderSearch) -> Numbers:
    """Find the orders that have an accession number."""
    with wired().database.read() as session:
        rows = story.by_accession(session, query.accession)
    viewed("orders", accession=query.accession)
    return Numbers(items=rows)


@blueprint.get("/<int:order>")
@endpoint(Role.VIEWER, TAG, Order, problems=(404,), numbers="The number of the order.")
def get(order: int) -> Order:
    """Read an order: its procedures and steps, what happened to it, and what comes next."""
    wiring = wired()
    zone = wiring.settings.site.zone_info
    with wiring.database.read() as session:
        told = story.tell(session, order, wiring.close, now=wiring.clock(), zone=zone)
    if told is None:
        raise absent("order")
    viewed(f"order:{order}")
    return _order(told)


def _order(told: story.Story) -> Order:
    subject = told.subject
    row, patient = subject.order, subject.patient
    named = {name: patient[name] for name in ("patient_id", "issuer", "birth_date", "sex")}
    same = ("id", "source", "placer_number", "filler_number", "flags", "referring_physician")
    return Order(
        **{name: row[name] for name in (*same, "updated_at")},
        state=row["status"],
        patient=Person(**named, name=patient["patient_name"]),
        procedures=[_procedure(each, subject.steps_of(each)) for each in subject.procedures],
        warnings=told.warnings,
        outlook=Outlook(text=told.outlook.text, points=told.outlook.points, asks=told.outlook.asks),
        story=[_happening(each) for each in told.entries],
    )


def _procedure(row: dict[str, Any], steps: list[dict[str, Any]]) -> Procedure:
    told = {name: row[name] for name in Procedure.model_fields if name != "steps"}
    return Procedure(**told, steps=[_step(each) for each in steps])


def _step(row: dict[str, Any]) -> Step:
    same = ("id", "sps_id", "state", "state_at", "modality", "description")
    zone = wired().settings.site.zone_info
    return Step(
        **{name: row[name] for name in same},
        stations=[title for title in row["station_ae_titles"].split("\\") if title],
        start=row["start_at"].astimezone(zone),
    )


def _happening(entry: story.Entry) -> Happening:
    return Happening(**{name: getattr(entry, name) for name in Happening.model_fields})
