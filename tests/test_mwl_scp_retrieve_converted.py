"""What a peer can't take as it is kept goes out uncompressed, and shows the same pixels."""

import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filereader import read_dataset
from pydicom.pixels import pixel_array
from pydicom.uid import UID
from structlog.testing import capture_logs

from mwl.net import status
from mwl.net.pdu import PduType
from tests.archived import Archived, encoded
from tests.dicom_server import assert_serves, dial_fixture, serve_fixture  # noqa: F401 - fixtures
from tests.images import ct_slice
from tests.retriever import CT, Retriever, most_held

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
RLE, JPEG, JPEG_LOSSLESS = (f"1.2.840.10008.1.2.{each}" for each in ("5", "4.50", "4.70"))
ROOT = "1.2.826.0.1.3680043.8.498"
STUDY = {"StudyInstanceUID": f"{ROOT}.1"}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

# Each of a kind: syntaxes, colours, bits, several frames.
FILES = [
    "693_J2KI.dcm",
    "GDCMJ2K_TextGBR.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "JPEGLSNearLossless_08.dcm",
    "JPEGLSNearLossless_16.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "SC_jpeg_no_color_transform.dcm",
    "SC_rgb_dcmtk_+eb+cr.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm",
    "SC_rgb_dcmtk_+eb+cy+s4.dcm",
    "SC_rgb_gdcm_KY.dcm",
    "SC_rgb_jls_lossy_line.dcm",
    "SC_rgb_jls_lossy_sample.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_rle_16bit_2frame.dcm",
    "SC_rgb_rle_32bit_2frame.dcm",
    "SC_rgb_small_odd_jpeg.dcm",
    "examples_ybr_color.dcm",
    "rtdose_rle.dcm",
    "ExplVR_BigEnd.dcm",
    "MR_small_bigendian.dcm",
    "SC_rgb_small_odd_big_endian.dcm",
    "liver_expb_1frame.dcm",
    "rtdose_expb.dcm",
]
LOSSY = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.81"}


@pytest.fixture
def archived(sqlite_database, tmp_path):
    made = Archived(sqlite_database, tmp_path)
    yield made
    made.decoder.close()


@pytest.fixture
def retriever(archived, serve, dial):
    def begin(*storage):
        begin.server = serve(*archived.services())
        return Retriever(dial(begin.server), storage, max_pdu_bytes=128 * 1024)

    return begin


def sample(name, number=1):
    """Read a file of pydicom's, and make it an image of a study of ours."""
    found = dcmread(Path(str(get_testdata_file(name))))
    found.StudyInstanceUID = f"{ROOT}.{number}"
    found.SeriesInstanceUID = f"{ROOT}.{number}.1"
    found.SOPInstanceUID = f"{ROOT}.{number}.1.1"
    return found


def studies(*made):
    return [each.StudyInstanceUID for each in made]


def keep(archived, made):
    """Keep a data set to the byte as it is encoded in its own syntax."""
    data_set = encoded(made)
    if made.file_meta.TransferSyntaxUID == DEFLATED:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data_set = deflater.compress(data_set) + deflater.flush()
        data_set += b"\0" * (len(data_set) % 2)
    header = bytes(128) + b"DICM" + _file_meta(made)
    archived.add_bytes(made, header, data_set)


def _file_meta(made):
    meta = Dataset()
    meta.MediaStorageSOPClassUID = made.SOPClassUID
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    meta.TransferSyntaxUID = made.file_meta.TransferSyntaxUID
    meta.file_meta = FileMetaDataset()
    meta.file_meta.TransferSyntaxUID = UID(EXPLICIT)
    data = encoded(meta)
    return b"\x02\0\0\0UL\x04\0" + len(data).to_bytes(4, "little") + data


def got(client, made, syntax):
    """Read what has come as a data set that pydicom takes pixels from."""
    read = read_dataset(
        BytesIO(client.received[made.SOPInstanceUID]), UID(syntax).is_implicit_VR, True
    )
    read.file_meta = FileMetaDataset()
    read.file_meta.TransferSyntaxUID = UID(syntax)
    return read


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_pixels_are_those_that_pydicom_sees(retriever, archived, syntax):
    samples = {name: sample(name, number) for number, name in enumerate(FILES, 1)}
    for made in samples.values():
        keep(archived, made)
    classes = sorted({str(made.SOPClassUID) for made in samples.values()})
    client = retriever(*((each, syntax) for each in classes))
    assert client.get("STUDY", StudyInstanceUID=studies(*samples.values())) == status.SUCCESS
    for name, made in samples.items():
        read = got(client, made, syntax)
        assert np.array_equal(pixel_array(made, raw=True), pixel_array(read, raw=True)), name
        assert np.array_equal(pixel_array(made), pixel_array(read)), name
        assert_tells_of_its_pixels(made, read)
        # What isn't about pixels is as it was.
        for element in made:
            group, number = element.tag.group, element.tag.element
            if number and group < 0x7FE0 and group % 2 == 0 and group != 0x0028:
                assert read[element.tag] == element, name


def assert_tells_of_its_pixels(made, read):
    kept = str(made.file_meta.TransferSyntaxUID)
    if kept in LOSSY:
        assert read.LossyImageCompression == "01"
        assert read.LossyImageCompressionMethod
        assert read.LossyImageCompressionRatio
    if kept != BIG_ENDIAN and made.SamplesPerPixel == 3:
        assert read.PlanarConfiguration == 0
        assert read.PhotometricInterpretation in {"RGB", "YBR_FULL"}


