"""Every return key of the Modality Worklist (PS3.4 table K.6-1): what a scanner gets of each."""

import json
from collections.abc import Iterator
from io import BytesIO
from zoneinfo import ZoneInfo

import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from hl7 import profile
from mwl import dataset, worklist
from mwl.db import Database
from mwl.scp import attributes
from mwl.scp.answers import Asker, Plan
from mwl.wlfiles.items import parse
from mwl.wlfiles.mapping import change
from mwl.worklist import kept
from mwl.worklist.find import Query, pages
from tests import iod
from tests.builders import orm
from tests.feeding import MESSAGE, Feed
from tests.hl7_mapping import BERLIN, document
from tests.identifiers import encoded
from tests.test_hl7_inbound import NOW
from tests.worklist_model import WORKLIST, Row
from tests.worklist_rows import insert_items, item

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

STEP = "ScheduledProcedureStepSequence"
QUALIFIERS = "IssuerOfPatientIDQualifiersSequence"
# Whose value is there whatever the order leaves out (K.6.1.2.2), but for conditions that a
# description meets.
ALWAYS = {
    *(row.path for row in WORKLIST if row.type == "1" and row.path[:-1] in ((), (STEP,))),
    (STEP, "ScheduledProcedureStepDescription"),
    ("RequestedProcedureDescription",),
} - {(STEP,)}


def asked(rows: list[Row]) -> Dataset:
    """Ask for attributes, in the items of their sequences."""
    keys = Dataset()
    for row in rows:
        level = keys
        for sequence in row.path[:-1]:
            if not level[sequence].value:
                setattr(level, sequence, [Dataset()])
            level = level[sequence].value[0]
        setattr(level, row.keyword, [] if dictionary_VR(row.tag) == "SQ" else None)
    return keys


EVERYTHING = asked(WORKLIST)


def answers(
    database: Database, keys: Dataset = EVERYTHING, *, explicit: bool = True
) -> Iterator[Dataset]:
    """Answer a scanner that asks for `keys`."""
    read = dataset.read(encoded(keys, explicit=explicit), explicit=explicit, vr_of=attributes.vr_of)
    plan = Plan(read, Asker("CT1", explicit, (), BERLIN))
    for page in pages(database, Query(plan.columns), now=NOW):
        for row in page:
            answer = read_dataset(BytesIO(plan.encode(row)), not explicit, True)
            answer.decode()
            yield answer


def answer(database: Database, keys: Dataset = EVERYTHING, *, explicit: bool = True) -> Dataset:
    (found,) = answers(database, keys, explicit=explicit)
    assert iod.faults(found, WORKLIST if keys is EVERYTHING else []) == []
    return found


def values(level: Dataset, above: tuple[str, ...] = ()) -> dict[tuple[str, ...], str]:
    """Lay a data set out flat: what isn't empty, by its path; of several items, the last."""
    found = {}
    for element in level:
        path = (*above, element.keyword)
        if element.VR == "SQ":
            for inner in element.value:
                found |= values(inner, path)
        elif not element.is_empty:
            several = element.VM > 1
            found[path] = "\\".join(map(str, element.value)) if several else str(element.value)
    return found


@pytest.fixture
def feed(sqlite_database) -> Feed:
    return Feed(sqlite_database, now=NOW)


@pytest.mark.parametrize("explicit", [True, False])
def test_each_key_comes_back_and_what_nobody_said_is_empty(sqlite_database, explicit):
    bare = item(1, patient={"patient_name": "", "birth_date": "", "sex": "", "issuer": ""})
    bare["requested_procedure"] |= dict.fromkeys(
        ("description", "code_value", "code_scheme", "code_meaning"), ""
    )
    bare["scheduled_step"] |= {"description": "", "modality": ""}
    sqlite_database.write(lambda session: insert_items(session, [bare]))
    found = answer(sqlite_database, explicit=explicit)
    (step,) = found.ScheduledProcedureStepSequence
    top = {row.keyword for row in WORKLIST if len(row.path) == 1}
    assert {element.keyword for element in found} == top
    inner = {row.keyword for row in WORKLIST if len(row.path) == 2 and row.path[0] == STEP}
    assert {element.keyword for element in step} == inner
    said = {("AccessionNumber",), (STEP, "ScheduledProcedureStepStatus")}
    assert values(found).keys() == ALWAYS | said


