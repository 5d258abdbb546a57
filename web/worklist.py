"""The worklist: a day's entries, what a person does to them, why a scanner does not see one.

Without a day it is today's; who looks for a text or for flags, looks on all days. A list
that is left open refreshes itself.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import chain

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlmodel import Session

from mwl import audit, closing, devices, procedures, sightings
from mwl.accounts import Role
from mwl.audit import Action, Event
from mwl.db.tables import Device
from mwl.errors import Rejected
from mwl.worklist import asking, browse, manual, sheets
from mwl.worklist.browse import Item, Sort, Wanted
from mwl.worklist.manual import Done, Which
from mwl.worklist.why import why
from web import lists
from web.guard import actor, allowed, viewed, watched
from web.signing import local_path
from web.wiring import wired

blueprint = Blueprint("worklist", __name__, url_prefix="/worklist")

ANY_DAY = "any"
_FILTERS = ("day", "device", "modality", "state", "text", "flagged", "sort")
_MOST_ASKED = 8  # scanners whose view of an entry is told at once

Act = Callable[[Session, Which, datetime], Done]


@blueprint.get("")
@allowed(Role.VIEWER)
def listing() -> str:
    """List the entries of a day, or those that are looked for."""
    given = _given()
    wanted, now = _wanted(given), wired().clock()
    with wired().database.read() as session:

        def fetch(at: lists.Place, count: int) -> Sequence[Item]:
            return browse.page(
                session, wanted, now=now, at=at.keys, backwards=at.backwards, limit=count
            )

        page = lists.page(fetch, lambda each: each.place(wanted.sort), given)
        counts = browse.counts(session, wanted, now=now) if wanted.day else {}
        titles = devices.own_titles(session)
        modalities = browse.modalities(session)
        stale = sightings.outdated(session, [each.id for each in page.rows])
    watched("worklist", **{name: value for name, value in given.items() if value})
    return render_template(
        "worklist.html",
        page=page,
        stale=defaultdict(list, stale),
        zone=wired().settings.site.zone_info,
        given=given,
        wanted=wanted,
        counts=counts,
        days=_days(wanted.day),
        devices=titles,
        modalities=modalities,
        states=browse.STATES,
        back=request.full_path.rstrip("?"),
        link=lambda **changed: lists.changed(given, **changed),
    )


@blueprint.get("/export.csv")
@allowed(Role.ADMIN)
def download() -> Response:
    """Give what the filters keep as a file of CSV, which `mwl worklist import` reads."""
    given, wiring = _given(), wired()
    zone, now = wiring.settings.site.zone_info, wiring.clock()
    lines = sheets.written(wiring.database, _wanted(given), now=now, zone=zone)
    viewed("worklist", export="csv", **{name: value for name, value in given.items() if value})
    # Spreadsheets take a file without the mark for Latin-1.
    parts = (part.encode() for part in chain(("\ufeff",), lines))
    answer = Response(parts, mimetype="text/csv")
    answer.headers["Content-Disposition"] = 'attachment; filename="worklist.csv"'
    return answer


@blueprint.post("/<int:step>/arrive")
@allowed(Role.TECHNOLOGIST)
def arrive(step: int) -> ResponseReturnValue:
    """Note that the patient has come."""
    return _note(step, Action.ARRIVE, manual.arrive, "The patient is marked as arrived.")


@blueprint.post("/<int:step>/ready")
@allowed(Role.TECHNOLOGIST)
def ready(step: int) -> ResponseReturnValue:
    """Note that the patient is ready to be scanned."""
    return _note(step, Action.READY, manual.ready, "The patient is marked as ready.")


@blueprint.post("/<int:step>/depart")
@allowed(Role.TECHNOLOGIST)
def depart(step: int) -> ResponseReturnValue:
    """Note that the patient has left the scanner."""
    return _note(step, Action.DEPART, manual.depart, "The patient is marked as departed.")


@blueprint.post("/<int:step>/cancel")
@allowed(Role.TECHNOLOGIST)
def cancel(step: int) -> ResponseReturnValue:
    """Take an entry from the scanners' lists."""
    effects = wired().effects
    return _act(
        step,
        Action.CANCEL,
        lambda session, which, now: procedures.cancel(session, which, effects=effects, now=now),
        "The entry is cancelled: scanners no longer show it.",
    )


@blueprint.post("/<int:step>/reopen")
@allowed(Role.TECHNOLOGIST)
def reopen(step: int) -> ResponseReturnValue:
    """Put an entry on the scanners' lists again."""
    effects = wired().effects
    return _act(
        step,
        Action.REOPEN,
        lambda session, which, now: procedures.reopen(session, which, effects=effects, now=now),
        "The entry is reopened.",
    )


