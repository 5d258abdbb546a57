"""The rules by which scanners move steps, and what is told of orders: every state × event."""

from itertools import combinations_with_replacement, product

import pytest

from mwl.orders import FINAL, WAITING, OrderState, StepState
from mwl.performed import PerformedState, Said, news, said, step_after

BEGUN, DONE, BROKEN, WRONG = Said.BEGUN, Said.COMPLETED, Said.DISCONTINUED, Said.WRONG_ENTRY
S = StepState

# What a step becomes by its only MPPS: from each state, by each event.
ALONE = {
    S.HELD: (S.STARTED, S.COMPLETED, S.DISCONTINUED, S.HELD),
    S.SCHEDULED: (S.STARTED, S.COMPLETED, S.DISCONTINUED, S.SCHEDULED),
    S.ARRIVED: (S.STARTED, S.COMPLETED, S.DISCONTINUED, S.ARRIVED),
    S.READY: (S.STARTED, S.COMPLETED, S.DISCONTINUED, S.READY),
    S.STARTED: (S.STARTED, S.COMPLETED, S.DISCONTINUED, S.SCHEDULED),
    S.DEPARTED: (S.DEPARTED, S.COMPLETED, S.DISCONTINUED, S.SCHEDULED),
    S.COMPLETED: (S.COMPLETED,) * 4,
    S.DISCONTINUED: (S.DISCONTINUED,) * 4,
    S.CANCELED: (S.CANCELED,) * 4,
}
# Where a person should see it: what nobody expects of a step in this state.
FLAGGED = {
    (S.HELD, BEGUN),
    *product(FINAL, [BEGUN]),
    *product([S.CANCELED], [DONE, BROKEN]),
    *product([S.COMPLETED], [BROKEN, WRONG]),
    (S.DISCONTINUED, DONE),
}


@pytest.mark.parametrize(("state", "event"), list(product(StepState, Said)))
def test_every_event_in_every_state(state, event):
    after = step_after(state, event, [])
    assert after.state is ALONE[state][list(Said).index(event)]
    assert bool(after.flag) == ((state, event) in FLAGGED)


@pytest.mark.parametrize(
    ("now", "others", "state"),
    [
        (DONE, [BEGUN], S.STARTED),
        (BROKEN, [BEGUN], S.STARTED),
        (WRONG, [BEGUN], S.STARTED),
        (BROKEN, [DONE], S.COMPLETED),
        (DONE, [BROKEN], S.COMPLETED),
        (WRONG, [DONE], S.COMPLETED),
        (WRONG, [BROKEN], S.DISCONTINUED),
        (BROKEN, [WRONG], S.DISCONTINUED),
        (WRONG, [WRONG], S.SCHEDULED),
    ],
)
def test_a_started_step_is_what_all_its_mpps_say(now, others, state):
    assert step_after(S.STARTED, now, others).state is state


def test_only_a_scanner_completes_what_a_scanner_discontinued():
    assert step_after(S.DISCONTINUED, DONE, [BROKEN]).state is S.COMPLETED
    assert step_after(S.DISCONTINUED, DONE, []).state is S.DISCONTINUED
    assert step_after(S.DISCONTINUED, DONE, [WRONG]).state is S.DISCONTINUED
    assert step_after(S.CANCELED, DONE, [BROKEN]).state is S.CANCELED


def test_what_another_mpps_completed_needs_no_flag():
    assert step_after(S.COMPLETED, BROKEN, [DONE]).flag == ""
    assert step_after(S.COMPLETED, WRONG, [DONE]).flag == ""


def others_of_any_kind():
    for count in range(3):
        yield from combinations_with_replacement(Said, count)


@pytest.mark.parametrize(("state", "event"), list(product(StepState, Said)))
def test_nothing_goes_back_from_a_final_state(state, event):
    for others in others_of_any_kind():
        after = step_after(state, event, others).state
        if state in FINAL:
            assert after in FINAL
            assert after is state or (state, after) == (S.DISCONTINUED, S.COMPLETED)
        elif after in WAITING and after is not state:
            # Back on the list: only where all that was done was the wrong entry.
            assert {event, *others} == {WRONG}


@pytest.mark.parametrize(
    ("state", "reason", "meaning"),
    [
        ("IN PROGRESS", "", BEGUN),
        ("IN PROGRESS", "110514^DCM^", BEGUN),
        ("COMPLETED", "110514^DCM^", DONE),
        ("DISCONTINUED", "", BROKEN),
        ("DISCONTINUED", "110500^DCM^Doctor canceled procedure", BROKEN),
        ("DISCONTINUED", "110514^DCM^Incorrect worklist entry selected", WRONG),
        ("DISCONTINUED", "110514", WRONG),
        ("DISCONTINUED", "110514^99LOCAL^Something else", BROKEN),
    ],
)
def test_what_an_mpps_says(state, reason, meaning):
    assert said(PerformedState(state), reason) is meaning


O = OrderState  # noqa: E741 - a table reads better so
TOLD = {
    (O.SCHEDULED, O.IN_PROGRESS): ("IP",),
    (O.SCHEDULED, O.COMPLETED): ("IP", "CM"),
    (O.SCHEDULED, O.CLOSED): ("IP", "CM"),
    (O.SCHEDULED, O.DISCONTINUED): ("IP", "DC"),
    (O.EXPIRED, O.IN_PROGRESS): ("IP",),
    (O.EXPIRED, O.COMPLETED): ("IP", "CM"),
    (O.EXPIRED, O.CLOSED): ("IP", "CM"),
    (O.EXPIRED, O.DISCONTINUED): ("IP", "DC"),
    (O.IN_PROGRESS, O.COMPLETED): ("CM",),
    (O.IN_PROGRESS, O.CLOSED): ("CM",),
    (O.IN_PROGRESS, O.DISCONTINUED): ("DC",),
    (O.DISCONTINUED, O.IN_PROGRESS): ("IP",),
    (O.DISCONTINUED, O.COMPLETED): ("CM",),
    (O.DISCONTINUED, O.CLOSED): ("CM",),
    (O.CANCELED, O.IN_PROGRESS): ("IP",),
    (O.CANCELED, O.COMPLETED): ("IP", "CM"),
    (O.CANCELED, O.CLOSED): ("IP", "CM"),
    (O.CANCELED, O.DISCONTINUED): ("IP", "DC"),
    (O.COMPLETED, O.IN_PROGRESS): ("IP",),
    (O.CLOSED, O.IN_PROGRESS): ("IP",),
}


@pytest.mark.parametrize(("before", "after"), list(product(OrderState, OrderState)))
def test_what_is_told_of_an_order(before, after):
    assert news(before, after) == TOLD.get((before, after), ())
