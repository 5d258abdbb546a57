"""`mwl user` and `mwl token`: who may come in; and what the first start of a server prints."""

import json
import re
from datetime import UTC, datetime, timedelta
from getpass import getuser
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest
from sqlalchemy import select

from mwl import accounts
from mwl.accounts import Role
from mwl.db import Database
from mwl.db.tables import AuditEvent
from tests.serving import Serving
from tests.test_mwl_cli import mwl

FORM_TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


def now() -> datetime:
    return datetime.now(UTC)


def password_in(text: str) -> str:
    (password,) = re.findall(r"password (\S+)", text)
    return password


def is_let_in(database: Database, name: str, password: str) -> bool:
    done = accounts.sign_in(database, name, password, "127.0.0.1", now=now())
    return not isinstance(done, accounts.Refusal)


def audited(database: Database) -> list[tuple[str, str, str, str, dict[str, object]]]:
    with database.read() as session:
        rows = session.execute(select(AuditEvent).order_by(AuditEvent.id)).scalars()
        return [(row.who, row.role, row.action, row.subject, row.detail) for row in rows]


def test_an_account_is_made_reset_and_disabled(
    tmp_path: Path, database_url: str, database: Database
) -> None:
    where = {"MWL_DATABASE__URL": database_url}
    added = mwl(tmp_path, "user", "add", "Anna", "--role", "technologist", **where)
    assert (added.returncode, added.stderr) == (0, "")
    first = password_in(added.stdout)
    assert is_let_in(database, "anna", first)

    again = mwl(tmp_path, "user", "reset", "anna", **where)
    second = password_in(again.stdout)
    assert not is_let_in(database, "anna", first)
    assert is_let_in(database, "anna", second)

    gone = mwl(tmp_path, "user", "disable", "ANNA", **where)
    assert (gone.returncode, gone.stdout) == (0, "disabled: anna\n")
    assert not is_let_in(database, "anna", second)
    (line,) = mwl(tmp_path, "user", "list", "--json", **where).stdout.splitlines()
    shown = json.loads(line)
    assert (shown["name"], shown["role"], shown["state"]) == ("anna", "technologist", "disabled")
    assert "hash" not in line
    by_hand = [each for each in audited(database) if each[1] == "cli"]
    assert by_hand == [
        (getuser(), "cli", "create", "user:anna", {"role": "technologist"}),
        (getuser(), "cli", "change", "user:anna", {"password": "made anew"}),
        (getuser(), "cli", "change", "user:anna", {"disabled": True}),
    ]
    assert first not in str(audited(database))
    assert second not in str(audited(database))


def test_a_token_is_printed_once_and_opens_nothing_once_removed(
    tmp_path: Path, sqlite_url: str, sqlite_database: Database
) -> None:
    where = {"MWL_DATABASE__URL": sqlite_url}
    made = mwl(tmp_path, "token", "add", "ris", "--role", "viewer", "--days", "30", **where)
    token = made.stdout.strip()
    assert re.fullmatch(r"mwl_[A-Za-z0-9_-]{43}", token)

    def found(at: datetime) -> accounts.Bearer | None:
        with sqlite_database.read() as session:
            return accounts.find_token(session, token, now=at)

    bearer = found(now())
    assert bearer is not None
    assert (bearer.name, bearer.role) == ("ris", Role.VIEWER)
    assert found(now() + timedelta(days=29)) is not None
    assert found(now() + timedelta(days=31)) is None

    listed = mwl(tmp_path, "token", "list", "--json", **where).stdout
    assert token not in listed
    assert json.loads(listed)["state"] == "good"
    removed = mwl(tmp_path, "token", "remove", "ris", **where)
    assert (removed.returncode, removed.stdout) == (0, "removed: ris\n")
    assert found(now()) is None
    assert [each[2:4] for each in audited(sqlite_database)] == [
        ("create", "token:ris"),
        ("remove", "token:ris"),
    ]
    assert token not in str(audited(sqlite_database))


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["user", "add", "berta"], 2, "role: is needed: viewer, technologist, admin"),
        (["user", "add", "berta", "--role", "boss"], 2, "role: must be one of viewer, "),
        (["user", "add", "Bert a", "--role", "viewer"], 2, "name: is 1 to 64 letters, digits"),
        (["user", "add", "ADMIN", "--role", "viewer"], 1, "name: there is such an account already"),
        (["user", "reset", "nobody"], 1, "nobody: there is no such account (`mwl user list`"),
        (["user", "disable", "admin"], 1, "admin: is the last administrator"),
        (["token", "add", "x", "--role", "viewer", "--days", "0"], 2, "days: is a number from 1"),
        (["token", "add", "a b", "--role", "viewer"], 2, "name: is 1 to 64 letters, digits"),
        (["token", "remove", "x"], 1, "x: there is no such token (`mwl token list`"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_told_in_a_line(
    tmp_path: Path,
    sqlite_url: str,
    sqlite_database: Database,
    arguments: list[str],
    code: int,
    told: str,
) -> None:
    sqlite_database.write(lambda session: accounts.first_admin(session, now=now()))
    done = mwl(tmp_path, *arguments, MWL_DATABASE__URL=sqlite_url)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(f"mwl: {told}")
    assert len(done.stderr.splitlines()) == 1
    assert audited(sqlite_database) == []


def test_the_first_start_prints_a_password_that_signs_in_and_the_second_prints_none(
    tmp_path: Path,
) -> None:
    with Serving(tmp_path) as server:
        server.start()
        password = password_in(server.said)
        assert sign_in(server.ports["web"], "admin", password) == (302, "/")
        assert password not in server.log
        server.stop()
        server.start()
        assert "password" not in server.said


def sign_in(port: int, name: str, password: str) -> tuple[int, str | None]:
    """Sign in as a browser does, over a socket; give the status, and where it leads."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/sign-in")
        form = connection.getresponse()
        cookie = str(form.getheader("Set-Cookie")).partition(";")[0]
        (csrf,) = FORM_TOKEN.findall(form.read().decode())
        body = urlencode({"name": name, "password": password, "csrf_token": csrf})
        kind = "application/x-www-form-urlencoded"
        headers = {"Content-Type": kind, "Cookie": cookie}
        connection.request("POST", "/sign-in", body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("Location")
    finally:
        connection.close()
