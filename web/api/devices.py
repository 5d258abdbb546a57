"""/api/v1/devices: scanners and other DICOM peers that are known."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from flask import Blueprint
from pydantic import BaseModel, ConfigDict, Field
from spectree import Tag
from sqlmodel import Session

from mwl import devices
from mwl.accounts import Role
from mwl.config import DeviceCharacters, DeviceTable, DeviceWorklist, May
from mwl.db.tables import Device as Row
from mwl.worklist.browse import Item
from mwl.worklist.trying import Asked, Tried
from web.api.endpoints import Given, absent, endpoint
from web.guard import actor, viewed
from web.wiring import wired

blueprint = Blueprint("devices", __name__, url_prefix="/devices")

TAG = Tag(name="Devices", description="Scanners and other DICOM peers that are known.")
_NUMBER = "The number of the device."


class Device(BaseModel):
    """A device that is known."""

    id: int = Field(description="The number of the device here.")
    ae_title: str = Field(description="Its AE title.")
    aliases: list[str] = Field(description="Further AE titles that it calls by.")
    host: str = Field(description='Where it listens; "": nowhere that is known.')
    port: int = Field(description="On which port; 0: none that is known.")
    modality: str = Field(description="Modality (0008,0060) of the steps that go to it.")
    station_name: str = Field(description="Station Name (0008,1010).")
    location: str = Field(description="Where it stands.")
    may: list[May] = Field(description="What it is let do beyond C-ECHO.")
    mpps: bool = Field(description="Whether it tells of its work by MPPS.")
    commit_report: str = Field(description="Where it is told of commitment: new or same.")
    tls: bool = Field(description="Whether we call it over TLS.")
    certificate: str = Field(description='Whose certificate it must show; "": it need not.')
    zone: str = Field(description='The zone of its wall clock; "": the site\'s.')
    close_images: str = Field(
        description='Where images of its orders are kept: here or elsewhere; "": as the site\'s.'
    )
    worklist: DeviceWorklist = Field(description="What it is shown of the worklist.")
    characters: DeviceCharacters = Field(description="Which character sets it reads.")
    oddities: list[str] = Field(description="What its association requests get wrong, by codes.")
    origin: str = Field(description="manual; config: the settings own it.")
    seen_at: datetime | None = Field(description="When it spoke to us last; null: never.")
    seen_address: str = Field(description="From where it did.")
    created_at: datetime = Field(description="When it was registered.")
    updated_at: datetime = Field(description="When it was changed last.")


def _describe(schema: dict[str, Any]) -> None:
    for name, told in schema["properties"].items():
        told["description"] = Device.model_fields[name].description


class NewDevice(DeviceTable, Given):
    """A device as it is to be; what is not given is as the settings' defaults are."""

    model_config = ConfigDict(json_schema_extra=_describe)


class Devices(BaseModel):
    """All devices, by AE title."""

    items: list[Device]


class Keys(Given):
    """What the device is taken to ask by; what is not given is as usual for it, "" is any."""

    day: str | None = Field(
        None, max_length=200, description="Start, YYYYMMDD or a range, by the device's clock."
    )
    modality: str | None = Field(None, max_length=200, description="Modality (0008,0060).")
    station: str | None = Field(
        None, max_length=200, description="Scheduled Station AE Title (0040,0001)."
    )
    patient_id: str = Field("", max_length=200, description="Patient ID (0010,0020).")
    patient_name: str = Field(
        "", max_length=200, description="Patient's Name (0010,0010), * and ? among it."
    )
    accession_number: str = Field("", max_length=200, description="Accession Number (0008,0050).")
    character_set: str = Field(
        "", max_length=200, description='Specific Character Set that it asks in; "": names none.'
    )


class Answer(BaseModel):
    """An answer, as the device reads it."""

    entry: int = Field(description="The number of its worklist entry here.")
    attributes: dict[str, str] = Field(
        description="By keyword, those of the step among them; of codes value^scheme^meaning."
    )
    character_set: str = Field(description='Its (0008,0005); "": ASCII.')
    rewritten: dict[str, str] = Field(
        description="Those that are in other letters than they are kept in, as they are kept."
    )


class Unseen(BaseModel):
    """An entry that people see, and the device does not."""

    entry: int = Field(description="Its number here; /worklist/{entry}/why tells more.")
    sps_id: str = Field(description="Scheduled Procedure Step ID (0040,0009).")
    patient_id: str = Field(description="Patient ID (0010,0020).")
    modality: str = Field(description="Modality (0008,0060).")
    stations: list[str] = Field(description="Scheduled Station AE Title (0040,0001).")
    state: str = Field(description="Scheduled Procedure Step Status, or HELD, EXPIRED.")


