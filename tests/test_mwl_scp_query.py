"""Study Root queries over real associations: what is asked, and what comes back."""

import struct
from functools import cache
from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from mwl.archive.query import finding
from mwl.config.devices import DeviceCharacters
from mwl.net import status
from mwl.net.dimse import Element
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mwl.scp.query import (
    PATIENT_ROOT_FIND,
    PATIENT_STUDY_ONLY_FIND,
    STUDY_ROOT_FIND,
    QueryService,
)
from tests.archived import ZONE, Archived
from tests.dicom_client import cancel_request, request
from tests.dicom_client import status as status_of
from tests.dicom_server import dial_fixture, serve_fixture  # noqa: F401 - fixtures
from tests.identifiers import encoded
from tests.images import ct_slice

ROOT = "1.2.826.0.1.3680043.8.498"
# pydicom warns of what these tests send on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def image(study, series, number, **overrides):
    return ct_slice(
        number,
        StudyInstanceUID=f"{ROOT}.{study}",
        SeriesInstanceUID=f"{ROOT}.{study}.{series}",
        SOPInstanceUID=f"{ROOT}.{study}.{series}.{number}",
        SeriesNumber=str(series),
        Rows=1,
        Columns=1,
        **{"PatientID": f"P{study}", "AccessionNumber": f"A{study}", **overrides},
    )


