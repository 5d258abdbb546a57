"""What a worklist query must find, worked out by looking at everything, apart from what is tested.

Items are mappings by keyword: a text, several values of it parted by backslashes, or a list of
mappings, the items of a sequence. So are the keys of a query; those of the Scheduled Procedure
Step Sequence stand among the others, for no keyword is of both. An unknown value is empty, or
isn't there.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from tests.name_oracle import is_match

Item = Mapping[str, Any]
Keys = Mapping[str, Any]

STEP = (
    *("ScheduledStationAETitle", "ScheduledProcedureStepStartDate"),
    *("ScheduledProcedureStepStartTime", "Modality", "ScheduledPerformingPhysicianName"),
    *("ScheduledProcedureStepDescription", "ScheduledProtocolCodeSequence"),
    *("ScheduledProcedureStepID", "ScheduledStationName", "ScheduledProcedureStepLocation"),
    *("PreMedication", "RequestedContrastAgent", "ScheduledProcedureStepStatus"),
    *("CommentsOnTheScheduledProcedureStep", "ScheduledProcedureStepEndDate"),
    *("ScheduledProcedureStepEndTime",),
)
_START_DATE, _START_TIME = "ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime"
_STATUS, _STATION, _MODALITY = (
    *("ScheduledProcedureStepStatus", "ScheduledStationAETitle", "Modality"),
)
_NAMES = (
    *("PatientName", "ReferringPhysicianName", "RequestingPhysician"),
    *("ScheduledPerformingPhysicianName", "PatientMotherBirthName"),
)
# K.6.1.2.2: single value matching; an asterisk is a character like others.
_SINGLE = (_STATION, _MODALITY, "PatientID", "AccessionNumber", "RequestedProcedureID")
_NUMBERS = ("PatientWeight", "PatientSize", "PregnancyStatus")
# Whose backslash is text.
_LINES = (
    *("PatientComments", "CommentsOnTheScheduledProcedureStep", "RequestedProcedureComments"),
    *("ImagingServiceRequestComments",),
)
_ON_THE_LIST = ("SCHEDULED", "ARRIVED", "READY", "STARTED", "DEPARTED")


def find(
    items: Sequence[Item],
    keys: Keys,
    *,
    modality: str | None = None,
    fuzzy: bool = False,
    hours_ahead: int | None = None,
) -> list[int]:
    """List the positions of the items that are found, in the order of answers.

    `modality` is that of the device that asks; None: a stranger's. `hours_ahead` is how far the
    asker's clock is ahead of UTC, where that was agreed on; the site's is Berlin's.
    """
    asked = {name: key for name, key in keys.items() if not _means_any(name, key)}
    found = [
        (_start(item), position)
        for position, item in enumerate(items)
        if _is_shown(item, asked)
        and _is_on_station(item, asked, modality)
        and _starts(item, asked, hours_ahead)
        and all(
            _has(_told(item, hours_ahead), name, key, fuzzy=fuzzy) for name, key in asked.items()
        )
    ]
    return [position for _, position in sorted(found)]


def _means_any(name: str, key: Any) -> bool:
    if isinstance(key, list):
        return all(_means_any(*each) for item in key for each in item.items())
    if _is_moment(name):
        return key in ("", "*", "-")
    values = [key] if name in _LINES else [value for value in key.split("\\") if value]
    if name in _NAMES:
        # A group that may be any is as good as none.
        values = [group.rstrip("^ ") for value in values for group in value.split("=")]
        values = [group.lstrip("^") if not group.strip("*^") else group for group in values]
        values = [group for group in values if group]
    return not values or any(not value.strip("*") for value in values)


def _is_moment(name: str) -> bool:
    return name.endswith(("Date", "Time"))


def _is_shown(item: Item, asked: Keys) -> bool:
    state = item[_STATUS]
    return state != "HELD" if _STATUS in asked else state in _ON_THE_LIST


def _is_on_station(item: Item, asked: Keys, modality: str | None) -> bool:
    if _STATION not in asked or item[_STATION]:
        return True
    return modality is None or item[_MODALITY] in ("", modality)


def _has(item: Item, name: str, key: Any, *, fuzzy: bool) -> bool:
    value = item.get(name, "")
    if name in (_START_DATE, _START_TIME):
        return True  # they are one
    if isinstance(key, list):
        (wanted,) = key
        asked = {inner: each for inner, each in wanted.items() if not _means_any(inner, each)}
        return any(
            all(
                _is(f">{inner}", each, one.get(inner, ""), fuzzy=fuzzy)
                for inner, each in asked.items()
            )
            for one in value or []
        )
    if name in (_STATION, _MODALITY) and not value:
        return True  # nobody said which: it may be any
    values = [value] if name in _LINES else value.split("\\")
    return any(_is(name, key, each, fuzzy=fuzzy) for each in values if each)


def _is(name: str, key: str, value: str, *, fuzzy: bool) -> bool:
    """Compare one value; the name of what stands in a sequence begins with ">"."""
    if _is_moment(name):
        return _is_between(name, key, value)
    if name in _LINES:
        return _like(key.strip(" "), value)
    choices = [each.strip(" ") for each in key.split("\\") if each]
    if name in _NAMES and fuzzy and not re.search(r"\?|\*[^^= \\]", key):
        return is_match(key, value)
    if name in _NUMBERS:
        return float(value) in map(float, choices)
    if name in _SINGLE or name.endswith("UID"):
        return value in choices
    same = _is_name if name in _NAMES else _like
    return any(same(each, value) for each in choices)


def _is_between(name: str, key: str, value: str) -> bool:
    low, high = _ends(key)
    if name.endswith("Time"):
        return _filled(low, "000000") <= _filled(value, "000000") <= _filled(high, "235959")
    return (low or "0") <= value <= (high or "9")


def _like(pattern: str, value: str) -> bool:
    if "*" not in pattern and "?" not in pattern:
        return pattern == value
    signs = {"*": ".*", "?": "."}
    regex = "".join(signs.get(each, re.escape(each)) for each in pattern)
    return re.fullmatch(regex, value, re.DOTALL) is not None


def _is_name(key: str, value: str) -> bool:
    """Compare groups without case and accents; a name has as many empty ends as one likes."""
    for asked in _plain(key).split("="):
        for group in _plain(value).split("="):
            asked, group = asked.rstrip("^ "), group.rstrip("^ ")  # noqa: PLW2901
            if asked and group and any(_like(asked, group + "^" * more) for more in range(5)):
                return True
    return False


def _plain(text: str) -> str:
    return "".join(_without_accent(each) for each in unicodedata.normalize("NFC", text.casefold()))


def _without_accent(letter: str) -> str:
    """Take a letter by its name: LATIN SMALL LETTER U WITH DIAERESIS is one without."""
    name, _, accent = unicodedata.name(letter, "").partition(" WITH ")
    if accent and name.startswith(("LATIN", "GREEK", "CYRILLIC")):
        return unicodedata.lookup(name)
    return letter


# --- dates and times


def _start(item: Item) -> str:
    start: str = item[_START_DATE] + item[_START_TIME]
    return start


def _ends(key: str) -> tuple[str, str]:
    low, dash, high = key.partition("-")
    return (low, high) if dash else (key, key)


def _filled(time: str, rest: str) -> str:
    digits = time.partition(".")[0]
    return digits + rest[len(digits) :]


def _starts(item: Item, asked: Keys, hours_ahead: int | None) -> bool:
    """Hold a start against both keys, which are one range where both are (K.6.1.2.2)."""
    start = _start(item)
    if hours_ahead is not None:
        start = _in_berlin(start)(hours_ahead)
    dates, times = asked.get(_START_DATE), asked.get(_START_TIME)
    if dates is None:
        return times is None or _is_between(_START_TIME, times, start[8:])
    (first, last), (begin, end) = _ends(dates), _ends(times or "-")
    if times and "-" in dates and "-" not in times:
        # Not a range of instants: that time, on each of these days.
        is_then = _is_between(_START_TIME, times, start[8:])
        return is_then and (first or "0") <= start[:8] <= (last or "9")
    low = first and first + _filled(begin, "000000")
    high = last and last + _filled(end, "235959")
    return (low or "0") <= start <= (high or "9")


_END_DATE, _END_TIME = "ScheduledProcedureStepEndDate", "ScheduledProcedureStepEndTime"


def _told(item: Item, hours_ahead: int | None) -> Item:
    """Tell an item's end as the asker's clock shows it; a day or a time alone never shifts."""
    date, time = item.get(_END_DATE, ""), item.get(_END_TIME, "")
    if hours_ahead is None or not (date and time):
        return item
    then = _in_berlin(date + _filled(time, "000000"))(hours_ahead)
    return {**item, _END_DATE: then[:8], _END_TIME: then[8:]}


def _in_berlin(wall: str) -> Callable[[int], str]:
    """Give what a clock so many hours ahead of UTC shows when Berlin's first shows this."""
    clock = datetime.strptime(wall, "%Y%m%d%H%M%S")  # noqa: DTZ007
    begins = _last_sunday(clock.year, 3) + timedelta(hours=2)
    ends = _last_sunday(clock.year, 10) + timedelta(hours=3)
    ahead = 2 if begins + timedelta(hours=1) <= clock < ends else 1
    return lambda hours: f"{clock + timedelta(hours=hours - ahead):%Y%m%d%H%M%S}"


def _last_sunday(year: int, month: int) -> datetime:
    day = datetime(year, month, 31)  # noqa: DTZ001
    return day - timedelta(days=(day.weekday() + 1) % 7)
