"""Health says what is true of the database and of the roles beside the web."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from mwl.config import Settings
from mwl.db import Database
from mwl.errors import Outage
from mwl.roles.web import wiring
from web import create_app

UP = {"dicom": True, "hl7": True}


class Gone(Database):
    """A database that can't be reached."""

    @contextmanager
    def read(self) -> Iterator[object]:
        raise Outage("database: its file is missing (SQLITE_CANTOPEN) /srv/secret/path")
        yield


def ask(database: Database, path: str, serving=UP):
    given = wiring(Settings(), database, lambda: serving)
    return create_app(given).test_client().get(path)


def test_alive_needs_nothing(tmp_path: Path) -> None:
    answer = ask(Gone("sqlite:///none.db", data_dir=tmp_path), "/health/live", {"hl7": False})
    assert (answer.status_code, answer.json) == (200, {"live": True})


def test_ready_when_database_and_roles_are(database: Database) -> None:
    answer = ask(database, "/health/ready")
    parts = {"database": "ok", "dicom": "ok", "hl7": "ok"}
    assert (answer.status_code, answer.json) == (200, {"ready": True, "parts": parts})
    assert answer.headers["Cache-Control"] == "no-store"


def test_ready_alone_where_no_other_role_runs_here(sqlite_database: Database) -> None:
    assert ask(sqlite_database, "/health/ready", {}).status_code == 200


@pytest.mark.parametrize("role", ["dicom", "hl7"])
def test_not_ready_while_a_role_is_down(sqlite_database: Database, role: str) -> None:
    answer = ask(sqlite_database, "/health/ready", {**UP, role: False})
    assert answer.status_code == 503
    assert answer.json["ready"] is False
    assert answer.json["parts"][role] == "down"


def test_not_ready_while_the_database_is_gone_and_says_no_more_than_that(tmp_path: Path) -> None:
    answer = ask(Gone("sqlite:///none.db", data_dir=tmp_path), "/health/ready")
    assert answer.status_code == 503
    assert answer.json["parts"]["database"] == "unreachable"
    assert "secret" not in answer.text


def test_not_ready_at_another_revision(database: Database) -> None:
    database.write(
        lambda s: s.connection().execute(text("UPDATE alembic_version SET version_num = 'x'"))
    )
    answer = ask(database, "/health/ready")
    assert answer.status_code == 503
    assert answer.json["parts"]["database"] == "other revision"


def test_log_never_holds_the_query_string(sqlite_database: Database) -> None:
    with capture_logs() as lines:
        ask(sqlite_database, "/nothing?name=DOE^JANE")
    (line,) = [each for each in lines if each["event"] == "web.request"]
    assert (line["path"], line["status"], line["log_level"]) == ("/nothing", 404, "info")
    assert "DOE" not in repr(lines)


def test_probes_do_not_fill_the_log(sqlite_database: Database) -> None:
    with capture_logs() as lines:
        ask(sqlite_database, "/health/ready")
    assert {each["log_level"] for each in lines} <= {"debug"}
