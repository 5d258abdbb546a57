"""Studies: search, a study's series, the slices of a series, what is quarantined.

What the pages show as pictures comes from pictures.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from sqlmodel import Session
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response

from mwl import archive, audit
from mwl.accounts import Role
from mwl.archive import Linked, browse, following
from mwl.archive.browse import BrowsedSeries, Slice, Wanted
from mwl.audit import Action, Event
from mwl.errors import Reason, Rejected
from web import lists, pictures
from web.guard import actor, allowed, viewed
from web.numbers import bounded
from web.wiring import wired

blueprint = Blueprint("studies", __name__)

_FILTERS = ("text", "patient", "accession", "modality", "day", "unmatched")
_MODALITIES = ("CT", "MR", "DX", "CR", "US", "MG", "XA", "RF", "NM", "PT", "SR")
# Customary windows of CT in Hounsfield units: a name, center, width.
_PRESETS = {
    "CT": (
        ("Brain", 40, 80),
        ("Soft tissue", 40, 400),
        ("Lung", -600, 1500),
        ("Bone", 400, 1800),
    )
}


@blueprint.get("/studies")
@allowed(Role.VIEWER)
def studies() -> str:
    """Look for studies."""
    given = lists.filters(*_FILTERS)
    wanted = Wanted(
        text=given["text"],
        patient=given["patient"],
        accession=given["accession"],
        modality=given["modality"],
        day=given["day"].replace("-", ""),
        unmatched=given["unmatched"] == "1",
    )
    with wired().database.read() as session:

        def fetch(at: lists.Place, count: int) -> Sequence[Any]:
            return browse.search(
                session, wanted, after=_row(at), backwards=at.backwards, limit=count
            )

        page = lists.page(fetch, lambda each: (each.id,), given)
    viewed("studies", **{name: value for name, value in given.items() if value})
    return render_template("studies.html", page=page, given=given, modalities=_MODALITIES)


@blueprint.get("/studies/<int:study>")
@allowed(Role.VIEWER)
def show(study: int) -> str:
    """Show a study, and a picture of each of its series."""
    return _study_page(study)


@blueprint.post("/studies/<int:study>/link")
@allowed(Role.TECHNOLOGIST)
def link(study: int) -> Response | tuple[str, int]:
    """Say which order a study belongs to."""
    wiring, who = wired(), actor()
    now = wiring.clock()
    accession, order = request.form.get("accession", "").strip(), request.form.get("order", "")

    def work(session: Session) -> Linked:
        row = browse.study(session, study)
        if row is None:
            abort(404)
        number = _order_number(order)
        done = archive.link(session, row.study_instance_uid, accession=accession, order=number)
        detail = {"order": done.imaging_order, "accession": done.accession_number}
        audit.record(session, who, Event(Action.LINK, f"study:{study}", detail), now=now)
        return done

    try:
        linked = wiring.database.write(work)
    except Rejected as error:
        return _study_page(study, wrong=_for_people(error)), 409
    flash(f"It belongs to order {linked.accession_number or linked.imaging_order} now.")
    for flag in linked.flags:
        flash(f"Note: {flag}.")
    return redirect(url_for("studies.show", study=study))


@blueprint.post("/studies/<int:study>/unlink")
@allowed(Role.TECHNOLOGIST)
def unlink(study: int) -> Response | tuple[str, int]:
    """Take a study from its order."""
    wiring, who = wired(), actor()
    now = wiring.clock()

    def work(session: Session) -> None:
        row = browse.study(session, study)
        if row is None:
            abort(404)
        order = archive.unlink(session, row.study_instance_uid)
        detail = {"order": order}
        audit.record(session, who, Event(Action.UNLINK, f"study:{study}", detail), now=now)

    try:
        wiring.database.write(work)
    except Rejected as error:
        return _study_page(study, wrong=_for_people(error)), 409
    flash("It belongs to no order now, and is shown as its images say.")
    return redirect(url_for("studies.show", study=study))


@blueprint.get("/studies/<int:study>/series/<int:series>")
@allowed(Role.VIEWER)
def series(study: int, series: int) -> str:
    """Show a series, a slice at a time; the address tells which, and in which window."""
    with wired().database.read() as session:
        row, found = browse.study(session, study), browse.series(session, series)
    if row is None or found is None or found.row.study != study:
        abort(404)
    pictures.seen(study, series=series)
    slices = _slices(found)
    at = min(max(1, request.args.get("at", 1, type=int)), max(1, len(slices)))
    window = pictures.window_of(request.args)
    kept = {"center": f"{window.center:g}", "width": f"{window.width:g}"} if window else {}

    def place(number: int, **changed: str) -> str:
        return "?" + urlencode({"at": number, **(changed or kept)})

    return render_template(
        "series.html",
        study=row,
        series=found.row,
        found=found,
        at=at,
        slices=slices,
        shown=slices[at - 1] if slices else None,
        window=window,
        place=place,
        kept=kept,
        presets=_PRESETS.get(found.row.modality, ()),
        others=[each for each in found.instances if not each.is_image],
        runs=",".join(f"{s.instance}:{s.frames}:{s.object}" for s in found.instances if s.is_image),
    )


@blueprint.get("/quarantine")
@allowed(Role.VIEWER)
def quarantine() -> str:
    """List what contradicts the archive, and why."""
    with wired().database.read() as session:

        def fetch(at: lists.Place, count: int) -> Sequence[Any]:
            return browse.quarantined(session, after=_row(at), backwards=at.backwards, limit=count)

        page = lists.page(fetch, lambda each: (each.id,), {})
    viewed("quarantine")
    return render_template("quarantine.html", page=page)


@dataclass(frozen=True, slots=True)
class _Shown:
    """A slice: a frame of an instance."""

    of: Slice
    frame: int

    @property
    def url(self) -> str:
        return pictures.url(self.of.instance, self.frame, self.of.object)


def _slices(found: BrowsedSeries) -> list[_Shown]:
    """Count the frames of all images through."""
    frames = (
        zip(repeat(each), range(1, min(each.frames, browse.MOST_SLICES) + 1), strict=False)
        for each in found.instances
        if each.is_image
    )
    return [_Shown(of, frame) for of, frame in chain.from_iterable(frames)][: browse.MOST_SLICES]


def _study_page(study: int, wrong: str = "") -> str:
    with wired().database.read() as session:
        row = browse.study(session, study)
        if row is None:
            abort(404)
        all_series = browse.series_of(session, study)
    pictures.seen(study, always=True)
    return render_template(
        "study.html",
        study=row,
        all_series=all_series,
        images=sum(len(each.instances) for each in all_series),
        bytes=sum(each.size for each in all_series),
        wrong=wrong,
        said=following.replaced(row),
        differs=following.differs(row),
        thumb=_thumb,
    )


def _thumb(found: BrowsedSeries) -> str:
    """Give the address of a small picture of a series, "" where it has none."""
    middle = found.middle
    if middle is None:
        return ""
    return pictures.url(middle.instance, (middle.frames + 1) // 2, middle.object, size="thumb")


def _order_number(text: str) -> int | None:
    text = text.strip()
    if not text:
        return None
    try:
        return bounded(text)
    except ValueError:
        raise BadRequest from None


def _for_people(error: Rejected) -> str:
    """Tell what is wrong with a link in the words of the page, not of the command line."""
    fault = error.faults[0]
    if fault.reason is Reason.DUPLICATE_KEY:
        return f"S{fault.text[1:]}.".replace(
            "add --order, of", "give the order's number as well, of"
        )
    if fault.reason is Reason.MISSING:
        return "Which order? Give its accession number."
    return f"{fault.text[:1].upper()}{fault.text[1:]}."


def _row(at: lists.Place) -> int | None:
    if not at.keys:
        return None
    try:
        return bounded(at.keys[0])
    except ValueError:
        raise BadRequest from None
