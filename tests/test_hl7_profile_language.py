"""What a profile can say beside places: conditions, constants, cuts, rules, attributes."""

from io import BytesIO

import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from hl7 import profile
from hl7.chains import Condition, Edit, conditions
from mwl.db.tables import ImagingOrder, Message, ScheduledStep
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mwl.orders import Action
from mwl.scp.worklist import WorklistService
from tests.builders import adt_a08, omi, orm
from tests.dicom_client import MODALITY_WORKLIST_FIND
from tests.dicom_server import dial_fixture, serve_fixture  # noqa: F401 - fixtures
from tests.feeding import Feed
from tests.hl7_mapping import BERLIN, NOW, document, faults, mapper, order, procedure, read, step
from tests.identifiers import encoded

STEP = ScheduledStep.__table__
ORDER = ImagingOrder.__table__
MESSAGE = Message.__table__


# ---- places -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "text", "holds"),
    [
        ("SITE_A*", "SITE_A1", True),
        ("SITE_A*", "SITE_B1", False),
        ("", "", True),
        ("", "x", False),
        ("*", "", False),
        ("*", "x", True),
        ("!*", "", True),
        ("!", "x", True),
        ("!", "", False),
        ("!CT*", "MR", True),
        ("!CT*", "CTA", False),
        (["CT", "MR"], "MR", True),
        (["CT", "MR"], "US", False),
        (["!CT", "!MR"], "US", True),
        (["!CT", "!MR"], "MR", False),
        ("A?C", " ABC ", True),
        ("[AB]", "A", True),
        ("a", "A", False),
    ],
)
def test_a_condition_holds_for_what_fits_its_pattern(pattern, text, holds):
    (condition,) = conditions({"MSH-4": pattern})
    assert isinstance(condition, Condition)
    assert condition.holds(text) is holds


def test_a_pattern_that_would_be_slow_as_a_regular_expression_is_not():
    (condition,) = conditions({"MSH-4": "*a" * 50 + "b"})
    assert not condition.holds("a" * 20_000)


def test_a_place_is_asked_only_where_its_condition_holds():
    by = mapper(
        procedure={
            "accession_number": [
                {"from": "OBR-18", "when": {"MSH-4": "SITE_A*"}},
                {"from": "OBR-3", "when": {"MSH-4": "SITE_B*", "PV1-2": ["I", "E"]}},
                "ORC-2.1",
            ]
        }
    )

    def accession(**fields: str) -> str | None:
        found = procedure(orm(OBR_18="A18^NS", OBR_3="B3^NS", ORC_2="C2^NS", **fields), by)
        return found.fields["accession_number"]

    assert accession(MSH_4="SITE_A1") == "A18"
    assert accession(MSH_4="SITE_B1", PV1_2="I") == "B3"
    assert accession(MSH_4="SITE_B1", PV1_2="O") == "C2"
    assert accession(MSH_4="SITE_C") == "C2"


def test_a_condition_sees_the_segments_of_its_own_order():
    by = mapper(step={"modality": [{"from": "ZXX-1", "when": {"OBR-4.1": "A"}}, {"value": "OT"}]})
    message = orm(OBR_4="A^a", OBR_19=None, after=["ZXX|CT", "OBR||||B^b", "ZXX|MR"])
    found = [p.steps[0].fields["modality"] for p in order(message, by).procedures]
    assert found == ["CT", "OT"]


def test_a_constant_is_the_default_behind_what_the_message_says():
    by = mapper(
        step={"modality": ["OBR-24", {"value": "OT"}], "location": ["PV1-3", {"value": "ROOM^1"}]},
        procedure={"code_value": ["OBR-44.1", {"value": "X1^Some exam^99RIS"}]},
    )
    found = order(orm(OBR_24=None), by)
    (given,) = found.procedures
    assert given.steps[0].fields["modality"] == "OT"
    assert given.steps[0].fields["location"] == "ROOM"
    assert given.fields["code_value"] == "X1"
    assert given.fields["code_meaning"] == "Some exam"
    assert given.fields["code_scheme"] == "99RIS"
    assert step(orm(OBR_24="MR"), by).fields["modality"] == "MR"


@pytest.mark.parametrize(
    ("edit", "text", "expected"),
    [
        (Edit(cut_start="ORD-"), "ORD-17", "17"),
        (Edit(cut_start="ORD-"), "17", "17"),
        (Edit(cut_end="/1"), "17/1", "17"),
        (Edit(put_before="A"), "17", "A17"),
        (Edit(put_before="A"), "", ""),
        (Edit(split="-", part=2), "A-B-C", "B"),
        (Edit(split="-", part=4), "A-B-C", ""),
        (Edit(split="-", part=2, cut_start="0", put_before="X"), "A-0B", "XB"),
    ],
)
def test_a_text_is_split_then_cut_then_completed(edit, text, expected):
    assert edit.of(text) == expected


