"""`mwl hl7 explain` and `mwl messages replay` of many, as a person runs them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from hl7.ranges import Course
from mwl.cli import replaying
from mwl.db import Database
from mwl.worklist.differing import Difference
from tests.builders import orm
from tests.feeding import Feed
from tests.hl7_mapping import DEFAULT
from tests.test_mwl_cli import mwl as run

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)


def mwl(folder: Path, *arguments: str, code: int = 0, **environ: str) -> CompletedProcess[str]:
    """Run a command that ends with `code`."""
    done = run(folder, *arguments, **environ)
    assert done.returncode == code, done.stderr + done.stdout
    return done


@pytest.fixture
def where(sqlite_url: str, sqlite_database: Database) -> dict[str, str]:
    """A journal of an order, two refused ones, and one that is refused for good."""
    feed = Feed(sqlite_database, now=NOW)
    feed.send(orm(MSH_10="T1"))
    for number in (2, 3):
        names = {"ORC_2": f"P{number}", "ORC_3": f"F{number}", "OBR_2": None, "OBR_3": None}
        feed.send(
            orm(
                MSH_10=f"T{number}",
                MSH_11="T",
                ZDS_1=f"1.2.{number}",
                OBR_18=f"ACC{number}",
                **names,
            )
        )
    feed.send(orm(MSH_10="T4", PID_7="yesterday"))
    return {"MWL_DATABASE__URL": sqlite_url}


@pytest.fixture
def mended(tmp_path: Path) -> str:
    """A profile that takes test data."""
    text = DEFAULT.read_text("utf-8").replace(
        'processing_ids = ["P"]', 'processing_ids = ["P", "T"]'
    )
    (tmp_path / "mended.toml").write_text(text, "utf-8")
    return str(tmp_path / "mended.toml")


def test_explain_tells_all_before_there_is_a_database(tmp_path: Path) -> None:
    message = tmp_path / "order.hl7"
    message.write_bytes(b"\xef\xbb\xbf" + orm(ZZZ_1="x").replace("\r", "\r\n").encode())
    done = mwl(tmp_path, "hl7", "explain", str(message))
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0].startswith("ORM^O01")
    assert 'PID-5 Patient name Doe^Jane^Q → patient name (0010,0010) "Doe^Jane^Q"' in lines
    assert "ZZZ-1 x ignored" in lines
    assert "there is no database to compare with yet" in lines
    assert not (tmp_path / "data").exists()


def test_explain_tells_what_would_change(tmp_path: Path, where: dict[str, str]) -> None:
    message = tmp_path / "change.hl7"
    message.write_text(orm(ORC_1="CA") + orm(PID_7="yesterday"))
    done = mwl(tmp_path, "hl7", "explain", str(message), "--json", code=1, **where)
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["ack_code"], first["action"]) == ("AA", "cancel")
    (step,) = [row for row in first["rows"] if row["kind"] == "step"]
    assert step["columns"] == [["state", "SCHEDULED", "CANCELED"]]
    assert [fault["where"] for fault in second["faults"]] == ["PID-7"]


def test_explain_reads_by_a_profile_that_is_no_part_of_the_settings(
    tmp_path: Path, where: dict[str, str], mended: str
) -> None:
    message = tmp_path / "test.hl7"
    message.write_text(orm(MSH_11="T"))
    refused = mwl(tmp_path, "hl7", "explain", str(message), code=1, **where)
    assert "AR  MSH-11" in refused.stdout
    taken = mwl(tmp_path, "hl7", "explain", str(message), "--profile", mended, **where)
    assert "profile   mended (it was asked for)" in taken.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["{file}", "--profile", "nosuch"], "there is no 'nosuch'; there are"),
        (["{file}", "--profile", "nosuch.toml"], "nosuch.toml: No such file"),
        (["{file}", "--listener", "nosuch"], "no such [[hl7.listener]]"),
        (["nosuch.hl7"], "can't be read"),
        (["{empty}"], "holds no HL7 message"),
    ],
)
def test_explain_says_what_was_asked_wrongly(
    tmp_path: Path, arguments: list[str], text: str
) -> None:
    (tmp_path / "order.hl7").write_text(orm())
    (tmp_path / "empty.hl7").write_text("nothing")
    names = {"file": tmp_path / "order.hl7", "empty": tmp_path / "empty.hl7"}
    given = [each.format(**names) for each in arguments]
    assert text in mwl(tmp_path, "hl7", "explain", *given, code=2).stderr


def test_a_range_is_told_then_applied_and_may_be_run_again(
    tmp_path: Path, where: dict[str, str], sqlite_database: Database
) -> None:
    many = ("messages", "replay", "--state", "rejected")
    told = mwl(tmp_path, *many, "--dry-run", **where)
    assert "3 messages: 3 would be refused as before" in told.stdout
    # Nothing was mended: nothing is applied, and nothing is added to the journal.
    done = mwl(tmp_path, *many, "--yes", code=1, **where)
    assert "3 messages: 3 refused as before" in done.stdout
    assert count(sqlite_database) == 4
    since = (NOW + timedelta(seconds=2)).isoformat()
    bounds = ("--since", since, "--until", "2027-01-01", "--after", "3")
    told = mwl(tmp_path, *many, *bounds, "--dry-run", **where)
    assert "4  ORM^O01  T4  refused as before: PID-7" in told.stdout
    assert "1 message: 1 would be refused as before" in told.stdout


def test_one_is_told_before_it_is_applied(
    tmp_path: Path, where: dict[str, str], sqlite_database: Database
) -> None:
    again = ("messages", "replay", "1", "--although-accepted", "--dry-run")
    assert "message 1 would be applied: AA" in mwl(tmp_path, *again, **where).stdout
    assert count(sqlite_database) == 4


def test_who_would_be_told_is_told_however_many_rows_differ(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [Difference("order", "created", f"F{row}", None, {}) for row in range(300)]
    told = [Difference("delivery", "created", "his", None, {})] * 300
    replaying._say_rows(Course([], differences=rows + told))
    assert capsys.readouterr().out.endswith(
        "  … and 100 rows more\n  his would be told 300 times\n"
    )


def count(database: Database) -> int:
    """Count the messages of the journal."""
    with database.read() as session:
        found: int = (
            session.connection().exec_driver_sql("SELECT count(*) FROM message").scalar_one()
        )
    return found


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ([], 2, "name one message by its ID, or many by a filter"),
        (["1", "--state", "rejected"], 2, "name one message by its ID, or many by a filter"),
        (["--state", "rejected"], 2, "say --yes"),
        (["--state", "lost"], 2, "must be one of"),
        (["--since", "yesterday"], 2, "write a day or an instant"),
        (["--state", "rejected", "--after", "4711", "--dry-run"], 1, "there is none"),
    ],
)
def test_replay_says_what_was_asked_wrongly(
    tmp_path: Path, where: dict[str, str], arguments: list[str], code: int, text: str
) -> None:
    assert text in mwl(tmp_path, "messages", "replay", *arguments, code=code, **where).stderr
