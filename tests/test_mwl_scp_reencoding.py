"""Implicit to Explicit VR and back: the same values, and nothing held."""

import struct
from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.sequence import Sequence

from mwl.scp.pieces import Unwritable
from mwl.scp.reencoding import reencoded
from tests.archived import encoded

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
# pydicom warns of what these tests write on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def rewritten(data, *, explicit, piece=7):
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
    return b"".join(reencoded(pieces, explicit=explicit))


def sample():
    """Make a data set with something of everything that headers differ in."""
    item = Dataset()
    item.CodeValue = "T-1"
    item.CodeMeaning = "Thörax".encode("latin-1").decode("latin-1")
    nested = Dataset()
    nested.ConceptNameCodeSequence = Sequence([item, Dataset()])
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 100"
    made.PatientName = "Müller^Änne"
    made.PatientComments = "long " * 400
    made.ProcedureCodeSequence = Sequence([item, nested])
    made.ReferencedStudySequence = Sequence([])
    made.Rows, made.PixelRepresentation = 4, 1
    made.add_new(0x00280106, "SS", -5)
    made.add_new(0x00091001, "UN", b"private!")
    made.add_new(0x00090010, "LO", "SOMEBODY")
    made.add_new(0x60003000, "OW", bytes(range(8)))
    made.add_new(0x7FE00010, "OW", bytes(range(256)))
    return made


@pytest.mark.parametrize("piece", [1, 7, 4096])
@pytest.mark.parametrize("is_open", [True, False])
def test_there_and_back_is_the_same_data_set(piece, is_open):
    made = sample()
    for element in made.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = is_open
            for item in element.value:
                item.is_undefined_length_sequence_item = is_open
    implicit, explicit = encoded(made, IMPLICIT), encoded(made, EXPLICIT)
    written = rewritten(implicit, explicit=True, piece=piece)
    assert read_dataset(BytesIO(written), False, True) == read_dataset(
        BytesIO(explicit), False, True
    )
    written = rewritten(explicit, explicit=False, piece=piece)
    assert read_dataset(BytesIO(written), True, True) == read_dataset(BytesIO(implicit), True, True)
    # With sequences of undefined length it is the very same.
    assert rewritten(rewritten(explicit, explicit=False), explicit=True) == rewritten(
        implicit, explicit=True
    )


def test_values_pass_as_they_are_whatever_their_character_set():
    strange = element(0x00100010, b"\xff\xfe\x1b$B?=\x1b") + element(0x00100040, b"=^= ")
    written = rewritten(strange, explicit=True)
    assert written == b"\x10\0\x10\0PN\x08\0\xff\xfe\x1b$B?=\x1b" + b"\x10\0\x40\0CS\x04\0=^= "
    assert rewritten(written, explicit=False) == strange


def test_what_is_too_long_for_its_vr_is_unknown():
    long = element(0x00100020, b"x" * 70_000)
    assert rewritten(long, explicit=True)[4:12] == b"UN\0\0" + struct.pack("<I", 70_000)


def test_group_lengths_are_left_out():
    lengths = element(0x00080000, struct.pack("<I", 99))
    assert rewritten(lengths + element(0x00080060, b"CT"), explicit=True) == b"\x08\0\x60\0CS\2\0CT"


def test_un_of_undefined_length_is_read_as_implicit():
    inside = element(0xFFFEE000, element(0x00080060, b"CT"))
    unknown = struct.pack("<HH2sHI", 9, 0x1002, b"UN", 0, 0xFFFFFFFF) + inside
    unknown += element(0xFFFEE0DD, b"")
    read = read_dataset(BytesIO(rewritten(unknown, explicit=False)), True, True)
    assert read[0x00091002].value[0].Modality == "CT"


def element(tag, value, length=None):
    size = len(value) if length is None else length
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, size) + value


OPEN = 0xFFFFFFFF
SQ = 0x00081140


@pytest.mark.parametrize(
    "data",
    [
        b"\x08",
        element(0x00080060, b"CT", 8),
        element(0x00080060, b"CT", OPEN),
        element(0xFFFEE000, b""),
        element(0xFFFEE0DD, b""),
        element(SQ, element(0x00080060, b"CT")),
        element(SQ, element(0xFFFEE000, b"", 100)),
        element(SQ, element(0xFFFEE000, element(0x00080060, b"CT", 100))),
        element(SQ, element(0xFFFEE000, b"", OPEN), OPEN),
        element(SQ, element(0xFFFEE00D, b""), OPEN),
        element(SQ, b"", OPEN) * 100,
        (element(SQ, b"", OPEN) + element(0xFFFEE000, b"", OPEN)) * 400,
        element(SQ, element(0xFFFEE000, element(SQ, element(0xFFFEE000, b"", 50), OPEN), 16)),
    ],
)
def test_lengths_that_do_not_add_up_are_refused(data):
    with pytest.raises(Unwritable):
        rewritten(data, explicit=True)


def test_long_values_pass_in_pieces():
    longest = 0

    def pieces():
        yield struct.pack("<HHI", 0x7FE0, 0x0010, 64 * 65536)
        for _ in range(64):
            yield bytes(65536)

    for part in reencoded(pieces(), explicit=True):
        longest = max(longest, len(part))
    assert longest == 65536
