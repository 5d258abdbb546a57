"""What stored objects show: an instance's page, frames as pictures, header, file, document.

A picture's address names the version that is served (`v`), so that a browser may keep it;
its bytes never change. To look at a study's pictures is recorded once an hour and session,
not for each slice that somebody scrolls past.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from threading import Lock
from typing import Any

from flask import (
    Blueprint,
    Response,
    abort,
    current_app,
    render_template,
    request,
    url_for,
)
from flask.sansio.blueprints import BlueprintSetupState

from mwl.accounts import Role
from mwl.archive import browse
from mwl.objects import Missing
from mwl.pictures import Busy, Source, Unshowable, Window
from web.guard import allowed, viewed, visitor
from web.wiring import wired

blueprint = Blueprint("pictures", __name__)

_SIZES = ("", "thumb", "full")
_AGE_S = 3600
_LOOK_LASTS = timedelta(hours=1)
_MOST_LOOKS = 10_000
_KEY = "mwl.looks"
_PDF = "application/pdf"
_LARGEST = 1e9  # of a window: no stored value is greater
# MPEG-2, H.264 and H.265, whose frames are no pictures of their own.
_FILMS = "1.2.840.10008.1.2.4.10"
_ENCAPSULATED = "1.2.840.10008.5.1.4.1.1.104."  # PDF, CDA and their like


@blueprint.get("/instances/<int:instance>")
@allowed(Role.VIEWER)
def show(instance: int) -> str:
    """Show what an instance is: a picture, a report's text, or what else there is to say."""
    row = _instance(instance)
    seen(row.study, instance=instance)
    found = None
    with wired().database.read() as session:
        found = browse.series(session, row.series)
    assert found is not None
    text: list[Any] = []
    why = ""
    is_image = row.rows is not None
    is_document = row.sop_class_uid.startswith(_ENCAPSULATED)
    if not is_image and not is_document and row.object is not None:
        text, why = _report(row)
    before, after = _neighbours([each.instance for each in found.instances], instance)
    return render_template(
        "instance.html",
        row=row,
        kind=uid_name(row.sop_class_uid),
        syntax=uid_name(row.transfer_syntax or ""),
        text=text,
        why=why,
        is_image=is_image,
        is_document=is_document,
        is_film=(row.transfer_syntax or "").startswith(_FILMS),
        before=before,
        after=after,
        at=_place(found, instance),
        picture=url(instance, 1, row.object) if is_image and row.object else "",
    )


@blueprint.get("/instances/<int:instance>/header")
@allowed(Role.VIEWER)
def header(instance: int) -> str | tuple[str, int]:
    """List the elements of an instance, without its pixels."""
    row = _served(instance)
    viewed(f"instance:{instance}", header=True)
    lines: list[Any] = []
    is_cut, why = False, ""
    try:
        lines, is_cut = wired().pictures.header(_source(row))
    except (Unshowable, Busy) as error:
        why = str(error)
    page = render_template("header.html", row=row, lines=lines, is_cut=is_cut, why=why)
    return (page, 422) if why else page


@blueprint.get("/instances/<int:instance>/frames/<int:frame>.png")
@allowed(Role.VIEWER)
def picture(instance: int, frame: int) -> Response:
    """Give a frame as PNG, in a window, in a size."""
    row = _served(instance)
    seen(row.study, instance=instance)
    window, size = window_of(request.args), request.args.get("size", "")
    if size not in _SIZES:
        abort(400)
    asked = f"{row.sha256.hex()} {row.transfer_syntax} {frame} {window} {size}"
    tag = hashlib.sha256(asked.encode()).hexdigest()[:32]
    if tag in request.if_none_match:
        return _kept(Response(status=304), tag)
    try:
        found = wired().pictures.frame(_source(row), frame, window=window, size=size)
    except Unshowable as error:
        return _told(422, f"This picture can't be shown: {error}.")
    except Busy as error:
        answer = _told(503, f"Not just now: {error}.")
        answer.headers["Retry-After"] = "1"
        return answer
    answer = Response(found.png, mimetype="image/png")
    if found.window is not None:
        answer.headers["X-Window"] = f"{found.window.center:g} {found.window.width:g}"
    return _kept(answer, tag)


@blueprint.get("/instances/<int:instance>/file")
@allowed(Role.TECHNOLOGIST)
def file(instance: int) -> Response:
    """Give the DICOM file, as it is kept."""
    row = _served(instance)
    viewed(f"instance:{instance}", file=True)
    pieces: Iterator[bytes] = iter(wired().objects.read(row.key))
    try:
        first = next(pieces, b"")  # what is wrong with it is known before an answer begins
    except Missing:
        abort(404)
    answer = Response(chain((first,), pieces), mimetype="application/dicom")
    answer.content_length = row.size
    return _attached(answer, f"{row.sop_instance_uid}.dcm")


