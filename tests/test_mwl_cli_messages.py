"""`mwl messages`: the journal as a person reads it."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mwl import audit, journal
from mwl.db import Database
from mwl.journal import Received, Settled, State
from tests.builders import orm
from tests.test_mwl_cli import mwl

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
FLAG = "OBR-24: FOO is no modality"


@pytest.fixture
def where(sqlite_url: str, sqlite_database: Database) -> dict[str, str]:
    """A journal of two accepted messages, the second with a flag."""
    for number, flags in enumerate([[], [FLAG]], 1):
        raw = orm(MSH_10=f"T{number}").encode()
        received = Received(
            NOW, "127.0.0.1:4711", raw, journal.digest(raw), "RIS", "ORM^O01", f"T{number}"
        )
        settled = Settled(State.APPLIED, "AA", b"", flags=flags)
        sqlite_database.write(lambda s, r=received, a=settled: journal.record(s, r, a))
    return {"MWL_DATABASE__URL": sqlite_url}


def test_list_shows_answers_and_flags(tmp_path: Path, where: dict[str, str]) -> None:
    lines = mwl(tmp_path, "messages", "list", "--json", **where).stdout.splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "id": number,
            "control_id": name,
            "type": "ORM^O01",
            "state": "applied",
            "ack_code": "AA",
            "error": "",
            "flags": flags,
            "received_at": "2026-03-01T08:00:00.000+00:00",
        }
        for number, name, flags in ((2, "T2", [FLAG]), (1, "T1", []))
    ]
    table = mwl(tmp_path, "messages", "list", **where).stdout.splitlines()
    assert table[0].split()[-3:] == ["answer", "error", "flags"]
    assert table[1].rstrip().endswith(FLAG)
    assert table[2].split()[-1] == "AA"


def test_flagged_lists_only_what_has_a_flag(tmp_path: Path, where: dict[str, str]) -> None:
    (line,) = mwl(tmp_path, "messages", "list", "--flagged", "--json", **where).stdout.splitlines()
    assert json.loads(line)["control_id"] == "T2"


def test_show_prints_a_message_whole(tmp_path: Path, where: dict[str, str]) -> None:
    lines = mwl(tmp_path, "messages", "show", "2", **where).stdout.splitlines()
    assert lines[0].startswith("ORM^O01 T2 from RIS at 2026-03-01T08:00:00")
    assert lines[1:3] == ["applied AA", f"  {FLAG}"]
    assert any(line.startswith("  PID|||PID1") and line.endswith("‹CR›") for line in lines)
    (name,) = [line.split() for line in lines if "PID-5.1 " in line]
    assert name == ["PID-5.1", "Family", "name", "Doe"]


def test_show_tells_that_there_is_none(tmp_path: Path, where: dict[str, str]) -> None:
    done = mwl(tmp_path, "messages", "show", "99", **where)
    assert (done.returncode, done.stderr) == (1, "mwl: message 99: there is none\n")


def test_replay_applies_once_more_and_is_audited(
    tmp_path: Path, where: dict[str, str], sqlite_database: Database
) -> None:
    done = mwl(tmp_path, "messages", "replay", "1", "--although-accepted", **where)
    assert done.stdout.splitlines()[0] == "message 3: applied, answer AA"
    assert done.returncode == 0
    with sqlite_database.read() as session:
        (event,) = audit.listing(session, audit.Wanted(), limit=9)
        (order,) = session.connection().exec_driver_sql("SELECT id FROM imaging_order").scalars()
    assert (event.action, event.subject, event.role, order) == ("replay", "message:1", "cli", 1)


def test_list_finds_by_patient_and_accession(tmp_path: Path, where: dict[str, str]) -> None:
    mwl(tmp_path, "messages", "replay", "1", "--although-accepted", **where)
    for criterion in (("--patient", "PID1"), ("--accession", "ACC1")):
        found = mwl(tmp_path, "messages", "list", "--json", *criterion, **where).stdout
        assert [json.loads(line)["id"] for line in found.splitlines()] == [3]


def test_size_tells_what_goes_when(tmp_path: Path, where: dict[str, str]) -> None:
    said = mwl(tmp_path, "messages", "size", **where).stdout.splitlines()
    assert said[0].startswith("2 messages since 2026-03-01, 1.")
    assert said[1] == "Each is kept for 90 days; the next go on 2026-05-31 (UTC)."
    done = mwl(tmp_path, "messages", "size", "--json", MWL_JOURNAL__KEEP_DAYS="30", **where)
    told = json.loads(done.stdout)
    assert (told["messages"], told["keep_days"], told["held"]) == (2, 30, 0)
    assert told["first"] == "2026-03-01T08:00:00+00:00"


def test_a_message_whose_text_is_gone_is_shown_with_what_stays(
    tmp_path: Path, where: dict[str, str], sqlite_database: Database
) -> None:
    empty = "UPDATE message SET raw = x'' WHERE id = 1"
    sqlite_database.write(lambda session: session.connection().exec_driver_sql(empty))
    said = mwl(tmp_path, "messages", "show", "1", **where).stdout.splitlines()
    assert said[1:] == ["applied AA", "Its text is kept no longer."]
    done = mwl(tmp_path, "messages", "replay", "1", "--although-accepted", **where)
    assert (done.returncode, done.stderr) == (1, "mwl: message 1: its text is kept no longer\n")
