"""The attributes that an instance is found by, read while its data set comes in.

Every top-level element is visited, to the end of the data set, most of them by jumping over
their length: what is cut short, or claims a length that nothing stands behind, is found out.
Sequences of undefined length have to be walked to find their ends; others only where an
attribute in them is wanted. Nothing recurses, and no more is kept than the wanted values.
"""

from dataclasses import dataclass, field
from struct import Struct

from mwl.dataset import ITEM, ITEM_END, SEQUENCE_END, SHORT_FORM
from mwl.errors import Fault, Reason, Rejected

MAX_DEPTH = 64  # of items in items, as far as they are walked
MAX_ELEMENTS = 10_000_000
MAX_VALUE_BYTES = 8 * 1024  # of a wanted value; longer ones count as absent
MAX_REQUESTS = 64  # items of (0040,0275)

REQUEST_ATTRIBUTES = 0x00400275
_PIXEL_DATA = 0x7FE00010

_UNDEFINED = 0xFFFFFFFF
_DELIMITERS = 0xFFFE  # the group of items and of what ends them
_SHORT = frozenset(vr.encode() for vr in SHORT_FORM)
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # PS3.5 7.1.2
_VRS = _SHORT | _LONG
_UNKNOWN = b"UN"
_OF_SEQUENCES = (b"SQ", _UNKNOWN, b"")  # the last: Implicit VR doesn't say
_HEADER = 8  # bytes of tag, VR and a short length; of tag and length of an item

Values = dict[int, bytes]  # by tag, as sent


@dataclass(frozen=True, slots=True)
class Header:
    """What was found: top-level values, and those of each item of (0040,0275)."""

    values: Values = field(default_factory=dict)
    requests: list[Values] = field(default_factory=list)


@dataclass(slots=True)
class _Level:
    """Where the walk is: in a data set or an item, or between the items of a sequence.

    `end` is where it ends, counted from the data set's first byte; None: at its delimiter,
    the data set itself with the last byte. `into` takes the values of `wanted`.
    """

    is_sequence: bool
    end: int | None
    explicit: bool
    wanted: frozenset[int] = frozenset()
    into: Values = field(default_factory=dict)
    is_request: bool = False


