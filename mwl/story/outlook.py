"""What ends an order next, or why nothing does, in words.

The rules are those that end it (`mwl.closing_rules`), asked in the way in which the clock
asks them; here is nothing but how they are said.
"""

from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from mwl import config
from mwl.closing import rows
from mwl.closing.choices import rules_of
from mwl.closing.judging import judge_works
from mwl.closing_rules import (
    OTHER_PATIENT,
    Rules,
    Work,
    expires_at,
    goes_elsewhere,
    needs_person,
    quiet_at,
    reasons,
    waiting,
)
from mwl.orders import WAITING, OrderState, StepState
from mwl.story.consequences import route
from mwl.story.entries import minute, several, spoken
from mwl.story.subjects import Row, Subject

_MOST_SERIES = 10  # that are named as missing


@dataclass(frozen=True, slots=True)
class Outlook:
    """A sentence, and what it rests on, step by step; `asks`: a person should do something."""

    text: str
    points: list[str] = field(default_factory=list)
    asks: bool = False


@dataclass(frozen=True, slots=True)
class _Look:
    """What is known of an order when it is looked at."""

    subject: Subject
    works: dict[int, Work]
    missing: dict[int, dict[str, int]]
    rules: Rules
    now: datetime
    zone: ZoneInfo

    def at(self, moment: datetime) -> str:
        return minute(moment, self.zone)


def look(
    conn: Connection, subject: Subject, close: config.Close, now: datetime, zone: ZoneInfo
) -> Outlook:
    """Tell what comes next, without changing anything."""
    order = subject.order
    rules = rules_of(close, order["profile"])
    state = OrderState(order["status"] or OrderState.SCHEDULED)
    if state in _OVER:
        return _over(_Look(subject, {}, {}, rules, now, zone), state)
    works = rows.works(conn, order["id"])
    is_missing = any(work.missing for work in works.values())
    missing = rows.not_come(conn, order["id"]) if is_missing else {}
    seen = _Look(subject, works, missing, rules, now, zone)
    points = _points(seen)
    if state is OrderState.COMPLETED:
        return _completed(seen, points)
    if order["expired_at"] is not None:
        return _expired(seen, points, is_whole=state is OrderState.EXPIRED)
    is_under_way = state is OrderState.IN_PROGRESS
    if at := expires_at(rows.plans(conn, order["id"]), order["revived_at"], rules):
        what = "what is left expires" if is_under_way else "expires"
        points.append(f"{what} on {seen.at(at)}, unless it has begun by then")
    if is_under_way:
        return Outlook("Under way: it is completed when all its steps have ended.", points)
    return Outlook(_waits(seen), points)


_OVER = {OrderState.CLOSED, OrderState.CANCELED, OrderState.DISCONTINUED}


def _over(seen: _Look, state: OrderState) -> Outlook:
    order = seen.subject.order
    if state is OrderState.CLOSED:
        when = seen.at(order["closed_at"])
        return Outlook(f"Closed on {when}: {route(order['closed_by'], seen.rules)}.")
    if not seen.subject.procedures:
        text = "was ended before it came: it is kept so that the order, if it comes, is not done."
        return Outlook(f"This order {text}")
    return Outlook(f"Nothing is waited for: the order is {spoken(state)}.")


def _waits(seen: _Look) -> str:
    left = [work for work in seen.works.values() if work.state in WAITING]
    if any(quiet_at(work, seen.rules) for work in left):
        return "Its images come in: it is completed when they have been quiet for long enough."
    if left and all(work.state is StepState.HELD for work in left):
        return "On hold: it waits for its sender to release it."
    return "Waits for a scanner to begin."


def _expired(seen: _Look, points: list[str], *, is_whole: bool) -> Outlook:
    order = seen.subject.order
    days = several(seen.rules.expire.days, "day")
    since = "its date" if order["revived_at"] is None else "being brought back"
    what = "Expired" if is_whole else "Partly done; what was left of it expired"
    text = (
        f"{what} on {seen.at(order['expired_at'])}: no scanner began it within {days} of {since}. "
        "A message about it, or reopening it, brings it back."
    )
    return Outlook(text, points)


