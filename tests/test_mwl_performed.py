"""The rules by which scanners move steps, and what is told of orders: every state × event."""

from itertools import combinations_with_replacement, product

import pytest

from mwl.orders import FINAL, WAITING, OrderState, StepState
from mwl.performed import Said, Stated, news, said, step_after

BEGUN, DONE, BROKEN, GONE, BACK = Said
S = StepState

# What a step becomes by its only MPPS: from each state, by each event.
ALONE = {
    S.HELD: (S.STARTED, S.COMPLETED, S.DISCONTINUED, S.CANCELED, S.HELD),
    S.SCHEDULED: (S.STARTED, S.COMPLETED, S.DISCONTINUED, S.CANCELED, S.SCHEDULED),
    S.ARRIVED: (S.STARTED, S.COMPLETED, S.DISCONTINUED, S.CANCELED, S.ARRIVED),
    S.READY: (S.STARTED, S.COMPLETED, S.DISCONTINUED, S.CANCELED, S.READY),
    S.STARTED: (S.STARTED, S.COMPLETED, S.DISCONTINUED, S.CANCELED, S.SCHEDULED),
    S.DEPARTED: (S.DEPARTED, S.COMPLETED, S.DISCONTINUED, S.CANCELED, S.SCHEDULED),
    S.COMPLETED: (S.COMPLETED,) * 5,
    S.DISCONTINUED: (S.DISCONTINUED,) * 5,
    S.CANCELED: (S.CANCELED,) * 5,
}
# Where a person should see it: what nobody expects of a step in this state.
FLAGGED = {
    (S.HELD, BEGUN),
    *product(FINAL, [BEGUN]),
    *product([S.CANCELED], [DONE, BROKEN]),
    *product([S.COMPLETED], [BROKEN, GONE, BACK]),
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
        (BACK, [BEGUN], S.STARTED),
        (BROKEN, [DONE], S.COMPLETED),
        (DONE, [BROKEN], S.COMPLETED),
        (BACK, [DONE], S.COMPLETED),
        (BACK, [BROKEN], S.DISCONTINUED),
        (BROKEN, [BACK], S.DISCONTINUED),
        (BACK, [BACK], S.SCHEDULED),
        (GONE, [BEGUN], S.STARTED),
        (GONE, [DONE], S.COMPLETED),
        (GONE, [BROKEN], S.DISCONTINUED),
        (GONE, [BACK], S.CANCELED),
        (BACK, [GONE], S.CANCELED),
    ],
)
def test_a_started_step_is_what_all_its_mpps_say(now, others, state):
    assert step_after(S.STARTED, now, others).state is state


def test_only_a_scanner_completes_what_a_scanner_gave_up():
    assert step_after(S.DISCONTINUED, DONE, [BROKEN]).state is S.COMPLETED
    assert step_after(S.DISCONTINUED, DONE, []).state is S.DISCONTINUED
    assert step_after(S.DISCONTINUED, DONE, [BACK]).state is S.DISCONTINUED
    assert step_after(S.CANCELED, DONE, [BROKEN]).state is S.CANCELED
    assert step_after(S.CANCELED, DONE, [GONE]).state is S.COMPLETED


def test_what_another_mpps_completed_needs_no_flag():
    assert step_after(S.COMPLETED, BROKEN, [DONE]).flag == ""
    assert step_after(S.COMPLETED, BACK, [DONE]).flag == ""


def others_of_any_kind():
    for count in range(3):
        yield from combinations_with_replacement(Said, count)


@pytest.mark.parametrize(("state", "event"), list(product(StepState, Said)))
def test_nothing_goes_back_from_a_final_state(state, event):
    for others in others_of_any_kind():
        after = step_after(state, event, others).state
        if state in FINAL:
            assert after in FINAL
            given_up = {S.DISCONTINUED: BROKEN, S.CANCELED: GONE}.get(state)
            assert after is state or (after is S.COMPLETED and given_up in others)
        elif after in WAITING and after is not state:
            # Back on the list: only where all that was done was taken back.
            assert {event, *others} == {BACK}


@pytest.mark.parametrize(
    ("state", "reason", "meaning"),
    [
        ("IN PROGRESS", "", BEGUN),
        ("IN PROGRESS", "110514^DCM^", BEGUN),
        ("COMPLETED", "110514^DCM^", DONE),
        ("DISCONTINUED", "", BROKEN),
        ("DISCONTINUED", "110500^DCM^Doctor canceled procedure", BROKEN),
        ("DISCONTINUED", "110514^DCM^Incorrect worklist entry selected", BACK),
        ("DISCONTINUED", "110514", BACK),
        ("DISCONTINUED", "110514^99LOCAL^Something else", BROKEN),
    ],
)
def test_what_an_mpps_says(state, reason, meaning):
    assert said(Stated(state, reason)) is meaning


@pytest.mark.parametrize(
    ("reason", "meaning"),
    [
        ("", GONE),
        ("110500^DCM^Doctor canceled procedure", GONE),
        ("110500^^", GONE),
        ("110500^99LOCAL^", BROKEN),
        ("X1^99LOCAL^Room taken", BACK),
        ("X1^99OTHER^", BROKEN),
        ("110514^DCM^Incorrect worklist entry selected", BROKEN),
    ],
)
def test_a_reason_is_read_as_the_sender_of_the_order_reads_it(reason, meaning):
    reasons = {"-": GONE, "110500": GONE, "X1^99LOCAL": BACK, "*": BROKEN}
    assert said(Stated("DISCONTINUED", reason), reasons) is meaning
    assert said(Stated("IN PROGRESS", reason), reasons) is BEGUN
    assert said(Stated("COMPLETED", reason), reasons) is DONE


@pytest.mark.parametrize(
    ("state", "reason", "is_wrong"),
    [
        ("DISCONTINUED", "110514^DCM^Incorrect worklist entry selected", True),
        ("DISCONTINUED", "110514^^", True),
        ("DISCONTINUED", "110514^99LOCAL^", False),
        ("DISCONTINUED", "", False),
        ("COMPLETED", "110514^DCM^", False),
        ("IN PROGRESS", "110514^DCM^", False),
    ],
)
def test_whose_images_show_somebody_else(state, reason, is_wrong):
    assert Stated(state, reason).is_wrong_entry is is_wrong


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


def test_who_cancels_an_order_knows_unless_it_was_a_scanner():
    assert news(O.IN_PROGRESS, O.CANCELED) == ()
    assert news(O.IN_PROGRESS, O.CANCELED, GONE) == ("CA",)
    assert news(O.EXPIRED, O.CANCELED, GONE) == ("IP", "CA")
    assert news(O.CANCELED, O.CANCELED, GONE) == ()
    assert news(O.IN_PROGRESS, O.CANCELED, BACK) == ()
