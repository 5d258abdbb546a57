"""The web application: health for now. Start reading at `create_app`."""

from collections.abc import Callable, Mapping
from time import perf_counter

import structlog
from flask import Flask, Response, g, request

from mwl.db import Database
from web import health

log = structlog.get_logger(__name__)


def create_app(database: Database, serving: Callable[[], Mapping[str, bool]]) -> Flask:
    """Make the WSGI application, after the fork.

    `serving` tells which of the roles that run beside this one are up.
    """
    app = Flask(__name__, static_folder=None)
    app.register_blueprint(health.blueprint(database, serving))
    app.before_request(_start_clock)
    app.after_request(_finish)
    return app


def _start_clock() -> None:
    g.started_at = perf_counter()


def _finish(response: Response) -> Response:
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    # Probes come every few seconds. Never the query string: people search for patients.
    write = log.debug if request.blueprint == health.NAME else log.info
    write(
        "web.request",
        method=request.method,
        path=request.path[:200],
        status=response.status_code,
        ms=round((perf_counter() - g.started_at) * 1000, 1),
    )
    return response
