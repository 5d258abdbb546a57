"""Frames become pictures, whatever they are stored as, and hostile ones harm nobody."""

import os
import signal
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_windowing, pixel_array
from pydicom.sequence import Sequence

from mwl.errors import Outage
from mwl.pictures import Busy, Limits, Pictures, Unshowable, Window
from mwl.pictures.codecs import OWN, PLUGINS
from mwl.scp.storage.syntaxes import TRANSFER_SYNTAXES
from tests.images import ct_slice
from tests.peers import dcmtk
from tests.pictured import Memory, compressed, part10, picture

pytestmark = pytest.mark.filterwarnings("ignore:::pydicom")

HANGING = (sys.executable, str(Path(__file__).with_name("hanging_child.py")))
SHORT = Limits(seconds=2, bytes=512 * 1024 * 1024)


@pytest.fixture(scope="module")
def pictures() -> Iterator[Pictures]:
    made = Pictures(Memory())  # type: ignore[arg-type]
    yield made
    made.close()


def gradient(**given: Any) -> Dataset:
    """Make a slice with 12 bits of a gradient and some noise."""
    image = ct_slice(1, **given)
    y, x = np.mgrid[0:64, 0:64]
    noise = np.random.default_rng(1).integers(0, 8, (64, 64))
    image.PixelData = (x * 40 + y * 20 + noise).astype("<u2").tobytes()
    return image


def coloured(**given: Any) -> Dataset:
    rgb = {
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "RGB",
        "PlanarConfiguration": 0,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "RescaleSlope": None,
        "RescaleIntercept": None,
    }
    image = ct_slice(1, **{**rgb, **given})
    y, x = np.mgrid[0:64, 0:64]
    pixels = np.stack([x * 4, y * 4, 255 - x * 2 - y], axis=-1).astype("u1")
    image.PixelData = pixels.tobytes()
    image["PixelData"].VR = "OB"
    return image


def by_pydicom(image: Dataset, pixels: Any = None) -> Any:
    """Show an image by pydicom's own means."""
    pixels = image.pixel_array if pixels is None else pixels
    values = apply_modality_lut(pixels, image).astype(float)
    if "WindowCenter" in image:
        shown = apply_windowing(values, image)
        low, high = bounds_of(image)
    else:
        shown, low, high = values, values.min(), values.max()
    grey = np.rint(np.clip((shown - low) / (high - low or 1), 0, 1) * 255).astype("u1")
    return 255 - grey if image.PhotometricInterpretation == "MONOCHROME1" else grey


def bounds_of(image: Dataset) -> tuple[float, float]:
    """Tell between which values pydicom's window leaves them (PS3.3 C.11.2.1.2)."""
    low = -(2 ** (image.BitsStored - 1)) if image.PixelRepresentation else 0
    high = low + 2**image.BitsStored - 1
    slope, intercept = image.get("RescaleSlope", 1), image.get("RescaleIntercept", 0)
    return float(low * slope + intercept), float(high * slope + intercept)


# --- each transfer syntax


@pytest.mark.parametrize("syntax", [
    uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.RLELossless,
    uid.JPEGLSLossless, uid.JPEG2000Lossless,
])  # fmt: skip
@pytest.mark.parametrize("make", [gradient, coloured])
def test_what_pydicom_encodes_without_loss_is_shown_as_it_was(
    pictures: Pictures, syntax: uid.UID, make: Any
) -> None:
    image = make()
    expected = picture(pictures, make())
    if syntax.is_compressed:
        image.compress(syntax)
    image.file_meta.TransferSyntaxUID = syntax
    assert np.array_equal(picture(pictures, image), expected)


