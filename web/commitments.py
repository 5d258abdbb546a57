"""Storage commitment: what scanners want to be sure of before they delete it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from flask import Blueprint, abort, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from sqlmodel import Session

from mwl import audit, commitment
from mwl.accounts import Role
from mwl.audit import Action, Event
from mwl.commitment import State
from mwl.errors import Rejected
from web import lists
from web.guard import actor, allowed
from web.numbers import bounded
from web.wiring import wired

blueprint = Blueprint("commitments", __name__, url_prefix="/commitments")

# Failure Reason (0008,1197), PS3.3 C.14.1.1, in this house's words.
REASONS = {
    "0110": "the bytes are lost, changed or quarantined",
    "0112": "never came",
    "0119": "of another class",
    "0122": "its class is not taken",
    "0131": "the transaction was used before",
    "0213": "the bytes were out of reach",
}


@blueprint.get("")
@allowed(Role.VIEWER)
def listing() -> str:
    """List requests, the newest first."""
    return _list()


@blueprint.post("/<int:request_row>/report")
@allowed(Role.TECHNOLOGIST)
def report(request_row: int) -> ResponseReturnValue:
    """Report a request once more, as it was judged."""
    wiring, who = wired(), actor()
    now = wiring.clock()

    def work(session: Session) -> None:
        commitment.report_again(session, request_row, now)
        audit.record(session, who, Event(Action.RESEND, f"commitment:{request_row}"), now=now)

    try:
        wiring.database.write(work)
    except Rejected as error:
        return _list(wrong=f"Not reported: {error}."), 409
    flash(f"Queued: the report of commitment {request_row}.")
    return redirect(url_for("commitments.listing") + lists.changed(lists.filters("state")))


def _list(wrong: str = "") -> str:
    given = lists.filters("state")
    with wired().database.read() as session:

        def fetch(at: lists.Place, count: int) -> Sequence[dict[str, Any]]:
            return commitment.listing(
                session,
                state=given["state"] or None,
                limit=count,
                after=_row(at),
                backwards=at.backwards,
            )

        page = lists.page(fetch, lambda each: (each["id"],), given)
    return render_template(
        "commitments.html",
        page=page,
        given=given,
        states=[*State],
        reasons=REASONS,
        wrong=wrong,
        at=lambda text: datetime.fromisoformat(text) if text else None,
    )


def _row(at: lists.Place) -> int | None:
    if not at.keys:
        return None
    try:
        return bounded(at.keys[0])
    except ValueError:
        abort(400)
