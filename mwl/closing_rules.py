"""How orders end: when one closes, when a quiet study ends a step, when one expires; pure.

The rules that this module bears:

1. Only a COMPLETED order closes, and never by itself where an MPPS that completed a step names
   another patient: then a person closes it.
2. The rule must hold of each COMPLETED step:
   - its images go to another archive: nothing more is waited for. Where they go, the scanner
     that made them says, being the one that sends them (of a step without MPPS: those of
     its scanners that send none); else the profile that the order was read by; else the site.
   - its MPPS have listed instances, each is in the archive, and none is IN PROGRESS; what a
     DISCONTINUED one lists binds nobody. None listed: it never closes by itself. In the
     archive means: served, in a study that is linked with what the MPPS was made for, and
     nothing that this scanner sent under its UID since has been quarantined.
   - or it has no MPPS at all, its scanner is one that sends none (`mpps = false`), and the
     images from there have been quiet for `quiet`. An MPPS outranks this.
3. A step that has not ended is COMPLETED by such a quiet study as well.
4. Images that were listed and are not there after `ask` are a person's to ask for, once
   for each reason that they are not.
5. Steps that were never begun expire together: `expire` after the last of their scheduled
   starts, or after they were brought back from that, unless a step of their order is under
   way. They hide, and nobody is told. If no other step was begun, the order is EXPIRED.
6. CLOSED and EXPIRED are not gone back from because something old is heard again: what comes
   late is added to the story.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mwl.orders import FINAL, WAITING, OrderState, StepState, is_left
from mwl.performed import Route

# What is waited for is looked at again after a part of the time that it has been waited for:
# soon after the scan every few seconds, a day later every quarter of an hour.
_PART_OF_WAIT = 60
_SOONEST, _LATEST = timedelta(seconds=2), timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Rules:
    """The site's choices: `[close]` of the settings, and of the order's profile."""

    elsewhere: bool  # images go to another archive, if their scanner says nothing else
    ask: timedelta
    quiet: timedelta
    expire: timedelta


@dataclass(frozen=True, slots=True)
class Work:
    """What is known of a scheduled step's performance and its images."""

    state: StepState
    reported: bool = False  # some MPPS is linked with it
    other_patient: bool = False  # a COMPLETED one of these names another patient
    running: bool = False  # one of these is IN PROGRESS
    elsewhere: bool | None = None  # where its scanner's images go; None: it says nothing of that
    listed: int = 0  # instances that its COMPLETED MPPS list
    missing: int = 0  # those of them that are not in the archive, whyever
    quarantined: int = 0  # of these: what their scanner sent is quarantined
    unlinked: int = 0  # of these: they are in a study that is linked with something else
    listed_at: datetime | None = None  # when the last of these MPPS ended
    silent: bool = False  # its scanner sends no MPPS
    image_at: datetime | None = None  # the newest image of such a scanner
    state_at: datetime | None = None  # since when it is in this state

    @property
    def not_come(self) -> int:
        """How many of `missing` have not come at all."""
        return self.missing - self.quarantined - self.unlinked


@dataclass(frozen=True, slots=True)
class Ruling:
    """What is to be done with an order, and when to look at it again (None: no need)."""

    route: Route | None = None
    ask: bool = False
    by_hand: bool = False  # it doesn't close but by a person
    check_at: datetime | None = None


OTHER_PATIENT = (
    "it does not close by itself, as the MPPS names another patient: "
    "look at its images, then `mwl worklist close`"
)
NOT_COME = "images that the scanner listed have not come: ask there"
QUARANTINED = (
    "images that the scanner listed are quarantined as it sent them: "
    "see `mwl study list --quarantined`"
)
UNLINKED = (
    "images that the scanner listed are in a study that is not linked with the order: "
    "see `mwl study link`"
)


def reasons(works: Sequence[Work], rules: Rules) -> list[str]:
    """Tell a person why images that were listed are not there."""
    waits = waiting(works, rules)
    found = {
        NOT_COME: any(work.not_come for work in waits),
        QUARANTINED: any(w.quarantined for w in waits),
        UNLINKED: any(w.unlinked for w in waits),
    }
    return [reason for reason, is_so in found.items() if is_so]


def waiting(works: Sequence[Work], rules: Rules) -> list[Work]:
    """List the COMPLETED steps of which listed images are missed: none that go elsewhere."""
    done = [work for work in works if work.state is StepState.COMPLETED and work.missing]
    return [work for work in done if not goes_elsewhere(work, rules)]


