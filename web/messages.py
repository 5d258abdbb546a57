"""Messages that came: the journal's list, and one message with all that is known of it.

What the bytes say is read by a tool of the HL7 side (`Tools.outline`), and so is a message
applied once more (`Tools.replay`): for administrators, after they have confirmed it.
"""

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from mwl import journal
from mwl.accounts import Role
from mwl.errors import Fault, Reason, Rejected
from mwl.journal import Kept, Overrides, Wanted
from web import lists
from web.guard import actor, allowed, viewed
from web.instants import beside, day_bounds, keys
from web.wiring import wired

blueprint = Blueprint("messages", __name__)

_FILTERS = (
    *("text", "type", "state", "day", "flagged"),
    *("control_id", "patient", "accession", "source", "error"),
)
_WHOLE = 1 << 30  # bytes: no message is longer
_MEANINGS = {
    "applied": "It was applied.",
    "noted": "It was understood and accepted; there was nothing to change.",
    "stale": "It was accepted, but something newer had been applied before: it changed nothing.",
    "rejected": "It was refused: nothing of it was applied.",
    "failed": "It met a defect of this program: nothing of it was applied.",
}


@blueprint.get("/messages")
@allowed(Role.VIEWER)
def messages() -> str | AnyResponse:
    """List messages, the newest first."""
    if request.args.get("direction") == "out":
        return redirect(url_for("deliveries.deliveries"))
    given = lists.filters(*_FILTERS)
    wanted = _wanted(given)
    with wired().database.read() as session:

        def fetch(at: lists.Place, count: int) -> Sequence[Any]:
            return journal.search(session, wanted, **beside(at), limit=count)

        page = lists.page(fetch, lambda row: keys(row.received_at, row.id), given)
        about = journal.about(session, page.rows)
        types = journal.types(session)
        size = journal.size(session, now=wired().clock())
    viewed("messages", **{name: value for name, value in given.items() if value})
    return render_template(
        "messages.html",
        page=page,
        about=about,
        given=given,
        types=types,
        states=list(journal.State),
        outlook=" ".join(journal.outlook(size, wired().settings.journal)),
        looked_through=journal.LOOKED_THROUGH if journal.is_bounded(wanted) else 0,
        has_more=any(given[name] for name in _FILTERS[5:]),
    )


@blueprint.get("/messages/<int:message>")
@allowed(Role.VIEWER)
def show(message: int) -> str:
    """Show one message."""
    kept = _kept(message)
    viewed(f"message:{message}")
    return _page(kept)


@blueprint.get("/messages/<int:message>/raw")
@allowed(Role.VIEWER)
def raw(message: int) -> Response:
    """Give a message's bytes as they came."""
    kept = _kept(message, _WHOLE)
    if not kept.size:
        abort(404)
    viewed(f"message:{message}", raw=True)
    answer = Response(kept.raw, mimetype="application/octet-stream")
    answer.headers["Content-Disposition"] = f'attachment; filename="message-{message}.hl7"'
    return answer


@blueprint.post("/messages/<int:message>/replay")
@allowed(Role.ADMIN)
def replay(message: int) -> AnyResponse | tuple[str, int]:
    """Apply a message once more."""
    wiring = wired()
    given = Overrides(*(name in request.form for name in ("accepted", "older", "patient")))
    try:
        done = wiring.tools.replay(message, actor(), given, wiring.clock())
    except Rejected as error:
        _refuse_unknown(error)
        return _page(_kept(message), wrong=_said(error.faults)), 409
    flash(f"Replayed: {done.state}, answer {done.ack_code}. This is the replay.")
    return redirect(url_for("messages.show", message=done.row))


def _wanted(given: dict[str, str]) -> Wanted:
    since, until = day_bounds(given["day"])
    return Wanted(
        text=given["text"],
        control_id=given["control_id"],
        patient=given["patient"],
        accession=given["accession"],
        source=given["source"],
        type=given["type"],
        state=given["state"],
        error=given["error"],
        flagged=given["flagged"] == "1",
        since=since,
        until=until,
    )


def _kept(message: int, most_bytes: int | None = None) -> Kept:
    with wired().database.read() as session:
        try:
            if most_bytes is None:
                return journal.kept(session, message)
            return journal.kept(session, message, most_bytes)
        except Rejected as error:
            _refuse_unknown(error)
            raise


def _page(kept: Kept, wrong: str = "") -> str:
    outline = wired().tools.outline
    return render_template(
        "message.html",
        kept=kept,
        row=kept.row,
        outline=outline(kept.raw, kept.row.listener),
        answer=outline(kept.row.ack) if kept.row.ack else None,
        meaning=_MEANINGS.get(kept.row.state, ""),
        page_of=page_of,
        wrong=wrong,
    )


def page_of(name: str) -> str:
    """Give the page of a row that a message changed ("step:7"); "" where it has none."""
    kind, _, row = name.partition(":")
    pages = {
        "order": "/orders/{}",
        "step": "/worklist/{}/edit",
        "report": "/reports/{}",
        "patient": "/patients/{}",
        "study": "/studies/{}",
    }
    return pages[kind].format(row) if kind in pages and row.isdecimal() else ""


def _refuse_unknown(error: Rejected) -> None:
    if any(fault.reason is Reason.UNKNOWN_KEY for fault in error.faults):
        abort(404)


def _said(faults: Sequence[Fault]) -> str:
    return "; ".join(fault.text for fault in faults).capitalize() + "."
