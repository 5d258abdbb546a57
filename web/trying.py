"""What would a device see now? The worklist as it would be answered, and what it would not.

Who asks is the device, as far as `mwl.scp.trying` goes: what is shown here are the answers of
the code that answers scanners.
"""

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue

from mwl import devices
from mwl.accounts import Role
from mwl.db.tables import Device
from mwl.errors import Rejected
from mwl.worklist import trying
from mwl.worklist.trying import Asked
from web.device_words import SETS
from web.guard import allowed, viewed
from web.wiring import wired

blueprint = Blueprint("trying", __name__, url_prefix="/devices")

_LONGEST = 200  # characters of a key
_MOST = 100  # answers, and hidden entries, of a page
_KEYS = (
    *("day", "modality", "station", "patient_id", "patient_name", "accession_number"),
    "character_set",
)


@blueprint.get("/<int:device>/try")
@allowed(Role.VIEWER)
def show(device: int) -> ResponseReturnValue:
    """Show what a device would be answered now."""
    wiring = wired()
    with wiring.database.read() as session:
        found = devices.get(session, device)
    if found is None:
        abort(404)
    given = _given()
    viewed(devices.subject_of(found.ae_title), page="try", **given)
    asked, now = Asked(**{**given, **_day(given)}), wiring.clock()
    zone = wiring.settings.site.zone_info
    asked = trying.usual(asked, devices.table_of(found), found.ae_title, now, zone)
    try:
        tried = wiring.tools.see(found.ae_title, asked, now)
    except Rejected as error:
        return _page(found, asked, wrong=f"{error.faults[0]}."), 400
    return _page(found, asked, tried=tried)


def _given() -> dict[str, str]:
    """Read the keys that were given, be it as any ("")."""
    args = request.args
    return {name: args[name].replace("\0", "").strip()[:_LONGEST] for name in _KEYS if name in args}


def _day(given: dict[str, str]) -> dict[str, str]:
    """Write the day as a key has it; a form sends it with dashes."""
    return {"day": given["day"].replace("-", "")} if "day" in given else {}


def _page(device: Device, asked: Asked, **more: object) -> str:
    return render_template(
        "try.html", device=device, asked=asked, most=_MOST, sets=SETS, now=wired().clock(), **more
    )
