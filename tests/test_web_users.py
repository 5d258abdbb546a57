"""Accounts and tokens on the page for administrators."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from mwl import accounts
from mwl.accounts import Role
from mwl.audit import Wanted, listing
from mwl.db import Database
from tests.browser import VIEWS, live
from tests.web_app import WebApp

SECRET = re.compile(r'user-select-all">([^<]+)<')


@pytest.fixture
def app(sqlite_database: Database, tmp_path: Path) -> WebApp:
    return WebApp(sqlite_database, tmp_path)


def signs_in(app: WebApp, name: str, password: str) -> bool:
    done = accounts.sign_in(app.database, name, password, "10.0.0.1", now=app.now)
    return not isinstance(done, accounts.Refusal)


def audited(app: WebApp) -> list[tuple[str, str, str]]:
    with app.database.read() as session:
        rows = listing(session, Wanted(who="admin"), limit=100)
        return [(row.action, row.subject, row.address) for row in rows]


def test_a_password_is_shown_once_on_the_page_that_made_it(app: WebApp) -> None:
    admin = app.signed_in(Role.ADMIN)
    made = admin.post("/users", data={"name": "Berta", "role": "technologist"})
    assert made.status_code == 200
    (password,) = SECRET.findall(made.text)
    assert signs_in(app, "berta", password)
    assert made.headers["Cache-Control"] == "no-store"
    assert password not in str(made.headers)
    assert password not in admin.get("/users").text

    again = admin.post("/users/berta/reset")
    (second,) = SECRET.findall(again.text)
    assert not signs_in(app, "berta", password)
    assert signs_in(app, "berta", second)
    gone = admin.post("/users/berta/disable")
    assert gone.status_code == 302
    assert "berta can&#39;t sign in any more." in admin.get("/users").text
    assert not signs_in(app, "berta", second)
    assert [each[:2] for each in audited(app)] == [
        ("change", "user:berta"),
        ("change", "user:berta"),
        ("create", "user:berta"),
    ]


def test_a_token_is_shown_once_and_opens_the_api_until_removed(app: WebApp) -> None:
    admin = app.signed_in(Role.ADMIN)
    form = {"name": "ris", "role": "viewer", "days": "30"}
    made = admin.post("/users/tokens", data=form)
    (token,) = SECRET.findall(made.text)
    with app.database.read() as session:
        found = accounts.find_token(session, token, now=app.now)
    assert found is not None
    assert token not in admin.get("/users").text
    assert "2030-02-01" in admin.get("/users").text
    assert admin.post("/users/tokens/ris/remove").status_code == 302
    with app.database.read() as session:
        assert accounts.find_token(session, token, now=app.now) is None


@pytest.mark.parametrize(
    ("path", "form", "told"),
    [
        ("/users", {"name": "a b", "role": "viewer"}, "name: is 1 to 64 letters, digits"),
        ("/users", {"name": "berta", "role": "boss"}, "role: must be one of viewer"),
        ("/users", {"name": "admin", "role": "viewer"}, "there is such an account already"),
        ("/users", {}, "role: is needed"),
        ("/users/tokens", {"name": "x", "role": "viewer", "days": "-1"}, "days: is a number"),
        ("/users/tokens", {"name": "x", "role": "viewer", "days": "0"}, "days: is a number from"),
        ("/users/tokens", {"name": "x", "role": "viewer", "days": "9" * 9}, "days: is a number"),
    ],
)
def test_what_is_wrong_is_told_in_the_form(
    app: WebApp, path: str, form: dict[str, str], told: str
) -> None:
    answer = app.signed_in(Role.ADMIN).post(path, data=form)
    assert answer.status_code == 400
    assert told in answer.text
    assert audited(app) == []


def test_the_last_administrator_stays_and_who_is_unknown_is_told(app: WebApp) -> None:
    admin = app.signed_in(Role.ADMIN)
    for path, told in (
        ("/users/admin/disable", "last administrator"),
        ("/users/nobody/reset", "no such account"),
        ("/users/tokens/x/remove", "no such token"),
    ):
        answer = admin.post(path)
        assert answer.status_code == 409
        assert told in answer.text


@VIEWS
def test_an_administrator_adds_a_person_and_a_program(
    chromium: Browser, app: WebApp, width: int, dark: bool, script: bool
) -> None:
    app.add_account("berta", Role.TECHNOLOGIST)
    with live(app) as site:
        page = site.open(chromium, Role.ADMIN, "/users", width=width, dark=dark, script=script)
        page.click("summary:has-text('Add a user')")
        page.fill("#name", "carl")
        page.select_option("#role", "admin")
        site.look(page)
        page.click("form[action='/users'] button")
        assert "password of carl" in page.locator("main").inner_text()
        page.click("summary:has-text('Add a token')")
        page.fill("#token-name", "ris-export")
        page.fill("#days", "30")
        page.click("form[action='/users/tokens'] button")
        assert "mwl_" in page.locator(".alert").inner_text()
        site.look(page)
        site.shoot(page, "users")
        page.on("dialog", lambda dialog: dialog.accept())
        page.click("form[action='/users/berta/disable'] button")
        assert "berta can't sign in any more." in page.locator("main").inner_text()
        site.look(page)
