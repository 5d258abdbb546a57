"""Signing in and out, and changing one's password."""

from urllib.parse import urlsplit

from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from sqlmodel import Session
from werkzeug.wrappers import Response

from mwl import accounts, audit
from mwl.accounts import Refusal, Role
from mwl.audit import Action, Event
from mwl.errors import Rejected
from web.guard import COOKIE, actor, address, allowed, public, visitor
from web.wiring import wired

blueprint = Blueprint("signing", __name__)

_REFUSALS = {
    Refusal.WRONG: "Name or password is wrong.",
    Refusal.LOCKED: "Too many wrong passwords: this account waits for a while.",
    Refusal.TOO_MANY: "Too many failed sign-ins from your address: wait a quarter of an hour.",
}


@blueprint.route("/sign-in", methods=["GET", "POST"])
@public
def sign_in() -> Response | tuple[str, int] | str:
    """Show the form; let in who knows name and password."""
    back = local_path(request.args.get("next", ""))
    if request.method == "GET":
        return render_template("sign_in.html", back=back)
    wiring = wired()
    name = request.form.get("name", "")
    password = request.form.get("password", "")
    done = accounts.sign_in(wiring.database, name, password, address(), now=wiring.clock())
    if isinstance(done, Refusal):
        status = 401 if done is Refusal.WRONG else 429
        return render_template("sign_in.html", back=back, wrong=_REFUSALS[done]), status
    session.clear()  # forms that were made before belong to whoever was here before
    return _with_cookie(redirect(back), done)


@blueprint.post("/sign-out")
@allowed(Role.VIEWER)
def sign_out() -> Response:
    """End the session."""
    wiring, who = wired(), actor()
    now, ended = wiring.clock(), visitor().session

    def end(database: Session) -> None:
        if ended is not None:
            accounts.sign_out(database, ended)
        audit.record(database, who, Event(Action.SIGN_OUT), now=now)

    wiring.database.write(end)
    session.clear()
    answer = redirect(url_for("signing.sign_in"))
    answer.delete_cookie(COOKIE)
    return answer


@blueprint.route("/account/password", methods=["GET", "POST"])
@allowed(Role.VIEWER)
def password() -> Response | tuple[str, int] | str:
    """Change one's own password, and go on in a new session."""
    if request.method == "GET":
        return render_template("password.html")
    wiring, who = wired(), actor()
    now, account = wiring.clock(), visitor().account
    old, new = request.form.get("old", ""), request.form.get("new", "")
    if new != request.form.get("again", ""):
        return _again("The new password was typed in two ways.")
    assert account is not None

    def change(database: Session) -> str:
        accounts.change_password(database, account, old, new)
        audit.record(database, who, Event(Action.CHANGE, "own password"), now=now)
        return accounts.sessions.begin(database, account, who.address, now=now)

    try:
        token = wiring.database.write(change)
    except Rejected as error:
        return _again(f"The {error}.")
    session.clear()
    flash("Your password is changed.")
    return _with_cookie(redirect(url_for("home.home")), token)


def _again(wrong: str) -> tuple[str, int]:
    return render_template("password.html", wrong=wrong), 400


def local_path(text: str) -> str:
    """Give a path of this site to go on to; "/" for whatever leads elsewhere."""
    parts = urlsplit(text)
    is_ours = text.startswith("/") and not text.startswith(("//", "/\\"))
    return text if is_ours and not parts.scheme and not parts.netloc and text.isprintable() else "/"


def _with_cookie(answer: Response, token: str) -> Response:
    secure = request.is_secure or wired().settings.web.behind_tls
    answer.set_cookie(COOKIE, token, httponly=True, samesite="Lax", secure=secure)
    return answer
