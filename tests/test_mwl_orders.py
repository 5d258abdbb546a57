"""The states of steps and orders: every action against every state."""

import pytest

from mwl.orders import FINAL, Action, OrderState, StepState, derive, is_left, transition

H, S, A, R = StepState.HELD, StepState.SCHEDULED, StepState.ARRIVED, StepState.READY
ST, DP = StepState.STARTED, StepState.DEPARTED
CO, DI, CA = StepState.COMPLETED, StepState.DISCONTINUED, StepState.CANCELED

# What each action makes of each state; "!" where a person must see it.
BEGINNING = [H, S, A, R, ST, DP, CO, DI, CA]
TABLE = {
    Action.CREATE: [H, S, A, R, ST, DP, CO, DI, CA],
    Action.UPDATE: [H, S, A, R, ST, DP, CO, DI, CA],
    Action.NOTE: [H, S, A, R, ST, DP, CO, DI, CA],
    Action.CANCEL: [CA, CA, CA, CA, (ST, "!"), (DP, "!"), (CO, "!"), (DI, "!"), CA],
    Action.CANCELED: [CA, CA, CA, CA, CA, CA, (CO, "!"), (DI, "!"), CA],
    Action.DISCONTINUE: [DI, DI, DI, DI, DI, DI, (CO, "!"), DI, (CA, "!")],
    Action.HOLD: [H, H, H, H, (ST, "!"), (DP, "!"), (CO, "!"), (DI, "!"), (CA, "!")],
    Action.RELEASE: [S, S, A, R, (ST, "!"), (DP, "!"), (CO, "!"), (DI, "!"), (CA, "!")],
    Action.START: [ST, ST, ST, ST, ST, DP, (CO, "!"), (DI, "!"), (CA, "!")],
    Action.ARRIVE: [(H, "!"), A, A, R, ST, DP, CO, DI, CA],
    Action.READY: [(H, "!"), R, R, R, ST, DP, CO, DI, CA],
    Action.DEPART: [(H, "!"), (S, "!"), (A, "!"), (R, "!"), DP, DP, CO, DI, CA],
    Action.COMPLETE: [CO, CO, CO, CO, CO, CO, CO, (DI, "!"), (CA, "!")],
}
CELLS = [
    (action, state, cell if isinstance(cell, tuple) else (cell, ""))
    for action, row in TABLE.items()
    for state, cell in zip(BEGINNING, row, strict=True)
]


@pytest.mark.parametrize(("action", "state", "expected"), CELLS)
def test_an_action_leads_from_each_state_where_the_table_says(action, state, expected):
    moved = transition(action, state)
    assert (moved.state, bool(moved.flag)) == (expected[0], bool(expected[1]))


def test_the_table_covers_every_action_and_state():
    assert set(TABLE) == set(Action)
    assert set(BEGINNING) == set(StepState)


@pytest.mark.parametrize("state", sorted(FINAL))
def test_no_action_leaves_a_final_state(state):
    assert {transition(action, state).state for action in Action} == {state}


@pytest.mark.parametrize(
    ("steps", "order"),
    [
        ([], OrderState.SCHEDULED),
        ([S], OrderState.SCHEDULED),
        ([H], OrderState.SCHEDULED),
        ([A, R], OrderState.SCHEDULED),
        ([S, ST], OrderState.IN_PROGRESS),
        ([DP], OrderState.IN_PROGRESS),
        ([S, CO], OrderState.IN_PROGRESS),
        ([S, CA], OrderState.SCHEDULED),
        ([CO], OrderState.COMPLETED),
        ([CO, DI, CA], OrderState.COMPLETED),
        ([DI, CA], OrderState.DISCONTINUED),
        ([CA, CA], OrderState.CANCELED),
    ],
)
def test_an_order_is_what_its_steps_make_of_it(steps, order):
    assert derive(steps) is order


@pytest.mark.parametrize("first", list(StepState))
@pytest.mark.parametrize("second", list(StepState))
def test_the_marks_change_nothing_but_what_they_rest_on(first, second):
    steps = [first, second]
    plain = derive(steps)
    closed = OrderState.CLOSED if plain is OrderState.COMPLETED else plain
    expired = OrderState.EXPIRED if plain is OrderState.SCHEDULED else plain
    assert derive(steps, closed=True) is closed
    assert derive(steps, expired=True) is expired
    assert plain not in {OrderState.CLOSED, OrderState.EXPIRED}


def test_new_work_takes_an_order_out_of_closed():
    assert derive([CO, S], closed=True) is OrderState.IN_PROGRESS
    assert derive([S, ST], expired=True) is OrderState.IN_PROGRESS


def test_an_order_that_was_begun_is_not_scheduled_again_by_a_discontinued_step():
    assert derive([DI, S]) is OrderState.SCHEDULED  # the RIS may have said so beforehand
    assert derive([DI, S], begun=True) is OrderState.IN_PROGRESS
    assert derive([DI, S], begun=True, expired=True) is OrderState.IN_PROGRESS
    # The wrong entry was selected, or a person reopens it: it is to be done as if never begun.
    assert derive([S, S], begun=True) is OrderState.SCHEDULED


@pytest.mark.parametrize(
    ("steps", "left"),
    [([], False), ([S], True), ([H, CA], True), ([S, CO], True), ([S, ST], False), ([CO], False)],
)
def test_what_is_left_of_an_order_has_not_begun(steps, left):
    assert is_left(steps) is left
