"""SIU as orders: what an appointment is known by, what its services are, what is asked."""

from datetime import datetime

import pytest

from hl7 import profile
from mwl.errors import ConfigError
from mwl.orders import Action
from mwl.patients import Identifier
from tests.builders import siu
from tests.hl7_mapping import BERLIN, document, mapper, order, procedure, read, step, wheres


def test_an_appointment_is_an_order_with_a_step():
    change = order(siu())
    assert (change.action, change.control, change.is_appointment) == (Action.CREATE, "S12", True)
    assert change.number == Identifier("FA1", "RIS")
    assert (change.filler, change.placer) == (Identifier("FA1", "RIS"), Identifier("PA1", "RIS"))
    assert change.patient.id == Identifier("PID1", "ADT1")
    assert change.fields["admission_id"] == "V1"
    (asked,) = change.procedures
    assert (asked.key, asked.study_uid) == ("CTHEAD", None)
    assert asked.fields["description"] == "CT head"
    assert asked.fields["reason"] == "After a fall"
    (planned,) = asked.steps
    assert planned.start == datetime(2030, 1, 2, 9, 30, tzinfo=BERLIN)
    assert planned.fields["location"] == "R1"
    assert planned.fields["station_name"] == "CT one"
    assert planned.fields["performing_physician"] == "House^Gregory"
    assert planned.fields["description"] == "CT head"


@pytest.mark.parametrize(
    ("fields", "filler", "placer"),
    [
        ({"SCH_27": "FO1^RIS", "SCH_26": "PO1^RIS"}, "FO1", "PO1"),
        # An appointment's number beside an order's would be another order's filler number.
        ({"SCH_26": "PO1^RIS"}, None, "PO1"),
        ({"SCH_27": "FO1^RIS"}, "FO1", None),
        ({}, "FA1", "PA1"),
        ({"SCH_2": None}, None, "PA1"),
        ({"SCH_1": None, "SCH_2": None, "AIS_11": "X7"}, None, "X7"),
    ],
)
def test_an_order_that_is_named_goes_before_the_appointments_own_numbers(fields, filler, placer):
    change = order(siu(**fields))
    assert (change.filler.id if change.filler else None) == filler
    assert (change.placer.id if change.placer else None) == placer
    assert change.procedures[0].defers is bool({"SCH_26", "SCH_27"} & fields.keys())


def test_further_orders_of_an_appointment_are_flagged():
    assert "SCH-27: further numbers of orders: only the first is taken" in (
        order(siu(SCH_27="FO1~FO2")).flags
    )


def test_without_any_number_it_is_refused():
    assert wheres(siu(SCH_1=None, SCH_2=None)) == [("missing", "SCH-2")]


def test_a_number_too_long_is_refused():
    assert wheres(siu(SCH_2="F" * 65)) == [("too long", "SCH-2")]


@pytest.mark.parametrize(
    ("trigger", "status", "action"),
    [
        ("S12", "BOOKED", Action.CREATE),
        ("S12", None, Action.CREATE),
        ("S12", "Overbook", Action.CREATE),
        ("S12", "Cancelled", Action.CANCEL),
        ("S13", "BOOKED", Action.UPDATE),
        ("S14", "BOOKED", Action.UPDATE),
        ("S14", "NOSHOW", Action.HOLD),
        ("S14", "DELETED", Action.CANCEL),
        ("S15", "BOOKED", Action.CANCEL),
        ("S26", "BOOKED", Action.HOLD),
    ],
)
def test_what_is_asked_follows_from_the_event_and_the_status(trigger, status, action):
    assert order(siu(trigger, SCH_25=status)).action is action


