"""Objects in memory, and pictures of them, for tests.

shown = picture(pictures, image)              # a numpy array of what a person would see
"""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian

from mwl.objects import Missing
from mwl.pictures import Pictures, Source
from mwl.scp.storage.part10 import file_header
from tests.archived import encoded


class Memory:
    """An object store of which nothing but read() is asked."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.read_bytes = 0

    def add(self, content: bytes) -> Source:
        key = f"{len(self.kept):08}"
        self.kept[key] = content
        return Source(key, len(content), f"digest of {key}")

    def read(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        if key not in self.kept:
            raise Missing(key)
        piece = self.kept[key][start:][:length]
        self.read_bytes += len(piece)
        yield piece


def part10(image: Dataset) -> bytes:
    """Write an image as a file, in whatever transfer syntax."""
    syntax = image.file_meta.TransferSyntaxUID
    if not UID(syntax).is_transfer_syntax:  # pydicom writes none that it hasn't heard of
        head = file_header(image.SOPClassUID, image.SOPInstanceUID, syntax, "TEST")
        return head + encoded(image, ExplicitVRLittleEndian)
    out = BytesIO()
    image.save_as(out, enforce_file_format=True)
    return out.getvalue()


def opened(png: bytes) -> Any:
    return np.asarray(Image.open(BytesIO(png)))


def picture(pictures: Pictures, image: Dataset | Source, **asked: Any) -> Any:
    """Show a frame of an image."""
    source = image
    if isinstance(image, Dataset):
        memory: Any = pictures._objects
        source = memory.add(part10(image))
    assert isinstance(source, Source)
    return opened(pictures.frame(source, **asked).png)


def compressed(image: Dataset, syntax: str, encode: Any, **options: Any) -> Dataset:
    """Compress each frame of an image by a function, one of imagecodecs if it is a name."""
    pixels = image.pixel_array
    frames = pixels if int(image.get("NumberOfFrames", 1)) > 1 else [pixels]
    code = getattr(imagecodecs, encode) if isinstance(encode, str) else encode
    image.PixelData = encapsulate([code(np.ascontiguousarray(each), **options) for each in frames])
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True
    image.file_meta.TransferSyntaxUID = syntax
    return image
