"""`mwl patient …` beside a database, as a person uses it."""

import json

import pytest
from typer.testing import CliRunner

from mwl import audit
from mwl.cli import app
from mwl.errors import Reason, Rejected
from tests.builders import adt, adt_a08, adt_a40, orm
from tests.ris import Ris


@pytest.fixture
def run(sqlite_database, sqlite_url, tmp_path, monkeypatch):
    """Give a function that runs `mwl patient …` where PID2 was merged into PID1."""
    monkeypatch.setenv("MWL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("MWL_DATABASE__URL", sqlite_url)
    ris = Ris(sqlite_database)
    ris.send(orm, PID_3="PID2^^^ADT1^MR")
    ris.send(adt_a08)
    ris.send(adt_a40)
    ris.send(adt, "A24", without=["PV1"], after=["PID|||PID7^^^ADT1||Doe^Jo"])
    ris.send(adt_a08, PID_5="Zoe^Max", PID_7="19330303")

    def invoke(*arguments):
        return CliRunner().invoke(app, ["patient", *arguments])

    invoke.database = sqlite_database
    return invoke


def entries(done):
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.output.splitlines()]


def refused(done):
    assert isinstance(done.exception, Rejected)
    return done.exception.faults[0].reason


def test_patients_are_listed_and_shown_with_all_that_is_theirs(run):
    found = {each["patient_id"]: each["merged_into"] for each in entries(run("list", "--json"))}
    assert found == {"PID1": "", "PID2": "PID1", "PID7": ""}
    assert len(entries(run("list", "PID7", "--json"))) == 1
    (shown,) = entries(run("show", "PID1", "--json"))
    assert (shown["aliases"], shown["linked_with"], shown["orders"]) == (
        ["PID2"],
        ["PID7"],
        ["ACC1"],
    )
    assert "aliases: PID2" in run("show", "PID1", "--issuer", "ADT1").output
    assert refused(run("show", "PID1", "--issuer", "ELSEWHERE")) is Reason.UNKNOWN_KEY


def test_a_merge_is_listed_taken_back_once_and_audited(run):
    (merge,) = entries(run("merges", "--json"))
    assert (merge["loser"], merge["survivor"], merge["orders"]) == ("PID2", "PID1", 1)
    done = run("unmerge", str(merge["merge"]))
    assert "orders given back 1, studies 0" in done.output
    assert refused(run("unmerge", str(merge["merge"]))) is Reason.FINAL
    assert entries(run("merges", "--json"))[0]["ended"] != ""
    with run.database.read() as session:
        events = audit.listing(session, audit.Wanted(action="unmerge"), limit=9)
    assert [(each.role, each.detail["orders"]) for each in events] == [("cli", 1)]


def test_conflicts_are_listed(run):
    (found,) = entries(run("conflicts", "--json"))
    assert (found["patient_id"], found["type"]) == ("PID1", "ADT^A08")
    assert "another name and birth date" in found["error"]