def test_none_of_them_is_unsupported():
    keys = dataset.read(encoded(EVERYTHING, explicit=True), explicit=True, vr_of=attributes.vr_of)
    plan = Plan(keys, Asker("CT1", True, (), BERLIN))
    assert (plan.unsupported, plan.is_known) == ([], True)


def test_the_model_has_the_representations_of_the_dictionary():
    model = {**attributes.TOP, **attributes.STEP}
    assert {tag: known.vr for tag, known in model.items()} == {
        tag: dictionary_VR(tag) for tag in model
    }


DIAGNOSES = "AL1|1||^Penicillin\rDG1|1||I10^Hypertension^I10\rDG1|2||C34^^I10|Cancer\r"
ORDER = orm(
    PID_11="Street 1^^Town",
    PID_13="555-1234",
    PID_15="nb^Norwegian",
    PID_22="NL^Not Latino",
    PV1_2="I",
    PV1_3="W1^R2^B3^NORTH&1.2.3&ISO",
    PV1_8="7^Chen^Li^^^^^^REGISTER",
    PV1_19="V1^^^ADT1",
    PV1_44="202912312030",
    ORC_9="20291230111500",
    ORC_10="12^Clark^Kim",
    ORC_13="DESK^1^^^^^^^Desk one",
    ORC_14="555-9999",
    ORC_17="D1^Cardiology",
    OBR_4="CTHEAD^CT head^99RIS^H1^Head^99PACS^2024",
    OBR_12="MRSA^Contact isolation",
    OBR_13="Pacemaker",
    OBR_16="123^Welby^Marcus^^^^^^HOSPITAL&1.2.4&ISO^^^^^CLINIC",
    OBR_28="31^Abbot^Ann~32^Baker^Bo",
    OBR_30="WALK",
    OBR_31="R10^Abdominal pain^I10~R51^Headache^I10^^^^2019",
    OBR_34="9&Okafor&Ada&&&&&&STAFF",
).replace("ORC|", f"{DIAGNOSES}ORC|", 1)


def test_what_an_order_says_is_answered(feed):
    feed.send(ORDER)
    found = values(answer(feed.database))
    person = "PersonIdentificationCodeSequence"
    assert (
        found.items()
        >= {
            ("IssueDateOfImagingServiceRequest",): "20291230",
            ("IssueTimeOfImagingServiceRequest",): "111500",
            ("OrderEnteredBy",): "Clark^Kim",
            ("OrderEntererLocation",): "Desk one",
            ("OrderCallbackPhoneNumber",): "555-9999",
            ("EthnicGroup",): "Not Latino",
            ("InstitutionName",): "NORTH",
            ("AdmittingDate",): "20291231",
            ("AdmittingDiagnosesDescription",): "Hypertension\\Cancer",
            ("AdmittingDiagnosesCodeSequence", "CodeValue"): "C34",
            ("RequestedProcedureCodeSequence", "CodingSchemeVersion"): "2024",
            (STEP, "ScheduledProtocolCodeSequence", "CodeValue"): "H1",
            ("ReasonForTheRequestedProcedure",): "Abdominal pain",
            ("ReasonForRequestedProcedureCodeSequence", "CodeValue"): "R51",
            ("ReasonForRequestedProcedureCodeSequence", "CodingSchemeVersion"): "2019",
            ("NamesOfIntendedRecipientsOfResults",): "Abbot^Ann\\Baker^Bo",
            (
                "IntendedRecipientsOfResultsIdentificationSequence",
                person,
                "CodeMeaning",
            ): "Baker^Bo",
            ("RequestingPhysicianIdentificationSequence", person, "CodeValue"): "123",
            (
                *("RequestingPhysicianIdentificationSequence", person),
                "CodingSchemeDesignator",
            ): "HOSPITAL",
            ("RequestingPhysicianIdentificationSequence", "InstitutionName"): "CLINIC",
            ("ReferringPhysicianIdentificationSequence", person, "CodeMeaning"): "Chen^Li",
            ("ReferringPhysicianIdentificationSequence", "InstitutionName"): "REGISTER",
            (STEP, "ScheduledPerformingPhysicianIdentificationSequence", person, "CodeValue"): "9",
            ("Allergies",): "Penicillin",
        }.items()
    )


