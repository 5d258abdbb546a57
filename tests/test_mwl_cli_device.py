"""`mwl device`: register scanners, see strangers."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlmodel import select

from mwl import devices
from mwl.cli import app
from mwl.config import DeviceTable
from mwl.db import Database
from mwl.db.tables import AuditEvent
from mwl.devices import Visit, rows
from tests.dicom_server import serve_fixture  # noqa: F401 - a fixture
from tests.test_mwl_cli import mwl
from tests.worklist_rows import insert_items, item


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
        "aliases": [],
        "may": ["worklist", "mpps", "store", "commit"],
        "mpps": True,
        "commit_report": "new",
        "tls": True,
        "certificate": f"sha256:{'ab' * 32}",
        "oddities": [],
        "origin": "manual",
        "seen_at": "",
    }


def test_what_a_device_is_shown_is_set_key_by_key(
    tmp_path: Path, sqlite_url: str, sqlite_database: Database
) -> None:
    where = {"MWL_DATABASE__URL": sqlite_url}
    options = [
        *("--alias", "CT1_OLD", "--alias", "CT 1", "--zone", "Europe/Lisbon"),
        *("--close-images", "elsewhere", "--set", "worklist.modalities=CT, PT"),
        *("--set", "worklist.own_station=true", "--set", "worklist.hours_back=12"),
        *("--set", "worklist.synonyms.CR=CR,DX", "--set", "worklist.defaults.PatientSex=O"),
        *("--set", "characters.sets=ISO_IR 100", "--set", "characters.assumed=windows-1252"),
    ]
    assert mwl(tmp_path, "device", "add", "CT1", *options, **where).returncode == 0
    change = ["--set", "worklist.hours_back=", "--set", 'worklist.hide=["DEPARTED"]']
    done = mwl(tmp_path, "device", "add", "ct1", "--replace", "--alias", "", *change, **where)
    assert done.returncode == 0
    with sqlite_database.read() as session:
        (found,) = map(devices.table_of, devices.listing(session))
    assert found.aliases == ()
    assert found.model_dump(exclude_defaults=True)["worklist"] == {
        "own_station": True,
        "modalities": ("CT", "PT"),
        "hide": ("DEPARTED",),
        "synonyms": {"CR": ("CR", "DX")},
        "defaults": {"PatientSex": "O"},
    }
    assert (found.zone, found.close_images) == ("Europe/Lisbon", "elsewhere")
    assert (found.characters.sets, found.characters.assumed) == (
        ("ISO_IR 100",),
        "windows-1252",
    )

    table = mwl(tmp_path, "device", "show", "CT1", **where).stdout
    lines = dict(line.split(maxsplit=1) for line in table.splitlines() if " " in line.strip())
    lines = {key: value.strip() for key, value in lines.items()}
    assert lines["worklist.modalities"] == '["CT", "PT"]'
    assert lines["worklist.own_station"] == "true"
    assert lines["zone"] == '"Europe/Lisbon"'
    shown = json.loads(mwl(tmp_path, "device", "show", "CT1", "--json", **where).stdout)
    assert shown["worklist"]["hide"] == ["DEPARTED"]
    assert (shown["origin"], shown["seen_at"], shown["oddities"]) == ("manual", "", [])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--zone", "Mars"], "--zone: no such time zone"),
        (["--alias", "A\\B"], "--alias: an AE title has 1 to 16"),
        (["--set", "worklist"], "--set worklist: must be KEY=VALUE, like worklist.modalities=CT,"),
        (["--set", "worklist.hide=GONE"], "--set worklist.hide[1]: should be 'SCHEDULED', 'ARR"),
        (["--set", "worklist.hid=GONE"], "--set worklist.hid: no such setting; did you mean hide?"),
        (["--set", "worklst.hide=DEPARTED"], "--set worklst: no such setting; did you mean workl"),
        (["--set", "worklist.max_answers=many"], "--set worklist.max_answers: should be a valid"),
        (
            ["--set", "worklist.hide=READY", "--set", "worklist.hide.first=READY"],
            "--set worklist.hide.first=READY: hide is given as a whole already",
        ),
        (["--set", "hide=READY"], "--set hide: no such setting; worklist.… and characters.… are s"),
        (["--set", "mpps.hide=READY"], "--mpps: should be a valid boolean"),
        (
            ["--set", "worklist.synonyms=CR,DX"],
            "--set worklist.synonyms: each of these is set by itself, like worklist.synonyms.CR=C",
        ),
        (
            ["--set", "worklist.defaults=O"],
            "--set worklist.defaults: each of these is set by itself, like worklist.defaults.Pati",
        ),
    ],
)
def test_a_wrong_setting_is_named(
    options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        app(["device", "add", "CT1", *options], standalone_mode=False)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"mwl: {told}")


def test_a_keyword_that_no_attribute_has_is_noted(
    tmp_path: Path, sqlite_url: str, sqlite_database: Database
) -> None:
    keywords = (
        "--set",
        "worklist.ignore=PatientID,PatientIdee",
        "--set",
        "worklist.defaults.Sex=O",
    )
    added = mwl(tmp_path, "device", "add", "CT1", *keywords, MWL_DATABASE__URL=sqlite_url)
    assert added.returncode == 0
    assert added.stdout == ("registered: CT1\nnote: CT1: no attribute is called PatientIdee, Sex\n")


def test_a_fleet_goes_out_and_comes_in(
    tmp_path: Path, sqlite_url: str, sqlite_database: Database
) -> None:
    where = {"MWL_DATABASE__URL": sqlite_url}
    fleet = tmp_path / "fleet.toml"
    tables = [DeviceTable(ae_title="CT1", port=104, worklist={"modalities": ["CT"]})]
    tables.append(DeviceTable(ae_title="MR1"))
    now = datetime.now(UTC)
    sqlite_database.write(lambda s: [devices.add(s, each, now=now) for each in tables])
    text = mwl(tmp_path, "device", "export", **where).stdout
    assert text == (
        '[[device]]\nae_title = "CT1"\nport = 104\n[device.worklist]\nmodalities = ["CT"]\n'
        '\n[[device]]\nae_title = "MR1"\n'
    )
    fleet.write_text(text.replace("MR1", "MR2").replace("104", "105"), "utf-8")
    dry = mwl(tmp_path, "device", "import", str(fleet), "--prune", "--dry-run", **where)
    rows = [line.split() for line in dry.stdout.splitlines()]
    assert rows[1:4] == [["changed", "CT1", "port"], ["added", "MR2"], ["removed", "MR1"]]
    counts = "1 added, 1 changed, 1 removed, 0 as it was, 0 left to the settings"
    assert dry.stdout.splitlines()[-1] == f"would be: {counts}"
    assert trail(sqlite_database) == []
    done = mwl(tmp_path, "device", "import", str(fleet), "--prune", **where)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, counts)
    again = tmp_path / "again.toml"
    assert mwl(tmp_path, "device", "export", str(again), **where).returncode == 0
    assert again.read_text("utf-8") == fleet.read_text("utf-8")
    assert trail(sqlite_database) == [
        ("change", "device:CT1"),
        ("create", "device:MR2"),
        ("remove", "device:MR1"),
    ]


def test_what_a_device_would_see_is_told(
    tmp_path: Path, sqlite_url: str, sqlite_database: Database
) -> None:
    start = {"start_local": "20300102093000"}
    items = [
        item(1, "CT1", step=start, patient={"patient_name": "Łukasiewicz^Żaneta"}),
        item(2, "CT2", step=start),
        item(3, "CT1", step=start),
    ]
    sqlite_database.write(lambda session: insert_items(session, items))
    shown = {"max_answers": 1, "beyond": "cut"}
    device = DeviceTable(
        ae_title="CT1", modality="CT", worklist=shown, characters={"sets": ["ISO_IR 100"]}
    )
    sqlite_database.write(lambda s: devices.add(s, device, now=datetime.now(UTC)))
    where = {"MWL_DATABASE__URL": sqlite_url}
    done = mwl(tmp_path, "device", "try", "CT1", "--day", "20300102", **where)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[1].split()[:3] == ["20300102", "0930", "P1"]
    assert lines[1].rstrip().endswith("ISO_IR 100 !")
    assert lines[3:6] == [
        "asked for day 20300102, modality CT, station CT1",
        "1 entry of 2, and it is not told",
        "ACC1: PatientName is Łukasiewicz^Żaneta, told in other letters",
    ]
    assert [line.split()[2] for line in lines[-2:]] == ["P2", "P3"]
    options = ("--day", "", "--station", "", "--patient-id", "P2", "--json")
    told = json.loads(mwl(tmp_path, "device", "try", "CT1", *options, **where).stdout)
    assert (told["status"], told["count"], told["cut"], told["hidden"]) == ("0000", 1, False, [])
    assert told["answers"][0]["attributes"]["AccessionNumber"] == "ACC2"
    done = mwl(tmp_path, "device", "try", "CT1", "--day", "tomorrow", **where)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        "asked for day tomorrow, modality CT, station CT1",
        "the query fails: C001 ScheduledProcedureStepStartDate: no date, time or range of them",
        "0 entries",
    ]


def test_a_fleet_with_a_fault_is_left_out_as_a_whole(
    tmp_path: Path, sqlite_url: str, sqlite_database: Database
) -> None:
    fleet = tmp_path / "fleet.toml"
    fleet.write_text('[[device]]\nae_title = "CT1"\n[[device]]\nae_title = "CT2"\nport = 0\n')
    done = mwl(tmp_path, "device", "import", str(fleet), MWL_DATABASE__URL=sqlite_url)
    assert done.returncode == 2
    assert done.stderr.startswith(f"mwl: {fleet}:5: device[2].port: should be greater than")
    assert trail(sqlite_database) == []
    missing = mwl(tmp_path, "device", "import", "none.toml", MWL_DATABASE__URL=sqlite_url)
    assert missing.stderr == "mwl: none.toml: can't be read: No such file or directory\n"


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
