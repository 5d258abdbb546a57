"""Pages of studies, without a browser."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from mwl.accounts import Role
from mwl.db import Database
from mwl.db.tables import AuditEvent, StoredObject, Study
from tests.archived import Archived
from tests.images import ct_slice
from tests.web_app import WebApp
from tests.worklist_rows import insert_items, item


@pytest.fixture
def app(sqlite_database: Database, tmp_path: Path) -> WebApp:
    return WebApp(sqlite_database, tmp_path)


@pytest.fixture
def archived(app: WebApp, tmp_path: Path) -> Archived:
    return Archived(app.database, tmp_path)


def events(app: WebApp) -> list[tuple[str, str]]:
    table = AuditEvent.__table__  # type: ignore[attr-defined]
    with app.database.read() as session:
        rows = session.connection().execute(select(table).order_by(table.c.id)).all()
    return [(row.action, row.subject) for row in rows]


def set_aside(app: WebApp) -> None:
    table = StoredObject.__table__  # type: ignore[attr-defined]
    changed = update(table).values(state="quarantined", reason="incorrect worklist entry selected")
    app.database.write(lambda session: session.connection().execute(changed))


def test_studies_are_listed_and_found(database: Database, tmp_path: Path) -> None:
    app = WebApp(database, tmp_path)
    archived = Archived(database, tmp_path)
    archived.add(ct_slice(1))
    archived.add(
        ct_slice(2, StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.1", PatientName="Roe^Max")
    )
    person = app.signed_in()
    page = person.get("/studies").text
    assert page.index("Roe, Max") < page.index("Doe, Jane Q")
    found = person.get("/studies?text=doe").text
    assert "Doe, Jane Q" in found
    assert "Roe, Max" not in found
    assert "No study answers" in person.get("/studies?modality=MR").text
    assert "Roe, Max" in person.get("/studies?day=2030-01-02&modality=CT&unmatched=1").text
    assert "No study answers" in person.get("/studies?day=2030-01-03").text


def test_an_empty_archive_says_so(app: WebApp) -> None:
    person = app.signed_in()
    assert "No images have come yet" in person.get("/studies").text
    assert "Nothing contradicts" in person.get("/quarantine").text


def test_a_list_has_pages_both_ways(app: WebApp, archived: Archived) -> None:
    for n in range(60):
        archived.add(
            ct_slice(
                n,
                StudyInstanceUID=f"1.2.{n + 1}",
                SeriesInstanceUID=f"1.3.{n + 1}",
                PatientID=f"N{n:02}",
                PatientName=f"Doe^{n:02}",
            )
        )
    person = app.signed_in()
    first = person.get("/studies").text
    assert first.count("/studies/") == 50
    assert 'rel="next"' in first
    second = person.get("/studies?after=11").text
    assert "N09" in second
    assert "N10" not in second
    assert "N10" in person.get("/studies?before=10").text
    assert person.get("/studies?after=x").status_code == 400
    assert person.get(f"/studies?after={'9' * 400}").status_code in {200, 400}


def test_what_comes_from_outside_stays_text(app: WebApp, archived: Archived) -> None:
    bad = "<script>alert(1)</script>"
    archived.add(
        ct_slice(
            1,
            PatientName=bad,
            StudyDescription=bad,
            SeriesDescription=bad,
            PatientID=bad,
            AccessionNumber="<b>",
            ReferringPhysicianName=bad,
        )
    )
    person = app.signed_in(Role.ADMIN)
    for path in (
        "/studies",
        "/studies/1",
        "/studies/1/series/1",
        "/instances/1",
        "/instances/1/header",
        f"/studies?text={bad}",
    ):
        answer = person.get(path)
        assert answer.status_code == 200, path
        assert "<script>alert" not in answer.text
        assert "<b>" not in answer.text
        assert "&lt;script&gt;" in answer.text, path


def test_a_study_tells_its_order_series_and_sizes(app: WebApp, archived: Archived) -> None:
    app.database.write(
        lambda s: insert_items(
            s, [item(1, patient={"patient_id": "PID1", "patient_name": "Doe^Jane^Q"})]
        )
    )
    for n in range(1, 4):
        archived.add(ct_slice(n, SeriesDescription="Head"))
    archived.add(ct_slice(9, SeriesInstanceUID="1.2.9", SeriesNumber="2", NumberOfFrames=5))
    page = app.signed_in().get("/studies/1").text
    assert 'href="/orders/1"' in page
    assert "3 images" in page
    assert "5 frames" in page
    assert "/instances/2/frames/1.png?v=2&amp;size=thumb" in page
    assert "/instances/4/frames/3.png?v=4&amp;size=thumb" in page
    assert 'action="/studies/1/link"' not in page


def test_pages_of_what_is_not_there_are_404(app: WebApp, archived: Archived) -> None:
    archived.add(ct_slice(1))
    archived.add(ct_slice(2, StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.1"))
    person = app.signed_in(Role.ADMIN)
    for path in (
        "/studies/9",
        "/studies/1/series/2",
        "/studies/9/series/1",
        "/studies/1/series/9",
        "/instances/9",
        "/instances/9/header",
        "/instances/9/frames/1.png",
        "/instances/9/file",
        "/instances/9/document",
    ):
        assert person.get(path).status_code == 404, path
    assert person.post("/studies/9/link", data={"accession": "A"}).status_code == 404


def test_the_viewer_shows_one_slice_and_links_to_those_beside_it(
    app: WebApp, archived: Archived
) -> None:
    for n in (1, 2, 3):
        archived.add(ct_slice(n))
    person = app.signed_in()
    page = person.get("/studies/1/series/1?at=2&center=40&width=400").text
    assert 'src="/instances/2/frames/1.png?v=2&amp;center=40&amp;width=400"' in page
    assert 'href="?at=1&amp;center=40&amp;width=400"' in page
    assert 'href="?at=3&amp;center=40&amp;width=400"' in page
    assert 'data-slices="1:1:1,2:1:2,3:1:3"' in page
    for odd in ("0", "-1", "99", "x", "9" * 30):
        assert person.get(f"/studies/1/series/1?at={odd}").status_code == 200
    for odd in ("center=x&width=1", "center=nan&width=inf", "center=1", "width=-1&center=1"):
        page = person.get(f"/studies/1/series/1?{odd}").text
        assert 'src="/instances/1/frames/1.png?v=1"' in page


def test_a_technologist_links_a_study(database: Database, tmp_path: Path) -> None:
    app, archived = WebApp(database, tmp_path), Archived(database, tmp_path)
    archived.add(ct_slice(1, AccessionNumber="", StudyInstanceUID="1.9.9"))
    app.database.write(lambda s: insert_items(s, [item(1)]))
    person = app.signed_in(Role.TECHNOLOGIST)
    assert "unmatched" in person.get("/studies/1").text
    done = person.post("/studies/1/link", data={"accession": "ACC1"}, follow_redirects=True)
    assert "It belongs to order ACC1 now." in done.text
    assert "Note: the images name another patient than the order." in done.text
    assert 'href="/orders/1"' in done.text
    assert ("link", "study:1") in events(app)
    table = Study.__table__  # type: ignore[attr-defined]
    with app.database.read() as session:
        row = session.connection().execute(select(table)).one()
    assert (row.requested_procedure, row.matched_by) == (1, "hand")
    # It is the order's patient's now; what its images say is told beside that.
    assert '<h1 class="h3 mb-1">Doe, Number1</h1>' in done.text
    assert "as it was received" in person.get("/instances/1/header").text
    words = " ".join(done.text.split())
    assert "name Doe, Jane Q, patient ID PID1, issuer not given, accession not given" in words
    told = person.get("/api/v1/studies/1").json
    assert (told["coerced"], told["patient_name"]) == (True, "Doe^Number1")
    said = told["as_received"]
    assert (said["patient_name"], said["sex"], said["accession_number"]) == ("Doe^Jane^Q", None, "")
    done = person.post("/studies/1/unlink", follow_redirects=True)
    assert "It belongs to no order now" in done.text
    assert "Doe, Jane Q</h1>" in done.text
    assert "Images say" not in done.text
    assert "as it was received" not in person.get("/instances/1/header").text
    assert ("unlink", "study:1") in events(app)
    again = person.post("/studies/1/unlink")
    assert (again.status_code, "The study belongs to no order." in again.text) == (409, True)
    assert person.post("/studies/9/unlink").status_code == 404


def test_a_study_says_that_some_of_its_images_came_under_another_name(
    app: WebApp, archived: Archived
) -> None:
    app.database.write(
        lambda s: insert_items(s, [item(1, patient={"patient_id": "PID1", "patient_name": "Doe"})])
    )
    archived.add(ct_slice(1, PatientName="Doe"))
    person = app.signed_in()
    assert "Images say" not in person.get("/studies/1").text
    assert "another patient?" not in person.get("/studies/1").text
    assert person.get("/api/v1/studies/1").json["differs"] is False
    archived.add(ct_slice(2, PatientName="Roe"))
    told = person.get("/studies/1").text
    assert "some of them something else" in told
    assert "another patient?" in told
    assert "go out as above" not in told
    assert person.get("/api/v1/studies/1").json["differs"] is True


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "Which order?"),
        ({"accession": "NONE"}, "No order with a procedure has it."),
        ({"accession": "SAME"}, "give the order&#39;s number as well, of 1, 2"),
        ({"order": "77"}, "No order with a procedure has it."),
    ],
)
def test_a_link_that_fails_says_why(
    app: WebApp, archived: Archived, given: dict[str, str], told: str
) -> None:
    same: dict[str, Any] = {"accession_number": "SAME"}
    app.database.write(
        lambda s: insert_items(s, [item(1, procedure=same), item(2, procedure=same)])
    )
    archived.add(ct_slice(1))
    person = app.signed_in(Role.TECHNOLOGIST)
    answer = person.post("/studies/1/link", data=given)
    assert answer.status_code == 409
    assert told in answer.text
    assert ("link", "study:1") not in events(app)
    assert person.post("/studies/1/link", data={"order": "x"}).status_code == 400
    both = person.post("/studies/1/link", data={"accession": "SAME", "order": "2"})
    assert both.status_code == 302


def test_a_viewer_links_nothing_and_takes_no_files(app: WebApp, archived: Archived) -> None:
    archived.add(ct_slice(1))
    person = app.signed_in()
    assert person.post("/studies/1/link", data={"accession": "ACC1"}).status_code == 403
    assert person.post("/studies/1/unlink").status_code == 403
    assert person.get("/instances/1/file").status_code == 403
    assert "/instances/1/file" not in person.get("/instances/1").text
    assert app.visitor().get("/studies").status_code == 302
    assert app.visitor().get("/instances/1/frames/1.png").status_code == 302


def test_what_is_set_aside_is_named_and_not_shown(app: WebApp, archived: Archived) -> None:
    archived.add(ct_slice(1))
    set_aside(app)
    person = app.signed_in(Role.ADMIN)
    assert "set aside" in person.get("/studies/1").text
    assert "set aside" in person.get("/studies/1/series/1").text
    assert "set aside" in person.get("/instances/1").text
    for path in ("frames/1.png", "header", "file", "document"):
        assert person.get(f"/instances/1/{path}").status_code == 404
    page = person.get("/quarantine").text
    assert "incorrect worklist entry selected" in page
    assert 'href="/studies/1"' in page


def test_each_study_that_is_looked_at_is_recorded_and_its_slices_once(
    app: WebApp, archived: Archived
) -> None:
    for n in (1, 2):
        archived.add(ct_slice(n))
    person = app.signed_in()
    person.get("/studies/1")
    person.get("/studies/1/series/1")
    person.get("/instances/1/frames/1.png")
    person.get("/instances/2/frames/1.png")
    assert events(app) == [("view", "study:1")]
    person.get("/studies/1")
    assert events(app) == [("view", "study:1")] * 2
    # Somebody who asks for a picture alone is recorded, too.
    app.signed_in(Role.ADMIN).get("/instances/2/frames/1.png")
    assert events(app) == [("view", "study:1")] * 3
    person.get("/instances/1/header")
    assert events(app)[-1] == ("view", "instance:1")
