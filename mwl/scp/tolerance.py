"""What scanners do wrong in queries, or can't read in answers, and how that is made up for.

That is done where a device's settings say so (`tolerates`, `ignore`); anybody else is answered
as the standard wants. The identifier is put right before its keys are read, an answer after it
is encoded, so that nothing in between knows of it.

- dates: days and times in other forms than PS3.5 6.2 has: 2030-01-02, 2030/01/02, 2030*,
  20300102, with a comma behind, with a time behind, several instead of a range, a range whose
  ends are swapped, 9:30, 2400. What still can't be read is not looked at.
- long-values: an AE title or code is cut to its 16 characters, as the scanner itself cuts it
  when it calls. An identifier is not, for it would be another's: it is asked for by the short
  one that stands for it (`mwl.shortened`), as barcodes hold the long one.
- wildcards: `*` and `?` where a single value alone is matched; keys.py reads them.
- bare-names: Doe means Doe*.
- open-sequences: sequences and items end with the data set; `mwl.dataset` reads them.
- ff01: never sent; FF00 instead.
- empty-sequences: sequences without an item are left out of answers.
- undefined-lengths: sequences and items tell their lengths.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from typing import Any

from mwl.config import DeviceWorklist
from mwl.dataset import ITEM, ITEM_END, SEQUENCE_END, SHORT_FORM, DataSet, Element
from mwl.scp.answers import Asker, Plan
from mwl.scp.attributes import tag_of, vr_of
from mwl.shortened import shorten

_CUT = {"AE": 16, "CS": 16}
_STOOD_FOR = {"SH": 16, "LO": 64}


def put_right(keys: DataSet, shown: DeviceWorklist) -> DataSet:
    """Give the keys of a device's identifier as it means them."""
    ignored = frozenset(map(tag_of, shown.ignore))
    mend = _mender(shown.tolerates)
    if not ignored and mend is None:
        return keys
    return _each(keys, ignored, mend or _as_sent)


Mend = Callable[[str, bytes], bytes]


def _as_sent(_vr: str, value: bytes) -> bytes:
    return value


def _each(keys: DataSet, ignored: frozenset[int | None], mend: Mend) -> DataSet:
    return {tag: _one(key, ignored, mend) for tag, key in keys.items()}


def _one(key: Element, ignored: frozenset[int | None], mend: Mend) -> Element:
    blank = key.tag in ignored
    if key.items:
        inside = frozenset(tag for item in key.items for tag in item) if blank else ignored
        items = tuple(_each(item, inside, mend) for item in key.items)
        return Element(key.tag, key.vr, items=items)
    if blank or not key.value:
        return Element(key.tag, key.vr)
    known = vr_of(key.tag)
    return Element(key.tag, key.vr, mend(key.vr if known == "UN" else known, key.value))


def _mender(tolerates: Iterable[str]) -> Mend | None:
    menders = [_MENDERS[name] for name in tolerates if name in _MENDERS]
    if not menders:
        return None

    def mend(vr: str, value: bytes) -> bytes:
        for each in menders:
            value = each(vr, value)
        return value

    return mend


# --- days and times

_DAY = re.compile(r"(\d{4})[-./]?(0[1-9]|1[0-2])[-./]?(0[1-9]|[12]\d|3[01])(?:[T ]?\d{2,6}(?!\d))?")
_SOME_DAYS = re.compile(r"(\d{4})(0[1-9]|1[0-2])?[*?]+")
_MOMENT = re.compile(
    r"(?<!\d)(?:([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?|([01]\d|2[0-4])([0-5]\d)?([0-5]\d)?)"
    r"(?:[.]\d+)?(?!\d)"
)


def _dates(vr: str, value: bytes) -> bytes:
    if vr not in ("DA", "TM"):
        return value
    text = value.decode("ascii", "replace").strip(" ,;")
    return (_days(text) if vr == "DA" else _moments(text)).encode()


def _days(text: str) -> str:
    some = _SOME_DAYS.fullmatch(text)
    if some:
        year, month = some.groups()
        return f"{year}{month or '01'}01-{year}{month or '12'}31"
    found = sorted("".join(day.groups()) for day in _DAY.finditer(text))
    return _range(found, text)


def _moments(text: str) -> str:
    found = []
    for moment in _MOMENT.finditer(text):
        parts = [part for part in moment.groups() if part]
        # 2400 is how an hour may be called that ends a day.
        found.append("235959" if parts[0] == "24" else "".join(part.zfill(2) for part in parts))
    # Not sorted: from 18 on the first day to 06 on the last is what both mean together.
    return _range(found, text)


def _range(found: list[str], text: str) -> str:
    if len(found) > 1:
        return f"{found[0]}-{found[-1]}"
    if not found:
        return ""
    return "-" * text.startswith("-") + found[0] + "-" * text.endswith("-")


