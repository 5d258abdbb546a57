"""Dates and times of a query in the zone of who asks (timezone query adjustment).

Dates and times are kept as the wall clock of the site showed them. Where a time zone was
agreed on (PS3.4 C.5.1.1, K.5.1) and the identifier names one (0008,0201), its ranges of dates, and
of dates and times together, are ranges of instants; answers are in that zone, and name it.
So they are for a device whose wall clock is known to be another, where it names none: that one
is a zone with its summers, where (0008,0201) is a mere offset.
A birth date never shifts, nor does a time of unknown date.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import partial
from zoneinfo import ZoneInfo

from mwl import matching
from mwl.dataset import Element
from mwl.errors import Fault, Reason, Rejected
from mwl.matching import UNIVERSAL, Matcher, Range
from mwl.scp.attributes import START_DATE, START_TIME, STEP, TOP, Attribute, Model

_OFFSET = re.compile(rb"([+-])(\d\d)([0-5]\d)")
_WALL = "%Y%m%d%H%M%S"
_WHERE = "TimezoneOffsetFromUTC"


def offset_of(key: Element | None) -> timezone | None:
    """Read (0008,0201), &ZZXX; None: it names none. Rejected: MALFORMED."""
    if key is None or not key.value:
        return None
    read = _OFFSET.fullmatch(key.value.strip())
    offset = timedelta(hours=int(read[2]), minutes=int(read[3])) if read else timedelta(days=1)
    if read is None or offset > timedelta(hours=14):
        raise Rejected(Fault(Reason.MALFORMED, _WHERE, "no offset from UTC"))
    return timezone(-offset if read[1] == b"-" else offset)


def written(offset: timezone) -> str:
    """Write an offset as (0008,0201) has it."""
    return datetime.min.replace(tzinfo=offset).strftime("%z")[:5]


def shift_keys(keys: dict[str, Matcher], asked: tzinfo, site: ZoneInfo) -> None:
    """Turn the asker's dates and instants of studies and series into those of the site."""
    for of in ("study", "series"):
        date = keys.pop(f"{of}_date", UNIVERSAL)
        if not isinstance(date, Range):
            continue
        start = keys.get(f"{of}_start")
        if not isinstance(start, Range):
            start = matching.start(date, UNIVERSAL).instant
        assert isinstance(start, Range)
        here = matching.elsewhere(start, asked, site)
        keys[f"{of}_start"] = here
        keys[f"{of}_date"] = Range(here.low[:8], here.high[:8])  # it has an index


def shift_start(
    keys: dict[str, Matcher], asked: tzinfo, site: ZoneInfo
) -> Callable[[str], bool] | None:
    """Take the asker's start of worklist items for that of the site, and a little more.

    What tells whether an item's start, YYYYMMDDHHMMSS, is what was asked for is given back;
    None: any is. It goes by what is told in the asker's zone: the site's clock may show the same
    hour twice, and what is a range there is none here.
    """
    start, time = keys.get("start", UNIVERSAL), keys.pop("time_of_day", UNIVERSAL)
    if isinstance(start, Range):
        here = matching.elsewhere(start, asked, site)
        keys["start"] = Range(_moved(here.low, -_CLOCK_CHANGE), _moved(here.high, _CLOCK_CHANGE))
    elif time == UNIVERSAL:
        return None

    def is_then(text: str) -> bool:
        date, clock = there(f"{text[:8]} {text[8:]}", asked, site)
        return start.matches(date + clock) and time.matches(clock)

    return is_then


_CLOCK_CHANGE = timedelta(hours=1)  # that of summer is no longer anywhere


def _moved(instant: str, by: timedelta) -> str:
    try:
        then = datetime.strptime(instant, _WALL).replace(tzinfo=UTC)
        return matching.wall(then + by)
    except (ValueError, OverflowError):  # there is none, or none such
        return instant


# The dates and times of a worklist item that belong together.
_MOMENTS = (
    (STEP, START_DATE, START_TIME),
    (STEP, 0x00400004, 0x00400005),  # Scheduled Procedure Step End Date, Time
    (TOP, 0x00402004, 0x00402005),  # Issue Date, Time of Imaging Service Request
)


def worklist_in(asked: tzinfo, site: tzinfo) -> Model:
    """Give the attributes of a worklist item that are told as the asker's clock has them."""

    def told(date: Attribute, time: Attribute, part: int, text: str) -> str:
        return there(f"{date.text(text)} {time.text(text)}", asked, site)[part]

    return {
        tag: replace(model[tag], text=partial(told, model[date], model[time], part))
        for model, date, time in _MOMENTS
        for part, tag in enumerate((date, time))
    }


def there(start: str, asked: tzinfo, site: tzinfo) -> tuple[str, str]:
    """Tell a date and a time of the site, separated by a space, as the asker's clock has them.

    What is unknown or odd stays as it is; so do parts of a second, and what is left out.
    """
    date, _, time = start.partition(" ")
    try:
        here = datetime.strptime(date + (time[:6] + "000000")[:6], _WALL).replace(tzinfo=site)
        if not time:
            return date, time
        wall = here.astimezone(asked).strftime(_WALL)
    except (ValueError, OverflowError):
        return date, time
    return wall[:8], wall[8 : 8 + len(time[:6])] + time[6:]


def offset_at(start: str, site: tzinfo) -> str:
    """Tell the site's offset from UTC at a date and a time; "" if the date is unknown."""
    date, _, time = start.partition(" ")
    try:
        here = datetime.strptime(date + (time[:6] + "000000")[:6], _WALL).replace(tzinfo=site)
    except ValueError:
        return ""
    return here.strftime("%z")[:5]