@blueprint.post("/<int:step>/close")
@allowed(Role.TECHNOLOGIST)
def close(step: int) -> ResponseReturnValue:
    """Close the order of an entry by hand."""
    told = wired().effects.told

    def by_hand(session: Session, which: Which, now: datetime) -> Done:
        closing.close(session, manual.order_of(session, which), now, told)
        return Done([])

    return _act(step, Action.CLOSE, by_hand, "The order is closed.")


@blueprint.get("/<int:step>/why")
@allowed(Role.VIEWER)
def show_why(step: int) -> ResponseReturnValue:
    """Tell whether scanners see an entry, and what hides it from them."""
    wiring, device = wired(), lists.filters("device")["device"]
    now = wiring.clock()
    with wiring.database.read() as session:
        entry = browse.one(session, step)
        known = devices.listing(session)
        seen = sightings.of_step(session, step)
    if entry is None:
        abort(404)
    asked = [device] if device else _scanners(entry, known)
    wrong, answers = "", []
    try:
        answers = [
            why(
                wiring.database,
                step,
                title,
                dicom=wiring.settings.dicom,
                now=now,
                zone=wiring.settings.site.zone_info,
            )
            for title in asked
        ]
    except Rejected as error:
        wrong = f"{error.faults[0].text}."
    viewed(f"order:{entry.imaging_order}", step=entry.sps_id, page="why")
    page = render_template(
        "why.html",
        entry=entry,
        answers=answers,
        seen=seen,
        device=device,
        devices=[each.ae_title for each in known],
        wrong=wrong,
        label=sightings.label,
        spoken=sightings.spoken,
    )
    return (page, 400) if wrong else page


def _note(step: int, action: Action, note: manual.Note, text: str) -> ResponseReturnValue:
    """Note where the patient of an entry is."""
    return _act(step, action, lambda session, which, now: note(session, which, now=now), text)


def _act(step: int, action: Action, act: Act, text: str) -> ResponseReturnValue:
    """Do something to an entry in one transaction with its record; go back to where one was."""
    wiring, who, which = wired(), actor(), Which(row=step)
    now = wiring.clock()

    def work(session: Session) -> Done:
        entry = browse.one(session, step)
        if entry is None:
            abort(404)
        done = act(session, which, now)
        detail = {"step": entry.sps_id, "was": entry.shown_state}
        subject = f"order:{entry.imaging_order}"
        audit.record(session, who, Event(action, subject, detail), now=now)
        return done

    done = wiring.database.write(work)
    flash(text)
    for flag in done.flags:
        flash(f"Note: {flag}.")
    return redirect(local_path(request.args.get("next") or url_for("worklist.listing")))


def _given() -> dict[str, str]:
    given = lists.filters(*_FILTERS)
    # The form holds a date, and beside it that all days are wanted.
    given["day"] = next(filter(None, request.args.getlist("day")), "")[:20]
    return given


def _wanted(given: dict[str, str]) -> Wanted:
    is_search = bool(given["text"] or given["flagged"])
    day = given["day"].replace("-", "")
    if day == ANY_DAY or (is_search and not day):
        day = ""
    elif not day:
        day = _today()
    wanted = Wanted(
        day=day,
        device=given["device"],
        modality=given["modality"],
        state=browse.state(given["state"]),
        text=given["text"],
        flagged=given["flagged"] == "1",
        zone=wired().settings.site.zone_info,
    )
    if not day:
        return replace(wanted, sort=Sort.LATEST)
    return replace(wanted, sort=Sort.CHANGED) if given["sort"] == Sort.CHANGED else wanted


def _today() -> str:
    return asking.today(wired().clock(), wired().settings.site.zone_info)


def _days(day: str) -> dict[str, str]:
    """Name a day and those beside it, as filters hold them; of any day today alone."""
    today = _today()
    named = {"today": _iso(today), "day": ""}
    if day:
        at = date.fromisoformat(_iso(day))
        named |= {
            "day": str(at),
            "weekday": f"{at:%A}",
            "before": str(at - timedelta(days=1)) if at > date.min else "",
            "after": str(at + timedelta(days=1)) if at < date.max else "",
        }
    return named


def _iso(day: str) -> str:
    return f"{day[:4]}-{day[4:6]}-{day[6:]}"


def _scanners(entry: Item, known: Sequence[Device]) -> list[str]:
    """Choose whom an entry is for: its stations, else the devices of its modality."""
    if not entry.stations:
        return [each.ae_title for each in known if each.modality == entry.modality][:_MOST_ASKED]
    owners = {title: each.ae_title for each in known for title in devices.titles(each)}
    stations = (owners.get(devices.fold(title), title) for title in entry.stations)
    return list(dict.fromkeys(stations))[:_MOST_ASKED]
