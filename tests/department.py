"""A small department under load: a RIS that orders and a scanner that works them off.

Both insist, as real ones do: what is not acknowledged is sent again, the same bytes, the same
UIDs. What was acknowledged is written down, to be asked for afterwards.
"""

import itertools
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_dataset
from pydicom.uid import generate_uid

from hl7 import client
from mwl.errors import MwlError
from mwl.net.codec import COMMAND
from mwl.net.dimse import Command, CommandField, Element, encode_command, fragments
from tests.builders import orm
from tests.dicom_client import DicomClient, Refused, status
from tests.images import ct_slice

MPPS = "1.2.840.10008.3.1.2.3.3"
_REQUESTED = {CommandField.N_SET}  # whose command sets say Requested, not Affected
_OUT = {0xA700, 0x0213}  # the server's own trouble
_PAUSE_S = 0.05
_TIMEOUT_S = 5.0
# 0111: there already, since the answer to the first request was lost.
_DONE = {
    CommandField.N_CREATE: {0x0000, 0x0111},
    CommandField.C_STORE: {0x0000},
    CommandField.N_SET: {0x0000, 0x0110},
}


class Lost(Exception):
    """No answer came."""


class Department:
    """Orders and their examinations, until told to stop; ports may change hands meanwhile."""

    def __init__(self, hl7_port: int, dicom_port: int) -> None:
        self._hl7_port, self._dicom_port = hl7_port, dicom_port
        self._stopping = threading.Event()
        self._ordered: queue.Queue[int | None] = queue.Queue(4)  # the RIS waits
        self.orders: list[str] = []  # accession numbers, AA
        self.performed: list[str] = []  # accession numbers whose N-SET got 0000
        self.instances: dict[str, str] = {}  # SOP instance → accession number, 0000
        self.wrong: list[str] = []  # answers that a peer would not understand
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._order, self._examine)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, patience_s: float = 60.0) -> None:
        """Order no more, finish what is ordered."""
        self._stopping.set()
        deadline = time.monotonic() + patience_s
        for thread in self._threads:
            thread.join(deadline - time.monotonic())
            assert not thread.is_alive(), "the department did not finish"

    # --- the RIS

    def _order(self) -> None:
        for number in itertools.count(1):
            if self._stopping.is_set():
                break
            self._insist(lambda n=number: self._send(n))
            self.orders.append(f"ACC{number}")
            self._ordered.put(number)
        self._ordered.put(None)

    def _send(self, number: int) -> None:
        raw = _order(number)
        try:
            (ack,) = client.send("127.0.0.1", self._hl7_port, [raw], _TIMEOUT_S)
        except (MwlError, ValueError) as error:
            raise Lost from error
        if ack.code != "AA":
            self.wrong.append(f"order {number}: {ack.code} {ack.text}")

    # --- the scanner

    def _examine(self) -> None:
        while (number := self._ordered.get()) is not None:
            image, mpps = _image(number), f"1.2.826.0.1.3680043.8.498.9.{number}"
            sop_class, instance = image.SOPClassUID, image.SOPInstanceUID
            steps = (
                (CommandField.N_CREATE, MPPS, mpps, _create(number)),
                (CommandField.C_STORE, sop_class, instance, image),
                (CommandField.N_SET, MPPS, mpps, _set(image)),
            )
            for step in steps:
                self._insist(lambda s=step: self._ask(*s))
            self.instances[instance] = f"ACC{number}"
            self.performed.append(f"ACC{number}")

    def _ask(self, field: CommandField, sop_class: str, uid: str, data: Dataset) -> None:
        try:
            with DicomClient(("127.0.0.1", self._dicom_port), _TIMEOUT_S) as scanner:
                scanner.associate([sop_class], calling="CT1")
                scanner.send(_request(field, sop_class, uid, _encoded(data)))
                answer, _ = scanner.read_message()
        except (OSError, EOFError, Refused) as error:
            raise Lost from error
        code = status(answer)
        if code in _OUT:
            raise Lost
        if code not in _DONE[field] or (code == 0x0110 and not _was_final(answer)):
            comment = answer.text(Element.ERROR_COMMENT)
            self.wrong.append(f"{field.name}: {code:04X} {comment}")

    def _insist(self, attempt: Callable[[], None]) -> None:
        while True:
            with suppress(Lost):
                attempt()
                return
            time.sleep(_PAUSE_S)


