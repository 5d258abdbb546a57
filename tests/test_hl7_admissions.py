"""What ADT messages do: who the patient is, where, and for what they have come."""

import pytest

from tests.builders import adt, adt_a40, orm
from tests.hl7_mapping import document
from tests.ris import Ris, second

UPDATES = (
    "A01",
    "A02",
    "A03",
    "A04",
    "A05",
    "A06",
    "A07",
    "A08",
    "A11",
    "A12",
    "A13",
    "A28",
    "A31",
)


@pytest.fixture
def ris(database):
    return Ris(database)


@pytest.mark.parametrize("event", UPDATES)
def test_demographics_and_the_visit_reach_open_orders(sqlite_database, event):
    ris = Ris(sqlite_database)
    ris.send(orm)
    ris.send(orm, **second(2, PV1_19="V2^^^ADT1"))
    assert ris.send(adt, event, PID_5="Roe^Jane") == ("AA",)
    assert ris.one("patient")["patient_name"] == "Roe^Jane"
    mine, other = ris.rows("imaging_order")
    assert mine["current_patient_location"] == "WARD2 12 B"
    assert (other["admission_id"], other["current_patient_location"]) == ("V2", "")
    assert ris.last()["state"] == "applied"


def test_an_order_without_a_visit_is_of_the_one_that_is_told(ris):
    ris.send(orm, PV1_19=None)
    ris.send(adt, "A01")
    order = ris.one("imaging_order")
    assert (order["admission_id"], order["admission_issuer"]) == ("V1", "ADT1")
    ris.send(adt, "A01", PV1_19="V2^^^ADT1", PV1_3="WARD9")
    assert ris.one("imaging_order")["current_patient_location"] == "WARD2 12 B"


def test_orders_that_are_over_keep_where_the_patient_was(ris):
    ris.send(orm)
    ris.send(orm, ORC_1="CA")
    ris.send(adt, "A02")
    assert ris.one("imaging_order")["current_patient_location"] == ""


def test_a_person_without_a_visit_says_nothing_of_one(ris):
    ris.send(orm, PV1_19=None)
    ris.send(adt, "A31", PV1_2="N", PV1_3=None, PV1_19=None)
    assert ris.one("imaging_order")["route_of_admissions"] == "O"


def test_a_visit_of_another_issuer_is_another_one(ris):
    ris.send(orm)
    ris.send(adt, "A02", PV1_19="V1^^^ELSEWHERE")
    assert ris.one("imaging_order")["current_patient_location"] == ""


def test_who_arrives_has_come_for_the_steps_of_the_visit(ris):
    ris.send(orm)
    ris.send(orm, **second(2, PV1_19="V2^^^ADT1"))
    assert ris.send(adt, "A10") == ("AA",)
    assert [step["state"] for step in ris.rows("scheduled_step")] == ["ARRIVED", "SCHEDULED"]
    ris.send(orm, ORC_1="XO")
    assert ris.rows("scheduled_step")[0]["state"] == "ARRIVED"


@pytest.mark.parametrize("event", ["A01", "A04", "A05"])
def test_what_else_says_that_a_patient_has_come_is_the_profiles(sqlite_database, event):
    ris = Ris(sqlite_database)
    ris.send(orm)
    ris.send(adt, event)
    assert ris.one("scheduled_step")["state"] == "SCHEDULED"
    by = document(events={f"ADT^{event}": "arrive_patient"})
    ris = Ris(sqlite_database, by)
    ris.minute = 10
    ris.send(orm, **second(2, PV1_19="V2^^^ADT1"))
    ris.send(adt, event)
    assert [step["state"] for step in ris.rows("scheduled_step")] == ["ARRIVED", "SCHEDULED"]


