"""Modality Worklist over real associations: what is asked, and what comes back."""

import struct
from datetime import timedelta
from io import BytesIO
from zoneinfo import ZoneInfo

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from structlog.testing import capture_logs

from mwl import dataset
from mwl.db.tables import Device
from mwl.net import status
from mwl.net.dimse import Element
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mwl.scp.answers import Asker, Plan
from mwl.scp.attributes import vr_of
from mwl.scp.worklist import WorklistService
from tests.dicom_client import MODALITY_WORKLIST_FIND, cancel_request, request
from tests.dicom_client import status as status_of
from tests.dicom_server import dial_fixture, serve_fixture  # noqa: F401 - fixtures
from tests.identifiers import asking, element, encoded
from tests.worklist_rows import NOW, insert_items, item

ZONE = ZoneInfo("Europe/Berlin")
BERLIN_WINTER = "+0100"
# What a scanner asks for, by and large.
STEP = (
    "ScheduledStationAETitle",
    "ScheduledProcedureStepStartDate",
    "ScheduledProcedureStepStartTime",
    "Modality",
    "ScheduledPerformingPhysicianName",
    "ScheduledProcedureStepDescription",
    "ScheduledProcedureStepID",
    "ScheduledProcedureStepStatus",
)
TOP = (
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "RequestedProcedureDescription",
    "RequestedProcedureID",
    "AdmissionID",
    "CurrentPatientLocation",
    "PatientWeight",
    "PregnancyStatus",
    "RequestedProcedurePriority",
)
# pydicom warns of what these tests send on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


class Scanner:
    """Ask over an association of its own; `syntax` is the transfer syntax."""

    def __init__(self, server, dial, title="CT1"):
        self._server, self._dial, self._title = server, dial, title

    def ask(self, dataset, syntax=EXPLICIT_VR_LITTLE_ENDIAN):
        explicit = syntax == EXPLICIT_VR_LITTLE_ENDIAN
        return self.send(encoded(dataset, explicit=explicit), syntax)

    def send(self, identifier, syntax=EXPLICIT_VR_LITTLE_ENDIAN):
        """Return the answers and the commands of all responses."""
        client = self._dial(self._server).associate(
            (MODALITY_WORKLIST_FIND,), calling=self._title, transfer_syntaxes=(syntax,)
        )
        client.send(request(1, 0x0020, MODALITY_WORKLIST_FIND, 1, identifier))
        answers, commands = [], []
        while not commands or status_of(commands[-1]) in (0xFF00, 0xFF01):
            command, data = client.read_message()
            commands.append(command)
            if data is not None:
                answers.append(decoded(data, syntax))
        client.release()
        return answers, commands

    def find(self, dataset, syntax=EXPLICIT_VR_LITTLE_ENDIAN):
        answers, commands = self.ask(dataset, syntax)
        assert status_of(commands[-1]) == status.SUCCESS
        return answers

    def steps(self, dataset):
        answers = self.find(dataset)
        return [a.ScheduledProcedureStepSequence[0].ScheduledProcedureStepID for a in answers]


def decoded(data, syntax):
    implicit = syntax == IMPLICIT_VR_LITTLE_ENDIAN
    dataset = dcmread(BytesIO(data), force=True) if not data else _read(data, implicit)
    dataset.decode()
    return dataset


def _read(data, implicit):
    from pydicom.filereader import read_dataset

    return read_dataset(BytesIO(data), implicit, True)


@pytest.fixture
def scanner(sqlite_database, serve, dial):
    """Serve items given as `scanner(item(1), …)` to a scanner."""

    def begin(*items, title="CT1", **settings):
        if items:
            sqlite_database.write(lambda session: insert_items(session, items))
        settings.setdefault("clock", lambda: NOW)
        return Scanner(serve(WorklistService(sqlite_database, ZONE, **settings)), dial, title)

    return begin


