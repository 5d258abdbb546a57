"""Signing in as a person sees it."""

from pathlib import Path

from playwright.sync_api import Browser

from mwl.accounts import Role
from mwl.db import Database
from tests.browser import VIEWS, live
from tests.web_app import PASSWORD, WebApp


@VIEWS
def test_a_person_signs_in(
    chromium: Browser,
    sqlite_database: Database,
    tmp_path: Path,
    width: int,
    dark: bool,
    script: bool,
) -> None:
    app = WebApp(sqlite_database, tmp_path)
    app.add_account("anna", Role.ADMIN)
    with live(app) as site:
        page = site.open(chromium, None, "/", width=width, dark=dark, script=script)
        site.look(page)
        site.shoot(page, "sign-in")
        page.fill("#name", "anna")
        page.fill("#password", PASSWORD)
        page.click("text=Sign in >> nth=-1")
        page.wait_for_url(site.url + "/")
        assert page.get_by_role("button", name="Sign out").is_visible()
        site.look(page)
        if not script:
            return
        site.shoot(page, "home-first")
        for scheme, color in (("dark", "rgb(33, 37, 41)"), ("light", "rgb(255, 255, 255)")):
            page.emulate_media(color_scheme=scheme)
            background = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert background == color


def test_the_first_load_is_small(
    chromium: Browser, sqlite_database: Database, tmp_path: Path
) -> None:
    app = WebApp(sqlite_database, tmp_path)
    with live(app) as site:
        page = site.open(chromium, None, "/")
        sizes = page.evaluate(
            "performance.getEntries().map(e => e.encodedBodySize || 0).reduce((a, b) => a + b, 0)"
        )
        assert 10_000 < sizes < 400_000
