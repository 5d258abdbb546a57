"""Lists by the time at which rows came: a day of the site's calendar, cursors."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from web.api.endpoints import not_a_cursor, place
from web.errors import Problem
from web.wiring import wired

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def day_bounds(day: str | None) -> tuple[datetime | None, datetime | None]:
    """Give when a day like 2030-01-02 begins and ends at the site. Raises Problem."""
    if not day:
        return None, None
    try:
        first = date.fromisoformat(day)
        days = (first, first + timedelta(days=1))
        zone = wired().settings.site.zone_info
        begins, ends = (datetime.combine(each, time(), zone).astimezone(UTC) for each in days)
    except (ValueError, OverflowError):
        raise Problem(422, f"day: there is no {day}") from None
    return begins, ends


def key_by_time(row: Any) -> tuple[int, int]:
    """Write where a row that was received stands in its list."""
    return (row.received_at - _EPOCH) // timedelta(microseconds=1), row.id


def time_key(cursor: str | None) -> tuple[datetime, int] | None:
    """Read a cursor of a list by time. Raises Problem."""
    keys = place(cursor)
    if not keys:
        return None
    try:
        instant, row = map(int, keys)
        return _EPOCH + timedelta(microseconds=instant), row
    except (ValueError, OverflowError):
        raise not_a_cursor() from None
