"""Command sets and messages made of fragments, with bounds; no sockets."""

import io
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_ECHO_RSP, C_FIND_RQ
from pynetdicom.dimse_primitives import C_FIND

from mwl.errors import ProtocolError
from mwl.net.codec import COMMAND, HEADER, LAST, data_values
from mwl.net.dimse import (
    Command,
    CommandField,
    Context,
    Element,
    Message,
    MessageAssembler,
    decode_command,
    encode_command,
    fragments,
)
from mwl.net.limits import Limits
from mwl.net.pdu import PduError

WORKLIST = "1.2.840.10008.5.1.4.31"
CONTEXTS = {
    1: Context(1, "1.2.840.10008.1.1", "1.2.840.10008.1.2"),
    3: Context(3, WORKLIST, "1.2.840.10008.1.2"),
}
LIMITS = Limits()
FIND = encode_command(
    {
        Element.AFFECTED_SOP_CLASS_UID: WORKLIST,
        Element.COMMAND_FIELD: CommandField.C_FIND,
        Element.MESSAGE_ID: 7,
        Element.PRIORITY: 0,
        Element.DATA_SET_TYPE: 1,
    }
)
ECHO = encode_command(
    {
        Element.AFFECTED_SOP_CLASS_UID: "1.2.840.10008.1.1",
        Element.COMMAND_FIELD: CommandField.C_ECHO,
        Element.MESSAGE_ID: 8,
        Element.DATA_SET_TYPE: 0x0101,
    }
)


def feed(assembler: MessageAssembler, pdus: bytes) -> list[Message]:
    messages = []
    while pdus:
        _, length = HEADER.unpack_from(pdus)
        body, pdus = pdus[HEADER.size : HEADER.size + length], pdus[HEADER.size + length :]
        for value in data_values(body):
            message = assembler.feed(*value)
            if message is not None:
                messages.append(message)
    return messages


# --- command sets


def test_a_command_set_says_what_was_asked() -> None:
    command = decode_command(FIND)
    assert command.field == CommandField.C_FIND
    assert command.message_id == 7
    assert command.has_data_set
    assert command.sop_class == WORKLIST
    assert command.number(Element.PRIORITY) == 0
    assert command.number(Element.STATUS) is None


def test_pynetdicom_writes_the_same_command_set() -> None:
    primitive = C_FIND()
    primitive.MessageID = 7
    primitive.AffectedSOPClassUID = WORKLIST
    primitive.Priority = 0
    primitive.Identifier = io.BytesIO(b"\x08\0\x05\0\0\0\0\0")
    message = C_FIND_RQ()
    message.primitive_to_message(primitive)
    (pdata, *_) = message.encode_msg(1, 16384)
    theirs = pdata.presentation_data_value_list[0][1][1:]
    command = decode_command(theirs)
    assert command == replace(decode_command(FIND), elements=command.elements)


def test_pynetdicom_reads_our_response() -> None:
    response = encode_command(
        {
            Element.AFFECTED_SOP_CLASS_UID: "1.2.840.10008.1.1",
            Element.COMMAND_FIELD: CommandField.C_ECHO | 0x8000,
            Element.MESSAGE_ID_BEING_RESPONDED_TO: 8,
            Element.DATA_SET_TYPE: 0x0101,
            Element.STATUS: 0x0211,
            Element.ERROR_COMMENT: "odd",
        }
    )
    from pynetdicom.dsutils import decode as decode_data_set

    message = C_ECHO_RSP()
    message.command_set = decode_data_set(io.BytesIO(response), True, True)
    assert message.command_set.Status == 0x0211
    assert message.command_set.ErrorComment == "odd"
    assert message.command_set.CommandGroupLength == len(response) - 12


def test_a_cancel_is_named_by_the_message_that_it_ends() -> None:
    command = decode_command(
        encode_command(
            {
                Element.COMMAND_FIELD: CommandField.C_CANCEL,
                Element.MESSAGE_ID_BEING_RESPONDED_TO: 9,
                Element.DATA_SET_TYPE: 0x0101,
            }
        )
    )
    assert command.message_id == 9


def test_a_command_set_cut_short_anywhere_is_a_protocol_error() -> None:
    for size in range(len(FIND)):
        with pytest.raises(ProtocolError):
            decode_command(FIND[:size])


