"""Images and requests to store them, for tests of the archive's SCP."""

from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from mwl.net.codec import COMMAND
from mwl.net.dimse import NO_DATA_SET, Command, CommandField, Element, encode_command, fragments
from tests.dicom_client import DicomClient

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"


def image(number: int = 1, **attributes: Any) -> Dataset:
    """Make a small CT image; None leaves an attribute out."""
    values: dict[str, Any] = {
        "SOPClassUID": CT,
        "SOPInstanceUID": f"1.2.826.0.1.3680043.8.498.1.{number}",
        "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.2",
        "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.3",
        "StudyDate": "20260102",
        "Modality": "CT",
        "PatientName": "Test^Patient",
        "PatientID": "P1",
        "AccessionNumber": "A1",
        "InstanceNumber": str(number),
        "Rows": 64,
        "Columns": 64,
        "BitsAllocated": 16,
        "PixelData": bytes(range(256)) * 32,
        **attributes,
    }
    data_set = Dataset()
    for keyword, value in values.items():
        if value is not None:
            setattr(data_set, keyword, value)
    if "PixelData" in data_set:
        data_set["PixelData"].VR = "OW"
    return data_set


def encoded(data_set: Dataset, transfer_syntax: str = EXPLICIT) -> bytes:
    """Encode a data set in an uncompressed transfer syntax."""
    stream: BytesIO = DicomBytesIO()
    stream.is_little_endian = transfer_syntax != BIG  # type: ignore[attr-defined]
    stream.is_implicit_VR = transfer_syntax == IMPLICIT  # type: ignore[attr-defined]
    write_dataset(stream, data_set)  # type: ignore[arg-type]
    return stream.getvalue()


def request(
    sop_instance: str,
    data_set: bytes | None,
    *,
    sop_class: str = CT,
    context_id: int = 1,
    message_id: int = 1,
    max_pdu_bytes: int = 16384,
) -> bytes:
    """Encode a C-STORE-RQ as the PDUs that carry it."""
    command = encode_command(
        {
            Element.AFFECTED_SOP_CLASS_UID: sop_class,
            Element.COMMAND_FIELD: CommandField.C_STORE,
            Element.MESSAGE_ID: message_id,
            Element.PRIORITY: 0,
            Element.DATA_SET_TYPE: NO_DATA_SET if data_set is None else 1,
            Element.AFFECTED_SOP_INSTANCE_UID: sop_instance,
        }
    )
    pdus = list(fragments(context_id, COMMAND, command, max_pdu_bytes))
    if data_set is not None:
        pdus += fragments(context_id, 0, data_set, max_pdu_bytes)
    return b"".join(pdus)


def store(client: DicomClient, data_set: Dataset, transfer_syntax: str = EXPLICIT) -> Command:
    """Store an image on an association whose first context is its class; give the response."""
    data = encoded(data_set, transfer_syntax)
    client.send(request(data_set.SOPInstanceUID, data, sop_class=data_set.SOPClassUID))
    return client.read_message()[0]