def is_quiet(work: Work, now: datetime, rules: Rules) -> bool:
    """Tell whether a step's images have all come, as far as silence can say."""
    at = quiet_at(work, rules)
    return at is not None and at <= now


def quiet_at(work: Work, rules: Rules) -> datetime | None:
    """Tell when the images of a step will have been quiet for long; None: silence says nothing."""
    if work.reported or work.image_at is None:
        return None
    return work.image_at + rules.quiet


def goes_elsewhere(work: Work, rules: Rules) -> bool:
    """Tell whether the images of a step go to another archive."""
    return rules.elsewhere if work.elsewhere is None else work.elsewhere


def needs_person(work: Work, rules: Rules) -> bool:
    """Tell of a COMPLETED step that nothing which may still come lets its order close."""
    if goes_elsewhere(work, rules):
        return False
    if work.reported:
        return not work.listed and not work.running
    return not work.silent and work.image_at is None


def ends_by_silence(work: Work, now: datetime, rules: Rules) -> bool:
    """Tell whether a step is to be COMPLETED since its study is quiet."""
    return work.state not in FINAL and is_quiet(work, now, rules)


def rule(state: OrderState, works: Sequence[Work], now: datetime, rules: Rules) -> Ruling:
    """Judge an order in `state` by the work on its steps; quiet ones have been ended."""
    if state is OrderState.COMPLETED:
        return _rule_completed([w for w in works if w.state is StepState.COMPLETED], now, rules)
    if state in (OrderState.SCHEDULED, OrderState.IN_PROGRESS, OrderState.EXPIRED):
        looks = [
            _next_silence(work, now, rules)
            for work in works
            if work.state not in FINAL and _is_silent(work) and work.image_at
        ]
        return Ruling(check_at=min(looks, default=None))
    return Ruling()


def _rule_completed(works: Sequence[Work], now: datetime, rules: Rules) -> Ruling:
    by_hand = any(work.other_patient for work in works)
    routes = {_route(work, now, rules) for work in works}
    if None not in routes:
        # The weakest evidence names the route.
        weakest = next((route for route in _WEAKEST_FIRST if route in routes), None)
        return Ruling(None if by_hand else weakest, by_hand=by_hand)
    works = [work for work in works if not goes_elsewhere(work, rules)]
    waits = [now - work.listed_at for work in works if work.missing and work.listed_at]
    looks = [now + _pause(wait) for wait in waits]
    looks += [_next_silence(work, now, rules) for work in works if _is_silent(work)]
    looks += [now + _pause(now - (work.state_at or now)) for work in works if work.running]
    return Ruling(
        ask=any(wait >= rules.ask for wait in waits),
        by_hand=by_hand,
        check_at=min(looks, default=None),
    )


_WEAKEST_FIRST = (Route.ELSEWHERE, Route.QUIET, Route.ARCHIVED)


def _route(work: Work, now: datetime, rules: Rules) -> Route | None:
    """Tell by which rule a COMPLETED step lets its order close; None: not yet."""
    if goes_elsewhere(work, rules):
        return Route.ELSEWHERE
    if work.listed and not work.missing and not work.running:
        return Route.ARCHIVED
    return Route.QUIET if is_quiet(work, now, rules) else None


def _pause(waited: timedelta) -> timedelta:
    return min(max(waited / _PART_OF_WAIT, _SOONEST), _LATEST)


def _is_silent(work: Work) -> bool:
    return work.silent and not work.reported


def _next_silence(work: Work, now: datetime, rules: Rules) -> datetime:
    """Tell when to look again at a study that is silent, or will be: not before then."""
    if work.image_at is not None:
        return max(work.image_at + rules.quiet, now + _SOONEST)
    return now + _pause(now - (work.state_at or now))


@dataclass(frozen=True, slots=True)
class Plan:
    """When a scheduled step was to begin."""

    state: StepState
    start_at: datetime


def expires(
    plans: Sequence[Plan], revived_at: datetime | None, now: datetime, rules: Rules
) -> bool:
    """Tell whether what is left of an order has expired by `now`; `plans` are all its steps."""
    at = expires_at(plans, revived_at, rules)
    return at is not None and at <= now


def expires_at(plans: Sequence[Plan], revived_at: datetime | None, rules: Rules) -> datetime | None:
    """Tell when what is left of an order expires; None: nothing is left, or it is under way."""
    if not is_left(plan.state for plan in plans):
        return None
    starts = [plan.start_at for plan in plans if plan.state in WAITING]
    since = max(starts) if revived_at is None else max(*starts, revived_at)
    return since + rules.expire
