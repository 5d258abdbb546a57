"""Which library decodes which transfer syntax; chosen, and tested against each other.

pydicom finds the frames and knows its plugins; JPEG with 12 bits, and lossless JPEG, it has
none for that is free of the GPL: that is what `decode_frame` is, a plugin of its kind. Of the
syntaxes of OWN it has never heard: their frames are made plain here.
"""

import zlib
from collections.abc import Callable
from typing import Any

from pydicom import uid
from pydicom.pixels.decoders.base import get_decoder

OURS = "imagecodecs"

# "": it is not compressed, and needs no plugin.
PLUGINS = {
    uid.ImplicitVRLittleEndian: "",
    uid.ExplicitVRLittleEndian: "",
    uid.ExplicitVRBigEndian: "",
    uid.DeflatedExplicitVRLittleEndian: "",
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGExtended12Bit: OURS,
    uid.JPEGLossless: OURS,
    uid.JPEGLosslessSV1: OURS,
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pylibjpeg",
    uid.JPEG2000: "pylibjpeg",
    uid.HTJ2KLossless: "pylibjpeg",
    uid.HTJ2KLosslessRPCL: "pylibjpeg",
    uid.HTJ2K: "pylibjpeg",
    uid.RLELossless: "pylibjpeg",
}

# What pydicom asks a plugin's module for.
DECODER_DEPENDENCIES = {
    each: ("imagecodecs",) for each, plugin in PLUGINS.items() if plugin == OURS
}


def is_available(syntax: str) -> bool:
    """Tell whether `decode_frame` decodes `syntax`."""
    return syntax in DECODER_DEPENDENCIES


def register() -> None:
    """Make `decode_frame` known to pydicom, in this process."""
    for syntax in DECODER_DEPENDENCIES:
        decoder = get_decoder(syntax)
        if OURS not in decoder.available_plugins:
            decoder.add_plugin(OURS, (__name__, "decode_frame"))


def decode_frame(encoded: bytes, runner: Any) -> bytes:
    """Decode a JPEG frame of any process, its colours as they are."""
    import imagecodecs

    # The same on both sides: nothing is converted.
    space = "YCBCR" if runner.samples_per_pixel > 1 else None
    decoded = imagecodecs.jpeg8_decode(encoded, colorspace=space, outcolorspace=space)
    if decoded.size != runner.rows * runner.columns * runner.samples_per_pixel:
        raise ValueError("the compressed frame has another size than the header says")
    runner.set_option("bits_allocated", decoded.dtype.itemsize * 8)
    runner.set_option("planar_configuration", 0)
    return bytes(decoded.tobytes())


def _jpeg_xl(encoded: bytes, options: dict[str, Any]) -> bytes:
    """Decode JPEG XL; `options` are changed to what comes out."""
    import imagecodecs

    decoded = imagecodecs.jpegxl_decode(encoded)
    _bound(decoded.size, options)
    options["bits_allocated"] = decoded.dtype.itemsize * 8
    options["planar_configuration"] = 0
    if options["samples_per_pixel"] > 1:
        options["photometric_interpretation"] = "RGB"  # whatever it was before
    return bytes(decoded.tobytes())


def _inflated(encoded: bytes, options: dict[str, Any]) -> bytes:
    """Inflate a frame, and no more than a frame (PS3.5 A.4.13)."""
    samples = options["rows"] * options["columns"] * options["samples_per_pixel"]
    length = -(-samples * options["bits_allocated"] // 8)
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(encoded, length)


def _bound(samples: int, options: dict[str, Any]) -> None:
    if samples != options["rows"] * options["columns"] * options["samples_per_pixel"]:
        raise ValueError("the compressed frame has another size than the header says")


Plain = Callable[[bytes, dict[str, Any]], bytes]

OWN: dict[str, Plain] = {
    "1.2.840.10008.1.2.4.110": _jpeg_xl,  # lossless
    "1.2.840.10008.1.2.4.111": _jpeg_xl,  # JPEG, recompressed
    "1.2.840.10008.1.2.4.112": _jpeg_xl,
    "1.2.840.10008.1.2.8.1": _inflated,
}
