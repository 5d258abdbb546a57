"""What a message changed is kept with it."""

import json
from datetime import UTC, datetime

import pytest

from hl7 import profile
from hl7.inbound import Inbound
from hl7.profiles import Profiles
from mwl.worklist.changed import CREATED, join, kept
from tests.builders import adt_a08, adt_a40, orm
from tests.hl7_mapping import BERLIN, DEFAULT

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def send(database):
    """Send a message; give what is kept of what it changed, and of whom else it is about."""
    way_in = Inbound(database, Profiles.single(profile.load(DEFAULT), BERLIN), clock=lambda: NOW)

    def send(text: str) -> dict:
        assert b"|AA|" in (way_in.receive(text.encode(), "127.0.0.1:4711") or b"")
        with database.read() as session:
            found = session.connection().exec_driver_sql(
                "SELECT changes FROM message ORDER BY id DESC LIMIT 1"
            )
            changes = found.scalar()
        return json.loads(changes) if isinstance(changes, str) else changes

    return send


def only(changes, table):
    (found,) = [what for row, what in changes.items() if row.startswith(f"{table}:")]
    return found


def test_of_what_is_new_it_is_kept_that_it_is_new(send):
    changes = send(orm())
    assert sorted(row.partition(":")[0] for row in changes) == ["order", "patient"]
    assert set(changes.values()) == {CREATED}


def test_of_what_is_known_the_difference_is_kept(send):
    send(orm())
    changes = send(orm(ORC_1="XO", ORC_7="^^^20300102140000^^R", PID_8="O", OBR_24="MR"))
    assert only(changes, "step") == {
        "start_local": ["20300102093000", "20300102140000"],
        "modality": ["CT", "MR"],
    }
    assert only(changes, "patient") == {"sex": ["F", "O"]}
    assert not any(row.startswith("order:") for row in changes)


def test_nothing_is_kept_of_a_message_that_changed_nothing(send):
    send(orm())
    assert send(orm(ORC_1="XO")) == {}
    assert send(adt_a08()) == {}


def test_a_cancellation_changes_the_step_and_its_order(send):
    send(orm())
    changes = send(orm(ORC_1="CA", ORC_5="CA"))
    assert only(changes, "step") == {"state": ["SCHEDULED", "CANCELED"]}
    assert only(changes, "order") == {"status": ["SCHEDULED", "CANCELED"]}


def test_a_step_that_comes_later_is_new(send):
    send(orm())
    changes = send(orm(ORC_1="XO", OBR_19="RP2", OBR_20="SPS2", ZDS_1="1.2.3"))
    assert only(changes, "procedure") == only(changes, "step") == CREATED


@pytest.mark.parametrize("known", [True, False])
def test_a_merge_tells_who_became_whom(send, known):
    if known:
        send(orm(PID_3="PID2^^^ADT1^MR"))
    send(orm(ORC_2="PO2^RIS", ORC_3="FO2^RIS", OBR_20="SPS2", ZDS_1="1.2.3"))
    changes = send(adt_a40())
    (merged,) = [each["merged_into"] for each in changes.values() if "merged_into" in each]
    assert merged[0] is None
    assert f"patient:{merged[1]}" not in changes


def test_a_message_is_found_by_each_order_that_it_is_about(send, database):
    second = ["ORC|NW||FO2^RIS", "OBR|||FO2^RIS|X^y^L" + "|" * 14 + "ACC2|RP2|S2||||MR"]
    changes = send(orm(after=second))
    assert len([row for row in changes if row.startswith("order:")]) == 2
    with database.read() as session:
        conn = session.connection()
        orders = conn.exec_driver_sql("SELECT id FROM imaging_order ORDER BY id").scalars().all()
        first = conn.exec_driver_sql("SELECT imaging_order FROM message").scalar()
        further = conn.exec_driver_sql("SELECT imaging_order FROM message_order").scalars().all()
    assert [first, *further] == orders


def test_a_long_text_is_cut_and_a_list_is_told_by_its_names():
    assert len(kept("x" * 1_000)) == 257
    assert kept([["4711", "HOSP", "MR"], ["X", "", ""]]) == "4711, X"
    assert kept(True) is True


def test_two_changes_of_a_row_are_one_from_the_first_to_the_last():
    changes = {"step:1": {"state": ["HELD", "SCHEDULED"]}}
    join(changes, {"step:1": {"state": ["SCHEDULED", "CANCELED"], "modality": ["CT", "MR"]}})
    assert changes == {"step:1": {"state": ["HELD", "CANCELED"], "modality": ["CT", "MR"]}}
