"""Many changes in one transaction, each whole or not at all."""

import dataclasses

import pytest
from structlog.testing import capture_logs

from mwl.db import Database
from mwl.errors import Fault, Outage, Reason, Rejected
from mwl.orders import Action, OrderChange, ProcedureChange, StepChange
from mwl.patients import Identifier, PatientChange
from mwl.worklist import groups
from mwl.worklist.groups import apply_each
from tests.test_mwl_wlfiles import NOW, ZONE, entries


def order(number, **fields):
    step = StepChange(f"SPS{number}", NOW, fields={"modality": "CT", **fields})
    procedure = ProcedureChange(f"RP{number}", study_uid=f"1.2.{number}", steps=[step])
    return OrderChange(
        "import",
        Action.CREATE,
        Identifier(f"A{number}"),
        PatientChange(Identifier(f"P{number}")),
        procedures=[procedure],
    )


def take(database, *changes):
    """Apply; give what went wrong by the number of the change, and the steps that are there."""
    outcomes = list(apply_each(database, enumerate(changes), now=NOW, zone=ZONE))
    assert [number for number, _ in outcomes] == list(range(len(changes)))
    problems = {number: str(each) for number, each in outcomes if isinstance(each, Rejected)}
    return problems, sorted(each["sps_id"] for each in entries(database))


@pytest.fixture
def written(monkeypatch):
    """Count transactions; how long each may take is no matter."""
    monkeypatch.setattr(groups, "_LONGEST_S", 60.0)
    calls = []
    write = Database.write

    def counted(self, work):
        calls.append(work)
        return write(self, work)

    monkeypatch.setattr(Database, "write", counted)
    return calls


def test_a_group_is_one_transaction(database, written):
    assert take(database, *map(order, range(20))) == ({}, sorted(f"SPS{n}" for n in range(20)))
    assert len(written) == 1


def test_what_is_rejected_costs_no_other(database, written):
    collision = dataclasses.replace(order(1), number=Identifier("B1"))
    unread = Rejected(Fault(Reason.MISSING, "PatientID", "nothing"))
    problems, there = take(database, order(1), unread, collision, order(2))
    assert problems.keys() == {1, 2}
    assert problems[1] == "PatientID: nothing"
    assert "another order has a step" in problems[2]
    assert there == ["SPS1", "SPS2"]
    assert len(written) == 2  # once in vain


def test_an_error_of_ours_costs_no_other(database, monkeypatch):
    def apply(session, change, **more):
        applied = real(session, change, **more)
        if change.number.id == "A2":
            raise ZeroDivisionError
        return applied

    real = groups.apply
    monkeypatch.setattr(groups, "apply", apply)
    with capture_logs() as logged:
        problems, there = take(database, *map(order, (1, 2, 3)))
    assert problems == {1: "an error of ours (ZeroDivisionError)"}
    assert there == ["SPS1", "SPS3"]
    assert [each["event"] for each in logged] == ["worklist.change_failed"]


def test_what_the_database_refuses_costs_no_other(postgresql_database):
    with capture_logs():
        problems, there = take(
            postgresql_database, order(1), order(2, description="a\0b"), order(3)
        )
    assert problems == {1: "an error of ours (DataError)"}
    assert there == ["SPS1", "SPS3"]


def test_others_wait_for_no_more_than_there_is_time_for(sqlite_database, written, monkeypatch):
    monkeypatch.setattr(groups, "_LONGEST_S", 0)
    assert take(sqlite_database, *map(order, range(5)))[0] == {}
    assert len(written) == 5


def test_no_more_is_read_than_a_group(sqlite_database):
    read = []

    def source():
        for number in range(1000):
            read.append(number)
            yield number, order(number)

    outcomes = apply_each(sqlite_database, source(), now=NOW, zone=ZONE)
    next(outcomes)
    assert len(read) == groups._MOST


def test_an_outage_is_not_the_fault_of_a_change(sqlite_database, monkeypatch):
    def out(self, work):
        raise Outage("the disk is full")

    monkeypatch.setattr(Database, "write", out)
    with pytest.raises(Outage):
        take(sqlite_database, order(1))
