"""Patients: found by number or name, merges and what takes them back, and conflicts.

The page of one patient is in orders.py, beside those of their orders.
"""

from collections.abc import Callable, Sequence
from typing import Any

from flask import Blueprint, flash, redirect, render_template, url_for
from sqlmodel import Session
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response

from mwl import audit
from mwl.accounts import Role
from mwl.audit import Action, Event
from mwl.errors import Reason, Rejected
from mwl.worklist import patients, unmerging
from mwl.worklist.unmerging import Unmerged
from web import lists
from web.guard import actor, allowed, viewed
from web.numbers import bounded
from web.wiring import wired

blueprint = Blueprint("patients", __name__, url_prefix="/patients")


@blueprint.get("")
@allowed(Role.VIEWER)
def listing() -> str:
    """Look for patients."""
    given = lists.filters("text")
    with wired().database.read() as session:
        page = _page(lambda **at: patients.search(session, given["text"], **at), given)
    viewed("patients", **{name: value for name, value in given.items() if value})
    return render_template("patients.html", page=page, given=given)


@blueprint.get("/merges")
@allowed(Role.VIEWER)
def merges() -> str:
    """List merges, the newest first."""
    return _merges()


@blueprint.post("/merges/<int:merge>/undo")
@allowed(Role.ADMIN)
def undo(merge: int) -> Response | tuple[str, int]:
    """Take a merge back."""
    wiring, who = wired(), actor()
    now = wiring.clock()

    def work(session: Session) -> Unmerged:
        done = unmerging.unmerge(session, merge, by=who.name, now=now)
        audit.record(session, who, Event(Action.UNMERGE, *unmerging.told(done)), now=now)
        return done

    try:
        done = wiring.database.write(work)
    except Rejected as error:
        unknown = any(fault.reason is Reason.UNKNOWN_KEY for fault in error.faults)
        return _merges(wrong=f"Not undone: {error}."), 404 if unknown else 409
    flash(f"Undone. Given back: orders {done.orders}, studies {done.studies}.")
    for flag in done.flags:
        flash(f"Note: {flag}.")
    return redirect(url_for("orders.patient", patient=done.loser))


@blueprint.get("/conflicts")
@allowed(Role.VIEWER)
def conflicts() -> str:
    """List messages that were refused because they name somebody else than is on file."""
    with wired().database.read() as session:
        page = _page(lambda **at: patients.conflicts(session, **at), {})
        known = patients.by_number(session, [row.patient_id for row in page.rows])
    viewed("conflicts")
    return render_template("conflicts.html", page=page, known=known)


def _merges(wrong: str = "") -> str:
    with wired().database.read() as session:
        page = _page(lambda **at: patients.merges(session, **at), {})
    viewed("merges")
    return render_template("merges.html", page=page, wrong=wrong)


def _page(find: Callable[..., Sequence[Any]], given: dict[str, str]) -> lists.Page[Any]:
    def fetch(at: lists.Place, count: int) -> Sequence[Any]:
        return find(after=_row(at), backwards=at.backwards, limit=count)

    return lists.page(fetch, lambda row: (row.id,), given)


def _row(at: lists.Place) -> int | None:
    if not at.keys:
        return None
    try:
        return bounded(at.keys[0])
    except ValueError:
        raise BadRequest from None
