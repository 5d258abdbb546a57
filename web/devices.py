"""Devices: who is known and may do what, who knocked, and whether they are there.

Everybody may look; an administrator registers, changes, removes and tests. What came of a
test is shown on the page that answers, and recorded, however it went.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from pydantic import ValidationError

from mwl import associations, devices
from mwl.accounts import Role
from mwl.config import Destination, DeviceTable, Forward, May, MppsForward, describe
from mwl.db.tables import Device, Knock
from mwl.devices import Answer
from mwl.errors import Rejected
from web.guard import actor, allowed
from web.wiring import wired

blueprint = Blueprint("devices", __name__, url_prefix="/devices")

RIGHTS: Mapping[str, str] = {
    "worklist": "Query the worklist",
    "mpps": "Report procedure steps (MPPS)",
    "store": "Send images (C-STORE)",
    "commit": "Ask for storage commitment",
    "query": "Search the archive (C-FIND)",
    "retrieve": "Take images away (C-MOVE, C-GET)",
}
assert set(RIGHTS) == set(get_args(May))
_TEXTS = ("ae_title", "host", "port", "modality", "station_name", "location", "certificate")


@dataclass(frozen=True, slots=True)
class Form:
    """What stands in the form of a device, and what is wrong with it, by field."""

    values: Mapping[str, Any]
    faults: Mapping[str, str] = field(default_factory=dict)


@blueprint.get("")
@allowed(Role.VIEWER)
def listing() -> str:
    """List the devices, those who knocked, and where HL7 messages go."""
    return _list()


@blueprint.route("/new", methods=["GET", "POST"])
@allowed(Role.ADMIN)
def new() -> ResponseReturnValue:
    """Register a device."""
    if request.method == "POST":
        return _register()
    values = {name: request.args.get(name, "") for name in _TEXTS}
    return _new(Form(_defaults() | values))


@blueprint.get("/knocks/<int:knock>/register")
@allowed(Role.ADMIN)
def from_knock(knock: int) -> str:
    """Offer to register who knocked, with what is known of it."""
    with wired().database.read() as session:
        found = devices.knock(session, knock)
    if found is None:
        abort(404)
    known = {"ae_title": found.calling_ae_title, "host": found.address}
    return _new(Form(_defaults() | known), found)


@blueprint.get("/<int:device>")
@allowed(Role.VIEWER)
def show(device: int) -> str:
    """Show a device."""
    found = _device(device)
    return _show(found, Form(_values(found)))


@blueprint.post("/<int:device>")
@allowed(Role.ADMIN)
def change(device: int) -> ResponseReturnValue:
    """Change a device to what its form says."""
    found = _device(device)
    given, form = _read()
    if given is None:
        return _show(found, form), 400
    wiring, who = wired(), actor()
    now = wiring.clock()
    try:
        wiring.database.write(lambda s: devices.amend(s, who, device, given, now=now))
    except Rejected as error:
        return _show(found, _refused(form, error)), 409
    flash(f"{given.ae_title} is changed.")
    return redirect(url_for(".show", device=device), 303)


@blueprint.post("/<int:device>/remove")
@allowed(Role.ADMIN)
def remove(device: int) -> ResponseReturnValue:
    """Forget a device."""
    _device(device)
    wiring, who = wired(), actor()
    now = wiring.clock()
    title = wiring.database.write(lambda s: devices.forget(s, who, device, now=now))
    flash(f"{title} is removed.")
    return redirect(url_for(".listing"), 303)


@blueprint.post("/<int:device>/echo")
@allowed(Role.ADMIN)
def echo(device: int) -> str:
    """Ask a device for an answer (C-ECHO), and show what came of it."""
    found = _device(device)
    if found.host and found.port:
        result = wired().tools.echo(found)
        _note(devices.subject_of(found.ae_title), result)
    else:
        result = Answer(False, "it has no host and port here: fill them in first")
    return _show(found, Form(_values(found)), result)


@blueprint.post("/destinations/<name>/test")
@allowed(Role.ADMIN)
def test_destination(name: str) -> str:
    """See whether a receiver of HL7 messages or MPPS is there, and show what came of it."""
    found = next((each for each in _receivers() if each.name == name), None)
    if found is None:
        abort(404)
    result = wired().tools.reach(found)
    _note(f"destination:{name}", result)
    return _list({name: result})


def _receivers() -> Sequence[Destination | Forward | MppsForward]:
    """Give who is told what becomes of orders, and who is sent what comes in."""
    settings = wired().settings
    return (*settings.hl7.destination, *settings.hl7.forward, *settings.mpps.forward)


def _note(subject: str, result: Answer) -> None:
    wiring, who = wired(), actor()
    now = wiring.clock()
    wiring.database.write(lambda s: devices.note_test(s, who, subject, result, now=now))


def _device(row: int) -> Device:
    with wired().database.read() as session:
        found = devices.get(session, row)
    if found is None:
        abort(404)
    return found


def _list(tested: Mapping[str, Answer] | None = None) -> str:
    wiring = wired()
    with wiring.database.read() as session:
        known, knocked = devices.listing(session), devices.knocks(session)
        open_now = associations.counts(session, now=wiring.clock())
    return render_template(
        "devices.html",
        devices=known,
        knocks=knocked,
        rows={devices.fold(each.ae_title): each.id for each in known},
        fold=devices.fold,
        open_now=open_now,
        ours=wiring.settings.dicom.ae_title,
        destinations=_receivers(),
        tested=tested or {},
    )


def _new(form: Form, knock: Knock | None = None) -> str:
    ours = wired().settings.dicom.ae_title
    return render_template("device_new.html", form=form, knock=knock, rights=RIGHTS, ours=ours)


def _show(device: Device, form: Form, tested: Answer | None = None) -> str:
    now = wired().clock()
    with wired().database.read() as session:
        open_now = associations.counts(session, now=now)
    return render_template(
        "device.html",
        device=device,
        form=form,
        tested=tested,
        rights=RIGHTS,
        in_words=devices.in_words,
        now=now,
        open_now=open_now.get(devices.fold(device.ae_title), 0),
        ours=wired().settings.dicom.ae_title,
    )


def _register() -> ResponseReturnValue:
    given, form = _read()
    if given is None:
        return _new(form), 400
    wiring, who = wired(), actor()
    now = wiring.clock()
    try:
        row = wiring.database.write(lambda s: devices.register(s, who, given, now=now))
    except Rejected as error:
        return _new(_refused(form, error)), 409
    flash(f"{given.ae_title} is registered.")
    return redirect(url_for(".show", device=row), 303)


def _defaults() -> dict[str, Any]:
    """Give what the form of a new device begins with."""
    blank = DeviceTable(ae_title="X").model_dump()
    return {**blank, "ae_title": "", "host": "", "port": ""}


def _values(device: Device) -> dict[str, Any]:
    return {name: getattr(device, name) for name in DeviceTable.model_fields} | {
        "port": device.port or ""
    }


def _read() -> tuple[DeviceTable | None, Form]:
    """Read the form of this request: a device, or None where something in it is wrong."""
    given: dict[str, Any] = {name: request.form.get(name, "").strip() for name in _TEXTS}
    given["may"] = [each for each in request.form.getlist("may") if each in RIGHTS]
    given["mpps"], given["tls"] = "mpps" in request.form, "tls" in request.form
    given["commit_report"] = request.form.get("commit_report", "new")
    unset = {name: given[name] or None for name in ("host", "port")}
    modality = given["modality"].upper()
    try:
        return DeviceTable(**{**given, **unset, "modality": modality}), Form(given)
    except ValidationError as error:
        return None, Form(given, {str(e["loc"][0]): describe(e) for e in error.errors()})


def _refused(form: Form, error: Rejected) -> Form:
    return Form(form.values, {"ae_title": error.faults[0].text.partition("; --replace")[0]})
