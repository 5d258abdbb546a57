"""A scanner that sends slices as fast as anybody takes them, at next to no cost of its own.

What all slices share is encoded once; of each, the first PDU alone is its own.
"""

import itertools
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from struct import Struct
from typing import Self

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from mwl.net.codec import COMMAND, LAST, encode_value
from mwl.net.dimse import CommandField, Element, decode_command, encode_command
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN
from tests.dicom_client import DicomClient, status
from tests.retriever import Retriever

CT = "1.2.840.10008.5.1.4.1.1.2"
PIXEL_BYTES = 512 * 1024
_MOST_PDU_BYTES = 131_072
_PIXEL_DATA = Struct("<HH2sxxI")
_ROOT = f"2.25.1{int.from_bytes(os.urandom(8), 'big'):020d}"
_UID = f"{_ROOT}.100000000"  # as long as all of them
_numbers = itertools.count(100_000_001)


class Slices:
    """Slices of one series, encoded for PDUs of `max_pdu_bytes`."""

    def __init__(self, max_pdu_bytes: int, pixel_bytes: int = PIXEL_BYTES) -> None:
        series = next(_numbers)
        self.study = f"{_ROOT}.1.{series}"
        self._template = _encoded(series, pixel_bytes)
        self._room = (max_pdu_bytes - 6) & ~1
        starts = range(self._room, len(self._template), self._room)
        self._rest = b"".join(self._value(start) for start in starts)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Make one after another: what is its own, and what all share."""
        first, uid = self._template[: self._room], _UID.encode()
        last = 0 if self._rest else LAST
        while True:
            own = f"{_ROOT}.{next(_numbers)}"
            value = encode_value(1, last, first.replace(uid, own.encode()))
            yield _command(own) + value, self._rest

    def _value(self, start: int) -> bytes:
        end = start + self._room
        last = LAST if end >= len(self._template) else 0
        return encode_value(1, last, self._template[start:end])


class Sender:
    """An association that stores new slices of one series; a context manager."""

    def __init__(self, port: int, *, pixel_bytes: int = PIXEL_BYTES) -> None:
        self._client = DicomClient(("127.0.0.1", port), 60).associate(
            (CT,), calling="CT1", transfer_syntaxes=(EXPLICIT_VR_LITTLE_ENDIAN,)
        )
        assert self._client.accept is not None
        most = self._client.accept.user.max_pdu_bytes or _MOST_PDU_BYTES
        slices = Slices(min(most, _MOST_PDU_BYTES), pixel_bytes)
        self.study, self._slices = slices.study, iter(slices)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._client.release()
        self._client.close()

    def send(self, count: int) -> None:
        """Send one after another, each when the last is answered 0000."""
        for own, shared in itertools.islice(self._slices, count):
            self._store(own, shared)

    def send_until(self, deadline: float) -> int:
        """Send one after another until time.monotonic() is `deadline`; tell how many went."""
        for count, (own, shared) in enumerate(self._slices):
            if time.monotonic() >= deadline:
                return count
            self._store(own, shared)
        raise AssertionError("slices never end")

    def _store(self, own: bytes, shared: bytes) -> None:
        _send_all(self._client.socket, own, shared)
        assert status(self._client.read_message()[0]) == 0


def send_huge(port: int, pixel_bytes: int) -> str:
    """Store one instance of so many bytes of pixels, in as little memory; tell its study."""
    series = next(_numbers)
    head = _encoded(series, 0)
    head = head[: -_PIXEL_DATA.size] + _PIXEL_DATA.pack(0x7FE0, 0x0010, b"OW", pixel_bytes)
    own = f"{_ROOT}.{next(_numbers)}"
    piece = os.urandom(_MOST_PDU_BYTES - 6 & ~1)
    with DicomClient(("127.0.0.1", port), 60) as client:
        client.associate((CT,), calling="CT1", transfer_syntaxes=(EXPLICIT_VR_LITTLE_ENDIAN,))
        client.send(_command(own) + encode_value(1, 0, head.replace(_UID.encode(), own.encode())))
        whole = encode_value(1, 0, piece)
        pieces, rest = divmod(pixel_bytes, len(piece))
        for _ in range(pieces):
            client.send(whole)
        client.send(encode_value(1, LAST, piece[:rest]))
        assert status(client.read_message()[0]) == 0
    return f"{_ROOT}.1.{series}"


def fetch_huge(port: int, study: str) -> int:
    """Retrieve a study of one instance by C-GET and drop its bytes; tell how many they were."""
    with DicomClient(("127.0.0.1", port), 60) as client:
        storage = [(CT, EXPLICIT_VR_LITTLE_ENDIAN)]
        retriever = Retriever(client, storage, max_pdu_bytes=_MOST_PDU_BYTES)
        retriever.ask("STUDY", StudyInstanceUID=study)
        _, body = client.read_frame()
        command = decode_command(bytes(body[6:]))
        size, is_last = 0, 0
        while not is_last:
            _, body = client.read_frame()
            size += len(body) - 6
            is_last = body[5] & LAST
        client.send(retriever.stored(command))
        while retriever.step() is None:
            pass
        assert status(retriever.responses[-1]) == 0
        return size


def rate(port: int, associations: int, count: int) -> float:
    """Store `count` slices on so many associations at once; give slices a second."""
    with ExitStack() as stack:
        senders = [stack.enter_context(Sender(port)) for _ in range(associations)]
        pool = stack.enter_context(ThreadPoolExecutor(associations))
        began = time.perf_counter()
        list(pool.map(lambda sender: sender.send(count // associations), senders))
        return count / (time.perf_counter() - began)


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port: int = probe.getsockname()[1]
        return port


def _send_all(sock: socket.socket, own: bytes, shared: bytes) -> None:
    sent = sock.sendmsg([own, shared])
    if sent < len(own):
        sock.sendall(own[sent:])
        sent = len(own)
    if sent < len(own) + len(shared):
        sock.sendall(memoryview(shared)[sent - len(own) :])


def _command(uid: str) -> bytes:
    command = encode_command(
        {
            Element.AFFECTED_SOP_CLASS_UID: CT,
            Element.COMMAND_FIELD: CommandField.C_STORE,
            Element.MESSAGE_ID: 1,
            Element.PRIORITY: 0,
            Element.DATA_SET_TYPE: 1,
            Element.AFFECTED_SOP_INSTANCE_UID: uid,
        }
    )
    return encode_value(1, COMMAND | LAST, command)


def _encoded(series: int, pixel_bytes: int) -> bytes:
    """Encode a CT slice with some 80 attributes, explicit VR little endian."""
    data_set = Dataset()
    data_set.SpecificCharacterSet = "ISO_IR 100"
    data_set.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data_set.SOPClassUID, data_set.SOPInstanceUID = CT, _UID
    data_set.StudyDate = data_set.SeriesDate = data_set.ContentDate = "20260102"
    data_set.StudyTime = data_set.SeriesTime = data_set.ContentTime = "101112"
    data_set.AccessionNumber = f"A{series}"
    data_set.Modality, data_set.Manufacturer, data_set.StationName = "CT", "Nobody", "CT1"
    data_set.StudyDescription, data_set.SeriesDescription = "Thorax", "Thorax 1.0"
    data_set.ReferringPhysicianName = "Referring^Robin"
    data_set.PatientName, data_set.PatientID = "Test^Patient", f"P{series}"
    data_set.PatientBirthDate, data_set.PatientSex = "19700101", "O"
    data_set.BodyPartExamined = "CHEST"
    data_set.StudyInstanceUID = f"{_ROOT}.1.{series}"
    data_set.SeriesInstanceUID = f"{_ROOT}.2.{series}"
    data_set.StudyID, data_set.SeriesNumber, data_set.InstanceNumber = "1", 2, 3
    data_set.ImagePositionPatient, data_set.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    data_set.FrameOfReferenceUID = f"{_ROOT}.3.{series}"
    data_set.SamplesPerPixel, data_set.PhotometricInterpretation = 1, "MONOCHROME2"
    data_set.Rows, data_set.Columns, data_set.PixelSpacing = 512, pixel_bytes // 1024, [1, 1]
    data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit = 16, 12, 11
    data_set.PixelRepresentation, data_set.RescaleIntercept, data_set.RescaleSlope = 0, -1024, 1
    for number in range(40):
        data_set.add_new(0x00190000 | 0x1000 + number, "DS", f"{number}.5")
    data_set.add_new(0x00190010, "LO", "NOBODY 1.0")
    data_set.PixelData = os.urandom(pixel_bytes)
    data_set["PixelData"].VR = "OW"
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_dataset(stream, data_set)
    return stream.getvalue()
