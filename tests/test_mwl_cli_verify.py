"""`mwl verify`: what a person, or a cron job, is told of the archive."""

import json
import os
import pty
import re
import subprocess
import time
from pathlib import Path

import pytest

from mwl.config import Archive
from mwl.db import Database
from mwl.objects import open_store
from tests import s3
from tests.serving import PATIENCE_S, environment
from tests.test_mwl_cli import MWL, mwl
from tests.test_mwl_objects import put
from tests.test_mwl_verify import Kept


@pytest.fixture
def kept(sqlite_database: Database, tmp_path: Path) -> Kept:
    """Three images, all well."""
    archive = Kept(sqlite_database, open_store(Archive(), tmp_path))
    for number in range(3):
        archive.add(number)
    return archive


@pytest.fixture
def where(sqlite_url: str, kept: Kept) -> dict[str, str]:
    return {"MWL_DATABASE__URL": sqlite_url}


def test_all_well_is_one_line_and_0(tmp_path: Path, where: dict[str, str]) -> None:
    done = mwl(tmp_path, "verify", **where)
    assert done.stdout == "3 images of the index looked for, 3 in the store: all well\n"
    assert (done.returncode, done.stderr) == (0, "")
    done = mwl(tmp_path, "verify", "--deep", **where)
    line = "3 images of the index read again (30,000 bytes), 3 in the store: all well\n"
    assert (done.returncode, done.stdout) == (0, line)


def test_what_is_wrong_is_named_and_1(tmp_path: Path, kept: Kept, where: dict[str, str]) -> None:
    gone, changed = kept.add(10), kept.add(11)
    kept.objects.delete(gone)
    kept.set(changed, sha256=bytes(32))
    fresh = put(kept.objects, b"x")
    done = mwl(tmp_path, "verify", "--deep", **where)
    assert done.returncode == 1
    wrong, content, note, total = done.stdout.splitlines()
    assert re.fullmatch(rf"WRONG  missing +{gone}  2\.25\.10  the index .*", wrong)
    assert re.fullmatch(rf"WRONG  content +{changed}  2\.25\.11  its data set .*", content)
    assert re.fullmatch(rf"note   on its way +{fresh}  -  written .*", note)
    assert total.endswith("5 in the store: 2 wrong, 1 on their way")


def test_an_image_on_its_way_is_not_wrong(
    tmp_path: Path, kept: Kept, where: dict[str, str]
) -> None:
    put(kept.objects, b"x")
    done = mwl(tmp_path, "verify", **where)
    assert done.returncode == 0
    assert done.stdout.endswith("all well, 1 on their way\n")


def test_what_no_row_names_is_removed_where_that_is_asked_for(
    tmp_path: Path, kept: Kept, where: dict[str, str]
) -> None:
    young, old = put(kept.objects, b"x"), put(kept.objects, b"y")
    a_day_ago = time.time() - 86_400
    os.utime(tmp_path / "objects" / old, (a_day_ago, a_day_ago))
    done = mwl(tmp_path, "verify", **where)
    assert (done.returncode, done.stdout.count("unreferenced")) == (1, 1)
    done = mwl(tmp_path, "verify", "--remove-unreferenced", **where)
    assert done.returncode == 0
    assert re.search(rf"^note   removed +{old}  -  written ", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("5 in the store: all well, 1 on their way, 1 removed\n")
    assert young in list(kept.objects.keys())
    assert "4 in the store: all well" in mwl(tmp_path, "verify", "--deep", **where).stdout


def test_json_is_an_object_a_line(tmp_path: Path, kept: Kept, where: dict[str, str]) -> None:
    gone = kept.add(10)
    kept.objects.delete(gone)
    done = mwl(tmp_path, "verify", "--json", **where)
    assert done.returncode == 1
    wrong, total = (json.loads(line) for line in done.stdout.splitlines())
    assert wrong.pop("text")
    assert wrong == {
        "problem": "missing",
        "wrong": True,
        "key": gone,
        "sop_instance_uid": "2.25.10",
    }
    assert total == {
        "indexed": 4,
        "stored": 3,
        "bytes_read": 0,
        "deep": False,
        "wrong": 1,
        "on_their_way": 0,
        "removed": 0,
    }


def test_a_terminal_is_shown_a_bar_and_its_output_stays_clean(
    tmp_path: Path, kept: Kept, where: dict[str, str]
) -> None:
    gone = kept.add(10)
    kept.objects.delete(gone)
    near, far = pty.openpty()
    try:
        done = subprocess.run(
            [str(MWL), "verify", "--deep"],
            env=environment(tmp_path, TERM="xterm", **where),
            stdout=subprocess.PIPE,
            stderr=far,
            text=True,
            timeout=PATIENCE_S,
        )
        shown = os.read(near, 65_536).decode()
    finally:
        os.close(near)
        os.close(far)
    assert done.returncode == 1
    assert [line[:5] for line in done.stdout.splitlines()] == ["WRONG", "4 ima"]
    assert "index" in shown


def test_a_bucket_is_looked_at_too(
    tmp_path: Path, sqlite_url: str, sqlite_database: Database, s3_bucket: Archive
) -> None:
    kept = Kept(sqlite_database, open_store(s3_bucket, tmp_path))
    kept.add(1)
    gone = kept.add(2)
    kept.objects.delete(gone)
    where = {"MWL_DATABASE__URL": sqlite_url, **s3.environ(s3_bucket)}
    done = mwl(tmp_path, "verify", "--deep", **where)
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 2)
    assert gone in done.stdout
    refused = mwl(tmp_path, "verify", **{**where, "MWL_ARCHIVE__SECRET_ACCESS_KEY": "wrong"})
    assert refused.returncode == 1
    assert "archive.access_key_id" in refused.stdout + refused.stderr
    assert "missing" not in refused.stdout


def test_a_wrong_setting_or_option_is_2(tmp_path: Path, where: dict[str, str]) -> None:
    assert mwl(tmp_path, "verify", "--deeper", **where).returncode == 2
    wrong = {"MWL_ARCHIVE__OBJECTS": "s3://b", "MWL_ARCHIVE__ENDPOINT": "nowhere"}
    done = mwl(tmp_path, "verify", **where, **wrong)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mwl: archive.endpoint: must be written https://")


def test_without_a_database_it_says_what_to_do(tmp_path: Path) -> None:
    done = mwl(tmp_path, "verify")
    assert done.returncode == 1
    assert "`mwl serve` creates it" in done.stderr
