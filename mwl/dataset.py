"""Read a small data set, a query's identifier or a worklist file, with every bound checked.

Element lengths are held against what is there, before anything is kept; sequences nest so
deep and no deeper; nothing is inflated. What comes out is a tree of raw values: whoever
knows the attributes gives them meaning.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from re import findall
from struct import Struct

from mwl.errors import Fault, Reason, Rejected

MAX_BYTES = 256 * 1024
MAX_ELEMENTS = 512  # scanners ask for some 60
MAX_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a data set may be (in bytes), how many elements it holds, how deep they nest."""

    max_bytes: int = MAX_BYTES
    max_elements: int = MAX_ELEMENTS
    max_depth: int = MAX_DEPTH


DEFAULT = Bounds()

_TAG = Struct("<HH")
_LONG = Struct("<I")
_SHORT = Struct("<H")
_UNDEFINED = 0xFFFFFFFF

ITEM = 0xFFFEE000
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD

# PS3.5 7.1.2: these have 16-bit lengths; the others, and those still to come, 32-bit ones.
SHORT_FORM = frozenset(findall("..", "AEASATCSDADSDTFDFLISLOLTPNSHSLSSSTTMUIULUS"))
_UNKNOWN = "UN"
# Of these the last bytes are no padding, but part of a number or of what nobody can tell.
_BINARY = frozenset(findall("..", "ATFDFLOBODOFOLOVOWSLSSSVULUSUV"))
_SPECIFIC_CHARACTER_SET = 0x00080005


@dataclass(frozen=True, slots=True)
class Element:
    """An attribute as sent: `items` of a sequence, else `value` (of a text without padding)."""

    tag: int
    vr: str
    value: bytes = b""
    items: "tuple[DataSet, ...]" = field(default=())


DataSet = Mapping[int, Element]  # by tag, ascending
VrOf = Callable[[int], str]


def read(
    data: bytes,
    *,
    explicit: bool,
    vr_of: VrOf,
    bounds: Bounds = DEFAULT,
    unended: bool = False,
) -> DataSet:
    """Read a data set in Explicit or Implicit VR Little Endian.

    `vr_of` gives the VR of a tag, "UN" if unknown. `unended`: sequences and items of undefined
    length may end with the data, or with what they are in. Raises Rejected: MALFORMED for
    lengths that don't add up, TOO_LONG for more than `bounds` allow.
    """
    if len(data) > bounds.max_bytes:
        raise Rejected(Fault(Reason.TOO_LONG, "", f"more than {bounds.max_bytes} bytes"))
    reader = _Reader(data, vr_of, bounds, unended)
    return reader.elements(0, len(data), explicit=explicit, depth=0)[0]


def character_sets(data_set: DataSet) -> tuple[str, ...]:
    """Read the values of (0008,0005); none: ()."""
    element = data_set.get(_SPECIFIC_CHARACTER_SET)
    if element is None or not element.value:
        return ()
    return tuple(term.strip() for term in element.value.decode("latin-1").split("\\"))


