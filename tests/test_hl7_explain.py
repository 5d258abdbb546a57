"""A message explained: which field becomes what, as the mapping itself says."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from hl7 import profile
from hl7.er7 import Message, Segment
from hl7.explain import Explainer, Use, split, trying
from hl7.explain.attributes import COLUMNS, attribute
from hl7.explain.targets import targets
from hl7.intake import Intake
from hl7.profiles import Profiles, Rule
from hl7.rehearsal import Rehearsal
from mwl.errors import Rejected
from tests import corpus
from tests.builders import adt_a08, adt_a40, omg, omi, orm
from tests.hl7_mapping import BERLIN, DEFAULT, document

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
PROFILES = Profiles.single(profile.load(DEFAULT), BERLIN)
SAMPLES = sorted((Path(__file__).parent / "data" / "hl7").rglob("*.hl7"))
WEIGHT = "OBX|1|NM|29463-7^weight^LN||70|kg"
# One of each kind, and what makes reading a message more than looking up places.
MESSAGES = [
    orm(),
    orm(ORC_1="XO", OBR_4="CTHEAD&x^CT head & neck^99RIS", PID_11="Main St 1^^Town"),
    orm(OBR_2="", OBR_3="", PV1_8="1^Who^Doctor", PID_3="A^^^X^SS~B^^^ADT1^MR~C"),
    orm(PID_8="A", ORC_7="", OBR_27="^^^20300102093000^^S", after=[WEIGHT, "ZZZ|a|b^c"]),
    orm(PID_5='""', PID_13="1~2", OBR_31="^pain\\T\\more", ORC_1="CA", ORC_5="CA"),
    omg(NTE=["NTE|1||a", "NTE|2||b"], OBR_24="NMR"),
    omi(IPC_9="CT1~CT2", PID_15="de"),
    adt_a08(PID_3="PID1", PID_18="V2"),
    adt_a40(),
]


@pytest.fixture(autouse=True)
def patient(monkeypatch, request):
    """Let a busy machine take its time, where time isn't what is tested."""
    if "bounded_time" not in request.node.name:
        monkeypatch.setattr(trying, "LONGEST_S", 60)


def explain(message, profiles=PROFILES, rehearse=None, listener=""):
    raw = message if isinstance(message, bytes) else message.encode()
    return Explainer(profiles, Intake(profiles), rehearse)(raw, NOW, listener)


def with_rules(*rules, **tables):
    return Profiles.single(
        profile.parse({**document(**tables), "rule": list(rules)}, "test"), BERLIN
    )


def fields(told):
    return {field.place: field for segment in told.segments for field in segment.fields}


def given(told, column):
    """Give the value of a column, and where it came from."""
    (value,) = [each for each in told.values if f"{each.kind}.{each.column}" == column]
    return value.value, value.place


def mapped(message):
    incoming = Intake(PROFILES).open(message.encode(), "test", NOW)
    return incoming, targets(Intake(PROFILES).read(incoming))


@pytest.mark.parametrize("message", MESSAGES)
def test_explanation_and_mapping_agree(message):
    told = explain(message)
    _, values = mapped(message)
    assert sorted((v.kind, v.column, v.value or "") for v in told.values) == sorted(
        (t.kind, t.column, t.value or "") for t in values.values()
    )
    # No value without the field that gave it, and no field that is not there.
    places = fields(told)
    for value in told.values:
        assert value.place, value
        for place in value.place.split(", "):
            assert place.split(".")[0] in places


@pytest.mark.parametrize("message", MESSAGES)
def test_what_is_called_ignored_changes_nothing(message):
    ignored = {place for place, each in fields(explain(message)).items() if each.use is Use.IGNORED}
    incoming, values = mapped(message)
    segments, named = [], {}
    for segment in incoming.message.segments:
        nth = f"({segment.occurrence})" if segment.occurrence > 1 else ""
        kept = [
            "" if f"{segment.name}{nth}-{number}" in ignored else text
            for number, text in enumerate(segment.fields)
        ]
        each = Segment(kept, segment.delimiters, segment.encoding, segment.occurrence)
        segments.append(each)
        named.setdefault(each.name, []).append(each)
    bare = incoming._replace(message=Message(segments, named))
    assert targets(Intake(PROFILES).read(bare)) == values


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.name)
def test_every_sample_is_explained(file):
    for raw in split(file.read_bytes()):
        told = explain(raw)
        assert told.segments
        assert told.ack_code in {"AA", "AE", "AR"}
        assert all(value.place for value in told.values)


# Every third: the others differ little from their neighbours, and it takes a second.
@pytest.mark.parametrize("name", sorted(corpus.names())[::3])
def test_the_corpus_is_explained_as_it_is_mapped(name):
    for raw in corpus.load(name).messages():
        told = explain(raw)
        assert all(value.place for value in told.values)
        found, faults = read(raw)
        if not faults:
            assert [value.value for value in told.values] == found
        assert faults <= {fault.where.partition(",")[0] for fault in told.faults}


