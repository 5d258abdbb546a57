"""How large the journal is and what will go when, in words: for the page, and commands."""

from collections.abc import Iterator
from datetime import timedelta

from mwl.config import Journal
from mwl.journal.counting import Size
from mwl.sizes import in_words

_LONG_DAYS = 3_650  # what lies further ahead is no news


def outlook(size: Size, keep: Journal) -> Iterator[str]:
    """Tell it, a sentence at a time."""
    yield _now(size)
    if keep.keep_days and size.oldest is not None:
        goes = (size.oldest + timedelta(days=keep.keep_days + 1)).date()
        yield f"Each is kept for {keep.keep_days:g} days; the next go on {goes} (UTC)."
    elif not keep.keep_days:
        yield "None goes for its age."
    if keep.max_bytes:
        yield _bound(size, keep.max_bytes)
    if size.held:
        yield f"{size.held:,} would have gone, but something needs them: open orders mostly."


def _now(size: Size) -> str:
    if not size.messages or size.first is None:
        return "No message is kept."
    least = "" if size.is_whole else "at least "
    daily = f", {in_words(size.daily_bytes)} a day of late" if size.daily_bytes else ""
    since = f"since {size.first.date()}"
    kept = f"{least}{size.messages:,} message{'s' if size.messages > 1 else ''}"
    text = f"{kept} {since}, {in_words(size.bytes)}{daily}."
    return text[0].upper() + text[1:]


def _bound(size: Size, most: int) -> str:
    text = f"All may take {in_words(most)}"
    if size.bytes > most:
        return f"{text}, which is less: the oldest are going."
    if size.daily_bytes and (days := (most - size.bytes) // size.daily_bytes) < _LONG_DAYS:
        return f"{text}, which is {days:,} days away as things go; then the oldest go."
    return f"{text}; beyond it the oldest go."
