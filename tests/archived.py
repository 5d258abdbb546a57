"""An archive with something in it, for tests: images by way of the services, no network.

archive = Archived(database, tmp_path)
archive.add(ct_slice(1))                      # as a scanner's C-STORE would
archive.services()                            # storage, query, retrieve and move, to be served
"""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID

from mwl import archive
from mwl.archive import Received
from mwl.config import Archive
from mwl.db import Database
from mwl.db.tables import Device
from mwl.errors import Outage
from mwl.net.service import Service
from mwl.objects import ObjectStore, Opened, open_store
from mwl.pictures import Decoder
from mwl.scp.query import QueryService
from mwl.scp.retrieve import MoveService, RetrieveService
from mwl.scp.retrieve.move import LIMITS
from mwl.scp.storage import StorageService
from mwl.scp.storage.part10 import file_header
from mwl.sockets import Stream
from mwl.tls import connect

NOW = datetime(2030, 1, 2, 12, tzinfo=UTC)
ZONE = ZoneInfo("Europe/Berlin")

# By keyword, as what takes an image in reads them.
_TOLD = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "StudyDescription"),
    *("ReferringPhysicianName", "SeriesDate", "SeriesTime", "SeriesNumber", "SeriesDescription"),
    *("Modality", "StationName", "BodyPartExamined"),
    *("InstanceNumber", "NumberOfFrames", "Rows", "Columns"),
)


class Archived:
    """A database and an object store, and services on both."""

    def __init__(self, database: Database, folder: Path, kept: Archive | None = None) -> None:
        """Begin an empty one in `folder`, its images in `kept` (default: in the folder too)."""
        self.database = database
        self.store = open_store(kept or Archive(objects="objects", min_free_bytes=0), folder)
        self.decoder = Decoder(self.store)
        self.limits = LIMITS  # towards destinations

    def services(self) -> tuple[Service, ...]:
        storage = StorageService(self.database, self.store)
        kept = dict.fromkeys(storage.abstract_syntaxes, storage.transfer_syntaxes)
        return (
            storage,
            QueryService(self.database, ZONE),
            RetrieveService(self.database, self.store, kept, self.decoder),
            MoveService(self.database, self.store, self.decoder, _call, self.limits),
        )

    def add(self, image: Dataset, **told: Any) -> Received:
        """Keep an image in the transfer syntax that its file meta names; `told` is of the row."""
        syntax = str(image.file_meta.TransferSyntaxUID)
        header = file_header(image.SOPClassUID, image.SOPInstanceUID, syntax, "MODALITY")
        data_set = encoded(image)
        return self.add_bytes(image, header, data_set, **told)

    def add_bytes(self, image: Dataset, header: bytes, data_set: bytes, **told: Any) -> Received:
        writer = self.store.create()
        writer.write(header)
        writer.write(data_set)
        writer.finish()
        values = {
            "study_instance_uid": str(image.StudyInstanceUID),
            "series_instance_uid": str(image.SeriesInstanceUID),
            "sop_instance_uid": str(image.SOPInstanceUID),
            "sop_class_uid": str(image.SOPClassUID),
            "transfer_syntax": str(image.file_meta.TransferSyntaxUID),
            "source": "MODALITY",
            "key": writer.key,
            "size": len(header) + len(data_set),
            "data_set_offset": len(header),
            "sha256": hashlib.sha256(data_set).digest(),
            "attributes": _attributes(image),
            "received_at": NOW,
        }
        received = Received(**{**values, **told})
        archive.store(self.database, received)
        return received


def _call(device: Device) -> Stream:
    return connect(device.host, device.port, 5)


def break_off(store: ObjectStore, monkeypatch: pytest.MonkeyPatch, *, in_pieces: bool) -> None:
    """Let what the store reads break off after some 512 KiB, read one way or the other."""
    read, open_ = store.read, store.open

    def pieces(key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        for number, piece in enumerate(read(key, start, length)):
            if number == 3:
                raise Outage("the disk is gone")
            yield piece

    def opened(key: str) -> Opened | None:
        found = open_(key)
        assert found is not None
        fill, calls = found.fill, count()

        def breaks(places: Sequence[memoryview], start: int) -> None:
            if next(calls) == 3:
                raise Outage("the disk is gone")
            fill(places, start)

        monkeypatch.setattr(found, "fill", breaks)
        return found

    monkeypatch.setattr(store, "read", pieces)
    monkeypatch.setattr(store, "open", (lambda _: None) if in_pieces else opened)


def encoded(image: Dataset, syntax: str | None = None) -> bytes:
    """Encode the data set alone."""
    uid = UID(syntax or image.file_meta.TransferSyntaxUID)
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = uid.is_implicit_VR, uid.is_little_endian
    write_dataset(stream, image)
    return bytes(stream.getvalue())


def _attributes(image: Dataset) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        keyword: str(image.get(keyword)) for keyword in _TOLD if image.get(keyword) is not None
    }
    items = image.get("RequestAttributesSequence") or ()
    attributes["RequestAttributes"] = [
        {element.keyword: str(element.value) for element in item} for item in items
    ]
    return attributes
