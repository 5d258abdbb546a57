"""PDUs to bytes."""

from mwl.net.codec.layout import (
    ABSTRACT_SYNTAX,
    ANSWERED_CONTEXT,
    APPLICATION_CONTEXT,
    ASSOCIATE,
    ASYNCHRONOUS,
    COMMAND,
    CONTEXT,
    EXTENDED,
    HEADER,
    IDENTITY_RESPONSE,
    IMPLEMENTATION_UID,
    IMPLEMENTATION_VERSION,
    ITEM,
    LAST,
    LENGTH,
    MAX_LENGTH,
    MAXIMUM_LENGTH,
    PROPOSED_CONTEXT,
    ROLE,
    TRANSFER_SYNTAX,
    USER_IDENTITY,
    USER_INFORMATION,
    VALUE,
    VERDICT,
    WINDOW,
)
from mwl.net.pdu import (
    Abort,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    DataTransfer,
    DataValue,
    Pdu,
    PduType,
    ReleaseRequest,
    ReleaseResponse,
    UserInformation,
)


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
            body = VERDICT.pack(pdu.result, pdu.source, pdu.reason)
        case ReleaseRequest():
            kind, body = PduType.RELEASE_RQ, bytes(4)
        case ReleaseResponse():
            kind, body = PduType.RELEASE_RP, bytes(4)
        case Abort():
            kind, body = PduType.ABORT, VERDICT.pack(0, pdu.source, pdu.reason)
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
            ASSOCIATE.pack(pdu.protocol_version, pdu.called_title, pdu.calling_title, pdu.reserved),
            _text_item(APPLICATION_CONTEXT, pdu.application_context),
            contexts,
            _item(USER_INFORMATION, _encode_user(pdu.user)),
        )
    )


def _encode_proposed(pdu: AssociateRequest) -> bytes:
    return b"".join(
        _item(
            PROPOSED_CONTEXT,
            CONTEXT.pack(context.id, 0)
            + _text_item(ABSTRACT_SYNTAX, context.abstract_syntax)
            + b"".join(_text_item(TRANSFER_SYNTAX, uid) for uid in context.transfer_syntaxes),
        )
        for context in pdu.contexts
    )


def _encode_answered(pdu: AssociateAccept) -> bytes:
    return b"".join(
        _item(
            ANSWERED_CONTEXT,
            CONTEXT.pack(context.id, context.result)
            + _text_item(TRANSFER_SYNTAX, context.transfer_syntax),
        )
        for context in pdu.contexts
    )


def _encode_user(user: UserInformation) -> bytes:
    """Write the sub-items in ascending order, as PS3.7 tables D.3-1 ff. list them."""
    parts = []
    if user.max_pdu_bytes is not None:
        parts.append(_item(MAXIMUM_LENGTH, MAX_LENGTH.pack(user.max_pdu_bytes)))
    if user.implementation_uid:
        parts.append(_text_item(IMPLEMENTATION_UID, user.implementation_uid))
    if user.asynchronous is not None:
        parts.append(_item(ASYNCHRONOUS, WINDOW.pack(*user.asynchronous)))
    for role in user.roles:
        uid = role.sop_class.encode("latin-1")
        flags = bytes((role.scu, role.scp))
        parts.append(_item(ROLE, _prefixed(uid) + flags))
    if user.implementation_version:
        parts.append(_text_item(IMPLEMENTATION_VERSION, user.implementation_version))
    for item in user.extended:
        uid = item.sop_class.encode("latin-1")
        parts.append(_item(EXTENDED, _prefixed(uid) + item.information))
    if (who := user.identity) is not None:
        flags = bytes((who.kind, who.wants_response))
        value = flags + _prefixed(who.primary) + _prefixed(who.secondary)
        parts.append(_item(USER_IDENTITY, value))
    if user.identity_response is not None:
        parts.append(_item(IDENTITY_RESPONSE, _prefixed(user.identity_response)))
    return b"".join(parts)


def _prefixed(value: bytes) -> bytes:
    """Write a field behind its own length."""
    return LENGTH.pack(len(value)) + value