@pytest.mark.parametrize("syntax", [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN])
def test_every_requested_key_comes_back_in_order_and_well_formed(scanner, syntax):
    full = item(
        1,
        "CT1",
        patient={"patient_name": "Doe^Jane"},
        order={
            "referring_physician": "Welby^Marcus",
            "admission_id": "V1",
            "current_patient_location": "Ward 7",
            "patient_weight": "71.5",
            "pregnancy_status": "3",
        },
        procedure={"priority": "STAT"},
        step={"performing_physician": "House^Gregory"},
    )
    (answer,) = scanner(full).find(asking(*TOP, step=STEP), syntax)
    (step,) = answer.ScheduledProcedureStepSequence
    assert {name: str(answer[name].value) for name in TOP} == {
        "AccessionNumber": "ACC1",
        "ReferringPhysicianName": "Welby^Marcus",
        "PatientName": "Doe^Jane",
        "PatientID": "P1",
        "PatientBirthDate": "19800229",
        "PatientSex": "F",
        "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.1",
        "RequestedProcedureDescription": "CT head",
        "RequestedProcedureID": "RP1",
        "AdmissionID": "V1",
        "CurrentPatientLocation": "Ward 7",
        "PatientWeight": "71.5",
        "PregnancyStatus": "3",
        "RequestedProcedurePriority": "STAT",
    }
    assert {name: str(step[name].value) for name in STEP} == {
        "ScheduledStationAETitle": "CT1",
        "ScheduledProcedureStepStartDate": "20300102",
        "ScheduledProcedureStepStartTime": "093000",
        "Modality": "CT",
        "ScheduledPerformingPhysicianName": "House^Gregory",
        "ScheduledProcedureStepDescription": "Head without contrast",
        "ScheduledProcedureStepID": "SPS1",
        "ScheduledProcedureStepStatus": "SCHEDULED",
    }
    assert list(answer.keys()) == sorted(answer.keys())
    assert list(step.keys()) == sorted(step.keys())


def test_values_have_even_length_padded_by_vr(scanner):
    server = scanner(item(1, "CT1", step={"study_instance_uid": "1.2.3"}))
    answers, _ = server.ask(asking("StudyInstanceUID", "PatientID"))
    assert answers[0].get_item("StudyInstanceUID").value in (b"1.2.3\0", "1.2.3")
    assert answers[0].PatientID == "P1"


def test_what_is_unknown_comes_back_empty(scanner):
    names = ("AccessionNumber", "PregnancyStatus", "PatientWeight", "ReferencedStudySequence")
    bare = item(1, procedure={"accession_number": ""})
    (answer,) = scanner(bare).find(asking(*names, "StudyDate", "ReferencedPatientSequence"))
    for name in (*names, "StudyDate", "ReferencedPatientSequence"):
        assert not answer[name].value


def test_the_values_that_a_scanner_needs_are_always_there(scanner):
    bare = item(
        1,
        patient={"patient_name": ""},
        procedure={"description": "", "code_value": "", "code_meaning": ""},
        step={"description": "", "modality": ""},
    )
    (answer,) = scanner(bare, title="XA7").find(asking(*TOP, step=STEP))
    (step,) = answer.ScheduledProcedureStepSequence
    assert answer.PatientName == "UNKNOWN"
    assert step.Modality == "OT"
    assert step.ScheduledStationAETitle == "XA7"
    assert answer.RequestedProcedureDescription == step.ScheduledProcedureStepDescription == "RP1"


def test_a_sequence_asked_for_without_an_item_comes_whole(scanner):
    server = scanner(item(1, "CT1"))
    for identifier in (
        element(0x00400100, b""),
        element(0x00400100, element(0xFFFEE000, b"")),
    ):
        (answer,), _ = server.send(identifier, IMPLICIT_VR_LITTLE_ENDIAN)
        (step,) = answer.ScheduledProcedureStepSequence
        assert step.ScheduledProcedureStepID == "SPS1"
        assert step.Modality == "CT"
        assert "ScheduledProtocolCodeSequence" in step


