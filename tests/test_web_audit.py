"""The audit trail as administrators read it."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser
from sqlalchemy import insert

from mwl.accounts import Role
from mwl.audit import Wanted, listing
from mwl.db import Database
from mwl.db.tables import AuditEvent
from tests.browser import VIEWS, live
from tests.web_app import WebApp
from web.audit import _link

TABLE: Any = AuditEvent.__table__  # type: ignore[attr-defined]
NOW = datetime(2030, 1, 2, 11, tzinfo=UTC)


@pytest.fixture
def app(sqlite_database: Database, tmp_path: Path) -> WebApp:
    return WebApp(sqlite_database, tmp_path)


def fill(app: WebApp, count: int = 1, **given: Any) -> None:
    row = {"who": "anna", "role": "viewer", "address": "10.0.0.7", "action": "view"}
    rows = [
        {**row, "subject": f"order:{i}", "detail": {"text": "x"}, "at": NOW, **given}
        for i in range(count)
    ]
    app.database.write(lambda session: session.connection().execute(insert(TABLE), rows))


def test_events_are_found_page_by_page_and_lead_to_what_they_tell_of(app: WebApp) -> None:
    fill(app, 120)
    admin = app.signed_in(Role.ADMIN)
    first = admin.get("/audit?who=anna")
    assert first.text.count('data-label="When"') == 50
    assert '<a href="/orders/119">order:119</a>' in first.text
    after = first.text.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
    second = admin.get(f"/audit{after}")
    assert "who=anna" in after
    assert "order:69<" in second.text
    assert "order:70<" not in second.text
    before = second.text.partition('rel="prev" href="')[2].partition('"')[0].replace("&amp;", "&")
    assert "order:119<" in admin.get(f"/audit{before}").text


def test_a_day_is_one_of_the_sites_calendar(app: WebApp) -> None:
    midnight = datetime(2030, 1, 1, 23, tzinfo=UTC)  # in Berlin
    fill(app, subject="before", at=midnight - timedelta(microseconds=1))
    fill(app, subject="first", at=midnight)
    fill(app, subject="last", at=midnight + timedelta(hours=24, microseconds=-1))
    fill(app, subject="after", at=midnight + timedelta(hours=24))
    text = app.signed_in(Role.ADMIN).get("/audit?day=2030-01-02").text
    shown = [each for each in ("before", "first", "last", "after") if f">{each}<" in text]
    assert shown == ["first", "last"]


def test_reading_the_trail_is_in_the_trail(app: WebApp) -> None:
    app.signed_in(Role.ADMIN).get("/audit?subject=order:7")
    with app.database.read() as session:
        (row,) = listing(session, Wanted(), limit=2)
    assert (row.who, row.action, row.subject) == ("admin", "view", "audit")
    assert row.detail == {"subject": "order:7"}


def test_what_the_filters_keep_is_given_as_a_file(app: WebApp) -> None:
    fill(app, 700)
    fill(app, who="=cmd|'/c calc'!A0", subject="theirs", action="sign-in failed")
    admin = app.signed_in(Role.ADMIN)
    told = admin.get("/audit/export.ndjson?who=anna")
    assert told.headers["Content-Disposition"] == 'attachment; filename="audit.ndjson"'
    rows = [json.loads(line) for line in told.text.splitlines()]
    assert [row["subject"] for row in rows] == [f"order:{i}" for i in range(700)]
    assert rows[0] == {
        "at": "2030-01-02T11:00:00+00:00",
        "who": "anna",
        "role": "viewer",
        "address": "10.0.0.7",
        "action": "view",
        "subject": "order:0",
        "detail": {"text": "x"},
    }
    sheet = admin.get("/audit/export.csv?action=sign-in+failed")
    heading, line = csv.reader(io.StringIO(sheet.text))
    assert heading[:2] == ["at", "who"]
    assert line[1] == "'=cmd|'/c calc'!A0"  # no spreadsheet takes it for a formula
    empty = admin.get("/audit/export.csv?who=nobody").text
    assert empty.splitlines() == ["at,who,role,address,action,subject,detail"]
    assert admin.get("/audit/export.exe").status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        "day=2030-13-01",
        "day=9999-12-31",
        "day=0001-01-01",
        "after=x",
        "after=1~2~3",
        "after=99999999999999999999999~1",
        "before=1~99999999999999999999999999",
        "before=1~-99999999999999999999999999",
    ],
)
def test_nonsense_in_the_url_is_told_and_nothing_breaks(app: WebApp, query: str) -> None:
    assert app.signed_in(Role.ADMIN).get(f"/audit?{query}").status_code in {200, 400}


@VIEWS
def test_an_administrator_looks_who_did_what(
    chromium: Browser, app: WebApp, width: int, dark: bool, script: bool
) -> None:
    fill(app, 60)
    fill(app, who="<b>anna", action="change", subject="user:berta", detail={"role": "viewer"})
    with live(app) as site:
        page = site.open(chromium, Role.ADMIN, "/audit", width=width, dark=dark, script=script)
        site.look(page)
        site.shoot(page, "audit")
        page.fill("#who", "<b>anna")
        page.click("button:has-text('Show')")
        assert "<b>anna" in page.locator("tbody").inner_text()
        assert page.locator("tbody tr").count() == 1
        site.look(page)


@pytest.mark.parametrize(
    ("subject", "page"),
    [
        ("patient:3", "/patients/3"),
        ("report:1", "/reports/1"),
        ("device:CT1", "/devices"),
        ("patient:x", ""),
        ("journal", ""),
    ],
)
def test_a_subject_leads_to_its_page(subject: str, page: str) -> None:
    assert _link(subject) == page
