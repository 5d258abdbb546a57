"""Fixtures: a fresh, migrated database of either kind.

`database` is a `Database`; `database_url` is the address alone, for tests that start
processes. Both are parametrised over SQLite and PostgreSQL. TEST_DATABASE_URL names a
PostgreSQL server, and a user who may create databases there, to use instead of our own.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from mwl.db import Database
from mwl.db.migrate import upgrade
from tests import memory, postgres

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

pytest_plugins = ["tests.s3", "tests.browser"]

BACKENDS = ("sqlite", "postgresql")


def pytest_xdist_auto_num_workers():
    """Have a worker more than there are processors: tests often wait, for peers and for time."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session")
def postgresql_server():
    """Give the URL of a PostgreSQL server: one a worker, started when first asked for."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield given
        return
    server = postgres.Server()
    try:
        yield server.url
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgresql_databases(postgresql_server, tmp_path_factory):
    """Give migrated databases, emptied and lent again (migrating takes 300 ms, copying 50)."""
    pool = postgres.Databases(postgresql_server, lambda url: upgrade(url, folder))
    folder = tmp_path_factory.getbasetemp()
    try:
        yield pool
    finally:
        pool.remove()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory):
    """Name a migrated file that is copied for every test."""
    folder = tmp_path_factory.mktemp("sqlite")
    upgrade("sqlite:///template.db", folder)
    return folder / "template.db"


@pytest.fixture
def sqlite_url(sqlite_template, tmp_path):
    """Give the URL of a fresh, migrated SQLite database, in memory where there is room."""
    place = memory.folder()
    folder = Path(tempfile.mkdtemp(prefix="mwl-db-", dir=place)) if place else tmp_path
    shutil.copy(sqlite_template, folder / "mwl.db")
    yield f"sqlite:///{folder / 'mwl.db'}"
    if place:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgresql_url(postgresql_databases):
    """Give the URL of a migrated PostgreSQL database without a row."""
    url = postgresql_databases.lend()
    yield url
    postgresql_databases.take_back(url)


@pytest.fixture(params=BACKENDS)
def database_url(request):
    """Give the URL of a fresh, migrated database of each kind."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def database(database_url, tmp_path):
    """Give a fresh, migrated database of each kind."""
    opened = Database(database_url, data_dir=tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_database(sqlite_url, tmp_path):
    """Give a fresh, migrated SQLite database."""
    opened = Database(sqlite_url, data_dir=tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def postgresql_database(postgresql_url, tmp_path):
    """Give a fresh, migrated PostgreSQL database."""
    opened = Database(postgresql_url, data_dir=tmp_path)
    yield opened
    opened.close()
