"""/api/v1/worklist: scheduled procedure steps."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from flask import Blueprint
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema, model_validator
from spectree import Tag
from sqlmodel import Session

from mwl import audit, procedures, sightings
from mwl.accounts import Role
from mwl.audit import Action, Event
from mwl.orders import OrderState, StepState
from mwl.sightings import Seen
from mwl.worklist import browse, manual
from mwl.worklist.browse import Item, Sort
from mwl.worklist.manual import Done, Which
from web.api.endpoints import Day, Found, Given, Listed, absent, endpoint, found, place
from web.guard import actor, viewed
from web.wiring import wired

blueprint = Blueprint("worklist", __name__, url_prefix="/worklist")

TAG = Tag(name="Worklist", description="Scheduled procedure steps: the lines of scanners' lists.")
_NUMBER = "The number of the step."
_YEARS = range(1900, 2200)  # any zone's clock can tell them


def _instant(value: Any) -> datetime:
    try:
        start = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError("is written like 2026-07-01T10:30; a UTC offset may follow") from None
    if start.year not in _YEARS:
        raise ValueError(f"has a year from {_YEARS[0]} to {_YEARS[-1]}")
    return start if start.tzinfo else start.replace(tzinfo=wired().settings.site.zone_info)


Start = Annotated[
    datetime, BeforeValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})
]


Stale = Mapping[int, Sequence[Seen]]


class Person(BaseModel):
    """A patient."""

    patient_id: str = Field(description="Patient ID (0010,0020); PID-3.")
    issuer: str = Field(description="Issuer of Patient ID (0010,0021); PID-3.4.")
    name: str = Field(description="Patient's Name (0010,0010); PID-5.")
    birth_date: str = Field(description="Patient's Birth Date (0010,0030); PID-7.")
    sex: str = Field(description="Patient's Sex (0010,0040): F, M or O; PID-8.")


class Entry(BaseModel):
    """A scheduled procedure step with whom and what it is for."""

    id: int = Field(description="The number of the step here.")
    order: int = Field(description="The number of its order here.")
    patient: Person
    accession_number: str = Field(description="Accession Number (0008,0050).")
    procedure: str = Field(description="Requested Procedure Description (0032,1060).")
    sps_id: str = Field(description="Scheduled Procedure Step ID (0040,0009).")
    description: str = Field(description="Scheduled Procedure Step Description (0040,0007).")
    modality: str = Field(description="Modality (0008,0060).")
    stations: list[str] = Field(
        description="Scheduled Station AE Title (0040,0001); none: any of the modality."
    )
    start: datetime = Field(
        description="Scheduled Procedure Step Start Date and Time (0040,0002), (0040,0003)."
    )
    state: StepState | OrderState = Field(
        description="Scheduled Procedure Step Status (0040,0020), or HELD, EXPIRED, CLOSED."
    )
    order_state: str = Field(description="What has become of the order as a whole.")
    flags: list[str] = Field(description="What a person should see of the order.")
    warnings: list[str] = Field(description="Scanners that hold an old copy of it.")
    source: str = Field(description="Who ordered it: MSH-3^MSH-4, manual, or import.")
    updated_at: datetime = Field(description="When the order changed last.")


class WorklistSearch(Listed):
    """Which entries; all that is given must hold."""

    day: Day | None = Field(None, description="The day of the start, by the site's calendar.")
    device: str = Field("", max_length=16, description="What a scanner of this AE title sees.")
    modality: str = Field("", max_length=16, description="Modality (0008,0060).")
    state: StepState | OrderState | None = Field(None, description="The state, as entries show it.")
    text: str = Field(
        "",
        max_length=200,
        description="A patient ID, accession, placer or filler number, or a name's beginning.",
    )
    flagged: bool = Field(False, description="Only orders with a flag for a person.")
    sort: Sort = Field(Sort.START, description="By start, the latest first, or changes first.")


class Change(Given):
    """What is to change; what is not given stays. "" empties a text."""

    patient_name: str | None = Field(None, description="Patient's Name (0010,0010).")
    birth_date: str | None = Field(None, description="Patient's Birth Date (0010,0030).")
    sex: str | None = Field(None, description="Patient's Sex (0010,0040): F, M or O.")
    accession_number: str | None = Field(None, description="Accession Number (0008,0050).")
    modality: str | None = Field(None, description="Modality (0008,0060).")
    description: str | None = Field(
        None, description="Scheduled Procedure Step Description (0040,0007)."
    )
    start: Start | None = Field(
        None, description="When, by the site's clock where no offset follows."
    )
    stations: list[str] | None = Field(
        None, max_length=50, description="Scheduled Station AE Title (0040,0001)."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("nothing to change: give patient_name, start or another field")
        return self

    def entry(self, **more: str) -> manual.Entry:
        stations = None if self.stations is None else tuple(self.stations)
        stated = {name: getattr(self, name) for name in Change.model_fields}
        return manual.Entry(**{**stated, **more, "stations": stations})


class NewEntry(Change):
    """What is put on the worklist; without a start, for now."""

    patient_id: str = Field(description="Patient ID (0010,0020).")
    issuer: str = Field("", description="Issuer of Patient ID (0010,0021).")
    patient_name: str = Field(description="Patient's Name (0010,0010).")
    modality: str = Field(description="Modality (0008,0060).")


class Kept(BaseModel):
    """An entry after it was changed, and what a person should know."""

    entry: Entry
    notes: list[str] = Field(description="What a person should know of what was done.")


@blueprint.get("")
@endpoint(Role.VIEWER, TAG, Found[Entry], problems=(422,))
def listing(query: WorklistSearch) -> Found[Entry]:
    """List entries."""
    wanted = browse.Wanted(
        day=(query.day or "").replace("-", ""),
        device=query.device,
        modality=query.modality,
        state=query.state,
        text=query.text,
        flagged=query.flagged,
        sort=query.sort,
        zone=wired().settings.site.zone_info,
    )
    at, now = place(query.after), wired().clock()
    with wired().database.read() as session:
        rows = browse.page(session, wanted, now=now, at=at, limit=query.limit + 1)
        stale = sightings.outdated(session, [row.id for row in rows])
    asked = query.model_dump(mode="json", exclude_defaults=True)
    viewed("worklist", **asked)
    after = found(rows, query.limit, lambda row: row.place(query.sort))
    return Found[Entry](items=[_entry(row, stale) for row in rows[: query.limit]], after=after)


@blueprint.get("/<int:step>")
@endpoint(Role.VIEWER, TAG, Entry, problems=(404,), numbers=_NUMBER)
def get(step: int) -> Entry:
    """Read an entry."""
    with wired().database.read() as session:
        item = browse.one(session, step)
        stale = sightings.outdated(session, [step])
    if item is None:
        raise absent("entry")
    viewed(f"order:{item.imaging_order}", step=item.sps_id)
    return _entry(item, stale)


@blueprint.post("")
@endpoint(Role.TECHNOLOGIST, TAG, Kept, status=201, problems=(409, 422))
def create(json: NewEntry) -> tuple[Kept, int]:
    """Put a patient on the worklist."""
    now, zone = wired().clock(), wired().settings.site.zone_info
    entry = json.entry(patient_id=json.patient_id, issuer=json.issuer)

    def work(session: Session) -> Done:
        return manual.add(session, entry, now=now, zone=zone)

    return _done(
        Action.CREATE, None, work, json.model_dump(mode="json", exclude_none=True), now
    ), 201


@blueprint.patch("/<int:step>")
@endpoint(Role.TECHNOLOGIST, TAG, Kept, problems=(404, 409, 422), numbers=_NUMBER)
def change(step: int, json: Change) -> Kept:
    """Change an entry; what is not given stays."""
    now, zone = wired().clock(), wired().settings.site.zone_info

    def work(session: Session) -> Done:
        return manual.change(session, Which(row=step), json.entry(), now=now, zone=zone)

    return _done(Action.CHANGE, step, work, _stated(json), now)


@blueprint.post("/<int:step>/cancel")
@endpoint(Role.TECHNOLOGIST, TAG, Kept, problems=(404, 409), numbers=_NUMBER)
def cancel(step: int) -> Kept:
    """Take an entry from the scanners' lists; it stays on record as CANCELED."""
    now, effects = wired().clock(), wired().effects

    def work(session: Session) -> Done:
        return procedures.cancel(session, Which(row=step), effects=effects, now=now)

    return _done(Action.CANCEL, step, work, {}, now)