def test_all_codes_and_persons_of_a_field_are_items(feed):
    feed.send(ORDER)
    found = answer(feed.database)
    codes = [code.CodeValue for code in found.ReasonForRequestedProcedureCodeSequence]
    assert codes == ["R10", "R51"]
    codes = [code.CodeMeaning for code in found.AdmittingDiagnosesCodeSequence]
    assert codes == ["Hypertension", "C34"]
    people = found.IntendedRecipientsOfResultsIdentificationSequence
    assert [p.PersonIdentificationCodeSequence[0].CodeValue for p in people] == ["31", "32"]


def test_when_an_order_was_made_is_told_by_the_wall_clock_of_the_site(sqlite_database):
    by = profile.parse(document(time={"zone": "America/New_York"}), "test.toml")
    feed = Feed(sqlite_database, now=NOW, by=by)
    feed.send(orm(ORC_9="20291230111500"))
    feed.send(orm(ORC_1="XO", ORC_9="20291231120000"))  # which is when it was changed
    found = answer(sqlite_database)
    assert found.IssueTimeOfImagingServiceRequest == "171500"
    assert found.IssueDateOfImagingServiceRequest == "20291230"


@pytest.mark.parametrize("field", ["ORC_9", "PV1_44"])
def test_a_time_that_is_none_costs_itself_alone(feed, field):
    row = feed.send(orm(**{field: "yesterday"}))
    (message,) = [each for each in feed.rows(MESSAGE) if each.id == row]
    assert message.ack_code == "AA"
    assert any(flag.startswith(field.replace("_", "-")) for flag in message.flags)
    assert not answer(feed.database).AdmittingDate


def test_another_name_or_code_has_nothing_of_the_former_one(sqlite_database):
    rule = {"code": "CTHEAD", "protocol": "P9^Special^99X", "override": True}
    given = {**document(), "rule": [rule]}
    feed = Feed(sqlite_database, now=NOW, by=profile.parse(given, "test.toml"))
    feed.send(ORDER)
    (code,) = answer(sqlite_database)[STEP].value[0].ScheduledProtocolCodeSequence
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("P9", "99X")
    plain = Feed(sqlite_database, now=NOW)
    plain.send(orm(ORC_1="XO", OBR_16="^Nobody^Ned", OBR_4="CTHEAD^CT head^99RIS"))
    found = answer(sqlite_database)
    assert found.RequestingPhysician == "Nobody^Ned"
    assert not found.RequestingPhysicianIdentificationSequence
    (code,) = found.RequestedProcedureCodeSequence
    assert not code.CodingSchemeVersion


def test_a_name_that_is_stated_alone_takes_the_identifier_away():
    stated = kept.with_beside({"referring_physician": "Roe^Ann", "code_value": "C1"})
    assert stated == {
        "referring_physician": "Roe^Ann",
        "referring_physician_id": "",
        "code_value": "C1",
        "code_items": "",
    }
    both = {"protocol_value": "P1", "protocol_items": "[]"}
    assert kept.with_beside({**both}) == both


def test_what_adt_says_of_the_visit_reaches_the_order(feed):
    feed.send(orm(PV1_19="V1^^^ADT1"))
    adt = orm(MSH_9="ADT^A01^ADT_A01", PV1_19="V1^^^ADT1", PV1_44="20300101").split("\rORC")[0]
    feed.send(adt.replace("|T000001|", "|T000002|") + "\rDG1|1||I10^Hypertension^I10\r")
    found = answer(feed.database)
    assert (found.VisitStatusID, found.AdmittingDate) == ("ADMITTED", "20300101")
    assert found.AdmittingDiagnosesDescription == "Hypertension"
    assert found.AdmittingDiagnosesCodeSequence[0].CodeValue == "I10"


# ---- what profiles and files bring along ---------------------------------------------------

