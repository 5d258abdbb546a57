"""A data set of an MPPS as lines for people, each text read with its own character set.

It came over the network, so its bounds are those that it was taken within (`mwl.dataset`),
and what is long is told by its length.
"""

import struct
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from pydicom.datadict import dictionary_VR, keyword_for_tag

from mwl import charsets, dataset
from mwl.dataset import Bounds, DataSet, Element

_EXPLICIT = "1.2.840.10008.1.2.1"
_BOUNDS = Bounds(max_bytes=16 * 1024 * 1024, max_elements=200_000, max_depth=12)
MOST_LINES = 2_000
_LONGEST = 200  # characters of a value
# PS3.5 6.2: numbers, little endian.
_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_BYTES = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})


class Line(NamedTuple):
    """An element, or the beginning of an item; `depth` counts the sequences around it."""

    depth: int
    tag: str
    name: str
    vr: str = ""
    value: str = ""


def lines(data: bytes, transfer_syntax: str) -> list[Line]:
    """Write a data set as lines, the first thousands. Raises Rejected (`mwl.dataset.read`)."""
    is_explicit = transfer_syntax == _EXPLICIT
    read = dataset.read(data, explicit=is_explicit, vr_of=_vr, bounds=_BOUNDS)
    return list(islice(_walk(read, 0, ()), MOST_LINES))


def _vr(tag: int) -> str:
    try:
        # Of those that depend on something else, the first is a number's.
        return dictionary_VR(tag).partition(" or ")[0]
    except KeyError:
        return "UN"


def _walk(data_set: DataSet, depth: int, terms: tuple[str, ...]) -> Iterator[Line]:
    terms = dataset.character_sets(data_set) or terms
    for element in data_set.values():
        tag = f"({element.tag >> 16:04X},{element.tag & 0xFFFF:04X})"
        name = keyword_for_tag(element.tag)
        if element.vr != "SQ":
            yield Line(depth, tag, name, element.vr, _text(element, terms))
            continue
        yield Line(depth, tag, name, "SQ", "" if element.items else "empty")
        for number, item in enumerate(element.items, 1):
            yield Line(depth + 1, "", f"Item {number}")
            yield from _walk(item, depth + 1, terms)


def _text(element: Element, terms: tuple[str, ...]) -> str:
    value = element.value
    if element.vr in _BYTES:
        return f"{len(value):,} bytes" if value else ""
    if code := _NUMBERS.get(element.vr):
        size = struct.calcsize(code)
        whole = value[: min(len(value) // size, _LONGEST) * size]
        return "\\".join(str(number) for (number,) in struct.iter_unpack(f"<{code}", whole))
    if element.vr == "AT":
        whole = value[: len(value) // 4 * 4]
        return "\\".join(
            f"({group:04X},{each:04X})" for group, each in struct.iter_unpack("<HH", whole)
        )
    text = charsets.specific_character_set(value, terms).text
    text = "".join(character for character in text if character.isprintable())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"