@pytest.mark.parametrize("syntax", [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN])
def test_codes_and_issuers_come_as_sequences(scanner, syntax):
    issued = item(
        1,
        patient={
            "issuer": "HOSP^1.2.3^ISO",
            "language": "de",
            "other_ids": [["X7", "CITY^4.5^ISO", "MR"], ["Y8", "", "PI"]],
        },
        order={"placer_number": "PO1", "placer_issuer": "RIS"},
        procedure={"accession_issuer": "HOSP^1.2.3^ISO"},
        step={"protocol_value": "P1", "protocol_scheme": "", "protocol_meaning": ""},
    )
    sequences = (
        "RequestedProcedureCodeSequence",
        "IssuerOfAccessionNumberSequence",
        "IssuerOfPatientIDQualifiersSequence",
        "OtherPatientIDsSequence",
        "OrderPlacerIdentifierSequence",
        "OrderFillerIdentifierSequence",
        "PatientPrimaryLanguageCodeSequence",
    )
    asked = asking(*sequences, "IssuerOfPatientID", step=["ScheduledProtocolCodeSequence"])
    (answer,) = scanner(issued).find(asked, syntax)
    (code,) = answer.RequestedProcedureCodeSequence
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("CTHEAD", "99RIS")
    assert code.CodeMeaning == "CT of the head"
    (protocol,) = answer.ScheduledProcedureStepSequence[0].ScheduledProtocolCodeSequence
    assert (protocol.CodeValue, protocol.CodingSchemeDesignator) == ("P1", "L")
    assert protocol.CodeMeaning == "P1"
    (issuer,) = answer.IssuerOfAccessionNumberSequence
    assert issuer.LocalNamespaceEntityID == "HOSP"
    assert (issuer.UniversalEntityID, issuer.UniversalEntityIDType) == ("1.2.3", "ISO")
    assert answer.IssuerOfPatientID == "HOSP"
    assert answer.IssuerOfPatientIDQualifiersSequence[0].UniversalEntityID == "1.2.3"
    first, second = answer.OtherPatientIDsSequence
    assert (first.PatientID, first.IssuerOfPatientID, first.TypeOfPatientID) == (
        "X7",
        "CITY",
        "TEXT",
    )
    assert first.IssuerOfPatientIDQualifiersSequence[0].UniversalEntityID == "4.5"
    assert (second.PatientID, second.IssuerOfPatientID) == ("Y8", "")
    assert len(second.IssuerOfPatientIDQualifiersSequence) == 0
    (placer,) = answer.OrderPlacerIdentifierSequence
    assert placer.LocalNamespaceEntityID == "RIS"
    assert len(answer.OrderFillerIdentifierSequence) == 0
    assert answer.PatientPrimaryLanguageCodeSequence[0].CodeValue == "de"


def test_of_a_sequence_only_the_requested_attributes_come_back(scanner):
    code = Dataset()
    code.CodeValue, code.CodingSchemeVersion = None, None
    asked = asking(RequestedProcedureCodeSequence=[code])
    (answer,) = scanner(item(1)).find(asked)
    (found,) = answer.RequestedProcedureCodeSequence
    assert [(e.keyword, e.value) for e in found] == [
        ("CodeValue", "CTHEAD"),
        ("CodingSchemeVersion", ""),
    ]


def test_an_attribute_that_the_order_brought_along_is_answered(scanner):
    more = {"SpecialNeeds": "wheelchair", "PatientReligiousPreference": "none"}
    names = ("SpecialNeeds", "PatientReligiousPreference", "Occupation")
    answers, _ = scanner(item(1, step={"attributes": more})).ask(asking(*names))
    assert answers[0].SpecialNeeds == "wheelchair"
    assert answers[0].PatientReligiousPreference == "none"
    assert answers[0].Occupation == ""


def test_keys_that_come_out_of_one_column_read_it_once():
    # Statements are kept: 40 queries of 900 such keys held 67 MB.
    asked = asking("SpecialNeeds", "PatientReligiousPreference", "PatientID", "Occupation")
    keys = dataset.read(encoded(asked, explicit=True), explicit=True, vr_of=vr_of)
    plan = Plan(keys, Asker("CT1", True, (), ZONE))
    assert "attributes" in plan.columns
    assert len(set(plan.columns)) == len(plan.columns)


