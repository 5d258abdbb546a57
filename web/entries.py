"""Entries made and changed by hand: a form, shown again with each fault beside its field."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlmodel import Session

from mwl import audit, devices
from mwl.accounts import Role
from mwl.audit import Action, Event
from mwl.errors import Fault, Reason, Rejected
from mwl.orders import WAITING
from mwl.worklist import browse, manual
from mwl.worklist.browse import Item
from mwl.worklist.manual import Done, Entry, Which
from web.guard import actor, allowed, viewed
from web.wiring import wired

blueprint = Blueprint("entries", __name__, url_prefix="/worklist")

_FIELDS = (
    "patient_id",
    "issuer",
    "patient_name",
    "birth_date",
    "sex",
    "accession_number",
    "modality",
    "description",
    "start",
)
_MINUTE = "%Y-%m-%dT%H:%M"
_YEARS = range(1900, 2200)  # any zone's clock can tell them


@dataclass(frozen=True, slots=True)
class Form:
    """What stands in the form, and what is wrong with it, by field; "": with the whole."""

    values: Mapping[str, Any]
    faults: Mapping[str, str] = field(default_factory=dict)


@blueprint.route("/new", methods=["GET", "POST"])
@allowed(Role.TECHNOLOGIST)
def new() -> ResponseReturnValue:
    """Put a patient on the worklist by hand."""
    if request.method == "GET":
        start = wired().clock().astimezone(wired().settings.site.zone_info)
        return _page(Form({"start": f"{start:{_MINUTE}}"}))
    form, wiring, who = _sent(), wired(), actor()
    now, zone = wiring.clock(), wiring.settings.site.zone_info

    def work(session: Session, entry: Entry) -> Done:
        done = manual.add(session, entry, now=now, zone=zone)
        order = manual.order_of(session, Which(sps_id=done.sps_ids[0]))
        detail = {"step": done.sps_ids[0]} | _told(form.values)
        audit.record(session, who, Event(Action.CREATE, f"order:{order}", detail), now=now)
        return done

    try:
        entry = _entry(form.values)
        done = wiring.database.write(lambda session: work(session, entry))
    except Rejected as error:
        return _again(form, error)
    return _done("The patient is on the worklist", done, entry.start or now)


@blueprint.route("/<int:step>/edit", methods=["GET", "POST"])
@allowed(Role.TECHNOLOGIST)
def edit(step: int) -> ResponseReturnValue:
    """Change an entry that has not begun."""
    wiring, who = wired(), actor()
    with wiring.database.read() as session:
        item = browse.one(session, step)
    if item is None:
        abort(404)
    before = _values(item)
    if request.method == "GET":
        viewed(f"order:{item.imaging_order}", step=item.sps_id, page="edit")
        return _page(Form(before), item)
    form = _sent(before)
    now, zone = wiring.clock(), wiring.settings.site.zone_info
    changed = {name: value for name, value in form.values.items() if value != before[name]}
    changed.pop("patient_id", None)  # an entry keeps its patient
    changed.pop("issuer", None)
    if not changed:
        flash("Nothing was changed.")
        return redirect(url_for("worklist.listing", day=before["start"][:10]))

    def work(session: Session, entry: Entry) -> Done:
        done = manual.change(session, Which(row=step), entry, now=now, zone=zone)
        detail = {"step": item.sps_id, "was": _told({name: before[name] for name in changed})}
        event = Event(Action.CHANGE, f"order:{item.imaging_order}", detail | _told(changed))
        audit.record(session, who, event, now=now)
        return done

    try:
        entry = _entry(changed)
        done = wiring.database.write(lambda session: work(session, entry))
    except Rejected as error:
        return _again(form, error, item)
    return _done("The entry is changed", done, entry.start or item.start_at)


def _page(form: Form, item: Item | None = None) -> str:
    with wired().database.read() as session:
        titles = devices.own_titles(session)
        modalities = browse.modalities(session)
    stations = dict.fromkeys([*titles, *form.values.get("stations", ())])
    return render_template(
        "entry.html",
        form=form,
        item=item,
        stations=list(stations),
        modalities=modalities,
        can_change=item is None or item.state in WAITING,
        zone=wired().settings.site.zone,
    )


def _again(form: Form, error: Rejected, item: Item | None = None) -> tuple[str, int]:
    faults: dict[str, str] = {}
    for fault in error.faults:
        name = fault.where.lower().replace(" ", "_")
        name = "stations" if name == "station" else name
        known = name if name in (*_FIELDS, "stations") else ""
        faults[known] = f"{faults[known]}; {fault.text}" if known in faults else fault.text
    return _page(Form(form.values, faults), item), 400


def _done(text: str, done: Done, start: datetime) -> ResponseReturnValue:
    flash(f"{text}: step {', '.join(done.sps_ids)}.")
    for flag in done.flags:
        flash(f"Note: {flag}.")
    day = start.astimezone(wired().settings.site.zone_info).date()
    return redirect(url_for("worklist.listing", day=str(day)))


def _sent(before: Mapping[str, Any] | None = None) -> Form:
    """Read the form that was sent; what it doesn't hold is as `before`."""
    kept = before or {}
    values: dict[str, Any] = {
        name: request.form.get(name, kept.get(name, "")).strip() for name in _FIELDS
    }
    values["stations"] = request.form.getlist("stations")
    return Form(values)


def _values(item: Item) -> dict[str, Any]:
    start = item.start_at.astimezone(wired().settings.site.zone_info)
    return {
        "patient_id": item.patient_id,
        "issuer": item.issuer,
        "patient_name": item.patient_name,
        "birth_date": _iso(item.birth_date),
        "sex": item.sex,
        "accession_number": item.accession_number,
        "modality": item.modality,
        "description": item.description,
        "start": f"{start:{_MINUTE}}",
        "stations": item.stations,
    }


def _entry(values: Mapping[str, Any]) -> Entry:
    """Make of a form's values what a person states; what is left out is kept."""
    stated: dict[str, Any] = {
        name: values[name]
        for name in ("patient_id", "sex", "modality", "description", "accession_number")
        if name in values
    }
    if "issuer" in values:
        stated["issuer"] = values["issuer"]
    if "patient_name" in values:
        stated["patient_name"] = _dicom_name(values["patient_name"])
    if "birth_date" in values:
        stated["birth_date"] = values["birth_date"].replace("-", "")
    if values.get("start"):
        stated["start"] = _instant(values["start"])
    if "stations" in values:
        stated["stations"] = tuple(values["stations"])
    return Entry(**stated)


def _dicom_name(typed: str) -> str:
    """Let people write "Doe, Jane" where DICOM writes Doe^Jane."""
    if "^" in typed or "=" in typed or "," not in typed:
        return typed
    family, _, given = typed.partition(",")
    return f"{family.strip()}^{given.strip()}"


def _instant(typed: str) -> datetime:
    """Read a date and time of the site's clock. Rejected: MALFORMED."""
    try:
        start = datetime.fromisoformat(typed)
    except ValueError:
        start = None
    if start is None or start.year not in _YEARS or len(typed) < len("2026-07-01T10:30"):
        raise Rejected(Fault(Reason.MALFORMED, "start", "write it like 2026-07-01T10:30"))
    return start if start.tzinfo else start.replace(tzinfo=wired().settings.site.zone_info)


def _iso(da: str) -> str:
    return f"{da[:4]}-{da[4:6]}-{da[6:]}" if re.fullmatch(r"[0-9]{8}", da) else da


def _told(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}