def test_what_is_asked_is_the_profiles():
    by = mapper(appointment={"control": dict.fromkeys(("S12", "S13", "S14", "S15", "S26"), "note")})
    assert order(siu("S26"), by).action is Action.NOTE


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"AIS_3": None}, ("missing", "AIS-3")),
        ({"AIS_4": None}, ("missing", "AIS-4")),
        ({"AIS_4": "soon"}, ("malformed", "AIS-4")),
        ({"PID_3": None}, ("missing", "PID-3")),
        ({"without": ["AIS", "AIG", "AIL", "AIP"]}, ("sequence", "AIS")),
        ({"after": "PID|||PID2"}, ("sequence", "PID")),
        ({"AIS_3": "C" * 200}, ("too long", "AIS-3.1")),
    ],
)
def test_what_can_not_become_a_step_is_refused_with_its_field(fields, fault):
    assert fault in wheres(siu(**fields))


def test_a_change_without_a_start_keeps_the_old_one():
    assert step(siu("S14", AIS_4=None)).start is None


@pytest.mark.parametrize(
    "fields",
    [{"SCH_11": "^^^20300102093000"}, {"AIL_6": "20300102093000"}, {"AIP_6": "203001020930"}],
)
def test_the_start_may_stand_elsewhere(fields):
    assert step(siu(AIS_4=None, **fields)).start == datetime(2030, 1, 2, 9, 30, tzinfo=BERLIN)


TWO = [
    "AIS|1|A|CTHEAD^CT head|20300102093000",
    "AIL|1|A|RAD^R1",
    "AIS|2|A|MRHEAD^MR head|20300102103000",
    "AIL|2|A|RAD^R2",
    "AIP|1|A|7^House^Gregory",
]
GROUPS = ["RGS|1", *TWO[:2], "RGS|2", *TWO[2:]]
SHARED = ["RGS|1", TWO[0], TWO[2], "AIL|1|A|RAD^R1", "AIP|1|A|7^House^Gregory"]
AHEAD = ["RGS|1", "AIL|1|A|RAD^R1", "AIP|1|A|7^House^Gregory", TWO[0], TWO[2]]


@pytest.mark.parametrize(
    ("lines", "rooms", "people"),
    [
        (TWO, ["R1", "R2"], ["House^Gregory"] * 2),
        (GROUPS, ["R1", "R2"], [None, "House^Gregory"]),
        (SHARED, ["R1", "R1"], ["House^Gregory"] * 2),
        (AHEAD, ["R1", "R1"], ["House^Gregory"] * 2),
    ],
)
def test_services_are_steps_and_have_their_own_resources_or_their_groups(lines, rooms, people):
    change = order(siu(without=["RGS", "AIS", "AIG", "AIL", "AIP"], after=lines))
    assert [each.key for each in change.procedures] == ["CTHEAD", "MRHEAD"]
    steps = [each.steps[0] for each in change.procedures]
    assert [each.fields.get("location") for each in steps] == rooms
    assert [each.fields.get("performing_physician") for each in steps] == people
    assert not any(each.is_only for each in change.procedures)


def test_two_services_of_one_code_are_refused():
    again = "AIS|2|A|CTHEAD^CT head|20300102103000"
    assert wheres(siu(after=again)) == [("duplicate key", "AIS-3")]


def test_a_service_that_is_deleted_is_cancelled_alone():
    gone = "AIS|2|D|MRHEAD^MR head|20300102103000"
    stated, cancelled = read(siu("S14", after=gone))
    assert (stated.action, cancelled.action) == (Action.UPDATE, Action.CANCEL)
    assert [each.key for each in stated.procedures] == ["CTHEAD"]
    assert [each.key for each in cancelled.procedures] == ["MRHEAD"]


def test_a_cancellation_without_services_speaks_of_the_whole_appointment():
    change = order(siu("S15", without=["RGS", "AIS", "AIG", "AIL", "AIP"]))
    assert (change.action, change.procedures) == (Action.CANCEL, [])


