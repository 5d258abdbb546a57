"""Merges, in whatever order they come, and what takes them back; on both databases."""

import threading
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mwl import archive
from mwl.errors import Reason, Rejected
from mwl.patients import MergeStated, root, trail
from mwl.worklist import demographics, unmerging
from tests.archive_rows import received
from tests.builders import adt, adt_a08, adt_a40, orm, oru
from tests.ris import NOW, Ris, second


@pytest.fixture
def ris(database):
    return Ris(database)


def merge(ris, prior, survivor, **fields):
    return ris.send(adt_a40, PID_3=f"{survivor}^^^ADT1^MR", MRG_1=f"{prior}^^^ADT1^MR", **fields)


def order(ris, number, patient, **fields):
    return ris.send(orm, **second(number, PID_3=f"{patient}^^^ADT1^MR", **fields))


def undo(ris, nth=1, by="ada"):
    """Take back the nth of the merges, by when they were made; 0 is the last one."""
    made = sorted(ris.rows("patient_merge"), key=lambda row: row["stated_at"])
    number = made[nth - 1]["id"] if nth <= len(made) else 1_000_000
    return ris.database.write(lambda s: unmerging.unmerge(s, number, by=by, now=NOW))


def refused(ris, record=1):
    with pytest.raises(Rejected) as caught:
        undo(ris, record)
    return caught.value.faults[0].reason


def whose(ris):
    """Tell whose each order is: {filler order number: patient ID}."""
    numbers = {row["id"]: row["patient_id"] for row in ris.rows("patient")}
    return {row["order_number"]: numbers[row["patient"]] for row in ris.rows("imaging_order")}


def aliases(ris):
    numbers = {row["id"]: row["patient_id"] for row in ris.rows("patient")}
    rows = ris.rows("patient")
    return {r["patient_id"]: numbers[r["merged_into"]] for r in rows if r["merged_into"]}


# ---- in whatever order they come


def test_every_order_of_coming_leaves_the_same_survivor():
    start = datetime(2030, 1, 1, tzinfo=UTC)
    pairs = [(1, 2), (2, 1), (2, 3), (1, 3), (3, 4), (4, 2)]
    made = [
        MergeStated(start + timedelta(minutes=n), start, n, *pair) for n, pair in enumerate(pairs)
    ]
    ends = {str(trail(some, {})) for some in permutations(made)}
    assert len(ends) == 1


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12), st.randoms())
def test_a_trail_has_no_loop_and_joins_all_that_were_merged(pairs, random):
    start = datetime(2030, 1, 1, tzinfo=UTC)
    made = [
        MergeStated(start, start, n, *pair) for n, pair in enumerate(pairs) if pair[0] != pair[1]
    ]
    parents, losers = trail(made, {})
    assert sorted(parents) == sorted(losers.values())
    assert all(root(parents, each.prior) == root(parents, each.survivor) for each in made)
    random.shuffle(made)
    assert trail(made, {}) == (parents, losers)


_MESSAGES = [
    ("order", 1, "P1"),
    ("merge", "P1", "P2"),
    ("order", 2, "P2"),
    ("merge", "P2", "P1"),  # says nothing new: these are one
    ("merge", "P2", "P3"),
    ("order", 3, "P1"),
    ("cancel", 2, "P2"),
    ("change", 1, "P1"),
    ("A02", "P3", "WARD8"),
    ("A10", "P3", "GATE"),
]


def _play(ris, order_of_coming):
    for minute in order_of_coming:
        kind, *what = _MESSAGES[minute]
        if kind == "merge":
            answer = merge(ris, *what, at=minute)
        elif kind in ("A02", "A10"):
            answer = ris.send(adt, kind, at=minute, PID_3=f"{what[0]}^^^ADT1^MR", PV1_3=what[1])
        else:
            control = {"order": "NW", "cancel": "CA", "change": "XO"}[kind]
            urgent = {"OBR_31": "late^Urgent"} if kind == "change" else {}
            answer = order(ris, *what, at=minute, ORC_1=control, **urgent)
        assert answer == ("AA",)
    return aliases(ris), whose(ris), _ends(ris)