def read(raw):
    """Give the values that the mapping makes, or the places at fault."""
    try:
        changes = Intake(PROFILES).read(Intake(PROFILES).open(raw, "test", NOW))
    except Rejected as error:
        return [], {fault.where for fault in error.faults}
    return [target.value for target in targets(changes).values()], set()


def test_each_field_says_what_it_becomes():
    told = explain(MESSAGES[3])
    assert given(told, "patient.patient_name") == ("Doe^Jane^Q", "PID-5")
    assert given(told, "step.start") == ("2030-01-02 09:30:00+01:00", "OBR-27.4")
    assert given(told, "procedure.priority") == ("STAT", "OBR-27.6")
    assert given(told, "order.patient_weight") == ("70", "OBX-3, OBX-5, OBX-6")
    assert given(told, "order.action") == ("create", "ORC-1")
    name = next(value for value in told.values if value.column == "patient_name")
    assert (name.attribute, name.tag) == ("Patient's Name", "(0010,0010)")
    found = fields(told)
    assert found["ZZZ-1"].use is Use.IGNORED
    # OBR-3 is asked for too; ORC-3 said it before.
    assert (found["OBR-3"].use, found["OBR-3"].asked_for) == (Use.READ, ["order.filler"])
    assert "patient.mother_name" in {each.key for each in told.silent}
    assert (told.action, told.profile) == ("create", "default")


def test_a_value_says_by_which_table_it_was_translated():
    told = explain(orm(PID_8="A", OBR_24="NMR", ORC_7="^^^20300102093000^^S"))
    by = {value.column: (value.value, value.by) for value in told.values}
    assert by["sex"] == ("O", "[values.sex]")
    assert by["modality"] == ("MR", "[modalities]")
    assert by["priority"] == ("STAT", "[values.priority]")
    assert by["patient_name"][1] == ""


def test_a_value_says_which_rule_gave_it():
    profiles = with_rules(
        {"code": "MR*", "modality": "MR"},
        {"code": "CT*", "stations": ["CT1"]},
        {"code": "CTH*", "modality": "CT", "stations": ["CT2"]},
    )
    told = explain(orm(OBR_24=""), profiles)
    by = {value.column: (value.value, value.by) for value in told.values}
    assert by["modality"] == ("CT", "[[rule]] 3")
    assert by["stations"] == ("CT1", "[[rule]] 2")


def test_conditions_cuts_constants_and_further_attributes_are_told():
    ward = {"from": "PV1-3", "when": {"MSH-4": "OTHER*"}}
    profiles = with_rules(
        {"when": {"PV1-2": "O"}, "station_name": "OUT1"},
        step={"location": [ward, {"value": "ROOM1"}]},
        procedure={"accession_number": [{"from": "ORC-3", "cut_start": "F"}]},
        attributes={"SpecialNeeds": ["ZXX-3"]},
    )
    told = explain(orm(ZXX_3="wheelchair", PV1_3="W1"), profiles)
    by = {value.column: (value.value, value.place, value.by) for value in told.values}
    assert by["location"] == ("ROOM1", "", "the constant of step.location")
    assert by["station_name"] == ("OUT1", "PV1-2", "[[rule]] 1")
    assert by["accession_number"] == ("O1", "ORC-3.1", "")
    assert by["SpecialNeeds"] == ("wheelchair", "ZXX-3", "")
    found = fields(told)
    assert found["MSH-4"].asked_for == ["sender", "step.location.when"]
    assert found["OBR-18"].use is Use.IGNORED
    other = explain(orm(MSH_4="OTHER1", PV1_3="W1"), profiles)
    assert given(other, "step.location") == ("W1", "PV1-3")


def test_the_fields_at_fault_are_named_and_the_rest_is_explained():
    told = explain(orm(PID_7="yesterday", OBR_18="LONGER-THAN-16-CHARACTERS"))
    assert (told.ack_code, told.state) == ("AE", "rejected")
    assert {fault.where for fault in told.faults} == {"PID-7", "OBR-18"}
    found = fields(told)
    assert {place for place, each in found.items() if each.use is Use.FAULT} == {"PID-7", "OBR-18"}
    assert given(told, "patient.patient_name") == ("Doe^Jane^Q", "PID-5")
    assert told.notes == ["explained as if it said nothing at PID-7, OBR-18"]


def test_what_nobody_can_make_up_for_leaves_no_values():
    told = explain(orm(PID_3=""))
    assert (told.ack_code, told.values) == ("AE", [])
    assert [fault.where for fault in told.faults] == ["PID-3"]
    assert fields(told)["PID-5"].asked_for == ["patient.patient_name"]


