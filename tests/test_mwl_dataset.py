"""Identifiers as peers send them, and as nobody should."""

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from mwl.dataset import MAX_BYTES, MAX_DEPTH, MAX_ELEMENTS, Bounds, read
from mwl.errors import Reason, Rejected
from mwl.scp.attributes import vr_of
from tests.identifiers import element, encoded

UNDEFINED = 0xFFFFFFFF


def identifier(**keys):
    step = Dataset()
    step.Modality, step.ScheduledStationAETitle = "CT", ""
    dataset = Dataset()
    dataset.PatientName, dataset.StudyInstanceUID = "Doe*", "1.2.3"
    dataset.ScheduledProcedureStepSequence = Sequence([step])
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    return dataset


def refused(data, *, explicit=False):
    with pytest.raises(Rejected) as caught:
        read(data, explicit=explicit, vr_of=vr_of)
    return caught.value.faults[0].reason


@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize("undefined", [True, False])
def test_an_identifier_is_read_in_both_syntaxes_and_both_kinds_of_length(explicit, undefined):
    dataset = identifier()
    dataset["ScheduledProcedureStepSequence"].is_undefined_length = undefined
    dataset.ScheduledProcedureStepSequence[0].is_undefined_length_sequence_item = undefined
    keys = read(encoded(dataset, explicit=explicit), explicit=explicit, vr_of=vr_of)
    assert {tag: key.value for tag, key in keys.items()} == {
        0x00100010: b"Doe*",
        0x0020000D: b"1.2.3",
        0x00400100: b"",
    }
    (step,) = keys[0x00400100].items
    assert [(key.vr, key.value) for key in step.values()] == [("CS", b"CT"), ("AE", b"")]


def test_keys_come_by_tag_and_group_lengths_ask_for_nothing():
    data = element(0x00100020, b"P1") + element(0x00100000, b"\4\0\0\0") + element(0x00080050, b"")
    assert list(read(data, explicit=False, vr_of=vr_of)) == [0x00080050, 0x00100020]


def test_a_sequence_may_come_without_item_or_with_an_empty_one():
    none = read(element(0x00400100, b""), explicit=False, vr_of=vr_of)
    empty = read(element(0x00400100, element(0xFFFEE000, b"")), explicit=False, vr_of=vr_of)
    assert none[0x00400100].items == ()
    assert empty[0x00400100].items == ({},)


def test_un_of_undefined_length_holds_implicit_items():
    # PS3.5 6.2.2: whatever the transfer syntax is.
    item = element(0xFFFEE000, element(0x00080060, b"CT"), UNDEFINED) + element(0xFFFEE00D, b"")
    data = b"\x09\x00\x10\x10UN\0\0\xff\xff\xff\xff" + item + element(0xFFFEE0DD, b"")
    keys = read(data, explicit=True, vr_of=vr_of)
    assert keys[0x00091010].items[0][0x00080060].value == b"CT"


@pytest.mark.parametrize("explicit", [True, False])
def test_an_identifier_cut_anywhere_is_refused_or_ends_between_elements(explicit):
    data = encoded(identifier(), explicit=explicit)
    whole = read(data, explicit=explicit, vr_of=vr_of)
    for cut in range(len(data)):
        with suppress(Rejected):
            assert read(data[:cut], explicit=explicit, vr_of=vr_of).items() <= whole.items()


@pytest.mark.parametrize(
    "data",
    [
        element(0x00100010, b"Doe", 0xFFFFFFF0),
        element(0x00400100, element(0xFFFEE000, b"", 0xFFFFFFF0)),
        element(0x00400100, b"", UNDEFINED),
        element(0x00400100, element(0xFFFEE000, b"", UNDEFINED)),
        element(0x00400100, element(0x00100010, b"")),
        element(0xFFFEE000, b""),
        element(0xFFFEE0DD, b""),
    ],
)
def test_lengths_that_do_not_add_up_are_refused(data):
    assert refused(data) is Reason.MALFORMED


def test_an_element_without_a_vr_is_refused():
    assert refused(b"\x10\x00\x10\x00\0\0\0\0", explicit=True) is Reason.MALFORMED


