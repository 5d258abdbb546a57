import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from hl7apy import load_library
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_segment
from hypothesis import given, settings
from hypothesis import strategies as st

from hl7 import er7, profile, strictness
from hl7.inbound import Inbound
from hl7.mapping.report import Report
from hl7.profiles import Profiles, Rule
from hl7.strictness import reference, structure, values
from mwl import journal
from mwl.errors import Reason
from tests.builders import adt_a08, omg, omi, orm
from tests.hl7_mapping import BERLIN, DEFAULT, document

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
VERSIONS = ["2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8", "2.8.2"]
MISSING, MALFORMED, SEQUENCE = Reason.MISSING, Reason.MALFORMED, Reason.SEQUENCE
UNKNOWN_CODE, TOO_LONG = Reason.UNKNOWN_CODE, Reason.TOO_LONG


def faults(text):
    return strictness.faults(er7.Message.parse(text))


def found(text):
    return [(each.reason, each.where, each.occurrence) for each in faults(text)]


def test_a_message_by_the_standard_has_no_fault():
    for text in (orm(), omg(), omi(), adt_a08(PV1_2="O")):
        assert found(text) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_is_known(version):
    values = {"MSH_12": version, "PID_1": "1", "OBR_1": "1", "OBR_27": "^^^20300102093000"}
    if version < "2.3.1":
        values["MSH_9"] = "ORM^O01"
    if version == "2.1":
        numbers = {f"OBR_{n}": "20300102" for n in (7, 8, 14, 22)}
        values |= {"PID_3": "4711", "PV1_3": "4A", "PV1_19": "1", "OBR_9": "1", **numbers}
    text = orm(**values) if version < "2.7" else omg(**values, PV1_19="V1^^^ADT1^VN")
    assert found(text) == []
    assert found(text.replace("|CTHEAD^CT head^99RIS|", "||")) == [(MISSING, "OBR-4", 1)]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (orm(PID_3=None), (MISSING, "PID-3", 1)),
        (orm(ORC_1=None), (MISSING, "ORC-1", 1)),
        (orm(PID_7="29021980"), (MALFORMED, "PID-7.1", 1)),
        (orm(PID_7="1980-02-29"), (MALFORMED, "PID-7.1", 1)),
        (orm(PID_5="Doe^Jane~Roe^J^^^^^^^^^^1980-02-29"), (MALFORMED, "PID-5(2).12.1", 1)),
        (orm(PID_8="F^Female"), (MALFORMED, "PID-8", 1)),
        (orm(PID_8="F~F"), (MALFORMED, "PID-8(2)", 1)),
        (orm(ORC_2="PO1^RIS^1^ISO^x"), (MALFORMED, "ORC-2.5", 1)),
        (orm(PID_1="first"), (MALFORMED, "PID-1", 1)),
        (orm(PID_39="x", PID_40="more"), (MALFORMED, "PID-40", 1)),
        (orm(ORC_1="ZZ"), (UNKNOWN_CODE, "ORC-1", 1)),
        (orm(PID_8="F" * 21), (TOO_LONG, "PID-8", 1)),
        (orm(after="OBX|1|QQ|1^x||5||||||F"), (UNKNOWN_CODE, "OBX-2", 1)),
        (orm(after="OBX|1|NM|1^x||heavy||||||F"), (MALFORMED, "OBX-5", 1)),
        (orm(after=["OBX|1|NM|1^x||5||||||F", "OBX|2|ST|||5||||||F"]), (MISSING, "OBX-3", 2)),
        (orm(without=["ORC"]), (SEQUENCE, "ORC", 1)),
        (orm(without=["PID"]), (SEQUENCE, "PID", 1)),
        (orm(after="IPC|A|B|C|D"), (SEQUENCE, "IPC", 1)),
        (orm(after="PID|1||PID9^^^ADT1||Roe"), (SEQUENCE, "PID", 2)),
        (orm(without=["ORC", "OBR"]), (SEQUENCE, "ORC", 1)),
        (omi(without=["IPC"]), (SEQUENCE, "IPC", 1)),
        (adt_a08(without=["EVN"]), (SEQUENCE, "EVN", 1)),
        (orm(MSH_12="9.9"), (Reason.UNSUPPORTED_VERSION, "MSH-12", 1)),
        (orm(MSH_12=None), (Reason.UNSUPPORTED_VERSION, "MSH-12", 1)),
        (omi(MSH_12="2.6", MSH_9="OMI^O23"), (MISSING, "MSH-9.3", 1)),
        (orm(MSH_12="2.8.2"), (UNKNOWN_CODE, "MSH-9", 1)),  # withdrawn with 2.7
        (omi(MSH_12="2.3"), (UNKNOWN_CODE, "MSH-9", 1)),
        (omi(MSH_12="2.8", IPC_3=None), (MISSING, "IPC-3", 1)),
    ],
)
def test_a_fault_is_named_by_its_place(text, fault):
    assert fault in found(text)