class Scanner:
    """Read a data set's header out of its pieces.

    `wanted` are tags of the top level, `of_requests` those in items of (0040,0275). Whether
    VRs are explicit is seen in the first element; the order of bytes is not. Where pixels
    have to be `encapsulated` (PS3.5 A.4), native ones are refused: nobody could read them.
    """

    def __init__(
        self,
        wanted: frozenset[int],
        of_requests: frozenset[int],
        *,
        big: bool,
        encapsulated: bool = False,
    ) -> None:
        self.header = Header()
        # What must not have a length of its own.
        self._fragmented = _PIXEL_DATA if encapsulated else None
        self._of_requests = of_requests
        order = ">" if big else "<"
        self._explicit_header = Struct(f"{order}HH2sH").unpack_from
        self._implicit_header = Struct(f"{order}HHI").unpack_from
        self._long = Struct(f"{order}I").unpack_from
        self._level = _Level(False, None, True, wanted, self.header.values)
        self._above: list[_Level] = []
        self._at = 0  # in the data set: what comes next, or the beginning of `_rest`
        self._skip = 0  # so many bytes that come are of no interest
        self._rest = bytearray()  # the beginning of an element
        self._need = _HEADER  # so much of it must be there to go on
        self._left = MAX_ELEMENTS
        self._is_judged = False

    def feed(self, fragment: memoryview) -> None:
        """Take the next piece. Raises Rejected."""
        size = len(fragment)
        if self._skip >= size:
            self._skip -= size
            self._at += size
        elif not self._rest:
            start, self._skip = self._skip, 0
            self._at += start
            self._use(fragment, start)
        else:
            self._rest += fragment
            if len(self._rest) >= self._need:
                data, self._rest = self._rest, bytearray()
                self._use(data, 0)

    def finish(self) -> Header:
        """Learn that this was all. Raises Rejected where more was announced."""
        while self._above and self._level.end == self._at:
            self._level = self._above.pop()
        # Zeros are padding that some put behind a data set.
        if self._skip or self._rest.strip(b"\0") or self._above:
            raise malformed("the data set is cut short")
        return self.header

    def _use(self, data: memoryview | bytearray, start: int) -> None:
        """Walk on from `start`; remember what is left over, or how much is to be skipped."""
        at, size = start, len(data)
        if not self._is_judged and size >= _HEADER:
            # Some senders write Implicit VR whatever was agreed on, or the reverse of it.
            self._level.explicit = bytes(data[4:6]) in _VRS
            self._is_judged = True
        base = self._at - start  # where `data` begins in the data set
        is_over = False
        while not is_over:
            walk = self._items if self._level.is_sequence else self._elements
            at, is_over = walk(data, at, base)
        self._skip = max(0, at - size)
        self._at = base + min(at, size)
        self._rest += data[at:]

    def _elements(self, data: memoryview | bytearray, at: int, base: int) -> tuple[int, bool]:
        """Visit elements up to the end of their level, or of `data`: then the second is True."""
        level, size, left = self._level, len(data), self._left
        explicit, wanted, of_top = level.explicit, level.wanted, not self._above
        header = self._explicit_header if explicit else self._implicit_header
        # Icons in items may be native (PS3.5 A.4).
        fragmented = self._fragmented if of_top else None
        end = None if level.end is None else level.end - base
        self._need = _HEADER
        vr = b""
        while size - at >= _HEADER and (end is None or at < end):
            if explicit:
                group, number, vr, length = header(data, at)
            else:
                group, number, length = header(data, at)
            if group == _DELIMITERS:
                return self._item_end(number, at), False
            start = at + _HEADER
            if explicit and vr not in _SHORT and vr.isalpha() and vr.isupper():
                if size < start + 4:
                    self._need = _HEADER + 4
                    break
                (length,) = self._long(data, start)
                start += 4
            left -= 1
            tag = group << 16 | number
            following = start + length
            is_request = of_top and tag == REQUEST_ATTRIBUTES and vr in _OF_SEQUENCES
            if length == _UNDEFINED or is_request:
                self._left = left
                until = None if length == _UNDEFINED else base + following
                # PS3.5 6.2.2: UN of undefined length is Implicit VR inside.
                self._enter(_Level(True, until, explicit and vr != _UNKNOWN, is_request=is_request))
                return start, False
            if end is not None and following > end:
                raise malformed("an element is longer than what holds it")
            if tag == fragmented:
                raise malformed("pixel data are not encapsulated")
            if tag in wanted and length <= MAX_VALUE_BYTES:
                if following > size:
                    self._need = following - at
                    break
                level.into[tag] = bytes(data[start:following])
            at = following
        self._left = left
        return self._ended(at, end)

    def _items(self, data: memoryview | bytearray, at: int, base: int) -> tuple[int, bool]:
        """Visit items as `_elements` does elements; most are jumped over."""
        level, size = self._level, len(data)
        end = None if level.end is None else level.end - base
        self._need = _HEADER
        while size - at >= _HEADER and (end is None or at < end):
            group, number, length = self._implicit_header(data, at)
            tag = group << 16 | number
            start = at + _HEADER
            self._left -= 1
            if tag == SEQUENCE_END and end is None:
                self._level = self._above.pop()
                return start, False
            if tag != ITEM:
                raise malformed("a sequence that holds something else than items")
            is_wanted = level.is_request and len(self.header.requests) < MAX_REQUESTS
            if length != _UNDEFINED and end is not None and start + length > end:
                raise malformed("an item is longer than its sequence")
            if length == _UNDEFINED or is_wanted:
                item = _Level(
                    False, None if length == _UNDEFINED else base + start + length, level.explicit
                )
                if is_wanted:
                    item.wanted = self._of_requests
                    self.header.requests.append(item.into)
                self._enter(item)
                return start, False
            at = start + length
        return self._ended(at, end)

    def _ended(self, at: int, end: int | None) -> tuple[int, bool]:
        """Leave a level whose length is used up; else wait for more."""
        if self._left < 0:
            raise Rejected(Fault(Reason.TOO_LONG, "", f"more than {MAX_ELEMENTS} elements"))
        if end is None or at < end:
            if end is not None and end - at < self._need:
                raise malformed("an element is longer than what holds it")
            return at, True
        self._level = self._above.pop()
        return at, False

    def _item_end(self, number: int, at: int) -> int:
        if number != ITEM_END & 0xFFFF or not self._above or self._level.end is not None:
            raise malformed("a delimiter where none can be")
        self._level = self._above.pop()
        return at + _HEADER

    def _enter(self, level: _Level) -> None:
        if len(self._above) >= 2 * MAX_DEPTH:
            raise Rejected(Fault(Reason.TOO_LONG, "", f"items more than {MAX_DEPTH} deep"))
        self._above.append(self._level)
        self._level = level


def malformed(text: str) -> Rejected:
    """Make the error of a data set that can't be read."""
    return Rejected(Fault(Reason.MALFORMED, "", text))
