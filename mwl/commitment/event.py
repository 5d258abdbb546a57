"""The event information of a report (PS3.4 table J.3-2), encoded; pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from struct import Struct

from mwl.commitment.rules import ALL_COMMITTED, FAILURES_EXIST, Failure, Reference

_TRANSACTION_UID = 0x00081195
_REFERENCED_SOP_SEQUENCE = 0x00081199
_FAILED_SOP_SEQUENCE = 0x00081198
_REFERENCED_SOP_CLASS_UID = 0x00081150
_REFERENCED_SOP_INSTANCE_UID = 0x00081155
_FAILURE_REASON = 0x00081197
_ITEM = 0xFFFEE000

_IMPLICIT = Struct("<HHI")
_EXPLICIT = Struct("<HH2sH")
_EXPLICIT_LONG = Struct("<HH2s2xI")
_US = Struct("<H")


@dataclass(frozen=True, slots=True)
class Report:
    """What a requester is told of its transaction: each instance with its failure, or none."""

    transaction_uid: str
    results: Sequence[tuple[Reference, Failure]]

    @property
    def event_type(self) -> int:
        """Event Type ID (0000,1002)."""
        failed = any(failure for _, failure in self.results)
        return FAILURES_EXIST if failed else ALL_COMMITTED


def encode(report: Report, *, explicit: bool) -> bytes:
    """Write the event information in Explicit or Implicit VR Little Endian.

    A sequence that would be empty is left out: both are of type 1C.
    """
    good = [_item(each, None, explicit) for each, failure in report.results if not failure]
    bad = [_item(each, failure, explicit) for each, failure in report.results if failure]
    parts = [_uid(_TRANSACTION_UID, report.transaction_uid, explicit)]
    if bad:
        parts.append(_sequence(_FAILED_SOP_SEQUENCE, bad, explicit))
    if good:
        parts.append(_sequence(_REFERENCED_SOP_SEQUENCE, good, explicit))
    return b"".join(parts)


def _item(reference: Reference, failure: Failure | None, explicit: bool) -> bytes:
    content = _uid(_REFERENCED_SOP_CLASS_UID, reference.sop_class_uid, explicit)
    content += _uid(_REFERENCED_SOP_INSTANCE_UID, reference.sop_instance_uid, explicit)
    if failure is not None:
        content += _element(_FAILURE_REASON, b"US", _US.pack(failure), explicit)
    return _IMPLICIT.pack(_ITEM >> 16, _ITEM & 0xFFFF, len(content)) + content


def _sequence(tag: int, items: Iterable[bytes], explicit: bool) -> bytes:
    content = b"".join(items)
    header = _EXPLICIT_LONG.pack(tag >> 16, tag & 0xFFFF, b"SQ", len(content))
    if not explicit:
        header = _IMPLICIT.pack(tag >> 16, tag & 0xFFFF, len(content))
    return header + content


def _uid(tag: int, uid: str, explicit: bool) -> bytes:
    value = uid.encode("ascii")
    return _element(tag, b"UI", value + b"\0" * (len(value) % 2), explicit)


def _element(tag: int, vr: bytes, value: bytes, explicit: bool) -> bytes:
    if explicit:
        return _EXPLICIT.pack(tag >> 16, tag & 0xFFFF, vr, len(value)) + value
    return _IMPLICIT.pack(tag >> 16, tag & 0xFFFF, len(value)) + value
