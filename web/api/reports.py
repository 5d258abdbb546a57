"""/api/v1/reports: reports of examinations that others sent."""

from base64 import b64encode
from datetime import datetime
from typing import Any

from flask import Blueprint
from pydantic import BaseModel, Field
from spectree import Tag

from mwl import reports
from mwl.accounts import Role
from mwl.errors import Rejected
from mwl.reports import Kind, Status
from web.api.endpoints import Day, Found, Listed, absent, endpoint, found
from web.api.instants import day_bounds, key_by_time, time_key
from web.guard import viewed
from web.wiring import wired

blueprint = Blueprint("reports", __name__, url_prefix="/reports")

TAG = Tag(name="Reports", description="Reports that came by ORU^R01, each in its versions.")


class Report(BaseModel):
    """A version of a report, without what it says."""

    id: int = Field(description="The number of this version here.")
    source: str = Field(description="Who sent it: MSH-3^MSH-4.")
    number: str = Field(description="The number of its order, which its versions share.")
    code: str = Field(description="What was examined, which they share as well: OBR-4.1.")
    title: str = Field(description="The same for people: OBR-4.2.")
    status: Status = Field(description="How far it has come: OBR-25.")
    issued_at: datetime | None = Field(description="When it was issued: OBR-22.")
    received_at: datetime = Field(description="When it was here.")
    interpreter: str = Field(description="Who interpreted it: OBR-32.")
    patient_id: str = Field(description="PID-3.1 as it came.")
    patient_name: str = Field(description="PID-5 as it came.")
    accession_number: str = Field(description="OBR-18 as it came.")
    order: int | None = Field(description="The number of its order; null: none is known.")
    linked_by: str = Field(description="By which of its numbers that is known.")
    superseded_by: int | None = Field(description="The version that came after it.")
    flags: list[str] = Field(description="What a person should see of it.")


class Part(BaseModel):
    """A part of a report."""

    position: int = Field(description="From 1.")
    kind: Kind = Field(description="What it is.")
    label: str = Field(description="What it is called: OBX-3.")
    media_type: str = Field(description="What its bytes are.")
    abnormal: str = Field(description="Whether it is abnormal: OBX-8.")
    size: int = Field(description="How many bytes it has.")
    text: str | None = Field(description="A text, or its beginning; null: it is none.")


class FullReport(Report):
    """A version of a report, with what it says."""

    parts: list[Part]
    versions: list[int] = Field(description="The numbers of all versions, the latest first.")


class Document(Part):
    """A part of a report with all its bytes."""

    content: str = Field(description="Its bytes, in base64.")


class ReportSearch(Listed):
    """Which reports, the latest version of each; all that is given must hold."""

    text: str = Field("", max_length=200, description="A patient ID, accession, order number.")
    status: Status | None = Field(None, description="How far it has come.")
    unlinked: bool = Field(False, description="Only those whose order is not known.")
    day: Day | None = Field(None, description="The day it came, by the site's calendar.")


@blueprint.get("")
@endpoint(Role.VIEWER, TAG, Found[Report], problems=(422,))
def search(query: ReportSearch) -> Found[Report]:
    """Find reports, the newest first."""
    since, until = day_bounds(query.day)
    wanted = reports.Wanted(query.text, query.status or "", query.unlinked, since, until)
    after = time_key(query.after)
    with wired().database.read() as session:
        rows = reports.search(session, wanted, after=after, limit=query.limit + 1)
    viewed("reports", **query.model_dump(mode="json", exclude_defaults=True))
    items = [Report(**_told(row)) for row in rows[: query.limit]]
    return Found[Report](items=items, after=found(rows, query.limit, key_by_time))


@blueprint.get("/<int:report>")
@endpoint(Role.VIEWER, TAG, FullReport, problems=(404,), numbers="The number of the report.")
def get(report: int) -> FullReport:
    """Read a report: its texts, and what documents it has."""
    with wired().database.read() as session:
        try:
            read = reports.one(session, report)
        except Rejected:
            raise absent("report") from None
    viewed(f"report:{report}")
    return FullReport(
        **_told(read.row),
        parts=[Part(**{name: each[name] for name in Part.model_fields}) for each in read.parts],
        versions=[row.id for row in read.versions],
    )


@blueprint.get("/<int:report>/parts/<int:part>")
@endpoint(
    Role.VIEWER,
    TAG,
    Document,
    problems=(404,),
    numbers=("The number of the report.", "The position of the part."),
)
def document(report: int, part: int) -> Document:
    """Read a part of a report, all of it."""
    with wired().database.read() as session:
        try:
            row = reports.document(session, report, part)
        except Rejected:
            raise absent("part of a report") from None
    viewed(f"report:{report}", part=part)
    content = bytes(row.content)
    named = {name: getattr(row, name) for name in Part.model_fields if name != "text"}
    is_text = row.kind in (Kind.TEXT, Kind.LINK, Kind.MARKUP)
    text = content.decode("utf-8", "replace") if is_text else None
    return Document(**named, text=text, content=b64encode(content).decode("ascii"))


def _told(row: Any) -> dict[str, Any]:
    told = {name: getattr(row, name) for name in Report.model_fields if name != "order"}
    return {**told, "order": row.imaging_order}