@blueprint.get("/instances/<int:instance>/document")
@allowed(Role.VIEWER)
def document(instance: int) -> Response:
    """Give an encapsulated document, to be kept; nothing of it is shown in our own name."""
    row = _served(instance)
    viewed(f"instance:{instance}", document=True)
    try:
        content, media_type = wired().pictures.document(_source(row))
    except Unshowable as error:
        return _told(422, f"This document can't be read: {error}.")
    except Busy as error:
        return _told(503, f"Not just now: {error}.")
    is_pdf = media_type.casefold() == _PDF
    answer = Response(content, mimetype=_PDF if is_pdf else "application/octet-stream")
    return _attached(answer, f"{row.sop_instance_uid}.{'pdf' if is_pdf else 'bin'}")


def url(instance: int, frame: int, version: int, size: str = "") -> str:
    """Give the address of a picture; `version` is the row of the object that is served."""
    place = url_for("pictures.picture", instance=instance, frame=frame, v=version)
    return f"{place}&size={size}" if size else place


def window_of(given: Mapping[str, str]) -> Window | None:
    """Read a window of the address: both numbers, or none."""
    try:
        center, width = float(given.get("center", "")), float(given.get("width", ""))
    except ValueError:
        return None
    if not (abs(center) <= _LARGEST and 0 < width <= _LARGEST):
        return None
    return Window(center, width)


def uid_name(uid: str) -> str:
    """Name a SOP class or a transfer syntax."""
    from pydicom.uid import UID

    return UID(uid).name


# --- who looked


@dataclass(slots=True)
class Looks:
    """Which studies each session has looked at lately; another process merely asks again."""

    _at: OrderedDict[tuple[object, int], datetime] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def is_new(self, who: object, study: int, now: datetime) -> bool:
        """Tell whether this look is to be recorded; it is known from now on."""
        with self._lock:
            last = self._at.get((who, study))
            if last is not None and now - last < _LOOK_LASTS:
                return False
            self._at[who, study] = now
            self._at.move_to_end((who, study))
            while len(self._at) > _MOST_LOOKS:
                self._at.popitem(last=False)
            return True


@blueprint.record_once
def _prepare(state: BlueprintSetupState) -> None:
    """Let the application remember who looked, and templates name what they show."""
    state.app.extensions[_KEY] = Looks()
    state.app.jinja_env.filters["uid_name"] = uid_name


def seen(study: int, *, always: bool = False, **detail: Any) -> None:
    """Have it recorded that a study was looked at: `always`, or unless that is known."""
    who = visitor()
    looks: Looks = current_app.extensions[_KEY]
    if looks.is_new((who.name, who.session), study, wired().clock()) or always:
        viewed(f"study:{study}", **detail)


# --- answers


def _instance(instance: int) -> Any:
    with wired().database.read() as session:
        row = browse.instance(session, instance)
    if row is None:
        abort(404)
    return row


def _served(instance: int) -> Any:
    row = _instance(instance)
    if row.object is None:
        abort(404)
    return row


def _source(row: Any) -> Source:
    return Source(row.key, row.size, f"{row.sha256.hex()} {row.transfer_syntax}")


def _report(row: Any) -> tuple[list[Any], str]:
    try:
        lines, is_cut = wired().pictures.report(_source(row))
    except (Unshowable, Busy, Missing) as error:
        return [], str(error)
    return lines, "It is longer; the rest is left out." if is_cut else ""


def _neighbours(instances: list[int], instance: int) -> tuple[int | None, int | None]:
    if instance not in instances:
        return None, None
    at = instances.index(instance)
    return (
        instances[at - 1] if at else None,
        instances[at + 1] if at + 1 < len(instances) else None,
    )


def _place(found: browse.BrowsedSeries, instance: int) -> int:
    """Tell at which slice of its series an instance begins."""
    at = 1
    for each in found.instances:
        if each.instance == instance:
            break
        at += each.frames if each.is_image else 0
    return at


def _kept(answer: Response, tag: str) -> Response:
    answer.set_etag(tag)
    answer.headers["Cache-Control"] = f"private, max-age={_AGE_S}"
    return answer


def _told(status: int, text: str) -> Response:
    return Response(f"{text}\n", status, mimetype="text/plain")


def _attached(answer: Response, name: str) -> Response:
    answer.headers.set("Content-Disposition", "attachment", filename=name)
    return answer
