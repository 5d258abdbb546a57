"""C-STORE as SCP: what is kept, what is refused, and how it is said."""

import hashlib
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pydicom.data
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import AllTransferSyntaxes, generate_uid
from pynetdicom import AE
from pynetdicom.sop_class import _STORAGE_CLASSES
from sqlmodel import select

from mwl.config import Archive as Settings
from mwl.db import Database
from mwl.db.tables import Instance, Series, StoredObject, Study
from mwl.errors import Outage
from mwl.net.codec import encode
from mwl.net.dimse import Element
from mwl.net.pdu import Abort
from mwl.net.server import AssociationServer
from mwl.objects import Full, ObjectStore, open_store
from mwl.objects.local import LocalStore
from mwl.scp.storage import StorageService
from mwl.scp.storage.syntaxes import IMAGE_CLASSES, STORAGE_CLASSES, TRANSFER_SYNTAXES
from tests.dicom_client import DicomClient, status
from tests.dicom_server import Serve, assert_serves, serve_fixture  # noqa: F401
from tests.peers import dcmtk, missing
from tests.s3 import Proxy, on_each_pair
from tests.storing import BIG, CT, EXPLICIT, IMPLICIT, MR, encoded, image, request, store

FILES = Path(pydicom.data.__file__).parent / "test_files"


@dataclass
class Archive:
    """A served archive, and what is in it."""

    database: Database
    objects: ObjectStore
    server: AssociationServer

    @property
    def port(self) -> int:
        return self.server.address[1]

    def client(self, *sop_classes: str, syntax: str = EXPLICIT) -> DicomClient:
        client = DicomClient(self.server.address)
        return client.associate(sop_classes or (CT,), calling="CT1", transfer_syntaxes=(syntax,))

    def rows(self, table: Any = StoredObject) -> list[Any]:
        with self.database.read() as session:
            return list(session.exec(select(table).order_by(table.id)).all())

    def file(self, row: StoredObject) -> bytes:
        return b"".join(self.objects.read(row.key))

    def data_set(self, row: StoredObject) -> bytes:
        return b"".join(self.objects.read(row.key, row.data_set_offset))

    def assert_empty(self) -> None:
        assert self.rows() == []
        assert list(self.objects.keys()) == []


Start = Callable[..., Archive]


@pytest.fixture
def start(serve: Serve, database: Database, images_in: Settings, tmp_path: Path) -> Start:
    def begin(objects: ObjectStore | None = None, **more: Any) -> Archive:
        kept = objects or open_store(images_in, tmp_path)
        return Archive(database, kept, serve(StorageService(database, kept, **more)))

    return begin


@pytest.fixture
def archive(start: Start) -> Archive:
    return start()


# --- what is kept


@on_each_pair
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_an_image_is_kept_byte_for_byte(archive: Archive, syntax: str) -> None:
    given = image(PatientName="Test^Pat")
    with archive.client(syntax=syntax) as client:
        answer = store(client, given, syntax)
        assert status(answer) == 0
        assert answer.sop_class == CT
        assert answer.sop_instance == given.SOPInstanceUID
    (row,) = archive.rows()
    data = encoded(given, syntax)
    assert archive.data_set(row) == data
    assert (row.sha256, row.size) == (hashlib.sha256(data).digest(), len(archive.file(row)))
    assert (row.source, row.transfer_syntax, row.state) == ("CT1", syntax, "served")
    (study,), (series,), (instance,) = (archive.rows(each) for each in (Study, Series, Instance))
    assert (study.patient_name, study.patient_id) == ("Test^Pat", "P1")
    assert (study.study_date, study.accession_number) == ("20260102", "A1")
    assert (series.modality, instance.instance_number) == ("CT", "1")
    assert (instance.rows, instance.columns) == (64, 64)


