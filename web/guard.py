"""Who may see a page: sessions and bearer tokens, roles, and requests forged elsewhere.

Every view says for whom it is, by `@allowed(Role…)` or `@public`; an application with one
that doesn't is not made. A person comes with a session's cookie, a program with a bearer
token, which opens the REST API and nothing else.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from flask import Flask, Response, abort, current_app, g, redirect, request, url_for
from flask import session as cookie
from flask_wtf.csrf import CSRFProtect
from werkzeug.wrappers import Response as AnyResponse

from mwl import accounts, audit
from mwl.accounts import Role, sessions, tokens
from mwl.audit import Action, Actor, Event
from web.wiring import wired

COOKIE = "mwl_session"
API = "/api/"
REFRESH = "X-Refresh"  # sent by app.js
_ROLE = "allowed_role"
_WATCHED = "watched"
_SAFE = {"GET", "HEAD", "OPTIONS"}
_SETTLING = {
    "signing.sign_out",
    "signing.password",
}  # what is left before the password is one's own

View = TypeVar("View", bound=Callable[..., Any])
csrf = CSRFProtect()


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks: an account by its session, or a token."""

    name: str
    role: Role
    account: int | None = None
    session: int | None = None

    def may(self, role: Role) -> bool:
        return self.role.includes(role)


def allowed(role: Role) -> Callable[[View], View]:
    """Open a view to whoever has `role` or a higher one."""

    def mark(view: View) -> View:
        setattr(view, _ROLE, role)
        return view

    return mark


def public(view: View) -> View:
    """Open a view to everybody."""
    setattr(view, _ROLE, None)
    return view


def protect(app: Flask) -> None:
    """Guard every view of `app`; call it when all are there. Raises TypeError for one unmarked."""
    for endpoint, view in app.view_functions.items():
        if not hasattr(view, _ROLE):
            raise TypeError(f"{endpoint}: say for whom it is, by @allowed or @public")
    app.config["WTF_CSRF_CHECK_DEFAULT"] = False  # bearer tokens can't be forged: `_let_in` asks
    app.config["WTF_CSRF_TIME_LIMIT"] = None  # as long as the session
    csrf.init_app(app)
    app.before_request(_let_in)
    app.after_request(_write_down)


def role_of(app: Flask, endpoint: str) -> Role | None:
    """Tell which role a view asks for; None: it is public."""
    role: Role | None = getattr(app.view_functions[endpoint], _ROLE)
    return role


def visitor() -> Visitor:
    """Tell who asks. For views that are not public."""
    found: Visitor = g.visitor
    return found


def actor() -> Actor:
    """Tell who asks, for the audit trail."""
    who = visitor()
    return Actor(who.name, who.role.value, address())


def address() -> str:
    """Tell from where; proxies are not believed."""
    return request.remote_addr or ""


def viewed(subject: str = "", /, **detail: Any) -> None:
    """Have it recorded that patient data were looked at, if the answer goes out well."""
    g.setdefault("views", []).append(Event(Action.VIEW, subject, detail))


def watched(subject: str = "", /, **detail: Any) -> None:
    """Have a view recorded of a page that refreshes itself: once an hour while it is open.

    The signed cookie tells that this view is on record, so asking for a refresh by hand
    hides nothing.
    """
    what = json.dumps([subject, detail], sort_keys=True, default=str)
    hour = int(wired().clock().timestamp()) // 3600
    mark = f"{hashlib.sha256(what.encode()).hexdigest()[:16]}.{hour}"
    if "X-Refresh" in request.headers and cookie.get(_WATCHED) == mark:
        return
    cookie[_WATCHED] = mark
    viewed(subject, **detail)


def bounds() -> sessions.Bounds:
    """Tell how long sessions last."""
    return sessions.Bounds.of(wired().settings.web)


def _let_in() -> AnyResponse | None:
    if request.endpoint is None:
        return None  # 404, or 405: there is nothing to guard
    role = role_of(current_app, request.endpoint)
    g.visitor = None
    if role is not None:
        g.visitor = _by_token() if request.path.startswith(API) else _by_session()
        if g.visitor is None:
            return _ask_in()
    if request.method not in _SAFE and (g.visitor is None or g.visitor.account is not None):
        csrf.protect()
    if role is not None and not g.visitor.may(role):
        abort(403)
    if g.get("must_change") and request.endpoint not in _SETTLING:
        return redirect(url_for("signing.password"))
    return None


def _by_session() -> Visitor | None:
    cookie = request.cookies.get(COOKIE)
    if not cookie:
        return None
    wiring = wired()
    now = wiring.clock()
    with wiring.database.read() as session:
        found = accounts.find(session, cookie, bounds(), now=now)
    if found is None:
        return None
    # A page that fetches itself again is nobody who clicks.
    if found.is_due and REFRESH not in request.headers:
        wiring.database.write(lambda s: sessions.seen(s, found.id, now=now))
    g.must_change = found.must_change
    return Visitor(found.name, found.role, found.account, found.id)


def _by_token() -> Visitor | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        return _by_session()  # the documentation page tries things out as who is signed in
    wiring = wired()
    now = wiring.clock()
    with wiring.database.read() as session:
        found = accounts.find_token(session, token.strip(), now=now)
    if found is None:
        return None
    if found.is_due:
        wiring.database.write(lambda s: tokens.used(s, found.id, now=now))
    return Visitor(f"token {found.name}", found.role)


def _ask_in() -> AnyResponse:
    if request.path.startswith(API):
        answer = Response('{"error": "sign in, or send a bearer token"}\n', 401)
        answer.headers["Content-Type"] = "application/json"
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer
    back = request.full_path.rstrip("?") if request.method == "GET" else "/"
    return redirect(f"{url_for('signing.sign_in')}?next={quote(back, safe='')}")


def _write_down(response: Response) -> Response:
    events = g.pop("views", [])
    if events and response.status_code < 400:
        wiring, who = wired(), actor()
        now = wiring.clock()

        def record(session: Any) -> None:
            for event in events:
                audit.record(session, who, event, now=now)

        wiring.database.write(record)
    return response
