r"""Documents that a message carries in OBX-5: found among its bytes, and decoded.

A scanned letter makes a message of ten megabytes, and reading it as text would take as much
memory several times over. So `lift` takes long documents out of the bytes before these are
read: what is left is a small message with a mark in each document's place. Nothing is
copied, and time is linear in the bytes.

Encodings are those of table 0299: A, Hex, Base64. Line breaks in them, escaped or not, and
repetition separators that some senders break lines with, mean nothing.
"""

import binascii
import re
import secrets
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

Embedded = Mapping[str, memoryview]
"""Documents by the mark that stands in their place."""

SHORTEST: Final = 32_768  # bytes of a document that is worth lifting
NOTHING: Final[Embedded] = {}
PDF_BASE64: Final = "JVBERi0"  # "%PDF-"; there are senders that put it where a text belongs

# No sender can guess a mark, so none can have its document taken for another's.
_MARK: Final = f"embedded.{secrets.token_hex(8)}."
_FURTHEST_HEADER = 64  # bytes before MSH: framing, a byte order mark, blanks
_LONGEST_TAIL = 64  # bytes in which what ends a message is looked for
_SEGMENT_NAME = re.compile(rb"[A-Z][A-Z0-9]{2}\Z")
# What is no part of the data: line breaks as 2.7 escapes them, blanks, repetition separators.
_ESCAPED_BREAK = re.compile(rb"\\(?:\.br|X(?:0[dDaA])+)\\")
_IGNORED = b"\r\n\t ~"


class NotDecodableError(ValueError):
    """Data that are not what their encoding says."""


def lift(raw: bytes) -> tuple[bytes, Embedded]:
    """Take long encoded documents out of a message; give the rest of it, and them."""
    start = raw.find(b"MSH", 0, _FURTHEST_HEADER + 3) if len(raw) > SHORTEST else -1
    if start < 0 or len(raw) < start + 5:
        return raw, NOTHING
    field, component = raw[start + 3 : start + 4], raw[start + 4 : start + 5]
    begins = _beginning(field, component)
    view = memoryview(raw)
    kept: list[bytes | memoryview] = []
    found: dict[str, memoryview] = {}
    position = copied = 0
    while match := begins.search(raw, position):
        end = _end(raw, match.end(), field, component)
        position = max(end, match.end())
        if end - match.end() < SHORTEST:
            continue
        mark = f"{_MARK}{len(found)}"
        found[mark] = view[match.end() : end]
        kept += [view[copied : match.end()], mark.encode("ascii")]
        copied = end
    return (b"".join([*kept, view[copied:]]), found) if found else (raw, NOTHING)


@lru_cache(maxsize=16)
def _beginning(field: bytes, component: bytes) -> re.Pattern[bytes]:
    """Find what leads to encoded data: OBX-5.5 of ED, or a PDF where a text belongs."""
    f, c = re.escape(field), re.escape(component)
    one, part = b"[^" + f + b"\r\n]*" + f, b"[^" + f + c + b"\r\n]*" + c
    document = b"ED" + f + one + one + part * 3 + b"(?i:BASE64|HEX)" + c
    text = b"(?:TX|FT|ST)" + f + one + one + b"(?=" + PDF_BASE64.encode() + b")"
    return re.compile(b"[\r\n]OBX" + f + one + b"(?:" + document + b"|" + text + b")")


def _end(raw: bytes, start: int, field: bytes, component: bytes) -> int:
    """Tell where data end: at the next separator, or with their segment."""
    end = raw.find(field, start)
    if end < 0:
        tail = raw[max(start, len(raw) - _LONGEST_TAIL) :]
        return len(raw) - len(tail) + len(tail.rstrip(b"\r\n\x1c"))
    if (below := raw.find(component, start, end)) >= 0:
        end = below
    line = max(raw.rfind(b"\r", start, end), raw.rfind(b"\n", start, end))
    if line >= 0 and _SEGMENT_NAME.match(raw, line + 1, end):
        return line  # the separator is that of the next segment
    return end


def decode(data: str | memoryview, encoding: str) -> bytes:
    """Decode data by table 0299, "Base64" or "Hex". Raises NotDecodableError."""
    read = binascii.unhexlify if encoding.upper() == "HEX" else _base64
    given = data.encode("utf-8", "replace") if isinstance(data, str) else data
    try:
        return read(given)
    except binascii.Error:
        pass
    try:
        return read(_cleaned(bytes(given), encoding))
    except binascii.Error:
        raise NotDecodableError(f"what is said to be {encoding} is not") from None


def _base64(data: bytes | memoryview) -> bytes:
    return binascii.a2b_base64(data, strict_mode=True)


def _cleaned(data: bytes, encoding: str) -> bytes:
    """Drop what means nothing, and complete what padding is missing."""
    if b"\\" in data:
        data = _ESCAPED_BREAK.sub(b"", data)
    data = data.translate(None, _IGNORED)
    if encoding.upper() == "HEX":
        return data
    data = data.rstrip(b"=")
    return data + b"=" * (-len(data) % 4)