# --- texts


def _long_values(vr: str, value: bytes) -> bytes:
    longest = _CUT.get(vr) or _STOOD_FOR.get(vr)
    if longest is None or len(value) <= longest or not value.isascii():
        return value
    values = [each.strip() for each in value.decode("ascii").split("\\")]
    if vr in _CUT:
        return "\\".join(each[:longest].rstrip() for each in values).encode()
    return "\\".join(
        shorten(each, longest) if len(each) > longest else each for each in values
    ).encode()


def _bare_names(vr: str, value: bytes) -> bytes:
    if vr != "PN":
        return value
    # In an escaped character set an "=" may be half of a character.
    groups = [value] if b"\x1b" in value else value.split(b"=")
    return b"=".join(
        group
        if not group.strip(b"^ ") or b"*" in group or b"?" in group
        else group.rstrip(b" ") + b"*"
        for group in groups
    )


_MENDERS: dict[str, Mend] = {
    "dates": _dates,
    "long-values": _long_values,
    "bare-names": _bare_names,
}


# --- answers

_UNDEFINED = 0xFFFFFFFF
_TAG = Struct("<HH")
_LONG = Struct("<I")
_SHORT = Struct("<H")
_LEFT_OUT, _DEFINED = "empty-sequences", "undefined-lengths"


def plan_for(keys: DataSet, asker: Asker, tolerates: Iterable[str]) -> Plan:
    """Make the plan of answers that a device can read."""
    faults = frozenset(tolerates) & {_LEFT_OUT, _DEFINED}
    return _Plain(keys, asker, faults) if faults else Plan(keys, asker)


class _Plain(Plan):
    """A plan whose answers are put into a simpler form."""

    def __init__(self, keys: DataSet, asker: Asker, faults: frozenset[str]) -> None:
        super().__init__(keys, asker)
        self._form = _Form(asker.explicit, _LEFT_OUT in faults, _DEFINED in faults)

    def encode(self, row: Sequence[Any]) -> bytes:
        return self._form.elements(super().encode(row), 0)[0]


class _Form:
    """Write our own data sets anew; they are well formed, and their sequences open-ended."""

    def __init__(self, explicit: bool, no_empty: bool, defined: bool) -> None:
        self._explicit, self._no_empty, self._defined = explicit, no_empty, defined

    def elements(self, data: bytes, at: int) -> tuple[bytes, int]:
        """Write elements up to the end of the data, or of their item; tell where that is."""
        parts: list[bytes] = []
        while at < len(data):
            tag = _tag(data, at)
            if tag == ITEM_END:
                return b"".join(parts), at + 8
            size, length = self._header(data, at)
            if length == _UNDEFINED:
                head = data[at : at + size - _LONG.size]
                items, at = self._items(data, at + size)
                if items or not self._no_empty:
                    parts.append(self._sequence(head, items))
                continue
            if length or not self._no_empty or vr_of(tag) != "SQ":
                parts.append(data[at : at + size + length])
            at += size + length
        return b"".join(parts), at

    def _items(self, data: bytes, at: int) -> tuple[list[bytes], int]:
        items: list[bytes] = []
        while _tag(data, at) != SEQUENCE_END:
            item, at = self.elements(data, at + 8)
            items.append(item)
        return items, at + 8

    def _sequence(self, head: bytes, items: list[bytes]) -> bytes:
        inside = b"".join(self._enclosed(_ITEM, item, _ITEM_END) for item in items)
        return self._enclosed(head, inside, _SEQUENCE_END)

    def _enclosed(self, head: bytes, inside: bytes, end: bytes) -> bytes:
        if self._defined:
            return head + _LONG.pack(len(inside)) + inside
        return head + _LONG.pack(_UNDEFINED) + inside + end

    def _header(self, data: bytes, at: int) -> tuple[int, int]:
        """Tell how long the header is, and the value."""
        if not self._explicit:
            return 8, _LONG.unpack_from(data, at + 4)[0]
        if data[at + 4 : at + 6].decode("latin-1") in SHORT_FORM:
            return 8, _SHORT.unpack_from(data, at + 6)[0]
        return 12, _LONG.unpack_from(data, at + 8)[0]


def _tag(data: bytes, at: int) -> int:
    group, element = _TAG.unpack_from(data, at)
    return int(group << 16 | element)


def _bytes_of(tag: int) -> bytes:
    return _TAG.pack(tag >> 16, tag & 0xFFFF)


_ITEM = _bytes_of(ITEM)
_ITEM_END = _bytes_of(ITEM_END) + bytes(4)
_SEQUENCE_END = _bytes_of(SEQUENCE_END) + bytes(4)