def _request(field: CommandField, sop_class: str, uid: str, data_set: bytes) -> bytes:
    asks = field in _REQUESTED
    command = encode_command(
        {
            Element.REQUESTED_SOP_CLASS_UID if asks else Element.AFFECTED_SOP_CLASS_UID: sop_class,
            Element.COMMAND_FIELD: field,
            Element.MESSAGE_ID: 1,
            Element.PRIORITY: 0,
            Element.DATA_SET_TYPE: 1,
            Element.REQUESTED_SOP_INSTANCE_UID if asks else Element.AFFECTED_SOP_INSTANCE_UID: uid,
        }
    )
    pdus = [*fragments(1, COMMAND, command, 16384), *fragments(1, 0, data_set, 16384)]
    return b"".join(pdus)


def _encoded(data: Dataset) -> bytes:
    buffer = BytesIO()
    stream = DicomIO(buffer)
    stream.is_little_endian, stream.is_implicit_VR = True, True
    write_dataset(stream, data)
    return buffer.getvalue()


def _was_final(answer: Command) -> bool:
    """Tell whether an N-SET failed since an earlier one, whose answer was lost, had not."""
    return answer.number(Element.ERROR_ID) == 0xA710


def _order(number: int) -> bytes:
    return orm(
        MSH_10=f"M{number}",
        PID_3=f"PID{number}^^^ADT1^MR",
        ORC_2=f"PO{number}^RIS",
        ORC_3=f"FO{number}^RIS",
        OBR_2=f"PO{number}^RIS",
        OBR_3=f"FO{number}^RIS",
        OBR_18=f"ACC{number}",
        OBR_19=f"RP{number}",
        OBR_20=f"SPS{number}",
        ZDS_1=_study(number),
    ).encode()


def _study(number: int) -> str:
    return f"1.2.826.0.1.3680043.8.498.{number}"


def _image(number: int) -> Dataset:
    return ct_slice(
        number,
        syntax="1.2.840.10008.1.2",
        StudyInstanceUID=_study(number),
        SeriesInstanceUID=f"{_study(number)}.1",
        SOPInstanceUID=generate_uid(),
        PatientID=f"PID{number}",
        AccessionNumber=f"ACC{number}",
    )


def _create(number: int) -> Dataset:
    data = Dataset()
    item = Dataset()
    item.StudyInstanceUID = _study(number)
    item.AccessionNumber = f"ACC{number}"
    item.RequestedProcedureID = f"RP{number}"
    item.ScheduledProcedureStepID = f"SPS{number}"
    item.RequestedProcedureDescription = item.ScheduledProcedureStepDescription = ""
    item.ScheduledProtocolCodeSequence = []
    item.ReferencedStudySequence = []
    data.ScheduledStepAttributesSequence = [item]
    data.PatientName, data.PatientID = "Doe^Jane^Q", f"PID{number}"
    data.PatientBirthDate, data.PatientSex = "19800229", "F"
    data.ReferencedPatientSequence = []
    data.PerformedProcedureStepID = f"PPS{number}"
    data.PerformedStationAETitle, data.PerformedStationName = "CT1", ""
    data.PerformedLocation = ""
    data.PerformedProcedureStepStartDate = "20300102"
    data.PerformedProcedureStepStartTime = "093000"
    data.PerformedProcedureStepEndDate = data.PerformedProcedureStepEndTime = ""
    data.PerformedProcedureStepStatus = "IN PROGRESS"
    data.PerformedProcedureStepDescription = data.PerformedProcedureTypeDescription = ""
    data.ProcedureCodeSequence = []
    data.Modality, data.StudyID = "CT", ""
    data.PerformedProtocolCodeSequence = []
    data.PerformedSeriesSequence = []
    return data


def _set(image: Dataset) -> Dataset:
    data = Dataset()
    data.PerformedProcedureStepStatus = "COMPLETED"
    data.PerformedProcedureStepEndDate = "20300102"
    data.PerformedProcedureStepEndTime = "094500"
    series = Dataset()
    series.PerformingPhysicianName = series.OperatorsName = series.SeriesDescription = ""
    series.ProtocolName = "HEAD"
    series.SeriesInstanceUID = image.SeriesInstanceUID
    series.RetrieveAETitle = ""
    reference = Dataset()
    reference.ReferencedSOPClassUID = image.SOPClassUID
    reference.ReferencedSOPInstanceUID = image.SOPInstanceUID
    series.ReferencedImageSequence = [reference]
    series.ReferencedNonImageCompositeSOPInstanceSequence = []
    data.PerformedSeriesSequence = [series]
    return data
