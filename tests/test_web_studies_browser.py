"""Studies as a person sees them: search, series, slices by wheel, keys, mouse and touch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from mwl.accounts import Role
from mwl.db import Database
from tests.archived import Archived
from tests.browser import NARROW, VIEWS, Site, live
from tests.images import ct_slice
from tests.web_app import WebApp
from tests.worklist_rows import insert_items, item

SLICES = 12


def head(number: int, **given: Any) -> Any:
    """Draw a slice of a head: skull, brain, ventricles, in Hounsfield units + 1024."""
    size = 256
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    wide = 0.30 + 0.12 * np.sin(np.pi * number / (SLICES + 1))
    inside = np.hypot(x / wide, y / (wide * 1.15))
    values = np.full((size, size), 24.0)
    values[inside < 1] = 1800
    values[inside < 0.9] = 1060
    ventricle = np.hypot((np.abs(x) - 0.05) / 0.03, (y + 0.02) / (0.02 + 0.01 * number))
    values[(ventricle < 1) & (inside < 0.8)] = 1030
    values += np.random.default_rng(number).normal(0, 6, values.shape)
    image = ct_slice(number, **{"Rows": size, "Columns": size, **given})
    image.PixelData = values.clip(0, 4095).astype("<u2").tobytes()
    return image


@pytest.fixture
def site(sqlite_database: Database, tmp_path: Path) -> Iterator[Site]:
    app, archived = WebApp(sqlite_database, tmp_path), Archived(sqlite_database, tmp_path)
    patient = {"patient_id": "PID1", "patient_name": "Doe^Jane^Q"}
    app.database.write(lambda s: insert_items(s, [item(1, patient=patient)]))
    window = {"WindowCenter": "40", "WindowWidth": "120"}
    told = {"StudyDescription": "CT of the head", "BodyPartExamined": "HEAD"}
    for n in range(1, SLICES + 1):
        archived.add(head(n, SeriesDescription="Axial 5 mm", **window, **told))
    for n in range(1, 4):
        archived.add(
            head(n, SeriesInstanceUID="1.2.9", SeriesNumber="2", SeriesDescription="Bone", **told)
        )
    archived.add(
        ct_slice(
            1,
            StudyInstanceUID="1.7",
            SeriesInstanceUID="1.7.1",
            PatientID="PID2",
            PatientName="Roe^Max",
            AccessionNumber="",
            StudyDescription="Emergency CT",
        )
    )
    # Another patient's under a known study: set aside.
    archived.add(ct_slice(1, PatientID="PID9", PatientName="Poe^Ann", SeriesInstanceUID="1.8"))
    with live(app) as served:
        yield served


@VIEWS
def test_a_person_finds_a_study_and_goes_through_its_slices(
    chromium: Browser, site: Site, width: int, dark: bool, script: bool
) -> None:
    page = site.open(chromium, Role.VIEWER, "/studies", width=width, dark=dark, script=script)
    expect(page.locator("h1")).to_have_text("Studies")
    site.look(page)
    site.shoot(page, "studies")
    page.fill("#text", "doe, ja")
    page.click("text=Show >> nth=0")
    page.wait_for_url("**text=doe*")
    assert page.locator("tbody tr").count() == 1
    page.click("text=Doe, Jane Q")
    page.wait_for_url("**/studies/1")
    expect(page.locator(".tiles li")).to_have_count(2)
    page.wait_for_load_state("networkidle")
    site.look(page)
    site.shoot(page, "study")
    page.click("text=Axial 5 mm")
    page.wait_for_url("**/series/1*")
    expect(page.locator("#picture")).to_be_visible()
    page.click("text=Next ›")
    expect(page.locator("#at")).to_have_text("2")
    page.click("text=Next ›")
    expect(page.locator("#at")).to_have_text("3")
    expect(page.locator("#picture")).to_have_attribute("src", "/instances/3/frames/1.png?v=3")
    page.click("text=‹ Back")
    expect(page.locator("#at")).to_have_text("2")
    page.click("text=Bone")
    expect(page.locator("#window")).to_have_text("C 400 W 1800")
    page.fill("#slice", "12")
    page.fill("#center", "100")
    page.fill("#width", "500")
    page.click("#set >> text=Show")
    expect(page.locator("#at")).to_have_text("12")
    expect(page.locator("#window")).to_have_text("C 100 W 500")
    expect(page.locator("#picture")).to_have_attribute(
        "src", "/instances/12/frames/1.png?v=12&center=100&width=500"
    )
    page.click("text=Own window")
    expect(page.locator("#picture")).to_have_attribute("src", "/instances/12/frames/1.png?v=12")
    if script:
        expect(page.locator("#window")).to_have_text("C 40 W 120")
    site.look(page)
    site.shoot(page, "series")
    page.click("text=Its header")
    page.wait_for_url("**/instances/12/header")
    expect(page.locator("h1")).to_have_text("Header")
    site.look(page)
    site.shoot(page, "header")


def test_wheel_keys_and_dragging_change_slice_and_window(chromium: Browser, site: Site) -> None:
    page = site.open(chromium, Role.VIEWER, "/studies/1/series/1?at=3")
    at, window = page.locator("#at"), page.locator("#window")
    expect(window).to_have_text("C 40 W 120")
    box = page.locator("#screen").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.wheel(0, 100)
    expect(at).to_have_text("4")
    page.mouse.wheel(0, -200)
    expect(at).to_have_text("2")
    page.keyboard.press("Home")
    expect(at).to_have_text("1")
    page.keyboard.press("ArrowUp")
    expect(at).to_have_text("1")
    for key, expected in (
        ("ArrowDown", "2"), ("ArrowRight", "3"), ("ArrowLeft", "2"), ("PageDown", "12"),
        ("PageUp", "2"), ("End", "12"),
    ):  # fmt: skip
        page.keyboard.press(key)
        expect(at).to_have_text(expected)
    expect(page.locator("#picture")).to_have_attribute("src", "/instances/12/frames/1.png?v=12")
    expect(page.locator("#picture")).to_have_attribute("alt", "Slice 12 of 12")
    assert "at=12" in page.url
    # To the right is wider, downwards is brighter values in the middle.
    page.mouse.down()
    page.mouse.move(x + 128, y + 64, steps=4)
    page.mouse.up()
    expect(window).to_have_text("C 70 W 180")
    expect(page.locator("#picture")).to_have_attribute(
        "src", "/instances/12/frames/1.png?v=12&center=70&width=180"
    )
    page.keyboard.press("ArrowUp")  # the window stays from slice to slice
    expect(page.locator("#picture")).to_have_attribute(
        "src", "/instances/11/frames/1.png?v=11&center=70&width=180"
    )
    page.keyboard.press("Shift+ArrowRight")
    expect(window).to_have_text("C 70 W 185.63")
    page.mouse.dblclick(x, y)
    expect(window).to_have_text("C 40 W 120")
    expect(page.locator("#picture")).to_have_attribute("src", "/instances/11/frames/1.png?v=11")
    page.reload()
    expect(at).to_have_text("11")
    site.look(page)


def test_a_finger_goes_through_the_slices(chromium: Browser, site: Site) -> None:
    page = site.open(chromium, Role.VIEWER, "/studies/1/series/1", width=NARROW)
    box = page.locator("#screen").bounding_box()
    assert box is not None
    expect(page.locator("#window")).to_have_text("C 40 W 120")
    for kind, y in (("pointerdown", 100), ("pointermove", 145), ("pointerup", 145)):
        page.dispatch_event(
            "#screen",
            kind,
            {"pointerType": "touch", "pointerId": 1, "button": 0, "clientX": 50, "clientY": y},
        )
    expect(page.locator("#at")).to_have_text("5")


def test_a_slice_that_cannot_be_shown_says_why_and_the_others_go_on(
    chromium: Browser, site: Site, tmp_path: Path
) -> None:
    archived = Archived(site.app.database, tmp_path)
    archived.add(head(SLICES + 1, BitsAllocated=16, Columns=60000, Rows=60000))
    page = site.open(chromium, Role.VIEWER, "/studies/1/series/1")
    expect(page.locator("#window")).to_have_text("C 40 W 120")
    page.keyboard.press("End")
    expect(page.locator("#told")).to_contain_text("more than are shown here")
    page.keyboard.press("ArrowUp")
    expect(page.locator("#told")).to_have_text("")
    expect(page.locator("#picture")).to_be_visible()


def test_a_technologist_links_a_study_and_sees_what_is_set_aside(
    chromium: Browser, site: Site
) -> None:
    page = site.open(chromium, Role.TECHNOLOGIST, "/studies?unmatched=1")
    page.click("text=Roe, Max")
    page.wait_for_url("**/studies/2")
    site.look(page)
    site.shoot(page, "study-unmatched")
    page.fill("#accession", "NONE")
    page.click("text=Link >> nth=-1")
    expect(page.get_by_role("alert")).to_have_text("No order with a procedure has it.")
    site.troubles.clear()  # the browser logs the 409
    page.fill("#accession", "ACC1")
    page.click("text=Link >> nth=-1")
    expect(page.locator("main")).to_contain_text("It belongs to order ACC1 now.")
    site.look(page)
    page.goto("/quarantine")
    expect(page.locator("tbody tr")).to_have_count(1)
    site.look(page)
    site.shoot(page, "quarantine")
    page.goto("/instances/1")
    site.look(page)
    site.shoot(page, "instance")