@pytest.mark.parametrize("syntax", [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN])
def test_an_unsupported_key_comes_back_empty_under_ff01_and_excludes_nothing(scanner, syntax):
    asked = asking("PatientID", "SeriesDescription", "Rows", SeriesNumber="99")
    asked.private_block(0x0009, "VENDOR", create=True).add_new(1, "LO", "x")
    answers, commands = scanner(item(1), item(2)).ask(asked, syntax)
    assert [status_of(each) for each in commands] == [0xFF01, 0xFF01, 0x0000]
    for answer in answers:
        assert answer.SeriesDescription == ""
        assert answer.Rows is None
        assert answer[0x00090010].value == "VENDOR"
        assert not answer[0x00091001].value


def test_supported_keys_alone_are_pending_with_ff00(scanner):
    _, commands = scanner(item(1)).ask(asking(*TOP, step=STEP))
    assert [status_of(each) for each in commands] == [0xFF00, 0x0000]


# --- matching


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"PatientName": "doe^jane"}, ["SPS1"]),
        ({"PatientName": "DOE*"}, ["SPS1", "SPS2"]),
        ({"PatientName": "D?e^J*"}, ["SPS1", "SPS2"]),
        ({"PatientName": "%"}, []),
        ({"PatientID": "P3"}, ["SPS3"]),
        ({"PatientID": "P*"}, []),
        ({"PatientID": "*"}, ["SPS1", "SPS2", "SPS3"]),
        ({"AccessionNumber": "ACC2"}, ["SPS2"]),
        ({"RequestedProcedureID": "RP3"}, ["SPS3"]),
        ({"StudyInstanceUID": ["1.2.826.0.1.3680043.8.498.1", "1.2.3"]}, ["SPS1"]),
        ({"IssuerOfPatientID": "HOSP", "PatientID": "P1"}, ["SPS1"]),
        ({"IssuerOfPatientID": "OTHER", "PatientID": "P1"}, []),
        ({"AdmissionID": "V3"}, ["SPS3"]),
        ({"step_Modality": "MR"}, ["SPS3"]),
        ({"step_ScheduledProcedureStepID": "SPS2"}, ["SPS2"]),
        ({"step_ScheduledStationAETitle": "CT2"}, ["SPS1"]),
        ({"step_ScheduledStationAETitle": "CT1"}, ["SPS1", "SPS2"]),
        ({"step_ScheduledPerformingPhysicianName": "house*"}, ["SPS2"]),
        ({"step_ScheduledProcedureStepStatus": "ARRIVED"}, ["SPS3"]),
        ({"step_ScheduledProcedureStepStartDate": "20300102"}, ["SPS1", "SPS2"]),
        ({"step_ScheduledProcedureStepStartDate": "20300103-"}, ["SPS3"]),
        ({"step_ScheduledProcedureStepStartTime": "08-10"}, ["SPS1", "SPS3"]),
        (
            {
                "step_ScheduledProcedureStepStartDate": "20300102-20300103",
                "step_ScheduledProcedureStepStartTime": "120000-090000",
            },
            ["SPS2", "SPS3"],
        ),
    ],
)
def test_keys_match_as_the_standard_says(scanner, keys, expected):
    server = scanner(
        item(1, "CT1", "CT2", patient={"patient_name": "Doe^Jane"}),
        item(
            2,
            "CT1",
            patient={"patient_name": "Doe^John"},
            step={"start_local": "20300102140000", "performing_physician": "House^G"},
        ),
        item(
            3,
            "MR1",
            patient={"patient_name": "Roe^Richard"},
            order={"admission_id": "V3"},
            step={"start_local": "20300103083000", "modality": "MR", "state": "ARRIVED"},
        ),
    )
    assert server.steps(asking(step=["ScheduledProcedureStepID"], **keys)) == expected


def test_a_name_is_read_in_the_character_set_of_its_identifier(scanner):
    server = scanner(item(1, patient={"patient_name": "Люкceмбypг"}), item(2))
    for charset in ("ISO_IR 144", "ISO_IR 192"):
        asked = asking(charset=charset, step=["ScheduledProcedureStepID"], PatientName="люкc*")
        assert server.steps(asked) == ["SPS1"]