class _Reader:
    def __init__(self, data: bytes, vr_of: VrOf, bounds: Bounds, unended: bool) -> None:
        self._data, self._vr_of, self._bounds, self._unended = data, vr_of, bounds, unended
        self._left = bounds.max_elements

    def elements(
        self, start: int, end: int, *, explicit: bool, depth: int, open_ended: bool = False
    ) -> tuple[DataSet, int]:
        """Read elements up to `end`, or up to an item's end if that is `open_ended`."""
        keys: dict[int, Element] = {}
        at = start
        while at < end:
            tag, at = self._tag(at, end)
            if tag == ITEM_END and open_ended:
                return _sorted(keys), self._length(at, end)[1]
            if open_ended and self._unended and tag in (ITEM, SEQUENCE_END):
                return _sorted(keys), at - _TAG.size  # the sequence's to read
            key, at = self._element(tag, at, end, explicit=explicit, depth=depth)
            # PS3.5 7.2: group lengths are retired and may be sent still; they ask for nothing.
            if tag & 0xFFFF:
                keys[tag] = key
        if open_ended and not self._unended:
            raise _malformed("an item without its end")
        return _sorted(keys), at

    def _element(
        self, tag: int, at: int, end: int, *, explicit: bool, depth: int
    ) -> tuple[Element, int]:
        self._left -= 1
        if self._left < 0:
            text = f"more than {self._bounds.max_elements} elements"
            raise Rejected(Fault(Reason.TOO_LONG, "", text))
        if tag >> 16 == 0xFFFE:
            raise _malformed("an item outside a sequence")
        if explicit:
            vr, length, at = self._explicit_header(at, end)
        else:
            vr = self._vr_of(tag)
            length, at = self._length(at, end)
        if length == _UNDEFINED:
            # PS3.5 6.2.2: UN of undefined length is a sequence in Implicit VR.
            explicit = explicit and vr != _UNKNOWN
            items, at = self._items(at, end, explicit=explicit, depth=depth, open_ended=True)
            return Element(tag, "SQ", items=items), at
        if length > end - at:
            raise _malformed("an element that claims more bytes than there are")
        if vr == "SQ":
            items, at = self._items(at, at + length, explicit=explicit, depth=depth)
            return Element(tag, vr, items=items), at
        value = self._data[at : at + length]
        return Element(tag, vr, value if vr in _BINARY else value.rstrip(b"\0 ")), at + length

    def _items(
        self, at: int, end: int, *, explicit: bool, depth: int, open_ended: bool = False
    ) -> tuple[tuple[DataSet, ...], int]:
        if depth >= self._bounds.max_depth:
            text = f"sequences nest deeper than {self._bounds.max_depth}"
            raise Rejected(Fault(Reason.TOO_LONG, "", text))
        items: list[DataSet] = []
        while at < end:
            began = at
            tag, at = self._tag(at, end)
            if self._unended and open_ended and tag not in (ITEM, SEQUENCE_END):
                return tuple(items), began  # what follows is of what it is in
            length, at = self._length(at, end)
            if tag == SEQUENCE_END and open_ended:
                return tuple(items), at
            if tag != ITEM or (length != _UNDEFINED and length > end - at):
                raise _malformed("a sequence that holds no whole items")
            is_open = length == _UNDEFINED
            item, at = self.elements(
                at,
                end if is_open else at + length,
                explicit=explicit,
                depth=depth + 1,
                open_ended=is_open,
            )
            items.append(item)
        if open_ended and not self._unended:
            raise _malformed("a sequence without its end")
        return tuple(items), at

    def _tag(self, at: int, end: int) -> tuple[int, int]:
        if end - at < _TAG.size:
            raise _malformed("cut short")
        group, element = _TAG.unpack_from(self._data, at)
        return group << 16 | element, at + _TAG.size

    def _length(self, at: int, end: int) -> tuple[int, int]:
        if end - at < _LONG.size:
            raise _malformed("cut short")
        return _LONG.unpack_from(self._data, at)[0], at + _LONG.size

    def _explicit_header(self, at: int, end: int) -> tuple[str, int, int]:
        if end - at < 4:
            raise _malformed("cut short")
        vr = self._data[at : at + 2].decode("latin-1")
        if not (vr.isascii() and vr.isalpha() and vr.isupper()):
            raise _malformed("an element without a VR")
        if vr in SHORT_FORM:
            return vr, _SHORT.unpack_from(self._data, at + 2)[0], at + 4
        length, at = self._length(at + 4, end)
        return vr, length, at


def _sorted(keys: dict[int, Element]) -> DataSet:
    return dict(sorted(keys.items()))


def _malformed(text: str) -> Rejected:
    return Rejected(Fault(Reason.MALFORMED, "", text))
