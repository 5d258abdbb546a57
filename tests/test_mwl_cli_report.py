"""`mwl report …` beside a database, as a person uses it."""

import base64
import json
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from mwl.cli import app
from tests.builders import orm, oru
from tests.feeding import Feed

PDF = b"%PDF-1.4\nno more"


@pytest.fixture
def run(sqlite_database, sqlite_url, tmp_path, monkeypatch):
    """Give a function that runs `mwl …` on a database with two reports."""
    monkeypatch.setenv("MWL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("MWL_DATABASE__URL", sqlite_url)
    feed = Feed(sqlite_database, now=datetime(2030, 1, 2, 12, tzinfo=UTC))
    feed.send(orm())
    feed.send(oru(OBR_25="P", OBX_5="Perhaps."))
    data = base64.b64encode(PDF).decode()
    pdf = f"OBX|2|ED|D^As a document||^Application^PDF^Base64^{data}||||||F"
    feed.send(oru(OBX_5="No bleeding.\\.br\\\\X1B\\[31mNormal", after=pdf))
    feed.send(oru(PID_3="PID9^^^ADT1", PID_5="Roe^Richard", OBR_3="F9", OBR_18="A9"))

    def invoke(*arguments):
        return CliRunner().invoke(app, list(arguments))

    return invoke


def rows(done):
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.output.splitlines()]


def test_the_list_has_the_latest_versions(run):
    listed = rows(run("report", "list", "--json"))
    assert [(row["id"], row["status"], row["order"]) for row in listed] == [
        (3, "FINAL", None),
        (2, "FINAL", 1),
    ]
    assert [row["id"] for row in rows(run("report", "list", "ACC1", "--json"))] == [2]
    assert [row["id"] for row in rows(run("report", "list", "--unlinked", "--json"))] == [3]
    assert rows(run("report", "list", "--status", "preliminary", "--json")) == []
    assert "CT head" in run("report", "list").output


def test_a_report_is_told_as_text(run):
    told = run("report", "show", "2").output
    assert "patient         Doe^Jane^Q PID1" in told
    assert "order           1, by filler order number" in told
    assert "versions        2, 1" in told
    assert "Diagnostic Imaging Report\n  No bleeding.\n" in told
    assert "\x1b" not in told
    assert "part 2: application/pdf, 16 bytes" in told


def test_a_document_is_written_to_a_file_and_replaces_none(run, tmp_path):
    file = tmp_path / "report.pdf"
    assert run("report", "show", "2", "--part", "2", "--output", str(file)).exit_code == 0
    assert file.read_bytes() == PDF
    done = run("report", "show", "2", "--part", "2", "--output", str(file))
    assert done.exit_code == 2


def test_what_is_asked_wrongly_is_refused(run):
    assert run("report", "show", "2", "--part", "1").exit_code == 2
    assert run("report", "show", "9").exit_code != 0
    assert run("report", "list", "--status", "good").exit_code != 0
    assert run("report", "show", "0").exit_code == 2
