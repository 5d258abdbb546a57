"""Reports as a person sees them."""

import base64
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from mwl.accounts import Role
from mwl.db import Database
from tests.browser import VIEWS, live
from tests.builders import orm, oru
from tests.feeding import Feed
from tests.web_app import WebApp

SAMPLES = Path(__file__).parent / "data" / "hl7"
_FINDINGS = [
    "OBX|1|TX|F^Findings||No acute bleeding.\\.br\\No midline shift.||||||F",
    "OBX|2|TX|F^Findings||A nodule of 4 mm in the left frontal lobe.|||A^Abnormal|||F",
    "OBX|3|TX|I^Impression||Follow-up in 3 months.||||||F",
    "OBX|4|RP|L^Key images||wado://pacs/key?study=1.2.3^PACS^AP^DICOM||||||F",
]
_HTML = base64.b64encode(b"<html><script>document.title='owned'</script></html>").decode()


@pytest.fixture
def app(sqlite_database: Database, tmp_path: Path) -> WebApp:
    made = WebApp(sqlite_database, tmp_path)
    feed = Feed(sqlite_database, now=made.now)
    feed.send(orm())
    feed.send(oru(OBR_25="P", OBX_5="Preliminary: no bleeding."))
    data = (SAMPLES / "ORU_R01-PDF.hl7").read_text("latin-1").partition("^Base64^")[2]
    pdf = f"OBX|5|ED|D^As a document||^Application^PDF^Base64^{data.partition('|')[0]}||||||F"
    html = f"OBX|6|ED|H^As sent||^TEXT^HTML^Base64^{_HTML}||||||F"
    feed.send(oru(OBX=[*_FINDINGS, pdf, html]))
    feed.send((SAMPLES / "ORU_R01-SR.hl7").read_bytes())
    return made


@VIEWS
def test_a_report_is_read(
    chromium: Browser, app: WebApp, width: int, dark: bool, script: bool
) -> None:
    with live(app) as site:
        look = {"width": width, "dark": dark, "script": script}
        page = site.open(chromium, Role.VIEWER, "/reports", **look)
        site.look(page)
        site.shoot(page, "reports")
        page.click("text=Of no order that we know")
        page.click("text=Show")
        page.wait_for_url("**/reports?**unlinked=1**")
        page.click("table a >> nth=0")
        page.wait_for_url("**/reports/3")
        site.look(page)
        site.shoot(page, "report-unlinked")
        page.goto("/orders/1")
        site.look(page)
        site.shoot(page, "order-reported")
        page.click("ul a:has-text('CT head')")
        page.wait_for_url("**/reports/2")
        assert "A nodule of 4 mm" in page.locator(".finding").inner_text()
        page.click("summary:has-text('The source of a document')")
        assert "<script>" in page.locator("pre").inner_text()
        assert page.title() != "owned"
        site.look(page)
        site.shoot(page, "report")
