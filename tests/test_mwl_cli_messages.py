"""`mwl messages`: the journal as a person reads it."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mwl import journal
from mwl.db import Database
from mwl.journal import Received, Settled, State
from tests.test_mwl_cli import mwl

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
FLAG = "OBR-24: FOO is no modality"


@pytest.fixture
def where(sqlite_url: str, sqlite_database: Database) -> dict[str, str]:
    """A journal of two accepted messages, the second with a flag."""
    for number, flags in enumerate([[], [FLAG]], 1):
        raw = b"MSH|%d" % number
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
            "control_id": name,
            "type": "ORM^O01",
            "state": "applied",
            "ack_code": "AA",
            "error": "",
            "flags": flags,
            "received_at": "2026-03-01T08:00:00.000+00:00",
        }
        for name, flags in (("T2", [FLAG]), ("T1", []))
    ]
    table = mwl(tmp_path, "messages", "list", **where).stdout.splitlines()
    assert table[0].split()[-3:] == ["answer", "error", "flags"]
    assert table[1].rstrip().endswith(FLAG)
    assert table[2].split()[-1] == "AA"


def test_flagged_lists_only_what_has_a_flag(tmp_path: Path, where: dict[str, str]) -> None:
    (line,) = mwl(tmp_path, "messages", "list", "--flagged", "--json", **where).stdout.splitlines()
    assert json.loads(line)["control_id"] == "T2"
