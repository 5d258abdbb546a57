"""What stands before a data set in a DICOM file (PS3.10 section 7.1)."""

from functools import lru_cache
from struct import Struct

from mwl.net.negotiation import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION

_PREAMBLE = bytes(128) + b"DICM"
_ELEMENT = Struct("<HH2sH")
_GROUP_LENGTH = Struct("<HH2sHI")
_GROUP = 0x0002
_VERSION = b"\x02\x00\x01\x00OB\0\0\x02\0\0\0\0\x01"  # (0002,0001)


def file_header(sop_class: str, sop_instance: str, transfer_syntax: str, source: str) -> bytes:
    """Write preamble and File Meta Information; `source` is an AE title."""
    before, after = _around(sop_class, transfer_syntax, source)
    meta = before + _element(0x0003, b"UI", sop_instance) + after
    return _PREAMBLE + _GROUP_LENGTH.pack(_GROUP, 0, b"UL", 4, len(meta)) + meta


@lru_cache(maxsize=1024)
def _around(sop_class: str, transfer_syntax: str, source: str) -> tuple[bytes, bytes]:
    """Write what all instances of a presentation context have in common."""
    before = _VERSION + _element(0x0002, b"UI", sop_class)
    after = (
        _element(0x0010, b"UI", transfer_syntax)
        + _element(0x0012, b"UI", IMPLEMENTATION_UID)
        + _element(0x0013, b"SH", IMPLEMENTATION_VERSION)
        + (_element(0x0016, b"AE", source) if source else b"")
    )
    return before, after


def _element(number: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii", "replace")
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    return _ELEMENT.pack(_GROUP, number, vr, len(value)) + value
