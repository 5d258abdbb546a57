"""`mwl worklist arrive` beside a database, as a person uses it."""

import pytest
from typer.testing import CliRunner

from mwl.cli import app
from mwl.errors import Rejected
from tests.worklist_rows import insert_items, item


def test_a_patient_is_marked_arrived_once(sqlite_database, sqlite_url, tmp_path, monkeypatch):
    monkeypatch.setenv("MWL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("MWL_DATABASE__URL", sqlite_url)
    sqlite_database.write(lambda session: insert_items(session, [item(1)]))
    arrive = ["worklist", "arrive", "--accession", "ACC1"]
    done = CliRunner().invoke(app, arrive)
    assert (done.exit_code, done.stdout) == (0, "arrived: step SPS1\n")
    listed = CliRunner().invoke(app, ["worklist", "list", "--status", "ARRIVED"])
    assert "SPS1" in listed.stdout
    again = CliRunner().invoke(app, arrive)
    with pytest.raises(Rejected, match="the step is ARRIVED"):
        raise again.exception


def test_a_patient_is_ready_and_departs_when_the_scanner_has_begun(
    sqlite_database, sqlite_url, tmp_path, monkeypatch
):
    monkeypatch.setenv("MWL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("MWL_DATABASE__URL", sqlite_url)
    steps = [item(1), item(2, step={"state": "STARTED"})]
    sqlite_database.write(lambda session: insert_items(session, steps))
    done = CliRunner().invoke(app, ["worklist", "ready", "--accession", "ACC1"])
    assert (done.exit_code, done.stdout) == (0, "ready: step SPS1\n")
    done = CliRunner().invoke(app, ["worklist", "depart", "--step", "SPS2"])
    assert (done.exit_code, done.stdout) == (0, "departed: step SPS2\n")
    early = CliRunner().invoke(app, ["worklist", "depart", "--step", "SPS1"])
    with pytest.raises(Rejected, match="the step is READY: the patient departs from one STARTED"):
        raise early.exception
