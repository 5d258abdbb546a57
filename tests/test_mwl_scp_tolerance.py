"""What is put right in an identifier can be read, whatever was sent."""

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mwl import matching
from mwl.config import DeviceWorklist, Tolerated
from mwl.dataset import Element
from mwl.scp.tolerance import put_right

START_DATE, START_TIME, PATIENT_NAME, STEPS = 0x00400002, 0x00400003, 0x00100010, 0x00400100
EVERYTHING = DeviceWorklist(tolerates=get_args(Tolerated))
texts = st.text(alphabet="0123456789-/.:*?\\ ,TZa\0é", max_size=24)


def right(tag, vr, value, shown=EVERYTHING):
    return put_right({tag: Element(tag, vr, value)}, shown)[tag].value


@given(texts)
@settings(max_examples=150)
def test_days_and_times_can_be_read_whatever_was_sent(text):
    value = text.encode("latin-1")
    matching.dates(right(START_DATE, "DA", value).decode(), "")
    matching.times(right(START_TIME, "TM", value).decode(), "")


@given(st.binary(max_size=40))
@settings(max_examples=100)
def test_a_name_is_kept_but_for_asterisks(value):
    told = right(PATIENT_NAME, "PN", value)
    assert _letters(told) == _letters(value)


def _letters(name):
    return name.translate(None, b"* ")


@pytest.mark.parametrize("value", ["20300102", "20300102-", "-20300102", "20300102-20300103"])
def test_what_is_right_stays_as_it_is(value):
    assert right(START_DATE, "DA", value.encode()).decode() == value
    assert right(START_DATE, "DA", b"2030-01-02", DeviceWorklist()) == b"2030-01-02"


@pytest.mark.parametrize("value", ["0930", "093000-", "-0930", "0930-1800", "18-06"])
def test_so_do_times(value):
    assert right(START_TIME, "TM", value.encode()).decode() == value


def test_keys_are_put_right_in_items_too():
    item = {START_DATE: Element(START_DATE, "DA", b"2030/01/02")}
    keys = {STEPS: Element(STEPS, "SQ", items=(item,))}
    (there,) = put_right(keys, EVERYTHING)[STEPS].items
    assert there[START_DATE].value == b"20300102"
