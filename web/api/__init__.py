"""The REST API, /api/v1: what the pages show and do, for programs.

A program comes with a bearer token (`mwl token add`), a person's browser with its session
and, for changes, the form's token in `X-CSRFToken`. Answers are JSON; what can't be done is
told as `{"error": …}`. Lists go on from the cursor that the answer before gave. Start
reading at endpoints.py, which holds what all endpoints share; one module speaks of one kind
of thing. What stands in the OpenAPI document is what requests are checked by.
"""

from typing import Any

from flask import Blueprint, Response, jsonify, render_template

from mwl.accounts import Role
from web.api import (
    associations,
    devices,
    explaining,
    messages,
    orders,
    patients,
    reports,
    studies,
    worklist,
)
from web.api.endpoints import document
from web.guard import allowed

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")
for _each in (
    worklist,
    orders,
    patients,
    messages,
    explaining,
    reports,
    studies,
    devices,
    associations,
):
    blueprint.register_blueprint(_each.blueprint)


@blueprint.get("/openapi.json")
@allowed(Role.VIEWER)
def openapi() -> Response:
    """Give the API's description, OpenAPI 3.1."""
    return jsonify(document())


@blueprint.get("/docs")
@allowed(Role.VIEWER)
def docs() -> str:
    """Show the API's description as a page."""
    described = document()
    return render_template(
        "api.html",
        document=described,
        operations=_operations(described),
        schemas=described["components"]["schemas"],
        kind=_kind,
    )


def _operations(described: dict[str, Any]) -> list[dict[str, Any]]:
    """List what can be asked, in the order of the document's tags."""
    tags = [tag["name"] for tag in described["tags"]]
    found = [
        {**operation, "path": path, "method": method.upper()}
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    return sorted(found, key=lambda each: (tags.index(each["tags"][0]), each["path"]))


def _kind(schema: dict[str, Any]) -> str:
    """Say in a few words what a value is."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    for several in ("anyOf", "allOf"):
        if several in schema:
            return " | ".join(_kind(each) for each in schema[several])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type", "anything"))
