"""The tour of the README, as a newcomer takes it: a real server, a real browser, the demo.

With MWL_SHOTS=tests/shots its pictures are those of the README.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import axe
from tests.serving import Serving, served

PASSWORD = "a password of my own"
_SHOWN = {"width": 1280, "height": 800}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with served(tmp_path_factory.mktemp("tour"), MWL_SITE__ZONE="Europe/Berlin") as serving:
        yield serving


@pytest.fixture(scope="module")
def page(chromium: Browser, server: Serving) -> Iterator[Page]:
    """Give a browser window in which the administrator has signed in for the first time."""
    found = re.search(r"admin, password (\S+)", server.said)
    assert found is not None
    context = chromium.new_context(
        viewport=_SHOWN, base_url=f"http://127.0.0.1:{server.ports['web']}"
    )
    page = context.new_page()
    page.goto("/")
    page.fill("#name", "admin")
    page.fill("#password", found[1])
    page.get_by_role("button", name="Sign in").click()
    page.fill("#old", found[1])
    page.fill("#new", PASSWORD)
    page.fill("#again", PASSWORD)
    page.get_by_role("button", name="Change").click()
    page.wait_for_url("**/")
    yield page
    context.close()


def shoot(page: Page, name: str) -> None:
    """Look at a page as the tour does, and take its picture where that is asked for."""
    assert axe(page) == []
    if folder := os.environ.get("MWL_SHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png")


def links(text: str) -> dict[str, str]:
    """Read the addresses that the demo ends with, by the words before them."""
    return {
        words.strip(): url
        for words, url in re.findall(r"^(.*?) +(http://\S+)$", text, re.MULTILINE)
    }


def test_the_demo_ends_with_a_closed_order_and_pictures_of_it(server: Serving, page: Page) -> None:
    told = links(server.run("demo").stdout)
    page.goto(told["The order"])
    assert page.get_by_text("every image that its scanner had listed was here").first.is_visible()
    assert page.locator("main").inner_text().count("CLOSED") >= 1
    shoot(page, "order")
    page.goto(told["The study"])
    page.locator("main img").first.click()
    page.wait_for_url("**/series/**")
    picture = page.locator("main img").first
    picture.wait_for()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 256
    shoot(page, "viewer")


def test_a_day_gives_every_page_something_to_show(server: Serving, page: Page) -> None:
    told = links(server.run("demo", "--day").stdout)
    assert len(told) >= 8
    for path in told.values():
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 200, path
        assert axe(page) == [], path
    page.goto("/")
    shoot(page, "home")
    page.goto(told["today's worklist"])
    shoot(page, "worklist")
    page.goto("/messages?state=rejected")
    page.locator("main a[href^='/messages/']").first.click()
    shoot(page, "message")
    page.goto("/devices")
    shoot(page, "devices")
    page.goto("/audit?action=sign-in")
    assert "admin" in page.locator("main table").first.inner_text()
