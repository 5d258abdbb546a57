"""Pages and API of reports: what came is shown as text or in the PDF viewer, and audited."""

import base64
from pathlib import Path
from typing import Any

import pytest

from mwl import audit
from mwl.accounts import Role
from mwl.audit import Wanted
from mwl.db import Database
from tests.builders import orm, oru
from tests.feeding import Feed
from tests.web_app import Person, WebApp

PDF = b"%PDF-1.4\n%\xe2\xe3\n" + b"1 0 obj\n" * 20
SAMPLES = Path(__file__).parent / "data" / "hl7"


@pytest.fixture
def app(sqlite_database: Database, tmp_path: Path) -> WebApp:
    return WebApp(sqlite_database, tmp_path)


@pytest.fixture
def feed(app: WebApp) -> Feed:
    return Feed(app.database, now=app.now)


@pytest.fixture
def person(app: WebApp) -> Person:
    return app.signed_in(Role.VIEWER)


def ed(content: bytes, kind: str = "^Application^PDF") -> dict[str, str]:
    return {"OBX_2": "ED", "OBX_5": f"{kind}^Base64^{base64.b64encode(content).decode()}"}


def views(app: WebApp) -> list[tuple[str, Any]]:
    with app.database.read() as session:
        rows = audit.listing(session, Wanted(), limit=50)
    return [(row.subject, row.detail) for row in rows if row.action == "view"]


def test_a_report_is_on_the_order_its_story_and_the_patient(feed: Feed, person: Person) -> None:
    feed.send(orm())
    feed.send(oru())
    order = person.get("/orders/1").text
    assert '<a href="/reports/1">CT head</a>' in order
    assert "House, Gregory" in order
    assert "RIS^HOSPITAL reported: CT head" in order
    assert "new report" in order
    assert '<a class="raw-link" href="/reports/1">Report</a>' in order
    assert '<a href="/reports/1">' in person.get("/patients/1").text


def test_a_reports_page_says_what_it_says(feed: Feed, person: Person) -> None:
    feed.send(orm())
    feed.send(oru(OBX_5="No <b>bleeding</b>.\\.br\\\\.br\\Impression: normal"))
    page = person.get("/reports/1").text
    assert "No &lt;b&gt;bleeding&lt;/b&gt;.\n\nImpression: normal" in page
    assert "Diagnostic Imaging Report" in page
    assert "FINAL" in page
    assert "House, Gregory" in page
    assert '<a href="/orders/1">' in page
    assert '<a href="/messages/2">' in page


def test_versions_lead_to_each_other(feed: Feed, person: Person) -> None:
    feed.send(oru(OBR_25="P", OBX_5="Perhaps."))
    feed.send(oru(OBX_5="Certainly."))
    assert '<a href="/reports/1">' in person.get("/reports/2").text
    older = person.get("/reports/1").text
    assert "This is an older version" in older
    assert "Perhaps." in older
    assert "/reports/1" not in person.get("/reports").text


def test_a_pdf_is_shown_by_the_browser_and_by_nothing_of_ours(feed: Feed, person: Person) -> None:
    feed.send(oru(OBR_4="X^../../etc\\S\\passwd", **ed(PDF)))
    assert "Read the PDF" in person.get("/reports/1").text
    answer = person.get("/reports/1/parts/1")
    assert answer.data == PDF
    assert answer.mimetype == "application/pdf"
    assert answer.headers["Content-Disposition"] == "inline; filename=report-1-1.pdf"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "script-src" not in policy
    assert "no-store" in answer.headers["Cache-Control"]
    saved = person.get("/reports/1/parts/1/file")
    assert saved.headers["Content-Disposition"] == "attachment; filename=report-1-1.pdf"


@pytest.mark.parametrize(
    ("kind", "content", "name"),
    [
        ("^TEXT^HTML", b"<html><script>alert(1)</script></html>", "report-1-1.html.txt"),
        ("^TEXT^XML", b"<?xml version='1.0'?><a/>", "report-1-1.xml"),
        ("^image^svg+xml", b"<svg onload='alert(1)'/>", "report-1-1.bin"),
        ("^IM^JPEG", b"\xff\xd8\xff\xe0", "report-1-1.jpg"),
        ("^AP^PDF", b"<html>no pdf</html>", "report-1-1.bin"),
    ],
)
def test_nothing_else_is_shown_in_our_name(
    feed: Feed, person: Person, kind: str, content: bytes, name: str
) -> None:
    feed.send(oru(**ed(content, kind)))
    for path in ("/reports/1/parts/1", "/reports/1/parts/1/file"):
        answer = person.get(path)
        assert answer.data == content
        assert answer.mimetype == "application/octet-stream"
        assert answer.headers["Content-Disposition"] == f"attachment; filename={name}"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    page = person.get("/reports/1").text
    assert "<script>alert" not in page
    assert "<svg onload" not in page


