"""Home: whether it flows, and what waits for a person."""

from flask import Blueprint, render_template

from mwl.accounts import Role
from web.guard import allowed

blueprint = Blueprint("home", __name__)


@blueprint.get("/")
@allowed(Role.VIEWER)
def home() -> str:
    """Show what flows, and what waits for a person."""
    return render_template("home.html")
