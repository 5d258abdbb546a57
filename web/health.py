"""Health, for load balancers and people: alive, and ready as far as reading tells."""

from collections.abc import Callable, Mapping

from flask import Blueprint, Response, jsonify

from mwl.db import Database
from mwl.db.migrate import revision_matches
from mwl.errors import Outage
from web.guard import public

NAME = "health"


def blueprint(database: Database, serving: Callable[[], Mapping[str, bool]]) -> Blueprint:
    """Make /health/live and /health/ready."""
    health = Blueprint(NAME, __name__, url_prefix="/health")

    @health.get("/live")
    @public
    def live() -> Response:
        """Answer: that is all there is to say."""
        return jsonify(live=True)

    @health.get("/ready")
    @public
    def ready() -> tuple[Response, int]:
        """Say whether the database can be read and the roles are up; 503 if not, and why.

        A probe writes nothing, so it knows nothing of a full disk or of a write lock held.
        """
        roles = {name: "ok" if up else "down" for name, up in serving().items()}
        parts = {"database": _database(database), **roles}
        is_ready = all(state == "ok" for state in parts.values())
        return jsonify(ready=is_ready, parts=parts), 200 if is_ready else 503

    return health


def _database(database: Database) -> str:
    try:
        return "ok" if revision_matches(database) else "other revision"
    except Outage:
        return "unreachable"
