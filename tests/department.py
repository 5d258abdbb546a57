"""A small department under load: a RIS that orders and a scanner that works them off.

Both insist, as real ones do: what is not acknowledged is sent again, the same bytes, the same
UIDs. What was acknowledged is written down, to be asked for afterwards.
"""

import itertools
import queue
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, generate_uid

from hl7 import client
from mwl.errors import MwlError
from tests.builders import orm
from tests.images import ct_slice

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pynetdicom import AE, Association

MPPS = "1.2.840.10008.3.1.2.3.3"
_PAUSE_S = 0.05
_TIMEOUT_S = 5.0
_DONE = {"create": {0x0000, 0x0111}, "store": {0x0000}, "set": {0x0000, 0x0110}}


class Lost(Exception):
    """No answer came."""


class Department:
    """Orders and their examinations, until told to stop; ports may change hands meanwhile."""

    def __init__(self, hl7_port: int, dicom_port: int) -> None:
        self._hl7_port, self._dicom_port = hl7_port, dicom_port
        self._stopping = threading.Event()
        self._ordered: queue.Queue[int | None] = queue.Queue()
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
            image = _image(number)
            mpps = f"1.2.826.0.1.3680043.8.498.9.{number}"
            self._insist(lambda n=number, u=mpps: self._ask("create", _create, n, u))
            self._insist(lambda i=image: self._store(i))
            self.instances[image.SOPInstanceUID] = f"ACC{number}"
            self._insist(lambda i=image, u=mpps: self._ask("set", _set, i, u))
            self.performed.append(f"ACC{number}")

    def _store(self, image: Dataset) -> None:
        with self._associated(CTImageStorage) as association:
            self._judge("store", association.send_c_store(image))

    def _ask(self, what: str, ask: Callable[..., Any], *arguments: Any) -> None:
        with self._associated(MPPS) as association:
            self._judge(what, ask(association, *arguments)[0])

    def _associated(self, sop_class: str) -> "_Associated":
        return _Associated(self._dicom_port, sop_class)

    def _judge(self, what: str, answer: Dataset) -> None:
        if "Status" not in answer or answer.Status in {0xA700, 0x0110, 0x0213}:
            if what == "set" and answer.get("Status") == 0x0110 and answer.get("ErrorID"):
                return  # it was final already: the answer to the first N-SET was lost
            raise Lost
        if answer.Status not in _DONE[what]:
            self.wrong.append(f"{what}: {answer.Status:04X} {answer.get('ErrorComment', '')}")

    def _insist(self, attempt: Callable[[], None]) -> None:
        while True:
            with suppress(Lost):
                attempt()
                return
            time.sleep(_PAUSE_S)


class _Associated:
    def __init__(self, port: int, sop_class: str) -> None:
        self._port = port
        self._ae = AE(ae_title="CT1")
        self._ae.add_requested_context(sop_class)
        self._ae.acse_timeout = self._ae.dimse_timeout = self._ae.network_timeout = _TIMEOUT_S
        self._ae.connection_timeout = _TIMEOUT_S

    def __enter__(self) -> Association:
        self._association = self._ae.associate("127.0.0.1", self._port, ae_title="MWL")
        if not self._association.is_established:
            raise Lost
        return self._association

    def __exit__(self, *_: object) -> None:
        if self._association.is_established:
            self._association.release()


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


def _create(association: Association, number: int, uid: str) -> Any:
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
    return association.send_n_create(data, MPPS, uid)


def _set(association: Association, image: Dataset, uid: str) -> Any:
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
    return association.send_n_set(data, MPPS, uid)
