"""`mwl hl7 profiles`, and `mwl check` of a profile, as a person runs them."""

import json
from pathlib import Path

import pytest

from hl7 import profile, profile_files
from mwl.config import shipped
from tests.test_mwl_cli import mwl

SHIPPED = shipped("hl7/default.toml").parent
MINE = """extends = "dcm4chee"
title = "Ours"

[procedure]
accession_number = [{ from = "ORC-3", cut_start = "ORD-", when = { "MSH-4" = "A\\"*" } }, "OBR-18"]

[[rule]]
code = "CT*"
when = { "PV1-2" = ["E", "I"] }
stations = ["CT1"]
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with settings, and with a profile of the site's own."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "ours.toml").write_text(MINE, "utf-8")
    (tmp_path / "mwl.toml").write_text(
        '[hl7]\nprofiles = "mine"\nprofile = "ihe-swf"\n\n'
        '[[hl7.source]]\nname = "RIS^A*"\nprofile = "ours"\n',
        "utf-8",
    )
    return tmp_path


def run(site: Path, *arguments: str):
    return mwl(site, "--config", str(site / "mwl.toml"), *arguments)


def test_profiles_are_listed_with_whom_they_read(site: Path) -> None:
    done = run(site, "hl7", "profiles", "--json")
    assert done.returncode == 0, done.stderr
    found = {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert sorted(found) == sorted(["ours", *profile_files.available([SHIPPED])])
    assert found["ours"]["used_by"] == "RIS^A*"
    assert found["ours"]["extends"] == "dcm4chee, default"
    assert found["ours"]["file"] == str(site / "mine" / "ours.toml")
    assert found["ihe-swf"]["used_by"] == "all others"
    assert found["default"]["used_by"] == ""
    table = run(site, "hl7", "profiles").stdout
    assert "Ours" in table
    assert "IHE RAD" not in table


def test_a_folder_of_profiles_that_is_not_there_is_told(site: Path) -> None:
    (site / "mine").rename(site / "yours")
    for command in (["serve"], ["hl7", "profiles"]):
        done = run(site, *command)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"hl7.profiles: {site / 'mine'} is no folder" in done.stderr


def test_a_profile_is_printed_as_one_file_that_says_the_same(site: Path) -> None:
    done = run(site, "hl7", "profiles", "ours")
    assert done.returncode == 0, done.stderr
    (site / "whole.toml").write_text(done.stdout, "utf-8")
    folders = [site / "mine", SHIPPED]
    assert profile.load(site / "whole.toml") == profile_files.load("ours", folders)


def test_what_is_at_fault_is_told_with_its_line_and_stops_the_check(site: Path) -> None:
    file = site / "mine" / "ours.toml"
    file.write_text(MINE.replace("cut_start", "cut"), "utf-8")
    fault = f"{file}:5: [procedure] accession_number: cut: no such key of a place"
    assert fault in run(site, "hl7", "profiles").stdout
    shown = run(site, "hl7", "profiles", "ours")
    assert (shown.returncode, shown.stderr) == (2, f"mwl: {fault}\n")
    checked = run(site, "check")
    assert checked.returncode != 0
    assert f"FAIL  hl7.profile    {fault}" in checked.stdout


@pytest.mark.parametrize("name", ["nobody", "../mwl", "mine/ours"])
def test_a_profile_that_is_not_there_is_named(site: Path, name: str) -> None:
    done = run(site, "hl7", "profiles", name)
    assert done.returncode == 2
    assert name in done.stderr
    assert "Traceback" not in done.stderr
