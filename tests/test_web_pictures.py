"""Pictures, headers, files and documents as a browser gets them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from mwl.accounts import Role
from mwl.db import Database
from mwl.pictures import Busy
from tests.archived import Archived
from tests.images import ct_slice
from tests.pictured import opened
from tests.web_app import Person, WebApp


@pytest.fixture
def app(sqlite_database: Database, tmp_path: Path) -> WebApp:
    return WebApp(sqlite_database, tmp_path)


@pytest.fixture
def archived(app: WebApp, tmp_path: Path) -> Archived:
    return Archived(app.database, tmp_path)


@pytest.fixture
def person(app: WebApp) -> Person:
    return app.signed_in(Role.ADMIN)


PICTURE = "/instances/1/frames/1.png"


def test_a_frame_is_a_png_that_a_browser_may_keep(archived: Archived, person: Person) -> None:
    archived.add(ct_slice(1))
    answer = person.get(PICTURE)
    assert answer.mimetype == "image/png"
    assert opened(answer.data).shape == (64, 64)
    assert answer.headers["Cache-Control"] == "private, max-age=3600"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    center, width = map(float, answer.headers["X-Window"].split())
    assert (center, width) == (1064 / 2 + 0.5 - 1024, 1063)
    again = person.get(PICTURE, headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    assert again.headers["ETag"] == answer.headers["ETag"]
    assert not again.data


def test_a_window_makes_another_picture_under_another_tag(
    archived: Archived, person: Person
) -> None:
    archived.add(ct_slice(1))
    plain, other = person.get(PICTURE), person.get(f"{PICTURE}?center=40&width=1")
    assert other.headers["X-Window"] == "40 1"
    assert plain.headers["ETag"] != other.headers["ETag"]
    assert set(np.unique(opened(other.data))) == {0, 255}
    assert opened(person.get(f"{PICTURE}?size=thumb").data).shape == (64, 64)
    for odd in (
        "center=x&width=1",
        "center=nan&width=nan",
        "center=1e300&width=1",
        "width=0&center=1",
    ):
        assert person.get(f"{PICTURE}?{odd}").data == plain.data
    assert person.get(f"{PICTURE}?size=huge").status_code == 400


def test_a_newer_version_has_another_tag(archived: Archived, person: Person) -> None:
    image = ct_slice(1)
    archived.add(image)
    old = person.get(PICTURE)
    image.PixelData = bytes(len(image.PixelData))
    archived.add(image)
    new = person.get(PICTURE, headers={"If-None-Match": old.headers["ETag"]})
    assert new.status_code == 200
    assert not opened(new.data).any()


@pytest.mark.parametrize("frame", [0, 2, 2**31 - 1])
def test_a_frame_that_is_not_there_says_so(archived: Archived, person: Person, frame: int) -> None:
    archived.add(ct_slice(1))
    answer = person.get(f"/instances/1/frames/{frame}.png")
    assert answer.status_code == 422
    assert "it has 1 frames" in answer.text


def test_what_cannot_be_shown_is_a_text_and_never_a_picture(
    archived: Archived, person: Person
) -> None:
    archived.add(ct_slice(1, Rows=65535, Columns=65535))
    answer = person.get(PICTURE)
    assert answer.status_code == 422
    assert answer.mimetype == "text/plain"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "65535 by 65535 pixels are more than are shown here" in answer.text
    assert person.get("/instances/1").status_code == 200


def test_whoever_is_turned_away_may_ask_again(
    app: WebApp, archived: Archived, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    archived.add(ct_slice(1))

    def busy(*_: Any, **__: Any) -> None:
        raise Busy("too many pictures are asked for at once")

    monkeypatch.setattr("mwl.pictures.Pictures.frame", busy)
    answer = person.get(PICTURE)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


def test_a_file_that_the_store_has_lost_is_no_defect(
    app: WebApp, archived: Archived, person: Person
) -> None:
    archived.add(ct_slice(1))
    for key in list(app.objects.keys()):
        app.objects.delete(key)
    for path in ("frames/1.png", "header", "file", "document"):
        assert person.get(f"/instances/1/{path}").status_code == 404, path
    assert person.get("/instances/1").status_code == 200
    assert person.get("/studies/1").status_code == 200


def test_the_file_is_given_as_it_is_kept(archived: Archived, person: Person) -> None:
    image = ct_slice(1)
    received = archived.add(image)
    answer = person.get("/instances/1/file")
    assert answer.data == b"".join(archived.store.read(received.key))
    assert answer.data[128:132] == b"DICM"
    assert answer.mimetype == "application/dicom"
    assert answer.content_length == received.size
    told = answer.headers["Content-Disposition"]
    assert told == f"attachment; filename={image.SOPInstanceUID}.dcm"


def test_a_header_is_a_table(archived: Archived, person: Person) -> None:
    item = Dataset()
    item.RequestedProcedureID = "RP<7>"
    archived.add(ct_slice(1, RequestAttributesSequence=Sequence([item])))
    page = person.get("/instances/1/header").text
    assert "(0010,0010)" in page
    assert "Doe^Jane^Q" in page
    assert "RP&lt;7&gt;" in page
    assert "(7FE0,0010)" not in page


def report() -> Dataset:
    def code(meaning: str) -> Sequence:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "99X", meaning
        return Sequence([item])

    image = ct_slice(1, Rows=None, Columns=None, Modality="SR", SOPClassUID=uid.BasicTextSRStorage)
    del image.PixelData
    finding = Dataset()
    finding.ValueType, finding.RelationshipType = "TEXT", "CONTAINS"
    finding.ConceptNameCodeSequence = code("Finding")
    finding.TextValue = "No <b>bleeding</b>."
    image.ValueType = "CONTAINER"
    image.ConceptNameCodeSequence = code("Radiology report")
    image.ContentSequence = Sequence([finding])
    return image


def test_a_report_is_shown_as_text(archived: Archived, person: Person) -> None:
    archived.add(report())
    page = person.get("/instances/1").text
    assert "Basic Text SR Storage" in page
    assert "Radiology report" in page
    assert "No &lt;b&gt;bleeding&lt;/b&gt;." in page
    assert "It holds no images" in person.get("/studies/1/series/1").text
    assert person.get(PICTURE).status_code == 422


@pytest.mark.parametrize(
    ("media_type", "sent"),
    [("application/pdf", "application/pdf"), ("text/html", "application/octet-stream")],
)
def test_a_document_is_downloaded_and_never_shown_in_our_name(
    archived: Archived, person: Person, media_type: str, sent: str
) -> None:
    image = ct_slice(
        1,
        Rows=None,
        Columns=None,
        SOPClassUID=uid.EncapsulatedPDFStorage,
        MIMETypeOfEncapsulatedDocument=media_type,
    )
    del image.PixelData
    image.EncapsulatedDocument = b"%PDF-1.7 <script>"
    archived.add(image)
    assert "Download the document" in person.get("/instances/1").text
    answer = person.get("/instances/1/document")
    assert answer.data.rstrip(b"\0") == b"%PDF-1.7 <script>"
    assert answer.mimetype == sent
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_what_has_neither_picture_nor_text_says_so(archived: Archived, person: Person) -> None:
    image = ct_slice(
        1, Rows=None, Columns=None, SOPClassUID=uid.GrayscaleSoftcopyPresentationStateStorage
    )
    del image.PixelData
    archived.add(image)
    page = person.get("/instances/1").text
    assert "There is nothing of it to look at: it is no image, and has no text." in page


def test_instances_lead_to_those_beside_them(archived: Archived, person: Person) -> None:
    for n in (3, 1, 2):
        archived.add(ct_slice(n))
    page = person.get("/instances/3").text
    assert 'rel="prev" href="/instances/2"' in page
    assert 'rel="next" href="/instances/1"' in page
    assert "/studies/1/series/1?at=2" in page