@pytest.mark.parametrize(
    ("syntax", "encode", "options"),
    [
        (uid.JPEGLossless, "jpeg8_encode", {"lossless": True, "bitspersample": 16}),
        (uid.JPEGLosslessSV1, "jpeg8_encode", {"lossless": True, "bitspersample": 16}),
        (uid.JPEGLosslessSV1, "ljpeg_encode", {"bitspersample": 12}),
        (uid.HTJ2KLossless, "htj2k_encode", {"reversible": True}),
        (uid.HTJ2KLosslessRPCL, "htj2k_encode", {"reversible": True}),
        (uid.HTJ2K, "htj2k_encode", {"reversible": True}),
        (uid.JPEG2000, "jpeg2k_encode", {"codecformat": "j2k", "reversible": True}),
    ],
)
def test_what_else_is_without_loss_is_shown_as_it_was(
    pictures: Pictures, syntax: uid.UID, encode: str, options: dict[str, Any]
) -> None:
    shown = picture(pictures, compressed(gradient(), syntax, encode, **options))
    assert np.array_equal(shown, picture(pictures, gradient()))


@pytest.mark.parametrize(
    ("syntax", "encode", "options"),
    [
        (uid.JPEGExtended12Bit, "jpeg8_encode", {"bitspersample": 12, "level": 100}),
        (uid.JPEGLSNearLossless, "jpegls_encode", {"level": 2}),
        (uid.JPEG2000, "jpeg2k_encode", {"codecformat": "j2k", "level": 90}),
    ],
)
def test_what_loses_a_little_is_shown_nearly_as_it_was(
    pictures: Pictures, syntax: uid.UID, encode: str, options: dict[str, Any]
) -> None:
    shown = picture(pictures, compressed(gradient(), syntax, encode, **options)).astype(int)
    assert np.abs(shown - picture(pictures, gradient())).max() <= 2


@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL_422"])
def test_colours_of_jpeg_are_what_the_header_says(pictures: Pictures, kind: str) -> None:
    image = coloured()
    space = {"outcolorspace": "RGB" if kind == "RGB" else "YCBCR"}
    image = compressed(image, uid.JPEGBaseline8Bit, "jpeg8_encode", level=98, **space)
    image.PhotometricInterpretation = kind
    shown = picture(pictures, image).astype(int)
    assert np.abs(shown - picture(pictures, coloured())).mean() < 3


def test_lossless_jpeg_keeps_its_colours(pictures: Pictures) -> None:
    image = compressed(coloured(), uid.JPEGLosslessSV1, "jpeg8_encode", lossless=True)
    assert np.array_equal(picture(pictures, image), picture(pictures, coloured()))


def test_big_endian_and_deflated_files_are_read(pictures: Pictures) -> None:
    for name in ("MR_small_bigendian.dcm", "image_dfl.dcm", "ExplVR_BigEnd.dcm"):
        assert_as_pydicom(pictures, Path(shipped()[name]))


def test_every_syntax_that_is_taken_in_can_be_shown_but_for_films() -> None:
    behind = "1.2.840.10008.1.2.4."
    films = {s for s in TRANSFER_SYNTAXES if s.startswith(f"{behind}10")}
    # JPEG 2000 of several components (Part 2), which nobody free decodes.
    volumes = {f"{behind}92", f"{behind}93"}
    assert set(TRANSFER_SYNTAXES) - films - volumes == {*map(str, PLUGINS), *OWN}


def test_what_pydicom_has_never_heard_of_is_shown(pictures: Pictures) -> None:
    def deflate(pixels: Any) -> bytes:
        packer = zlib.compressobj(wbits=-15)
        return packer.compress(pixels.tobytes()) + packer.flush()

    for make in (gradient, coloured):
        expected = picture(pictures, make())
        for number in (110, 112):
            syntax = f"1.2.840.10008.1.2.4.{number}"
            image = compressed(make(), syntax, "jpegxl_encode", lossless=True)
            assert np.array_equal(picture(pictures, image), expected)
        image = compressed(make(), "1.2.840.10008.1.2.8.1", deflate)
        assert np.array_equal(picture(pictures, image), expected)


# --- what pydicom ships


