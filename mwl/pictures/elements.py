"""All elements of an object's header, for people; in the child.

Lines are (depth, tag, keyword or name, VR, value). Pixel data are not read, and what is long
is told by its length.
"""

from itertools import islice
from typing import Any, BinaryIO

from pydicom import dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

MOST_LINES = 3_000
MOST_DEPTH = 12
MOST_ITEMS = 100  # of one sequence
_LONGEST = 200  # characters of a value
_LONGEST_READ = 64 * 1024  # bytes; of what is longer the length will do
_BYTES = ("OB", "OW", "OD", "OF", "OL", "OV", "UN")
_MOST_VALUES = 64

Line = tuple[int, str, str, str, str]


def header(file: BinaryIO, _request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """List the elements before the pixel data, file meta first."""
    found = dcmread(file, force=True, stop_before_pixels=True)
    lines: list[Line] = []
    _list(found.file_meta, 0, lines)
    _list(found, 0, lines)
    return {"lines": lines[:MOST_LINES], "is_cut": len(lines) > MOST_LINES}, b""


def _list(data_set: Dataset, depth: int, lines: list[Line]) -> None:
    for tag in sorted(data_set.keys()):
        if len(lines) > MOST_LINES:
            return
        _add(data_set, tag, depth, lines)


def _add(data_set: Dataset, tag: Any, depth: int, lines: list[Line]) -> None:
    name = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
    raw = data_set.get_item(tag)
    length = len(raw.value) if isinstance(getattr(raw, "value", None), bytes) else 0
    if length > _LONGEST_READ:
        lines.append((depth, name, keyword_for_tag(tag), str(raw.VR or ""), f"{length} bytes"))
        return
    try:
        element = data_set[tag]
        is_sequence, value = element.VR == "SQ", _text(element)
    except Exception as error:  # one value that can't be read hides no other
        lines.append((depth, name, keyword_for_tag(tag), "", f"can't be read: {error}"[:_LONGEST]))
        return
    label = element.keyword or (element.name if tag.is_private else "")
    lines.append((depth, name, label, str(element.VR), value))
    if is_sequence:
        _list_items(element, depth + 1, lines)


def _list_items(element: DataElement, depth: int, lines: list[Line]) -> None:
    if depth > MOST_DEPTH:
        lines.append((depth, "", "", "", "… deeper ones are left out"))
        return
    for number, item in enumerate(islice(element.value, MOST_ITEMS), 1):
        lines.append((depth, "", f"Item {number}", "", ""))
        _list(item, depth + 1, lines)
    if len(element.value) > MOST_ITEMS:
        lines.append((depth, "", "", "", f"… {len(element.value) - MOST_ITEMS} more items"))


def _text(element: DataElement) -> str:
    value = element.value
    if element.VR == "SQ":
        return f"{len(value)} item{'' if len(value) == 1 else 's'}"
    if value is None:
        return ""
    if element.VR in _BYTES and isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__") or element.VR == "PN":
        text = str(value)
    else:
        text = "\\".join(str(each) for each in islice(value, _MOST_VALUES))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
