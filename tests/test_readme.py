"""What the README says works: every command in it is run, in its order."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from mwl.config import load
from tests import warm
from tests.certificates import Authority
from tests.orthanc import free_ports
from tests.peers import dcmtk, require
from tests.serving import PATIENCE_S, served

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line
]


@pytest.fixture
def path(tmp_path):
    """A PATH with `mwl` as after activation, and DCMTK's programs, not pynetdicom's."""
    require("sqlite3")
    folder = tmp_path / "bin"
    folder.mkdir()
    warm.script(folder / "mwl")
    return os.pathsep.join([str(folder), str(Path(dcmtk("findscu")).parent), os.defpath])


def _here(command, server, folder):
    """Put this test's ports and folders in place of those that the README speaks of."""
    places = {
        "127.0.0.1 11112": f"127.0.0.1 {server.ports['dicom']}",
        "127.0.0.1 2762": f"127.0.0.1 {server.environ['MWL_DICOM__TLS__PORT']}",
        " data/": f" {server.data_dir}/",
        "/srv/": f"{folder}/",
    }
    for theirs, ours in places.items():
        command = command.replace(theirs, ours)
    return command


def _tls(folder):
    """Settings of a port over TLS, with certificates that the README's take the place of."""
    folder.mkdir(parents=True)
    authority = Authority(folder, "ca")
    authority.issue("mwl", dns=["localhost"])
    files = {"CERTIFICATE": "tls/mwl.pem", "KEY": "tls/mwl.key", "CA": "tls/ca.pem"}
    given = {**files, "CLIENT": "optional"}
    found = {}
    for table, port in zip(("DICOM", "HL7"), free_ports(2), strict=True):
        settings = {"PORT": str(port), **given}
        found |= {f"MWL_{table}__TLS__{name}": value for name, value in settings.items()}
    return found


def test_every_command_does_what_the_readme_says(tmp_path, path):
    said = {}
    with served(tmp_path, **_tls(tmp_path / "data" / "tls")) as server:
        for command in COMMANDS:
            ours = _here(command, server, tmp_path)
            if " 2762" in command:
                # Where a reader starts anew.
                server.process.send_signal(signal.SIGHUP)
                server.wait_for_log(r"(?s)(tls\.renewed.*){3}")
            done = subprocess.run(
                ["/bin/sh", "-c", ours],
                cwd=ROOT,
                env={**server.environ, "PATH": path},
                capture_output=True,
                timeout=PATIENCE_S,
            )
            text = (done.stdout + done.stderr).decode(errors="replace")
            assert done.returncode == 0, f"{command}\n{text}"
            said.setdefault(command, []).append(text)
    for how in ("", "--tls "):
        assert said[f"mwl hl7 send {how}tests/data/first-steps/order.hl7"][0].startswith("AA")
    listed = said["mwl worklist list --json --accession ACC-1001"]
    morning, afternoon = (json.loads(text) for text in listed)
    assert morning["patient_name"] == "Müller^Jörg"
    assert "T10:30:00" in morning["start"]
    assert "T14:00:00" in afternoon["start"]
    (found,) = (texts[0] for command, texts in said.items() if "findscu -W" in command)
    assert found.count("(Pending)") == 1
    assert "103000" in found
    assert "ORM^O01" in said["mwl messages list"][0]
    assert "CT1" in said["mwl device list"][0]
    (study,) = (texts[0] for command, texts in said.items() if "findscu -S" in command)
    assert study.count("(Pending)") == 1
    assert "Doe^Jane" in study
    assert "ACC-2001" in said["mwl study list"][0]
    assert "order CLOSED" in said["mwl demo"][0]
    assert "What to look at" in said["mwl demo --day"][0]
    assert "ORM^O01" in said["mwl story ACC-1001"][0]
    assert "4711" in said["mwl patient show 4719"][0]
    assert "Normal knee." in said["mwl report show 1"][0]
    assert ", by accession number" in said["mwl report show 1"][0]
    assert "none" in said["mwl report list --unlinked"][0]
    assert "1 imported, 0 not" in said["mwl worklist import tests/data/first-steps/worklists"][0]
    assert "2 imported, 0 not" in said["mwl worklist import tests/data/first-steps/worklist.csv"][0]
    assert " written, 0 unchanged" in said["mwl worklist export /srv/worklists"][0]
    (copy,) = (texts[0] for command, texts in said.items() if command.endswith("backup mwl verify"))
    assert "all well" in copy


def test_the_first_steps_end_with_a_cancelled_order(tmp_path):
    with served(tmp_path) as server:
        for name in ("order", "reschedule", "cancel"):
            server.run("hl7", "send", str(ROOT / f"tests/data/first-steps/{name}.hl7"))
        (line,) = server.run("worklist", "list", "--json").stdout.splitlines()
    assert json.loads(line)["status"] == "CANCELED"


def test_every_variable_that_the_readme_names_is_a_setting():
    named = dict(re.findall(r"`(MWL_[A-Z]+__[A-Z_]+|MWL_DATA_DIR)=([^`]+)`", README))
    assert len(named) >= 4
    settings = load(None, named)
    assert settings.site.zone == named["MWL_SITE__ZONE"]
    assert settings.dicom.port == int(named["MWL_DICOM__PORT"])


def test_every_link_leads_to_a_file():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


@pytest.mark.parametrize("target", ["serve", "test", "lint", "bench", "fuzz", "lock", "clean"])
def test_every_make_target_that_the_readme_names_is_there(target):
    assert f"make {target}" in README
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr


def test_no_line_of_prose_is_too_long():
    prose = re.sub(r"(?ms)^```.*?^```$|^\|.*?$|!\[.*?\]\(.*?\)", "", README)
    assert [line for line in prose.splitlines() if len(line) > 100] == []


TABLES = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
PROFILES = [each for each in TABLES if each.startswith("extends")]


@pytest.mark.parametrize("text", [each for each in TABLES if each not in PROFILES])
def test_every_table_of_settings_is_taken(tmp_path, text):
    (tmp_path / "mwl.toml").write_text(text)
    assert load(tmp_path / "mwl.toml", {}) != load(None, {})
