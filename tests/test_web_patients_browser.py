"""A patient's page, merges and conflicts as a person sees them: wide and narrow, light and dark."""

from pathlib import Path

from playwright.sync_api import Browser

from mwl.accounts import Role
from mwl.db import Database
from tests.browser import VIEWS, live
from tests.builders import adt, adt_a08, adt_a40, orm
from tests.scene import Scene
from tests.web_app import WebApp


def _merged(database: Database, folder: Path) -> Scene:
    scene = Scene(database, folder)
    scene.hear(orm())
    scene.begin()
    scene.scan(1)
    merge = {"PID_3": "PID9^^^ADT1^MR", "PID_5": "Roe^Janet", "MRG_1": "PID1^^^ADT1^MR"}
    scene.hear(adt_a40(**merge))
    both = {"without": ["PV1"], "after": ["PID|||PID7^^^CLINIC||Roe^Jan"]}
    scene.hear(adt("A24", **{**both, "PID_3": "PID9^^^ADT1^MR", "PID_5": "Roe^Janet"}))
    scene.hear(adt_a08(PID_3="PID9^^^ADT1^MR", PID_5="Zoe^Max", PID_7="19330303"))
    return scene


@VIEWS
def test_an_admin_looks_at_a_merge_and_takes_it_back(
    chromium: Browser,
    sqlite_database: Database,
    tmp_path: Path,
    width: int,
    dark: bool,
    script: bool,
) -> None:
    app = WebApp(sqlite_database, tmp_path)
    app.now = _merged(sqlite_database, tmp_path).now
    with live(app) as site:
        page = site.open(chromium, Role.ADMIN, "/patients", width=width, dark=dark, script=script)
        site.look(page)
        site.shoot(page, "patients")
        page.get_by_role("link", name="Conflicts").click()
        assert page.get_by_text("another name and birth date").is_visible()
        site.look(page)
        site.shoot(page, "conflicts")
        page.get_by_role("link", name="Merges").click()
        site.look(page)
        site.shoot(page, "merges")
        page.get_by_role("link", name="PID9").click()
        assert page.get_by_text("May be the same person as").is_visible()
        site.look(page)
        site.shoot(page, "patient")
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Undo the merge of PID1").click()
        assert page.get_by_text("Undone. Given back: orders 1, studies 1.").is_visible()
        assert page.locator("h1").inner_text() == "Doe, Jane Q"
        site.look(page)