@pytest.mark.parametrize(
    "data",
    [
        b"\x08\0\x05\0\0\0\0\0",  # group 0008
        b"\0\0\0\1\xff\xff\xff\xff\x20\0",  # an undefined length
        b"\0\0\0\1\4\0\0\0\x20\0\0\0",  # a command field of four bytes
    ],
)
def test_what_is_no_command_set_is_a_protocol_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_command(data)


@given(st.binary(max_size=200))
def test_garbage_raises_nothing_but_a_protocol_error(data: bytes) -> None:
    with suppress(ProtocolError):
        decode_command(data)


@given(st.integers(0, len(FIND) - 1), st.integers(0, 255))
def test_a_damaged_command_set_raises_nothing_but_a_protocol_error(at: int, byte: int) -> None:
    with suppress(ProtocolError):
        decode_command(FIND[:at] + bytes([byte]) + FIND[at + 1 :])


# --- messages


@given(
    st.integers(4, 200).map(lambda half: 2 * half),
    st.binary(max_size=600),
)
def test_a_message_is_put_together_however_it_was_cut(max_pdu_bytes: int, data: bytes) -> None:
    pdus = [
        *fragments(3, COMMAND, FIND, max_pdu_bytes),
        *fragments(3, 0, data, max_pdu_bytes),
        *fragments(1, COMMAND, ECHO, max_pdu_bytes),
    ]
    assert max(map(len, pdus)) <= HEADER.size + max_pdu_bytes
    find, echo = feed(MessageAssembler(CONTEXTS, LIMITS), b"".join(pdus))
    assert find == Message(CONTEXTS[3], decode_command(FIND), data)
    assert echo == Message(CONTEXTS[1], decode_command(ECHO), None)


def test_a_message_is_open_until_its_last_fragment() -> None:
    assembler = MessageAssembler(CONTEXTS, LIMITS)
    assert not assembler.is_open
    assembler.feed(3, COMMAND | LAST, memoryview(FIND))
    assert assembler.is_open
    assembler.feed(3, LAST, memoryview(b"ab"))
    assert not assembler.is_open


def test_a_context_that_was_not_accepted_is_refused() -> None:
    with pytest.raises(PduError):
        MessageAssembler(CONTEXTS, LIMITS).feed(5, COMMAND | LAST, memoryview(ECHO))


def test_a_message_that_changes_its_context_is_refused() -> None:
    assembler = MessageAssembler(CONTEXTS, LIMITS)
    assembler.feed(3, COMMAND | LAST, memoryview(FIND))
    with pytest.raises(PduError):
        assembler.feed(1, LAST, memoryview(b""))


def test_a_data_set_before_its_command_is_refused() -> None:
    with pytest.raises(PduError):
        MessageAssembler(CONTEXTS, LIMITS).feed(3, LAST, memoryview(b""))


def test_a_second_command_in_place_of_a_data_set_is_refused() -> None:
    assembler = MessageAssembler(CONTEXTS, LIMITS)
    assembler.feed(3, COMMAND | LAST, memoryview(FIND))
    with pytest.raises(PduError):
        assembler.feed(3, COMMAND | LAST, memoryview(FIND))


def test_a_command_set_over_its_limit_is_refused_before_it_is_whole() -> None:
    assembler = MessageAssembler(CONTEXTS, replace(LIMITS, max_command_bytes=100))
    assembler.feed(1, COMMAND, memoryview(bytes(100)))
    with pytest.raises(ProtocolError):
        assembler.feed(1, COMMAND, memoryview(b"x"))


def test_a_data_set_over_its_limit_is_refused_before_it_is_whole() -> None:
    assembler = MessageAssembler(CONTEXTS, replace(LIMITS, max_data_set_bytes=1000))
    assembler.feed(3, COMMAND | LAST, memoryview(FIND))
    for _ in range(10):
        assembler.feed(3, 0, memoryview(bytes(100)))
    with pytest.raises(ProtocolError):
        assembler.feed(3, 0, memoryview(b"x"))


def test_odd_text_is_padded_as_its_representation_asks() -> None:
    data = encode_command({Element.AFFECTED_SOP_CLASS_UID: "1.2", Element.ERROR_COMMENT: "abc"})
    assert data.endswith(b"abc ")
    assert b"1.2\0" in data
    assert len(data) % 2 == 0


def test_an_element_that_is_absent_reads_as_empty() -> None:
    command = Command(CommandField.C_ECHO, 1, has_data_set=False, elements={})
    assert command.sop_class == command.sop_instance == ""
