"""Performed steps (MPPS): what scanners told of their work, and what they left for a person."""

from collections.abc import Sequence
from datetime import timedelta

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlmodel import Session

from mwl import audit, procedures
from mwl.accounts import Role
from mwl.audit import Action, Event
from mwl.errors import Rejected
from mwl.performed import PerformedState
from mwl.procedures import browse
from mwl.procedures.browse import STUCK, Performed, Wanted
from web import lists
from web.guard import actor, allowed, viewed
from web.numbers import bounded
from web.wiring import wired

blueprint = Blueprint("mpps", __name__, url_prefix="/mpps")

_FILTERS = ("text", "state", "unscheduled")
_STATES = (STUCK, *(state.value for state in PerformedState))
_ENDS = {state.value: state for state in PerformedState if state != PerformedState.IN_PROGRESS}


@blueprint.get("")
@allowed(Role.VIEWER)
def listing() -> str:
    """List performed steps, the latest first."""
    return _list()


@blueprint.post("/<int:performed>/end")
@allowed(Role.TECHNOLOGIST)
def end(performed: int) -> ResponseReturnValue:
    """End what a scanner has left in progress."""
    wiring, who = wired(), actor()
    now, state = wiring.clock(), _ENDS.get(request.form.get("state", ""))
    if state is None:
        abort(400)

    def work(session: Session) -> list[str]:
        uid = _uid(session, performed)
        flags = procedures.end(session, uid, state, by=who.name, effects=wiring.effects, now=now)
        event = Event(Action.CHANGE, f"mpps:{performed}", {"uid": uid, "ended": state.value})
        audit.record(session, who, event, now=now)
        return flags

    try:
        flags = wiring.database.write(work)
    except Rejected as error:
        return _list(wrong=f"Not ended: {error}."), 409
    return _done(f"The performed step has ended: {state}.", flags)


@blueprint.post("/<int:performed>/link")
@allowed(Role.TECHNOLOGIST)
def link(performed: int) -> ResponseReturnValue:
    """Say for which order a scan was made."""
    wiring, who = wired(), actor()
    now = wiring.clock()
    accession, sps = (request.form.get(name, "").strip() for name in ("accession", "sps"))

    def work(session: Session) -> list[str]:
        uid = _uid(session, performed)
        which = procedures.Which(accession, sps)
        steps = procedures.link(session, uid, which, effects=wiring.effects, now=now)
        detail = {"uid": uid, "accession": accession, "steps": steps}
        audit.record(session, who, Event(Action.LINK, f"mpps:{performed}", detail), now=now)
        return steps

    try:
        steps = wiring.database.write(work)
    except Rejected as error:
        return _list(wrong=f"Not linked: {error}."), 409
    return _done(f"Linked with step {', '.join(steps)}.", [])


def _uid(session: Session, performed: int) -> str:
    uid = browse.uid(session, performed)
    if uid is None:
        abort(404)
    return uid


def _done(text: str, flags: Sequence[str]) -> ResponseReturnValue:
    flash(text)
    for flag in flags:
        flash(f"Note: {flag}.")
    return redirect(url_for("mpps.listing") + lists.changed(lists.filters("state", "unscheduled")))


def _list(wrong: str = "") -> str:
    wiring, given = wired(), lists.filters(*_FILTERS)
    now, hours = wiring.clock(), wiring.settings.mpps.stuck_h
    wanted = Wanted(
        state=given["state"],
        text=given["text"],
        unscheduled=given["unscheduled"] == "1",
        stuck_before=now - timedelta(hours=hours),
    )
    with wiring.database.read() as session:

        def fetch(at: lists.Place, count: int) -> Sequence[Performed]:
            return browse.page(session, wanted, after=_row(at), backwards=at.backwards, limit=count)

        page = lists.page(fetch, lambda each: (each.id,), given)
    viewed("mpps", **{name: value for name, value in given.items() if value})
    return render_template(
        "mpps.html",
        page=page,
        given=given,
        states=_STATES,
        ends=_ENDS,
        hours=hours,
        wrong=wrong,
        is_stuck=lambda each: each.is_stuck(now, timedelta(hours=hours)),
        kept={name: given[name] for name in ("state", "unscheduled") if given[name]},
    )


def _row(at: lists.Place) -> int | None:
    if not at.keys:
        return None
    try:
        return bounded(at.keys[0])
    except ValueError:
        abort(400)