def shipped() -> dict[str, str]:
    """Name the test files that are part of the package."""
    folder = Path(uid.__file__).parent / "data" / "test_files"
    return {path.name: str(path) for path in folder.glob("*.dcm")}


WITHOUT_PLUGIN = {"JPGExtended.dcm", "JPEG-lossy.dcm", "SC_rgb_jpeg_gdcm.dcm"}
# What pydicom can't read from a file, either.
BROKEN = {
    "JPEG2000-embedded-sequence-delimiter.dcm",
    "MR_truncated.dcm",
    "badVR.dcm",
}


@pytest.mark.parametrize("name", sorted(shipped().keys() - WITHOUT_PLUGIN))
def test_files_of_others_are_shown_as_pydicom_decodes_them(pictures: Pictures, name: str) -> None:
    path = Path(shipped()[name])
    header = dcmread(path, force=True, stop_before_pixels=True)
    if name in BROKEN or "Rows" not in header or "TransferSyntaxUID" not in header.file_meta:
        with pytest.raises(Unshowable):
            picture(pictures, memory_of(pictures).add(path.read_bytes()))
        return
    assert_as_pydicom(pictures, path)


def memory_of(pictures: Pictures) -> Memory:
    memory: Any = pictures._objects
    return memory  # type: ignore[no-any-return]


def assert_as_pydicom(pictures: Pictures, path: Path) -> None:
    shown = picture(pictures, memory_of(pictures).add(path.read_bytes()))
    expected = expected_of(dcmread(path))
    assert shown.shape == expected.shape
    assert np.abs(shown.astype(int) - expected.astype(int)).max() <= 1


def expected_of(image: Dataset) -> Any:
    pixels = np.asarray(pixel_array(image, index=0))
    if image.SamplesPerPixel > 1:
        return pixels >> (image.BitsStored - 8)
    if image.PhotometricInterpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, image)
        return pixels >> (8 if pixels.max() > 255 else 0)
    return by_pydicom(image, pixels)


@pytest.mark.parametrize("name", sorted(WITHOUT_PLUGIN))
def test_what_pydicom_has_no_plugin_for_is_shown_as_dcmtk_decodes_it(
    pictures: Pictures, name: str, tmp_path: Path
) -> None:
    path, plain = Path(shipped()[name]), tmp_path / "plain.dcm"
    subprocess.run([dcmtk("dcmdjpeg"), "--conv-never", path, plain], check=True)
    shown = picture(pictures, memory_of(pictures).add(path.read_bytes()))
    expected = expected_of(dcmread(plain))
    assert np.abs(shown.astype(int) - expected.astype(int)).max() <= 1


# --- grey


def test_a_window_of_the_address_goes_before_the_image_s_own(pictures: Pictures) -> None:
    image = gradient(WindowCenter=["40", "300"], WindowWidth=["400", "1500"])
    source = memory_of(pictures).add(part10(image))
    own = pictures.frame(source)
    assert own.window == Window(40, 400)
    assert np.abs(picture(pictures, source).astype(int) - by_pydicom(image)).max() <= 1
    wide = pictures.frame(source, window=Window(300, 1500))
    assert wide.window == Window(300, 1500)
    image.WindowCenter, image.WindowWidth = "300", "1500"
    shown = picture(pictures, source, window=Window(300, 1500)).astype(int)
    assert np.abs(shown - by_pydicom(image)).max() <= 1


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_are_those_of_the_standard(pictures: Pictures, function: str) -> None:
    image = gradient(WindowCenter="100", WindowWidth="800", VOILUTFunction=function)
    assert np.abs(picture(pictures, image).astype(int) - by_pydicom(image)).max() <= 1