FURTHER = {
    "PatientSpeciesDescription": ["ZXX-3"],
    "ReasonForVisitCodeSequence": ["ZXX-4"],
    "ConsultingPhysicianIdentificationSequence": ["ZXX-5"],
    "ReferencedPatientSequence.ReferencedSOPClassUID": ["ZXX-6"],
    "ReferencedPatientSequence.ReferencedSOPInstanceUID": ["ZXX-7"],
    "0029,xx10 ACME 1.0": ["ZXX-8"],
    "step": {
        "ScheduledSpecimenSequence.ContainerIdentifier": ["ZXX-9"],
        "0029,xx20 ACME 1.0": ["ZXX-8"],
    },
}
Z = "ZXX|||Dog|V1^Check^99X~V2^Pain^99X|5^Ng^Amy|1.2.3|1.2.3.4|blue|BOX7"


def test_a_profile_fills_sequences_and_private_attributes_wherever_they_are_asked(sqlite_database):
    by = profile.parse(document(attributes=FURTHER), "test.toml")
    feed = Feed(sqlite_database, now=NOW, by=by)
    feed.send(orm() + Z + "\r")
    found = answer(sqlite_database)
    assert found.PatientSpeciesDescription == "Dog"
    assert [code.CodeValue for code in found.ReasonForVisitCodeSequence] == ["V1", "V2"]
    (person,) = found.ConsultingPhysicianIdentificationSequence
    assert person.PersonIdentificationCodeSequence[0].CodeMeaning == "Ng^Amy"
    (patient,) = found.ReferencedPatientSequence
    assert (patient.ReferencedSOPClassUID, patient.ReferencedSOPInstanceUID) == ("1.2.3", "1.2.3.4")
    keys = Dataset()
    keys.ScheduledProcedureStepSequence = [Dataset()]
    (step,) = keys.ScheduledProcedureStepSequence
    keys.add_new(0x00290031, "LO", "ACME 1.0")
    keys.add_new(0x00293110, "LO", "")
    step.add_new(0x00290012, "LO", "ACME 1.0")
    step.add_new(0x00291220, "LO", "")
    step.ScheduledSpecimenSequence = []
    found = answer(sqlite_database, keys)
    (step,) = found.ScheduledProcedureStepSequence
    assert (found[0x00290031].value, found[0x00293110].value) == ("ACME 1.0", "blue")
    assert (step[0x00290012].value, step[0x00291220].value) == ("ACME 1.0", "blue")
    assert step.ScheduledSpecimenSequence[0].ContainerIdentifier == "BOX7"


VETERINARY = {
    "PatientSpeciesCodeSequence": ["PID-35"],
    "PatientBreedCodeSequence": ["PID-36"],
    "ResponsiblePerson": ["NK1-2"],
    "ResponsiblePersonRole": ["NK1-3"],
    "OtherPatientNames": ["PID-9"],
    "AdmittingTime": ["PV1-44"],
    "PatientAge": ["ZXX-3"],
    "PatientBodyMassIndex": ["ZXX-4"],
}


def test_further_attributes_are_of_their_representation_or_not_taken(sqlite_database):
    by = profile.parse(document(attributes=VETERINARY), "test.toml")
    feed = Feed(sqlite_database, now=NOW, by=by)
    message = orm(
        PID_9="Rex^Old",
        PID_35="L-80A90^Dog^SRT",
        PID_36="L-80CF1^Beagle^SRT",
        PV1_44="202912312030",
    )
    kin = "NK1|1|Doe^John^^^Dr|OWNER^Owner\rPV1|"
    row = feed.send(message.replace("PV1|", kin, 1) + "ZXX|||12 years|24.5\r")
    found = values(answer(sqlite_database))
    assert (
        found.items()
        >= {
            ("PatientSpeciesCodeSequence", "CodeMeaning"): "Dog",
            ("PatientBreedCodeSequence", "CodeValue"): "L-80CF1",
            ("ResponsiblePerson",): "Doe^John^^Dr",
            ("ResponsiblePersonRole",): "OWNER",
            ("OtherPatientNames",): "Rex^Old",
            ("AdmittingTime",): "2030",
            ("PatientBodyMassIndex",): "24.5",
        }.items()
    )
    assert ("PatientAge",) not in found
    (taken,) = [each for each in feed.rows(MESSAGE) if each.id == row]
    assert "ZXX-3: not what its attribute can hold: not taken" in taken.flags


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("PertinentDocumentsSequence", "no field has"),
        ("PatientComments.PatientID", "has a column"),
        ("VisitComments.PatientID", "what is no sequence"),
        ("IssuerOfAdmissionIDSequence.UniversalEntityID", "write it as [order] admission_id"),
        ("OrderEnteredBy", "has a column of its own: write it as [order] entered_by"),
    ],
)
def test_an_attribute_that_no_field_can_fill_is_no_profile(key, fault):
    with pytest.raises(Exception, match="attributes") as error:
        profile.parse(document(attributes={key: ["ZXX-3"]}), "test.toml")
    assert fault in str(error.value)