def test_what_pydicom_can_not_decode_is_decoded_too(retriever, archived):
    extended, lossless = sample("JPGExtended.dcm", 1), sample("SC_rgb_jpeg_gdcm.dcm", 2)
    for made in (extended, lossless):
        keep(archived, made)
    classes = {str(made.SOPClassUID) for made in (extended, lossless)}
    client = retriever(*((each, EXPLICIT) for each in classes))
    assert client.get("STUDY", StudyInstanceUID=studies(extended, lossless)) == status.SUCCESS
    read = got(client, extended, EXPLICIT)
    assert pixel_array(read).shape == (extended.Rows, extended.Columns)
    # The same picture, and lossless.
    read = got(client, lossless, EXPLICIT)
    assert np.array_equal(pixel_array(read), pixel_array(sample("SC_rgb_rle.dcm")))


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_what_is_deflated_is_inflated(retriever, archived, syntax):
    made = ct_slice(1, syntax=DEFLATED, StudyInstanceUID=f"{ROOT}.1")
    keep(archived, made)
    client = retriever((CT, syntax))
    assert client.get("STUDY", **STUDY) == status.SUCCESS
    assert client.received[made.SOPInstanceUID] == encoded(made, syntax)


def test_what_carries_no_pixels_goes_out_as_it_is(retriever, archived):
    made = ct_slice(1, syntax=JPEG, StudyInstanceUID=f"{ROOT}.1")
    del made.PixelData
    keep(archived, made)
    client = retriever((CT, EXPLICIT))
    assert client.get("STUDY", **STUDY) == status.SUCCESS
    assert client.received[made.SOPInstanceUID] == encoded(made, EXPLICIT)


def compressed(frames, syntax=RLE, rows=64, last=None, **overrides):
    """Make an RLE image of frames that are all alike, each a row of zeros but for its number."""
    made = ct_slice(1, syntax=syntax, StudyInstanceUID=f"{ROOT}.1", Rows=rows, **overrides)
    made.NumberOfFrames = str(frames)
    # Two segments, each of so many bytes of zero (PS3.5 G.3).
    packed = b"\x81\0" * (rows * 64 // 128)
    segments = (2, 64, 64 + len(packed), *[0] * 13)
    frame = b"".join(each.to_bytes(4, "little") for each in segments) + packed * 2
    made.PixelData = encapsulate([frame] * (frames - 1) + [last or frame])
    made["PixelData"].is_undefined_length = True
    made["PixelData"].VR = "OB"
    return made


def garbage():
    """Make an image whose only frame is no JPEG."""
    made = compressed(1, JPEG)
    made.PixelData = encapsulate([b"\xff\xd8 no picture \xff\xd9"])
    return made


@pytest.mark.parametrize(
    "broken",
    [
        garbage,
        lambda: compressed(20, rows=4096, last=b"no frame"),
        lambda: compressed(1, Columns=60),
        lambda: ct_slice(1, syntax="1.2.840.10008.1.2.4.102", StudyInstanceUID=f"{ROOT}.1"),
    ],
)
def test_what_can_not_be_decoded_fails_with_its_reason(retriever, archived, broken):
    keep(archived, broken())
    whole = ct_slice(2, StudyInstanceUID=f"{ROOT}.1", SeriesInstanceUID=f"{ROOT}.1.2")
    archived.add(whole)
    client = retriever((CT, EXPLICIT))
    with capture_logs() as logs:
        assert client.get("STUDY", **STUDY) == status.SUB_OPERATIONS_WITH_FAILURES
    assert client.counts() == (None, 1, 1, 0)
    assert list(client.received) == [whole.SOPInstanceUID]
    assert client.responses[-1].text(0x0902).startswith("it can't be converted: ")
    assert "retrieve.failed" in [line["event"] for line in logs]


def test_frames_that_are_fewer_than_claimed_are_never_sent_as_whole(retriever, archived):
    made = compressed(3)
    made.NumberOfFrames = "4"
    keep(archived, made)
    client = retriever((CT, EXPLICIT))
    assert client.get("STUDY", **STUDY) == status.UNABLE_TO_PERFORM_SUB_OPERATIONS
    assert client.received == {}


def test_many_frames_are_not_in_memory_at_once(retriever, archived):
    rows, frames = 4096, 100  # of 512 KiB each
    keep(archived, compressed(frames, rows=rows))
    client = retriever((CT, EXPLICIT))
    client.ask("STUDY", **STUDY)
    size = frames * rows * 64 * 2
    assert most_held(client, size) < 24 * 1024 * 1024


def test_a_peer_that_goes_while_frames_are_decoded_leaves_the_decoder_to_others(
    retriever, archived
):
    keep(archived, compressed(200, rows=4096))
    client = retriever((CT, EXPLICIT))
    client.ask("STUDY", **STUDY)
    client.client.read_frame()
    client.client.close()
    assert_serves(retriever.server)
    again = retriever((CT, EXPLICIT))
    again.ask("STUDY", **STUDY)
    again.client.read_message()


def test_a_bomb_is_inflated_so_far_and_no_further(retriever, archived):
    made = ct_slice(1, syntax=DEFLATED, StudyInstanceUID=f"{ROOT}.1")
    made.PixelData = b""
    made["PixelData"].VR = "OW"
    size = 64 * 1024 * 1024
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data_set = deflater.compress(encoded(made)[:-4] + size.to_bytes(4, "little") + bytes(size))
    data_set += deflater.flush()
    archived.add_bytes(made, b"", data_set + b"\0" * (len(data_set) % 2))
    assert len(data_set) < 128 * 1024
    client = retriever((CT, EXPLICIT))
    client.ask("STUDY", **STUDY)
    seen = 0
    while (frame := client.client.read_frame())[0] == PduType.DATA_TF:
        seen += len(frame[1])
    assert frame[0] == PduType.ABORT
    assert seen < size // 2
