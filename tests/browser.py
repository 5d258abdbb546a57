"""A real Chromium looking at the application, for tests of pages.

def test_a_page(chromium, app):                 # `app` is a tests.web_app.WebApp
    with live(app) as site:
        page = site.open(chromium, Role.VIEWER, "/worklist", width=390, dark=True)
        assert page.locator("h1").inner_text() == "Worklist"
        site.look(page)     # axe, no sideways scrolling; wide and light, narrow and dark
        site.shoot(page, "worklist")            # with MWL_SHOTS=FOLDER, a picture

`open(…, script=False)` is a browser that runs no scripts; VIEWS gives a test both. What a page
logs as an error, and whatever it asks another host for, fails `look`.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from werkzeug.serving import WSGIRequestHandler, make_server

from mwl.accounts import Role
from tests.peers import missing, require
from tests.web_app import WebApp
from web.guard import COOKIE

WIDE, NARROW = 1440, 390
LOOKS = ((WIDE, False), (NARROW, True))  # width, whether dark
# With script each page is looked at both ways; without, what differs is what can be done.
VIEWS = pytest.mark.parametrize(
    ("width", "dark", "script"), [(WIDE, False, True), (NARROW, True, False)]
)
_HIGH = 900
_AXE = Path(__file__).with_name("axe") / "node_modules" / "axe-core" / "axe.min.js"
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Give a headless Chromium, one a worker."""
    path = require("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        yield browser
        browser.close()


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass


@dataclass
class Site:
    """The application on a port of loopback, and what its pages did wrong."""

    app: WebApp
    url: str
    troubles: list[str] = field(default_factory=list)
    _scripted: dict[Page, tuple[int, bool]] = field(default_factory=dict)  # as they were opened

    def open(
        self,
        chromium: Browser,
        role: Role | None,
        path: str,
        *,
        width: int = WIDE,
        dark: bool = False,
        script: bool = True,
    ) -> Page:
        """Open a page in a fresh browser context; None: nobody is signed in."""
        context = chromium.new_context(
            viewport={"width": width, "height": _HIGH},
            color_scheme=_scheme(dark),
            reduced_motion="reduce",  # colours don't fade: axe judges what stays
            java_script_enabled=script,
            base_url=self.url,
        )
        if role is not None:
            cookie = self.app.signed_in(role).get_cookie(COOKIE)
            assert cookie is not None
            context.add_cookies([{"name": COOKIE, "value": cookie.value, "url": self.url}])
        page = context.new_page()
        if script:
            self._scripted[page] = width, dark
        page.on("console", self._console)
        page.on("request", self._request)
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.goto(path)
        return page

    def look(self, page: Page) -> None:
        """Fail for what axe finds, for sideways scrolling, and for troubles so far.

        Wide and light, narrow and dark. Without script nothing can look for the former two.
        """
        assert self.troubles == []
        if page not in self._scripted:
            return
        page.wait_for_load_state()  # a click returns while the next document is still empty
        for width, dark in LOOKS:
            _turn(page, width, dark)
            wide = page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert wide <= 0, f"{page.url} is {wide} pixels too wide at {width}"
            assert axe(page) == []
        _turn(page, *self._scripted[page])

    def shoot(self, page: Page, name: str) -> None:
        """Take pictures, both ways with script, where MWL_SHOTS names a folder for them."""
        folder = os.environ.get("MWL_SHOTS")
        if not folder:
            return
        Path(folder).mkdir(parents=True, exist_ok=True)
        if page not in self._scripted:
            page.screenshot(path=Path(folder) / f"{name}-plain.png", full_page=True)
            return
        for width, dark in LOOKS:
            _turn(page, width, dark)
            path = Path(folder) / f"{name}-{width}-{_scheme(dark)}.png"
            page.screenshot(path=path, full_page=True)
        _turn(page, *self._scripted[page])

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.troubles.append(message.text)

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:")):
            self.troubles.append(f"asks elsewhere: {request.url}")


def _scheme(dark: bool) -> Literal["dark", "light"]:
    return "dark" if dark else "light"


def _turn(page: Page, width: int, dark: bool) -> None:
    page.set_viewport_size({"width": width, "height": _HIGH})
    page.emulate_media(color_scheme=_scheme(dark))


def axe(page: Page) -> list[str]:
    """Have axe-core judge a page; a line for each thing it finds."""
    if not _AXE.exists():
        missing("axe-core is not installed: npm ci --prefix tests/axe")
    if not page.evaluate("'axe' in window"):
        page.evaluate(_AXE.read_text("utf-8"))
    found = page.evaluate("axe.run().then(result => result.violations)")
    return [
        f"{each['id']}: {each['help']}: {node['html'][:200]}"
        for each in found
        for node in each["nodes"]
    ]


@contextmanager
def live(app: WebApp) -> Iterator[Site]:
    """Serve an application within the block."""
    server = make_server("127.0.0.1", 0, app.flask, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Site(app, f"http://127.0.0.1:{server.port}")
    finally:
        server.shutdown()
        thread.join()
        with suppress(OSError):
            server.server_close()
