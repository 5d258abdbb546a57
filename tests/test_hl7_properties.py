"""What holds of whole messages in any order, and however often they come."""

from itertools import islice
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mwl.db import Database
from tests.builders import adt_a08, adt_a40, orm
from tests.soak.feed import Feed
from tests.test_hl7_corpus import empty, patients, worklist
from tests.test_hl7_inbound import everything, inbound, send

ONE_DATABASE = HealthCheck.function_scoped_fixture
MERGED, SURVIVOR = "PID2^^^ADT1^MR", "PID1^^^ADT1^MR"
# When a row was written last, and what was complained about, are no part of what it says.
_OF_EACH_MESSAGE = {"updated_at", "flags", "state_at"}


def scene(*, cancelled: bool) -> list[str]:
    """Tell the story of an order whose patient is renamed, then merged; an hour each.

    Each message states all that an earlier one of its subject did.
    """
    time = "20291231{:02}0000".format
    of = {"PID_3": MERGED, "PID_5": "Doe^Jane"}
    made = [
        orm(**of, MSH_7=time(1)),
        orm(**of, MSH_7=time(2), ORC_1="XO", ORC_7="^^^20300103100000^^S", OBR_31="^Pain"),
        adt_a08(PID_3=SURVIVOR, PID_5="Doe^Jane", PID_13="555-3", MSH_7=time(3)),
        orm(**of, MSH_7=time(4), ORC_1="XO", ORC_7="^^^20300104110000^^R", OBR_31="^Fall"),
        adt_a08(PID_3=MERGED, PID_5="Roe^Jane", MSH_7=time(5)),
        adt_a40(PID_3=SURVIVOR, PID_5="Doe^Janet", PID_13="555-3", MRG_1=MERGED, MSH_7=time(6)),
    ]
    return [*made, orm(**of, MSH_7=time(7), ORC_1="CA")] if cancelled else made


def seen(database: Database) -> tuple[list[dict[str, Any]], list[tuple[str, ...]]]:
    """Say what a scanner sees, and who is who."""
    people = [
        (row["patient_id"], row["merged_into"], "" if row["merged_into"] else row["patient_name"])
        for row in patients(database)
    ]
    return worklist(database), people


@settings(max_examples=25, suppress_health_check=[ONE_DATABASE])
@given(st.permutations(range(7)), st.booleans())
def test_every_order_of_arrival_ends_as_message_times_dictate(sqlite_database, order, cancelled):
    story = scene(cancelled=cancelled)
    empty(sqlite_database)
    way_in = inbound(sqlite_database)
    for number in order:
        if number < len(story):
            send(way_in, story[number])
    items, people = seen(sqlite_database)
    assert people == [("PID1", "", "Doe^Janet"), ("PID2", "PID1", "")]
    assert len(items) == (0 if cancelled else 1)
    for item in items:
        assert item["ScheduledProcedureStepStartDate"] == "20300104"
        assert (item["PatientID"], item["PatientName"]) == ("PID1", "Doe^Janet")
        assert item["ReasonForTheRequestedProcedure"] == "Fall"
        assert item["PatientTelephoneNumbers"] == "555-3"
        assert item["RequestedProcedurePriority"] == "ROUTINE"


@settings(max_examples=15, suppress_health_check=[ONE_DATABASE])
@given(st.integers(1, 10_000), st.integers(1, 40))
def test_a_message_that_comes_again_under_another_id_changes_nothing(sqlite_database, seed, count):
    empty(sqlite_database)
    way_in = inbound(sqlite_database)
    for sent in islice(iter(Feed(seed)), count):
        send(way_in, sent.raw)
    before = kept(sqlite_database)
    send(way_in, sent.raw.replace(sent.control_id.encode(), b"AGAIN"))
    assert kept(sqlite_database) == before


def kept(database: Database) -> dict[str, list[dict[str, Any]]]:
    return {
        table: [{k: v for k, v in row.items() if k not in _OF_EACH_MESSAGE} for row in rows]
        for table, rows in everything(database).items()
    }