def code(value: str, **more) -> Dataset:
    found = Dataset()
    found.CodeValue, found.CodingSchemeDesignator, found.CodeMeaning = value, "99X", f"{value}!"
    for name, each in more.items():
        setattr(found, name, each)
    return found


def reference(uid: str) -> Dataset:
    found = Dataset()
    found.ReferencedSOPClassUID, found.ReferencedSOPInstanceUID = "1.2.3", uid
    return found


def test_a_worklist_file_is_answered_with_every_sequence_it_had(sqlite_database):
    context = Dataset()
    context.ValueType, context.ConceptNameCodeSequence = "TEXT", [code("C1")]
    context.TextValue = "left"
    person = Dataset()
    person.PersonIdentificationCodeSequence, person.InstitutionName = [code("7")], "North"
    step = Dataset()
    step.Modality, step.ScheduledProcedureStepID = "CT", "S1"
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = "20300102", "0930"
    step.ScheduledStationAETitle = "CT1"
    step.ScheduledProtocolCodeSequence = [
        code("P1", CodingSchemeVersion="3", ProtocolContextSequence=[context]),
        code("P2"),
    ]
    step.ScheduledPerformingPhysicianIdentificationSequence = [person]
    file = Dataset()
    file.PatientName, file.PatientID, file.AccessionNumber = "Doe^Jane", "P1", "A1"
    file.StudyInstanceUID, file.RequestedProcedureID = "1.2.3.9", "R1"
    file.RequestedProcedureDescription = "Head"
    file.ReferencedStudySequence, file.ReferencedPatientSequence = (
        [reference("1.9.1"), reference("1.9.2")],
        [reference("1.9.3")],
    )
    file.ReasonForRequestedProcedureCodeSequence = [code("R1"), code("R2")]
    file.InstitutionCodeSequence = [code("I1")]
    file.PatientBreedDescription, file.ResponsiblePerson = "Beagle", "Doe^John"
    file.ScheduledProcedureStepSequence = [step]
    asks = change(parse(encoded(file, explicit=True), explicit=True), ZoneInfo("Europe/Berlin"))
    sqlite_database.write(lambda s: worklist.apply(s, asks, now=NOW, zone=BERLIN))
    answered = answer(sqlite_database)
    asked_for = values(file) | {(STEP, "ScheduledProcedureStepStartTime"): "093000"}
    assert values(answered).items() >= asked_for.items()
    studies = [study.ReferencedSOPInstanceUID for study in answered.ReferencedStudySequence]
    assert studies == ["1.9.1", "1.9.2"]


# ---- costs and damage ------------------------------------------------------------------------


def test_what_is_kept_in_one_text_is_read_once_a_row(sqlite_database, monkeypatch):
    more = {"SpecialNeeds": "lift", "Occupation": "baker", f"{kept.STEP}BarcodeValue": "77"}
    items = [item(n, step={"attributes": {**more, "VisitComments": str(n)}}) for n in range(1, 6)]
    sqlite_database.write(lambda session: insert_items(session, items))
    texts = []
    loads = json.loads
    monkeypatch.setattr(attributes.json, "loads", lambda text: texts.append(text) or loads(text))
    found = list(answers(sqlite_database))
    assert sorted(each.VisitComments for each in found) == list("12345")
    assert {each.Occupation for each in found} == {"baker"}
    assert sum("lift" in text for text in texts) == len(items)