@cache
def three_studies():
    """Make studies 1 (CT and SR, 3 images), 2 (MR, 2 images) and 3 (one image, little known)."""
    one = {"PatientName": "Doe^Jane^Q", "StudyDescription": "Head", "IssuerOfPatientID": "ADT"}
    two = {
        "PatientName": "Müller^Änne",
        "Modality": "MR",
        "StudyDate": "20300201",
        "StudyTime": "173059.25",
        "PatientBirthDate": "19991231",
        "PatientSex": "O",
        "StudyID": "S2",
        "ReferringPhysicianName": "Welby^Marcus",
        "StationName": "MR-ROOM",
    }
    three = dict.fromkeys(
        ("PatientName", "StudyDate", "StudyTime", "PatientBirthDate", "AccessionNumber", "Modality")
    )
    request_attributes = Dataset()
    request_attributes.RequestedProcedureID = "RP1"
    request_attributes.ScheduledProcedureStepID = "SPS1"
    return [
        image(1, 1, 1, **one, RequestAttributesSequence=[request_attributes]),
        image(1, 1, 2, **one, NumberOfFrames=4),
        image(1, 2, 1, **one, Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11"),
        image(2, 1, 1, **two),
        image(2, 1, 2, **two),
        image(3, 1, 1, **three),
    ]


def many(count):
    """Make images of one series, each the one before it with another UID."""
    image_ = image(9, 1, 1)
    image_.PixelData = b"ab"
    for number in range(1, count + 1):
        image_.SOPInstanceUID = f"{ROOT}.9.1.{number}"
        yield image_


def of_many(count):
    """Make an image each of so many patients."""
    image_ = image(9, 1, 1)
    image_.PixelData = b"ab"
    for number in range(1, count + 1):
        image_.PatientID = f"P{number}"
        for each in ("Study", "Series", "SOP"):
            setattr(image_, f"{each}InstanceUID", f"{ROOT}.{number}.1")
        yield image_


class Viewer:
    """Ask over an association of its own."""

    def __init__(self, server, dial):
        self._server, self._dial = server, dial

    def ask(self, level, syntax=EXPLICIT_VR_LITTLE_ENDIAN, **keys):
        """Return the answers and the commands of all responses."""
        identifier = Dataset()
        if level is not None:
            identifier.QueryRetrieveLevel = level
        for keyword, value in keys.items():
            setattr(identifier, keyword, value)
        explicit = syntax == EXPLICIT_VR_LITTLE_ENDIAN
        return self.send(encoded(identifier, explicit=explicit), syntax)

    def send(self, identifier, syntax=EXPLICIT_VR_LITTLE_ENDIAN):
        client = self._dial(self._server).associate(
            (STUDY_ROOT_FIND,), calling="VIEWER", transfer_syntaxes=(syntax,)
        )
        client.send(request(1, 0x0020, STUDY_ROOT_FIND, 1, identifier))
        answers, commands = [], []
        while not commands or status_of(commands[-1]) in (0xFF00, 0xFF01):
            command, data = client.read_message()
            commands.append(command)
            if data is not None:
                implicit = syntax == IMPLICIT_VR_LITTLE_ENDIAN
                answers.append(read_dataset(BytesIO(data), implicit, True))
                answers[-1].decode()
        client.release()
        return answers, commands

    def find(self, level, **keys):
        answers, commands = self.ask(level, **keys)
        assert status_of(commands[-1]) == status.SUCCESS
        return answers

    def studies(self, **keys):
        """List the numbers of the studies that match."""
        found = self.find("STUDY", StudyInstanceUID=keys.pop("StudyInstanceUID", ""), **keys)
        return [int(each.StudyInstanceUID.rpartition(".")[2]) for each in found]


@pytest.fixture
def viewer(database, tmp_path, serve, dial):
    archived = Archived(database, tmp_path)
    for each in three_studies():
        archived.add(each)
    return Viewer(serve(QueryService(database, ZONE)), dial)


@pytest.fixture
def small(sqlite_database, tmp_path, serve, dial):
    """Serve images, three studies unless told otherwise; `settings` are the service's."""

    def begin(images=(), **settings):
        archived = Archived(sqlite_database, tmp_path)
        for each in images or three_studies():
            archived.add(each)
        return Viewer(serve(QueryService(sqlite_database, ZONE, **settings)), dial)

    return begin


# --- what comes back


@pytest.mark.parametrize("syntax", [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN])
def test_a_study_tells_every_key_that_is_asked_for(viewer, syntax):
    keys = {
        "StudyDate": "20300102",
        "StudyTime": "093100",
        "AccessionNumber": "A1",
        "ModalitiesInStudy": ["CT", "SR"],
        "SOPClassesInStudy": ["1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.11"],
        "ReferringPhysicianName": "Roe^Rita",
        "StudyDescription": "Head",
        "PatientName": "Doe^Jane^Q",
        "PatientID": "P1",
        "IssuerOfPatientID": "ADT",
        "PatientBirthDate": "19800229",
        "PatientSex": "F",
        "StudyInstanceUID": f"{ROOT}.1",
        "StudyID": "1",
        "NumberOfStudyRelatedSeries": 2,
        "NumberOfStudyRelatedInstances": 3,
    }
    empty = {**dict.fromkeys(keys, ""), "StudyInstanceUID": f"{ROOT}.1"}
    (answer,), commands = viewer.ask("STUDY", syntax, **empty)
    assert status_of(commands[0]) == status.PENDING
    for keyword, value in keys.items():
        found = answer[keyword].value
        assert (sorted(found) if isinstance(value, list) else found) == value, keyword
    assert answer.QueryRetrieveLevel == "STUDY"
    assert answer.RetrieveAETitle == "MWL"
    assert answer.InstanceAvailability == "ONLINE"
    assert list(answer.keys()) == sorted(answer.keys())


def test_series_and_images_tell_what_lies_above_them_too(viewer):
    first, second = viewer.find(
        "SERIES",
        StudyInstanceUID=f"{ROOT}.1",
        SeriesInstanceUID="",
        Modality="",
        SeriesNumber="",
        NumberOfSeriesRelatedInstances="",
        PatientName="",
        RequestAttributesSequence=[],
    )
    assert [first.SeriesInstanceUID, second.SeriesInstanceUID] == [f"{ROOT}.1.1", f"{ROOT}.1.2"]
    assert [first.Modality, second.Modality] == ["CT", "SR"]
    assert [first.NumberOfSeriesRelatedInstances, second.NumberOfSeriesRelatedInstances] == [2, 1]
    assert (first.StudyInstanceUID, first.PatientName) == (f"{ROOT}.1", "Doe^Jane^Q")
    (request_attributes,) = first.RequestAttributesSequence
    assert request_attributes.RequestedProcedureID == "RP1"
    assert request_attributes.ScheduledProcedureStepID == "SPS1"
    assert not second.RequestAttributesSequence

    one, two = viewer.find(
        "IMAGE",
        StudyInstanceUID=f"{ROOT}.1",
        SeriesInstanceUID=f"{ROOT}.1.1",
        SOPInstanceUID="",
        SOPClassUID="",
        InstanceNumber="",
        Rows=None,
        Columns=None,
        NumberOfFrames="",
        AvailableTransferSyntaxUID="",
    )
    assert [one.SOPInstanceUID, two.SOPInstanceUID] == [f"{ROOT}.1.1.1", f"{ROOT}.1.1.2"]
    assert (one.InstanceNumber, one.Rows, one.Columns) == (1, 1, 1)
    assert (one.NumberOfFrames, two.NumberOfFrames) == (None, 4)
    assert one.AvailableTransferSyntaxUID == EXPLICIT_VR_LITTLE_ENDIAN


def test_unknown_values_and_unsupported_keys_come_back_empty(viewer):
    (answer,), commands = viewer.ask(
        "STUDY", StudyInstanceUID=f"{ROOT}.3", PatientName="", StudyDate="", EthnicGroup=""
    )
    assert (answer.PatientName, answer.StudyDate, answer.EthnicGroup) == ("", "", "")
    assert status_of(commands[0]) == status.PENDING_UNSUPPORTED_KEYS


def test_a_key_that_is_not_matched_by_excludes_nothing(viewer):
    answers, commands = viewer.ask("STUDY", StudyInstanceUID="", NumberOfStudyRelatedSeries="7")
    assert len(answers) == 3
    assert {status_of(each) for each in commands[:-1]} == {status.PENDING_UNSUPPORTED_KEYS}


@pytest.mark.parametrize(
    ("asked", "term"), [("", "ISO_IR 100"), ("ISO_IR 192", "ISO_IR 192"), ("ISO_IR 100",) * 2]
)
def test_an_answer_names_the_set_that_its_names_need(viewer, asked, term):
    (answer,) = viewer.find(
        "STUDY", StudyInstanceUID=f"{ROOT}.2", PatientName="", SpecificCharacterSet=asked
    )
    assert answer.SpecificCharacterSet == term
    assert answer.PatientName == "Müller^Änne"


@pytest.mark.parametrize(
    ("sets", "name"),
    [
        (["ISO_IR 144"], "Mueller^Aenne"),
        (["ISO_IR 144", "ISO_IR 101"], "Müller^Änne"),
        (["ISO_IR 192"], "Müller^Änne"),
    ],
)
def test_a_viewer_of_which_it_is_known_what_it_reads_is_answered_in_that(small, sets, name):
    viewer = small(characters=lambda _title: DeviceCharacters(sets=sets))
    (answer,) = viewer.find("STUDY", StudyInstanceUID=f"{ROOT}.2", PatientName="")
    assert (answer.PatientName, answer.SpecificCharacterSet) == (name, sets[-1])


@pytest.mark.parametrize(("assumed", "found"), [("ISO_IR 101", 1), ("", 0)])
def test_a_query_is_read_by_what_is_assumed_of_its_viewer(small, assumed, found):
    viewer = small(
        [image(1, 1, 1, PatientName="Růžička^Ota", SpecificCharacterSet="ISO_IR 192")],
        characters=lambda _title: DeviceCharacters(assumed=assumed),
    )
    keys = Dataset()
    keys.QueryRetrieveLevel, keys.SpecificCharacterSet = "STUDY", "ISO_IR 101"
    keys.StudyInstanceUID, keys.PatientName = "", "RŮŽIČKA*"
    query = encoded(keys, explicit=True).replace(b"ISO_IR 101", b"NOT LISTED")
    assert len(viewer.send(query)[0]) == found


# --- what is found


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, [1, 2, 3]),
        ({"StudyInstanceUID": [f"{ROOT}.3", f"{ROOT}.1"]}, [1, 3]),
        ({"PatientID": "P2"}, [2]),
        ({"PatientID": "P?"}, [1, 2, 3]),
        ({"PatientID": "p2"}, []),
        ({"PatientName": "doe^jane*"}, [1]),
        ({"PatientName": "MÜLLER*", "SpecificCharacterSet": "ISO_IR 192"}, [2]),
        ({"PatientName": "*"}, [1, 2, 3]),
        ({"PatientName": "Nobody"}, []),
        ({"PatientBirthDate": "19800229"}, [1]),
        ({"PatientSex": "O"}, [2]),
        ({"IssuerOfPatientID": "ADT"}, [1]),
        ({"IssuerOfPatientID": "A*"}, [1]),
        ({"AccessionNumber": "A1"}, [1]),
        ({"StudyID": "S2"}, [2]),
        ({"StudyDate": "20300102"}, [1]),
        ({"StudyDate": "20300102-20300201"}, [1, 2]),
        ({"StudyDate": "20300103-"}, [2]),
        ({"StudyDate": "-20300131"}, [1]),
        ({"StudyTime": "0931"}, [1]),
        ({"StudyTime": "173059"}, [2]),
        ({"StudyTime": "1700-1731"}, [2]),
        ({"StudyTime": "-1200"}, [1]),
        # Apart, not as one range of instants.
        ({"StudyDate": "20300101-20300301", "StudyTime": "0900-1000"}, [1]),
        ({"ModalitiesInStudy": "SR"}, [1]),
        ({"ModalitiesInStudy": ["MR", "CT"]}, [1, 2]),
        ({"ModalitiesInStudy": "C*"}, [1]),
        ({"SOPClassesInStudy": "1.2.840.10008.5.1.4.1.1.88.11"}, [1]),
        ({"StudyDescription": "H*d"}, [1]),
        ({"StudyDescription": "H%"}, []),
        ({"ReferringPhysicianName": "welby*"}, [2]),
    ],
)
def test_studies_are_found_by_their_keys(viewer, keys, expected):
    assert viewer.studies(**keys) == expected