def test_a_cut_number_is_an_identifier_without_an_issuer():
    by = mapper(
        procedure={"accession_number": [{"from": "ORC-3", "cut_start": "ORD-"}]},
        order={"filler": [{"from": "ORC-3.1", "split": "-", "part": 2}]},
    )
    found = order(orm(ORC_3="ORD-17^NS"), by)
    assert found.filler is not None
    assert found.filler.id == "17"
    assert found.procedures[0].fields["accession_number"] == "17"
    assert found.procedures[0].fields["accession_issuer"] is None


def test_what_is_too_long_after_a_cut_is_refused_at_its_place():
    by = mapper(procedure={"accession_number": [{"from": "OBR-18", "put_before": "SITE-A-"}]})
    (fault,) = faults(orm(OBR_18="12345678901"), by)
    assert (str(fault.reason), fault.where) == ("too long", "OBR-18")


def test_a_cut_text_keeps_what_looks_like_delimiters():
    by = mapper(step={"description": [{"from": "ZXX-1", "cut_start": "D:"}]})
    assert step(orm(after=r"ZXX|D:a \S\ b \T\ c"), by).fields["description"] == "a ^ b & c"


def test_a_deleted_field_is_nothing_to_cut():
    by = mapper(step={"location": [{"from": "ZXX-1", "cut_start": "D:"}, "ZXX-2"]})
    assert step(orm(after='ZXX|""|ROOM'), by).fields["location"] == "ROOM"


def test_an_ipc_has_its_own_places_under_conditions():
    with_ipc = document()["with_ipc"]
    given = [{"from": "IPC-5", "when": {"IPC-9": "CT*"}}]
    by = mapper(with_ipc={"step": with_ipc["step"] | {"modality": given}})
    assert step(omi(OBR_24="MR"), by).fields["modality"] == "CT"
    assert step(omi(OBR_24="MR", IPC_9="XX"), by).fields["modality"] == "MR"


# ---- rules and events -------------------------------------------------------------------

RULES = [
    {"code": "CT*", "scheme": "99*", "stations": ["CT_99"]},
    {"code": "CT*", "patient_class": "E", "stations": ["CT_ER"], "location": "ER"},
    {"code": "CT*", "patient_location": "W?", "station_name": "CT ward", "modality": "CT"},
    {"when": {"ZXX-1": "NIGHT"}, "description": "at night", "protocol": "N1^Night^99X"},
    {"code": "*", "stations": ["CT_ANY"], "modality": "OT"},
]


@pytest.mark.parametrize(
    ("fields", "stations", "others"),
    [
        ({"OBR_4": "CT1^a^99RIS"}, ("CT_99",), {"modality": "CT"}),
        ({"OBR_4": "CT1^a^L"}, ("CT_ANY",), {"modality": "CT"}),
        ({"OBR_4": "CT1^a^L", "PV1_2": "E"}, ("CT_ER",), {"location": "ER"}),
        ({"OBR_4": "CT1^a^L", "PV1_3": "W1^2", "OBR_24": None}, ("CT_ANY",), {"modality": "CT"}),
        ({"OBR_4": "CT1^a^L", "PV1_3": "W1^2"}, ("CT_ANY",), {"station_name": "CT ward"}),
        ({"OBR_4": "MR1^a^L", "OBR_24": None}, ("CT_ANY",), {"modality": "OT"}),
    ],
)
def test_the_first_rule_that_matches_and_has_an_answer_wins(fields, stations, others):
    found = step(orm(**fields), mapper(RULES))
    assert found.stations == stations
    assert found.fields.items() >= others.items()


def test_a_rule_fills_only_what_the_message_leaves_open():
    by = mapper(RULES, step={"description": ["OBR-4.5"], "protocol_value": ["OBR-4.4"]})
    night = step(orm(after="ZXX|NIGHT"), by).fields
    assert (night["description"], night["protocol_value"]) == ("at night", "N1")
    assert (night["protocol_meaning"], night["protocol_scheme"]) == ("Night", "99X")
    given = step(orm(OBR_4="C^c^L^P^p^L", after="ZXX|NIGHT"), by).fields
    assert (given["description"], given["protocol_value"]) == ("p", "P")


