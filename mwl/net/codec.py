"""Bytes to PDUs and back (PS3.8 section 9.3, PS3.7 annex D.3.3).

Two rules. Lengths are never lenient: an item must end where its parent says, to the byte,
else `PduError`. Values are: titles may hold anything, items and sub-items that we don't
know are skipped (PS3.8 9.3.1 asks for that), any protocol version is read.
"""

from collections.abc import Callable, Iterator
from struct import Struct
from typing import TypeVar

from mwl.net.pdu import (
    Abort,
    AbortReason,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ContextAnswer,
    DataTransfer,
    DataValue,
    ExtendedItem,
    Pdu,
    PduError,
    PduType,
    ProposedContext,
    ReleaseRequest,
    ReleaseResponse,
    Role,
    UserIdentity,
    UserInformation,
)

HEADER = Struct(">BxI")  # type, length of what follows
ITEM = Struct(">BxH")  # type, length of what follows
VALUE = Struct(">IBB")  # length of what follows, context id, message control header

_ASSOCIATE = Struct(">H2x16s16s32s")
_VERDICT = Struct(">xBBB")  # A-ASSOCIATE-RJ and A-ABORT
_CONTEXT = Struct(">BxBx")
_LENGTH = Struct(">H")
_WINDOW = Struct(">HH")
_MAX_LENGTH = Struct(">I")

# Item types: PS3.8 9.3.2 and 9.3.3, PS3.7 D.3.3.
_APPLICATION_CONTEXT = 0x10
_PROPOSED_CONTEXT = 0x20
_ANSWERED_CONTEXT = 0x21
_ABSTRACT_SYNTAX = 0x30
_TRANSFER_SYNTAX = 0x40
_USER_INFORMATION = 0x50
_MAXIMUM_LENGTH = 0x51
_IMPLEMENTATION_UID = 0x52
_ASYNCHRONOUS = 0x53
_ROLE = 0x54
_IMPLEMENTATION_VERSION = 0x55
_EXTENDED = 0x56
_USER_IDENTITY = 0x58
_IDENTITY_RESPONSE = 0x59
# 0x57, SOP class common extended negotiation, has no answer (PS3.7 D.3.3.6): it is skipped.

_Context = TypeVar("_Context", ProposedContext, ContextAnswer)

# PS3.8 E.2: bits of the message control header.
COMMAND = 0x01
LAST = 0x02


# --- decoding


def decode(kind: int, body: bytes | memoryview) -> Pdu:
    """Read the PDU of type `kind` from what followed its six bytes of header."""
    reader = _READERS.get(kind)
    if reader is None:
        raise PduError(f"PDU of unknown type {kind:#04x}", AbortReason.UNRECOGNIZED_PDU)
    return reader(body)