def test_series_are_found_by_their_keys(small):
    viewer = small()

    def series(**keys):
        found = viewer.find("SERIES", SeriesInstanceUID=keys.pop("SeriesInstanceUID", ""), **keys)
        return [each.SeriesInstanceUID.removeprefix(f"{ROOT}.") for each in found]

    one = {"StudyInstanceUID": f"{ROOT}.1"}
    assert series(**one, Modality="CT") == ["1.1"]
    assert series(**one, SeriesNumber="2") == ["1.2"]
    assert series(**one, SeriesInstanceUID=f"{ROOT}.1.2") == ["1.2"]
    assert series(**one, SeriesInstanceUID=f"{ROOT}.2.1") == []
    assert series(**one, PatientID="P2") == []
    both = [f"{ROOT}.1", f"{ROOT}.2"]
    assert series(StudyInstanceUID=both) == ["1.1", "1.2", "2.1"]
    assert series(StudyInstanceUID=both, StationName="MR-ROOM") == ["2.1"]


def test_images_are_found_by_their_keys(small):
    viewer = small()
    above = {"StudyInstanceUID": f"{ROOT}.1", "SeriesInstanceUID": f"{ROOT}.1.1"}
    assert len(viewer.find("IMAGE", **above, SOPInstanceUID="")) == 2
    (found,) = viewer.find("IMAGE", **above, InstanceNumber="2", SOPInstanceUID="")
    assert found.SOPInstanceUID == f"{ROOT}.1.1.2"
    assert not viewer.find("IMAGE", **above, SOPClassUID="1.2.3")