@pytest.mark.parametrize(
    "text",
    [
        orm().replace("\r", "\n"),
        orm(after=["ZAA|anything|goes", "ZBB"]),
        orm().replace("\rORC", "\rZAA|x\rORC"),
        orm(PID_7='""', PID_8='""'),
        orm(PID_5="D\\E\\oe^J\\S\\ne", ORC_2="P\\F\\1^RIS"),
        orm(MSH_2="*~\\&").replace("^", "*"),
        orm(PID_8="f\\X41\\").replace("f\\X41\\", "\\X46\\"),
        omg(MSH_9="OMG^O19"),
        adt_a08(MSH_9="ADT^A08", PV1_2="O"),
        orm(
            MSH_12="2.3", MSH_9="XYZ^Q99", OBR_27="^^^20300102"
        ),  # of a structure that nobody defined
        omi(MSH_12="2.8", ORC_7="^^^20300101", PV1_19="V1^^^ADT1^VN", OBR_14="x"),  # withdrawn
    ],
    ids=range(11),
)
def test_what_the_standard_allows_is_no_fault(text):
    assert found(text) == []


def test_of_two_orders_the_second_is_no_prior_result():
    second = [line for line in omg().split("\r") if line[:3] in ("ORC", "TQ1", "OBR")]
    assert found(omg(after=second)) == []
    third = [line for line in second if not line.startswith("OBR")]
    assert found(omg(after=third)) == [(SEQUENCE, "OBR", 1)]


ODD = [
    *("x", "1", "20300101", "203001011200", "20300101120000+0100", "notadate", "A^B", "A&B"),
    *("x" * 21, "x" * 200, "1.5", "M", "NW", "^^^20300102093000^^R", "A^B^C^D^E^F", "A~B"),
]


@pytest.mark.parametrize("version", ["2.3.1", "2.4", "2.5", "2.5.1"])
def test_hl7apys_own_validation_finds_the_same_segments_faulty(version):
    known, random = reference.version(version), Random(version)
    odd = ODD if version >= "2.5" else [each for each in ODD if len(each) < 200]
    for name in ["PID", "PV1", "ORC", "OBR", "NTE", "AL1", "EVN", "AIS"] * 8:
        rules = known.segment(name)
        fields = [random.choice(odd) if random.random() < 0.15 else "" for _ in rules]
        usual = ["1" if rule.required else "" for rule in rules]
        line = "|".join([name, *(each or value for each, value in zip(fields, usual, strict=True))])
        report = Report()
        values.check(er7.Segment(line.split("|")), known, report)
        # hl7apy only warns of values that are in no table; before v2.5 it takes times for texts.
        hard = [each for each in report.faults if each.reason is not UNKNOWN_CODE]
        if version < "2.5":
            hard = [each for each in hard if "no date and time" not in each.text]
        wrong = validated(line, version)
        assert bool(hard) == bool(wrong) or "TN data" in wrong, (line, hard, wrong)


def validated(line, version):
    """Give the first thing that hl7apy finds wrong with a segment."""
    try:
        segment = parse_segment(line, version=version, validation_level=VALIDATION_LEVEL.STRICT)
        segment.validate(report_file=None)
    except (HL7apyException, ValueError) as error:
        return str(error)
    return ""


