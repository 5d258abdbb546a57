"""How values look on every page: times, names, states."""

from datetime import datetime
from typing import Any

from flask import Flask, g, request

from mwl.accounts import Role
from mwl.sizes import in_words
from web.wiring import wired

# Bootstrap's colours, by state of whatever; what is not here is plain.
_COLOURS = {
    "primary": "SCHEDULED ARRIVED READY waiting",
    "info": "PRELIMINARY STARTED DEPARTED IN_PROGRESS IN-PROGRESS",
    "success": "COMPLETED CLOSED FINAL AA AL done reported applied committed",
    "warning": "HELD CORRECTED EXPIRED DISCONTINUED blocked quarantined outdated",
    "danger": "AE AR AF parked failed rejected stuck",
}
_COLOUR_OF = {
    state.casefold(): colour for colour, states in _COLOURS.items() for state in states.split()
}


# The bar: path, text, for whom.
_PAGES = (
    ("/worklist", "Worklist", Role.VIEWER),
    ("/patients", "Patients", Role.VIEWER),
    ("/messages", "Messages", Role.VIEWER),
    ("/deliveries", "Deliveries", Role.VIEWER),
    ("/studies", "Studies", Role.VIEWER),
    ("/reports", "Reports", Role.VIEWER),
    ("/devices", "Devices", Role.VIEWER),
    ("/associations", "Associations", Role.VIEWER),
    ("/audit", "Audit", Role.ADMIN),
    ("/users", "Users", Role.ADMIN),
)


def dress(app: Flask) -> None:
    """Give templates their filters, and what every page shows."""
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    filters = (local, clock, ago, lasting, person, colour, day, size, wall)
    app.jinja_env.filters.update({each.__name__: each for each in filters})
    app.context_processor(_common)


def _common() -> dict[str, Any]:
    return {"me": g.get("visitor"), "Role": Role, "here": request.path, "pages": _PAGES}


def local(at: datetime | None) -> str:
    """Write an instant in the site's time: 2026-07-01 10:30:05."""
    return "" if at is None else f"{at.astimezone(wired().settings.site.zone_info):%Y-%m-%d %X}"


def clock(at: datetime | None) -> str:
    """Write an instant's time of day in the site's time: 10:30."""
    return "" if at is None else f"{at.astimezone(wired().settings.site.zone_info):%H:%M}"


def ago(at: datetime | None) -> str:
    """Write how long ago an instant was: 5 min ago."""
    if at is None:
        return "never"
    minutes = int((wired().clock() - at).total_seconds()) // 60
    if minutes < 1:
        return "just now"
    if minutes < 2 * 60:
        return f"{minutes} min ago"
    return f"{minutes // 60} h ago" if minutes < 48 * 60 else f"{minutes // 1440} days ago"


def lasting(since: datetime) -> str:
    """Write how long something has lasted: 40 s, 5 min, 3 h 20 min, 4 days."""
    seconds = max(0, int((wired().clock() - since).total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} days"


def day(da: str) -> str:
    """Write a DICOM date: 2026-07-01; what is none stays as it is."""
    return f"{da[:4]}-{da[4:6]}-{da[6:]}" if len(da) == 8 and da.isdigit() else da


def wall(moment: str) -> str:
    """Write YYYYMMDDHHMMSS of a wall clock: 2026-07-01 10:30; what is none stays as it is."""
    if len(moment) != 14 or not moment.isdigit():
        return moment
    return f"{day(moment[:8])} {moment[8:10]}:{moment[10:12]}"


def person(name: str) -> str:
    """Write a DICOM PN for people: Doe, Jane Q (漢字); all groups that differ."""
    groups = [_group(each) for each in name.split("=")]
    first, *others = [each for each in dict.fromkeys(groups) if each] or [""]
    return f"{first} ({', '.join(others)})" if others else first


def _group(group: str) -> str:
    family, given, middle, prefix, suffix = [*group.split("^"), "", "", "", "", ""][:5]
    rest = " ".join(each for each in (prefix, given, middle, suffix) if each)
    return f"{family}, {rest}" if family and rest else family or rest


def colour(state: str) -> str:
    """Choose Bootstrap's colour for a state."""
    return _COLOUR_OF.get(str(state).casefold().replace(" ", "_"), "secondary")


def size(count: int | None) -> str:
    """Write a number of bytes: 512 KB."""
    return in_words(count)
