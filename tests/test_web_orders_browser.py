"""An order's page as a person sees it: wide and narrow, light and dark, without script."""

from pathlib import Path

from playwright.sync_api import Browser

from mwl.accounts import Role
from mwl.db import Database
from tests.browser import VIEWS, live
from tests.builders import adt_a40, orm
from tests.scene import Scene, worked_off
from tests.web_app import WebApp


@VIEWS
def test_a_person_reads_what_happened_to_an_order(
    chromium: Browser,
    sqlite_database: Database,
    tmp_path: Path,
    width: int,
    dark: bool,
    script: bool,
) -> None:
    scene = worked_off(sqlite_database, tmp_path)
    app = WebApp(sqlite_database, tmp_path)
    app.now = scene.now
    with live(app) as site:
        path = f"/orders/{scene.order}"
        page = site.open(chromium, Role.VIEWER, path, width=width, dark=dark, script=script)
        assert "ACC1" in page.locator("h1").inner_text()
        assert page.get_by_text("Closed on 2030-01-02 09:10").is_visible()
        page.wait_for_load_state("networkidle")
        if script:
            for picture in page.locator(".pictures img").all():
                picture.scroll_into_view_if_needed()
            page.wait_for_function(
                "[...document.querySelectorAll('.pictures img')].every(i => i.naturalWidth)"
            )
        site.look(page)
        site.shoot(page, "order")
        change = page.get_by_text("changed start of step SPS1")
        change.click()
        assert page.get_by_text("2030-01-02 09:30:00 → 2030-01-02 10:15:00").is_visible()
        page.get_by_text("CT1 began step SPS1").click()
        site.look(page)
        site.shoot(page, "order-open")
        page.get_by_role("link", name="Data set").first.click()
        assert page.locator("h1").inner_text() == "N-CREATE from CT1"
        assert page.get_by_text("ScheduledStepAttributesSequence").is_visible()
        site.look(page)
        site.shoot(page, "order-mpps")


@VIEWS
def test_a_person_is_warned_of_a_scanner_with_an_old_copy(
    chromium: Browser,
    sqlite_database: Database,
    tmp_path: Path,
    width: int,
    dark: bool,
    script: bool,
) -> None:
    scene = Scene(sqlite_database, tmp_path)
    scene.hear(orm())
    scene.show("CT1")
    scene.hear(orm(ORC_1="XO", PID_5="Doe^Janet^Q"))
    app = WebApp(sqlite_database, tmp_path)
    app.now = scene.now
    with live(app) as site:
        for path, name in ((f"/orders/{scene.order}", "order"), ("/worklist", "worklist")):
            page = site.open(
                chromium, Role.TECHNOLOGIST, path, width=width, dark=dark, script=script
            )
            assert page.get_by_text("CT1 was shown name Doe^Jane^Q").is_visible()
            site.look(page)
            site.shoot(page, f"{name}-old-copy")


def test_a_technologist_closes_an_order_whose_images_are_missing(
    chromium: Browser, sqlite_database: Database, tmp_path: Path
) -> None:
    scene = Scene(sqlite_database, tmp_path)
    scene.hear(orm())
    scene.begin()
    scene.scan(2)
    scene.end(but=3)
    scene.clock(hours=scene.close.ask_h + 1)
    app = WebApp(sqlite_database, tmp_path)
    app.now = scene.now
    with live(app) as site:
        path = f"/orders/{scene.order}"
        page = site.open(chromium, Role.TECHNOLOGIST, path)
        assert page.get_by_text("a person is asked").first.is_visible()
        site.look(page)
        site.shoot(page, "order-asked")
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Close the order").click()
        page.get_by_text("The order is closed.").wait_for()
        assert page.get_by_text("technologist closed it").is_visible()
        page.wait_for_load_state("networkidle")
        site.look(page)


def test_a_person_sees_all_of_a_patient(
    chromium: Browser, sqlite_database: Database, tmp_path: Path
) -> None:
    scene = worked_off(sqlite_database, tmp_path)
    scene.hear(adt_a40())
    app = WebApp(sqlite_database, tmp_path)
    with live(app) as site:
        page = site.open(chromium, Role.VIEWER, "/patients/1")
        assert page.locator("h1").inner_text() == "Doe, Jane Q"
        site.look(page)
        site.shoot(page, "patient")
        page.get_by_role("link", name="ACC1").click()
        page.wait_for_load_state("networkidle")
        assert "CLOSED" in page.locator("h1").inner_text()