def test_no_fault_says_what_the_message_says():
    secret = "S3CRET"
    names = [
        f"{name}_{number}" for name in ("PID", "PV1", "ORC", "OBR") for number in (1, 7, 8, 22)
    ]
    text = orm(
        MSH_12=secret, after=f"OBX|{secret}|{secret}|||||||||", **dict.fromkeys(names, secret)
    )
    assert len(faults(text)) > 8
    assert secret not in " ".join(map(str, faults(text)))


@pytest.mark.parametrize("version", sorted(reference.VERSIONS))
def test_every_definition_that_hl7apy_has_can_be_read(version):
    known, library = reference.version(version), load_library(version)
    for name in library.SEGMENTS:
        for part in known.segment(name) or ():
            known.longest(part.type)
            known.table(part.table)
    for type_ in library.DATATYPES_STRUCTS:
        assert all(isinstance(part, reference.Part) for part in known.components(type_))
    for name in library.MESSAGES:
        header = f"MSH|^~\\&|A|B|C|D|2030||{name.replace('_', '^')}^{name}|1|P|{version}"
        assert structure.structure(er7.Message.parse(header), known) == name
        structure.check(er7.Message.parse(header), known, Report())


_VALUES = st.sampled_from(
    [*("", "x", "1", '""', "A^B&C^^D", "~~", "20300101"), "\\F\\\\X0\\", "é" * 300]
)
_NAMES = st.sampled_from(
    [
        *(
            "PID",
            "PV1",
            "ORC",
            "OBR",
            "OBX",
            "IPC",
            "TQ1",
            "SCH",
            "AIS",
            "MRG",
            "NTE",
            "ORO",
            "ZDS",
        ),
        *("QQQ", "RX1", "ANY", "QRD", "ERR", "EVN", "TXA", "DG1", "FT1", "PR1"),
    ]
)
_TYPES = st.sampled_from(["ORM^O01", "ORU^R01", "ADT^A08", "OMI^O23^OMI_O23", "SIU^S12", "", "^"])


@settings(max_examples=150)
@given(
    st.sampled_from([*VERSIONS, "", "9"]),
    _TYPES,
    st.lists(st.tuples(_NAMES, st.lists(_VALUES, max_size=60)), max_size=12),
)
def test_whatever_can_be_read_can_be_checked(version, kind, segments):
    lines = [f"MSH|^~\\&|A|B|C|D|2030||{kind}|1|P|{version}"]
    lines += ["|".join([name, *fields]) for name, fields in segments]
    assert len(faults("\r".join(lines))) <= 50


def test_at_most_fifty_faults_are_told_and_large_messages_take_no_time():
    began = time.perf_counter()
    assert len(found(orm(after=["OBX|x|NM|||heavy"] * 9_000))) == 50
    document = f"OBX|1|ED|PDF^Report||^Application^PDF^Base64^{'QUJD' * 2_500_000}||||||F"
    assert found(orm(after=document)) == []
    assert found(orm(after=f"OBX|1|TX|1^x||{'a^b&c~' * 1_700_000}||||||F")) == []
    assert time.perf_counter() - began < 3


def test_threads_may_check_together():
    texts = [orm(MSH_12=version, PID_7="x", PID_1="1") for version in VERSIONS] * 4
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(found, texts)) == list(map(found, texts))


def test_who_checks_nothing_loads_nothing():
    code = "import sys, mwl.roles.hl7; sys.exit('hl7apy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)


# ---- what its sender is told --------------------------------------------------------------


def way_in(database, **strictness_by_source):
    loaded = {
        name: profile.parse(document(message={"strictness": name}), name)
        for name in ("off", "tolerant", "strict")
    }
    rules = [Rule(source, "", name) for source, name in strictness_by_source.items()]
    return Inbound(database, Profiles(loaded, BERLIN, "off", rules=rules), clock=lambda: NOW)


def send(inbound, text):
    return er7.Message.parse(inbound.receive(text.encode(), "127.0.0.1:1").decode())


def told(answer):
    return [
        (err.whole(2), err.get(3), err.get(3, 1, 3), err.get(4), bool(err.get(8)))
        for err in answer.all("ERR")
    ]