class Trial(BaseModel):
    """What a device would be shown now."""

    ae_title: str = Field(description="What it calls itself.")
    asked: Keys = Field(description="What it asks by.")
    refused: str = Field(description='Why it is not let ask at all; "": it is.')
    status: str = Field(description="How the C-FIND ends: 0000, A700, C001 and others.")
    comment: str = Field(description="What the status says beside.")
    count: int = Field(description="How many answers it is sent.")
    matching: int = Field(description="How many match, whatever it takes at most.")
    cut: bool = Field(description="Whether it is given a part, and isn't told.")
    answers: list[Answer] = Field(description="The answers; of very many the first.")
    hidden: list[Unseen] | None = Field(
        description="Entries of that day or patient that are not over, and it is not shown; "
        "null: neither is asked for."
    )
    more_hidden: bool = Field(description="Whether there may be more of these.")


@blueprint.get("")
@endpoint(Role.VIEWER, TAG, Devices)
def listing() -> Devices:
    """List the devices."""
    with wired().database.read() as session:
        return Devices(items=[_device(row) for row in devices.listing(session)])


@blueprint.get("/<int:device>")
@endpoint(Role.VIEWER, TAG, Device, problems=(404,), numbers=_NUMBER)
def get(device: int) -> Device:
    """Read a device."""
    with wired().database.read() as session:
        return _known(session, device)


@blueprint.get("/<int:device>/worklist")
@endpoint(Role.VIEWER, TAG, Trial, problems=(404, 422), numbers=_NUMBER)
def worklist(device: int, query: Keys) -> Trial:
    """Tell what a device would be shown now, by the code that answers scanners."""
    wiring = wired()
    with wiring.database.read() as session:
        title = _known(session, device).ae_title
    viewed(devices.subject_of(title), page="try", **query.model_dump(exclude_unset=True))
    asked = Asked(**query.model_dump())
    return _trial(wiring.tools.see(title, asked, wiring.clock()))


@blueprint.post("")
@endpoint(Role.ADMIN, TAG, Device, status=201, problems=(409, 422))
def create(json: NewDevice) -> tuple[Device, int]:
    """Register a device."""
    who, now = actor(), wired().clock()

    def work(session: Session) -> Device:
        return _known(session, devices.register(session, who, _table(json), now=now))

    return wired().database.write(work), 201


@blueprint.put("/<int:device>")
@endpoint(Role.ADMIN, TAG, Device, problems=(404, 409, 422), numbers=_NUMBER)
def change(device: int, json: NewDevice) -> Device:
    """Make a device what is given, its title too."""
    who, now = actor(), wired().clock()

    def work(session: Session) -> Device:
        devices.amend(session, who, device, _table(json), now=now)
        session.expire_all()
        return _known(session, device)

    return wired().database.write(work)


@blueprint.delete("/<int:device>")
@endpoint(Role.ADMIN, TAG, None, status=204, problems=(404, 409), numbers=_NUMBER)
def remove(device: int) -> tuple[str, int]:
    """Forget a device."""
    who, now = actor(), wired().clock()
    wired().database.write(lambda session: devices.forget(session, who, device, now=now))
    return "", 204


def _table(given: NewDevice) -> DeviceTable:
    return DeviceTable(**given.model_dump())


def _known(session: Session, row: int) -> Device:
    found = devices.get(session, row)
    if found is None:
        raise absent("device")
    return _device(found)


def _device(row: Row) -> Device:
    return Device.model_validate(row, from_attributes=True)


def _trial(tried: Tried) -> Trial:
    hidden = None if tried.hidden is None else [_unseen(each) for each in tried.hidden]
    return Trial(
        ae_title=tried.ae_title,
        asked=Keys(**asdict(tried.asked)),
        refused=tried.refused,
        status=f"{tried.status:04X}",
        comment=tried.comment,
        count=tried.count,
        matching=tried.more,
        cut=tried.is_cut,
        answers=[
            Answer(
                entry=each.step,
                attributes=dict(each.attributes),
                character_set=each.character_set,
                rewritten=dict(each.rewritten),
            )
            for each in tried.answers
        ],
        hidden=hidden,
        more_hidden=tried.more_hidden,
    )


def _unseen(item: Item) -> Unseen:
    return Unseen(
        entry=item.id,
        sps_id=item.sps_id,
        patient_id=item.patient_id,
        modality=item.modality,
        stations=item.stations,
        state=item.shown_state,
    )
