"""A data set in one uncompressed transfer syntax written in another (PS3.5 A.1 to A.3).

What is written is Little Endian, in Explicit or Implicit VR. The bytes of values pass through
as they come, whatever character set they are in; only headers are written anew, and the bytes
of Big Endian's numbers put the other way round. Nothing is held but what is on its way, and
sequences get undefined length, so that no length depends on what lies inside (PS3.5 7.5.1).
Group lengths are left out: they are retired, and would be wrong (PS3.5 7.2).

Elements of the top level may be given other values on the way, and others added: `Edits`.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from struct import Struct

from mwl.dataset import ITEM, ITEM_END, SEQUENCE_END, SHORT_FORM
from mwl.scp.attributes import vr_of
from mwl.scp.pieces import Source, Unwritable

_MAX_DEPTH = 64

_LITTLE = Struct("<HH"), Struct("<H"), Struct("<I")  # a tag, a short length, a long one
_BIG = Struct(">HH"), Struct(">H"), Struct(">I")
_IMPLICIT = Struct("<HHI")
_EXPLICIT_SHORT = Struct("<HH2sH")
_EXPLICIT_LONG = Struct("<HH2sxxI")
_UNDEFINED = 0xFFFFFFFF
_LONGEST_SHORT_FORM = 0xFFFE
_BITS_ALLOCATED = 0x00280100
_PIXEL_REPRESENTATION = 0x00280103
_PIXEL_DATA = 0x7FE00010
_DELIMITERS = frozenset({ITEM, ITEM_END, SEQUENCE_END})
# PS3.5 7.3: how many bytes of a value are put the other way round at once.
_WIDTHS = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), 2),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
_ARRAYS = {2: "H", 4: "I", 8: "Q"}


class Form(Enum):
    """How a data set is encoded."""

    IMPLICIT = "Implicit VR Little Endian"
    EXPLICIT = "Explicit VR Little Endian"
    BIG_ENDIAN = "Explicit VR Big Endian"


@dataclass(frozen=True, slots=True)
class Edits:
    """What becomes of elements of the top level.

    `values` are those that are put in, by tag, each a VR and a value of even length in Little
    Endian; the element that was there is left out. `defaults` are put in only where there is
    none such. `without` are left out. With `pixels` (VR, length, pieces) the pixel data are
    those, and nothing follows them: padding and signatures were of the others.
    """

    values: Mapping[int, tuple[str, bytes]] = field(default_factory=dict)
    defaults: Mapping[int, tuple[str, bytes]] = field(default_factory=dict)
    without: frozenset[int] = frozenset()
    pixels: tuple[str, int, Iterable[bytes | memoryview]] | None = None


_NO_EDITS = Edits()


def reencoded(
    pieces: Iterable[bytes | memoryview],
    *,
    explicit: bool,
    read: Form | None = None,
    edits: Edits = _NO_EDITS,
) -> Iterator[bytes | memoryview]:
    """Write a data set anew, in Explicit VR if `explicit`, else in Implicit.

    `read` is how `pieces` are encoded; None: in the other VR. Raises Unwritable for lengths
    that don't add up, and what `pieces` raises.
    """
    form = read or (Form.IMPLICIT if explicit else Form.EXPLICIT)
    return _Rewriter(Source(pieces), form, explicit, edits).pieces()


@dataclass(frozen=True, slots=True)
class _Level:
    """A sequence or an item that is open; `end` is where, None: at its delimiter."""

    is_item: bool
    end: int | None
    explicit: bool  # how it is read


class _Rewriter:
    def __init__(self, source: Source, form: Form, explicit: bool, edits: Edits) -> None:
        self._source, self._explicit, self._edits = source, explicit, edits
        self._reads_explicit = form is not Form.IMPLICIT
        self._is_big = form is Form.BIG_ENDIAN
        self._tag, self._short, self._long = _BIG if self._is_big else _LITTLE
        self._levels: list[_Level] = []
        self._signed = False  # Pixel Representation
        self._pixel_width = 2  # bytes of a Big Endian pixel that are one number
        self._adding = {**edits.defaults, **edits.values}
        self._added = sorted(self._adding)

    def pieces(self) -> Iterator[bytes | memoryview]:
        source, levels = self._source, self._levels
        while True:
            while levels and levels[-1].end == source.at:
                yield _delimiter(ITEM_END if levels.pop().is_item else SEQUENCE_END)
            if not levels and source.is_over():
                yield from self._added_before(None)
                return
            group, number = self._tag.unpack(source.take(self._tag.size))
            tag = group << 16 | number
            if tag in _DELIMITERS:
                yield self._delimited(tag)
            elif levels and not levels[-1].is_item:
                raise Unwritable("an element outside an item")
            elif levels:
                yield from self._element(tag)
            else:
                yield from self._added_before(tag)
                if tag == _PIXEL_DATA and self._edits.pixels is not None:
                    vr, length, pixels = self._edits.pixels
                    yield self._written(tag, vr, length)
                    yield from pixels
                    return
                element = self._element(tag)
                if tag in self._edits.values or tag in self._edits.without:
                    self._left_out(tag, element)
                else:
                    yield from element

    def _added_before(self, tag: int | None) -> Iterator[bytes]:
        """Put in what stands up to a tag, that itself included; None: all that is left."""
        added = self._added
        while added and (tag is None or added[0] <= tag):
            each = added.pop(0)
            if each != tag or each in self._edits.values:
                vr, value = self._adding[each]
                yield self._written(each, vr, len(value)) + value

    def _left_out(self, tag: int, element: Iterator[bytes | memoryview]) -> None:
        for _ in element:
            if self._levels:
                raise Unwritable(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is a sequence")

    def _delimited(self, tag: int) -> bytes:
        (length,) = self._long.unpack(self._source.take(self._long.size))
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
        reads_explicit = self._levels[-1].explicit if self._levels else self._reads_explicit
        vr, length = self._header(tag, reads_explicit)
        if vr == "SQ" or length == _UNDEFINED:
            if vr not in ("SQ", "UN"):
                raise Unwritable("an element of undefined length that is no sequence")
            if vr == "UN" and self._is_big:
                raise Unwritable("a sequence of unknown VR in Big Endian")
            # PS3.5 6.2.2: UN of undefined length is a sequence in Implicit VR.
            self._open(length, is_item=False, explicit=reads_explicit and vr == "SQ")
            yield self._written(tag, "SQ", _UNDEFINED)
            return
        self._check_end(length)
        values: Iterator[bytes | memoryview] = self._source.values(length)
        if not tag & 0xFFFF:
            for _ in values:
                pass
            return
        yield self._written(tag, vr, length)
        if self._is_big:
            values = _turned(values, self._width(tag, vr))
        if tag in (_PIXEL_REPRESENTATION, _BITS_ALLOCATED):
            value = b"".join(values)
            self._note(tag, value)
            yield value
        else:
            yield from values

    def _note(self, tag: int, value: bytes) -> None:
        """Remember what values that follow are read by."""
        if tag == _PIXEL_REPRESENTATION:
            self._signed = value[:1] == b"\1"
        elif not self._levels and value[:1] in (b"\x20", b"\x40"):
            # Pixels of 32 bits are one number each, though their VR is OW.
            self._pixel_width = value[0] // 8

    def _width(self, tag: int, vr: str) -> int:
        if tag == _PIXEL_DATA and vr == "OW" and not self._levels:
            return self._pixel_width
        return _WIDTHS.get(vr, 1)

    def _header(self, tag: int, reads_explicit: bool) -> tuple[str, int]:
        take = self._source.take
        if not reads_explicit:
            return self._vr(tag), self._long.unpack(take(4))[0]
        vr = take(2).decode("latin-1")
        if vr in SHORT_FORM:
            return vr, self._short.unpack(take(2))[0]
        if not (vr.isascii() and vr.isalpha() and vr.isupper()):
            raise Unwritable("an element without a VR")
        return vr, self._long.unpack(take(6)[2:])[0]

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


def _turned(pieces: Iterable[bytes | memoryview], width: int) -> Iterator[bytes | memoryview]:
    """Put each `width` bytes the other way round."""
    if width == 1:
        yield from pieces
        return
    kept = b""
    for piece in pieces:
        data = kept + bytes(piece)
        whole = len(data) // width * width
        numbers = array(_ARRAYS[width], data[:whole])
        numbers.byteswap()
        kept = data[whole:]
        yield numbers.tobytes()
    yield kept  # no number: as it is


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