def test_a_rule_may_outrank_what_the_message_says():
    rules = [
        {"code": "CT*", "modality": "CT", "stations": ["CT9"], "location": "Hall 9"},
        {"code": "CT*", "when": {"PV1-2": "E"}, "modality": "XA", "override": True},
        {"code": "CT*", "stations": ["XA1", "XA2"], "location": "Hall 1", "override": True},
        {"code": "CT*", "modality": "MR", "stations": ["MR1"], "override": True},
    ]
    by = mapper(rules, step={"stations": ["ORC-18"], "location": ["PV1-3"]})

    def planned(**fields: str):
        said = {"OBR_24": "CT", "ORC_18": "CT1", "PV1_3": "WARD", **fields}
        found = step(orm(**said), by)
        return found.fields["modality"], found.stations, found.fields["location"]

    assert planned(PV1_2="E") == ("XA", ("XA1", "XA2"), "Hall 1")
    assert planned(PV1_2="I") == ("MR", ("XA1", "XA2"), "Hall 1")
    assert planned(OBR_4="US^US^L", PV1_2="E") == ("CT", ("CT1",), "WARD")
    assert planned(OBR_24="??", PV1_2="E") == ("XA", ("XA1", "XA2"), "Hall 1")


def test_a_message_may_be_another_event_or_none_under_a_condition():
    given = document() | {
        "event": [
            {"message": "ORM*", "when": {"OBR-24": "LAB"}, "is": "ignore"},
            {"message": "ADT^A08", "when": {"MSH-4": "X"}, "is": "arrive_patient"},
        ]
    }
    by = mapper()
    by = type(by)(profile.parse(given, "test.toml"), BERLIN)
    assert read(orm(OBR_24="LAB"), by) == []
    assert len(read(orm(OBR_24="CT"), by)) == 1
    (elsewhere,) = read(adt_a08(MSH_4="Y"), by)
    (here,) = read(adt_a08(MSH_4="X"), by)
    assert not elsewhere.visit.arrived
    assert here.visit.arrived


def test_what_is_ignored_is_acknowledged_and_kept(sqlite_database):
    rules = [{"when": {"OBR-24": "LAB"}, "is": "ignore"}]
    by = profile.parse(document() | {"event": rules}, "test.toml")
    feed = Feed(sqlite_database, now=NOW, by=by)
    feed.send(orm(OBR_24="LAB"))
    (message,) = feed.rows(MESSAGE)
    assert message.state == "noted"
    assert message.flags == ["the profile asks nothing of such messages"]
    assert feed.rows(ORDER) == []


# ---- control ----------------------------------------------------------------------------


def started(database, **tables):
    """Feed an order whose step has started, by a profile that says more."""
    feed = Feed(database, now=NOW, by=profile.parse(document(**tables), "test.toml"))
    feed.send(orm())
    feed.send(orm(ORC_1="SC", ORC_5="IP"))
    return feed


@pytest.mark.parametrize(
    ("action", "state", "code"),
    [
        (None, "STARTED", "AA"),
        ("canceled", "CANCELED", "AA"),
        ("discontinue", "DISCONTINUED", "AA"),
        ("note", "STARTED", "AA"),
        ("refuse", "STARTED", "AE"),
    ],
)
def test_a_profile_says_what_becomes_of_a_step_that_has_started(
    sqlite_database, action, state, code
):
    feed = started(sqlite_database, **({"started": {"CA": action}} if action else {}))
    feed.send(orm(ORC_1="CA", ORC_5=None))
    (found,) = feed.rows(STEP)
    *_, message = feed.rows(MESSAGE)
    assert (found.state, message.ack_code) == (state, code)
    assert bool(message.flags) is (action is None)


def test_what_a_profile_says_of_started_steps_is_nothing_to_one_that_waits(sqlite_database):
    by = profile.parse(document(started={"CA": "refuse"}), "test.toml")
    feed = Feed(sqlite_database, now=NOW, by=by)
    feed.send(orm())
    feed.send(orm(ORC_1="CA", ORC_5=None))
    assert [row.state for row in feed.rows(STEP)] == ["CANCELED"]


def test_by_its_orc_5_a_started_step_is_told_apart():
    by = mapper(started={"XO": {"CA": "refuse", "*": "note"}})
    policy = order(orm(ORC_1="XO", ORC_5="CA"), by).policy
    assert policy.refused_after_start
    assert order(orm(ORC_1="XO", ORC_5="DC"), by).policy.after_start is Action.NOTE
    assert order(orm(ORC_1="CA", ORC_5=None), by).policy.after_start is None