def test_more_than_a_page_comes_in_the_order_it_was_stored(small, monkeypatch):
    monkeypatch.setattr(finding, "PAGE_ROWS", 10)
    viewer = small(images=many(30))
    above = {"StudyInstanceUID": f"{ROOT}.9", "SeriesInstanceUID": f"{ROOT}.9.1"}
    found = viewer.find("IMAGE", **above, SOPInstanceUID="")
    numbers = [int(each.SOPInstanceUID.rpartition(".")[2]) for each in found]
    assert numbers == list(range(1, 31))


def test_what_is_quarantined_is_not_found(small, sqlite_database):
    viewer = small()
    stranger = image(1, 1, 9, PatientID="OTHER", PatientName="Roe^Rita")
    other = Archived(sqlite_database, sqlite_database.path.parent)
    other.add(stranger)
    above = {"StudyInstanceUID": f"{ROOT}.1", "SeriesInstanceUID": f"{ROOT}.1.1"}
    assert len(viewer.find("IMAGE", **above, SOPInstanceUID="")) == 2
    assert viewer.studies(PatientID="OTHER") == []


# --- what goes wrong


def offending(command):
    group, number = struct.unpack("<HH", command.elements[Element.OFFENDING_ELEMENT])
    return group << 16 | number


@pytest.mark.parametrize(
    ("level", "keys", "tag"),
    [
        (None, {"StudyInstanceUID": ""}, 0x00080052),
        ("", {"StudyInstanceUID": ""}, 0x00080052),
        ("PATIENT", {"PatientID": ""}, 0x00080052),
        ("FRAME", {"PatientID": ""}, 0x00080052),
        ("SERIES", {"SeriesInstanceUID": ""}, 0x0020000D),
        ("SERIES", {"StudyInstanceUID": "", "SeriesInstanceUID": ""}, 0x0020000D),
        ("SERIES", {"StudyInstanceUID": "*", "SeriesInstanceUID": ""}, 0x0020000D),
        ("IMAGE", {"StudyInstanceUID": "1.2", "SOPInstanceUID": ""}, 0x0020000E),
        ("IMAGE", {"SeriesInstanceUID": "1.2", "SOPInstanceUID": ""}, 0x0020000D),
    ],
)
def test_an_identifier_that_fits_no_level_is_refused_by_name(small, level, keys, tag):
    answers, (final,) = small().ask(level, **keys)
    assert (status_of(final), answers) == (status.IDENTIFIER_DOES_NOT_MATCH, [])
    assert offending(final) == tag
    assert final.text(Element.ERROR_COMMENT)


