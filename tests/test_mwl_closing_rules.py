"""When orders end, as values: every state of a step and an order against every rule."""

from datetime import UTC, datetime, timedelta

import pytest

from mwl.closing_rules import Plan, Rules, Ruling, Work, ends_by_silence, expires, rule
from mwl.orders import FINAL, WAITING, Action, OrderState, StepState, derive, transition
from mwl.performed import Route, Said, step_after

NOW = datetime(2030, 1, 2, 12, 0, tzinfo=UTC)
HERE = Rules(
    elsewhere=False,
    ask=timedelta(hours=24),
    quiet=timedelta(minutes=120),
    expire=timedelta(days=30),
)
ELSEWHERE = Rules(elsewhere=True, ask=HERE.ask, quiet=HERE.quiet, expire=HERE.expire)


def minutes(number):
    return NOW - timedelta(minutes=number)


def work(state=StepState.COMPLETED, **known):
    return Work(state, **{"state_at": minutes(10), **known})


def listed(number, missing=0, ended=10, **known):
    return work(reported=True, listed=number, missing=missing, listed_at=minutes(ended), **known)


def imaged(ago, state=StepState.COMPLETED, **known):
    return work(state, silent=True, image_at=minutes(ago), **known)


HERE_CASES = {
    "all that is listed is here": ([listed(3)], Route.ARCHIVED),
    "one is missing": ([listed(3, missing=1)], None),
    "all are missing": ([listed(3, missing=3)], None),
    "none is listed": ([listed(0)], None),
    "an MPPS goes on": ([listed(3, running=True)], None),
    "no MPPS, by the RIS": ([work()], None),
    "no MPPS, quiet": ([imaged(120)], Route.QUIET),
    "no MPPS, not quiet yet": ([imaged(119)], None),
    "no MPPS, no image": ([work(silent=True)], None),
    "an MPPS outranks silence": ([imaged(500, reported=True)], None),
    "an MPPS that lists, of a scanner that should not": ([listed(2, silent=True)], Route.ARCHIVED),
    "two, both here": ([listed(3), listed(2)], Route.ARCHIVED),
    "two, one misses": ([listed(3), listed(2, missing=1)], None),
    "two, one lists none": ([listed(3), listed(0)], None),
    "one by MPPS, one by silence": ([listed(3), imaged(200)], Route.QUIET),
    "one by MPPS, one not quiet": ([listed(3), imaged(20)], None),
    "the other was discontinued": (
        [listed(3), work(StepState.DISCONTINUED, reported=True)],
        Route.ARCHIVED,
    ),
    "the other was cancelled": ([listed(3), work(StepState.CANCELED)], Route.ARCHIVED),
}


@pytest.mark.parametrize(("works", "route"), HERE_CASES.values(), ids=list(HERE_CASES))
def test_a_completed_order_closes_where_the_rule_holds_of_each_completed_step(works, route):
    assert rule(OrderState.COMPLETED, works, NOW, HERE).route is route
    # Where images are another archive's, COMPLETED is enough.
    assert rule(OrderState.COMPLETED, works, NOW, ELSEWHERE).route is Route.ELSEWHERE


@pytest.mark.parametrize("rules", [HERE, ELSEWHERE])
@pytest.mark.parametrize("state", sorted(set(OrderState) - {OrderState.COMPLETED}))
def test_only_a_completed_order_closes(state, rules):
    ruling = rule(state, [listed(3)], NOW, rules)
    assert ruling == Ruling()


@pytest.mark.parametrize("state", list(StepState))
def test_silence_ends_every_step_that_has_not_ended(state):
    assert ends_by_silence(imaged(120, state), NOW, HERE) is (state not in FINAL)
    assert not ends_by_silence(imaged(119, state), NOW, HERE)
    assert not ends_by_silence(imaged(120, state, reported=True), NOW, HERE)
    assert not ends_by_silence(work(state, silent=True), NOW, HERE)


@pytest.mark.parametrize(("ended", "asks"), [(10, False), (24 * 60 - 1, False), (24 * 60, True)])
def test_what_was_listed_and_has_not_come_is_asked_for_in_time(ended, asks):
    assert rule(OrderState.COMPLETED, [listed(3, 1, ended)], NOW, HERE).ask is asks
    assert not rule(OrderState.COMPLETED, [listed(0, 0, ended)], NOW, HERE).ask