def test_nesting_ends_at_a_depth_and_never_in_a_recursion_error():
    def nested(depth):
        data = b""
        for _ in range(depth):
            data = element(0x00400100, element(0xFFFEE000, data))
        return data

    def open_ended(depth):
        return element(0x00400100, element(0xFFFEE000, b"", UNDEFINED), UNDEFINED) * depth

    read(nested(MAX_DEPTH), explicit=False, vr_of=vr_of)
    for depth in (MAX_DEPTH + 1, 400, 10_000):
        assert refused(nested(depth)) is Reason.TOO_LONG
        assert refused(open_ended(depth)) is Reason.TOO_LONG


def test_more_elements_or_bytes_than_anybody_asks_with_are_refused():
    many = b"".join(element(0x00090000 + n, b"") for n in range(1, MAX_ELEMENTS + 2))
    assert refused(many) is Reason.TOO_LONG
    assert refused(element(0x00104000, b" " * MAX_BYTES)) is Reason.TOO_LONG


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_raise_anything_else(data, explicit):
    with suppress(Rejected):
        read(data, explicit=explicit, vr_of=vr_of)


@given(st.integers(0, 200), st.integers(0, 255), st.booleans())
def test_no_flipped_byte_raises_anything_else(position, value, explicit):
    data = bytearray(encoded(identifier(), explicit=explicit))
    data[position % len(data)] = value
    with suppress(Rejected):
        read(bytes(data), explicit=explicit, vr_of=vr_of)


def test_bounds_are_the_callers_to_widen():
    many = b"".join(element(0x00091000 + n, b"AB") for n in range(1, MAX_ELEMENTS + 2))
    with pytest.raises(Rejected, match="more than 512 elements"):
        read(many, explicit=False, vr_of=vr_of)
    wide = Bounds(max_elements=MAX_ELEMENTS + 1)
    assert len(read(many, explicit=False, vr_of=vr_of, bounds=wide)) == MAX_ELEMENTS + 1


def test_the_zeros_of_a_number_are_no_padding():
    (number,) = read(b"\x28\0\x10\0US\x02\0\x01\0", explicit=True, vr_of=vr_of).values()
    assert number.value == b"\x01\0"


def nested_twice():
    """Write a sequence with a sequence in it, both with their items of undefined length."""
    inner = opened(0x00400008, element(0x00080100, b"CT"), element(0x00080102, b"L "))
    return opened(0x00400100, element(0x00080060, b"MR"), inner, element(0x00400009, b"S1"))


def opened(tag, *inside):
    group, number = tag >> 16, tag & 0xFFFF
    begin = struct.pack("<HHIHHI", group, number, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
    return begin + b"".join(inside) + _ITEM_END + _SEQUENCE_END


_ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
_SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


@pytest.mark.parametrize("left_out", [_ITEM_END, _SEQUENCE_END, _ITEM_END + _SEQUENCE_END])
@pytest.mark.parametrize("where", ["inner", "outer"])
def test_what_has_no_end_may_end_with_what_it_is_in(left_out, where):
    data = nested_twice()
    at = data.find(left_out) if where == "inner" else data.rfind(left_out)
    begun = data[:at] + data[at + len(left_out) :]
    if where == "outer" or left_out != _ITEM_END + _SEQUENCE_END:
        meant = read(data, explicit=False, vr_of=vr_of)
        assert read(begun, explicit=False, vr_of=vr_of, unended=True) == meant
    with pytest.raises(Rejected):
        read(begun, explicit=False, vr_of=vr_of)


def test_a_data_set_that_ends_is_read_alike_where_it_need_not():
    plain = read(nested_twice(), explicit=False, vr_of=vr_of)
    assert read(nested_twice(), explicit=False, vr_of=vr_of, unended=True) == plain


@given(st.binary(max_size=200), st.integers(0, 200))
def test_what_need_not_end_is_read_or_rejected(noise, at):
    data = nested_twice()
    data = data[:at] + noise + data[at:]
    with suppress(Rejected):
        read(data, explicit=False, vr_of=vr_of, unended=True)