@pytest.mark.parametrize(
    ("column", "keyword"),
    [
        ({"order": {"admitting_codes": "[{"}}, "AdmittingDiagnosesCodeSequence"),
        ({"order": {"admitting_codes": '["x"]'}}, "AdmittingDiagnosesCodeSequence"),
        ({"order": {"patient_weight": "7" * 17}}, "PatientWeight"),
        ({"order": {"pregnancy_status": "many"}}, "PregnancyStatus"),
        ({"procedure": {"reason_codes": '[{"CodeValue":"\\ud800"}]'}}, "ReasonForRequested"),
    ],
)
def test_what_cannot_be_written_costs_itself_alone(sqlite_database, column, keyword):
    items = [item(1, **column), item(2, patient={"patient_name": "M\u00fcller^Eva"})]
    sqlite_database.write(lambda session: insert_items(session, items))
    damaged, sound = sorted(answers(sqlite_database), key=lambda each: each.PatientID)
    assert sound.PatientName == "M\u00fcller^Eva"
    assert iod.faults(sound, WORKLIST) == []
    empty = [element for element in damaged if element.keyword.startswith(keyword)]
    assert all(element.is_empty or not element.value[0].get("CodeValue") for element in empty)
    assert damaged.AccessionNumber == "ACC1"


def test_values_are_as_long_as_they_may_be_and_no_longer(sqlite_database):
    long = item(
        1,
        patient={"ethnic_group": "E" * 20, "address": "A" * 80},
        order={"entered_by": "F" * 70, "enterer_location": "L" * 20, "institution": "I" * 70},
        procedure={"recipients": "\\".join(["R" * 64, "S" * 70])},
        step={"attributes": {"ReasonForVisit": "V" * 5000, "ServiceEpisodeID": "E" * 70}},
    )
    sqlite_database.write(lambda session: insert_items(session, [long]))
    found = answer(sqlite_database)
    assert len(found.OrderEntererLocation) == 16
    assert [len(str(name)) for name in found.NamesOfIntendedRecipientsOfResults] == [64, 64]
    assert len(found.ReasonForVisit) == 5000


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (kept.written([kept.code("I10", "99X", "Pressure")] * 2), "Pressure (I10, 99X)"),
        (kept.written([kept.person("7", "L", "Chen^Li", "North")]), "Chen^Li (7, L)"),
        (kept.written([{"TextValue": "x"}]), '[{"TextValue":"x"}]'),
        ('[{"a": 1}, 2]', '[{"a": 1}, 2]'),
        ('[{"a', '[{"a'),
        ("plain", "plain"),
    ],
)
def test_people_are_told_what_codes_mean(text, told):
    assert kept.told(text) == told


# What a file says by VR, where not any value will do.
_BY_VR = {
    "AE": "CT1",
    "AS": "040Y",
    "DA": "20300102",
    "DS": "1.5",
    "PN": "Doe^Jane",
    "TM": "093000",
    "UI": "1.2.3.4",
    "US": 3,
}
_GIVEN = {
    "PatientSex": "F",
    "VisitStatusID": "ADMITTED",
    "RequestedProcedurePriority": "STAT",
    "ScheduledProcedureStepStatus": "SCHEDULED",
    "UniversalEntityIDType": "ISO",
    "TypeOfPatientID": "TEXT",
    "SmokingStatus": "NO",
    "PatientSexNeutered": "ALTERED",
    "ValueType": "TEXT",
}


def filled(rows: list[Row]) -> Dataset:
    """Make an item that has a value of its own in every attribute."""
    file = asked(rows)
    for number, row in enumerate(rows):
        level = file
        for sequence in row.path[:-1]:
            level = level[sequence].value[0]
        vr = dictionary_VR(row.tag)
        if vr != "SQ":
            made = _BY_VR.get(vr) or f"{'V' if vr == 'CS' else 'v'}{number}"
            setattr(level, row.keyword, _GIVEN.get(row.keyword, made))
    return file


def test_all_that_a_worklist_file_says_is_answered(sqlite_database):
    file = filled(WORKLIST)
    asks = change(parse(encoded(file, explicit=True), explicit=True), ZoneInfo("Europe/Berlin"))
    sqlite_database.write(lambda s: worklist.apply(s, asks, now=NOW, zone=BERLIN))
    said, found = values(file), values(answer(sqlite_database))
    # A language is kept by its code alone; the namespace of an issuer is told before (10.15.1).
    apart = {
        ("PatientPrimaryLanguageCodeSequence", name)
        for name in ("CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning")
    } | {path for path in said if path[-2:] == (QUALIFIERS, "LocalNamespaceEntityID")}
    assert {path: found.get(path) for path in said.keys() - apart} == {
        path: value for path, value in said.items() if path not in apart
    }
