"""The command line as a person meets it: quick help, one line for each fault, exit codes."""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from mwl import packages
from mwl.cli import _config_first
from mwl.errors import ConfigError
from mwl.journal import State
from tests import warm
from tests.serving import PATIENCE_S, environment

MWL = Path(sys.executable).with_name("mwl")


def mwl(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return warm.run(arguments, env=environment(folder, **environ), timeout=PATIENCE_S)


COMMANDS = [
    ["serve"],
    ["check"],
    ["verify"],
    ["worklist"],
    ["worklist", "list"],
    ["worklist", "add"],
    ["worklist", "change"],
    ["worklist", "cancel"],
    ["worklist", "arrive"],
    ["worklist", "ready"],
    ["worklist", "depart"],
    ["worklist", "close"],
    ["worklist", "reopen"],
    ["worklist", "import"],
    ["worklist", "export"],
    ["worklist", "sources"],
    ["worklist", "fetch"],
    ["messages", "list"],
    ["hl7", "send"],
    ["device", "add"],
    ["device", "list"],
    ["device", "show"],
    ["device", "try"],
    ["device", "import"],
    ["device", "export"],
    ["associations", "list"],
    ["associations", "abort"],
    ["study", "list"],
    ["study", "link"],
    ["user", "add"],
    ["user", "list"],
    ["user", "reset"],
    ["user", "disable"],
    ["token", "add"],
    ["token", "list"],
    ["token", "remove"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(tmp_path: Path, command: list[str]) -> None:
    done = mwl(tmp_path, *command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: mwl {' '.join(command)}")
    # Python's words for types mean nothing to a technologist.
    _, _, options = done.stdout.partition("Options:")
    assert not re.search("<(str|int|float|list|path)", options)
    assert not re.search("{[a-z]", done.stdout)
    assert not list(tmp_path.iterdir())


def test_version_is_told(tmp_path: Path) -> None:
    done = mwl(tmp_path, "--version")
    assert (done.returncode, done.stdout) == (0, f"mwl-bridge {version('mwl-bridge')}\n")


def test_help_names_what_is_needed_and_what_may_be_asked_for(tmp_path: Path) -> None:
    needed = mwl(tmp_path, "worklist", "add", "--help").stdout.count("needed.")
    assert needed == 3
    states = " ".join(mwl(tmp_path, "messages", "list", "--help").stdout.split())
    assert f"Only in this state: {', '.join(State)}." in states


def test_entry_gets_a_new_accession_number(tmp_path: Path, sqlite_url: str) -> None:
    where = {"MWL_DATABASE__URL": sqlite_url}
    person = ["--patient-id", "P1", "--name", "Doe^Jane", "--modality", "ct"]
    mwl(tmp_path, "worklist", "add", *person, "--accession", "A1", **where)
    mwl(tmp_path, "worklist", "change", "--accession", "A1", "--new-accession", "A2", **where)
    (line,) = mwl(tmp_path, "worklist", "list", "--json", **where).stdout.splitlines()
    assert json.loads(line)["accession_number"] == "A2"


def test_help_costs_less_than_the_heavy_libraries() -> None:
    script = (
        "import sys\n"
        "sys.argv = ['mwl', '--help']\n"
        "from mwl.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'sqlalchemy', 'sqlmodel', 'pydantic', 'pydicom', 'flask', 'granian', 'alembic'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serve", "pacs"], "mwl: serve pacs: no such role; there are dicom, hl7, web, jobs"),
        (["device", "add"], "Error: Missing argument 'AE_TITLE'."),
        (["device", "add", "A\\B"], "mwl: AE_TITLE: an AE title has 1 to 16 ASCII characters"),
        (["device", "add", "A", "--port", "99999"], "mwl: --port: should be less than or equal"),
        (["device", "add", "A", "--may", "fly"], "mwl: --may: should be 'worklist', 'mpps'"),
        (["nonsense"], "Error: No such command 'nonsense'."),
        (["check", "--nonsense"], "Error: No such option: --nonsense"),
        (["--config", "/nowhere.toml", "check"], "mwl: /nowhere.toml: can't be read: No such file"),
        (
            ["worklist", "add", "--start", "0001-01-01T00:00"],
            "mwl: --start 0001-01-01T00:00: the y",
        ),
        (["worklist", "add", "--start", "9999-12-31T23:59-10:00"], "mwl: --start 9999-12-31T23:59"),
        (["hl7", "send", "/nowhere.hl7"], "mwl: /nowhere.hl7: can't be read: No such file"),
    ],
)
def test_what_was_asked_wrongly_is_said_in_a_line_and_exit_code_2(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = mwl(tmp_path, *arguments)
    assert done.returncode == 2
    assert any(line.startswith(said) for line in done.stderr.splitlines()), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["device", "list"], ["worklist", "list"], ["messages", "list"]]
)
def test_database_that_is_not_there_is_a_line_and_exit_code_1(
    tmp_path: Path, arguments: list[str]
) -> None:
    done = mwl(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("mwl: there is no database at ")
    assert "mwl serve" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", [["serve"], ["serve", "web"], ["device", "list"]], ids=" ".join)
def test_option_that_postgresql_does_not_know_is_a_line_and_exit_code_2(
    tmp_path: Path, command: list[str]
) -> None:
    url = "postgresql://mwl:secret@127.0.0.1:1/mwl?nosuch=1"
    ports = {f"MWL_{role}__PORT": "0" for role in ("DICOM", "HL7", "WEB")}
    done = mwl(tmp_path, *command, MWL_DATABASE__URL=url, **ports)
    assert done.returncode == 2
    assert done.stderr.endswith('mwl: database.url: invalid connection option "nosuch"\n')
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["worklist", "add"], ["patient ID: is needed", "patient name: is needed", "modality: is"]),
        (["worklist", "add", "--birth-date", "1980"], ["birth date: is written YYYYMMDD"]),
        (["worklist", "change", "--step", "S1", "--name", ""], ["patient name: can't be emptied"]),
        (["messages", "list", "--state", "lost"], ["state: must be one of applied, noted, stale"]),
    ],
)
def test_every_wrong_value_is_a_line_and_the_exit_code_2(
    tmp_path: Path, sqlite_url: str, arguments: list[str], said: list[str]
) -> None:
    done = mwl(tmp_path, *arguments, MWL_DATABASE__URL=sqlite_url)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == len(said)
    for line, start in zip(lines, said, strict=True):
        assert line.startswith(f"mwl: {start}")


