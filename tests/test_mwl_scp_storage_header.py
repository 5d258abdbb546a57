"""The header scanner: what it finds, in whatever pieces, and what it refuses."""

import io
import os
import random
from pathlib import Path
from struct import pack

import pydicom
import pydicom.data
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from mwl.charsets import Texts
from mwl.errors import Reason, Rejected
from mwl.scp.storage import header as scanning
from mwl.scp.storage import inflate
from mwl.scp.storage.attributes import OF_REQUESTS, WANTED, attributes
from mwl.scp.storage.header import Header, Scanner
from mwl.scp.storage.inflate import InflatingScanner

ENCODINGS = {"implicit": (False, False), "explicit": (True, False), "big": (True, True)}
FILES = Path(pydicom.data.__file__).parent / "test_files"


def scanner(encoding: str) -> Scanner:
    return Scanner(WANTED, OF_REQUESTS, big=ENCODINGS[encoding][1])


def scan(data: bytes, encoding: str, *sizes: int) -> Header:
    return fed(scanner(encoding), data, *sizes)


def fed(into: Scanner | InflatingScanner, data: bytes, *sizes: int) -> Header:
    """Feed in pieces of these sizes, the last one again and again."""
    at, number = 0, 0
    while at < len(data):
        size = sizes[min(number, len(sizes) - 1)] if sizes else len(data)
        into.feed(memoryview(data)[at : at + size])
        at, number = at + size, number + 1
    return into.finish()


def encode(data_set: Dataset, encoding: str) -> bytes:
    explicit, big = ENCODINGS[encoding]
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = not big, not explicit
    write_dataset(stream, data_set)
    return stream.getvalue()


def image(**undefined: bool) -> Dataset:
    """Make a data set that has all that is wanted, and sequences around it."""
    item, code, inner = Dataset(), Dataset(), Dataset()
    code.CodeValue, code.CodeMeaning = "1", "one"
    item.AccessionNumber = "A1"
    item.RequestedProcedureID, item.ScheduledProcedureStepID = "RP1", "SPS1"
    item.StudyInstanceUID = "1.2.3"
    item.ScheduledProtocolCodeSequence = [code]
    other = Dataset()
    other.ScheduledProcedureStepID = "SPS2"
    inner.PatientName = "Not^The^Patient"
    inner.PurposeOfReferenceCodeSequence = [code]
    data_set = Dataset()
    data_set.SpecificCharacterSet = "ISO_IR 100"
    data_set.SOPClassUID, data_set.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4.5"
    data_set.StudyDate, data_set.StudyTime = "20260102", "101112.5"
    data_set.Modality, data_set.AccessionNumber = "CT", "A1"
    data_set.ReferringPhysicianName = "Ärztin^A"
    data_set.ReferencedStudySequence = [inner]
    data_set.PatientName, data_set.PatientID = "Müller^Änne", "4711"
    data_set.PatientBirthDate = ""
    data_set.StudyInstanceUID, data_set.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    data_set.NumberOfFrames, data_set.Rows, data_set.Columns = 7, 512, 256
    data_set.RequestAttributesSequence = [item, other]
    data_set.add_new(0x00091010, "UN", b"\x01\x02\x03\x04")
    data_set.add_new(0x7FE00010, "OW", bytes(range(256)) * 16)
    for keyword, value in undefined.items():
        for element in (data_set[keyword], *(e for i in data_set[keyword] for e in i)):
            if element.VR == "SQ":
                element.is_undefined_length = value
                for each in element.value:
                    each.is_undefined_length_sequence_item = value
    return data_set


FOUND = {
    "StudyDate": "20260102",
    "StudyTime": "101112.5",
    "AccessionNumber": "A1",
    "Modality": "CT",
    "ReferringPhysicianName": "Ärztin^A",
    "PatientName": "Müller^Änne",
    "PatientID": "4711",
    "PatientBirthDate": "",
    "NumberOfFrames": "7",
    "Rows": 512,
    "Columns": 256,
    "RequestAttributes": [
        {
            "AccessionNumber": "A1",
            "StudyInstanceUID": "1.2.3",
            "ScheduledProcedureStepID": "SPS1",
            "RequestedProcedureID": "RP1",
        },
        {"ScheduledProcedureStepID": "SPS2"},
    ],
}


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_the_index_needs_is_found(encoding: str, undefined: bool) -> None:
    data = encode(
        image(ReferencedStudySequence=undefined, RequestAttributesSequence=undefined), encoding
    )
    assert attributes(scan(data, encoding), big=encoding == "big") == FOUND


