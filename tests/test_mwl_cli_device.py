"""`mwl device`: register scanners, see strangers."""

import json
from datetime import UTC, datetime
from pathlib import Path

from sqlmodel import select

from mwl import devices
from mwl.config import DeviceTable
from mwl.db import Database
from mwl.db.tables import AuditEvent
from mwl.devices import Visit, rows
from tests.dicom_server import serve_fixture  # noqa: F401 - a fixture
from tests.test_mwl_cli import mwl


def test_device_is_registered_listed_and_changed(tmp_path: Path, database_url: str) -> None:
    where = {"MWL_DATABASE__URL": database_url}
    options = ["--host", "127.0.0.1", "--port", "104", "--modality", "CT"]
    added = mwl(tmp_path, "device", "add", "CT1", *options, **where)
    assert (added.returncode, added.stdout) == (0, "registered: CT1\n")

    again = mwl(tmp_path, "device", "add", "CT1", **where)
    assert again.returncode == 1
    assert again.stderr == "mwl: AE title: is registered already; --replace changes it\n"
    change = ["--port", "105", "--location", "Room 2", "--replace"]
    assert mwl(tmp_path, "device", "add", "CT1", *change, **where).returncode == 0
    rule = "SHA256:" + "AB" * 32
    change = ["--location", "", "--tls", "--certificate", rule, "--replace"]
    assert mwl(tmp_path, "device", "add", "CT1", *change, **where).returncode == 0

    (line,) = mwl(tmp_path, "device", "list", "--json", **where).stdout.splitlines()
    assert json.loads(line) == {
        "kind": "device",
        "ae_title": "CT1",
        "host": "127.0.0.1",
        "port": 105,
        "modality": "CT",
        "station_name": "",
        "location": "",
        "may": ["worklist", "mpps", "store", "commit"],
        "mpps": True,
        "commit_report": "new",
        "tls": True,
        "certificate": f"sha256:{'ab' * 32}",
        "oddities": [],
        "origin": "manual",
        "seen_at": "",
    }


def test_list_says_what_is_odd_about_devices(
    tmp_path: Path, sqlite_url: str, sqlite_database: Database
) -> None:
    for title in ("CT1", "CT2"):
        table = DeviceTable(ae_title=title)
        sqlite_database.write(lambda s, d=table: devices.add(s, d, now=datetime.now(UTC)))
    codes = ["no-max-length", "title-nul"]
    sqlite_database.write(lambda s: rows.found_odd(s, {1: codes}))
    where = {"MWL_DATABASE__URL": sqlite_url}
    table = mwl(tmp_path, "device", "list", **where).stdout
    assert table.endswith(
        "\nwhat their association requests get wrong, and we overlook:\nCT1 doesn't say how long "
        "a PDU may be that it receives, pads AE titles with NUL bytes instead of spaces\n"
    )
    lines = mwl(tmp_path, "device", "list", "--json", **where).stdout.splitlines()
    assert [json.loads(line)["oddities"] for line in lines] == [codes, []]


def test_list_shows_who_knocked(tmp_path: Path, sqlite_url: str, sqlite_database: Database) -> None:
    now = datetime(2026, 3, 1, 8, tzinfo=UTC)
    visits = {
        Visit("CT9", "MWL", "10.0.0.9", admitted=False): 4,
        Visit("", "X", "10.0.0.8", True): 1,
    }
    sqlite_database.write(lambda session: devices.knocked(session, visits, now=now))
    where = {"MWL_DATABASE__URL": sqlite_url}

    table = mwl(tmp_path, "device", "list", **where).stdout
    assert "no device is registered: `mwl device add AE_TITLE` registers one" in table
    (row,) = [line.split() for line in table.splitlines() if "CT9" in line]
    assert row == ["CT9", "MWL", "10.0.0.9", "no", "4", "2026-03-01T08:00:00+00:00"]
    assert "(blank)" in table

    lines = mwl(tmp_path, "device", "list", "--json", **where).stdout.splitlines()
    knocks = {row["address"]: row for row in map(json.loads, lines)}
    assert knocks["10.0.0.9"]["kind"] == "knock"
    assert (knocks["10.0.0.9"]["admitted"], knocks["10.0.0.9"]["count"]) == (False, 4)


def trail(database: Database) -> list[tuple[str, str]]:
    with database.read() as session:
        events = session.exec(select(AuditEvent).order_by(AuditEvent.id)).all()
        return [(each.action, each.subject) for each in events]


def test_device_is_removed(tmp_path: Path, sqlite_url: str, sqlite_database: Database) -> None:
    where = {"MWL_DATABASE__URL": sqlite_url}
    mwl(tmp_path, "device", "add", "CT1", **where)
    gone = mwl(tmp_path, "device", "remove", "ct1", **where)
    assert (gone.returncode, gone.stdout) == (0, "removed: CT1\n")
    again = mwl(tmp_path, "device", "remove", "CT1", **where)
    assert (again.returncode, again.stderr) == (
        1,
        "mwl: CT1: is not registered: `mwl device list`\n",
    )
    assert trail(sqlite_database) == [("create", "device:CT1"), ("remove", "device:CT1")]


def test_device_is_asked_for_an_answer(
    serve, tmp_path: Path, sqlite_url: str, sqlite_database: Database
) -> None:
    where = {"MWL_DATABASE__URL": sqlite_url}
    port = str(serve().address[1])
    mwl(tmp_path, "device", "add", "CT1", "--host", "127.0.0.1", "--port", port, **where)
    answer = mwl(tmp_path, "device", "test", "CT1", **where)
    assert answer.returncode == 0
    assert answer.stdout.startswith("CT1: answered in ")

    mwl(tmp_path, "device", "add", "CT1", "--port", "1", "--replace", **where)
    refused = mwl(tmp_path, "device", "test", "CT1", **where)
    says = "mwl: CT1: nobody listens at 127.0.0.1:1: connection refused\n"
    assert (refused.returncode, refused.stderr) == (1, says)
    actions = [action for action, _ in trail(sqlite_database)]
    assert actions == ["create", "test", "change", "test"]

    mwl(tmp_path, "device", "add", "MR1", **where)
    without = mwl(tmp_path, "device", "test", "MR1", **where)
    assert without.returncode == 2
    assert without.stderr == "mwl: MR1: has no address: --host and --port give it\n"