def test_an_unassigned_step_is_for_a_device_of_its_modality_and_names_it(scanner, sqlite_database):
    server = scanner(item(1, step={"modality": "CT"}), item(2, step={"modality": "MR"}))
    asked = asking(
        step=["ScheduledProcedureStepID", "Modality"], step_ScheduledStationAETitle="CT1"
    )

    def register(session):
        for title, modality in (("CT1", "CT"), ("US1", "US")):
            session.add(Device(ae_title=title, modality=modality, created_at=NOW, updated_at=NOW))
        session.flush()

    sqlite_database.write(register)
    (answer,) = server.find(asked)
    (step,) = answer.ScheduledProcedureStepSequence
    assert (step.Modality, step.ScheduledStationAETitle) == ("CT", "CT1")
    assert Scanner(server._server, server._dial, "US1").find(asked) == []
    # Whoever was let in without being known may be any scanner.
    assert len(Scanner(server._server, server._dial, "STRANGER").find(asked)) == 2


def test_a_step_that_started_yesterday_is_gone_from_the_list(scanner):
    begun = item(1, step={"state": "STARTED", "state_at": NOW - timedelta(hours=13)})
    server = scanner(begun, item(2, step={"state": "STARTED", "state_at": NOW}))
    assert server.steps(asking(step=["ScheduledProcedureStepID"])) == ["SPS2"]


# --- character sets


@pytest.mark.parametrize(
    ("name", "asked", "told"),
    [
        ("Doe^Jane", None, None),
        ("Doe^Jane", "ISO_IR 100", "ISO_IR 100"),
        ("Doe^Jane", "ISO_IR 144", "ISO_IR 144"),
        ("Doe^Jane", "", "ISO_IR 100"),
        ("Doe^Jane", "ISO_WHAT", "ISO_IR 100"),
        ("Müller^Änne", None, "ISO_IR 100"),
        ("Müller^Änne", "ISO_IR 100", "ISO_IR 100"),
        ("Müller^Änne", "ISO_IR 192", "ISO_IR 192"),
        ("Müller^Änne", "ISO_IR 144", "ISO_IR 100"),
        ("Dvořák^Antonín", None, "ISO_IR 192"),
        ("Dvořák^Antonín", "ISO_IR 100", "ISO_IR 192"),
        ("Yamada^Tarou=山田^太郎", "ISO_IR 100", "ISO_IR 192"),
    ],
)
def test_an_answer_is_in_a_set_that_says_it_all(scanner, name, asked, told):
    (answer,) = scanner(item(1, patient={"patient_name": name})).find(
        asking("PatientName", "PatientID", charset=asked)
    )
    assert str(answer.PatientName) == name
    assert answer.get("SpecificCharacterSet") == told


def test_each_answer_has_the_set_that_it_needs(scanner):
    names = ["Doe^Jane", "Müller^Änne", "Dvořák^Antonín", "Doe^John"]
    server = scanner(*(item(n, patient={"patient_name": name}) for n, name in enumerate(names)))
    answers = server.find(asking("PatientName"))
    assert [str(each.PatientName) for each in answers] == names
    sets = [each.get("SpecificCharacterSet") for each in answers]
    assert sets == [None, "ISO_IR 100", "ISO_IR 192", None]


def test_the_timezone_is_told_only_where_it_is_asked_for(scanner):
    server = scanner(item(1), item(2, step={"start_local": "20300702093000"}))
    answers = server.find(asking("TimezoneOffsetFromUTC"))
    assert [each.TimezoneOffsetFromUTC for each in answers] == [BERLIN_WINTER, "+0200"]
    assert "TimezoneOffsetFromUTC" not in server.find(asking("PatientID"))[0]


# --- values that no attribute can hold


def test_a_long_description_is_shortened_and_a_long_identifier_left_out(scanner):
    bad = item(
        1,
        patient={"patient_name": "A" * 80 + "=" + "Б" * 80},
        procedure={"accession_number": "A" * 17, "description": "Ü" * 100, "code_value": "C" * 17},
        step={"description": "B" * 65},
    )
    names = ("AccessionNumber", "PatientName", "PatientID", "RequestedProcedureDescription")
    asked = asking(
        *names, "RequestedProcedureCodeSequence", step=["ScheduledProcedureStepDescription"]
    )
    answer, good = scanner(bad, item(2)).find(asked)
    assert answer.AccessionNumber == ""
    assert answer.PatientID == "P1"
    assert str(answer.PatientName) == "A" * 64 + "=" + "Б" * 64
    assert answer.RequestedProcedureDescription == "Ü" * 64
    assert len(answer.RequestedProcedureCodeSequence) == 0
    assert answer.ScheduledProcedureStepSequence[0].ScheduledProcedureStepDescription == "B" * 64
    assert good.AccessionNumber == "ACC2"