@on_each_pair
def test_what_is_kept_is_a_dicom_file(archive: Archive, tmp_path: Path) -> None:
    given = image()
    with archive.client() as client:
        store(client, given)
    (row,) = archive.rows()
    path = tmp_path / "image.dcm"
    path.write_bytes(archive.file(row))
    read = pydicom.dcmread(path)
    assert read == given
    meta = read.file_meta
    assert meta.MediaStorageSOPClassUID == CT
    assert meta.MediaStorageSOPInstanceUID == given.SOPInstanceUID
    assert meta.TransferSyntaxUID == EXPLICIT
    assert meta.SourceApplicationEntityTitle == "CT1"
    told = subprocess.run([dcmtk("dcmftest"), str(path)], capture_output=True, text=True)
    assert told.stdout.startswith("yes")


@on_each_pair
def test_many_images_on_one_association_become_one_series(archive: Archive) -> None:
    with archive.client() as client:
        for number in range(1, 21):
            assert status(store(client, image(number))) == 0
    assert len(archive.rows()) == len(archive.rows(Instance)) == 20
    assert len(archive.rows(Study)) == len(archive.rows(Series)) == 1


def test_contexts_of_two_classes_are_kept_apart(archive: Archive) -> None:
    with archive.client(CT, MR) as client:
        client.send(request("1.2.3", encoded(image(SOPInstanceUID="1.2.3"))))
        assert status(client.read_message()[0]) == 0
        mr = encoded(image(SOPInstanceUID="1.2.4", SOPClassUID=MR))
        client.send(request("1.2.4", mr, sop_class=MR, context_id=3))
        assert status(client.read_message()[0]) == 0
        # The class of the other context.
        client.send(request("1.2.5", mr, sop_class=MR, context_id=1))
        assert status(client.read_message()[0]) == 0x0122
    assert [row.sop_class_uid for row in archive.rows()] == [CT, MR]


@on_each_pair
def test_the_same_image_again_is_kept_once(archive: Archive) -> None:
    with archive.client() as client:
        assert status(store(client, image())) == status(store(client, image())) == 0
    assert len(archive.rows()) == len(list(archive.objects.keys())) == 1


@on_each_pair
def test_what_contradicts_the_archive_is_quarantined_and_kept(archive: Archive) -> None:
    with archive.client() as client:
        store(client, image(1))
        other = image(2, PatientID="P2", PatientName="Somebody^Else", PatientBirthDate="19700101")
        assert status(store(client, other)) == 0
    served, quarantined = archive.rows()
    assert (served.state, quarantined.state) == ("served", "quarantined")
    assert archive.data_set(quarantined) == encoded(other)


def test_a_private_class_is_kept_where_the_settings_name_it(start: Start) -> None:
    private = "1.3.12.2.1107.5.9.1"
    archive = start(private_classes=(private,))
    given = image(SOPClassUID=private)
    with archive.client(private) as client:
        assert status(store(client, given)) == 0
    assert archive.rows()[0].sop_class_uid == private


# --- other people's programs


@on_each_pair
@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("CT_small.dcm", "-xe"),
        ("CT_small.dcm", "-xi"),
        ("CT_small.dcm", "-xb"),
        ("image_dfl.dcm", "-xd"),
        ("MR_small_RLE.dcm", "-xr"),
        ("MR_small_jpeg_ls_lossless.dcm", "-xt"),
        ("MR_small_jp2klossless.dcm", "-xv"),
        ("JPEG-lossy.dcm", "-xx"),
        ("SC_rgb_jpeg_dcmtk.dcm", "-xy"),
        ("reportsi.dcm", "-xe"),
    ],
)
def test_storescu_stores_in_many_transfer_syntaxes(
    archive: Archive, name: str, option: str
) -> None:
    command = [dcmtk("storescu"), "-v", option, "127.0.0.1", str(archive.port)]
    done = subprocess.run([*command, str(FILES / name)], capture_output=True, text=True, timeout=60)
    assert "Received Store Response (Success)" in done.stdout + done.stderr, done
    (row,) = archive.rows()
    given = pydicom.dcmread(FILES / name)
    if option not in {"-xi", "-xb", "-xe"}:
        assert row.transfer_syntax == given.file_meta.TransferSyntaxUID
    kept = pydicom.dcmread(pydicom.filebase.DicomBytesIO(archive.file(row)))
    assert kept.file_meta.TransferSyntaxUID == row.transfer_syntax
    for keyword in ("PatientID", "StudyInstanceUID", "SOPInstanceUID", "Modality"):
        assert kept.get(keyword) == given.get(keyword)
    assert archive.rows(Study)[0].patient_id == (given.get("PatientID") or "")