def test_of_a_long_text_the_beginning_is_shown_and_all_of_it_is_given(
    feed: Feed, person: Person
) -> None:
    text = "line \\.br\\" * 60_000
    feed.send(oru(OBX_5=f"{text}THE END"))
    page = person.get("/reports/1").text
    assert len(page) < 300_000
    assert "THE END" not in page
    assert "All of it, as a file" in page
    assert person.get("/reports/1/parts/1/file").data.endswith(b"line \nTHE END")


def test_a_pointer_is_no_link(feed: Feed, person: Person) -> None:
    feed.send(oru(OBX_2="RP", OBX_5="javascript:alert(1)^PACS"))
    page = person.get("/reports/1").text
    assert "javascript:alert(1)" in page
    assert 'href="javascript' not in page


def test_who_looked_at_what_is_on_record(app: WebApp, feed: Feed, person: Person) -> None:
    feed.send(oru(**ed(PDF)))
    person.get("/reports?text=PID1")
    person.get("/reports/1")
    person.get("/reports/1/parts/1")
    person.get("/reports/1/parts/1/file")
    seen = views(app)
    assert ("reports", {"text": "PID1"}) in seen
    assert ("report:1", {}) in seen
    assert ("report:1", {"part": 1}) in seen
    assert ("report:1", {"part": 1, "file": True}) in seen


def test_the_list_is_narrowed(feed: Feed, person: Person) -> None:
    feed.send(orm())
    feed.send(oru())
    feed.send(
        oru(PID_3="PID9^^^ADT1", PID_5="Roe^Richard", PID_7="19700101", OBR_3="F9", OBR_25="P")
    )
    everything = person.get("/reports").text
    assert "Doe, Jane" in everything
    assert "Roe, Richard" in everything
    assert "it names an order of another patient" in everything
    for query in ("?text=PID1", "?status=FINAL", "?text=FO1"):
        page = person.get(f"/reports{query}").text
        assert "Doe, Jane" in page
        assert "Roe, Richard" not in page
    for query in ("?unlinked=1", "?status=PRELIMINARY", "?text=PID9"):
        page = person.get(f"/reports{query}").text
        assert "Doe, Jane" not in page
        assert "Roe, Richard" in page
    assert "No report answers to that" in person.get("/reports?day=2031-01-01").text
    assert person.get("/reports?status=good").status_code == 400


def test_what_is_not_there_is_not_found(feed: Feed, person: Person) -> None:
    feed.send(oru())
    for path in ("/reports/9", "/reports/1/parts/9", "/reports/9/parts/1/file"):
        assert person.get(path).status_code == 404


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("PDF", "Read the PDF"),
        ("CDA", "Chest X-Ray, PA and LAT View"),
        ("SR", "There is a small mass in the left lung"),
    ],
)
def test_the_samples_are_shown(feed: Feed, person: Person, name: str, shown: str) -> None:
    feed.send((SAMPLES / f"ORU_R01-{name}.hl7").read_bytes())
    page = person.get("/reports/1").text
    assert shown in page
    assert "Smith, Lucy Mark" in page


def test_programs_read_reports(app: WebApp, feed: Feed) -> None:
    feed.send(orm())
    feed.send(oru(OBR_25="P"))
    feed.send(oru(**ed(PDF), after="OBX|2|TX|I^Impression||Normal.||||||F"))
    client, headers = app.visitor(), app.bearer(Role.VIEWER)

    def get(path: str, status: int = 200) -> Any:
        answer = client.get(f"/api/v1/reports{path}", headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json

    (row,) = get("")["items"]
    assert (row["id"], row["status"], row["order"]) == (2, "FINAL", 1)
    assert row["linked_by"] == "filler order number"
    assert get("?unlinked=true")["items"] == []
    full = get("/2")
    assert full["versions"] == [2, 1]
    assert [(part["kind"], part["text"]) for part in full["parts"]] == [
        ("pdf", None),
        ("text", "Normal."),
    ]
    assert base64.b64decode(get("/2/parts/1")["content"]) == PDF
    assert get("/2/parts/2")["text"] == "Normal."
    assert get("/1")["superseded_by"] == 2
    get("/9", 404)
    get("/2/parts/9", 404)
    get("?status=good", 422)


def test_programs_go_through_the_list(app: WebApp, feed: Feed) -> None:
    for number in range(3):
        feed.send(oru(OBR_3=f"F{number}"))
    client, headers = app.visitor(), app.bearer(Role.VIEWER)
    first = client.get("/api/v1/reports?limit=2", headers=headers).json
    assert [row["id"] for row in first["items"]] == [3, 2]
    rest = client.get(f"/api/v1/reports?after={first['after']}", headers=headers).json
    assert [row["id"] for row in rest["items"]] == [1]
    assert rest["after"] is None
