"""The audit trail: who did what, when, from where; for administrators.

That it was read is in it too.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from flask import Blueprint, Response, abort, render_template

from mwl import accounts
from mwl.accounts import Role
from mwl.audit import Action, Wanted, export, listing
from web import instants, lists
from web.guard import allowed, viewed
from web.wiring import wired

blueprint = Blueprint("audit", __name__)

_FILTERS = ("who", "action", "subject", "day", "address")
_COLUMNS = ("at", "who", "role", "address", "action", "subject", "detail")
# What a subject's page is called, by its kind.
_PAGES = {
    "patient": "/patients/{}",
    "report": "/reports/{}",
    "order": "/orders/{}",
    "step": "/worklist/{}/edit",
    "message": "/messages/{}",
    "delivery": "/deliveries/{}",
    "study": "/studies/{}",
    "instance": "/instances/{}",
}
# Of what has a name, not a number.
_LISTS = {"user": "/users", "token": "/users", "device": "/devices", "association": "/associations"}
_CHUNK_ROWS = 200


@blueprint.get("/audit")
@allowed(Role.ADMIN)
def audit() -> str:
    """List events, the latest first."""
    given = lists.filters(*_FILTERS)
    wanted = _wanted(given)
    with wired().database.read() as session:

        def fetch(at: lists.Place, count: int) -> Sequence[Any]:
            return listing(session, wanted, **instants.beside(at), limit=count)

        page = lists.page(fetch, lambda row: instants.keys(row.at, row.id), given)
        known = [row.name for row in accounts.listing(session)]
        known += [f"token {row.name}" for row in accounts.list_tokens(session)]
    viewed("audit", **{name: value for name, value in given.items() if value})
    return render_template(
        "audit.html", page=page, given=given, actions=list(Action), known=known, link=_link
    )


@blueprint.get("/audit/export.<kind>")
@allowed(Role.ADMIN)
def download(kind: str) -> Response:
    """Give what the filters keep as a file: CSV, or a JSON object a line."""
    if kind not in _WRITERS:
        abort(404)
    write, media_type = _WRITERS[kind]
    given, wiring = lists.filters(*_FILTERS), wired()
    rows = export(wiring.database, _until_now(_wanted(given), wiring.clock()))
    viewed("audit", export=kind, **{name: value for name, value in given.items() if value})
    answer = Response(_in_chunks(write(map(_told, rows))), mimetype=media_type)
    answer.headers["Content-Disposition"] = f'attachment; filename="audit.{kind}"'
    return answer


def _wanted(given: dict[str, str]) -> Wanted:
    since, until = instants.day_bounds(given["day"])
    return Wanted(
        who=given["who"],
        action=given["action"],
        subject=given["subject"],
        address=given["address"],
        since=since,
        until=until,
    )


def _until_now(wanted: Wanted, now: datetime) -> Wanted:
    """Bound an export: what comes while it runs is not in it."""
    return Wanted(
        wanted.who,
        wanted.action,
        wanted.subject,
        wanted.address,
        wanted.since,
        min(wanted.until or now, now),
    )


def _link(subject: str) -> str:
    """Give the page of a subject, "" where it has none."""
    kind, _, name = subject.partition(":")
    if kind in _LISTS:
        return _LISTS[kind]
    return _PAGES[kind].format(name) if kind in _PAGES and name.isdecimal() else ""


def _told(row: Any) -> dict[str, Any]:
    return {**{name: getattr(row, name) for name in _COLUMNS}, "at": row.at.isoformat()}


def _csv(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    line = io.StringIO()
    writer = csv.writer(line)
    writer.writerow(_COLUMNS)
    for row in rows:
        told = {**row, "detail": json.dumps(row["detail"], ensure_ascii=False)}
        writer.writerow([_as_text(value) for value in told.values()])
        yield line.getvalue()
        line.seek(0)
        line.truncate()
    yield line.getvalue()


def _as_text(value: str) -> str:
    """Keep a spreadsheet from taking for a formula what somebody typed as a name."""
    return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _ndjson(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        yield json.dumps(row, ensure_ascii=False) + "\n"


def _in_chunks(lines: Iterator[str]) -> Iterator[bytes]:
    while chunk := "".join(islice(lines, _CHUNK_ROWS)):
        yield chunk.encode()


_WRITERS = {"csv": (_csv, "text/csv"), "ndjson": (_ndjson, "application/x-ndjson")}
