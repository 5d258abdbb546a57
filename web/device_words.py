"""What is set of a device, in words for people."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from mwl import devices
from mwl.config import DeviceTable, May, Waiting

RIGHTS: Mapping[str, str] = {
    "worklist": "Query the worklist",
    "mpps": "Report procedure steps (MPPS)",
    "store": "Send images (C-STORE)",
    "commit": "Ask for storage commitment",
    "query": "Search the archive (C-FIND)",
    "retrieve": "Take images away (C-MOVE, C-GET)",
}
assert set(RIGHTS) == set(get_args(May))

STATES: Mapping[str, str] = {
    "SCHEDULED": "Planned, nobody has come yet",
    "ARRIVED": "The patient has come",
    "READY": "The patient is ready",
    "STARTED": "The examination has begun",
    "DEPARTED": "The patient has left",
}
assert set(STATES) == set(get_args(Waiting))

# What most scanners read, as (0008,0005) says it; others may be typed.
SETS: Mapping[str, str] = {
    "ISO_IR 100": "Latin-1: Western Europe",
    "ISO_IR 101": "Latin-2: Central Europe",
    "ISO_IR 148": "Latin-5: Turkish",
    "ISO_IR 144": "Cyrillic",
    "ISO_IR 126": "Greek",
    "ISO_IR 127": "Arabic",
    "ISO_IR 138": "Hebrew",
    "ISO_IR 166": "Thai",
    "\\ISO 2022 IR 87": "Japanese",
    "\\ISO 2022 IR 149": "Korean",
    "GB18030": "Chinese",
    "ISO_IR 192": "all of them: Unicode in UTF-8",
    "ISO_IR 6": "ASCII: no accents at all",
}


def shown(table: DeviceTable) -> Iterator[str]:
    """Say what of the worklist a device is shown, where that isn't all."""
    its = table.worklist
    if its.own_station:
        also = f", {', '.join(its.stations)} among these" if its.stations else ""
        yield f"only what is planned for its own stations{also}, or for none"
    elif its.stations:
        yield f"what is planned for {', '.join(its.stations)} as its own"
    if its.modalities:
        yield f"only {', '.join(its.modalities)}"
    if its.locations:
        yield f"only at {', '.join(its.locations)}, or at no location"
    if its.hours_back is not None:
        yield f"nothing that was planned more than {its.hours_back:g} hours ago"
    if its.hours_ahead is not None:
        yield f"nothing that is planned in more than {its.hours_ahead:g} hours"
    if its.hide:
        yield f"nothing that is {' or '.join(its.hide)}"
    if its.max_answers is not None:
        beyond = "the list is cut" if its.beyond == "cut" else "the query fails"
        yield f"{its.max_answers} entries at most; where more match, {beyond}"
    for code, others in its.synonyms.items():
        yield f"{', '.join(others)} where it asks for {code}"
    for keyword, value in its.defaults.items():
        yield f"{value} where {keyword} would be empty"


def overlooked(table: DeviceTable) -> Iterator[str]:
    """Say what of its queries plays no part, or is made up for."""
    if table.worklist.ignore:
        yield f"What it asks by {', '.join(table.worklist.ignore)} is not looked at."
    for each in table.worklist.tolerates:
        yield f"{devices.TOLERANCES[each]}."


def letters(table: DeviceTable) -> str:
    """Say in which character sets a device is answered; "": as it asks."""
    its = table.characters
    if not its.sets:
        return ""
    beyond = "in Latin letters" if its.beyond == "transliterate" else "in UTF-8"
    return f"{', else '.join(its.sets)}; what these can't say is written {beyond}"


def words() -> Mapping[str, Any]:
    """Give templates what a device's form and page are written with."""
    return {
        "rights": RIGHTS,
        "states": STATES,
        "tolerances": devices.TOLERANCES,
        "sets": SETS,
        "shown": shown,
        "overlooked": overlooked,
        "letters": letters,
    }
