"""Associations that are open now; an administrator ends one.

They hold no patient data. What is shown lags by two seconds, so a short one is seldom seen.
"""

from collections.abc import Mapping, Sequence
from functools import cache

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from pydicom.uid import UID

from mwl import associations, devices
from mwl.accounts import Role
from mwl.associations import Open, Wanted
from mwl.errors import Rejected
from web import lists
from web.guard import actor, allowed
from web.instants import beside, keys
from web.wiring import wired

blueprint = Blueprint("associations", __name__, url_prefix="/associations")

_FILTERS = ("text", "device")


@blueprint.get("")
@allowed(Role.VIEWER)
def listing() -> str:
    """List what is open, the longest first."""
    return _list()


@blueprint.post("/<int:association>/abort")
@allowed(Role.ADMIN)
def abort(association: int) -> ResponseReturnValue:
    """Have the process that serves it abort an association."""
    wiring, who = wired(), actor()
    now = wiring.clock()
    try:
        ended = wiring.database.write(lambda s: associations.end(s, who, association, now=now))
    except Rejected:
        return _list(wrong="It is not open any more: its peer has ended it, or it was lost."), 409
    flash(f"{ended.calling or 'The peer'} at {ended.address} is aborted within seconds.")
    return redirect(url_for(".listing") + lists.changed(lists.filters(*_FILTERS)), 303)


def grouped(contexts: Sequence[tuple[str, str]]) -> Mapping[str, list[str]]:
    """Name contexts: by SOP class, in which transfer syntaxes."""
    found: dict[str, list[str]] = {}
    for abstract, transfer in contexts:
        syntaxes = found.setdefault(named(abstract), [])
        if named(transfer) not in syntaxes:
            syntaxes.append(named(transfer))
    return found


@cache
def _name(uid: str) -> str:
    # "Implicit VR Little Endian: Default Transfer Syntax for DICOM": what follows is no name.
    return UID(uid).name.partition(":")[0]


def named(uid: str) -> str:
    """Name a SOP class or transfer syntax of the standard; another is its own name."""
    return _name(uid) if uid.startswith("1.2.840.10008.") and len(uid) <= 64 else uid


def _list(wrong: str = "") -> str:
    wiring, given = wired(), lists.filters(*_FILTERS)
    wanted = Wanted(wiring.clock(), calling=given["device"], text=given["text"])
    with wiring.database.read() as session:

        def fetch(at: lists.Place, count: int) -> Sequence[Open]:
            return associations.page(session, wanted, **beside(at), limit=count)

        page = lists.page(fetch, lambda row: keys(row.since, row.id), given)
        counts = associations.counts(session, now=wanted.now)
        known = devices.listing(session)
        rows = {title: each.id for each in known for title in devices.titles(each)}
    return render_template(
        "associations.html",
        page=page,
        given=given,
        counts=counts,
        rows=rows,
        fold=devices.fold,
        grouped=grouped,
        several=len({each.place for each in page.rows}) > 1,
        kept={name: given[name] for name in _FILTERS if given[name]},
        wrong=wrong,
    )