def test_monochrome1_is_shown_the_other_way_round(pictures: Pictures) -> None:
    image = gradient(PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(picture(pictures, image), 255 - picture(pictures, gradient()))


def test_padding_does_not_count_for_the_window(pictures: Pictures) -> None:
    image = gradient(
        PixelRepresentation=1,
        PixelPaddingValue=-2000,
        RescaleIntercept="0",
        BitsStored=16,
        HighBit=15,
    )
    pixels = np.full((64, 64), -2000, dtype="<i2")
    pixels[16:48, 16:48] = np.linspace(0, 1000, 32, dtype="<i2")
    image.PixelData = pixels.tobytes()
    found = pictures.frame(memory_of(pictures).add(part10(image)))
    assert found.window == Window(500, 1000)
    image.PixelPaddingRangeLimit = -1990
    found = pictures.frame(memory_of(pictures).add(part10(image)))
    assert found.window == Window(500, 1000)


def test_windows_and_rescaling_of_functional_groups_count_for_their_frame(
    pictures: Pictures,
) -> None:
    image = gradient(NumberOfFrames=2, RescaleSlope=None, RescaleIntercept=None)
    image.PixelData = image.PixelData * 2

    def group(name: str, **values: Any) -> Dataset:
        item, inner = Dataset(), Dataset()
        inner.update(Dataset())
        for key, value in values.items():
            setattr(inner, key, value)
        setattr(item, name, Sequence([inner]))
        return item

    image.SharedFunctionalGroupsSequence = Sequence(
        [
            group(
                "PixelValueTransformationSequence",
                RescaleSlope="2",
                RescaleIntercept="-100",
                RescaleType="US",
            )
        ]
    )
    image.PerFrameFunctionalGroupsSequence = Sequence(
        [group("FrameVOILUTSequence", WindowCenter=str(c), WindowWidth="300") for c in (10, 900)]
    )
    source = memory_of(pictures).add(part10(image))
    assert pictures.frame(source, 1).window == Window(10, 300)
    assert pictures.frame(source, 2).window == Window(900, 300)


def test_a_voi_lut_is_applied_where_there_is_no_window(pictures: Pictures) -> None:
    image = gradient(RescaleIntercept="0")
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 8]
    table.LUTData = [255 - n // 16 for n in range(4096)]
    table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "US"
    image.VOILUTSequence = Sequence([table])
    found = pictures.frame(memory_of(pictures).add(part10(image)))
    assert found.window is None
    shown = picture(pictures, image)
    assert np.array_equal(shown, 255 - image.pixel_array // 16)


def test_one_bit_and_floats_are_shown(pictures: Pictures) -> None:
    image = gradient(
        BitsAllocated=1, BitsStored=1, HighBit=0, RescaleSlope=None, RescaleIntercept=None
    )
    bits = np.random.default_rng(2).integers(0, 2, (64, 64), dtype="u1")
    image.PixelData = np.packbits(bits, axis=None, bitorder="little").tobytes()
    image["PixelData"].VR = "OB"
    assert np.array_equal(picture(pictures, image), bits * 255)
    floats = gradient(BitsAllocated=32, RescaleSlope=None, RescaleIntercept=None)
    values = np.linspace(-1, 1, 64 * 64, dtype="<f4")
    values[5] = np.nan
    del floats.PixelData, floats.BitsStored, floats.HighBit, floats.PixelRepresentation
    floats.FloatPixelData = values.tobytes()
    shown = picture(pictures, floats)
    assert (shown.min(), shown.max()) == (0, 255)


# --- frames, sizes


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless])
def test_one_frame_of_many_is_read_alone(syntax: uid.UID) -> None:
    memory = Memory()
    pictures = Pictures(memory)  # type: ignore[arg-type]
    frames = np.random.default_rng(3).integers(0, 4000, (200, 64, 64)).astype("<u2")
    image = gradient(NumberOfFrames=200)
    image.PixelData = frames.tobytes()
    if syntax.is_compressed:
        image.compress(syntax)
    source = memory.add(part10(image))
    shown = picture(pictures, source, frame=150)
    alone = gradient()
    alone.PixelData = frames[149].tobytes()
    assert np.array_equal(shown, picture(pictures, alone))
    assert memory.read_bytes < source.size
    with pytest.raises(Unshowable, match="200 frames"):
        pictures.frame(source, 201)
    pictures.close()


