"""Devices: who is known and may do what, who knocked, and whether they are there.

Everybody may look; an administrator registers, changes, removes and tests. What came of a
test is shown on the page that answers, and recorded, however it went.
"""

from collections.abc import Mapping, Sequence

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from mwl import associations, devices
from mwl.accounts import Role
from mwl.config import Destination, Forward, MppsForward
from mwl.db.tables import Device, Knock
from mwl.devices import Answer
from mwl.errors import Rejected
from web import device_form, lists
from web.device_form import Form
from web.device_words import words
from web.guard import actor, allowed
from web.wiring import wired

blueprint = Blueprint("devices", __name__, url_prefix="/devices")

_LONGEST = 253
_OFFERED = ("ae_title", "host", "port", "modality", "station_name", "location")  # by a link


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
    offered = {name: request.args.get(name, "")[:_LONGEST] for name in _OFFERED}
    return _new(device_form.written(None, **offered))


@blueprint.get("/knocks/<int:knock>/register")
@allowed(Role.ADMIN)
def from_knock(knock: int) -> str:
    """Offer to register who knocked, with what is known of it."""
    with wired().database.read() as session:
        found = devices.knock(session, knock)
    if found is None:
        abort(404)
    form = device_form.written(None, ae_title=found.calling_ae_title, host=found.address)
    return _new(form, found)


@blueprint.get("/<int:device>")
@allowed(Role.VIEWER)
def show(device: int) -> str:
    """Show a device."""
    found = _device(device)
    return _show(found)


@blueprint.post("/<int:device>")
@allowed(Role.ADMIN)
def change(device: int) -> ResponseReturnValue:
    """Change a device to what its form says."""
    found = _device(device)
    given, form = device_form.read(request.form, devices.table_of(found))
    if given is None:
        return _show(found, form), 400
    wiring, who = wired(), actor()
    now = wiring.clock()
    try:
        wiring.database.write(lambda s: devices.amend(s, who, device, given, now=now))
    except Rejected as error:
        return _show(found, device_form.refused(form, error)), 409
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
    return _show(found, tested=result)


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
    wiring, given = wired(), lists.filters("text")
    with wiring.database.read() as session:

        def fetch(at: lists.Place, count: int) -> Sequence[Device]:
            key = lists.BETWEEN.join(at.keys)  # an AE title may hold what parts keys
            where = {"before" if at.backwards else "after": key}
            return devices.page(session, given["text"], limit=count, **where)

        page = lists.page(fetch, lambda each: [each.ae_title], given)
        knocked = devices.knocks(session)
        titles = {devices.fold(each.calling_ae_title) for each in knocked}
        rows = {each: found.id for each in titles if (found := devices.lookup(session, each))}
        open_now = associations.counts(session, now=wiring.clock())
    return render_template(
        "devices.html",
        page=page,
        knocks=knocked,
        rows=rows,
        fold=devices.fold,
        open_now=open_now,
        ours=wiring.settings.dicom.ae_title,
        destinations=_receivers(),
        tested=tested or {},
    )


def _new(form: Form, knock: Knock | None = None) -> str:
    ours = wired().settings.dicom.ae_title
    return render_template("device_new.html", form=form, knock=knock, ours=ours, **words())


def _show(device: Device, form: Form | None = None, tested: Answer | None = None) -> str:
    now, table = wired().clock(), devices.table_of(device)
    with wired().database.read() as session:
        open_now = associations.counts(session, now=now)
    return render_template(
        "device.html",
        device=device,
        table=table,
        form=form or device_form.written(table),
        tested=tested,
        in_words=devices.in_words,
        now=now,
        open_now=open_now.get(devices.fold(device.ae_title), 0),
        ours=wired().settings.dicom.ae_title,
        **words(),
    )


def _register() -> ResponseReturnValue:
    given, form = device_form.read(request.form)
    if given is None:
        return _new(form), 400
    wiring, who = wired(), actor()
    now = wiring.clock()
    try:
        row = wiring.database.write(lambda s: devices.register(s, who, given, now=now))
    except Rejected as error:
        return _new(device_form.refused(form, error)), 409
    flash(f"{given.ae_title} is registered.")
    return redirect(url_for(".show", device=row), 303)
