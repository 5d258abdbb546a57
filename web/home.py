"""Home: whether it flows, and what waits for a person.

Words come first, for whoever looks at three in the morning: all is well, or what is wrong
and where to go. "Lately" is 24 hours, so that midnight hides nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from mwl import flow
from mwl.accounts import Role
from mwl.flow import Waiting
from mwl.objects import Room, room
from mwl.worklist import exports
from mwl.worklist import sources as worklist_sources
from web.bars import charts
from web.guard import allowed
from web.look import ago, lasting, size
from web.wiring import wired

blueprint = Blueprint("home", __name__)

_LATELY = timedelta(hours=24)
_PATIENCE = timedelta(minutes=15)  # for a delivery in line, before it is said to be late
_LITTLE_ROOM = 5 * 2**30
_MOST_SCANNERS = 40
_SERVERS = {
    "dicom": "The DICOM server is down: scanners can't reach us.",
    "hl7": "The HL7 server is down: orders can't come in.",
}
# What waits for a person: where it is counted, one and many of it, its rows, whether it is grave.
_KINDS = (
    (
        "parked",
        "A delivery was refused by its receiver.",
        "{} deliveries were refused by their receivers.",
        "/deliveries?state=parked",
        True,
    ),
    (
        "failed",
        "A message failed here lately.",
        "{} messages failed here lately.",
        "/messages?state=failed",
        True,
    ),
    (
        "rejected",
        "A message got an error for an answer lately.",
        "{} messages got an error for an answer lately.",
        "/messages?state=rejected",
        False,
    ),
    (
        "conflicts",
        "A message that came lately names somebody else than is on file.",
        "{} messages that came lately name somebody else than is on file.",
        "/patients/conflicts",
        False,
    ),
    (
        "flagged",
        "An order wants to be looked at.",
        "{} orders want to be looked at.",
        "/worklist?flagged=1&day=any",
        False,
    ),
    (
        "stuck",
        "An examination was begun and never ended.",
        "{} examinations were begun and never ended.",
        "/mpps?state=stuck",
        False,
    ),
    (
        "unmatched",
        "A study belongs to no order.",
        "{} studies belong to no order.",
        "/studies?unmatched=1",
        False,
    ),
    (
        "unlinked",
        "A report that came lately belongs to no order.",
        "{} reports that came lately belong to no order.",
        "/reports?unlinked=1",
        False,
    ),
    (
        "quarantined",
        "An image contradicts what is stored.",
        "{} images contradict what is stored.",
        "/quarantine",
        False,
    ),
    (
        "refused",
        "An unknown device was refused lately.",
        "{} unknown devices were refused lately.",
        "/devices#knocks",
        False,
    ),
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that a person should see, and the rows behind it."""

    text: str
    url: str = ""
    grave: bool = False  # something does not flow; else it waits for a person


@blueprint.get("/")
@allowed(Role.VIEWER)
def home() -> ResponseReturnValue:
    """Show what flows, and what waits for a person."""
    wiring = wired()
    settings = wiring.settings
    now = wiring.clock().astimezone(settings.site.zone_info)
    since = now - _LATELY
    with wiring.database.read() as session:
        waits = flow.waiting(
            session, since=since, stuck_before=now - timedelta(hours=settings.mpps.stuck_h)
        )
        feeds = flow.feeds(session, since=since)
        scanners = flow.scanners(session, limit=_MOST_SCANNERS)
        orders = flow.orders_by_state(session, now.date())
        hours = flow.hours(session, until=now)
        sources = worklist_sources.states(session)
        folders = exports.failing(session)
    left = room(settings.archive, settings.data_dir)
    serving = wiring.serving()
    brought_in = [sources[each.name] for each in settings.worklist.source if each.name in sources]
    kept = [folders[each.folder] for each in settings.worklist.export if each.folder in folders]
    troubles = [
        *_down(serving),
        *_crowded(left),
        *_unreached(brought_in, now),
        *_stale(kept, now),
        *_waiting(waits, now),
    ]
    return render_template(
        "home.html",
        troubles=sorted(troubles, key=lambda each: not each.grave),
        now=now,
        waits=waits,
        feeds=feeds,
        scanners=scanners,
        orders=orders,
        hours=hours,
        charts=charts(hours),
        room=left,
        serving=serving,
        database={"sqlite": "SQLite", "postgresql": "PostgreSQL"}[wiring.database.dialect],
    )


def _down(serving: Mapping[str, bool]) -> Iterator[Trouble]:
    for name, up in serving.items():
        if not up:
            yield Trouble(_SERVERS.get(name, f"{name} is down."), grave=True)


def _crowded(left: Room | None) -> Iterator[Trouble]:
    if left is None or left.above > _LITTLE_ROOM:
        return
    if left.above <= 0:
        text = f"Images are refused: the disk has {size(left.free)} free; make room."
        yield Trouble(text, grave=True)
    else:
        yield Trouble(f"The disk fills: room for {size(left.above)} of images is left.")


def _unreached(sources: Iterable[Any], now: datetime) -> Iterator[Trouble]:
    """Tell of worklists that don't come whole: what is new on them is not on ours."""
    for each in sources:
        since = each.succeeded_at
        if each.failures and (since is None or now - since > _PATIENCE):
            last = f"last {ago(since)}" if since else "never yet"
            text = f"The worklist {each.name} could not be brought in, {last}: {each.error}."
            yield Trouble(text, grave=True)
        if losses := worklist_sources.losses(each):
            text = f"The worklist {each.name}: {worklist_sources.kept(each.name, losses)}."
            yield Trouble(text, grave=True)


def _stale(folders: Iterable[Any], now: datetime) -> Iterator[Trouble]:
    """Tell of folders that another server serves, and whose files are old."""
    for each in folders:
        if now - each.since > _PATIENCE:
            since = lasting(each.since)
            text = f"The folder {each.folder} could not be kept for {since}: {each.error}."
            yield Trouble(text, grave=True)


def _waiting(waits: Waiting, now: datetime) -> Iterator[Trouble]:
    since = waits.deliveries_since
    if since is not None and now - since > _PATIENCE:
        text = f"{waits.deliveries:,} waiting to be delivered, the first queued {ago(since)}."
        yield Trouble(text, "/deliveries?state=waiting", grave=True)
    for name, one, many, url, grave in _KINDS:
        if count := getattr(waits, name):
            yield Trouble(one if count == 1 else many.format(f"{count:,}"), url, grave)