def test_controls_and_separators_never_reach_a_scanner(scanner):
    dirty = item(
        1,
        patient={"patient_name": "Doe\x1b$B^Jane\r\n", "allergies": "nuts\\milk"},
        procedure={"description": "a\\b\tc"},
        order={"comments": "line one\r\nline \x07two"},
    )
    names = ("PatientName", "RequestedProcedureDescription", "Allergies")
    (answer,) = scanner(dirty).find(asking(*names, "ImagingServiceRequestComments"))
    assert str(answer.PatientName).rstrip() == "Doe $B^Jane"
    assert answer.RequestedProcedureDescription == "a b c"
    assert answer.Allergies == ["nuts", "milk"]
    assert answer.ImagingServiceRequestComments == "line one\r\nline  two"


def test_a_value_that_cannot_be_read_costs_itself_and_no_more(scanner):
    odd = item(
        1,
        patient={"other_ids": 5},
        order={"pregnancy_status": "maybe"},
        step={"attributes": ["no", "dictionary"], "protocol_value": "a\x1fb\x1fc"},
    )
    names = ("PatientID", "OtherPatientIDsSequence", "PregnancyStatus", "SpecialNeeds")
    asked = asking(*names, step=["ScheduledProtocolCodeSequence", "ScheduledProcedureStepID"])
    first, second = scanner(odd, item(2)).find(asked)
    assert (first.PatientID, second.PatientID) == ("P1", "P2")
    assert not first.OtherPatientIDsSequence
    assert first.PregnancyStatus is None
    assert first.SpecialNeeds == ""
    (step,) = first.ScheduledProcedureStepSequence
    assert step.ScheduledProcedureStepID == "SPS1"
    assert not step.ScheduledProtocolCodeSequence


# --- what goes wrong


def failure(commands):
    """Read status, error comment and offending element of the last response."""
    last = commands[-1]
    comment = last.text(Element.ERROR_COMMENT)
    assert len(comment) <= 64
    offending = last.elements.get(Element.OFFENDING_ELEMENT)
    return status_of(last), comment, struct.unpack("<HH", offending) if offending else None


@pytest.mark.parametrize(
    ("keys", "offending"),
    [
        ({"step_ScheduledProcedureStepStartDate": "20309999"}, (0x0040, 0x0002)),
        ({"step_ScheduledProcedureStepStartTime": "99"}, (0x0040, 0x0003)),
        ({"PatientBirthDate": "yesterday"}, (0x0010, 0x0030)),
        ({"PatientID": "x" * 300}, (0x0010, 0x0020)),
    ],
)
def test_a_key_that_cannot_be_read_is_named(scanner, keys, offending):
    dataset = asking()
    (step,) = dataset.ScheduledProcedureStepSequence
    for name, value in keys.items():
        target = step if name.startswith("step_") else dataset
        target.add(_unchecked(name.removeprefix("step_"), value))
    answers, commands = scanner(item(1)).ask(dataset)
    code, comment, where = failure(commands)
    assert answers == []
    assert (code, where) == (status.UNABLE_TO_PROCESS, offending)
    assert comment


def _unchecked(keyword, value):
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.dataelem import DataElement

    return DataElement(tag_for_keyword(keyword), dictionary_VR(keyword), value, validation_mode=0)


@pytest.mark.parametrize(
    "identifier",
    [
        b"\x10\x00\x10\x00\x08",
        element(0x00100010, b"Doe", 0xFFFFFFF0),
        element(0x00400100, element(0xFFFEE000, b"", 0xFFFFFFFF), 0xFFFFFFFF) * 400,
    ],
)
def test_a_broken_identifier_has_its_status_and_the_server_lives_on(scanner, identifier):
    server = scanner(item(1))
    answers, commands = server.send(identifier, IMPLICIT_VR_LITTLE_ENDIAN)
    code, comment, where = failure(commands)
    assert (answers, code, where) == ([], status.UNABLE_TO_PROCESS, None)
    assert comment
    assert len(server.find(asking("PatientID"))) == 1


