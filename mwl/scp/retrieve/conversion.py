"""What a peer can't take as it is kept, written in what every peer can (PS3.5 annex A, 8.2).

Whatever the transfer syntax that an instance is kept in, it can go out in Explicit or
Implicit VR Little Endian: compressed pixels are decoded, frame by frame, deflated data sets
inflated, and nothing more of them is held than is on its way. Lossy compression leaves its
mark (PS3.3 C.7.6.1.1.5).
"""

from collections.abc import Container, Iterator
from itertools import chain

from mwl.archive.query import Stored
from mwl.net.pdu import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from mwl.pictures import Decoder, Native, Source
from mwl.scp.pieces import Pieces, inflated
from mwl.scp.reencoding import Edits, Form, reencoded
from mwl.scp.storage.syntaxes import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, ENCAPSULATED

# In the order in which they are taken instead of another: Explicit VR loses nothing.
PLAIN = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)

_PHOTOMETRIC_INTERPRETATION = 0x00280004
_PLANAR_CONFIGURATION = 0x00280006
_LOSSY = 0x00282110
_LOSSY_RATIO = 0x00282112
_LOSSY_METHOD = 0x00282114
_EXTENDED_OFFSETS = frozenset({0x7FE00001, 0x7FE00002, 0x7FE00003})  # of what was encapsulated

# What always loses something, and the method's name (PS3.3 C.7.6.1.1.5.1).
_LOSSY_METHODS = {
    "1.2.840.10008.1.2.4.50": b"ISO_10918_1 ",
    "1.2.840.10008.1.2.4.51": b"ISO_10918_1 ",
    "1.2.840.10008.1.2.4.81": b"ISO_14495_1 ",
}
# JPEG 2000, HTJ2K, JPEG XL: what a header doesn't say, nobody knows.
_PERHAPS_LOSSY = frozenset(f"1.2.840.10008.1.2.4.{each}" for each in (91, 93, 112, 203))

_MOST_AHEAD = 16 * 1024 * 1024  # bytes, decoded before the first of them goes out


def target(kept: str, accepted: Container[str]) -> str | None:
    """Choose the transfer syntax in which to send what is kept in another; None: there is none."""
    if kept in accepted:
        return kept
    return next((each for each in PLAIN if each in accepted), None)


def converted(
    pieces: Pieces, row: Stored, syntax: str, decoder: Decoder
) -> Iterator[bytes | memoryview]:
    """Write a stored data set in one of `PLAIN`.

    Unwritable, Unshowable, Busy, and what `pieces` raises.
    """
    explicit = syntax == EXPLICIT_VR_LITTLE_ENDIAN
    match row.transfer_syntax:
        case kept if kept in ENCAPSULATED:
            yield from _decoded(pieces, row, explicit, decoder)
        case kept if kept == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
            data = inflated(pieces)
            yield from reencoded(data, explicit=explicit, read=Form.EXPLICIT)
        case kept if kept == EXPLICIT_VR_BIG_ENDIAN:
            yield from reencoded(pieces, explicit=explicit, read=Form.BIG_ENDIAN)
        case _:
            yield from reencoded(pieces, explicit=explicit)


def _decoded(
    pieces: Pieces, row: Stored, explicit: bool, decoder: Decoder
) -> Iterator[bytes | memoryview]:
    native, decoded = decoder.decoded(Source(row.key, row.size, row.key))
    frames = _ahead(decoded)
    edits = _edits(native, frames, row) if native.frames else Edits()
    yield from reencoded(pieces, explicit=explicit, read=Form.EXPLICIT, edits=edits)


def _ahead(frames: Iterator[bytes]) -> Iterator[bytes]:
    """Decode some frames, or all, before anything goes out: what fails then fails alone."""
    kept: list[bytes] = []
    size = 0
    for frame in frames:
        kept.append(frame)
        size += len(frame)
        if size >= _MOST_AHEAD:
            break
    return chain(kept, frames)


def _edits(native: Native, frames: Iterator[bytes], row: Stored) -> Edits:
    """Say what of the header is otherwise when the pixels are native."""
    values = {_PHOTOMETRIC_INTERPRETATION: ("CS", _even(native.photometric_interpretation))}
    if native.samples_per_pixel > 1:
        values[_PLANAR_CONFIGURATION] = "US", b"\0\0"  # colours come by pixel
    defaults: dict[int, tuple[str, bytes]] = {}
    method = _LOSSY_METHODS.get(row.transfer_syntax)
    if method is not None:
        ratio = native.bytes / max(1, row.size - row.data_set_offset)
        values[_LOSSY] = "CS", b"01"
        defaults = {_LOSSY_RATIO: ("DS", _even(f"{ratio:.2f}")), _LOSSY_METHOD: ("CS", method)}
    elif row.transfer_syntax in _PERHAPS_LOSSY:
        defaults = {_LOSSY: ("CS", b"01")}
    # PS3.5 A.2: OB holds pixels of 8 bits, OW those of more.
    vr = "OB" if native.bits_allocated <= 8 else "OW"
    pixels = (vr, native.bytes + native.bytes % 2, _padded(frames, native.bytes))
    return Edits(values, defaults, _EXTENDED_OFFSETS, pixels)


def _padded(frames: Iterator[bytes], size: int) -> Iterator[bytes]:
    yield from frames
    if size % 2:
        yield b"\0"


def _even(text: str) -> bytes:
    return (text + " " * (len(text) % 2)).encode("ascii", "replace")
