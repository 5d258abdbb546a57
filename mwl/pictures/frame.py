"""A frame of a stored object as PNG, in the child.

Of the object its header is read, and of the pixel data that frame alone; only what is
deflated has to be read whole. What the header claims is held against bounds before
anything is decoded.
"""

import warnings
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import as_pixel_options, pixel_array
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from mwl.pictures import codecs, grey
from mwl.pictures.window import Window

_MOST_SAMPLES = 64 * 1024 * 1024  # 8,192 by 8,192; a mammogram has 24 million
_SIZES = {"thumb": 160, "": 2048}  # pixels of the longer side; "full": all there are
_PNG_LEVEL = 3  # half the time of the usual level, and a few per cent more bytes
_GREY = ("MONOCHROME1", "MONOCHROME2")
_PALETTE = "PALETTE COLOR"
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


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
    else:
        pixels = _eight_bits(apply_color_lut(pixels, attributes) if kind == _PALETTE else pixels)
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
    header = dcmread(file, force=True, stop_before_pixels=not _is_deflated(file))
    syntax = UID(header.file_meta.get("TransferSyntaxUID", ""))
    plugin = _checked(header, syntax, index)
    file.seek(0)
    if syntax == DeflatedExplicitVRLittleEndian:
        options = as_pixel_options(header)
        pixels, _ = get_decoder(syntax).as_array(header, index=index, **options)
    else:
        pixels = pixel_array(file, index=index, decoding_plugin=plugin)
    if pixels.shape[:2] != (header.Rows, header.Columns):
        raise ValueError("the pixels are not as many as the header says")
    decoded = _Decoded(key, pixels, grey.attributes_of(header, index))
    _last.append(decoded)
    return decoded


def _is_deflated(file: BinaryIO) -> bool:
    meta = dcmread(file, force=True, specific_tags=["SOPClassUID"], stop_before_pixels=True)
    file.seek(0)
    return bool(meta.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian)


def _checked(header: Dataset, syntax: UID, index: int) -> str:
    """Name the plugin that decodes it. Raises ValueError for what can't, or shan't, be decoded."""
    if "Rows" not in header or "Columns" not in header:
        raise ValueError("it is no image")
    plugin = codecs.PLUGINS.get(syntax)
    if plugin is None:
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
    return plugin


def _eight_bits(pixels: Any) -> Any:
    """Bring colours to the 8 bits that are shown."""
    if pixels.dtype == np.uint8:
        return pixels
    most = max(int(pixels.max()), 1)
    bits = max(8, most.bit_length()) if most < 1 << 32 else 32
    return (pixels.astype(np.uint64) >> (bits - 8)).astype(np.uint8)