def test_sizes_keep_the_proportions(pictures: Pictures) -> None:
    image = gradient(Rows=32, Columns=4096)
    image.PixelData = bytes(2 * 32 * 4096)
    source = memory_of(pictures).add(part10(image))
    assert picture(pictures, source, size="full").shape == (32, 4096)
    assert picture(pictures, source).shape == (16, 2048)
    assert picture(pictures, source, size="thumb").shape == (1, 160)


# --- hostile


def refused(pictures: Pictures, content: bytes, task: str = "frame") -> str:
    source = memory_of(pictures).add(content)
    began = time.monotonic()
    with pytest.raises(Unshowable) as caught:
        getattr(pictures, task)(source)
    assert time.monotonic() - began < SHORT.seconds + 5
    return str(caught.value)


@pytest.fixture
def careful() -> Iterator[Pictures]:
    """Give pictures with narrow bounds."""
    made = Pictures(Memory(), SHORT)  # type: ignore[arg-type]
    yield made
    made.close()


def test_bytes_of_any_kind_are_refused_with_a_text(pictures: Pictures) -> None:
    whole = part10(gradient())
    random = np.random.default_rng(4).bytes(5000)
    for content in (b"", b"\0" * 200, random, whole[:140], whole[:400], whole[:-100]):
        assert refused(pictures, content)
    assert picture(pictures, gradient()).shape == (64, 64)