@blueprint.post("/<int:step>/arrive")
@endpoint(Role.TECHNOLOGIST, TAG, Kept, problems=(404, 409), numbers=_NUMBER)
def arrive(step: int) -> Kept:
    """Note that the patient has come."""
    return _note(Action.ARRIVE, step, manual.arrive)


@blueprint.post("/<int:step>/ready")
@endpoint(Role.TECHNOLOGIST, TAG, Kept, problems=(404, 409), numbers=_NUMBER)
def ready(step: int) -> Kept:
    """Note that the patient is ready to be scanned."""
    return _note(Action.READY, step, manual.ready)


@blueprint.post("/<int:step>/depart")
@endpoint(Role.TECHNOLOGIST, TAG, Kept, problems=(404, 409), numbers=_NUMBER)
def depart(step: int) -> Kept:
    """Note that the patient has left the scanner, which has not ended its work."""
    return _note(Action.DEPART, step, manual.depart)


@blueprint.post("/<int:step>/reopen")
@endpoint(Role.TECHNOLOGIST, TAG, Kept, problems=(404, 409), numbers=_NUMBER)
def reopen(step: int) -> Kept:
    """Put an entry that was cancelled, ended, held back or has expired on the lists again."""
    now, effects = wired().clock(), wired().effects

    def work(session: Session) -> Done:
        return procedures.reopen(session, Which(row=step), effects=effects, now=now)

    return _done(Action.REOPEN, step, work, {}, now)


