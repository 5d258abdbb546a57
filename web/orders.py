"""An order's page: what it is, what comes next, and its timeline; and its patient's page."""

from collections.abc import Iterator
from datetime import date
from itertools import groupby

from flask import Blueprint, abort, flash, redirect, render_template, url_for
from sqlmodel import Session
from werkzeug.wrappers import Response

from mwl import audit, closing, reports, story
from mwl.accounts import Role
from mwl.audit import Action, Event
from mwl.errors import Rejected
from mwl.orders import WAITING, StepState
from mwl.story import Entry
from mwl.story.subjects import Row
from web import datasets
from web.guard import actor, allowed, viewed
from web.wiring import wired

blueprint = Blueprint("orders", __name__)

# Where the page of what an entry is told from is, and what the link says.
_RAW = {
    "message": ("/messages/{}", "Message"),
    "delivery": ("/deliveries/{}", "Delivery"),
    "study": ("/studies/{}", "Study"),
    "commitments": ("/commitments", "Commitments"),
    "report": ("/reports/{}", "Report"),
}


@blueprint.get("/orders/<int:order>")
@allowed(Role.VIEWER)
def show(order: int) -> str:
    """Tell the story of an order."""
    wiring = wired()
    zone = wiring.settings.site.zone_info
    with wiring.database.read() as session:
        told = story.tell(session, order, wiring.close, now=wiring.clock(), zone=zone)
        found = reports.of_order(session, order)
    if told is None:
        abort(404)
    viewed(f"order:{order}")
    return render_template(
        "order.html",
        story=told,
        subject=told.subject,
        order=told.subject.order,
        patient=told.subject.patient,
        days=list(_days(told.entries)),
        reports=[row for row in reversed(found) if row.superseded_by is None],
        raw=lambda entry: _raw(order, entry),
        may=_may,
    )


@blueprint.get("/orders/<int:order>/mpps/<int:message>")
@allowed(Role.VIEWER)
def report(order: int, message: int) -> str:
    """Show a data set of an MPPS as it came."""
    with wired().database.read() as session:
        found = story.report(session, order, message)
    if found is None:
        abort(404)
    viewed(f"order:{order}", mpps=message)
    try:
        lines, why = datasets.lines(found.data_set, found.transfer_syntax), ""
    except Rejected as error:
        lines, why = [], str(error)
    return render_template("report.html", order=order, report=found, lines=lines, why=why)


@blueprint.post("/orders/<int:order>/close")
@allowed(Role.TECHNOLOGIST)
def close(order: int) -> Response:
    """Close a COMPLETED order by hand."""
    wiring, who = wired(), actor()
    now, told = wiring.clock(), wiring.effects.told

    def work(session: Session) -> None:
        closing.close(session, order, now, told)
        audit.record(session, who, Event(Action.CLOSE, f"order:{order}"), now=now)

    wiring.database.write(work)
    flash("The order is closed.")
    return redirect(url_for("orders.show", order=order))


@blueprint.get("/patients/<int:patient>")
@allowed(Role.VIEWER)
def patient(patient: int) -> str:
    """Show a patient: identifiers, orders, studies."""
    with wired().database.read() as session:
        found = story.patient(session, patient)
    if found is None:
        abort(404)
    viewed(f"patient:{patient}")
    return render_template("patient.html", record=found, patient=found.patient)


def _days(entries: list[Entry]) -> Iterator[tuple[date, list[tuple[str, Entry]]]]:
    """Group entries by the site's day, each with its time of day."""
    zone = wired().settings.site.zone_info
    timed = [(entry.at.astimezone(zone), entry) for entry in entries]
    for day, found in groupby(timed, key=lambda pair: pair[0].date()):
        yield day, [(f"{at:%H:%M:%S}", entry) for at, entry in found]


def _raw(order: int, entry: Entry) -> tuple[str, str] | None:
    """Give the address of what an entry is told from, and what the link says."""
    kind, _, row = entry.about.partition(":")
    if kind == "mpps":
        return url_for("orders.report", order=order, message=int(row)), "Data set"
    if kind not in _RAW:
        return None
    path, text = _RAW[kind]
    return path.format(row), text


def _may(step: Row) -> dict[str, bool]:
    """Tell what a person may do to a step as it is."""
    state, expired = StepState(step["state"]), bool(step["expired"])
    return {
        "edit": state in WAITING,
        "arrive": state is StepState.SCHEDULED and not expired,
        "ready": state is StepState.ARRIVED and not expired,
        "depart": state is StepState.STARTED,
        "cancel": state in WAITING,
        "reopen": expired or state is not StepState.SCHEDULED,
    }