def test_notes_belong_to_what_they_stand_behind():
    lines = siu().split("\r")
    places = {"SCH": "of the order", "PID": "of the patient", "AIP": "of the service"}
    with_notes = []
    for line in lines:
        with_notes.append(line)
        if line[:3] in places:
            with_notes.append(f"NTE|1||{places[line[:3]]}")
    change = order("\r".join(with_notes))
    assert change.fields["comments"] == "of the order"
    assert change.patient.fields["comments"] == "of the patient"
    assert change.procedures[0].fields["comments"] == "of the service"


def test_rules_find_modality_and_station_by_the_service():
    by = mapper(rules=[{"code": "CT*", "modality": "CT", "stations": ["CT1"]}])
    planned = step(siu(), by)
    assert (planned.fields["modality"], planned.stations) == ("CT", ("CT1",))


def test_equipment_is_the_station_where_the_profile_says_so():
    table = document()["appointment"]
    by = mapper(appointment={**table, "step": {**table["step"], "stations": ["AIG-3"]}})
    assert step(siu(), by).stations == ("CT1",)


def test_the_general_places_are_asked_after_those_of_appointments():
    found = procedure(siu(ZDS_1="1.2.3^^Application^DICOM", OBR_18="ACC1"))
    assert (found.study_uid, found.fields["accession_number"]) == ("1.2.3", "ACC1")


@pytest.mark.parametrize(
    ("tables", "text"),
    [
        ({"events": {"SIU^S17": "appointment"}}, "[appointment.control] S17 is missing"),
        ({"appointment": {"control": {"S12": "book"}}}, "[appointment] control.S12: 'book'"),
        ({"appointment": {"order": {"nonsense": ["SCH-7"]}}}, "order.nonsense: no such column"),
        ({"appointment": {"step": {"start": ["AIS4"]}}}, "[appointment] step.start"),
        ({"report": {"states": {"F": "DONE"}}}, "[report] states.F"),
        ({"report": {"titel": ["OBR-4"]}}, "[report] titel: no such key"),
    ],
)
def test_a_profile_at_fault_is_refused_with_its_key(tables, text):
    with pytest.raises(ConfigError) as caught:
        profile.parse(document(**tables), "test.toml")
    assert text in str(caught.value)


@pytest.mark.parametrize("table", ["appointment", "report"])
def test_a_profile_without_the_table_that_its_events_need_is_refused(table):
    given = document()
    del given[table]
    with pytest.raises(ConfigError, match=rf"\[{table}\] is missing"):
        profile.parse(given, "test.toml")


def test_conditions_constants_and_cuts_count_in_an_appointments_numbers_and_status():
    by = mapper(
        appointment={
            **document()["appointment"],
            "filler_appointment": [
                {"from": "SCH-1", "when": {"MSH-4": "OTHER"}},
                {"from": "SCH-2", "when": {"MSH-4": "!OTHER"}, "cut_start": "FA"},
            ],
            "status": [{"value": "CANCELLED", "when": {"PV1-2": "E"}}, "SCH-25"],
        }
    )
    elsewhere = order(siu(MSH_4="OTHER", PV1_2="O"), by)
    assert elsewhere.filler == Identifier("PA1", "RIS")
    assert elsewhere.action is Action.CREATE
    here = order(siu(MSH_4="HERE", PV1_2="E"), by)
    assert here.filler == Identifier("1")  # what is cut has no issuer
    assert here.action is Action.CANCEL


def test_a_constant_may_stand_for_a_start_and_a_place_of_an_appointment():
    table = document()["appointment"]
    table["step"] = {
        **table["step"],
        "location": [{"from": "AIL-3.1", "when": {"AIS-3": "MR*"}}, {"value": "Hall 1"}],
        "modality": [{"from": "AIS-3", "split": "HEAD"}],
    }
    planned = step(siu(), mapper(appointment=table))
    assert planned.fields["location"] == "Hall 1"
    assert planned.fields["modality"] == "CT"


def test_a_number_that_is_a_constant_stands_nowhere():
    table = {**document()["appointment"], "placer_appointment": [{"value": "SLOT"}]}
    assert order(siu(), mapper(appointment=table)).placer == Identifier("SLOT")
