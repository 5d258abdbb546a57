"""A frame of a stored object as PNG, in the child.

Of the object its header is read, and of the pixel data that frame alone; only what is
deflated has to be read whole. What the header claims is held against bounds before
anything is decoded.
"""

import warnings
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from struct import unpack
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
)

from mwl.pictures import codecs, grey
from mwl.pictures.window import Window

_MOST_SAMPLES = 64 * 1024 * 1024  # 8,192 by 8,192; a mammogram has 24 million
_SIZES = {"thumb": 160, "": 2048}  # pixels of the longer side; "full": all there are
_PNG_LEVEL = 3  # half the time of the usual level, and a few per cent more bytes
_PIXELS = {
    (0x7FE0, 0x0010): "PixelData",
    (0x7FE0, 0x0008): "FloatPixelData",
    (0x7FE0, 0x0009): "DoubleFloatPixelData",
}
_PIXEL_VRS = (b"OB", b"OW", b"OF", b"OD", b"UN")
_GREY = ("MONOCHROME1", "MONOCHROME2")
_PALETTE = "PALETTE COLOR"


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A frame as it was stored, and what makes a picture of it."""

    key: tuple[str, int]
    pixels: Any  # numpy array: rows, columns, and samples if there are several
    attributes: Dataset


_last: list[_Decoded] = []  # who changes the window asks for the same frame again


def load() -> None:
    """Load what decodes, whatever syntax it will be."""
    codecs.register()
    for library in ("imagecodecs", "jpeg_ls", "openjpeg", "rle"):
        import_module(library)
    Image.init()
    Image.MAX_IMAGE_PIXELS = None  # ours is the bound
    warnings.simplefilter("ignore")  # of values that don't conform: they are others'


def picture(file: BinaryIO, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Show frame `frame` (from 1), with a window (`center`, `width`) or the image's own."""
    decoded = _decoded(file, request["key"], request["frame"] - 1)
    told: dict[str, Any] = {}
    attributes, pixels = decoded.attributes, decoded.pixels
    kind = str(attributes.get("PhotometricInterpretation", ""))
    if pixels.ndim == 2 and kind != _PALETTE:
        wanted = Window(request["center"], request["width"]) if "center" in request else None
        pixels, shown = grey.shown(pixels, attributes, wanted, inverse=kind == _GREY[0])
        if shown is not None:
            told = {"center": shown.center, "width": shown.width}
    elif kind == _PALETTE:
        pixels = apply_color_lut(pixels, attributes)
        pixels = _eight_bits(pixels, _palette_bits(pixels))
    else:
        pixels = _eight_bits(pixels, int(attributes.get("BitsStored") or 8))
    image = Image.fromarray(np.ascontiguousarray(pixels))
    most = _SIZES.get(request.get("size", ""))
    if most is not None and max(image.size) > most:
        image.thumbnail((most, most), Image.Resampling.BOX)
    out = BytesIO()
    image.save(out, "PNG", compress_level=_PNG_LEVEL)
    return told, out.getvalue()


def _decoded(file: BinaryIO, object_key: str, index: int) -> _Decoded:
    key = object_key, index
    if _last and _last[0].key == key:
        return _last[0]
    _last.clear()
    header = dcmread(file, force=True, stop_before_pixels=True)
    if header.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        file.seek(0)
        header = dcmread(file, force=True)
    check(header, index)
    pixels = _pixels(file, header, index)
    if pixels.shape[:2] != (header.Rows, header.Columns):
        raise ValueError("the pixels are not as many as the header says")
    decoded = _Decoded(key, pixels, grey.attributes_of(header, index))
    _last.append(decoded)
    return decoded


def _pixels(file: BinaryIO, header: Dataset, index: int) -> Any:
    """Decode a frame; `file` stands before the pixel data."""
    syntax = UID(header.file_meta.TransferSyntaxUID)
    options = as_pixel_options(header)
    if syntax == DeflatedExplicitVRLittleEndian:
        return get_decoder(syntax).as_array(header, index=index, **options)[0]
    options |= enter(file, header)
    own = codecs.OWN.get(syntax)
    if own is None:
        plugin = codecs.PLUGINS[syntax]
        decode = get_decoder(syntax).as_array
        return decode(file, index=index, decoding_plugin=plugin, **options)[0]
    offsets = options.pop("extended_offsets", None)
    frames = options["number_of_frames"]
    encoded = get_frame(file, index, number_of_frames=frames, extended_offsets=offsets)
    plain = own(encoded, options)
    return get_decoder(ExplicitVRLittleEndian).as_array(plain, index=0, **options)[0]


def enter(file: BinaryIO, header: Dataset) -> dict[str, str]:
    """Go to where the pixels' value begins; tell of which element and VR it is."""
    is_big_endian = header.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    group, number = unpack(">HH" if is_big_endian else "<HH", file.read(4))
    keyword = _PIXELS.get((group, number))
    if keyword is None:
        raise ValueError("it has no pixels")
    # Whatever the transfer syntax says, some files are in Implicit VR.
    vr = file.read(4)[:2]
    if vr not in _PIXEL_VRS:
        return {"pixel_keyword": keyword}
    file.read(4)
    return {"pixel_keyword": keyword, "pixel_vr": vr.decode()}


def check(header: Dataset, index: int) -> None:
    """Raise ValueError for what can't, or shan't, be decoded."""
    if "Rows" not in header or "Columns" not in header:
        raise ValueError("it is no image")
    syntax = UID(header.file_meta.get("TransferSyntaxUID", ""))
    if syntax not in codecs.PLUGINS and syntax not in codecs.OWN:
        name = syntax.name if syntax else "none"
        raise ValueError(f"its transfer syntax can't be decoded here: {name}")
    rows, columns = int(header.Rows or 0), int(header.Columns or 0)
    samples = int(header.get("SamplesPerPixel") or 1)
    if rows < 1 or columns < 1 or samples not in (1, 3):
        raise ValueError(f"it claims {rows} rows, {columns} columns, {samples} samples a pixel")
    if rows * columns * samples > _MOST_SAMPLES:
        raise ValueError(f"{rows} by {columns} pixels are more than are shown here")
    frames = int(header.get("NumberOfFrames") or 1)
    if not 0 <= index < max(1, frames):
        raise ValueError(f"it has {frames} frames")


def _eight_bits(pixels: Any, bits: int) -> Any:
    """Bring colours of `bits` bits to the 8 that are shown."""
    if bits <= 8 or pixels.dtype.itemsize == 1:
        return pixels.astype(np.uint8)
    return (pixels >> (bits - 8)).astype(np.uint8)


def _palette_bits(pixels: Any) -> int:
    """Tell how many bits the colours of a palette have: tables of 16 may hold but 8."""
    return 16 if pixels.size and int(pixels.max()) > 255 else 8
