"""Small CT slices for tests: whole and valid, each attribute open to an override."""

from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

ROWS = COLUMNS = 64


def ct_slice(number: int = 1, *, syntax: str = ExplicitVRLittleEndian, **overrides: Any) -> Dataset:
    """Make a slice whose pixels tell it from others by `number`."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = syntax
    values = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.1",
        "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.1.1",
        "PatientID": "PID1",
        "PatientName": "Doe^Jane^Q",
        "PatientBirthDate": "19800229",
        "PatientSex": "F",
        "AccessionNumber": "ACC1",
        "StudyID": "1",
        "StudyDate": "20300102",
        "StudyTime": "093100",
        "SeriesNumber": "1",
        "InstanceNumber": str(number),
        "Modality": "CT",
        "Manufacturer": "none",
        "ReferringPhysicianName": "Roe^Rita",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": ROWS,
        "Columns": COLUMNS,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "PixelSpacing": ["0.5", "0.5"],
        "ImagePositionPatient": ["0", "0", str(number)],
        "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
        "RescaleIntercept": "-1024",
        "RescaleSlope": "1",
        **overrides,
    }
    for keyword, value in values.items():
        if value is not None:
            setattr(image, keyword, value)
    image.PixelData = _circle(number)
    image["PixelData"].VR = "OW"
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    return image


def save(image: Dataset, folder: Path) -> Path:
    """Write a slice as a file of its own."""
    path = folder / f"{image.SOPInstanceUID}.dcm"
    image.save_as(path, enforce_file_format=True)
    return path


def _circle(number: int) -> bytes:
    """Draw a disc that grows with `number`, values of 12 bits."""
    radius = 4 + number % 24
    pixels = bytearray()
    for y in range(ROWS):
        for x in range(COLUMNS):
            inside = (x - COLUMNS // 2) ** 2 + (y - ROWS // 2) ** 2 <= radius**2
            pixels += (1064 if inside else number % 4096).to_bytes(2, "little")
    return bytes(pixels)