@pytest.mark.parametrize(
    ("keys", "tag"),
    [
        ({"StudyDate": "yesterday"}, 0x00080020),
        ({"StudyTime": "99"}, 0x00080030),
        ({"StudyInstanceUID": [f"1.{n}" for n in range(300)]}, 0x0020000D),
    ],
)
def test_a_key_that_cannot_be_read_is_named(small, keys, tag):
    answers, (final,) = small().ask("STUDY", **keys)
    assert (status_of(final), answers) == (status.UNABLE_TO_PROCESS, [])
    assert offending(final) == tag


@pytest.mark.parametrize("data", [b"", b"\x08\0\x52\0CS\xff\xff", bytes(100)])
def test_an_identifier_that_is_none_is_no_empty_list(small, data):
    _, (final,) = small().send(data)
    assert status_of(final) in {status.UNABLE_TO_PROCESS, status.IDENTIFIER_DOES_NOT_MATCH}


def test_a_database_that_is_out_is_no_empty_list(sqlite_database, tmp_path, serve, dial):
    viewer = Viewer(serve(QueryService(sqlite_database, ZONE)), dial)
    sqlite_database.close()
    sqlite_database.path.write_bytes(b"this is no database" * 100)
    answers, (final,) = viewer.ask("STUDY", StudyInstanceUID="")
    assert (status_of(final), answers) == (status.REFUSED_OUT_OF_RESOURCES, [])


def test_a_list_that_nobody_meant_ends_with_a_failure(small):
    answers, commands = small(max_answers=2).ask("STUDY", StudyInstanceUID="")
    assert len(answers) == 2
    assert status_of(commands[-1]) == status.REFUSED_OUT_OF_RESOURCES


@pytest.mark.parametrize("root", [PATIENT_ROOT_FIND, STUDY_ROOT_FIND, PATIENT_STUDY_ONLY_FIND])
def test_cancel_stops_the_answers(small, serve, dial, root):
    viewer = small(images=of_many(50))
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY" if root == STUDY_ROOT_FIND else "PATIENT"
    identifier.PatientID = ""
    client = dial(viewer._server).associate((root,), transfer_syntaxes=(EXPLICIT_VR_LITTLE_ENDIAN,))
    asked = request(1, 0x0020, root, 1, encoded(identifier, explicit=True))
    client.send(asked + cancel_request(1, 1))
    codes = []
    while not codes or codes[-1] == status.PENDING:
        codes.append(status_of(client.read_message()[0]))
    assert codes[-1] == status.CANCEL
    assert len(codes) <= 17
    client.release()


def test_cancel_stops_a_search_that_finds_nothing(small, serve, dial, monkeypatch):
    monkeypatch.setattr(finding, "PAGE_ROWS", 1)
    viewer = small(images=of_many(50))
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.PatientSex = "PATIENT", "X"
    client = dial(viewer._server).associate(
        (PATIENT_ROOT_FIND,), transfer_syntaxes=(EXPLICIT_VR_LITTLE_ENDIAN,)
    )
    asked = request(1, 0x0020, PATIENT_ROOT_FIND, 1, encoded(identifier, explicit=True))
    client.send(asked + cancel_request(1, 1))
    assert status_of(client.read_message()[0]) == status.CANCEL
    client.release()