def _note(action: Action, step: int, note: manual.Note) -> Kept:
    """Note where the patient of an entry is."""
    now = wired().clock()

    def work(session: Session) -> Done:
        return note(session, Which(row=step), now=now)

    return _done(action, step, work, {}, now)


def _stated(given: Change) -> dict[str, Any]:
    return given.model_dump(mode="json", exclude_none=True)


def _done(
    action: Action,
    step: int | None,
    work: Callable[[Session], Done],
    detail: dict[str, Any],
    now: datetime,
) -> Kept:
    """Do it and record it, in one transaction; give the entry as it is then.

    `step` is None for one that is new: what was done names it.
    """
    who = actor()

    def act(session: Session) -> tuple[Item, Done, Stale]:
        done = work(session)
        which = Which(sps_id=done.sps_ids[0]) if step is None else Which(row=step)
        order, row = manual.hold(session, which)
        told = {"step": done.sps_ids[0], **detail}
        audit.record(session, who, Event(action, f"order:{order['id']}", told), now=now)
        item = browse.one(session, row["id"])
        assert item is not None
        return item, done, sightings.outdated(session, [item.id])

    item, done, stale = wired().database.write(act)
    return Kept(entry=_entry(item, stale), notes=done.flags)


def _entry(item: Item, stale: Stale) -> Entry:
    zone = wired().settings.site.zone_info
    person = Person(
        patient_id=item.patient_id,
        issuer=item.issuer,
        name=item.patient_name,
        birth_date=item.birth_date,
        sex=item.sex,
    )
    return Entry(
        id=item.id,
        order=item.imaging_order,
        patient=person,
        accession_number=item.accession_number,
        procedure=item.procedure,
        sps_id=item.sps_id,
        description=item.description,
        modality=item.modality,
        stations=item.stations,
        start=item.start_at.astimezone(zone),
        state=item.shown_state,
        order_state=item.status,
        flags=item.flags,
        warnings=[seen.warning(zone) for seen in stale.get(item.id, ())],
        source=item.source,
        updated_at=item.updated_at,
    )
