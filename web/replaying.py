"""Messages applied once more: what one would do, and many by a filter.

Many are looked at first, all in one transaction that is undone. Then they are applied a
portion a request, so that whoever watches sees how far it is, and may stop; the page holds
where it came to, nothing else does.
"""

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, abort, render_template, request
from werkzeug.exceptions import BadRequest

from mwl import journal
from mwl.accounts import Role
from mwl.errors import Reason, Rejected
from mwl.journal import Overrides, Wanted
from web.explaining import columns_of
from web.guard import actor, allowed, viewed
from web.instants import Key, day_bounds
from web.messages import page_of
from web.numbers import bounded
from web.wiring import wired

blueprint = Blueprint("replaying", __name__, url_prefix="/messages")

FILTERS = (
    *("text", "type", "state", "source", "error", "control_id", "patient", "accession"),
    *("flagged", "since", "until"),
)
_LONGEST = 200
_PORTION, _PORTION_S = 200, 2.0  # messages and time of a request that applies them
_MOST_SHOWN = 200  # messages, and rows, of a page
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COUNT = re.compile(r"count\.([a-z ]{1,40})")


@blueprint.get("/replay")
@allowed(Role.ADMIN)
def form() -> str:
    """Ask which messages."""
    given = _given()
    if day := request.args.get("day", ""):
        begins, ends = day_bounds(day)
        given |= {"since": _clock(begins), "until": _clock(ends)}
    return _page(given)


@blueprint.post("/replay")
@allowed(Role.ADMIN)
def replay() -> str | tuple[str, int]:
    """Tell what replaying them would do; or apply the next portion of them."""
    given = _given()
    wanted = _wanted(given)
    if wanted == Wanted():
        return _page(given, wrong="Say which: by a state, a sender, a time."), 422
    ranges, after = wired().tools.ranges, _key("after")
    try:
        if request.form.get("do") != "apply":
            now = wired().clock()
            course = ranges.rehearse(wanted, actor(), _overrides(), now=now, after=after)
            viewed("messages", replay=True, **{k: v for k, v in given.items() if v})
            return _page(given, course=course, after=after)
        upto = _key("upto")
        if upto is None:
            raise BadRequest
        course = ranges.apply(
            wanted,
            actor(),
            _overrides(),
            clock=wired().clock,
            after=after,
            upto=upto,
            most=_PORTION,
            longest_s=_PORTION_S,
        )
    except Rejected as error:
        return _page(given, wrong=_said(error)), 422
    return _page(given, course=course, after=after, applied=_counts(course.counts))


@blueprint.get("/<int:message>/replay")
@allowed(Role.ADMIN)
def rehearse(message: int) -> str | tuple[str, int]:
    """Tell what replaying one message would do."""
    wiring = wired()
    overrides = Overrides(*(name in request.args for name in ("accepted", "older", "patient")))
    told, wrong = None, ""
    try:
        told = wiring.tools.rehearse(message, actor(), overrides, wiring.clock())
    except Rejected as error:
        if any(fault.reason is Reason.UNKNOWN_KEY for fault in error.faults):
            abort(404)
        wrong = _said(error)
    viewed(f"message:{message}", replay=True)
    return render_template(
        "replay_one.html",
        message=message,
        told=told,
        wrong=wrong,
        overrides=overrides,
        page_of=page_of,
        columns_of=columns_of,
    )


def _page(
    given: dict[str, str],
    course: Any = None,
    after: Key | None = None,
    applied: dict[str, int] | None = None,
    wrong: str = "",
) -> str:
    """Show the filter, and what was told or done."""
    with wired().database.read() as session:
        types = journal.types(session)
    last = _written(course.tried[-1]) if course and course.tried else ""
    return render_template(
        "replay.html",
        given=given,
        overrides=_overrides(),
        types=types,
        states=list(journal.State),
        course=course,
        after=f"{_micros(after[0])}~{after[1]}" if after else "",
        last=last,
        upto=request.form.get("upto", "") if applied is not None else last,
        applied=applied,
        wrong=wrong,
        most=_MOST_SHOWN,
        page_of=page_of,
        columns_of=columns_of,
    )


def _given() -> dict[str, str]:
    found = request.values
    return {name: found.get(name, "").replace("\0", "").strip()[:_LONGEST] for name in FILTERS}


def _wanted(given: dict[str, str]) -> Wanted:
    texts = {name: given[name] for name in FILTERS[:8]}
    return Wanted(
        **texts,
        flagged=given["flagged"] == "1",
        since=_instant(given["since"]),
        until=_instant(given["until"]),
    )


def _overrides() -> Overrides:
    return Overrides("accepted" in request.form, "older" in request.form)


def _instant(text: str) -> datetime | None:
    """Read an instant of the site's clock."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        local = found if found.tzinfo else found.replace(tzinfo=wired().settings.site.zone_info)
        return local.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRequest from None


def _clock(at: datetime | None) -> str:
    zone = wired().settings.site.zone_info
    return "" if at is None else f"{at.astimezone(zone):%Y-%m-%dT%H:%M}"


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _written(tried: Any) -> str:
    return f"{_micros(tried.received_at)}~{tried.message}"


def _key(name: str) -> Key | None:
    """Read where a message stands among the others."""
    text = request.form.get(name, "")
    if not text:
        return None
    try:
        instant, row = text.split("~")
        return _EPOCH + timedelta(microseconds=int(instant)), bounded(row)
    except (ValueError, OverflowError):
        raise BadRequest from None


def _counts(these: dict[str, int]) -> dict[str, int]:
    """Add what was done now to what the page says was done before."""
    total: Counter[str] = Counter()
    for name, value in request.form.items():
        if (match := _COUNT.fullmatch(name)) and value.isdecimal() and len(value) < 8:
            total[match[1]] += int(value)
    total.update(these)
    return dict(total)


def _said(error: Rejected) -> str:
    return "; ".join(fault.text for fault in error.faults).capitalize() + "."
