"""A data set in Implicit VR Little Endian written in Explicit, or the other way round.

The bytes of values are the same in both and pass through as they come, whatever character
set they are in; only headers are written anew. Nothing is held but what is on its way, and
sequences get undefined length, so that no length depends on what lies inside (PS3.5 7.5.1).
Group lengths are left out: they are retired, and would be wrong (PS3.5 7.2).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct

from mwl.dataset import ITEM, ITEM_END, SEQUENCE_END, SHORT_FORM
from mwl.errors import MwlError
from mwl.scp.attributes import vr_of

_MAX_DEPTH = 64

_TAG = Struct("<HH")
_SHORT = Struct("<H")
_LONG = Struct("<I")
_IMPLICIT = Struct("<HHI")
_EXPLICIT_SHORT = Struct("<HH2sH")
_EXPLICIT_LONG = Struct("<HH2sxxI")
_UNDEFINED = 0xFFFFFFFF
_LONGEST_SHORT_FORM = 0xFFFE
_PIXEL_REPRESENTATION = 0x00280103
_DELIMITERS = frozenset({ITEM, ITEM_END, SEQUENCE_END})


class Unwritable(MwlError):
    """A data set that can't be written in another transfer syntax."""


def reencoded(pieces: Iterable[bytes], *, explicit: bool) -> Iterator[bytes | memoryview]:
    """Write a data set anew, in Explicit VR if `explicit`, else in Implicit.

    Raises Unwritable for lengths that don't add up, and what `pieces` raises.
    """
    return _Rewriter(_Source(pieces), explicit).pieces()


class _Source:
    """Pieces as one run of bytes; `at` is how many were taken."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._piece = memoryview(b"")
        self.at = 0

    def is_over(self) -> bool:
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return True
            self._piece = memoryview(piece)
        return False

    def take(self, size: int) -> bytes:
        """Take `size` bytes, few of them."""
        return b"".join(self.values(size))

    def values(self, size: int) -> Iterator[memoryview]:
        """Take `size` bytes as they come."""
        while size:
            if self.is_over():
                raise Unwritable("the data set is cut short")
            part = self._piece[:size]
            self._piece = self._piece[size:]
            self.at += len(part)
            size -= len(part)
            yield part


@dataclass(frozen=True, slots=True)
class _Level:
    """A sequence or an item that is open; `end` is where, None: at its delimiter."""

    is_item: bool
    end: int | None
    explicit: bool  # how it is read


class _Rewriter:
    def __init__(self, source: _Source, explicit: bool) -> None:
        self._source, self._explicit = source, explicit
        self._levels: list[_Level] = []
        self._signed = False  # Pixel Representation

    def pieces(self) -> Iterator[bytes | memoryview]:
        source, levels = self._source, self._levels
        while True:
            while levels and levels[-1].end == source.at:
                yield _delimiter(ITEM_END if levels.pop().is_item else SEQUENCE_END)
            if not levels and source.is_over():
                return
            group, number = _TAG.unpack(source.take(_TAG.size))
            tag = group << 16 | number
            if tag in _DELIMITERS:
                yield self._delimited(tag)
            elif levels and not levels[-1].is_item:
                raise Unwritable("an element outside an item")
            else:
                yield from self._element(tag)

    def _delimited(self, tag: int) -> bytes:
        (length,) = _LONG.unpack(self._source.take(_LONG.size))
        levels = self._levels
        if tag == ITEM:
            if not levels or levels[-1].is_item:
                raise Unwritable("an item outside a sequence")
            self._open(length, is_item=True, explicit=levels[-1].explicit)
            return _IMPLICIT.pack(ITEM >> 16, ITEM & 0xFFFF, _UNDEFINED)
        if not levels or levels[-1].end is not None or levels[-1].is_item != (tag == ITEM_END):
            raise Unwritable("a delimiter that ends nothing")
        levels.pop()
        return _delimiter(tag)

    def _element(self, tag: int) -> Iterator[bytes | memoryview]:
        reads_explicit = self._levels[-1].explicit if self._levels else not self._explicit
        vr, length = self._header(tag, reads_explicit)
        if vr == "SQ" or length == _UNDEFINED:
            if vr not in ("SQ", "UN"):
                raise Unwritable("an element of undefined length that is no sequence")
            # PS3.5 6.2.2: UN of undefined length is a sequence in Implicit VR.
            self._open(length, is_item=False, explicit=reads_explicit and vr == "SQ")
            yield self._written(tag, "SQ", _UNDEFINED)
            return
        self._check_end(length)
        values = self._source.values(length)
        if not tag & 0xFFFF:
            for _ in values:
                pass
            return
        yield self._written(tag, vr, length)
        if tag == _PIXEL_REPRESENTATION:
            value = b"".join(values)
            self._signed = value[:1] == b"\1"
            yield value
        else:
            yield from values

    def _header(self, tag: int, reads_explicit: bool) -> tuple[str, int]:
        take = self._source.take
        if not reads_explicit:
            return self._vr(tag), _LONG.unpack(take(4))[0]
        vr = take(2).decode("latin-1")
        if vr in SHORT_FORM:
            return vr, _SHORT.unpack(take(2))[0]
        if not (vr.isascii() and vr.isalpha() and vr.isupper()):
            raise Unwritable("an element without a VR")
        return vr, _LONG.unpack(take(6)[2:])[0]

    def _vr(self, tag: int) -> str:
        vr = _ambiguous(tag)
        if vr == "US or SS":
            return "SS" if self._signed else "US"
        return vr

    def _open(self, length: int, *, is_item: bool, explicit: bool) -> None:
        if len(self._levels) >= _MAX_DEPTH:
            raise Unwritable(f"sequences nest deeper than {_MAX_DEPTH // 2}")
        end = None
        if length != _UNDEFINED:
            self._check_end(length)
            end = self._source.at + length
        self._levels.append(_Level(is_item, end, explicit))

    def _check_end(self, length: int) -> None:
        """Refuse what reaches beyond what holds it; that may be beyond an open one, too."""
        end = next((each.end for each in reversed(self._levels) if each.end is not None), None)
        if end is not None and self._source.at + length > end:
            raise Unwritable("an element is longer than what holds it")

    def _written(self, tag: int, vr: str, length: int) -> bytes:
        group, number = tag >> 16, tag & 0xFFFF
        if not self._explicit:
            return _IMPLICIT.pack(group, number, length)
        if vr not in SHORT_FORM:
            return _EXPLICIT_LONG.pack(group, number, vr.encode(), length)
        if length > _LONGEST_SHORT_FORM:
            return _EXPLICIT_LONG.pack(group, number, b"UN", length)  # PS3.5 6.2.2
        return _EXPLICIT_SHORT.pack(group, number, vr.encode(), length)


def _delimiter(tag: int) -> bytes:
    return _IMPLICIT.pack(tag >> 16, tag & 0xFFFF, 0)


@lru_cache(maxsize=4096)
def _ambiguous(tag: int) -> str:
    """Give the VR of a tag, or "US or SS"; of the other ambiguous ones what PS3.5 A.1 says."""
    from pydicom.datadict import dictionary_VR

    if tag >> 16 & 1:
        return vr_of(tag)
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return "UN"
    return "OW" if vr.endswith("OW") else vr
