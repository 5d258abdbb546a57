"""/api/v1/devices: scanners and other DICOM peers that are known."""

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
from web.api.endpoints import Given, absent, endpoint
from web.guard import actor
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
