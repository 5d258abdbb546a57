"""Reports that came: the list, one report with its versions, its documents.

What others wrote is shown as text, whatever it is: markup as its source. A PDF is given to
the browser's own viewer, everything else to be saved; nothing of it is a page of ours.
"""

from collections.abc import Sequence
from typing import Any, Final

from flask import Blueprint, Response, abort, render_template

from mwl import reports
from mwl.accounts import Role
from mwl.errors import Reason, Rejected
from mwl.reports import Kind, Status, Wanted
from web import lists
from web.guard import allowed, viewed
from web.instants import beside, day_bounds, keys
from web.wiring import wired

blueprint = Blueprint("reports", __name__, url_prefix="/reports")

_FILTERS = ("text", "status", "day", "unlinked")
_BINARY: Final = "application/octet-stream"
# A PDF may ask for nothing, and what runs in its viewer is no page of ours.
_PDF_POLICY: Final = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; object-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)


@blueprint.get("")
@allowed(Role.VIEWER)
def listing() -> str:
    """List reports, the latest version of each, the newest first."""
    given = lists.filters(*_FILTERS)
    wanted = _wanted(given)
    with wired().database.read() as session:

        def fetch(at: lists.Place, count: int) -> Sequence[Any]:
            return reports.search(session, wanted, **beside(at), limit=count)

        page = lists.page(fetch, lambda row: keys(row.received_at, row.id), given)
    viewed("reports", **{name: value for name, value in given.items() if value})
    return render_template("reports.html", page=page, given=given, statuses=list(Status))


@blueprint.get("/<int:report>")
@allowed(Role.VIEWER)
def show(report: int) -> str:
    """Show a report: what it says, whom it is about, its versions."""
    found = _found(report)
    viewed(f"report:{report}")
    return render_template("finding.html", found=found, row=found.row)


@blueprint.get("/<int:report>/parts/<int:part>")
@allowed(Role.VIEWER)
def document(report: int, part: int) -> Response:
    """Give a part of a report: a PDF to be looked at, anything else to be saved."""
    row = _document(report, part)
    viewed(f"report:{report}", part=part)
    if row.kind != Kind.PDF:
        return _attached(row, report)
    answer = Response(row.content, mimetype=row.media_type)
    answer.headers.set("Content-Disposition", "inline", filename=_name(row, report))
    answer.headers["Content-Security-Policy"] = _PDF_POLICY
    return answer


@blueprint.get("/<int:report>/parts/<int:part>/file")
@allowed(Role.VIEWER)
def file(report: int, part: int) -> Response:
    """Give a part of a report to be saved."""
    row = _document(report, part)
    viewed(f"report:{report}", part=part, file=True)
    return _attached(row, report)


def _wanted(given: dict[str, str]) -> Wanted:
    since, until = day_bounds(given["day"])
    if given["status"] and given["status"].upper() not in set(Status):
        abort(400)
    return Wanted(given["text"], given["status"], given["unlinked"] == "1", since, until)


def _found(report: int) -> reports.Found:
    with wired().database.read() as session:
        try:
            return reports.one(session, report)
        except Rejected as error:
            _refuse_unknown(error)
            raise


def _document(report: int, part: int) -> Any:
    with wired().database.read() as session:
        try:
            return reports.document(session, report, part)
        except Rejected as error:
            _refuse_unknown(error)
            raise


def _refuse_unknown(error: Rejected) -> None:
    if any(fault.reason is Reason.UNKNOWN_KEY for fault in error.faults):
        abort(404)


def _attached(row: Any, report: int) -> Response:
    # Whatever its sender calls it, a browser shall not show it.
    media_type = row.media_type if row.kind == Kind.PDF else _BINARY
    answer = Response(row.content, mimetype=media_type)
    answer.headers.set("Content-Disposition", "attachment", filename=_name(row, report))
    return answer


_ENDINGS = {
    "application/pdf": "pdf",
    "application/rtf": "rtf",
    "image/gif": "gif",
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/tiff": "tif",
    "text/plain": "txt",
    "text/xml": "xml",
    "text/html": "html.txt",
}


def _name(row: Any, report: int) -> str:
    # Nothing that came from outside, and nothing of a patient's, is in a file's name.
    return f"report-{report}-{row.position}.{_ENDINGS.get(row.media_type, 'bin')}"