def test_an_order_message_leads_a_patient_on_where_the_profile_says_so(database):
    status = {"*": "note", "ARR": "arrive", "RDY": "ready", "IP": "start", "DEP": "depart"}
    ris = Ris(database, document(control={"SC": status}))
    ris.send(orm)
    seen = []
    for each in ("DEP", "ARR", "RDY", "ARR", "IP", "DEP", "RDY"):
        ris.send(orm, ORC_1="SC", ORC_5=each)
        seen.append(ris.one("scheduled_step")["state"])
    stages = ["SCHEDULED", "ARRIVED", "READY", "READY", "STARTED", "DEPARTED", "DEPARTED"]
    assert seen == stages
    assert "depart while SCHEDULED: not done" in ris.one("imaging_order")["flags"]


def test_who_has_come_for_an_order_that_is_not_known_is_on_the_list(ris):
    ris = Ris(ris.database, document(control={"SC": {"*": "note", "ARR": "arrive"}}))
    assert ris.send(orm, ORC_1="SC", ORC_5="ARR") == ("AA",)
    assert ris.one("scheduled_step")["state"] == "ARRIVED"


def test_who_arrives_without_an_order_of_the_visit_has_come_for_todays_steps(ris):
    """Berlin's day: 23:30 UTC is the next one already."""
    for number, start in enumerate(("20300102233000", "20300103003000", "20300101120000"), 1):
        ris.send(orm, **second(number, PV1_19=None, ORC_7=f"^^^{start}^^R"))
    ris.send(adt, "A10", PV1_19="V7^^^ADT1")
    states = [step["state"] for step in ris.rows("scheduled_step")]
    assert states == ["ARRIVED", "SCHEDULED", "SCHEDULED"]


@pytest.mark.parametrize(
    ("control", "status", "after"), [("SC", "IP", "STARTED"), ("CA", "", "CANCELED")]
)
def test_an_arrival_never_goes_backwards(ris, control, status, after):
    ris.send(orm)
    ris.send(orm, ORC_1=control, ORC_5=status)
    ris.send(adt, "A10")
    assert ris.one("scheduled_step")["state"] == after


def test_what_was_told_of_a_visit_before_its_order_came_is_known(ris):
    ris.send(adt, "A02", at=30)
    ris.send(adt, "A10", at=31, PV1_3="GATE")
    ris.send(orm, at=10, PV1_3="WARD1")
    assert ris.one("imaging_order")["current_patient_location"] == "GATE"
    assert ris.one("scheduled_step")["state"] == "ARRIVED"
    ris.send(orm, at=40, **second(2, PV1_3="WARD3"))
    assert ris.rows("imaging_order")[1]["current_patient_location"] == "WARD3"
    assert ris.rows("scheduled_step")[1]["state"] == "SCHEDULED"


def test_an_older_message_does_not_move_the_patient_back(ris):
    ris.send(orm, at=1)
    ris.send(adt, "A02", at=9)
    ris.send(adt, "A02", at=5, PV1_3="WARD1")
    ris.send(orm, at=7, ORC_1="XO", PV1_3="WARD0")
    assert ris.one("imaging_order")["current_patient_location"] == "WARD2 12 B"


# ---- who they are


def both(one, other):
    """Give the segments of a message with two patients."""
    return {
        "without": ["PV1"],
        "PID_3": f"{one}^^^ADT1^MR",
        "after": [f"PID|||{other}^^^ADT1^MR||Doe^Jo"],
    }


def test_links_are_kept_and_taken_back_and_merge_nothing(ris):
    ris.send(orm)
    assert ris.send(adt, "A24", **both("PID1", "PID2")) == ("AA",)
    assert ris.send(adt, "A24", **both("PID2", "PID1"), PID_5="Doe^Jo") == ("AA",)
    assert ris.one("patient_link")["linked"]
    assert [row["merged_into"] for row in ris.rows("patient")] == [None, None]
    assert ris.send(adt, "A37", **both("PID2", "PID1"), PID_5="Doe^Jo") == ("AA",)
    assert not ris.one("patient_link")["linked"]
    ris.send(adt, "A24", at=2, **both("PID1", "PID2"))
    assert not ris.one("patient_link")["linked"]
    assert ris.last()["state"] == "stale"


