"""Frames of compressed pixel data made native (PS3.5 8.1, 8.2), one after another; in the child.

Whoever asks for frame 1, 2, 3 … of one object has its header read once, and of the object so
much as the frames need. A frame comes as its pixels are stored in Explicit VR Little Endian,
colours by pixel, with what the attributes that describe them say then.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import UID, ExplicitVRLittleEndian

from mwl.pictures import codecs
from mwl.pictures.frame import check, enter

Told = tuple[Any, dict[str, Any]]  # a frame's array, and what pydicom says of it


@dataclass(slots=True)
class _Open:
    """An object whose frames are being asked for."""

    key: str
    header: Dataset
    frames: Iterator[Told] | None  # None: it has no pixels
    next: int = 1


_open: list[_Open] = []
_NO_PIXELS = {
    "frames": 0,
    "bits_allocated": 0,
    "samples_per_pixel": 0,
    "photometric_interpretation": "",
}


def native(file: BinaryIO, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Give frame `frame` (from 1, each the one after the last) and tell of all of them.

    `frames`, `bits_allocated`, `samples_per_pixel`, `photometric_interpretation`; no frames
    where there are no pixels.
    """
    number = request["frame"]
    opened = _open.pop() if _open else None
    if opened is None or (opened.key, opened.next) != (request["key"], number):
        opened = _opened(file, request["key"])
    if number != opened.next:
        raise ValueError("frames are given one after another")
    header = opened.header
    if opened.frames is None:
        return _NO_PIXELS, b""
    told = next(opened.frames, None)
    frames = max(1, int(header.get("NumberOfFrames") or 1))
    if told is None:
        raise ValueError(f"it claims {frames} frames and has {number - 1}")
    array, properties = told
    opened.next += 1
    if number < frames:
        _open.append(opened)
    bits = int(header.BitsAllocated)
    kind = str(properties["photometric_interpretation"])
    said = {
        "frames": frames,
        "bits_allocated": bits,
        "samples_per_pixel": int(header.get("SamplesPerPixel") or 1),
        # As YBR_FULL_422 two pixels would share their colours; decoded, each has its own.
        "photometric_interpretation": "YBR_FULL" if kind == "YBR_FULL_422" else kind,
    }
    return said, _bytes(array, header, bits)


def _opened(file: BinaryIO, key: str) -> _Open:
    header = dcmread(file, force=True, stop_before_pixels=True)
    before = file.tell()
    if not file.read(1):
        return _Open(key, header, None)
    file.seek(before)
    check(header, 0)
    if int(header.BitsAllocated) not in (8, 16, 32, 64):
        raise ValueError(f"it has {header.BitsAllocated} bits allocated")
    return _Open(key, header, _frames(file, header))


def _frames(file: BinaryIO, header: Dataset) -> Iterator[Told]:
    syntax = UID(header.file_meta.TransferSyntaxUID)
    options = as_pixel_options(header) | enter(file, header)
    own = codecs.OWN.get(syntax)
    if own is None:
        decode = get_decoder(syntax).iter_array
        plugin = codecs.PLUGINS[syntax]
        yield from decode(file, decoding_plugin=plugin, raw=True, **options)
        return
    plain = get_decoder(ExplicitVRLittleEndian)
    offsets = options.pop("extended_offsets", None)
    frames = options["number_of_frames"]
    for encoded in generate_frames(file, number_of_frames=frames, extended_offsets=offsets):
        of_frame = {**options, "number_of_frames": 1}
        yield plain.as_array(own(encoded, of_frame), index=0, raw=True, **of_frame)


def _bytes(array: Any, header: Dataset, bits: int) -> bytes:
    """Write a frame in as many bits as its header says."""
    if array.shape[:2] != (header.Rows, header.Columns):
        raise ValueError("the pixels are not as many as the header says")
    if array.dtype.itemsize * 8 > bits:
        raise ValueError(f"its pixels have more than the {bits} bits that it claims")
    is_signed = header.get("PixelRepresentation") == 1
    wide = array.astype(np.dtype(f"{'i' if is_signed else 'u'}{bits // 8}"), copy=False)
    if sys.byteorder == "big":
        wide = wide.byteswap()
    return bytes(wide.tobytes())