@on_each_pair
def test_pynetdicom_stores(archive: Archive) -> None:
    given = pydicom.dcmread(FILES / "MR_small.dcm")
    ae = AE(ae_title="PYNET")
    ae.add_requested_context(given.SOPClassUID, given.file_meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", archive.port)
    assert association.is_established
    assert association.send_c_store(given).Status == 0
    association.release()
    (row,) = archive.rows()
    assert row.source == "PYNET"
    assert pydicom.dcmread(pydicom.filebase.DicomBytesIO(archive.file(row))) == given


# --- what is refused


BAD = {
    "other class": ({"SOPClassUID": MR}, 0xA900, 0x00080016),
    "other instance": ({"SOPInstanceUID": "1.2.3"}, 0xA900, 0x00080018),
    "no class": ({"SOPClassUID": None}, 0xA900, 0x00080016),
    "no instance": ({"SOPInstanceUID": None}, 0xA900, 0x00080018),
    "no study": ({"StudyInstanceUID": None}, 0xA900, 0x0020000D),
    "empty study": ({"StudyInstanceUID": ""}, 0xA900, 0x0020000D),
    "no series": ({"SeriesInstanceUID": None}, 0xA900, 0x0020000E),
}


@on_each_pair
@pytest.mark.parametrize("fault", BAD)
def test_a_data_set_that_is_not_what_its_command_says_is_refused(
    archive: Archive, fault: str
) -> None:
    changes, code, tag = BAD[fault]
    given = image(**changes)  # type: ignore[arg-type]
    with archive.client() as client:
        client.send(request(image().SOPInstanceUID, encoded(given)))
        answer = client.read_message()[0]
        assert status(answer) == code
        offending = answer.elements[Element.OFFENDING_ELEMENT]
        assert offending == (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
        assert 0 < len(answer.text(Element.ERROR_COMMENT)) <= 64
        archive.assert_empty()
        assert status(store(client, image())) == 0  # the association goes on


@pytest.mark.parametrize(
    "uid", ["../../etc/passwd", "1.2/3", "1..2", "", "1." * 32 + "1", "1.2\\3", "1.2\0.3", "1.2 3"]
)
def test_a_sop_instance_uid_that_can_be_none_is_refused(archive: Archive, uid: str) -> None:
    with archive.client() as client:
        client.send(request(uid, encoded(image())))
        assert status(client.read_message()[0]) == 0x0117
        archive.assert_empty()
        assert status(store(client, image())) == 0


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize(
    "uid", ["..", ".", "../x", "/etc/passwd", "<script>", "1.2\0.3", "1.2 3", "1.2\\3", "1..2"]
)
def test_a_study_or_series_uid_that_can_be_none_is_refused(
    archive: Archive, keyword: str, uid: str
) -> None:
    given = image()
    there = given[keyword].value.encode()
    data = encoded(given).replace(there, uid.encode().ljust(len(there), b"\0"))
    with archive.client() as client:
        client.send(request(given.SOPInstanceUID, data))
        answer = client.read_message()[0]
        assert status(answer) == 0xA900
        tag = {"StudyInstanceUID": b"\x20\x00\x0d\x00", "SeriesInstanceUID": b"\x20\x00\x0e\x00"}
        assert answer.elements[Element.OFFENDING_ELEMENT] == tag[keyword]
        archive.assert_empty()
        assert status(store(client, given)) == 0


def test_uids_with_letters_are_kept(archive: Archive) -> None:
    given = image(StudyInstanceUID=None, SeriesInstanceUID=None)
    for tag, uid in ((0x0020000D, "1.2.CT-7_a"), (0x0020000E, "001.02")):
        given.add_new(tag, "LO", uid)  # pydicom warns of such a UI
        given[tag].VR = "UI"
    with archive.client() as client:
        assert status(store(client, given)) == 0


@on_each_pair
def test_a_data_set_cut_short_is_refused_wherever_it_is_cut(archive: Archive) -> None:
    given = image()
    data = encoded(given)
    with archive.client() as client:
        for end in (0, 1, 7, 100, 333, len(data) - 8192, len(data) - 1):
            client.send(request(given.SOPInstanceUID, data[:end]))
            assert status(client.read_message()[0]) in {0xC000, 0xA900}
        archive.assert_empty()
        assert status(store(client, given)) == 0


@on_each_pair
@pytest.mark.parametrize(
    "tail",
    [
        b"\xe0\x7f\x10\0OW\0\0\xfe\xff\xff\xff" + b"abc",  # claims 4 GB
        b"\x99\x99\x10\0SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\xff\xff\xff\xff",  # no end
        b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 400,  # deep
    ],
)
def test_lengths_that_nothing_stands_behind_are_refused(archive: Archive, tail: bytes) -> None:
    given = image(PixelData=None)
    with archive.client() as client:
        client.send(request(given.SOPInstanceUID, encoded(given) + tail))
        assert status(client.read_message()[0]) == 0xC000
    archive.assert_empty()


JPEG = "1.2.840.10008.1.2.4.50"
FRAGMENTS = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\4\0\0\0\xff\xd8\xff\xd9"
ENCAPSULATED_PIXELS = (
    b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff" + FRAGMENTS + b"\xfe\xff\xdd\xe0\0\0\0\0"
)


@on_each_pair
@pytest.mark.parametrize("syntax", [JPEG, "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80"])
def test_native_pixels_under_a_syntax_that_compresses_are_refused(
    archive: Archive, syntax: str
) -> None:
    given, icon = image(), Dataset()
    icon.PixelData = b"\1\2"
    icon["PixelData"].VR = "OB"
    with archive.client(syntax=syntax) as client:
        client.send(request(given.SOPInstanceUID, encoded(given)))
        answer = client.read_message()[0]
        assert status(answer) == 0xC000
        assert answer.text(Element.ERROR_COMMENT) == "pixel data are not encapsulated"
        archive.assert_empty()
        # An icon may be native, and what has no pixels has none to compress.
        data = encoded(image(PixelData=None, IconImageSequence=[icon]))
        client.send(request(given.SOPInstanceUID, data + ENCAPSULATED_PIXELS))
        assert status(client.read_message()[0]) == 0
        assert status(store(client, image(2, PixelData=None))) == 0
    assert [row.transfer_syntax for row in archive.rows()] == [syntax] * 2


def test_a_request_without_a_data_set_is_refused(archive: Archive) -> None:
    with archive.client() as client:
        client.send(request("1.2.3", None))
        assert status(client.read_message()[0]) == 0xC000


def test_classes_that_nobody_knows_get_no_context(archive: Archive) -> None:
    unknown = generate_uid()
    with archive.client(CT, unknown) as client:
        assert client.accept is not None
        assert [each.result for each in client.accept.contexts] == [0, 3]


@pytest.mark.parametrize(
    "syntax",
    [
        "1.2.840.10008.1.2.4.94",
        "1.2.840.10008.1.2.4.95",
        "1.2.840.10008.1.2.4.204",
        "1.2.840.10008.1.2.4.205",
    ],
)
def test_syntaxes_whose_pixels_are_elsewhere_are_refused(archive: Archive, syntax: str) -> None:
    with DicomClient(archive.server.address) as client:
        client.associate((CT,), transfer_syntaxes=(syntax,))
        assert client.accept is not None
        assert client.accept.contexts[0].result == 4


def test_no_comment_and_no_log_tells_of_the_patient(
    archive: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    given = image(SOPClassUID=MR, PatientName="Secret^Sam", PatientID="SECRET")
    with archive.client() as client:
        client.send(request(given.SOPInstanceUID, encoded(given)))
        answer = client.read_message()[0]
    assert status(answer) == 0xA900
    written = capsys.readouterr()
    assert "storage.refused" in written.out + written.err
    assert "SECRET" not in (written.out + written.err).upper()
    assert "SECRET" not in answer.text(Element.ERROR_COMMENT).upper()


# --- peers that go


@on_each_pair
@pytest.mark.parametrize("aborts", [False, True])
@pytest.mark.parametrize("missing_bytes", [8000, 2000, 100])
def test_half_a_data_set_leaves_nothing(archive: Archive, missing_bytes: int, aborts: bool) -> None:
    whole = request(image().SOPInstanceUID, encoded(image()))
    client = archive.client()
    client.send(whole[:-missing_bytes] + (encode(Abort(0, 0)) if aborts else b""))
    client.close()
    wait_until(lambda: not archive.server.live())
    archive.assert_empty()
    assert_serves(archive.server)


def wait_until(is_so: Callable[[], bool]) -> None:
    for _ in range(1000):
        if is_so():
            return
        threading.Event().wait(0.01)
    raise AssertionError("in vain")


# --- our own trouble


class Troubled(LocalStore):
    """An object store that fails at one place."""

    def __init__(self, root: Path, place: str, error: Exception) -> None:
        super().__init__(root, 0)
        self.place, self.error = place, error

    def create(self, head: bytes = b"", *, expected: int | None = None) -> Any:
        if self.place == "create":
            raise self.error
        writer = super().create(head, expected=expected)
        if self.place:
            setattr(writer, self.place, self._fail)
        return writer

    def _fail(self, *_: object) -> None:
        raise self.error


@pytest.mark.parametrize("error", [Full("no room"), Outage("the bucket refuses")])
@pytest.mark.parametrize("place", ["create", "write", "finish"])
def test_trouble_with_the_object_store_is_out_of_resources(
    start: Start, tmp_path: Path, place: str, error: Exception
) -> None:
    objects = Troubled(tmp_path / "objects", place, error)
    archive = start(objects)
    with archive.client() as client:
        answer = store(client, image())
        assert status(answer) == 0xA700
        archive.assert_empty()
        objects.place = ""
        assert status(store(client, image())) == 0
    assert len(archive.rows()) == 1


def test_a_defect_of_ours_is_answered_and_kept_nowhere(start: Start, tmp_path: Path) -> None:
    archive = start(Troubled(tmp_path / "objects", "write", RuntimeError("Secret^Sam")))
    with archive.client() as client:
        answer = store(client, image())
        assert status(answer) == 0xC000
        assert "Secret" not in answer.text(Element.ERROR_COMMENT)
    archive.assert_empty()


# --- the bucket's trouble


def through(way: Proxy, given: Settings) -> Settings:
    return given.model_copy(update={"endpoint": f"http://127.0.0.1:{way.port}"})


def test_a_bucket_that_refuses_is_out_of_resources(
    start: Start, s3_bucket: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = s3_bucket.model_copy(update={"secret_access_key": "wrong"})
    archive = start(open_store(wrong, tmp_path))
    large = image(2, PixelData=bytes(12_000_000))  # of several parts
    with archive.client() as client:
        for given in (image(), large):
            answer = store(client, given)
            assert status(answer) == 0xA700
            assert 0 < len(answer.text(Element.ERROR_COMMENT)) <= 64
    assert archive.rows() == []
    assert list(open_store(s3_bucket, tmp_path).keys()) == []
    written = capsys.readouterr()
    # What to do is told to whoever reads the log.
    assert "archive.secret_access_key" in written.out + written.err


@pytest.mark.parametrize("pixels", [8_192, 24_000_000])
def test_a_bucket_that_stalls_is_out_of_resources_until_it_flows(
    start: Start,
    s3_bucket: Settings,
    proxy: Proxy,
    impatient: None,
    tmp_path: Path,
    pixels: int,
) -> None:
    archive = start(open_store(through(proxy, s3_bucket), tmp_path))
    given = image(PixelData=bytes(pixels))
    with archive.client() as client:
        proxy.stall()
        assert status(store(client, given)) == 0xA700
        assert archive.rows() == []
        proxy.flow()
        wait_until(lambda: status(store(client, given)) == 0)
    (row,) = archive.rows()
    assert archive.data_set(row) == encoded(given)


def test_a_bucket_that_goes_in_mid_upload_leaves_no_image(
    start: Start, s3_bucket: Settings, proxy: Proxy, impatient: None, tmp_path: Path
) -> None:
    archive = start(open_store(through(proxy, s3_bucket), tmp_path))
    given = image(PixelData=bytes(40_000_000))
    whole = request(given.SOPInstanceUID, encoded(given))
    with archive.client() as client:
        client.send(whole[:20_000_000])
        wait_until(lambda: proxy.passed > 5_000_000)  # a part is there
        proxy.cut()
        client.send(whole[20_000_000:])
        assert status(client.read_message()[0]) == 0xA700
        # The association goes on, and says so of the next one too.
        wait_until(lambda: status(store(client, image(2))) == 0xA700)
    assert archive.rows() == []
    assert list(open_store(s3_bucket, tmp_path).keys()) == []


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True
    )
    if mounted.returncode:
        missing("this container may not mount")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_disk_that_fills_up_within_a_file_leaves_nothing_of_it(
    start: Start, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        archive = start(LocalStore(disk, 0))
        big = image(PixelData=bytes(8_000_000))
        with archive.client() as client:
            assert status(store(client, big)) == 0xA700
            assert list(archive.objects.keys()) == []
            assert sum(path.stat().st_size for path in disk.rglob("*.dcm")) == 0
            # What fits is kept still.
            assert status(store(client, image(2))) == 0
        assert len(archive.rows()) == 1


def test_images_are_refused_before_the_disk_is_fuller_than_allowed(
    start: Start, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        archive = start(LocalStore(disk, 3_900_000))
        with archive.client() as client:
            assert status(store(client, image(PixelData=bytes(1_000_000)))) == 0xA700
        archive.assert_empty()


def test_while_the_index_is_out_nothing_is_promised(
    serve: Serve, sqlite_url: str, tmp_path: Path
) -> None:
    import sqlite3

    database = Database(sqlite_url, data_dir=tmp_path, wait_s=0.2)
    objects = LocalStore(tmp_path / "objects", 0)
    service = StorageService(database, objects)
    archive = Archive(database, objects, serve(service))
    hold = sqlite3.connect(str(database.path), isolation_level=None)
    with archive.client() as client:
        hold.execute("BEGIN IMMEDIATE")
        assert status(store(client, image())) == 0xA700
        # Whether the row is there is not known, so its object stays; no more are made.
        assert len(list(objects.keys())) == 1
        for _ in range(5):
            assert status(store(client, image(2))) == 0xA700
        assert len(list(objects.keys())) == 1
        hold.execute("ROLLBACK")
        hold.close()
        assert archive.rows() == []
        wait_until(lambda: not service.pause.is_on())
        assert status(store(client, image())) == 0
        assert len(archive.rows()) == 1
    database.close()


# --- tables


def test_all_storage_classes_of_the_standard_are_taken() -> None:
    assert set(_STORAGE_CLASSES.values()) <= set(STORAGE_CLASSES)
    assert len(STORAGE_CLASSES) == len(set(STORAGE_CLASSES)) == len(_STORAGE_CLASSES) + 4


def test_images_are_those_that_are_called_so() -> None:
    shown = {name: uid in IMAGE_CLASSES for name, uid in _STORAGE_CLASSES.items()}
    called_so = re.compile(r"Image|^Segmentation|(Label|Height)Map|^RTDose|MapStorage|USVolume")
    assert shown == {name: bool(called_so.search(name)) for name in shown}


def test_all_transfer_syntaxes_that_carry_pixels_are_taken() -> None:
    assert len(TRANSFER_SYNTAXES) == len(set(TRANSFER_SYNTAXES))
    without = {uid for uid in AllTransferSyntaxes if "JPIP" in uid.name or "SMPTE" in uid.name}
    assert set(AllTransferSyntaxes) - without <= set(TRANSFER_SYNTAXES)
    assert not without & set(TRANSFER_SYNTAXES)
