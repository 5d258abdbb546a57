"""`mwl mpps …` beside a database, as a person uses it."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from mwl import audit, procedures
from mwl.cli import app, frame
from mwl.performed import Created, Request
from mwl.procedures import Effects
from tests.worklist_rows import insert_items, item

UID = "1.2.3"


@pytest.fixture
def run(sqlite_database, sqlite_url, tmp_path, monkeypatch):
    """Give a function that runs `mwl …` on an empty database, and that database."""
    monkeypatch.setenv("MWL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("MWL_DATABASE__URL", sqlite_url)

    def invoke(*arguments):
        return CliRunner().invoke(app, list(arguments))

    invoke.database = sqlite_database
    return invoke


def begin(database, *, hours_ago=0, study="9.9"):
    created = Created(
        UID, "CT1", "1.2.840.10008.1.2", b"", (Request(study, "SPS1"),), modality="CT"
    )
    at = datetime.now(UTC) - timedelta(hours=hours_ago)
    database.write(lambda session: procedures.start(session, created, effects=Effects(), now=at))


def entries(done):
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.output.splitlines()]


def test_the_list_shows_what_is_stuck_and_what_has_no_order(run):
    begin(run.database, hours_ago=13)
    (entry,) = entries(run("mpps", "list", "--json"))
    assert entry["sop_instance_uid"] == UID
    assert (entry["status"], entry["scheduled"], entry["steps"]) == ("IN PROGRESS", False, 0)
    assert len(entries(run("mpps", "list", "--stuck", "--json"))) == 1
    assert len(entries(run("mpps", "list", "--unscheduled", "--json"))) == 1
    assert "no order on file for it" in run("mpps", "list").output


def test_what_a_person_ends_is_in_the_audit_trail(run):
    begin(run.database)
    run("mpps", "end", UID, "--completed")
    with run.database.read() as session:
        (event,) = audit.listing(session, audit.Wanted(), limit=9)
    assert (event.role, event.action, event.subject) == ("cli", "change", "mpps:1")
    assert event.detail == {"uid": UID, "ended": "COMPLETED"}


def test_times_are_in_seconds(run):
    begin(run.database)
    run("mpps", "end", UID, "--completed")
    (entry,) = entries(run("mpps", "list", "--json"))
    for name in ("received_at", "ended_at"):
        assert datetime.fromisoformat(entry[name]).isoformat(timespec="seconds") == entry[name]


@pytest.mark.parametrize(
    "which", [("mpps",), ("commit",), ("outbox",), ("study",), ("study", "--quarantined")]
)
def test_a_list_of_nothing_says_so(run, which):
    group, *options = which
    assert run(group, "list", *options).output == "none\n"
    assert run(group, "list", *options, "--json").output == ""


def test_a_device_is_listed_with_yes_or_no(run):
    run("device", "add", "CT1", "--mpps")
    run("device", "add", "CT2", "--no-mpps")
    _, one, two = run("device", "list").output.splitlines()
    assert ("yes" in one.split(), "no" in two.split()) == (True, True)
    assert not {"True", "False"} & {*one.split(), *two.split()}


def test_what_began_just_now_is_not_stuck(run):
    begin(run.database)
    assert entries(run("mpps", "list", "--stuck", "--json")) == []


def test_work_is_linked_and_ended_by_hand(run):
    begin(run.database)
    run.database.write(lambda session: insert_items(session, [item(1)]))
    done = run("mpps", "link", UID, "--accession", "ACC1")
    assert (done.exit_code, done.output) == (0, "linked: step SPS1\n")
    assert entries(run("mpps", "list", "--unscheduled", "--json")) == []
    done = run("mpps", "end", UID, "--completed")
    assert (done.exit_code, done.output) == (0, "ended: COMPLETED\n")
    (entry,) = entries(run("mpps", "list", "--json"))
    assert entry["status"] == "COMPLETED"
    assert entry["ended_by"]
    (step,) = entries(run("worklist", "list", "--json"))
    assert step["status"] == "COMPLETED"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("link", UID), frame.WRONG, "Give --accession"),
        (("link", UID, "--accession", "ACC9"), frame.FAILED, "no entry on file"),
        (("link", "9.9.9", "--accession", "ACC1"), frame.FAILED, "has this UID"),
        (("end", UID), frame.WRONG, "Give --completed or --discontinued"),
        (("end", UID, "--completed", "--discontinued"), frame.WRONG, "Give --completed or"),
        (("end", "9.9.9", "--discontinued"), frame.FAILED, "has this UID"),
    ],
)
def test_what_is_asked_wrongly_is_told(run, capsys, arguments, code, told):
    begin(run.database)
    with pytest.raises(SystemExit) as ended:
        frame.run(lambda: app(args=["mpps", *arguments], prog_name="mwl"))
    assert ended.value.code == code
    assert told in capsys.readouterr().err
