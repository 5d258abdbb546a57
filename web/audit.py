"""The audit trail: who did what, when, from where; for administrators.

That it was read is in it too.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import Any

from flask import Blueprint, Response, abort, render_template
from werkzeug.exceptions import BadRequest

from mwl import accounts
from mwl.accounts import Role
from mwl.audit import Action, Key, Wanted, export, listing
from web import lists
from web.guard import allowed, viewed
from web.numbers import bounded
from web.wiring import wired

blueprint = Blueprint("audit", __name__)

_FILTERS = ("who", "action", "subject", "day", "address")
_COLUMNS = ("at", "who", "role", "address", "action", "subject", "detail")
# What a subject's page is called, by its kind.
_PAGES = {
    "order": "/orders/{}",
    "step": "/worklist/{}/edit",
    "message": "/messages/{}",
    "delivery": "/deliveries/{}",
    "study": "/studies/{}",
    "instance": "/instances/{}",
}
# Of what has a name, not a number.
_LISTS = {"user": "/users", "token": "/users", "device": "/devices"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CHUNK_ROWS = 200


@blueprint.get("/audit")
@allowed(Role.ADMIN)
def audit() -> str:
    """List events, the latest first."""
    given = lists.filters(*_FILTERS)
    wanted = _wanted(given)
    with wired().database.read() as session:

        def fetch(at: lists.Place, count: int) -> Sequence[Any]:
            key = _key(at)
            place = {"before" if at.backwards else "after": key} if key else {}
            return listing(session, wanted, **place, limit=count)

        page = lists.page(fetch, _key_of, given)
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
    since, until = _bounds(given["day"])
    return Wanted(
        who=given["who"],
        action=given["action"],
        subject=given["subject"],
        address=given["address"],
        since=since,
        until=until,
    )


def _bounds(day: str) -> tuple[datetime | None, datetime | None]:
    """Give when a day of the site's calendar begins and ends."""
    if not day:
        return None, None
    try:
        first = date.fromisoformat(day)
        days = (first, first + timedelta(days=1))
        zone = wired().settings.site.zone_info
        begins, ends = (datetime.combine(each, time(), zone).astimezone(UTC) for each in days)
    except (ValueError, OverflowError):
        raise BadRequest from None
    return begins, ends


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


def _key_of(row: Any) -> tuple[int, int]:
    return (row.at - _EPOCH) // timedelta(microseconds=1), row.id


def _key(at: lists.Place) -> Key | None:
    if not at.keys:
        return None
    try:
        instant, row = at.keys
        return _EPOCH + timedelta(microseconds=int(instant)), bounded(row)
    except (ValueError, OverflowError):
        raise BadRequest from None


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
