"""Instants as they stand in URLs: a day of the site's calendar, a place in a list by time."""

from datetime import UTC, date, datetime, time, timedelta

from werkzeug.exceptions import BadRequest

from web.lists import Place
from web.numbers import bounded
from web.wiring import wired

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Key = tuple[datetime, int]


def day_bounds(day: str) -> tuple[datetime | None, datetime | None]:
    """Give when a day like 2030-01-02 begins and ends at the site; (None, None) for ""."""
    if not day:
        return None, None
    try:
        first = date.fromisoformat(day)
        days = (first, first + timedelta(days=1))
        zone = wired().settings.site.zone_info
        begins, ends = (datetime.combine(each, time(), zone).astimezone(UTC) for each in days)
    except (ValueError, OverflowError):
        raise BadRequest from None
    return begins, ends


def keys(at: datetime, row: int) -> tuple[int, int]:
    """Write where a row stands in a list by time."""
    return (at - _EPOCH) // _MICROSECOND, row


def beside(place: Place) -> dict[str, Key]:
    """Read after, or before, which row of a list by time a page is to be."""
    if not place.keys:
        return {}
    try:
        instant, row = place.keys
        key = _EPOCH + int(instant) * _MICROSECOND, bounded(row)
    except (ValueError, OverflowError):
        raise BadRequest from None
    return {"before" if place.backwards else "after": key}
