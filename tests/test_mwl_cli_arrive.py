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
