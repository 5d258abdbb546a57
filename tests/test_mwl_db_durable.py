"""What write() has returned survives: a killed process, and (system calls) a lost power."""

import re
import subprocess
import sys
from contextlib import closing, suppress

import pytest
from sqlalchemy import make_url
from sqlmodel import text

from mwl.db import Database
from tests import postgres
from tests.peers import missing, require
from tests.test_mwl_db_write import titles

_ENDLESS = """
import os, sys, threading
from datetime import UTC, datetime
from pathlib import Path
from mwl.db import Database
from mwl.db.tables import Device

database = Database(sys.argv[1], data_dir=Path(sys.argv[2]))
now = datetime.now(UTC)

def write(thread):
    for number in range(100_000):
        title = f"AE{thread}-{number}"
        row = Device(ae_title=title, created_at=now, updated_at=now)
        database.write(lambda s: s.add(row))
        os.write(1, f"{title}\\n".encode())

for thread in range(4):
    threading.Thread(target=write, args=(thread,)).start()
"""

_THREE = """
import os, sys
from pathlib import Path
from mwl.db import Database

database = Database(sys.argv[1], data_dir=Path(sys.argv[2]))
for number in range(3):
    statement = f"UPDATE alembic_version SET version_num = 'x{number}'"
    database.write(lambda s: s.connection().exec_driver_sql(statement))
    os.write(1, b"RETURNED")
"""


def test_a_killed_process_loses_nothing_that_was_returned(database_url, tmp_path):
    command = [sys.executable, "-c", _ENDLESS, database_url, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        returned = {writer.stdout.readline().strip() for _ in range(200)}
        writer.kill()
        lines = writer.stdout.read().split("\n")
        returned.update(lines[:-1])  # the last may be half a line
    assert len(returned) >= 200
    with closing(Database(database_url, data_dir=tmp_path)) as database:
        found = titles(database)
        assert returned <= found
        # At most one a thread was written and not yet told.
        assert len(found - returned) <= 4


def test_write_returns_only_after_the_log_is_synced(sqlite_url, tmp_path):
    trace = tmp_path / "trace"
    calls = "trace=write,pwrite64,fsync,fdatasync"
    traced = [require("strace"), "-f", "-y", "-qq", "-e", calls, "-o", str(trace)]
    done = subprocess.run(
        [*traced, sys.executable, "-c", _THREE, sqlite_url, str(tmp_path)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    if b"PTRACE" in done.stderr:
        missing("this container may not trace")
    assert done.returncode == 0, done.stderr
    # w: bytes into the log, s: the log synced, R: told so.
    story = "".join(_letter(line) for line in trace.read_text().splitlines())
    assert re.fullmatch(r"(w+s[ws]*(?<=s)R){3}[ws]*", story), story


@pytest.mark.parametrize(("theirs", "ours"), [("off", "on"), ("local", "local")])
def test_commit_waits_for_the_disk_whatever_the_server_is_set_to(
    postgresql_url, tmp_path, theirs, ours
):
    name = make_url(postgresql_url).database
    postgres.execute(postgresql_url, f"ALTER DATABASE {name} SET synchronous_commit = {theirs}")

    def level(session):
        return session.connection().scalar(text("SHOW synchronous_commit"))

    with closing(Database(postgresql_url, data_dir=tmp_path)) as database:
        with suppress(ZeroDivisionError):
            database.write(lambda session: (level(session), 1 / 0))
        assert database.write(level) == ours


def _letter(call: str) -> str:
    if "RETURNED" in call:
        return "R"
    if "mwl.db-wal>" not in call:
        return ""
    return "s" if "sync(" in call else "w"