def test_entry_that_is_not_there_is_exit_code_1(tmp_path: Path, sqlite_url: str) -> None:
    done = mwl(tmp_path, "worklist", "cancel", "--step", "S1", MWL_DATABASE__URL=sqlite_url)
    assert (done.returncode, done.stderr) == (1, "mwl: no entry on file answers to that\n")


def test_profile_that_is_not_there_is_said_before_anything_is_made(tmp_path: Path) -> None:
    done = mwl(tmp_path / "data", "serve", MWL_HL7__PROFILE="nope")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("mwl: ")
    assert "nope" in line
    assert not (tmp_path / "data").exists()


def test_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    with subprocess.Popen(
        [str(MWL), "--help"],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.parametrize(
    ("given", "sorted_out"),
    [
        (["serve", "--config", "F", "dicom"], ["--config", "F", "serve", "dicom"]),
        (["serve", "--config=F"], ["--config=F", "serve"]),
        (["--config", "F", "serve"], ["--config", "F", "serve"]),
        (["hl7", "send", "--", "--config", "F"], ["hl7", "send", "--", "--config", "F"]),
        (["serve", "--config"], ["--config", "serve"]),
        ([], []),
    ],
)
def test_config_may_stand_anywhere(given: list[str], sorted_out: list[str]) -> None:
    assert _config_first(given) == sorted_out


def test_rival_packages_of_the_same_name_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages.check()
    info = tmp_path / "hl7-0.4.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hl7\nVersion: 0.4.5\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="'hl7' from PyPI is installed here and overwrites"):
        packages.check()


def test_package_that_hides_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "__init__.py").touch()
    script = "from mwl import packages; packages.check()"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {script}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert f"the Python package 'web' is not this program's but {tmp_path}" in done.stderr