def test_a_link_needs_two_patients(ris):
    assert ris.send(adt, "A24", without=["PV1"])[0] == "AE"
    assert ris.send(adt, "A24", **both("PID1", "PID1"))[0] == "AE"
    ris.send(adt_a40)
    assert ris.send(adt, "A24", **both("PID1", "PID2"))[0] == "AE"


@pytest.mark.parametrize("event", ["A34", "A36", "A40", "A47"])
def test_merges_of_every_kind_move_the_orders(ris, event):
    ris.send(orm)
    merge = {"without": ["PV1"], "PID_3": "PID9^^^ADT1^MR", "MRG_1": "PID1^^^ADT1^MR"}
    assert ris.send(adt, event, **merge, PID_18="V9^^^ADT1", MRG_3="V1^^^ADT1") == ("AA",)
    order = ris.one("imaging_order")
    assert order["patient"] == ris.rows("patient")[1]["id"]
    assert order["admission_id"] == ("V9" if event == "A36" else "V1")
    assert ris.send(adt, "A08") == ("AR", "204")


def test_a_site_that_leaves_a34_out_refuses_it(database):
    tables = document()
    del tables["events"]["ADT^A34"]
    ris = Ris(database, tables)
    assert ris.send(adt, "A34", MRG_1="PID2^^^ADT1^MR") == ("AR", "201")


def test_an_issuer_is_known_by_either_of_its_names(ris):
    ris.send(orm, PID_3="PID1^^^ADT1&1.2.3&ISO^MR")
    ris.send(adt, "A08", PID_3="PID1^^^&1.2.3&ISO^MR", PID_5="Roe^Jane")
    ris.send(adt, "A08", PID_3="PID1^^^ADT1^MR", PID_6="Doe^Ada")
    row = ris.one("patient")
    assert (row["patient_name"], row["mother_name"], row["issuer"]) == (
        "Doe^Jane^Q",
        "Doe^Ada",
        "ADT1^1.2.3^ISO",
    )
    assert ris.send(adt_a40, PID_3="PID1^^^ADT1", MRG_1="PID1^^^&1.2.3&ISO")[0] == "AE"


def test_an_issuers_second_name_is_learnt_and_other_issuers_stay_others(ris):
    ris.send(orm, PID_3="PID1^^^&1.2.3&ISO^MR")
    ris.send(adt, "A08", PID_3="PID1^^^ADT1&1.2.3&ISO^MR")
    assert ris.one("patient")["issuer_key"] == "ADT1"
    ris.send(adt, "A08", PID_3="PID1^^^ADT1^MR")
    ris.send(adt, "A08", PID_3="PID1^^^OTHER&9.9&ISO^MR")
    assert len(ris.rows("patient")) == 2


def test_a_profile_names_an_issuer_that_is_never_given_both_names(database):
    tables = document(patient_identifier={"issuers": ["ADT1^1.2.3^ISO"]})
    ris = Ris(database, tables)
    ris.send(orm, PID_3="PID1^^^ADT1^MR")
    ris.send(adt, "A08", PID_3="PID1^^^&1.2.3&ISO^MR")
    assert ris.one("patient")["issuer"] == "ADT1^1.2.3^ISO"


def test_who_was_unknown_is_identified(ris):
    ris.send(orm, PID_5="UNKNOWN^MALE", PID_7="19000101")
    assert ris.send(adt, "A08", PID_5="Roe^Max", PID_7="19700203") == ("AA",)
    row = ris.one("patient")
    assert (row["patient_name"], row["birth_date"]) == ("Roe^Max", "19700203")
    assert "a patient who was unknown is identified" in str(ris.last()["flags"])
    # What was sent before that, and comes late, is the same patient's.
    late = second(2, PID_5="Unknown^Male", PID_7="19000101")
    assert ris.send(orm, at=1, **late) == ("AA",)
    assert ris.one("patient")["patient_name"] == "Roe^Max"
    # Nobody becomes unknown again, or somebody else.
    assert ris.send(adt, "A08", PID_5="Unknown^Male", PID_7="19000101")[0] == "AE"
    assert ris.send(adt, "A08", PID_5="Poe^Ed", PID_7="19600101") == ("AE", "205")