def test_texts_of_an_unknown_set_are_read_by_what_is_assumed_of_the_scanner() -> None:
    data = encode(image(), "explicit").replace(b"ISO_IR 100", b"NOT LISTED")
    data = data.replace("Müller^Änne".encode("latin-1"), "Růžena^Aňa".encode("iso8859_2") + b" ")
    texts = Texts((), "ISO_IR 101")
    found = attributes(scan(data, "explicit"), big=False, texts=texts)
    assert found["PatientName"] == "Růžena^Aňa"
    assert texts.flags


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(1, 300), min_size=1, max_size=20), undefined=st.booleans())
def test_pieces_of_any_length_are_read_alike(
    encoding: str, sizes: list[int], undefined: bool
) -> None:
    data = encode(
        image(ReferencedStudySequence=undefined, RequestAttributesSequence=undefined), encoding
    )
    assert attributes(scan(data, encoding, *sizes), big=encoding == "big") == FOUND


def ends(data: bytes, encoding: str) -> list[int]:
    """List where top-level elements end: there alone a data set can."""
    explicit, big = ENCODINGS[encoding]
    stream = io.BytesIO(data)
    elements = pydicom.filereader.data_element_generator(stream, not explicit, not big)
    return [0, *(stream.tell() for _ in elements)]


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_data_set_that_ends_within_an_element_is_refused(encoding: str, undefined: bool) -> None:
    data = encode(
        image(ReferencedStudySequence=undefined, RequestAttributesSequence=undefined), encoding
    )
    whole = set(ends(data, encoding))
    assert len(data) in whole
    for end in range(len(data)):
        # Up to seven zeros are padding.
        if end in whole or any(e < end and not data[e:end].strip(b"\0") for e in whole):
            continue
        with pytest.raises(Rejected) as refused:
            scan(data[:end], encoding, 1000)
        assert refused.value.faults[0].reason is Reason.MALFORMED


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_element_that_claims_four_gigabytes_is_refused(encoding: str) -> None:
    explicit, big = ENCODINGS[encoding]
    order = ">" if big else "<"
    vr = (b"OB", 0) if explicit else ()
    head = pack(f"{order}HH{'2sH' if explicit else ''}I", 0x7FE0, 0x0010, *vr, 0xFFFFFFFE)
    with pytest.raises(Rejected):
        scan(head + b"abc", encoding)


def nested(depth: int) -> bytes:
    opening = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closing = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    return opening * depth + closing * depth


def test_items_may_nest_so_deep_and_no_deeper() -> None:
    scan(nested(scanning.MAX_DEPTH), "explicit", 7)
    with pytest.raises(Rejected) as refused:
        scan(nested(400), "explicit", 7)
    assert refused.value.faults[0].reason is Reason.TOO_LONG


def test_elements_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "MAX_ELEMENTS", 1000)
    element = b"\x09\x00\x10\x10LO\0\0"
    scan(element * 1000, "explicit", 100)
    with pytest.raises(Rejected):
        scan(element * 1001, "explicit", 100)


def test_a_value_that_no_index_needs_so_long_counts_as_absent() -> None:
    description = pack("<HHI", 0x0008, 0x1030, 50_000) + b"x" * 50_000
    data = encode(image(), "implicit") + description
    assert attributes(scan(data, "implicit", 997), big=False) == FOUND


def test_requests_are_kept_up_to_a_number() -> None:
    data_set = image()
    item = data_set.RequestAttributesSequence[1]
    data_set.RequestAttributesSequence = Sequence([item] * 500)
    found = scan(encode(data_set, "explicit"), "explicit", 4096)
    assert len(found.requests) == scanning.MAX_REQUESTS


@pytest.mark.parametrize(
    "data",
    [
        b"\xfe\xff\x0d\xe0\0\0\0\0",  # an item's end without an item
        b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\x08\x00\x05\x00CS\0\0",  # no item in a sequence
        # An item that is longer than its sequence, and an element longer than its item.
        b"\x40\x00\x75\x02SQ\0\0\x08\0\0\0\xfe\xff\x00\xe0\x08\0\0\0" + b"\x08\0\x50\0SH\0\0",
        b"\x40\x00\x75\x02SQ\0\0\x10\0\0\0\xfe\xff\x00\xe0\x08\0\0\0" + b"\x08\0\x50\0SH\x02\0ab",
    ],
)
def test_lengths_that_contradict_each_other_are_refused(data: bytes) -> None:
    # The first element tells that VRs are explicit.
    data = b"\x08\0\x05\0CS\0\0" + data
    for size in (1, 5, 1000):
        with pytest.raises(Rejected):
            scan(data, "explicit", size)