def test_the_cancellation_of_an_unknown_order_is_refused_where_the_profile_says_so(
    sqlite_database,
):
    by = profile.parse(document(order={"unknown_cancel": "refuse"}), "test.toml")
    feed = Feed(sqlite_database, now=NOW, by=by)
    feed.send(orm(ORC_1="CA", ORC_5=None))
    (message,) = feed.rows(MESSAGE)
    assert message.ack_code == "AE"
    assert "no such order is known here" in message.error
    assert feed.rows(ORDER) == []


# ---- attributes -------------------------------------------------------------------------

ATTRIBUTES = {
    "SpecialNeeds": ["ZXX-3"],
    "0008,009C": ["ZXX-4"],  # Consulting Physician's Name
    "0029,xx10 ACME 1.0": ["ZXX-5"],
    "step": {
        "(0040,4036)": ["ZXX-6"],  # Human Performer's Organization
        "ScheduledProcedureStepEndDate": ["ZXX-7"],
        "0029,xx20 ACME 1.0": ["ZXX-8"],
    },
}
Z = "ZXX|||ramp|7^Okafor^Ada|blue|North|20300103|seven"


@pytest.fixture
def scanner(sqlite_database, serve, dial):
    """Take messages by a profile with attributes, and ask for them as a scanner."""
    by = profile.parse(document(attributes=ATTRIBUTES), "test.toml")
    feed = Feed(sqlite_database, now=NOW, by=by)

    def finding(*messages: str, syntax: str = EXPLICIT_VR_LITTLE_ENDIAN) -> Dataset:
        for message in messages:
            feed.send(message)
        explicit = syntax == EXPLICIT_VR_LITTLE_ENDIAN
        server = serve(WorklistService(sqlite_database, BERLIN, clock=lambda: NOW))
        client = dial(server).associate((MODALITY_WORKLIST_FIND,), transfer_syntaxes=(syntax,))
        (_, data), _ = client.find(encoded(wanted(), explicit=explicit))
        client.release()
        return read_dataset(BytesIO(data), not explicit, True)

    return finding


def wanted() -> Dataset:
    keys, item = Dataset(), Dataset()
    for dataset in (keys, item):
        dataset.SpecialNeeds = dataset.HumanPerformerOrganization = ""
        # As PS3.5 7.8.1 has it, any block may be a creator's.
        dataset.add_new(0x00290012, "LO", "ACME 1.0")
        dataset.add_new(0x00291210, "LO", "")
        dataset.add_new(0x00291220, "LO", "")
    keys.ConsultingPhysicianName = ""
    item.ScheduledProcedureStepEndDate = ""
    keys.ScheduledProcedureStepSequence = [item]
    return keys


@pytest.mark.parametrize("syntax", [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN])
def test_fields_become_attributes_each_at_its_level(scanner, syntax):
    answer = scanner(orm(after=Z), syntax=syntax)
    (item,) = answer.ScheduledProcedureStepSequence
    assert answer.SpecialNeeds == "ramp"
    assert answer.ConsultingPhysicianName == "Okafor^Ada"
    assert not answer.HumanPerformerOrganization
    assert item.HumanPerformerOrganization == "North"
    assert item.ScheduledProcedureStepEndDate == "20300103"
    assert not item.SpecialNeeds
    private = [text(dataset[tag]) for dataset in (answer, item) for tag in (0x00291210, 0x00291220)]
    assert private == ["blue", "", "", "seven"]


def text(element: DataElement) -> str:
    value = element.value or ""
    return value.decode().strip() if isinstance(value, bytes) else str(value)


def test_a_later_message_changes_and_deletes_them_and_keeps_the_others(scanner):
    update = orm(ORC_1="XO", after='ZXX|||lift|""')
    answer = scanner(orm(after=Z), update)
    assert answer.SpecialNeeds == "lift"
    assert not answer.ConsultingPhysicianName
    assert answer.ScheduledProcedureStepSequence[0].HumanPerformerOrganization == "North"


def test_what_an_attribute_cannot_hold_is_shortened_or_left_out_and_flagged():
    by = mapper(attributes={"SpecialNeeds": ["ZXX-3"], "0010,21A0": ["ZXX-4"]})
    found = order(orm(after=f"ZXX|||{'x' * 65}|{'Y' * 17}"), by)
    attributes = found.procedures[0].steps[0].attributes
    assert attributes == {"SpecialNeeds": "x" * 61 + "..."}
    assert found.flags == [
        "ZXX-3: shortened to 64 characters",
        "ZXX-4: not what its attribute can hold: not taken",
    ]


def test_a_profile_without_attributes_states_none():
    assert step(orm(after=Z)).attributes == {}
