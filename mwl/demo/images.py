"""Images that a scanner makes: the phantom's arrays as instances with all that these need.

CT Image, MR Image, Digital X-Ray Image for presentation and Ultrasound Image Storage, in
Explicit VR Little Endian. They say whom they show as the worklist said it, and name the
scheduled step that they were made for (0040,0275), as scanners that keep to IHE SWF do.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    MRImageStorage,
    UltrasoundImageStorage,
)

from mwl.demo import phantom
from mwl.demo.entries import Entry, new_uid
from mwl.demo.phantom import Image

_MANUFACTURER = "mwl demo"
_SLICE_MM = 5.0
_AXIAL = [1, 0, 0, 0, 1, 0]


def make(entry: Entry, station: str, count: int, now: datetime) -> list[Dataset]:
    """Make a series of `count` images of the entry's modality; `now` is the site's clock."""
    make_series, series_uid = _SERIES[entry.modality], new_uid()
    images = []
    for number, (sop_class, pixels, technique) in enumerate(make_series(count), start=1):
        image = _common(entry, station, now)
        image.SOPClassUID = sop_class
        image.SOPInstanceUID = new_uid()
        image.SeriesInstanceUID = series_uid
        image.InstanceNumber = number
        for keyword, value in technique.items():
            setattr(image, keyword, value)
        _put_pixels(image, pixels)
        images.append(image)
    return images


def _common(entry: Entry, station: str, now: datetime) -> Dataset:
    """State patient, study, series and equipment (PS3.3 C.7)."""
    image = Dataset()
    values = {
        "SpecificCharacterSet": "ISO_IR 192",
        "StudyDate": f"{now:%Y%m%d}",
        "SeriesDate": f"{now:%Y%m%d}",
        "ContentDate": f"{now:%Y%m%d}",
        "StudyTime": f"{now:%H%M%S}",
        "SeriesTime": f"{now:%H%M%S}",
        "ContentTime": f"{now:%H%M%S}",
        "AccessionNumber": entry.accession,
        "Modality": entry.modality,
        "Manufacturer": _MANUFACTURER,
        "ReferringPhysicianName": entry.referring_physician,
        "StationName": station,
        "StudyDescription": entry.description,
        "SeriesDescription": _SERIES_NAMES[entry.modality],
        "PatientName": entry.patient_name,
        "PatientID": entry.patient_id,
        "IssuerOfPatientID": entry.issuer or None,
        "PatientBirthDate": entry.birth_date,
        "PatientSex": entry.sex,
        "BodyPartExamined": "ABDOMEN" if entry.modality == "US" else "HEAD",
        "StudyInstanceUID": entry.study_uid,
        "StudyID": entry.procedure_id,
        "SeriesNumber": 1,
        "PatientOrientation": "",
        "Laterality": "",
    }
    for keyword, value in values.items():
        if value is not None:
            setattr(image, keyword, value)
    if entry.step_id:
        image.RequestAttributesSequence = [_request(entry)]
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return image


def _request(entry: Entry) -> Dataset:
    item = Dataset()
    item.AccessionNumber = entry.accession
    item.StudyInstanceUID = entry.study_uid
    item.RequestedProcedureID = entry.procedure_id
    item.ScheduledProcedureStepID = entry.step_id
    return item


def _put_pixels(image: Dataset, pixels: Image) -> None:
    is_small = image.SOPClassUID == UltrasoundImageStorage
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows, image.Columns = pixels.shape
    image.BitsAllocated, image.BitsStored = (8, 8) if is_small else (16, 12)
    image.HighBit = image.BitsStored - 1
    image.PixelRepresentation = 0
    image.PixelData = pixels.astype("u1" if is_small else "<u2").tobytes()
    image["PixelData"].VR = "OB" if is_small else "OW"


# What each modality makes: SOP class, pixels, and what is said of how they were made.
_Made = tuple[str, Image, dict[str, Any]]


def _axial(count: int, look: Sequence[float]) -> list[tuple[Image, dict[str, Any]]]:
    places = phantom.positions(count)
    gap = places[1] - places[0] if count > 1 else _SLICE_MM
    corner = phantom.PIXEL_MM / 2 - phantom.HALF_EDGE_MM
    frame_uid = new_uid()
    return [
        (
            pixels,
            {
                "FrameOfReferenceUID": frame_uid,
                "PositionReferenceIndicator": "",
                "PatientPosition": "HFS",
                "ImagePositionPatient": [corner, corner, round(z, 4)],
                "ImageOrientationPatient": _AXIAL,
                "PixelSpacing": [round(phantom.PIXEL_MM, 4)] * 2,
                "SliceThickness": round(gap, 4),
                "SpacingBetweenSlices": round(gap, 4),
                "SliceLocation": round(z, 4),
                "AcquisitionNumber": 1,
            },
        )
        for pixels, z in zip(phantom.head(count, look), places, strict=True)
    ]


def _ct(count: int) -> list[_Made]:
    technique = {
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "KVP": 120,
        "RescaleIntercept": -phantom.AIR,
        "RescaleSlope": 1,
        "RescaleType": "HU",
        "WindowCenter": [40, 400],  # brain, and bone
        "WindowWidth": [100, 2000],
        "WindowCenterWidthExplanation": ["BRAIN", "BONE"],
    }
    slices = _axial(count, phantom.CT_LOOK)
    return [(CTImageStorage, pixels, {**technique, **where}) for pixels, where in slices]


def _mr(count: int) -> list[_Made]:
    technique = {
        "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"],
        "ScanningSequence": "SE",
        "SequenceVariant": "NONE",
        "ScanOptions": "",
        "MRAcquisitionType": "2D",
        "RepetitionTime": 500,
        "EchoTime": 15,
        "EchoTrainLength": 1,
        "WindowCenter": 1100,
        "WindowWidth": 2200,
    }
    slices = _axial(count, phantom.MR_LOOK)
    return [(MRImageStorage, pixels, {**technique, **where}) for pixels, where in slices]


def _dx(count: int) -> list[_Made]:
    technique = {
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "PresentationIntentType": "FOR PRESENTATION",
        "PresentationLUTShape": "IDENTITY",
        "PixelIntensityRelationship": "LOG",
        "PixelIntensityRelationshipSign": -1,
        "ImagerPixelSpacing": [round(phantom.PIXEL_MM, 4)] * 2,
        "ImageLaterality": "U",
        "PatientOrientation": ["P", "F"],
        "BurnedInAnnotation": "NO",
        "LossyImageCompression": "00",
        "DetectorType": "DIRECT",
        "RescaleIntercept": 0,
        "RescaleSlope": 1,
        "RescaleType": "US",
        "WindowCenter": 1950,
        "WindowWidth": 3900,
    }
    made = DigitalXRayImageStorageForPresentation
    return [(made, phantom.radiograph(), technique) for _ in range(count)]


def _us(count: int) -> list[_Made]:
    technique = {"ImageType": ["ORIGINAL", "PRIMARY"], "BurnedInAnnotation": "NO"}
    return [(UltrasoundImageStorage, phantom.fan(number), technique) for number in range(count)]


_SERIES: dict[str, Callable[[int], list[_Made]]] = {"CT": _ct, "MR": _mr, "DX": _dx, "US": _us}
_SERIES_NAMES = {"CT": "AXIAL 5MM", "MR": "T1 SE AXIAL", "DX": "LATERAL", "US": "B-MODE"}
