"""Accounts and tokens: who may come in. A password or token that is made is shown once.

It stands in the answer to the form that made it, and nowhere else: neither in a URL nor in
a cookie, and nothing keeps the page.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlmodel import Session

from mwl import accounts
from mwl.accounts import Role, keeping
from mwl.audit import Actor
from mwl.errors import Fault, Reason, Rejected
from web.guard import actor, allowed
from web.wiring import wired

blueprint = Blueprint("users", __name__)

_Making = Callable[[Session, Actor, datetime], str]


@blueprint.get("/users")
@allowed(Role.ADMIN)
def users() -> str:
    """List accounts and tokens, with the forms that make some."""
    return _page()


@blueprint.post("/users")
@allowed(Role.ADMIN)
def add() -> ResponseReturnValue:
    """Make an account."""
    name, role = _given("name"), _given("role")

    def work(session: Session, who: Actor, now: datetime) -> str:
        return keeping.add_user(session, who, name, keeping.role_named(role), now=now)

    return _made("password", name, work, form="user")


@blueprint.post("/users/<name>/reset")
@allowed(Role.ADMIN)
def reset(name: str) -> ResponseReturnValue:
    """Give an account a new password."""

    def work(session: Session, who: Actor, now: datetime) -> str:
        return keeping.reset_user(session, who, name, now=now)

    return _made("password", name, work)


@blueprint.post("/users/<name>/disable")
@allowed(Role.ADMIN)
def disable(name: str) -> ResponseReturnValue:
    """Let an account in no more."""
    wiring, who = wired(), actor()
    now = wiring.clock()
    wiring.database.write(lambda s: keeping.disable_user(s, who, name, now=now))
    flash(f"{accounts.fold(name)} can't sign in any more.")
    return redirect(url_for("users.users"))


@blueprint.post("/users/tokens")
@allowed(Role.ADMIN)
def add_token() -> ResponseReturnValue:
    """Make a token."""
    name, role, days = _given("name"), _given("role"), _given("days")

    def work(session: Session, who: Actor, now: datetime) -> str:
        told, lasting = keeping.role_named(role), _number(days)
        return keeping.issue_token(session, who, name, told, days=lasting, now=now)

    return _made("token", name, work, form="token")


@blueprint.post("/users/tokens/<name>/remove")
@allowed(Role.ADMIN)
def remove_token(name: str) -> ResponseReturnValue:
    """Remove a token."""
    wiring, who = wired(), actor()
    now = wiring.clock()
    wiring.database.write(lambda s: keeping.revoke_token(s, who, name, now=now))
    flash(f"The token {name} opens nothing any more.")
    return redirect(url_for("users.users"))


def _given(name: str) -> str:
    return request.form.get(name, "").strip()[:256]


def _number(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Rejected(Fault(Reason.MALFORMED, "days", "is a number, or left empty"))
    return int(text)


def _made(kind: str, name: str, work: _Making, form: str = "") -> ResponseReturnValue:
    """Make what proves who somebody is, and show it; `form` gets back what is wrong with it."""
    wiring, who = wired(), actor()
    now = wiring.clock()
    try:
        secret = wiring.database.write(lambda session: work(session, who, now))
    except Rejected as error:
        if not form:
            raise
        return _page(wrong={form: f"{error}."}, given=request.form), 400
    shown = name if kind == "token" else accounts.fold(name)
    return _page(made={"kind": kind, "name": shown, "secret": secret})


def _page(**more: Any) -> str:
    wiring = wired()
    now = wiring.clock()
    with wiring.database.read() as session:
        people = [(row, accounts.state(row, now=now)) for row in accounts.listing(session)]
        tokens = [(row, accounts.is_expired(row, now=now)) for row in accounts.list_tokens(session)]
    told = {"made": None, "wrong": {}, "given": {}, **more}
    return render_template("users.html", people=people, tokens=tokens, roles=list(Role), **told)