def test_what_a_scanner_wants_and_the_message_does_not_say_is_told():
    told = explain(orm(PID_5="", OBR_24="", OBR_20="", ZDS_1="", ORC_7=""))
    assert [each.attribute for each in told.missing] == [
        "Patient's Name",
        "Study Instance UID",
        "Scheduled Procedure Step ID",
        "Modality",
        "Scheduled Procedure Step Start",
        "Scheduled Station AE Title",
    ]
    assert explain(orm(ORC_1="CA")).missing == []


def test_the_flags_stand_at_their_field():
    told = explain(orm(PID_8="?"))
    assert fields(told)["PID-8"].notes == ["PID-8: a value that is not in [values.sex]"]
    assert told.flags == ["PID-8: a value that is not in [values.sex]"]


def test_the_profile_and_why_it_was_chosen_are_told():
    loaded = profile.load(DEFAULT)
    profiles = Profiles(
        {"default": loaded, "other": loaded},
        BERLIN,
        "default",
        listeners={"icu": "other"},
        rules=[Rule("RIS^EAST*", "", "other")],
    )
    assert explain(orm(), profiles).why_profile.startswith("hl7.profile")
    east = explain(orm(MSH_4="EAST"), profiles)
    assert (east.profile, east.why_profile) == ("other", "[[hl7.source]] 1: RIS^EAST*")
    assert explain(orm(), profiles, listener="icu").why_profile == "[[hl7.listener]] icu"


@pytest.mark.parametrize(
    "raw", [b"", b"not a message", b"MSH", b"FHS|^~\\&|A\rBHS|^~\\&\r", b"MSH|^~\\&|A|B\rPID|\0"]
)
def test_what_is_no_message_is_told_so(raw):
    told = explain(raw)
    assert told.ack_code in {"AE", "AR"}
    assert told.faults
    assert told.values == []


def test_a_type_that_is_not_taken_is_told_so():
    told = explain(orm(MSH_9="DFT^P03"))
    assert (told.ack_code, [fault.where for fault in told.faults]) == ("AR", ["MSH-9.1"])


def test_a_large_message_is_explained_in_bounded_time():
    many = [f"OBX|{n}|TX|T^text^L||{'x' * 100}" for n in range(1, 5_000)]
    told = explain(orm(after=many))
    assert given(told, "patient.patient_name") == ("Doe^Jane^Q", "PID-5")
    assert len(told.segments) <= 250
    assert told.notes


def test_what_would_change_is_told_and_nothing_does(database):
    intake = Intake(PROFILES)
    told = explain(orm(), rehearse=Rehearsal(database, intake))
    rows = {row.kind: row for row in told.rows}
    assert {row.what for row in told.rows} == {"created"}
    assert ("accession_number", None, "ACC1") in rows["procedure"].columns
    with database.read() as session:
        assert session.connection().exec_driver_sql("SELECT count(*) FROM message").scalar() == 0
        assert session.connection().exec_driver_sql("SELECT count(*) FROM patient").scalar() == 0
    assert explain(orm()).rows is None


def test_every_column_that_a_profile_can_fill_has_its_attribute():
    nameless = [
        f"{kind}.{name}"
        for kind, known in COLUMNS.items()
        for name in known
        if not attribute(kind, name).name
    ]
    assert nameless == []


def test_attributes_are_called_as_the_standard_calls_them():
    from pydicom.datadict import dictionary_description

    for kind, column in (
        ("patient", "patient_name"),
        ("order", "referring_physician"),
        ("order", "confidentiality"),
        ("procedure", "accession_number"),
        ("procedure", "reason"),
        ("step", "modality"),
        ("step", "performing_physician"),
    ):
        found = attribute(kind, column)
        number = int(found.tag.strip("()").replace(",", ""), 16)
        assert dictionary_description(number) == found.name


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (orm().encode(), 1),
        ((orm() + orm()).encode(), 2),
        (b"\xef\xbb\xbf" + orm().replace("\r", "\r\n").encode(), 1),
        (b"\x0b" + orm().encode() + b"\x1c\r\x0b" + orm().encode() + b"\x1c\r", 2),
        (b"FHS|^~\\&\rBHS|^~\\&\r" + (orm() + orm()).encode() + b"BTS|2\rFTS|1\r", 2),
        (b"\x0bFHS|^~\\&\rBHS|^~\\&\r" + orm().encode() + b"BTS|1\rFTS|1\r\x1c\r", 1),
        (b"nothing", 0),
    ],
)
def test_a_file_is_cut_into_messages(content, count):
    messages = split(content)
    assert len(messages) == count
    for message in messages:
        assert b"BTS" not in message
        try:
            Intake(PROFILES).read(Intake(PROFILES).open(message, "test", NOW))
        except Rejected as error:
            pytest.fail(str(error))