def _ends(ris):
    """Tell of each order where its patient is, how its step is, and why."""
    steps = {row["procedure"]: row["state"] for row in ris.rows("scheduled_step")}
    why = {row["imaging_order"]: row for row in ris.rows("requested_procedure")}
    return {
        row["order_number"]: (
            row["current_patient_location"],
            steps[why[row["id"]]["id"]],
            why[row["id"]]["reason"],
        )
        for row in ris.rows("imaging_order")
        if row["id"] in why  # a cancellation that came first leaves no step
    }


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(coming=st.permutations(range(len(_MESSAGES))))
def test_orders_and_merges_end_as_their_times_dictate(sqlite_database, coming):
    for table in ("message", "patient_merge", "scheduled_step", "requested_procedure"):
        _empty(sqlite_database, table)
    for table in ("imaging_order", "patient"):
        _empty(sqlite_database, table)
    found, names, ends = _play(Ris(sqlite_database), coming)
    assert found == {"P1": "P2", "P2": "P3"}
    assert names == {"FO1": "P3", "FO2": "P3", "FO3": "P3"}
    cancelled = ends.pop("FO2", ("", "CANCELED", ""))
    assert cancelled[1] == "CANCELED"
    assert ends == {"FO1": ("GATE", "ARRIVED", "Urgent"), "FO3": ("GATE", "ARRIVED", "")}


def _empty(database, table):
    database.write(lambda s: s.connection().exec_driver_sql(f"DELETE FROM {table}"))


def test_an_older_merge_that_comes_late_may_make_another_the_survivor(ris):
    order(ris, 1, "P1")
    merge(ris, "P1", "P2", at=9)
    assert aliases(ris) == {"P1": "P2"}
    merge(ris, "P2", "P1", at=5)
    assert aliases(ris) == {"P2": "P1"}
    assert whose(ris) == {"FO1": "P1"}
    # The later one says nothing new any more.
    assert [row["ended_by"] for row in ris.rows("patient_merge")] == ["an older merge", ""]


def test_what_an_alias_is_called_is_kept_with_it_and_not_with_the_survivor(ris):
    merge(ris, "P1", "P2", at=9, PID_5="Roe^Janet")
    order(ris, 1, "P1", at=5, PID_5="Doe^Jay")
    old, new = sorted(ris.rows("patient"), key=lambda row: row["patient_id"])
    assert (old["patient_name"], new["patient_name"]) == ("Doe^Jay", "Roe^Janet")
    assert ris.send(adt, "A08", at=7, PID_3="P1^^^ADT1", PID_5="Doe^Joy") == ("AA",)
    assert "older than the merge" in str(ris.last()["flags"])
    assert ris.send(adt, "A08", at=12, PID_3="P1^^^ADT1", PID_5="Doe^Jo") == ("AR", "204")
    names = {row["patient_id"]: row["patient_name"] for row in ris.rows("patient")}
    assert names == {"P1": "Doe^Joy", "P2": "Roe^Janet"}


def test_an_order_of_an_alias_that_names_neither_patient_is_refused(ris):
    order(ris, 1, "P1")
    merge(ris, "P1", "P2")
    stranger = {"PID_5": "Zoe^Max", "PID_7": "19330303"}
    assert order(ris, 2, "P1", **stranger) == ("AE", "205")


# ---- taken back


def test_what_a_merge_moved_goes_back_and_the_rest_stays(ris):
    order(ris, 1, "P1", PID_5="Doe^Ann")
    order(ris, 2, "P2", PID_5="Roe^Eva")
    merge(ris, "P1", "P2", PID_5="Roe^Eva")
    order(ris, 3, "P1", PID_5="Doe^Ann")
    order(ris, 4, "P2", PID_5="Roe^Eva")
    record = ris.one("patient_merge")
    assert (record["control_id"], record["renumbered"]) == (ris.rows("message")[2]["control_id"], 0)
    done = undo(ris)
    assert (done.orders, done.studies) == (2, 0)
    assert whose(ris) == {"FO1": "P1", "FO2": "P2", "FO3": "P1", "FO4": "P2"}
    assert aliases(ris) == {}
    names = {row["patient_id"]: row["patient_name"] for row in ris.rows("patient")}
    assert names == {"P1": "Doe^Ann", "P2": "Roe^Eva"}
    assert order(ris, 1, "P1", ORC_1="XO", PID_5="Doe^Ann") == ("AA",)
    assert ris.send(adt, "A08", PID_3="P1^^^ADT1", PID_5="Doe^Anna") == ("AA",)


def test_a_merge_is_taken_back_once_and_from_the_last_one_on(ris):
    order(ris, 1, "P1")
    merge(ris, "P1", "P2")
    merge(ris, "P2", "P3")
    assert refused(ris, 1) is Reason.FINAL
    assert refused(ris, 7) is Reason.UNKNOWN_KEY
    undo(ris, 2)
    assert (whose(ris), aliases(ris)) == ({"FO1": "P2"}, {"P1": "P2"})
    assert refused(ris, 2) is Reason.FINAL
    undo(ris, 1)
    assert (whose(ris), aliases(ris)) == ({"FO1": "P1"}, {})


