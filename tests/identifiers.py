"""Identifiers for tests: written by pydicom where they are right, by hand where they are not."""

import struct
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence


def asking(*names, step=(), charset=None, **values):
    """Make an identifier: return keys by keyword, and keys with values, `step_…` in the item."""
    dataset, item_ = Dataset(), Dataset()
    if charset is not None:
        dataset.SpecificCharacterSet = charset
    for name in names:
        setattr(dataset, name, [] if name.endswith("Sequence") else None)
    for name in step:
        setattr(item_, name, [] if name.endswith("Sequence") else None)
    for name, value in values.items():
        if name.startswith("step_"):
            setattr(item_, name.removeprefix("step_"), value)
        else:
            setattr(dataset, name, value)
    dataset.ScheduledProcedureStepSequence = Sequence([item_])
    return dataset


def encoded(dataset, *, explicit):
    file = DicomFileLike(BytesIO())
    file.is_little_endian, file.is_implicit_VR = True, not explicit
    write_dataset(file, dataset)
    return file.parent.getvalue()


def element(tag: int, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, size) + value
