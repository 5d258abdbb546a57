"""What a message would do: pasted, uploaded, or one of the journal, by today's profiles.

Nothing is kept of what is pasted, and nothing changes. It is explained by a tool of the HL7
side (`Tools.explain`).
"""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, abort, render_template, request

from mwl import journal
from mwl.accounts import Role
from mwl.errors import Reason, Rejected
from web.guard import allowed, viewed
from web.messages import page_of
from web.wiring import wired

blueprint = Blueprint("explaining", __name__, url_prefix="/messages")

_MOST_BYTES = 900_000  # of what is pasted or uploaded; a form has at most a megabyte
_WHOLE = 1 << 30


@blueprint.get("/explain")
@allowed(Role.TECHNOLOGIST)
def form() -> str:
    """Ask for a message."""
    return _page("")


@blueprint.post("/explain")
@allowed(Role.TECHNOLOGIST)
def explain() -> str | tuple[str, int]:
    """Explain what was pasted or uploaded."""
    text = request.form.get("text", "")
    file = request.files.get("file")
    content: bytes | str = file.read(_MOST_BYTES + 1) if file and file.filename else text
    if len(content) > _MOST_BYTES:
        return _page(text, wrong=f"That is longer than {_MOST_BYTES:,} bytes."), 413
    wiring = wired()
    try:
        told, left = wiring.tools.explain(content, wiring.clock(), _profile(), _listener())
    except Rejected as error:
        return _page(text, wrong=_said(error)), 422
    note_view(told)
    return _page(text if isinstance(content, str) else "", told, left)


@blueprint.get("/<int:message>/explain")
@allowed(Role.TECHNOLOGIST)
def explain_kept(message: int) -> str | tuple[str, int]:
    """Explain a message of the journal, as if it came now."""
    wiring = wired()
    try:
        with wiring.database.read() as session:
            kept = journal.kept(session, message, _WHOLE)
    except Rejected as error:
        if any(fault.reason is Reason.UNKNOWN_KEY for fault in error.faults):
            abort(404)
        raise
    if not kept.raw:
        abort(404)
    try:
        told = wiring.tools.explain_kept(kept.raw, wiring.clock(), _profile(), kept.row.listener)
    except Rejected as error:
        return _page("", wrong=_said(error), kept=kept), 422
    note_view([told], message)
    return _page("", [told], kept=kept)


def _profile() -> str:
    return str(request.values.get("profile", ""))[:64]


def _listener() -> str:
    known = {each.name for each in wired().settings.hl7.listener}
    given = request.values.get("listener", "")
    return given if given in known else ""


def note_view(told: list[Any], message: int | None = None) -> None:
    """Have it recorded whose rows were shown."""
    rows = {
        f"{row.kind}:{row.row}"
        for each in told
        for row in each.rows or ()
        if row.row is not None and row.kind in {"patient", "order"}
    }
    subject = f"message:{message}" if message else "messages"
    viewed(subject, explained=[each.control_id for each in told], rows=sorted(rows)[:50])


def _page(
    text: str, told: list[Any] | None = None, left: int = 0, wrong: str = "", kept: Any = None
) -> str:
    wiring = wired()
    return render_template(
        "explain.html",
        text=text,
        told=told or [],
        left=left,
        wrong=wrong,
        kept=kept,
        profile=_profile(),
        listener=_listener(),
        profiles=wiring.tools.profiles(),
        listeners=[each.name for each in wiring.settings.hl7.listener],
        page_of=page_of,
        columns_of=columns_of,
    )


def columns_of(row: Any) -> list[tuple[str, Any, Any]]:
    """Give the columns of a row that would differ: name, before, after."""
    if isinstance(row.columns, Mapping):
        return [(name, before, after) for name, (before, after) in row.columns.items()]
    return list(row.columns)


def _said(error: Rejected) -> str:
    return "; ".join(fault.text for fault in error.faults).capitalize() + "."