def test_an_undone_merge_is_made_again_only_by_a_newer_message(ris):
    order(ris, 1, "P1")
    merge(ris, "P1", "P2", at=5)
    undo(ris)
    assert merge(ris, "P1", "P2", at=5) == ("AA",)
    assert ris.last()["state"] == "noted"
    assert whose(ris) == {"FO1": "P1"}
    merge(ris, "P1", "P2", at=6)
    assert whose(ris) == {"FO1": "P2"}


def test_a_number_that_a_mistaken_change_made_is_nobodys_again(ris):
    order(ris, 1, "P1", PID_6="Doe^Ada")
    renumber = {"PID_3": "P9^^^ADT1", "MRG_1": "P1^^^ADT1^MR"}
    assert ris.send(adt, "A47", without=["PV1"], **renumber) == ("AA",)
    new = ris.rows("patient")[1]
    assert (new["patient_name"], new["mother_name"]) == ("Doe^Jane^Q", "Doe^Ada")
    undo(ris)
    new = ris.rows("patient")[1]
    assert (new["patient_name"], new["mother_name"], new["birth_date"]) == ("", "", "")
    assert new["former_names"] in ("[]", [])  # whoever gets the number was never called that
    assert order(ris, 2, "P9", PID_5="Poe^Ed", PID_7="19600101") == ("AA",)


def test_a_visit_gets_its_number_back(ris):
    order(ris, 1, "P1")
    numbers = {"MRG_3": "V1^^^ADT1", "PID_18": "V9^^^ADT1"}
    ris.send(adt, "A36", without=["PV1"], PID_3="P2^^^ADT1", MRG_1="P1^^^ADT1", **numbers)
    assert ris.one("imaging_order")["admission_id"] == "V9"
    undo(ris)
    row = ris.one("imaging_order")
    assert (row["admission_id"], row["admission_issuer"]) == ("V1", "ADT1")


def test_studies_follow_there_and_back_and_what_contradicts_them_is_shown(ris):
    order(ris, 1, "P1", PID_5="Doe^Ann")
    order(ris, 2, "P2", PID_5="Roe^Eva")
    said = {"PatientID": "P1", "PatientName": "Doe^Ann", "AccessionNumber": "ACC1"}
    keep(ris, 1, **said)
    keep(ris, 2, study=7, **{**said, "AccessionNumber": ""})  # of no order
    keep(ris, 3, study=8, PatientID="P2", PatientName="Roe^Eva", AccessionNumber="ACC2")
    merge(ris, "P1", "P2", PID_5="Roe^Eva")
    assert [row["patient_name"] for row in ris.rows("study")] == ["Roe^Eva"] * 3
    keep(ris, 4, PatientID="P2", PatientName="Roe^Eva", AccessionNumber="ACC1")
    record = ris.one("patient_merge")
    assert undo(ris).studies == 2
    first, second_, third = ris.rows("study")
    assert [row["patient_name"] for row in (first, second_, third)] == [
        "Doe^Ann",
        "Doe^Ann",
        "Roe^Eva",
    ]
    assert "strangers" in str(first["as_received"])
    assert not second_["coerced"]
    assert not third["coerced"]
    assert "studies" in str(record["counts"])


def keep(ris, number, study=1, **given):
    values = {"PatientBirthDate": "19800229", "PatientSex": "F", **given}
    return archive.store(ris.database, received(number, study=study, **values)).outcome


ANN = {"PID_5": "Doe^Ann", "PID_7": "19800101"}
EVA = {"PID_5": "Roe^Eva", "PID_7": "19700101"}


def image(ris, number, person, **fields):
    said = {"PatientName": person["PID_5"], "PatientBirthDate": person["PID_7"]}
    return keep(ris, number, study=number, AccessionNumber="", **said, **fields)


def shown(ris):
    """Tell of each study whose it is, and the name that it shows."""
    numbers = {row["id"]: row["issuer"] for row in ris.rows("patient")}
    rows = ris.rows("study")
    return [(row["patient"] and numbers[row["patient"]], row["patient_name"]) for row in rows]


def test_the_same_number_of_two_authorities_goes_back_by_name(ris):
    ris.send(orm, **second(1, PID_3="7^^^A^MR", **ANN))
    ris.send(orm, **second(2, PID_3="7^^^B^MR", **EVA))
    ris.send(adt_a40, PID_3="7^^^B^MR", MRG_1="7^^^A^MR", **EVA)
    # Images that don't say whose number it is.
    image(ris, 1, EVA, PatientID="7")
    image(ris, 2, ANN, PatientID="7")
    assert [name for _, name in shown(ris)] == ["Roe^Eva"] * 2
    assert undo(ris).studies == 1
    assert shown(ris) == [("B", "Roe^Eva"), ("A", "Doe^Ann")]


