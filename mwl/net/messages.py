"""Command sets of requests and responses (PS3.7 6.3.1, 9.3, 10.3)."""

from collections.abc import Mapping

from mwl.net.dimse import NO_DATA_SET, RESPONSE, Command, Element, encode_command

Elements = Mapping[int, int | str | bytes]
"""Of a command set, by `dimse.Element`."""

_DATA_SET_FOLLOWS = 0x0001


def request_command(elements: Elements, message_id: int, has_data_set: bool) -> bytes:
    """Encode a request: what `elements` say of it, the message ID and the data set type."""
    return encode_command(
        {**elements, Element.MESSAGE_ID: message_id, **_data_set_type(has_data_set)}
    )


def response_command(
    request: Command, status: int, has_data_set: bool, more: Elements | None = None
) -> bytes:
    """Encode a response to `request`, about the same class and instance; `more` adds to it."""
    elements: dict[int, int | str | bytes] = {
        Element.COMMAND_FIELD: request.field | RESPONSE,
        Element.MESSAGE_ID_BEING_RESPONDED_TO: request.message_id,
        Element.STATUS: status,
    }
    if sop_class := request.sop_class:
        elements[Element.AFFECTED_SOP_CLASS_UID] = sop_class
    if sop_instance := request.sop_instance:
        elements[Element.AFFECTED_SOP_INSTANCE_UID] = sop_instance
    return encode_command({**elements, **_data_set_type(has_data_set), **(more or {})})


def _data_set_type(has_data_set: bool) -> Elements:
    return {Element.DATA_SET_TYPE: _DATA_SET_FOLLOWS if has_data_set else NO_DATA_SET}
