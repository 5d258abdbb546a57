"""Messages out: what other systems are told, what waits, what was refused, and why.

An administrator decides for what was refused: send the same bytes again, write the message
anew by today's settings, or drop it, so that what waits behind it goes on.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from sqlmodel import Session
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response

from mwl import audit, commitment, outbox
from mwl.accounts import Role
from mwl.audit import Action, Event
from mwl.commitment import Failure
from mwl.errors import Reason, Rejected
from mwl.outbox import AS_IT_CAME, Kind, State, inspection
from mwl.outbox.inspection import Inspected
from web import datasets, lists
from web.guard import actor, allowed, viewed
from web.numbers import bounded
from web.wiring import wired

blueprint = Blueprint("deliveries", __name__)

_MOST_INSTANCES = 200
_MOST_FAILING = 50  # destinations
_EVENTS = {
    "IP": "in progress",
    "CM": "completed",
    "DC": "discontinued",
    "CA": "cancelled by a scanner",
    "CLOSED": "closed: all images are kept",
}
# Failure Reason (0008,1197), PS3.3 C.14.1.1.
_FAILURES = {
    Failure.NONE: "committed",
    Failure.PROCESSING_FAILURE: "processing failure",
    Failure.NO_SUCH_OBJECT_INSTANCE: "not here",
    Failure.CLASS_INSTANCE_CONFLICT: "here, as another SOP class",
    Failure.REFERENCED_SOP_CLASS_NOT_SUPPORTED: "of a SOP class that is not kept here",
    Failure.DUPLICATE_TRANSACTION_UID: "the transaction came before, with other instances",
    Failure.RESOURCE_LIMITATION: "no resources",
}


@blueprint.get("/deliveries")
@allowed(Role.VIEWER)
def deliveries() -> str:
    """List deliveries, the newest first."""
    given = lists.filters("state", "destination")
    with wired().database.read() as session:

        def fetch(at: lists.Place, count: int) -> Sequence[Any]:
            return inspection.page(
                session,
                state=given["state"],
                destination=given["destination"],
                **_place(at),
                limit=count,
            )

        page = lists.page(fetch, lambda row: (row.id,), given)
        counts = inspection.counts(session)
        known = inspection.destinations(session)
        failing = inspection.failing(session, known[:_MOST_FAILING])
    viewed("deliveries", **{name: value for name, value in given.items() if value})
    return render_template(
        "deliveries.html",
        page=page,
        given=given,
        counts=counts,
        destinations=known,
        failing=failing,
        states=list(State),
        **_helpers(),
    )


@blueprint.get("/deliveries/<int:delivery>")
@allowed(Role.VIEWER)
def show(delivery: int) -> str:
    """Show one delivery."""
    viewed(f"delivery:{delivery}")
    return _page(delivery)


@blueprint.post("/deliveries/<int:delivery>/resend")
@allowed(Role.ADMIN)
def resend(delivery: int) -> Response | tuple[str, int]:
    """Send it again, now: the same bytes, or anew."""
    anew = "anew" in request.form
    event = Event(Action.RESEND, f"delivery:{delivery}", {"anew": anew})
    return _decide(
        delivery,
        event,
        lambda session, now: outbox.resend(session, [delivery], now=now, anew=anew),
        "It waits to be sent, written anew." if anew else "It waits to be sent again.",
    )


@blueprint.post("/deliveries/<int:delivery>/drop")
@allowed(Role.ADMIN)
def drop(delivery: int) -> Response | tuple[str, int]:
    """Give it up."""
    return _decide(
        delivery,
        Event(Action.DROP, f"delivery:{delivery}"),
        lambda session, now: outbox.drop(session, [delivery], now=now),
        "It is dropped: nobody will be told of this. What waited behind it goes on.",
    )


def _decide(
    delivery: int, event: Event, work: Callable[[Session, datetime], None], done: str
) -> Response | tuple[str, int]:
    """Do something about a delivery, audited; say why it can't be done where it can't."""
    wiring, who = wired(), actor()
    now = wiring.clock()

    def decide(session: Session) -> None:
        work(session, now)
        audit.record(session, who, event, now=now)

    try:
        wiring.database.write(decide)
    except Rejected as error:
        return _page(delivery, f"That can't be done: {error}."), 409
    flash(done)
    return redirect(url_for("deliveries.show", delivery=delivery))


def _page(delivery: int, wrong: str = "") -> str:
    wiring = wired()
    with wiring.database.read() as session:
        found = _inspect(session, delivery)
        request_ = found.row.payload.get("commitment")
        is_report = found.row.kind == Kind.COMMITMENT_REPORT and isinstance(request_, int)
        report = commitment.read(session, request_) if is_report else None
    outline, is_mpps = wiring.tools.outline, found.row.kind == Kind.MPPS
    return render_template(
        "delivery.html",
        found=found,
        row=found.row,
        message=None if is_mpps or not found.row.body else outline(found.row.body),
        answer=None if is_mpps or not found.row.answer else outline(found.row.answer),
        report=report,
        data_set=_data_set(found.row) if is_mpps else None,
        is_as_it_came=found.row.kind in AS_IT_CAME,
        instances=[*islice(report.report.results, _MOST_INSTANCES)] if report else [],
        failures=_FAILURES,
        fact=json.dumps(found.row.payload, indent=2, ensure_ascii=False),
        wrong=wrong,
        **_helpers(),
    )


def _data_set(row: Any) -> tuple[list[datasets.Line], str]:
    """Write the data set of an MPPS as lines, and why that can't be done, if it can't."""
    try:
        return datasets.lines(bytes(row.body), row.payload["transfer_syntax"]), ""
    except Rejected as error:
        return [], str(error)


def _inspect(session: Session, delivery: int) -> Inspected:
    try:
        return inspection.inspect(session, delivery)
    except Rejected as error:
        if any(fault.reason is Reason.UNKNOWN_KEY for fault in error.faults):
            abort(404)
        raise


def _place(at: lists.Place) -> dict[str, int]:
    if not at.keys:
        return {}
    try:
        (row,) = at.keys
        return {"before" if at.backwards else "after": bounded(row)}
    except ValueError:
        raise BadRequest from None


def _helpers() -> dict[str, Any]:
    now = wired().clock()
    return {
        "told": _told,
        "order_of": lambda row: _subject(row, "order"),
        "patient_of": lambda row: _subject(row, "patient"),
        "mpps_of": lambda row: row.payload.get("sop_instance_uid", ""),
        "accession_of": _accession_of,
        "standing": lambda row: _standing(row, now),
    }


def _told(row: Any) -> str:
    """Say what a delivery tells."""
    if row.kind == Kind.COMMITMENT_REPORT:
        return "storage commitment"
    event = str(row.payload.get("event", ""))
    if row.kind == Kind.MPPS:
        told = " ".join(filter(None, (event, row.payload["state"])))
        return f"{told} of {row.payload['calling']}, forwarded"
    if row.kind == Kind.FORWARD:
        return f"{event} of {row.payload.get('source', '')}, forwarded"
    return _EVENTS.get(event, event)


def _subject(row: Any, wanted: str) -> int | None:
    """Give the row of the order, or of the patient, that a delivery is about."""
    kind, _, number = row.subject.partition(":")
    return int(number) if kind == wanted and number.isdecimal() else None


def _accession_of(row: Any) -> str:
    procedures: Sequence[Mapping[str, Any]] = row.payload.get("procedures") or [{}]
    return str(procedures[0].get("accession_number", ""))


def _standing(row: Any, now: datetime) -> str:
    """Say where a delivery stands: its state, or that it is on its way just now."""
    is_claimed = row.claimed_by and row.claimed_until is not None and row.claimed_until > now
    return "on its way" if row.state == State.WAITING and is_claimed else str(row.state)