FAULTY = {"PID_7": "29021980", "PID_5": "Doe~Roe^^^^^^^^^^^x", "OBR_1": "one", "PV1_2": None}
SAID = [
    ("PID^1^5^2^12^1", "102", "HL70357", True),
    ("PID^1^7^1^1", "102", "HL70357", True),
    ("PV1^1^2^1", "101", "HL70357", True),
    ("OBR^1^1^1", "102", "HL70357", True),
]


def test_strict_refuses_with_every_fault(database):
    answer = send(way_in(database, **{"RIS^*": "strict"}), orm(**FAULTY, OBR_24="§"))
    assert (answer.text("MSA-1"), answer.text("MSA-3")[:9]) == ("AE", "PID-5(2).")
    assert [(*each[:3], each[4]) for each in told(answer)][:4] == SAID
    assert {each[3] for each in told(answer)} == {"E"}
    with database.read() as session:
        (row,) = journal.search(session)
    assert (row.state, row.ack_code) == ("rejected", "AE")


def test_strict_tells_what_the_mapping_finds_too(database):
    answer = send(
        way_in(database, **{"RIS^*": "strict"}),
        orm(PV1_2=None, ORC_2=None, ORC_3=None, OBR_2=None, OBR_3=None),
    )
    places = [str(each[0]) for each in told(answer)]
    assert places[0] == "PV1^1^2^1"
    assert len(places) > 1


def test_tolerant_takes_it_and_tells_its_sender_and_a_person(database):
    answer = send(way_in(database, **{"RIS^HOSPITAL": "tolerant"}), orm(**FAULTY | {"PID_7": None}))
    assert (answer.text("MSA-1"), answer.text("MSA-3")) == ("AA", "")
    assert {each[3] for each in told(answer)} == {"W"}
    with database.read() as session:
        (row,) = journal.search(session)
    assert row.state == "applied"
    assert "PV1-2: required, and empty" in row.flags


def test_an_old_sender_could_not_tell_a_warning_from_an_error(database):
    text = orm(MSH_12="2.3", PV1_2=None)
    answer = send(way_in(database, **{"RIS^*": "tolerant"}), text)
    assert (answer.text("MSA-1"), told(answer)) == ("AA", [])


@pytest.mark.parametrize("version", ["", "9.9", "2.5.9", "two"])
@pytest.mark.parametrize(
    ("by", "code", "condition", "flagged"),
    [("off", "AA", None, False), ("tolerant", "AA", "203", True), ("strict", "AR", "203", False)],
)
def test_only_strict_minds_a_nonsense_version(
    sqlite_database, version, by, code, condition, flagged
):
    answer = send(way_in(sqlite_database, **{"*": by}), orm(MSH_12=version))
    assert answer.text("MSA-1") == code
    assert answer.text("ERR-3") == (condition or "")
    with sqlite_database.read() as session:
        (row,) = journal.search(session)
    assert any("MSH-12" in flag for flag in row.flags) == flagged


def test_strictness_is_the_sources(sqlite_database):
    inbound = way_in(sqlite_database, **{"STRICT^*": "strict", "TOLERANT^*": "tolerant"})
    answers = [
        send(inbound, orm(["ZDS"], MSH_3=name, PV1_2=None, OBR_18=name))
        for name in ("RIS", "TOLERANT", "STRICT")
    ]
    assert [answer.text("MSA-1") for answer in answers] == ["AA", "AA", "AE"]
    assert [len(answer.all("ERR")) for answer in answers] == [0, 1, 1]


def test_a_defect_in_checking_loses_no_order(sqlite_database, monkeypatch):
    def defect(*_):
        raise KeyError("Doe^Jane")

    monkeypatch.setattr(structure, "check", defect)
    answer = send(way_in(sqlite_database, **{"RIS^*": "strict"}), orm())
    assert answer.text("MSA-1") == "AA"
    with sqlite_database.read() as session:
        (row,) = journal.search(session)
    assert row.flags == ["it could not be held to the standard: a defect here"]


def test_a_strictness_that_is_none_is_named():
    with pytest.raises(profile.ConfigError, match="strictness"):
        profile.parse(document(message={"strictness": "lax"}), "x.toml")
    assert profile.load(DEFAULT).message.strictness == "off"