def test_images_with_one_number_and_the_others_name_are_nobodys(ris):
    order(ris, 1, "P1", **ANN)
    order(ris, 2, "P2", **EVA)
    merge(ris, "P1", "P2", **EVA)
    image(ris, 1, EVA, PatientID="P1")
    assert ris.one("study")["patient_id"] == "P2"
    undo(ris)
    assert shown(ris) == [(None, "Roe^Eva")]


def test_a_report_goes_back_by_whichever_name_of_its_issuer(ris):
    unknown = {"OBR_2": "X^RIS", "OBR_3": "X^RIS", "OBR_18": ""}
    ris.send(oru, PID_3="P1^^^&1.2.3&ISO^MR", **unknown, **ANN)
    ris.send(orm, **second(1, PID_3="P1^^^&1.2.3&ISO^MR", **ANN))
    ris.send(oru, PID_3="P1^^^&1.2.3&ISO^MR", at=9, **unknown, **ANN)
    ris.send(adt_a08, PID_3="P1^^^ADT1&1.2.3&ISO^MR", **ANN)
    order(ris, 2, "P2", **EVA)
    merge(ris, "P1", "P2", at=20, **EVA)
    # Of the order that was P1's, under the number that is valid then.
    ris.send(oru, PID_3="P2^^^ADT1^MR", OBR_2="PO1^RIS", OBR_3="FO1^RIS", **EVA)
    undo(ris)
    numbers = {row["id"]: row["patient_id"] for row in ris.rows("patient")}
    assert [numbers.get(row["patient"]) for row in ris.rows("report")][1:] == ["P1", "P1"]


def test_a_number_that_is_somebody_elses_already_is_no_new_one(ris):
    order(ris, 1, "P1", **ANN)
    order(ris, 2, "P2", **EVA)
    renumber = {"PID_3": "P2^^^ADT1^MR", "MRG_1": "P1^^^ADT1^MR", "without": ["PV1"]}
    for said in (ANN, {"PID_5": "", "PID_7": ""}, {"PID_5": "Doe^Ann", "PID_7": ""}):
        assert ris.send(adt, "A47", **renumber, **said) == ("AE", "205")
    assert (whose(ris), aliases(ris)) == ({"FO1": "P1", "FO2": "P2"}, {})
    assert {row["patient_name"] for row in ris.rows("patient")} == {"Doe^Ann", "Roe^Eva"}
    # A merge says that they are one, whatever they were called.
    assert merge(ris, "P1", "P2", **EVA) == ("AA",)
    assert ris.send(adt, "A47", **renumber, **EVA) == ("AA",)
    assert ris.last()["state"] == "noted"


def test_who_was_nobody_yet_may_get_a_number_that_is_known(ris):
    order(ris, 1, "P1", PID_5="UNKNOWN^MALE", PID_7="19000101")
    order(ris, 2, "P2", **EVA)
    known = {"PID_3": "P2^^^ADT1^MR", "MRG_1": "P1^^^ADT1^MR"}
    assert ris.send(adt, "A47", without=["PV1"], **known, **EVA) == ("AA",)
    assert whose(ris) == {"FO1": "P2", "FO2": "P2"}


def test_who_has_too_much_is_not_told_apart_at_once(ris, monkeypatch):
    order(ris, 1, "P1")
    order(ris, 2, "P2")
    merge(ris, "P1", "P2")
    monkeypatch.setattr(unmerging, "_MOST", 1)
    assert refused(ris) is Reason.FINAL
    assert aliases(ris) == {"P1": "P2"}


def test_the_look_up_of_a_patient_never_walks_the_table_however_small(postgresql_database):
    # A connection keeps its plan, and makes it while there are no patients yet.
    order(Ris(postgresql_database), 1, "P1")
    asked = demographics._BY_ID._plans["postgresql"].text
    with postgresql_database.read() as session:
        rows = session.connection().exec_driver_sql(f"EXPLAIN (GENERIC_PLAN) {asked}")
        plan = "\n".join(rows.scalars())
    assert "Index" in plan, plan
    assert "Seq Scan" not in plan, plan


def test_orders_merges_and_their_undoing_at_the_same_time_leave_nobody_in_between(database):
    """While orders come in for both numbers, they are merged and told apart again and again."""
    ris, another = Ris(database), Ris(database)
    order(ris, 0, "P0")

    def come():
        for number in range(1, 25):
            assert order(another, number, f"P{number % 2}", at=1) == ("AA",)

    thread = threading.Thread(target=come)
    thread.start()
    for minute in range(2, 8):
        assert merge(ris, "P0", "P1", at=minute) == ("AA",)
        undo(ris, 0)
    thread.join()
    merge(ris, "P0", "P1", at=9)
    assert set(whose(ris).values()) == {"P1"}
    undo(ris, 0)
    expected = {f"FO{number}": f"P{number % 2}" for number in range(25)}
    assert whose(ris) == expected
