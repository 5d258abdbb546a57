"""The web application: pages, the REST API, health. Start reading at `create_app`.

A page is a blueprint in a module of its own, with templates of the same name. It reads and
changes by services alone (`wiring.py` holds what it works on), says for whom it is
(`guard.py`), and works without script; `lists.py` has what all lists share.
"""

from time import perf_counter

import structlog
from flask import Flask, Response, g, request

from web import (
    api,
    assets,
    associations,
    audit,
    commitments,
    deliveries,
    devices,
    entries,
    errors,
    explaining,
    guard,
    health,
    home,
    messages,
    mpps,
    numbers,
    orders,
    patients,
    pictures,
    replaying,
    reports,
    signing,
    studies,
    trying,
    users,
    wiring,
    worklist,
)
from web.cookies import SharedKeySessions
from web.look import dress
from web.wiring import Wiring

log = structlog.get_logger(__name__)

_MOST_FORM_BYTES = 1024 * 1024
# Nothing from elsewhere, nothing inline; Bootstrap has its little pictures in its style sheet.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


def create_app(wired: Wiring) -> Flask:
    """Make the WSGI application, after the fork."""
    app = Flask(__name__, static_folder=None)
    numbers.bound(app)
    app.config["MAX_CONTENT_LENGTH"] = _MOST_FORM_BYTES
    app.session_interface = SharedKeySessions(wired.database)
    app.config.update(
        SESSION_COOKIE_NAME="mwl_form",
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=wired.settings.web.behind_tls,
    )
    wiring.attach(app.extensions, wired)
    app.before_request(_start_clock)
    app.register_blueprint(health.blueprint(wired.database, wired.serving))
    assets.serve(app)
    for each in (
        signing,
        home,
        audit,
        users,
        devices,
        trying,
        associations,
        studies,
        pictures,
        api,
        explaining,
        replaying,
        messages,
        deliveries,
        worklist,
        entries,
        orders,
        patients,
        mpps,
        commitments,
        reports,
    ):
        app.register_blueprint(each.blueprint)
    dress(app)
    errors.tell(app)
    guard.protect(app)
    app.after_request(_finish)
    return app


def _start_clock() -> None:
    g.started_at = perf_counter()


def _finish(response: Response) -> Response:
    headers = response.headers
    headers["X-Content-Type-Options"] = "nosniff"
    headers.setdefault("Content-Security-Policy", _POLICY)
    headers["Referrer-Policy"] = "same-origin"
    headers.setdefault("Cache-Control", "no-store")
    # Probes come every few seconds. Never the query string: people search for patients.
    write = log.debug if request.blueprint in {health.NAME, "assets"} else log.info
    write(
        "web.request",
        method=request.method,
        path=request.path[:200],
        status=response.status_code,
        ms=round((perf_counter() - g.started_at) * 1000, 1),
    )
    return response
