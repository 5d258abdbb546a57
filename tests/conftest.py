"""Fixtures: a fresh, migrated database of either kind.

`database` is a `Database`; `database_url` is the address alone, for tests that start
processes. Both are parametrised over SQLite and PostgreSQL. TEST_DATABASE_URL names a
PostgreSQL server, and a user who may create databases there, to use instead of our own.
"""

import os
import shutil
import uuid

import pytest
from hypothesis import settings
from sqlalchemy import make_url

from mwl.db import Database
from mwl.db.migrate import upgrade
from tests import postgres

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

pytest_plugins = ["tests.s3", "tests.browser"]

BACKENDS = ("sqlite", "postgresql")


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
def postgresql_template(postgresql_server, tmp_path_factory):
    """Name a migrated database that is copied for every test (50 ms; migrating takes 300)."""
    name = _new_name()
    postgres.execute(postgresql_server, f"CREATE DATABASE {name}")
    upgrade(_with_database(postgresql_server, name), tmp_path_factory.getbasetemp())
    yield name
    postgres.execute(postgresql_server, f"DROP DATABASE {name}")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory):
    """Name a migrated file that is copied for every test."""
    folder = tmp_path_factory.mktemp("sqlite")
    upgrade("sqlite:///template.db", folder)
    return folder / "template.db"


@pytest.fixture
def sqlite_url(sqlite_template, tmp_path):
    """Give the URL of a fresh, migrated SQLite database."""
    path = tmp_path / "mwl.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(postgresql_server, postgresql_template):
    """Give the URL of a fresh, migrated PostgreSQL database."""
    name = _new_name()
    postgres.execute(
        postgresql_server,
        f"CREATE DATABASE {name} TEMPLATE {postgresql_template} STRATEGY FILE_COPY",
    )
    yield _with_database(postgresql_server, name)
    postgres.execute(postgresql_server, f"DROP DATABASE {name} WITH (FORCE)")


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


def _new_name() -> str:
    return f"mwl_{uuid.uuid4().hex}"


def _with_database(url: str, name: str) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)
