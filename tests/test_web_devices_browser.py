"""Devices as a person sees them: registered from a knock, tested, changed, removed."""

from datetime import timedelta
from pathlib import Path

from playwright.sync_api import Browser

from mwl import devices
from mwl.accounts import Role
from mwl.config import DeviceTable
from mwl.db import Database
from mwl.devices import Answer
from tests.browser import VIEWS, live
from tests.test_web_devices import knock, made, register


@VIEWS
def test_a_scanner_that_knocked_becomes_a_device(
    chromium: Browser,
    sqlite_database: Database,
    tmp_path: Path,
    width: int,
    dark: bool,
    script: bool,
) -> None:
    answers = [
        Answer(False, "nobody listens at 10.0.0.7:104: connection refused"),
        Answer(True, "answered in 12 ms"),
    ]
    app = made(sqlite_database, tmp_path, echo=lambda *_: answers.pop(0))
    row = register(app, "CT1", host="10.0.0.2", port=104, modality="CT", location="Room 1")
    settings = [DeviceTable(ae_title="US1", modality="US", host="us1.example", port=104)]
    app.database.write(lambda s: devices.sync(s, settings, now=app.now))
    app.database.write(lambda s: devices.seen(s, {row: "10.0.0.2"}, now=app.now))
    knock(app, "CT1", called="PACS")
    knock(app, "MR9")
    app.now += timedelta(minutes=5)
    with live(app) as site:
        page = site.open(chromium, Role.ADMIN, "/devices", width=width, dark=dark, script=script)
        site.look(page)
        site.shoot(page, "devices")
        page.get_by_role("link", name="Register MR9").click()
        assert page.locator("h1").inner_text() == "Register MR9"
        site.look(page)
        site.shoot(page, "device-new")
        page.get_by_role("button", name="Register").click()
        assert page.get_by_role("status").inner_text() == "MR9 is registered."
        page.fill("#port", "104")
        page.fill("#modality", "MR")
        page.get_by_role("button", name="Save").click()
        assert "10.0.0.7:104" in page.locator("dl").inner_text()
        page.get_by_role("button", name="Test with C-ECHO").click()
        assert "nobody listens at 10.0.0.7:104" in page.get_by_role("alert").inner_text()
        site.look(page)
        site.shoot(page, "device")
        page.get_by_role("button", name="Test with C-ECHO").click()
        assert "answered in 12 ms" in page.get_by_role("status").inner_text()
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Remove MR9").click()
        page.wait_for_url(f"{site.url}/devices")
        assert page.get_by_role("status").inner_text() == "MR9 is removed."
        assert site.troubles == []


def test_a_wrong_field_is_shown_where_it_is(
    chromium: Browser, sqlite_database: Database, tmp_path: Path
) -> None:
    app = made(sqlite_database, tmp_path)
    with live(app) as site:
        page = site.open(chromium, Role.ADMIN, "/devices/new")
        page.fill("#ae_title", "CT1")
        page.fill("#port", "x")
        page.get_by_role("button", name="Register").click()
        told = page.locator("#port-told")
        assert told.is_visible()
        assert "valid integer" in told.inner_text()
        assert page.input_value("#ae_title") == "CT1"


def test_the_settings_own_device_has_no_form(
    chromium: Browser, sqlite_database: Database, tmp_path: Path
) -> None:
    app = made(sqlite_database, tmp_path)
    settings = [DeviceTable(ae_title="US1", modality="US")]
    app.database.write(lambda s: devices.sync(s, settings, now=app.now))
    with live(app) as site:
        page = site.open(chromium, Role.ADMIN, "/devices")
        page.get_by_role("link", name="US1").click()
        assert page.get_by_text("It stands in the settings").is_visible()
        assert page.get_by_role("button", name="Save").count() == 0
        site.look(page)