@pytest.mark.parametrize(
    ("works", "after"),
    [
        ([listed(3, 1, ended=0)], timedelta(seconds=2)),
        ([listed(3, 1, ended=60)], timedelta(minutes=1)),
        ([listed(3, 1, ended=60), listed(3, 1, ended=0)], timedelta(seconds=2)),
        ([listed(3, 1, ended=90 * 24 * 60)], timedelta(hours=12)),
        ([imaged(20)], timedelta(minutes=100)),
        ([listed(3), imaged(20)], timedelta(minutes=100)),
        ([work(silent=True, state_at=minutes(60))], timedelta(minutes=1)),
        ([listed(0)], None),
        ([work()], None),
        ([listed(3, running=True, state_at=minutes(60))], timedelta(minutes=1)),
    ],
)
def test_a_completed_order_is_looked_at_again_while_something_may_come(works, after):
    expected = None if after is None else NOW + after
    assert rule(OrderState.COMPLETED, works, NOW, HERE).check_at == expected


@pytest.mark.parametrize(
    "state", [OrderState.SCHEDULED, OrderState.IN_PROGRESS, OrderState.EXPIRED]
)
def test_an_open_order_is_looked_at_when_its_study_may_be_quiet(state):
    started = StepState.STARTED
    works = [imaged(20, started), imaged(50, started), work(started, reported=True)]
    assert rule(state, works, NOW, HERE) == Ruling(check_at=NOW + timedelta(minutes=70))
    assert rule(state, [work(started)], NOW, HERE) == Ruling()
    assert rule(state, [work(started, silent=True)], NOW, HERE) == Ruling()


# ---- expiry ----------------------------------------------------------------------------------


def days(number):
    return NOW - timedelta(days=number)


@pytest.mark.parametrize("other", list(StepState))
@pytest.mark.parametrize("step", list(StepState))
def test_only_what_was_never_begun_expires_and_only_if_nothing_is_under_way(step, other):
    under_way = {StepState.STARTED, StepState.DEPARTED}
    expected = bool({step, other} & WAITING) and not {step, other} & under_way
    assert expires([Plan(step, days(31)), Plan(other, days(31))], None, NOW, HERE) is expected


@pytest.mark.parametrize(
    ("starts", "revived", "expected"),
    [
        ([30], None, True),
        ([29], None, False),
        ([40, 29], None, False),  # its last start counts
        ([-5], None, False),
        ([60], days(31), True),
        ([60], days(29), False),  # brought back, and its days count anew
        ([29], days(31), False),
        ([], None, False),
    ],
)
def test_steps_expire_after_the_last_scheduled_start(starts, revived, expected):
    plans = [Plan(StepState.SCHEDULED, days(number)) for number in starts]
    assert expires(plans, revived, NOW, HERE) is expected


def test_the_start_of_a_step_that_has_ended_does_not_count():
    plans = [Plan(StepState.SCHEDULED, days(31)), Plan(StepState.CANCELED, days(1))]
    assert expires(plans, None, NOW, HERE)


# ---- nothing goes backwards -------------------------------------------------------------------

SETTLED = {
    OrderState.COMPLETED,
    OrderState.CLOSED,
    OrderState.DISCONTINUED,
    OrderState.CANCELED,
}


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("state", list(StepState))
@pytest.mark.parametrize("action", list(Action))
def test_no_message_moves_an_order_that_has_ended(action, state, closed):
    before = derive([state], closed=closed)
    after = derive([transition(action, state).state], closed=closed)
    assert before not in SETTLED or after is before


@pytest.mark.parametrize("before", [(), (Said.COMPLETED,), (Said.DISCONTINUED,)])
@pytest.mark.parametrize("said", list(Said))
def test_no_mpps_moves_an_order_that_is_closed(said, before):
    state = step_after(StepState.COMPLETED, said, before).state
    assert derive([state], closed=True) is OrderState.CLOSED


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("state", sorted(WAITING))
def test_a_message_leaves_nothing_between_expired_and_scheduled(action, state):
    after = transition(action, state).state
    expected = derive([after])
    if expected is OrderState.SCHEDULED:
        expected = OrderState.EXPIRED  # until whoever applies the message takes the mark away
    assert derive([after], expired=True) is expected