def test_a_defect_of_ours_is_c001_and_tells_nothing_of_the_patient(scanner, monkeypatch):
    def break_down(*_, **__):
        raise ZeroDivisionError("Doe^Jane")

    server = scanner(item(1))
    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr("mwl.scp.worklist.pages", break_down)
        answers, commands = server.ask(asking("PatientID"))
    assert (answers, failure(commands)[0]) == ([], status.UNABLE_TO_PROCESS)
    (defect,) = (line for line in logs if line["event"] == "worklist.defect")
    assert (defect["log_level"], defect["exc_info"]) == ("error", True)
    assert "Doe" not in str(commands)
    assert len(server.find(asking("PatientID"))) == 1


def test_an_identifier_without_a_worklist_key_does_not_match_the_sop_class(scanner):
    server = scanner(item(1))
    for identifier in (b"", element(0x00080005, b""), element(0x00080052, b"STUDY ")):
        answers, commands = server.send(identifier, IMPLICIT_VR_LITTLE_ENDIAN)
        assert answers == []
        assert failure(commands)[0] == status.IDENTIFIER_DOES_NOT_MATCH


def test_too_many_answers_end_with_a700(scanner):
    server = scanner(*(item(n) for n in range(8)), max_answers=7)
    answers, commands = server.ask(asking("PatientID"))
    assert len(answers) == 7
    assert failure(commands)[:2] == (
        status.REFUSED_OUT_OF_RESOURCES,
        "more than 7 match",
    )
    assert len(scanner(max_answers=8).find(asking("PatientID"))) == 8


def test_a_database_in_trouble_is_a700_and_never_an_empty_list(scanner, sqlite_database):
    server = scanner(item(1))
    sqlite_database.path.unlink()
    sqlite_database.path.mkdir()
    answers, commands = server.ask(asking("PatientID"))
    assert answers == []
    assert failure(commands)[0] == status.REFUSED_OUT_OF_RESOURCES


def test_a_database_that_fails_between_two_pages_is_a700(scanner, sqlite_database, monkeypatch):
    from contextlib import contextmanager

    from mwl.db import Database
    from mwl.errors import Outage

    server = scanner(*(item(n) for n in range(600)), device=lambda _title: None)
    real, reads = Database.read, []

    @contextmanager
    def fails_the_second_time(self):
        reads.append(1)
        if len(reads) == 2:
            raise Outage("gone")
        with real(self) as session:
            yield session

    monkeypatch.setattr(Database, "read", fails_the_second_time)
    answers, commands = server.ask(asking("PatientID"))
    assert 0 < len(answers) <= 500
    assert failure(commands)[0] == status.REFUSED_OUT_OF_RESOURCES


def test_no_log_line_tells_of_a_patient(scanner, capsys):
    secret = item(1, patient={"patient_name": "Secret^" + "x" * 99, "patient_id": "y" * 99})
    server = scanner(secret)
    server.find(asking("PatientName", "PatientID", PatientName="Secret*"))
    server.ask(asking(AdmissionID="Secret" * 60))
    logged = capsys.readouterr()
    assert "worklist.find" in logged.out + logged.err
    assert "ecret" not in logged.out + logged.err


def test_a_cancel_ends_the_stream_within_a_buffer(scanner, dial):
    server = scanner(*(item(n) for n in range(5000)), max_answers=100_000)
    client = dial(server._server).associate((MODALITY_WORKLIST_FIND,))
    everything = encoded(asking(*TOP, step=STEP), explicit=False)
    client.send(request(1, 0x0020, MODALITY_WORKLIST_FIND, 7, everything))
    command, _ = client.read_message()
    client.send(cancel_request(1, 7))
    answers = 1
    while status_of(command) == status.PENDING:
        command, _ = client.read_message()
        answers += 1
    assert status_of(command) == status.CANCEL
    assert answers < 5000
    client.release()