def test_an_unknown_vr_of_undefined_length_is_implicit_inside() -> None:
    inside = b"\xfe\xff\x00\xe0\xff\xff\xff\xff\x10\0\x10\0\x04\0\0\0A^B \xfe\xff\x0d\xe0\0\0\0\0"
    data = b"\x09\0\x10\x10UN\0\0\xff\xff\xff\xff" + inside + b"\xfe\xff\xdd\xe0\0\0\0\0"
    data += b"\x10\0\x20\0LO\x02\0P1"
    assert scan(data, "explicit", 3).values == {0x00100020: b"P1"}


@given(st.binary(max_size=400), st.sampled_from(sorted(ENCODINGS)), st.integers(1, 50))
def test_whatever_comes_is_read_or_refused(data: bytes, encoding: str, size: int) -> None:
    try:
        scan(data, encoding, size)
    except Rejected:
        with pytest.raises(Rejected):
            scan(data, encoding)
    else:
        assert scan(data, encoding, size) == scan(data, encoding)


# --- deflated


def deflated(data: bytes) -> bytes:
    import zlib

    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def test_a_deflated_data_set_is_looked_through() -> None:
    data = deflated(encode(image(), "explicit"))
    for size in (1, 100, 10_000):
        found = fed(InflatingScanner(scanner("explicit")), data + b"\0", size)
        assert attributes(found, big=False) == FOUND


def test_a_deflated_data_set_that_is_cut_short_is_refused() -> None:
    data = deflated(encode(image(), "explicit"))
    for end in range(len(data) - 1):
        with pytest.raises(Rejected):
            fed(InflatingScanner(scanner("explicit")), data[:end], 100)


def test_what_is_no_deflated_data_set_is_refused() -> None:
    with pytest.raises(Rejected):
        fed(InflatingScanner(scanner("explicit")), os.urandom(1000))


def test_inflating_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflate, "MAX_INFLATED_BYTES", 1_000_000)
    bomb = deflated(b"\x09\0\x10\x10OB\0\0\0\0\0\xf0" + bytes(30_000_000))
    assert len(bomb) < 40_000
    with pytest.raises(Rejected) as refused:
        fed(InflatingScanner(scanner("explicit")), bomb)
    assert refused.value.faults[0].reason is Reason.TOO_LONG


def test_inflating_is_bounded_by_its_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflate, "FREE_BYTES", 1_000_000)
    element = b"\x09\0\x10\x10OB\0\0"
    masks = element + pack("<I", 2_000_000) + os.urandom(20_000) + bytes(1_980_000)
    for size in (100, 100_000):
        assert fed(InflatingScanner(scanner("explicit")), deflated(masks), size) == Header()
    bomb = deflated(element + pack("<I", 10_000_000) + bytes(10_000_000))
    with pytest.raises(Rejected) as refused:
        fed(InflatingScanner(scanner("explicit")), bomb)
    assert refused.value.faults[0].reason is Reason.TOO_LONG


# --- beside pydicom, on files of many makers

_SYNTAXES = {
    ImplicitVRLittleEndian: "implicit",
    ExplicitVRBigEndian: "big",
}
_TRUNCATED = {"MR_truncated.dcm", "rtplan_truncated.dcm"}


def files() -> list[str]:
    """List those with a preamble, a transfer syntax and no more than 2 MB."""
    names = []
    for path in sorted(FILES.glob("*.dcm")):
        try:
            meta = pydicom.filereader.read_file_meta_info(path)
        except InvalidDicomError:
            continue
        if "TransferSyntaxUID" in meta and path.stat().st_size < 2_000_000:
            names.append(path.name)
    return names


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("name", files())
def test_it_finds_what_pydicom_finds(name: str) -> None:
    path = FILES / name
    meta = pydicom.filereader.read_file_meta_info(path)
    with path.open("rb") as stream:
        pydicom.filereader.read_preamble(stream, force=False)
        pydicom.filereader._read_file_meta_info(stream)
        data = stream.read()
    syntax = meta.TransferSyntaxUID
    one = scanner(_SYNTAXES.get(syntax, "explicit"))
    into = InflatingScanner(one) if syntax == DeflatedExplicitVRLittleEndian else one
    sizes = [random.Random(name).randint(1, 5000) for _ in range(20)]
    if name in _TRUNCATED:
        with pytest.raises(Rejected):
            fed(into, data, *sizes)
        return
    found = attributes(fed(into, data, *sizes), big=syntax == ExplicitVRBigEndian)
    known = pydicom.dcmread(path, stop_before_pixels=True)
    keywords = set(found) - {"RequestAttributes"}
    for keyword in keywords:
        value = known[keyword].value
        assert str(found[keyword]) == ("" if value is None else str(value).strip()), keyword
    wanted = {
        pydicom.datadict.keyword_for_tag(tag) for tag in WANTED if tag & 0xFFFF0000 != 0x00080000
    }
    there = {keyword for keyword in wanted if keyword in known and not keyword.endswith("UID")}
    assert there <= keywords
