"""`mwl worklist import`, `export`, `fetch` and `sources`, as people use them."""

import csv
import sys

import pytest
from sqlmodel import select
from structlog.testing import capture_logs
from typer.testing import CliRunner

from mwl.cli import app, progress
from mwl.db.tables import AuditEvent
from mwl.errors import Rejected
from mwl.worklist import groups
from tests.dicom_server import serve_fixture  # noqa: F401 - a fixture
from tests.test_mwl_wlfiles import NOW, entries, entry, save
from tests.test_mwl_wlfiles_fetch import Peer


@pytest.fixture
def run(sqlite_database, sqlite_url, tmp_path, monkeypatch):
    """Run a command of `mwl worklist` beside a database."""
    monkeypatch.setenv("MWL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("MWL_DATABASE__URL", sqlite_url)
    monkeypatch.setenv("MWL_SITE__ZONE", "Europe/Berlin")
    levels = []
    monkeypatch.setattr("mwl.logs.configure", levels.append)

    def invoke(*arguments):
        with capture_logs() as logged:  # as it would be told by somebody who logs errors alone
            done = CliRunner().invoke(app, ["worklist", *map(str, arguments)])
        assert not [each for each in logged if each["log_level"] == "error"]
        assert set(levels) <= {"error"}
        return done

    return invoke


def audited(database):
    """Give what the audit trail tells of: act, subject, detail."""
    with database.read() as session:
        events = session.exec(select(AuditEvent).order_by(AuditEvent.id)).all()
        return [(each.action, each.subject, each.detail) for each in events]


@pytest.fixture
def folder(tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    for number in (1, 2, 3):
        save(entry(number), given / f"{number}.wl")
    return given


def test_an_import_names_what_is_not_imported(run, folder, sqlite_database):
    (folder / "2.wl").write_bytes(b"half")
    done = run("import", folder)
    assert done.exit_code == 1
    assert done.stdout == "2 imported, 1 not\n"
    assert f"mwl: {folder}/2.wl: " in done.stderr
    assert len(entries(sqlite_database)) == 2


def test_a_dry_run_changes_nothing(run, folder, sqlite_database):
    done = run("import", "--dry-run", folder)
    assert (done.exit_code, done.stdout) == (0, "3 fit to import, 0 not\n")
    assert entries(sqlite_database) == []


def test_an_interrupted_import_tells_how_far_it_came(run, folder, sqlite_database, monkeypatch):
    monkeypatch.setattr(groups, "_MOST", 1)
    write = sqlite_database.__class__.write
    calls = []

    def interrupted(self, work):
        calls.append(work)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return write(self, work)

    monkeypatch.setattr(sqlite_database.__class__, "write", interrupted)
    done = run("import", folder)
    assert done.exit_code != 0
    assert "2 imported, 0 not\n" in done.stdout
    assert len(entries(sqlite_database)) == 2


def test_progress_is_a_line_now_and_then_where_nobody_watches(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0)
    with progress.counting("files", 2000) as seen:
        seen(1000)
    assert capsys.readouterr().err.startswith("files: 1,000 of 2,000 (")
    with progress.counting("lines", None) as seen:
        seen(7)
    assert capsys.readouterr().err.startswith("lines: 7 (")


def test_progress_is_a_bar_on_a_terminal(monkeypatch):
    class Terminal:
        written = ""
        encoding = "utf-8"

        def isatty(self):
            return True

        def write(self, text):
            self.written += text

        def flush(self):
            pass

    terminal = Terminal()
    monkeypatch.setattr(progress, "_LOOK_EVERY_S", 0)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress.counting("files", 2000) as seen:
        seen(1000)
    assert "1000/2000" in terminal.written


def test_a_list_goes_out_as_csv_and_comes_in_again(run, folder, sqlite_database, tmp_path):
    run("import", folder)
    sheet = tmp_path / "list.csv"
    done = run("export", sheet)
    assert (done.exit_code, done.stdout) == (0, "3 lines written\n")
    assert sheet.stat().st_mode & 0o777 == 0o600
    with sheet.open(encoding="utf-8-sig", newline="") as opened:
        assert [row["sps_id"] for row in csv.DictReader(opened)] == ["SPS1", "SPS2", "SPS3"]
    before = entries(sqlite_database)
    again = run("import", sheet)
    assert (again.exit_code, again.stdout) == (0, "3 imported, 0 not\n")
    assert entries(sqlite_database) == before
    sheet.write_text("patient_id,patient_name,modality,accession_number\n,Doe,CT,A9\n")
    wrong = run("import", "--dry-run", sheet)
    assert (wrong.exit_code, wrong.stdout) == (1, "0 fit to import, 1 not\n")
    assert wrong.stderr == f"mwl: {sheet}:2: patient_id: is needed\n"


def test_a_folder_is_kept_for_wlmscpfs(run, folder, tmp_path):
    run("import", folder)
    out = tmp_path / "out"
    done = run("export", out)
    assert (done.exit_code, done.stdout) == (0, "3 written, 0 unchanged, 0 removed\n")
    assert (out / "MWL" / "lockfile").exists()
    orthanc = run("export", "--format", "orthanc", "--charset", "ISO_IR 192", out)
    assert orthanc.stdout == "3 written, 0 unchanged, 0 removed\n"
    assert len(list(out.glob("*.wl"))) == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["import", "nowhere"], "nowhere: is no folder, and no file of CSV"),
        (["export", "--charset", "LATIN", "out"], "--charset: no Specific Character Set"),
        (["export", "--device", "CT1", "out.csv"], "--device and --charset are for folders"),
    ],
)
def test_who_asks_wrongly_is_told(run, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.exit_code == 2
    assert says in done.stderr
    assert list(tmp_path.glob("out*")) == []


@pytest.fixture
def ris(serve, tmp_path, monkeypatch):
    """Serve a scripted worklist that the settings name."""
    peer = Peer()
    port = serve(peer.service()).address[1]
    config = tmp_path / "mwl.toml"
    config.write_text(
        f'[[worklist.source]]\nname = "ris"\nae_title = "RIS"\nhost = "127.0.0.1"\nport = {port}\n'
        "days_ahead = 366\ndays_back = 366\n"
    )
    monkeypatch.setenv("MWL_CONFIG", str(config))
    return peer


def test_a_worklist_is_fetched_at_once_and_its_state_listed(run, ris, sqlite_database, monkeypatch):
    monkeypatch.setattr("mwl.cli.frame.now", lambda: NOW)
    assert "not asked yet" in run("sources").stdout
    ris.items = [entry(1), entry(2, PatientID="")]
    done = run("fetch", "ris")
    assert done.exit_code == 1
    assert done.stdout == "2 answers, 1 new, 1 refused\n"
    assert "PatientID: nothing identifies the patient" in done.stderr
    assert len(entries(sqlite_database)) == 1
    ris.items.pop()
    assert run("fetch", "ris").stdout == "1 answers, 1 unchanged\n"
    ris.status = 0xA700
    failed = run("fetch", "ris")
    assert failed.exit_code == 1
    assert "ended with status A700" in failed.stderr
    listed = run("sources").stdout
    assert "RIS@127.0.0.1" in listed
    assert "A700" in listed
    with pytest.raises(Rejected, match="called his in the settings"):
        raise run("fetch", "his").exception


def test_a_server_that_is_not_there_has_no_empty_list(run, tmp_path, monkeypatch):
    (tmp_path / "mwl.toml").write_text(
        '[[worklist.source]]\nname = "ris"\nae_title = "RIS"\nhost = "127.0.0.1"\nport = 1\n'
    )
    monkeypatch.setenv("MWL_CONFIG", str(tmp_path / "mwl.toml"))
    failed = run("fetch", "ris")
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert "nobody listens" in failed.stderr


def test_losses_are_kept_until_a_person_accepts_them(run, ris, sqlite_database, monkeypatch):
    monkeypatch.setattr("mwl.cli.frame.now", lambda: NOW)
    ris.items = [entry(1), entry(2)]
    assert run("fetch", "ris").exit_code == 0
    ris.items = []
    done = run("fetch", "ris")
    assert (done.exit_code, done.stdout) == (1, "2 losses\n")
    assert "mwl worklist fetch ris --accept-losses" in done.stderr
    assert "2 entries are missing from its list" in run("sources").stdout
    assert {each["status"] for each in entries(sqlite_database)} == {"SCHEDULED"}
    done = run("fetch", "ris", "--accept-losses")
    assert (done.exit_code, done.stdout) == (0, "2 vanished\n")
    assert "entries are missing" not in run("sources").stdout
    assert {each["status"] for each in entries(sqlite_database)} == {"CANCELED"}
    assert [each for each in audited(sqlite_database) if each[0] == "import"][-2:] == [
        ("import", "source:ris", {"accept_losses": False, "losses": 2}),
        ("import", "source:ris", {"accept_losses": True, "vanished": 2}),
    ]


def test_who_imports_is_recorded_unless_it_is_a_rehearsal(run, folder, sqlite_database):
    save(entry(3, PatientID=""), folder / "bad.wl")
    assert run("import", "--dry-run", folder).exit_code == 1
    assert audited(sqlite_database) == []
    run("import", folder)
    counts = {"path": str(folder), "imported": len(entries(sqlite_database)), "refused": 1}
    assert audited(sqlite_database) == [("import", "worklist", counts)]