def _completed(seen: _Look, points: list[str]) -> Outlook:
    ruling = judge_works(seen.subject.order, seen.works, seen.rules, seen.now).ruling
    if ruling.route is not None:
        return Outlook("Closes within seconds.", points)
    done = [work for work in seen.works.values() if work.state is StepState.COMPLETED]
    if ruling.by_hand:
        return Outlook("Completed; a person closes it.", [*points, OTHER_PATIENT], asks=True)
    if ruling.ask:
        return Outlook(
            "Completed, not closed: a person is asked.", [*points, *reasons(done, seen.rules)], True
        )
    waits = waiting(done, seen.rules)
    if listed := [work.listed_at for work in waits if work.listed_at]:
        since, at = seen.at(min(listed)), seen.at(min(listed) + seen.rules.ask)
        points.append(f"waited for since {since}; if not all is here by {at}, a person is asked")
    if any(needs_person(work, seen.rules) for work in done):
        return Outlook("Completed; it does not close by itself: a person closes it.", points, True)
    if waits and not any(work.not_come for work in waits):
        text = "Completed; its images have come: it closes when they are this order's, and shown."
        return Outlook(text, points)
    return Outlook("Completed; it closes when its images are here.", points)


def _points(seen: _Look) -> list[str]:
    points = []
    for step in seen.subject.steps:
        work = seen.works.get(step["id"])
        if work is not None and (told := _step(seen, step, work)):
            points.append(f"step {step['sps_id']}: {told}")
    return points


def _step(seen: _Look, step: Row, work: Work) -> str:
    if work.state is StepState.COMPLETED:
        return _images(seen, step, work)
    if work.state in WAITING:
        hidden = _hidden(step) if work.image_at is None else ""
        return hidden or _silence(seen, work) or "waits for its scanner to begin (MPPS)"
    if work.state in (StepState.CANCELED, StepState.DISCONTINUED):
        return f"{spoken(work.state)}: nothing is waited for"
    if work.running:
        return "begun: waits for its scanner to say that it has ended (MPPS)"
    return _silence(seen, work) or "begun: waits for a report of its end"


def _hidden(step: Row) -> str:
    if step["expired"]:
        return "expired: no scanner is shown it"
    is_held = step["state"] == StepState.HELD
    return "on hold: no scanner is shown it until the RIS releases it" if is_held else ""


def _silence(seen: _Look, work: Work) -> str:
    """Tell what is waited for from a scanner that sends no MPPS; "": it is none."""
    quiet = several(int(seen.rules.quiet.total_seconds() // 60), "minute")
    if at := quiet_at(work, seen.rules):
        return f"its scanner sends no MPPS: it ends at {seen.at(at)}, if no further image comes"
    if work.silent and not work.reported and goes_elsewhere(work, seen.rules):
        return (
            "its scanner sends no MPPS, and its images elsewhere: it ends when its sender says so"
        )
    if work.silent and not work.reported:
        return f"its scanner sends no MPPS: it ends when its images have been quiet for {quiet}"
    return ""


def _images(seen: _Look, step: Row, work: Work) -> str:
    if goes_elsewhere(work, seen.rules):
        return f"completed, and its images go to another archive: {_who_says(work)}"
    if not work.reported:
        told = _silence(seen, work)
        return told or "completed without an MPPS, so nothing tells which images it has"
    if work.running:
        which = "another" if work.listed_at else "an"
        return f"completed, but {which} MPPS of it is still in progress"
    if not work.listed:
        return "its MPPS listed no images, so nothing tells when all are here"
    if not work.missing:
        all_ = "the one image" if work.listed == 1 else f"all {work.listed:,} images"
        return f"{all_} that its MPPS listed {'is' if work.listed == 1 else 'are'} here"
    here = f"{work.listed - work.not_come:,} of {work.listed:,} listed images are here"
    return "; ".join([here, *_why(work), *_which(seen.missing.get(step["id"], {}))])


def _who_says(work: Work) -> str:
    says = "the profile of its sender, or the site, says so"
    return says if work.elsewhere is None else "its scanner is one whose images do (close_images)"


def _why(work: Work) -> list[str]:
    aside = several(work.quarantined, "image")
    elsewhere = several(work.unlinked, "image")
    return [
        *([f"{aside} in quarantine as the scanner sent them"] if work.quarantined else []),
        *([f"{elsewhere} in a study that is not linked with this order"] if work.unlinked else []),
    ]


def _which(series: dict[str, int]) -> list[str]:
    named = [
        f"{several(count, 'image')} of series {uid or '(unnamed)'} not received"
        for uid, count in sorted(series.items())[:_MOST_SERIES]
    ]
    more = len(series) - len(named)
    return [*named, f"and of {more} more series"] if more > 0 else named


def is_closable(order: Row) -> bool:
    """Tell whether a person may close an order."""
    return bool(order["status"] == OrderState.COMPLETED)