def data_values(body: bytes | memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Yield (context id, message control header, fragment) of a P-DATA-TF, nothing copied."""
    view = memoryview(body)
    offset, end = 0, len(view)
    if not end:
        raise PduError("P-DATA-TF without a presentation data value")
    while offset < end:
        if end - offset < VALUE.size:
            raise PduError("presentation data value cut short")
        length, context_id, control = VALUE.unpack_from(view, offset)
        following = offset + 4 + length
        if length < 2 or following > end:
            raise PduError("presentation data value with a wrong length")
        yield context_id, control, view[offset + VALUE.size : following]
        offset = following


def _items(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (type, start, end) of the items that fill data[start:end]."""
    unpack = ITEM.unpack_from
    while start < end:
        if end - start < 4:
            raise PduError("item header cut short")
        kind, length = unpack(data, start)
        start += 4
        following = start + length
        if following > end:
            raise PduError(f"item {kind:#04x} is longer than what holds it")
        yield kind, start, following
        start = following


def _uid(data: bytes) -> str:
    return data.decode("latin-1").rstrip("\0 ")


def _fixed(layout: Struct, data: bytes, start: int, end: int) -> tuple[int, ...]:
    if end - start != layout.size:
        raise PduError("item of fixed length with another length")
    return layout.unpack_from(data, start)


def _counted(data: bytes, start: int, end: int) -> tuple[bytes, int]:
    """Read a field behind its own length; return it and where it ends."""
    if end - start < 2:
        raise PduError("sub-item cut short")
    stop = start + 2 + _LENGTH.unpack_from(data, start)[0]
    if stop > end:
        raise PduError("a field is longer than its sub-item")
    return data[start + 2 : stop], stop


def _counted_uid(data: bytes, start: int, end: int) -> tuple[str, int]:
    uid, stop = _counted(data, start, end)
    return _uid(uid), stop


def _proposed_context(data: bytes, start: int, end: int) -> ProposedContext:
    if end - start < 4:
        raise PduError("presentation context cut short")
    abstract_syntax, transfer_syntaxes = "", []
    for kind, first, last in _items(data, start + 4, end):
        if kind == _TRANSFER_SYNTAX:
            transfer_syntaxes.append(data[first:last].decode("latin-1").rstrip("\0 "))
        elif kind == _ABSTRACT_SYNTAX:
            abstract_syntax = _uid(data[first:last])
    return ProposedContext(data[start], abstract_syntax, tuple(transfer_syntaxes))


def _answered_context(data: bytes, start: int, end: int) -> ContextAnswer:
    if end - start < 4:
        raise PduError("presentation context cut short")
    context_id, result = _CONTEXT.unpack_from(data, start)
    transfer_syntax = ""
    for kind, first, last in _items(data, start + 4, end):
        if kind == _TRANSFER_SYNTAX:
            transfer_syntax = _uid(data[first:last])
    return ContextAnswer(context_id, result, transfer_syntax)


def _role(data: bytes, start: int, end: int) -> Role:
    sop_class, at = _counted_uid(data, start, end)
    if end - at != 2:
        raise PduError("role selection with a wrong length")
    return Role(sop_class, data[at] == 1, data[at + 1] == 1)


def _identity(data: bytes, start: int, end: int) -> UserIdentity:
    if end - start < 2:
        raise PduError("sub-item cut short")
    primary, at = _counted(data, start + 2, end)
    secondary, at = _counted(data, at, end)
    if at != end:
        raise PduError("user identity with a wrong length")
    return UserIdentity(data[start], primary, secondary, data[start + 1] == 1)


def _identity_response(data: bytes, start: int, end: int) -> bytes:
    response, at = _counted(data, start, end)
    if at != end:
        raise PduError("response to a user identity with a wrong length")
    return response


def _user_information(data: bytes, start: int, end: int) -> UserInformation:
    max_pdu_bytes: int | None = None
    uid = version = ""
    window: tuple[int, int] | None = None
    roles: list[Role] = []
    extended: list[ExtendedItem] = []
    identity: UserIdentity | None = None
    response: bytes | None = None
    for kind, first, last in _items(data, start, end):
        if kind == _MAXIMUM_LENGTH:
            (max_pdu_bytes,) = _fixed(_MAX_LENGTH, data, first, last)
        elif kind == _IMPLEMENTATION_UID:
            uid = _uid(data[first:last])
        elif kind == _IMPLEMENTATION_VERSION:
            version = _uid(data[first:last])
        elif kind == _ASYNCHRONOUS:
            invoked, performed = _fixed(_WINDOW, data, first, last)
            window = invoked, performed
        elif kind == _ROLE:
            roles.append(_role(data, first, last))
        elif kind == _EXTENDED:
            sop_class, at = _counted_uid(data, first, last)
            extended.append(ExtendedItem(sop_class, data[at:last]))
        elif kind == _USER_IDENTITY:
            identity = _identity(data, first, last)
        elif kind == _IDENTITY_RESPONSE:
            response = _identity_response(data, first, last)
    return UserInformation(
        max_pdu_bytes, uid, version, window, tuple(roles), tuple(extended), identity, response
    )


def _associate(
    body: bytes | memoryview, context_kind: int, read_context: Callable[[bytes, int, int], _Context]
) -> tuple[bytes, bytes, tuple[_Context, ...], UserInformation, str, int, bytes]:
    """Read what request and accept have in common, in the order of their fields."""
    data = bytes(body)
    if len(data) < _ASSOCIATE.size:
        raise PduError("A-ASSOCIATE cut short")
    version, called, calling, reserved = _ASSOCIATE.unpack_from(data)
    application_context, user = "", UserInformation()
    contexts = []
    for kind, start, end in _items(data, _ASSOCIATE.size, len(data)):
        if kind == context_kind:
            contexts.append(read_context(data, start, end))
        elif kind == _APPLICATION_CONTEXT:
            application_context = _uid(data[start:end])
        elif kind == _USER_INFORMATION:
            user = _user_information(data, start, end)
    return called, calling, tuple(contexts), user, application_context, version, reserved


def _associate_request(body: bytes | memoryview) -> AssociateRequest:
    return AssociateRequest(*_associate(body, _PROPOSED_CONTEXT, _proposed_context))


def _associate_accept(body: bytes | memoryview) -> AssociateAccept:
    return AssociateAccept(*_associate(body, _ANSWERED_CONTEXT, _answered_context))


def _verdict(body: bytes | memoryview) -> tuple[int, int, int]:
    if len(body) != _VERDICT.size:
        raise PduError("PDU of four bytes with another length")
    result, source, reason = _VERDICT.unpack(body)
    return result, source, reason


def _associate_reject(body: bytes | memoryview) -> AssociateReject:
    return AssociateReject(*_verdict(body))


def _abort(body: bytes | memoryview) -> Abort:
    _, source, reason = _verdict(body)
    return Abort(source, reason)


def _release_request(body: bytes | memoryview) -> ReleaseRequest:
    _verdict(body)
    return ReleaseRequest()


def _release_response(body: bytes | memoryview) -> ReleaseResponse:
    _verdict(body)
    return ReleaseResponse()


def _data_transfer(body: bytes | memoryview) -> DataTransfer:
    return DataTransfer(
        tuple(
            DataValue(context_id, bool(control & COMMAND), bool(control & LAST), bytes(fragment))
            for context_id, control, fragment in data_values(body)
        )
    )


_READERS: dict[int, Callable[[bytes | memoryview], Pdu]] = {
    PduType.ASSOCIATE_RQ: _associate_request,
    PduType.ASSOCIATE_AC: _associate_accept,
    PduType.ASSOCIATE_RJ: _associate_reject,
    PduType.DATA_TF: _data_transfer,
    PduType.RELEASE_RQ: _release_request,
    PduType.RELEASE_RP: _release_response,
    PduType.ABORT: _abort,
}


# --- encoding


def encode(pdu: Pdu) -> bytes:
    """Write a PDU, header and all."""
    match pdu:
        case DataTransfer():
            kind, body = PduType.DATA_TF, b"".join(map(_encode_value, pdu.values))
        case AssociateRequest():
            kind, body = PduType.ASSOCIATE_RQ, _encode_associate(pdu, _encode_proposed(pdu))
        case AssociateAccept():
            kind, body = PduType.ASSOCIATE_AC, _encode_associate(pdu, _encode_answered(pdu))
        case AssociateReject():
            kind = PduType.ASSOCIATE_RJ
            body = _VERDICT.pack(pdu.result, pdu.source, pdu.reason)
        case ReleaseRequest():
            kind, body = PduType.RELEASE_RQ, bytes(4)
        case ReleaseResponse():
            kind, body = PduType.RELEASE_RP, bytes(4)
        case Abort():
            kind, body = PduType.ABORT, _VERDICT.pack(0, pdu.source, pdu.reason)
    return HEADER.pack(kind, len(body)) + body


def encode_value(context_id: int, control: int, fragment: bytes | memoryview) -> bytes:
    """Write a P-DATA-TF that holds one presentation data value."""
    size = len(fragment)
    return b"".join(
        (
            HEADER.pack(PduType.DATA_TF, size + VALUE.size),
            VALUE.pack(size + 2, context_id, control),
            fragment,
        )
    )


def _encode_value(value: DataValue) -> bytes:
    control = COMMAND * value.is_command | LAST * value.is_last
    return VALUE.pack(len(value.fragment) + 2, value.context_id, control) + value.fragment


def _item(kind: int, value: bytes) -> bytes:
    return ITEM.pack(kind, len(value)) + value


def _text_item(kind: int, value: str) -> bytes:
    return _item(kind, value.encode("latin-1"))


def _encode_associate(pdu: AssociateRequest | AssociateAccept, contexts: bytes) -> bytes:
    return b"".join(
        (
            _ASSOCIATE.pack(
                pdu.protocol_version, pdu.called_title, pdu.calling_title, pdu.reserved
            ),
            _text_item(_APPLICATION_CONTEXT, pdu.application_context),
            contexts,
            _item(_USER_INFORMATION, _encode_user(pdu.user)),
        )
    )


def _encode_proposed(pdu: AssociateRequest) -> bytes:
    return b"".join(
        _item(
            _PROPOSED_CONTEXT,
            _CONTEXT.pack(context.id, 0)
            + _text_item(_ABSTRACT_SYNTAX, context.abstract_syntax)
            + b"".join(_text_item(_TRANSFER_SYNTAX, uid) for uid in context.transfer_syntaxes),
        )
        for context in pdu.contexts
    )


def _encode_answered(pdu: AssociateAccept) -> bytes:
    return b"".join(
        _item(
            _ANSWERED_CONTEXT,
            _CONTEXT.pack(context.id, context.result)
            + _text_item(_TRANSFER_SYNTAX, context.transfer_syntax),
        )
        for context in pdu.contexts
    )


def _encode_user(user: UserInformation) -> bytes:
    """Write the sub-items in ascending order, as PS3.7 tables D.3-1 ff. list them."""
    parts = []
    if user.max_pdu_bytes is not None:
        parts.append(_item(_MAXIMUM_LENGTH, _MAX_LENGTH.pack(user.max_pdu_bytes)))
    if user.implementation_uid:
        parts.append(_text_item(_IMPLEMENTATION_UID, user.implementation_uid))
    if user.asynchronous is not None:
        parts.append(_item(_ASYNCHRONOUS, _WINDOW.pack(*user.asynchronous)))
    for role in user.roles:
        uid = role.sop_class.encode("latin-1")
        flags = bytes((role.scu, role.scp))
        parts.append(_item(_ROLE, _prefixed(uid) + flags))
    if user.implementation_version:
        parts.append(_text_item(_IMPLEMENTATION_VERSION, user.implementation_version))
    for item in user.extended:
        uid = item.sop_class.encode("latin-1")
        parts.append(_item(_EXTENDED, _prefixed(uid) + item.information))
    if (who := user.identity) is not None:
        flags = bytes((who.kind, who.wants_response))
        value = flags + _prefixed(who.primary) + _prefixed(who.secondary)
        parts.append(_item(_USER_IDENTITY, value))
    if user.identity_response is not None:
        parts.append(_item(_IDENTITY_RESPONSE, _prefixed(user.identity_response)))
    return b"".join(parts)


def _prefixed(value: bytes) -> bytes:
    """Write a field behind its own length."""
    return _LENGTH.pack(len(value)) + value