@pytest.mark.parametrize(
    "claims",
    [
        {"Rows": 65535, "Columns": 65535},
        {"Rows": 0},
        {"Columns": None},
        {"SamplesPerPixel": 65535},
        {"NumberOfFrames": -1, "Rows": 60000},
        {"BitsAllocated": 65535},
        {"BitsStored": 200},
    ],
)
def test_claims_are_bounded_before_anything_is_decoded(
    careful: Pictures, claims: dict[str, Any]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused(careful, part10(gradient(**claims)))
    assert picture(careful, gradient()).shape == (64, 64)


def test_a_frame_that_swells_is_stopped_by_its_memory(careful: Pictures) -> None:
    """A JPEG 2000 image that claims 30,000 by 30,000 pixels in its own header."""
    import imagecodecs

    image = gradient()
    code = bytearray(imagecodecs.jpeg2k_encode(image.pixel_array, codecformat="j2k"))
    at = code.index(b"\xff\x51") + 6
    struct.pack_into(">II", code, at, 30_000, 30_000)  # Xsiz, Ysiz
    struct.pack_into(">II", code, at + 16, 30_000, 30_000)  # XTsiz, YTsiz
    image.PixelData = encapsulate([bytes(code)])
    image["PixelData"].VR = "OB"
    image.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
    refused(careful, part10(image))
    assert picture(careful, gradient()).shape == (64, 64)


def test_what_inflates_without_end_is_stopped_by_its_memory(careful: Pictures) -> None:
    image = gradient()
    image.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    head = part10(image)
    begin = head.index(uid.ExplicitVRLittleEndian.encode())
    deflated = uid.DeflatedExplicitVRLittleEndian.encode()
    # The file meta's lengths, for a UID that is some bytes longer.
    image.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    head = part10(image)
    end = head.index(deflated) + len(deflated) + len(deflated) % 2
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = bytes(16 * 1024 * 1024)
    bomb = b"".join(packer.compress(zeros) for _ in range(64)) + packer.flush()
    assert begin
    assert len(bomb) < 2 * 1024 * 1024
    text = refused(careful, head[:end] + bomb)
    assert "memory" in text or "seconds" in text
    assert picture(careful, gradient()).shape == (64, 64)


@pytest.mark.parametrize("task", ["frame", "header", "report"])
def test_sequences_that_nest_without_end_are_refused_or_cut(pictures: Pictures, task: str) -> None:
    head = part10(gradient())[:-8192]
    sequence = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    at = head.index(struct.pack("<HH", 0x0010, 0x0010))
    deep = head[:at] + (sequence + item) * 20_000
    assert "deep" in refused(pictures, deep, task)
    assert picture(pictures, gradient()).shape == (64, 64)


def test_a_decoder_that_hangs_is_killed_and_replaced() -> None:
    memory = Memory()
    pictures = Pictures(memory, SHORT, command=HANGING)  # type: ignore[arg-type]
    began = time.monotonic()
    with pytest.raises(Unshowable, match="longer than 2 seconds"):
        pictures.frame(memory.add(b"hang"))
    assert 1.5 < time.monotonic() - began < 6
    # It is not tried again at once.
    began = time.monotonic()
    with pytest.raises(Unshowable, match="longer than 2 seconds"):
        pictures.frame(memory_source(memory, 0))
    assert time.monotonic() - began < 0.5
    with pytest.raises(Unshowable, match="died"):
        pictures.frame(memory.add(b"die"))
    assert pictures.frame(memory.add(b"fine")).png == b"fine"
    pictures.close()


def memory_source(memory: Memory, number: int) -> Any:
    from mwl.pictures import Source

    key = f"{number:08}"
    return Source(key, len(memory.kept[key]), f"digest of {key}")


def test_many_at_once_have_their_turn() -> None:
    memory = Memory()
    pictures = Pictures(memory)  # type: ignore[arg-type]
    source = memory.add(part10(gradient()))
    pictures.frame(source)
    with ThreadPoolExecutor(24) as people:
        shown = list(
            people.map(lambda n: pictures.frame(source, window=Window(n, 400)).png, range(96))
        )
    assert all(shown)
    assert len(pictures._pool._idle) <= 2
    pictures.close()


def test_more_than_a_few_at_once_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mwl.pictures.pictures._PATIENCE_S", 0.2)
    memory = Memory()
    pictures = Pictures(memory, SHORT, command=HANGING)  # type: ignore[arg-type]
    sources = [memory.add(b"hang") for _ in range(8)]
    told: list[type] = []

    def ask(source: Any) -> None:
        try:
            pictures.frame(source)
        except (Unshowable, Busy) as error:
            told.append(type(error))

    threads = [threading.Thread(target=ask, args=(each,)) for each in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told.count(Busy) == 2
    pictures.close()


def test_an_outage_of_the_store_is_no_fault_of_the_image() -> None:
    class Broken(Memory):
        is_broken = True

        def read(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
            if self.is_broken:
                raise Outage("the bucket is away")
            return super().read(key, start, length)

    memory = Broken()
    pictures = Pictures(memory)  # type: ignore[arg-type]
    source = memory.add(part10(gradient()))
    with pytest.raises(Outage):
        pictures.frame(source)
    memory.is_broken = False
    assert pictures.frame(source).png
    pictures.close()


def test_a_child_dies_with_its_parent_idle_or_busy(tmp_path: Path) -> None:
    for content in ("fine", "hang"):
        parent = subprocess.Popen(
            [*HANGING, "parent", content],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert Path(f"/proc/{child}").exists()
        time.sleep(0.2)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
        deadline = time.monotonic() + 8
        while is_running(child):
            assert time.monotonic() < deadline, content
            time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()[0]


def test_a_child_sees_no_passwords_and_writes_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    pictures = Pictures(Memory())  # type: ignore[arg-type]
    picture(pictures, gradient())
    (child,) = pictures._pool._idle
    environment = Path(f"/proc/{child.pid}/environ").read_bytes()
    limits = Path(f"/proc/{child.pid}/limits").read_text("ascii")
    assert b"hush" not in environment
    assert "Max file size             0 " in limits
    assert "Max core file size        0 " in limits
    pictures.close()
    assert not is_running(child.pid)


# --- headers, reports, documents


def test_a_header_lists_all_elements_with_sequences_indented(pictures: Pictures) -> None:
    item = Dataset()
    item.RequestedProcedureID = "RP1"
    image = gradient(
        PatientName="Doe^Jané=漢^字",
        SpecificCharacterSet="ISO_IR 192",
        RequestAttributesSequence=Sequence([item]),
        ImageComments="x" * 500,
    )
    image.add_new(0x00091010, "LO", "private")
    image.add_new(0x00090010, "LO", "SOMEBODY")
    lines, is_cut = pictures.header(memory_of(pictures).add(part10(image)))
    told = {(tag, depth): (name, vr, value) for depth, tag, name, vr, value in lines}
    assert not is_cut
    assert told["(0002,0010)", 0] == ("TransferSyntaxUID", "UI", str(uid.ExplicitVRLittleEndian))
    assert told["(0010,0010)", 0] == ("PatientName", "PN", "Doe^Jané=漢^字")
    assert told["(0040,0275)", 0] == ("RequestAttributesSequence", "SQ", "1 item")
    assert told["(0040,1001)", 2] == ("RequestedProcedureID", "SH", "RP1")
    assert told["(0028,0030)", 0][2] == "0.5\\0.5"
    assert told["(0020,4000)", 0][2] == "x" * 199 + "…"
    assert told["(0009,1010)", 0][2] == "private"
    assert ("(7FE0,0010)", 0) not in told


def test_a_header_of_many_elements_is_cut(pictures: Pictures) -> None:
    image = gradient()
    items = [Dataset() for _ in range(500)]
    for each in items:
        each.CodeMeaning = "x"
    image.RequestAttributesSequence = Sequence(items)
    for element in range(0x1000, 0x1000 + 4000):
        image.add_new(0x00110000 + element, "LO", "x")
    lines, is_cut = pictures.header(memory_of(pictures).add(part10(image)))
    assert is_cut
    assert len(lines) == 3000
    del image[0x00111000:0x00112000]  # type: ignore[misc]
    lines, is_cut = pictures.header(memory_of(pictures).add(part10(image)))
    assert not is_cut
    assert "… 400 more items" in [line[4] for line in lines]


def test_a_report_is_read_as_lines(pictures: Pictures) -> None:
    content = Path(shipped()["reportsi.dcm"]).read_bytes()
    lines, is_cut = pictures.report(memory_of(pictures).add(content))
    assert not is_cut
    assert lines[0][0] == 0
    assert any(depth > 0 and concept and value for depth, concept, value in lines)


def test_a_document_is_taken_out_as_it_is(pictures: Pictures) -> None:
    image = gradient(Rows=None, Columns=None, MIMETypeOfEncapsulatedDocument="application/pdf")
    del image.PixelData
    image.EncapsulatedDocument = b"%PDF-1.7 x\0"
    image.EncapsulatedDocumentLength = 10
    found = pictures.document(memory_of(pictures).add(part10(image)))
    assert found == (b"%PDF-1.7 x", "application/pdf")
    assert "no image" in refused(pictures, part10(image))
    assert "no document" in refused(pictures, part10(gradient()), "document")
    assert "no text" in refused(pictures, part10(gradient()), "report")


def test_answers_are_kept_within_bounds(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mwl.pictures import pictures as module

    monkeypatch.setattr(module, "_KEPT_BYTES", 60_000)
    monkeypatch.setattr(module, "_LARGEST_KEPT", 30_000)
    memory = Memory()
    few = Pictures(memory)  # type: ignore[arg-type]
    source = memory.add(part10(gradient()))
    few.frame(source)
    read = memory.read_bytes
    few.frame(source)
    assert memory.read_bytes == read
    for n in range(30):
        few.frame(source, window=Window(n, 100))
    assert few._kept_bytes <= 60_000
    assert few._kept_bytes == sum(each.size for each in few._kept.values())
    few.close()
