"""Signing in: who gets in, who doesn't, and what slows down who guesses."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from mwl import accounts, jobs
from mwl.accounts import Role
from mwl.config import Close
from mwl.db import Database
from mwl.db.tables import AuditEvent, WebSession
from mwl.errors import Rejected
from mwl.procedures import Effects
from tests.web_app import PASSWORD, Person, WebApp
from web.guard import COOKIE
from web.signing import local_path


@pytest.fixture
def app(sqlite_database: Database, tmp_path: Path) -> WebApp:
    made = WebApp(sqlite_database, tmp_path)
    made.add_account("anna", Role.TECHNOLOGIST)
    return made


def sign_in(client: Person, name: str = "anna", password: str = PASSWORD, to: str = "") -> Any:
    client.get("/sign-in")
    return client.post(f"/sign-in?next={to}", data={"name": name, "password": password})


def audited(app: WebApp) -> list[tuple[str, str]]:
    with app.database.read() as session:
        rows = session.execute(select(AuditEvent).order_by(AuditEvent.id)).scalars()
        return [(row.who, row.action) for row in rows]


def test_who_is_not_signed_in_is_asked_to_and_comes_back(app: WebApp) -> None:
    client = app.visitor()
    asked = client.get("/?day=2030-01-02&x=1")
    assert (asked.status_code, asked.location) == (
        302,
        "/sign-in?next=%2F%3Fday%3D2030-01-02%26x%3D1",
    )
    client.get(asked.location)
    answer = client.post(asked.location, data={"name": "Anna ", "password": PASSWORD})
    assert (answer.status_code, answer.location) == (302, "/?day=2030-01-02&x=1")
    assert client.get("/").status_code == 200
    assert audited(app) == [("anna", "sign-in")]


def test_the_cookie_is_kept_from_scripts_and_other_sites(app: WebApp) -> None:
    cookie = sign_in(app.visitor()).headers["Set-Cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


@pytest.mark.parametrize(
    ("name", "password"),
    [("anna", "wrong"), ("nobody", PASSWORD), ("", ""), ("anna", "x" * 10_000)],
)
def test_wrong_name_and_wrong_password_are_told_the_same(
    app: WebApp, name: str, password: str
) -> None:
    answer = sign_in(app.visitor(), name, password)
    assert answer.status_code == 401
    assert "Name or password is wrong." in answer.text
    assert COOKIE not in answer.headers.get("Set-Cookie", "")
    assert audited(app) == [(name, "sign-in failed")]


def test_who_guesses_waits_longer_each_time_and_the_right_password_does_not_help(
    app: WebApp,
) -> None:
    client = app.visitor()
    for _ in range(5):
        assert sign_in(client, password="guess").status_code == 401
    locked = sign_in(client)
    assert locked.status_code == 429
    assert "waits" in locked.text
    app.now += timedelta(seconds=61)
    assert sign_in(client).status_code == 302
    for _ in range(6):
        sign_in(client, password="guess")
    app.now += timedelta(seconds=61)
    assert sign_in(client).status_code == 429  # two minutes by now
    app.now += timedelta(seconds=61)
    assert sign_in(client).status_code == 302


def test_an_address_that_guesses_names_waits_too(
    app: WebApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mwl.accounts.signing_in._MOST_FROM_ADDRESS", 3)
    client = app.visitor()
    for number in range(3):
        assert sign_in(client, f"n{number}").status_code == 401
    assert sign_in(client).status_code == 429
    app.now += timedelta(minutes=16)
    assert sign_in(client).status_code == 302


def test_a_session_ends_when_it_rests_and_in_any_case_some_day(app: WebApp) -> None:
    client = app.signed_in()
    for _ in range(40):
        app.now += timedelta(minutes=17)
        assert client.get("/").status_code == 200
    app.now += timedelta(minutes=31)
    assert client.get("/").status_code == 302
    client = app.signed_in()
    for _ in range(44):
        app.now += timedelta(minutes=17)
        last = client.get("/").status_code
    assert last == 302  # 12.5 hours


def test_a_page_that_refreshes_itself_keeps_no_session_alive(app: WebApp) -> None:
    client = app.signed_in()
    for _ in range(3):
        app.now += timedelta(minutes=9)
        assert client.get("/", headers={"X-Refresh": "1"}).status_code == 200
    app.now += timedelta(minutes=9)
    assert client.get("/", headers={"X-Refresh": "1"}).status_code == 302


def test_signing_out_ends_the_session_for_who_copied_the_cookie_as_well(app: WebApp) -> None:
    client, thief = app.signed_in(), app.visitor()
    cookie = client.get_cookie(COOKIE)
    assert cookie is not None
    thief.set_cookie(COOKIE, cookie.value)
    assert thief.get("/").status_code == 200
    assert client.post("/sign-out").location == "/sign-in"
    assert thief.get("/").status_code == 302
    assert audited(app) == [("viewer", "sign-out")]


def test_a_session_that_somebody_fixed_is_not_taken_over(app: WebApp) -> None:
    client = app.visitor()
    client.set_cookie(COOKIE, "chosen-by-somebody-else")
    sign_in(client)
    cookie = client.get_cookie(COOKIE)
    assert cookie is not None
    assert cookie.value != "chosen-by-somebody-else"


def test_the_database_does_not_hold_what_the_cookie_does(app: WebApp) -> None:
    client = app.signed_in()
    cookie = client.get_cookie(COOKIE)
    assert cookie is not None
    assert app.database.path is not None
    kept = app.database.path.read_bytes() + app.database.path.with_name("mwl.db-wal").read_bytes()
    assert cookie.value.encode() not in kept
    assert PASSWORD.encode() not in kept


def test_a_form_without_its_token_changes_nothing(app: WebApp) -> None:
    client = app.signed_in()
    for path in ("/sign-out", "/account/password"):
        assert client.post(path, csrf=False).status_code == 400
    assert client.get("/").status_code == 200
    stranger = app.visitor()
    answer = stranger.post("/sign-in", data={"name": "anna", "password": PASSWORD}, csrf=False)
    assert answer.status_code == 400


def test_the_first_password_is_changed_before_anything_else(app: WebApp) -> None:
    given = app.database.write(
        lambda session: accounts.add(session, "Berta", Role.VIEWER, now=app.now)
    )
    client = app.visitor()
    assert sign_in(client, "berta", given).status_code == 302
    assert client.get("/").location == "/account/password"
    client.get("/account/password")
    form = {"old": given, "new": "long enough, that", "again": "long enough, that"}
    assert client.post("/account/password", data={**form, "again": "x"}).status_code == 400
    assert client.post("/account/password", data={**form, "old": "x"}).status_code == 400
    short = client.post("/account/password", data={**form, "new": "short", "again": "short"})
    assert "10 to 256 characters" in short.text
    before = client.get_cookie(COOKIE)
    assert client.post("/account/password", data=form).location == "/"
    after = client.get_cookie(COOKIE)
    assert before is not None
    assert after is not None
    assert before.value != after.value
    assert client.get("/").status_code == 200
    assert sign_in(app.visitor(), "berta", given).status_code == 401


def test_the_first_admin_is_made_once(sqlite_database: Database, tmp_path: Path) -> None:
    app = WebApp(sqlite_database, tmp_path)
    first = app.database.write(lambda session: accounts.first_admin(session, now=app.now))
    assert first is not None
    assert app.database.write(lambda s: accounts.first_admin(s, now=app.now)) is None
    assert sign_in(app.visitor(), "admin", first).status_code == 302


def test_sessions_that_have_ended_are_removed_by_the_clock(app: WebApp) -> None:
    app.signed_in()
    sweeps = {each.name: each for each in jobs.sweeps(app.database, Close(), Effects())}
    sweeps["end sessions"].run(app.now)
    with app.database.read() as session:
        assert session.execute(select(WebSession)).first()
    sweeps["end sessions"].run(app.now + timedelta(hours=1))
    with app.database.read() as session:
        assert not session.execute(select(WebSession)).first()


def test_a_reset_ends_sessions_and_locks(app: WebApp) -> None:
    client = app.signed_in()
    app.database.write(lambda session: accounts.reset(session, "viewer"))
    assert client.get("/").status_code == 302


def test_who_is_disabled_is_out_at_once_and_the_last_admin_cannot_be(app: WebApp) -> None:
    client = app.signed_in(Role.ADMIN)
    with pytest.raises(Rejected, match="last administrator"):
        app.database.write(lambda session: accounts.disable(session, "admin"))
    app.add_account("second", Role.ADMIN)
    app.database.write(lambda session: accounts.disable(session, "admin"))
    assert client.get("/").status_code == 302
    assert sign_in(app.visitor(), "admin").status_code == 401


@pytest.mark.parametrize(
    "text",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "javascript:x",
        "/a\nb",
        "x",
        "",
    ],
)
def test_nobody_is_sent_to_another_site(text: str) -> None:
    assert local_path(text) == "/"


@pytest.mark.parametrize("text", ["/", "/worklist?day=2030-01-02", "/orders/7"])
def test_paths_of_this_site_are_gone_on_to(text: str) -> None:
    assert local_path(text) == text


def test_accounts_work_on_every_database(database: Database, tmp_path: Path) -> None:
    app = WebApp(database, tmp_path)
    app.add_account("anna", Role.VIEWER)
    client = app.visitor()
    assert sign_in(client, password="wrong").status_code == 401
    assert sign_in(client).status_code == 302
    assert client.get("/").status_code == 200
