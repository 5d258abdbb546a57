"""Orders answered by ORR^O02, ORG^O20 or ORI^O24, where a profile wants that (chapter 4)."""

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hl7apy.validation import Validator

from hl7 import profile
from hl7.er7 import Message as Er7
from hl7.inbound import Inbound
from hl7.profiles import Profiles
from mwl.db.tables import Message
from tests.builders import adt_a08, omg, omi, orm, oru
from tests.feeding import Feed
from tests.hl7_mapping import BERLIN, NOW, document

MESSAGE = Message.__table__


def feed(database, **tables) -> Feed:
    given = document(message={"answer": "order"}, **tables)
    return Feed(database, now=NOW, by=profile.parse(given, "test.toml"))


def answer(ris: Feed, text: str) -> str:
    ris.send(text)
    return ris.rows(MESSAGE)[-1].ack.decode()


def control(text: str) -> list[str]:
    """Give ORC-1 of every order of an answer."""
    return [orc.fields[1] for orc in Er7.parse(text).all("ORC")]


def test_the_answer_to_an_order_says_what_became_of_it(sqlite_database):
    said = answer(feed(sqlite_database), orm(MSH_10="M1"))
    head, *rest = said.split("\r")
    assert head.split("|")[8] == "ORR^O02^ORR_O02"
    assert rest == [
        "MSA|AA|M1",
        "ORC|OK|PO1^RIS|FO1^RIS",
        "OBR||PO1^RIS|FO1^RIS|CTHEAD^CT head^99RIS",
        "",
    ]


@pytest.mark.parametrize(
    ("code", "before", "after"),
    [
        ("CA", "CR", "UC"),
        ("DC", "DR", "DR"),
        ("HD", "HR", "UH"),
        ("RL", "OR", "UR"),
        ("RP", "RQ", "UM"),
        ("XO", "XR", "UX"),
        ("OC", "OK", "UA"),
        ("SC", "OK", "OK"),
    ],
)
def test_what_can_not_be_done_after_the_start_is_told_in_orc_1(
    sqlite_database, code, before, after
):
    ris = feed(sqlite_database)
    later = {"ORC_7": "^^^20300103093000^^R", "OBR_27": None} if code == "XO" else {}
    for number in ("FO1", "FO2"):
        own = {"ORC_2": None, "ORC_3": number, "OBR_2": None, "OBR_3": number, "OBR_18": number}
        own |= {"ZDS_1": f"1.2.{number[2]}^^Application^DICOM"}
        assert control(answer(ris, orm(**own))) == ["OK"]
        if number == "FO2":
            answer(ris, orm(**own, ORC_1="SC", ORC_5="IP"))
        said = answer(ris, orm(**{**own, "ORC_1": code, "ORC_5": None, **later}))
        assert "\rMSA|AA|" in said
        assert control(said) == [after if number == "FO2" else before]


def test_the_cancellation_of_what_has_begun_is_aa_and_uc_and_flagged(sqlite_database):
    ris = feed(sqlite_database)
    answer(ris, orm())
    answer(ris, orm(ORC_1="SC", ORC_5="IP"))
    said = answer(ris, orm(MSH_10="C1", ORC_1="CA", ORC_5=None))
    assert said.split("\r")[1:3] == ["MSA|AA|C1", "ORC|UC|PO1^RIS|FO1^RIS"]
    assert ris.rows(MESSAGE)[-1].flags == ["cancel after STARTED: not done"]


def test_what_is_refused_is_unable_with_its_fault(sqlite_database):
    ris = feed(sqlite_database, started={"CA": "refuse"})
    assert control(answer(ris, orm(OBR_18="A" * 17))) == ["UA"]
    answer(ris, orm())
    answer(ris, orm(ORC_1="SC", ORC_5="IP"))
    said = answer(ris, orm(ORC_1="CA", ORC_5=None))
    assert [line[:6] for line in said.split("\r")[1:5]] == ["MSA|AE", "ERR||O", "ORC|UC", "OBR||P"]


def test_an_older_message_was_not_done(sqlite_database):
    ris = feed(sqlite_database)
    answer(ris, orm(MSH_7="20300101110000"))
    assert control(answer(ris, orm(MSH_7="20300101100000", ORC_1="CA", ORC_5=None))) == ["UC"]


def test_each_order_of_a_message_has_its_own_answer(sqlite_database):
    ris = feed(sqlite_database)
    answer(ris, orm())
    answer(ris, orm(ORC_1="SC", ORC_5="IP"))
    both = orm(
        ORC_1="CA",
        ORC_5=None,
        after=["ORC|CA|PO2^RIS|FO2^RIS", "OBR|2|PO2^RIS|FO2^RIS|CTHEAD^CT head^99RIS"],
    )
    assert control(answer(ris, both)) == ["UC", "CR"]


def test_a_repeat_has_the_same_answer(sqlite_database):
    ris = feed(sqlite_database)
    receive = Inbound(
        sqlite_database,
        Profiles.single(profile.parse(document(message={"answer": "order"}), "t"), BERLIN),
        clock=lambda: NOW,
    ).receive
    order = orm().encode()
    first = receive(order, "ris")
    assert first is not None
    assert control(first.decode()) == ["OK"]
    assert receive(order, "ris") == first
    assert len(ris.rows(MESSAGE)) == 1


@pytest.mark.parametrize("text", [adt_a08(), oru()])
def test_other_messages_are_acknowledged_as_ever(sqlite_database, text):
    said = answer(feed(sqlite_database), text)
    assert said.split("|")[8].startswith("ACK^")
    assert control(said) == []


def test_the_accept_acknowledgement_is_none_of_it(sqlite_database):
    said = answer(feed(sqlite_database), orm(MSH_15="AL", MSH_16="AL"))
    types = [line.split("|")[8] for line in said.splitlines() if "MSH|" in line]
    assert types == ["ACK^O01^ACK", "ORR^O02^ORR_O02"]


# Which versions know an answer: OMI came with v2.5, OMG with v2.4, and ORM went with v2.7.
KNOWN = [
    *((orm, "ORR_O02", version) for version in ("2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6")),
    *((omg, "ORG_O20", version) for version in ("2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8")),
    *((omi, "ORI_O24", version) for version in ("2.5", "2.5.1", "2.6", "2.7", "2.8")),
]


@pytest.mark.parametrize(("make", "structure", "version"), KNOWN)
def test_it_has_the_structure_of_its_version(sqlite_database, make, structure, version):
    said = answer(feed(sqlite_database), make(MSH_12=version))
    parsed = parse_message(said, validation_level=VALIDATION_LEVEL.TOLERANT)
    assert (parsed.name, parsed.version) == (structure, version)
    (group,) = parsed.children.get(f"{structure}_RESPONSE")
    (order,) = group.children.get(f"{structure}_ORDER")
    assert order.orc.orc_1.value == "OK"
    assert sorted(_segments(parsed)) == sorted(line[:3] for line in said.split("\r") if line)
    if structure != "ORR_O02":  # of whose choice of details hl7apy wants all
        assert Validator.validate(parsed)


def _segments(element) -> list[str]:
    """Name the segments of a structure, which leaves none out."""
    if element.classname == "Segment":
        return [element.name]
    return [name for child in element.children for name in _segments(child)]
