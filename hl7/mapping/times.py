"""HL7's dates and times (DTM, and TS before v2.5) as instants and as DICOM dates.

`YYYY[MM[DD[HH[MM[SS[.S[S[S[S]]]]]]]]][+/-ZZZZ]` (v2.5.1 2A.22). A value without its own
offset is wall clock in the sender's zone. Where that clock is put forward the wall clocks in
between never were: they count as if it had not been, which lands an hour later. Where it is
put back an hour comes twice: its first occurrence counts. Both are flagged.
"""

import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache

_DTM = re.compile(
    r"([0-9]{4})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})"
    r"(?:\.([0-9]{1,6}))?)?)?)?)?)?([+-][0-9]{4})?"
)
# Room for every time zone's arithmetic, and nothing that a scanner is ever scheduled for.
_FIRST_YEAR, _LAST_YEAR = 1900, 2199
REPEATED_HOUR = "the clock was put back over this time: the first of the two"
_PLAIN = (12, 14)  # digits to the minute, or to the second


class NotATime(ValueError):
    """A text that is no DTM, or not precise enough; its text says which."""


def read_date(text: str) -> str | None:
    """Read a DA. It never shifts: an offset behind it means nothing.

    None for what says less than a day (`1980`); zeros stand for what is unknown (`19800000`).
    Raises NotATime.
    """
    if not (len(text) == 8 and text.isascii() and text.isdigit()):
        match = _DTM.fullmatch(text)
        if match is None:
            raise NotATime("no date: YYYYMMDD is needed")
        text = "".join(part or "" for part in match.group(1, 2, 3))
    if not text.strip("0"):
        return None
    try:
        date.fromisoformat(f"{text}0101"[:8] if len(text) < 8 else text)
    except ValueError:
        if "00" in (text[4:6], text[6:8]):
            return None
        raise NotATime("no such day") from None
    return text if len(text) == 8 else None


def read_instant(text: str, zone: tzinfo) -> tuple[datetime, str]:
    """Read an instant, and what a person should know of it ("" mostly).

    Raises NotATime, also for what says less than a day.
    """
    if len(text) in _PLAIN and text.isascii() and text.isdigit():
        offset = _steady_offset(text[:8], zone)
        if not offset:
            return _wall_clock(_at(text), zone)
        try:  # a day that has a steady offset is one of the calendar
            return datetime.fromisoformat(f"{text[:8]}T{text[8:]}{offset}"), ""
        except ValueError:
            raise NotATime("no such day or time of day") from None
    match = _DTM.fullmatch(text)
    if match is None:
        raise NotATime("no date and time: YYYYMMDDHHMM is needed")
    year, month, day, hour, minute, second, fraction, own_offset = match.groups()
    if day is None:
        raise NotATime("a day is needed: YYYYMMDD at least")
    naive = _at(f"{year}{month}{day}{hour or '00'}{minute or '00'}{second or '00'}")
    naive = naive.replace(microsecond=int((fraction or "").ljust(6, "0")))
    if own_offset is not None:
        instant, note = naive.replace(tzinfo=_offset(own_offset)), ""
    else:
        instant, note = _wall_clock(naive, zone)
    return instant, note if hour else "no time of day: midnight"


def offset_of(text: str) -> timezone | None:
    """Read the offset of a DTM, None where it has none or is none itself."""
    match = _DTM.fullmatch(text)
    try:
        return _offset(match[8]) if match and match[8] else None
    except NotATime:
        return None


def _at(text: str, offset: str = "") -> datetime:
    """Read YYYYMMDDHHMM or YYYYMMDDHHMMSS, of which it is known that they are digits."""
    try:
        found = datetime.fromisoformat(f"{text[:8]}T{text[8:]}{offset}")
    except ValueError:
        raise NotATime("no such day or time of day") from None
    if not _FIRST_YEAR <= found.year <= _LAST_YEAR:
        raise NotATime(f"the year lies outside {_FIRST_YEAR} to {_LAST_YEAR}")
    return found


def _offset(text: str) -> timezone:
    minutes = int(text[1:3]) * 60 + int(text[3:5])
    # The Line Islands are at +1400, the largest there is.
    if minutes > 14 * 60 or int(text[3:5]) > 59:
        raise NotATime("no such offset from UTC")
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


@lru_cache(maxsize=1024)
def _steady_offset(day: str, zone: tzinfo) -> str:
    """Give the offset of a day on which the clock is not changed, "" for any other.

    Asking the zone for each time costs three times as much as reading it.
    """
    try:
        start = _at(f"{day}0000").replace(tzinfo=zone)
    except NotATime:
        return ""
    hours = [start.replace(hour=hour) for hour in range(24)]
    offsets = {each.replace(fold=fold).utcoffset() for each in hours for fold in (0, 1)}
    following = (start + timedelta(days=1)).utcoffset()
    return start.strftime("%z") if offsets == {following} else ""


def _wall_clock(naive: datetime, zone: tzinfo) -> tuple[datetime, str]:
    local = naive.replace(tzinfo=zone)
    if local.utcoffset() == local.replace(fold=1).utcoffset():
        return local, ""
    instant = local.astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) != naive:
        return instant, "the clock was put forward over this time: an hour later"
    return instant, REPEATED_HOUR
