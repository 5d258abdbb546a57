"""Bytes to PDUs."""

from collections.abc import Callable, Iterator

from mwl.net.codec.associating import associate_accept, associate_request
from mwl.net.codec.layout import (
    COMMAND,
    LAST,
    VALUE,
    VERDICT,
)
from mwl.net.pdu import (
    Abort,
    AbortReason,
    AssociateReject,
    DataTransfer,
    DataValue,
    Pdu,
    PduError,
    PduType,
    ReleaseRequest,
    ReleaseResponse,
)


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


def _verdict(body: bytes | memoryview) -> tuple[int, int, int]:
    if len(body) != VERDICT.size:
        raise PduError("PDU of four bytes with another length")
    result, source, reason = VERDICT.unpack(body)
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
    PduType.ASSOCIATE_RQ: associate_request,
    PduType.ASSOCIATE_AC: associate_accept,
    PduType.ASSOCIATE_RJ: _associate_reject,
    PduType.DATA_TF: _data_transfer,
    PduType.RELEASE_RQ: _release_request,
    PduType.RELEASE_RP: _release_response,
    PduType.ABORT: _abort,
}
