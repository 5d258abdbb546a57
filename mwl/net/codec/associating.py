"""Read A-ASSOCIATE-RQ and A-ASSOCIATE-AC (PS3.8 9.3.2 and 9.3.3, PS3.7 D.3.3)."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from struct import Struct
from typing import Any, TypeVar

from mwl.net.codec.layout import (
    ABSTRACT_SYNTAX,
    ANSWERED_CONTEXT,
    APPLICATION_CONTEXT,
    ASSOCIATE,
    ASYNCHRONOUS,
    COMMON_EXTENDED,
    CONTEXT,
    EXTENDED,
    IDENTITY_RESPONSE,
    IMPLEMENTATION_UID,
    IMPLEMENTATION_VERSION,
    ITEM,
    LENGTH,
    MAX_LENGTH,
    MAXIMUM_LENGTH,
    PROPOSED_CONTEXT,
    ROLE,
    TRANSFER_SYNTAX,
    USER_IDENTITY,
    USER_INFORMATION,
    WINDOW,
)
from mwl.net.oddities import Oddity, of_identifiers, of_titles
from mwl.net.pdu import (
    AssociateAccept,
    AssociateRequest,
    ContextAnswer,
    ExtendedItem,
    PduError,
    ProposedContext,
    Role,
    UserIdentity,
    UserInformation,
)

_Context = TypeVar("_Context", ProposedContext, ContextAnswer)


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


def _uid(data: bytes, odd: set[Oddity]) -> str:
    text = data.decode("latin-1")
    uid = text.rstrip("\0 ")
    if uid != text:
        odd.add(Oddity.UID_PADDING)
    return uid


def _fixed(layout: Struct, data: bytes, start: int, end: int) -> tuple[int, ...]:
    if end - start != layout.size:
        raise PduError("item of fixed length with another length")
    return layout.unpack_from(data, start)


def _counted(data: bytes, start: int, end: int) -> tuple[bytes, int]:
    """Read a field behind its own length; return it and where it ends."""
    if end - start < 2:
        raise PduError("sub-item cut short")
    stop = start + 2 + LENGTH.unpack_from(data, start)[0]
    if stop > end:
        raise PduError("a field is longer than its sub-item")
    return data[start + 2 : stop], stop


def _counted_uid(data: bytes, start: int, end: int, odd: set[Oddity]) -> tuple[str, int]:
    uid, stop = _counted(data, start, end)
    return _uid(uid, odd), stop


# The syntaxes that were read of a request, by their bytes: most contexts list the same.
_Lists = dict[bytes, tuple[str, tuple[str, ...]]]


def _proposed_context(
    lists: _Lists, data: bytes, start: int, end: int, odd: set[Oddity]
) -> ProposedContext:
    start, context_id = start + 4, data[start]
    abstract_syntax = ""
    if start < end and data[start] == ABSTRACT_SYNTAX:
        _, first, last = next(_items(data, start, end))
        abstract_syntax, start = _uid(data[first:last], odd), last
    rest = data[start:end]
    known = lists.get(rest)
    if known is None:
        known = lists[rest] = _syntaxes(rest, odd)
    return ProposedContext(context_id, known[0] or abstract_syntax, known[1])


def _syntaxes(data: bytes, odd: set[Oddity]) -> tuple[str, tuple[str, ...]]:
    """Read the abstract syntax, "" if there is none, and the transfer syntaxes."""
    abstract_syntax, transfer_syntaxes = "", []
    for kind, first, last in _items(data, 0, len(data)):
        if kind == TRANSFER_SYNTAX:
            transfer_syntaxes.append(_uid(data[first:last], odd))
        elif kind == ABSTRACT_SYNTAX:
            abstract_syntax = _uid(data[first:last], odd)
        else:
            odd.add(Oddity.UNKNOWN_ITEM)
    return abstract_syntax, tuple(transfer_syntaxes)


def _answered_context(data: bytes, start: int, end: int, odd: set[Oddity]) -> ContextAnswer:
    context_id, result = CONTEXT.unpack_from(data, start)
    transfer_syntax = ""
    for kind, first, last in _items(data, start + 4, end):
        if kind == TRANSFER_SYNTAX:
            transfer_syntax = _uid(data[first:last], odd)
    return ContextAnswer(context_id, result, transfer_syntax)


def _role(data: bytes, start: int, end: int, odd: set[Oddity]) -> Role:
    sop_class, at = _counted_uid(data, start, end, odd)
    if end - at != 2:
        raise PduError("role selection with a wrong length")
    return Role(sop_class, data[at] == 1, data[at + 1] == 1)


def _identity(data: bytes, start: int, end: int, _odd: set[Oddity]) -> UserIdentity:
    if end - start < 2:
        raise PduError("sub-item cut short")
    primary, at = _counted(data, start + 2, end)
    secondary, at = _counted(data, at, end)
    if at != end:
        raise PduError("user identity with a wrong length")
    return UserIdentity(data[start], primary, secondary, data[start + 1] == 1)


def _identity_response(data: bytes, start: int, end: int, _odd: set[Oddity]) -> bytes:
    response, at = _counted(data, start, end)
    if at != end:
        raise PduError("response to a user identity with a wrong length")
    return response


def _max_length(data: bytes, start: int, end: int, _odd: set[Oddity]) -> int:
    return _fixed(MAX_LENGTH, data, start, end)[0]


def _whole_uid(data: bytes, start: int, end: int, odd: set[Oddity]) -> str:
    return _uid(data[start:end], odd)


def _version_name(data: bytes, start: int, end: int, _odd: set[Oddity]) -> str:
    return data[start:end].decode("latin-1").rstrip("\0 ")


def _window(data: bytes, start: int, end: int, _odd: set[Oddity]) -> tuple[int, ...]:
    return _fixed(WINDOW, data, start, end)


# The sub-items that stand once, by the field that they fill.
_SINGLE: dict[int, tuple[str, Callable[[bytes, int, int, set[Oddity]], Any]]] = {
    MAXIMUM_LENGTH: ("max_pdu_bytes", _max_length),
    IMPLEMENTATION_UID: ("implementation_uid", _whole_uid),
    ASYNCHRONOUS: ("asynchronous", _window),
    IMPLEMENTATION_VERSION: ("implementation_version", _version_name),
    USER_IDENTITY: ("identity", _identity),
    IDENTITY_RESPONSE: ("identity_response", _identity_response),
}


def _user_information(data: bytes, start: int, end: int, odd: set[Oddity]) -> UserInformation:
    fields: dict[str, Any] = {}
    roles: list[Role] = []
    extended: list[ExtendedItem] = []
    for kind, first, last in _items(data, start, end):
        if kind in _SINGLE:
            name, read = _SINGLE[kind]
            if name in fields:
                odd.add(Oddity.REPEATED_ITEM)
            fields[name] = read(data, first, last, odd)
        elif kind == ROLE:
            roles.append(_role(data, first, last, odd))
        elif kind == EXTENDED:
            sop_class, at = _counted_uid(data, first, last, odd)
            extended.append(ExtendedItem(sop_class, data[at:last]))
        elif kind != COMMON_EXTENDED:
            odd.add(Oddity.UNKNOWN_ITEM)
    user = UserInformation(roles=tuple(roles), extended=tuple(extended), **fields)
    if user.max_pdu_bytes is None:
        odd.add(Oddity.NO_MAX_LENGTH)
    if not user.implementation_uid:
        odd.add(Oddity.NO_IMPLEMENTATION_UID)
    return user


def _associate(
    body: bytes | memoryview,
    context_kind: int,
    read_context: Callable[[bytes, int, int, set[Oddity]], _Context],
    odd: set[Oddity],
) -> tuple[bytes, bytes, tuple[_Context, ...], UserInformation, str, int, bytes]:
    """Read what request and accept have in common, in the order of their fields."""
    data = bytes(body)
    if len(data) < ASSOCIATE.size:
        raise PduError("A-ASSOCIATE cut short")
    version, called, calling, reserved = ASSOCIATE.unpack_from(data)
    application_context: str | None = None
    user: UserInformation | None = None
    contexts = []
    for kind, start, end in _items(data, ASSOCIATE.size, len(data)):
        if kind == context_kind:
            if end - start < 4:
                raise PduError("presentation context cut short")
            contexts.append(read_context(data, start, end, odd))
        elif kind == APPLICATION_CONTEXT:
            if application_context is not None:
                odd.add(Oddity.REPEATED_ITEM)
            application_context = _uid(data[start:end], odd)
        elif kind == USER_INFORMATION:
            if user is not None:
                odd.add(Oddity.REPEATED_ITEM)
            user = _user_information(data, start, end, odd)
        else:
            odd.add(Oddity.UNKNOWN_ITEM)
    if user is None:
        user = _user_information(b"", 0, 0, odd)
    read = tuple(contexts)
    return called, calling, read, user, application_context or "", version, reserved


def associate_request(body: bytes | memoryview) -> AssociateRequest:
    odd: set[Oddity] = set()
    request = AssociateRequest(
        *_associate(body, PROPOSED_CONTEXT, partial(_proposed_context, {}), odd)
    )
    odd |= of_titles(request.called_title, request.calling_title)
    odd |= of_identifiers([context.id for context in request.contexts])
    if not request.protocol_version & 1:  # PS3.8 9.3.2: bit 0 is version 1
        odd.add(Oddity.PROTOCOL_VERSION)
    return replace(request, oddities=frozenset(odd))


def associate_accept(body: bytes | memoryview) -> AssociateAccept:
    return AssociateAccept(*_associate(body, ANSWERED_CONTEXT, _answered_context, set()))
