"""What holds for every route: who may, what is forged, numbers that are none, headers, logs.

ROUTES is written by hand: a route that is not in it fails, and so does one whose role is
another than it says. Everything else here is asked of whatever the application has.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from mwl.accounts import Role
from mwl.db import Database
from tests.web_app import PASSWORD, Person, WebApp

ROUTES: dict[str, Role | None] = {
    "GET /": Role.VIEWER,
    "GET /account/password": Role.VIEWER,
    "POST /account/password": Role.VIEWER,
    "GET /api/v1/associations": Role.VIEWER,
    "GET /api/v1/associations/<int:association>": Role.VIEWER,
    "POST /api/v1/associations/<int:association>/abort": Role.ADMIN,
    "GET /api/v1/devices": Role.VIEWER,
    "POST /api/v1/devices": Role.ADMIN,
    "GET /api/v1/devices/<int:device>": Role.VIEWER,
    "PUT /api/v1/devices/<int:device>": Role.ADMIN,
    "DELETE /api/v1/devices/<int:device>": Role.ADMIN,
    "GET /api/v1/devices/<int:device>/worklist": Role.VIEWER,
    "GET /api/v1/docs": Role.VIEWER,
    "GET /api/v1/messages": Role.VIEWER,
    "GET /api/v1/messages/<int:message>": Role.VIEWER,
    "POST /api/v1/messages/<int:message>/replay": Role.ADMIN,
    "POST /api/v1/messages/replay": Role.ADMIN,
    "POST /api/v1/explain": Role.TECHNOLOGIST,
    "GET /api/v1/openapi.json": Role.VIEWER,
    "GET /api/v1/orders": Role.VIEWER,
    "GET /api/v1/orders/<int:order>": Role.VIEWER,
    "GET /api/v1/patients": Role.VIEWER,
    "GET /api/v1/patients/conflicts": Role.VIEWER,
    "GET /api/v1/patients/merges": Role.VIEWER,
    "POST /api/v1/patients/merges/<int:merge>/undo": Role.ADMIN,
    "GET /api/v1/reports": Role.VIEWER,
    "GET /api/v1/reports/<int:report>": Role.VIEWER,
    "GET /api/v1/reports/<int:report>/parts/<int:part>": Role.VIEWER,
    "GET /api/v1/studies": Role.VIEWER,
    "GET /api/v1/studies/<int:study>": Role.VIEWER,
    "GET /api/v1/worklist": Role.VIEWER,
    "POST /api/v1/worklist": Role.TECHNOLOGIST,
    "GET /api/v1/worklist/<int:step>": Role.VIEWER,
    "PATCH /api/v1/worklist/<int:step>": Role.TECHNOLOGIST,
    "POST /api/v1/worklist/<int:step>/arrive": Role.TECHNOLOGIST,
    "POST /api/v1/worklist/<int:step>/ready": Role.TECHNOLOGIST,
    "POST /api/v1/worklist/<int:step>/depart": Role.TECHNOLOGIST,
    "POST /api/v1/worklist/<int:step>/cancel": Role.TECHNOLOGIST,
    "POST /api/v1/worklist/<int:step>/reopen": Role.TECHNOLOGIST,
    "GET /associations": Role.VIEWER,
    "POST /associations/<int:association>/abort": Role.ADMIN,
    "GET /audit": Role.ADMIN,
    "GET /audit/export.<kind>": Role.ADMIN,
    "GET /commitments": Role.VIEWER,
    "POST /commitments/<int:request_row>/report": Role.TECHNOLOGIST,
    "GET /deliveries": Role.VIEWER,
    "GET /deliveries/<int:delivery>": Role.VIEWER,
    "POST /deliveries/<int:delivery>/drop": Role.ADMIN,
    "POST /deliveries/<int:delivery>/resend": Role.ADMIN,
    "GET /devices": Role.VIEWER,
    "GET /devices/<int:device>": Role.VIEWER,
    "POST /devices/<int:device>": Role.ADMIN,
    "GET /devices/<int:device>/try": Role.VIEWER,
    "POST /devices/<int:device>/echo": Role.ADMIN,
    "POST /devices/<int:device>/remove": Role.ADMIN,
    "POST /devices/destinations/<name>/test": Role.ADMIN,
    "GET /devices/knocks/<int:knock>/register": Role.ADMIN,
    "GET /devices/new": Role.ADMIN,
    "POST /devices/new": Role.ADMIN,
    "GET /health/live": None,
    "GET /health/ready": None,
    "GET /instances/<int:instance>": Role.VIEWER,
    "GET /instances/<int:instance>/document": Role.VIEWER,
    "GET /instances/<int:instance>/file": Role.TECHNOLOGIST,
    "GET /instances/<int:instance>/frames/<int:frame>.png": Role.VIEWER,
    "GET /instances/<int:instance>/header": Role.VIEWER,
    "GET /messages": Role.VIEWER,
    "GET /messages/<int:message>": Role.VIEWER,
    "GET /messages/<int:message>/raw": Role.VIEWER,
    "GET /messages/<int:message>/explain": Role.TECHNOLOGIST,
    "GET /messages/<int:message>/replay": Role.ADMIN,
    "GET /messages/explain": Role.TECHNOLOGIST,
    "POST /messages/explain": Role.TECHNOLOGIST,
    "GET /messages/replay": Role.ADMIN,
    "POST /messages/replay": Role.ADMIN,
    "POST /messages/<int:message>/replay": Role.ADMIN,
    "GET /mpps": Role.VIEWER,
    "POST /mpps/<int:performed>/end": Role.TECHNOLOGIST,
    "POST /mpps/<int:performed>/link": Role.TECHNOLOGIST,
    "GET /orders/<int:order>": Role.VIEWER,
    "POST /orders/<int:order>/close": Role.TECHNOLOGIST,
    "GET /orders/<int:order>/mpps/<int:message>": Role.VIEWER,
    "GET /patients": Role.VIEWER,
    "GET /patients/merges": Role.VIEWER,
    "POST /patients/merges/<int:merge>/undo": Role.ADMIN,
    "GET /patients/conflicts": Role.VIEWER,
    "GET /patients/<int:patient>": Role.VIEWER,
    "GET /quarantine": Role.VIEWER,
    "GET /reports": Role.VIEWER,
    "GET /reports/<int:report>": Role.VIEWER,
    "GET /reports/<int:report>/parts/<int:part>": Role.VIEWER,
    "GET /reports/<int:report>/parts/<int:part>/file": Role.VIEWER,
    "GET /sign-in": None,
    "POST /sign-in": None,
    "POST /sign-out": Role.VIEWER,
    "GET /static/<digest>/<name>": None,
    "GET /studies": Role.VIEWER,
    "GET /studies/<int:study>": Role.VIEWER,
    "POST /studies/<int:study>/link": Role.TECHNOLOGIST,
    "POST /studies/<int:study>/unlink": Role.TECHNOLOGIST,
    "GET /studies/<int:study>/series/<int:series>": Role.VIEWER,
    "GET /users": Role.ADMIN,
    "POST /users": Role.ADMIN,
    "POST /users/<name>/disable": Role.ADMIN,
    "POST /users/<name>/reset": Role.ADMIN,
    "POST /users/tokens": Role.ADMIN,
    "POST /users/tokens/<name>/remove": Role.ADMIN,
    "GET /worklist": Role.VIEWER,
    "GET /worklist/export.csv": Role.ADMIN,
    "POST /worklist/<int:step>/arrive": Role.TECHNOLOGIST,
    "POST /worklist/<int:step>/ready": Role.TECHNOLOGIST,
    "POST /worklist/<int:step>/depart": Role.TECHNOLOGIST,
    "POST /worklist/<int:step>/cancel": Role.TECHNOLOGIST,
    "POST /worklist/<int:step>/close": Role.TECHNOLOGIST,
    "GET /worklist/<int:step>/edit": Role.TECHNOLOGIST,
    "POST /worklist/<int:step>/edit": Role.TECHNOLOGIST,
    "POST /worklist/<int:step>/reopen": Role.TECHNOLOGIST,
    "GET /worklist/<int:step>/why": Role.VIEWER,
    "GET /worklist/new": Role.TECHNOLOGIST,
    "POST /worklist/new": Role.TECHNOLOGIST,
}
METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
API = "/api/"
# What a list may be asked with, right or wrong: each by itself, and all others at once, since
# whatever is refused first hides the rest.
ALONE = ("day", "after", "before")
TOGETHER = (
    *("device", "modality", "state", "status", "text", "sort", "type", "who"),
    *("patient", "accession"),
)
NONSENSE = (
    *("", "\0", "x" * 5_000, "'\"<%_*?\\[", "-1", "9" * 30, "a~b", "1~" + "9" * 20, "~", "1~2~3"),
    *("9" * 20 + "~1", "20300102000000~" + "9" * 20, "9999-12-31", "0001-01-01", "2030-02-30"),
    *("🩻", "\ufffe"),
)


def rules(app: WebApp) -> list[Rule]:
    return sorted(app.flask.url_map.iter_rules(), key=lambda rule: rule.rule)


def methods(rule: Rule) -> list[str]:
    return [method for method in METHODS if method in (rule.methods or ())]


def routes(app: WebApp) -> Iterator[tuple[str, str, str]]:
    """Give method, rule and a path of every route; the path's row is one that isn't there."""
    for rule in rules(app):
        for method in methods(rule):
            yield method, rule.rule, filled(rule, "7")


def filled(rule: Rule, number: str) -> str:
    path = re.sub(r"<int:[^>]+>", number, rule.rule)
    return re.sub(r"<[^>]+>", "csv" if "export" in rule.rule else "x", path)


@pytest.fixture
def app(sqlite_database: Database, tmp_path: Path) -> WebApp:
    return WebApp(sqlite_database, tmp_path)


@pytest.fixture
def either(database: Database, tmp_path: Path) -> WebApp:
    """The application on a database of each kind."""
    return WebApp(database, tmp_path)


# ---- who may -----------------------------------------------------------------------------


def test_every_route_is_in_the_table(app: WebApp) -> None:
    assert {f"{method} {rule}" for method, rule, _ in routes(app)} == set(ROUTES)


def test_who_is_not_signed_in_gets_nowhere_but_to_what_is_public(app: WebApp) -> None:
    for method, rule, path in routes(app):
        answer = app.visitor().open(path, method=method)
        if ROUTES[f"{method} {rule}"] is None:
            assert answer.status_code not in {401, 403}, rule
        elif path.startswith(API):
            assert answer.status_code == 401, rule
        else:
            assert answer.status_code == 302, rule
            assert answer.headers["Location"].startswith("/sign-in?next=%2F"), rule


@pytest.mark.parametrize("role", Role)
def test_each_role_may_what_the_table_says_and_no_more(app: WebApp, role: Role) -> None:
    for method, rule, path in routes(app):
        needed = ROUTES[f"{method} {rule}"]
        if rule == "/sign-in":
            continue  # which says of its own that a password is wrong
        answer = app.signed_in(role).open(path, method=method)
        if needed is None or role.includes(needed):
            assert answer.status_code not in {401, 403}, rule
            assert not leads_to_sign_in(answer) or rule == "/sign-out", rule
        else:
            assert answer.status_code == 403, f"{method} {rule}"


@pytest.mark.parametrize("role", Role)
def test_a_token_may_what_its_role_may_and_only_in_the_api(app: WebApp, role: Role) -> None:
    bearer, client = app.bearer(role), app.visitor()
    for method, rule, path in routes(app):
        needed = ROUTES[f"{method} {rule}"]
        answer = client.open(path, method=method, headers=bearer)
        if not path.startswith(API):
            assert needed is None or leads_to_sign_in(answer), rule
        elif needed is None or role.includes(needed):
            assert answer.status_code not in {400, 401, 403}, rule
        else:
            assert answer.status_code == 403, rule


def leads_to_sign_in(answer: TestResponse) -> bool:
    return answer.status_code == 302 and answer.headers["Location"].startswith("/sign-in")


# ---- what is forged ----------------------------------------------------------------------


def test_nothing_is_changed_by_a_request_without_the_forms_token(app: WebApp) -> None:
    for method, rule, path in routes(app):
        if method == "GET":
            continue
        person = app.signed_in(Role.ADMIN)
        for headers in ({}, {"X-CSRFToken": "forged"}):
            answer = person.open(path, method=method, csrf=False, headers=headers, json={})
            assert answer.status_code == 400, f"{method} {rule}"
            assert "not one of ours" in answer.text, rule


def test_a_form_of_another_session_is_refused(app: WebApp) -> None:
    theirs = app.signed_in(Role.TECHNOLOGIST).csrf_token
    person = app.signed_in(Role.ADMIN)
    person.csrf_token = theirs
    assert person.post("/users", data={"name": "x", "role": "admin"}).status_code == 400


def test_no_get_route_changes_by_another_method(app: WebApp) -> None:
    person = app.signed_in(Role.ADMIN)
    for rule in rules(app):
        others = [method for method in METHODS if method not in (rule.methods or ())]
        for method in others:
            if any(method in methods(each) for each in rules(app) if each.rule == rule.rule):
                continue
            answer = person.open(filled(rule, "7"), method=method)
            assert answer.status_code == 405, f"{method} {rule.rule}"


# ---- numbers that are none ---------------------------------------------------------------


@pytest.mark.parametrize(
    "number", ["0", "7", "2147483647", "2147483648", "9" * 30, "-1", "1.5", "x", "1%00", "%27--"]
)
def test_what_is_not_there_is_not_found_by_any_number(either: WebApp, number: str) -> None:
    person = either.signed_in(Role.ADMIN)
    for rule in rules(either):
        if "<int:" not in rule.rule:
            continue
        for method in methods(rule):
            answer = person.open(filled(rule, number), method=method)
            expected = {404} if method == "GET" else {400, 404, 405, 409, 415}
            assert answer.status_code in expected, f"{method} {rule.rule}: {answer.status_code}"


def test_no_list_breaks_of_what_its_url_says(either: WebApp) -> None:
    person = either.signed_in(Role.ADMIN)
    for rule in rules(either):
        if "GET" not in methods(rule) or rule.arguments:
            continue
        for value in NONSENSE:
            for names in (*([name] for name in ALONE), TOGETHER):
                answer = person.get(rule.rule, query_string=dict.fromkeys(names, value))
                assert answer.status_code < 500, f"{rule.rule}?{names}={value!r}"


# ---- headers -----------------------------------------------------------------------------


def test_every_answer_carries_the_headers_that_guard_it(app: WebApp) -> None:
    person = app.signed_in(Role.ADMIN)
    for method, rule, path in routes(app):
        if rule == "/sign-out":
            continue
        check_headers(person.open(path, method=method), rule)
    check_headers(person.get("/nowhere"), "404")
    check_headers(app.visitor().get("/"), "to sign in")


def check_headers(answer: TestResponse, rule: str) -> None:
    headers = answer.headers
    policy = dict(
        part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'", rule
    assert policy["script-src"] == "'self'", rule
    assert policy["style-src"] == "'self'", rule
    assert policy["frame-ancestors"] == "'none'", rule
    assert policy["form-action"] == "'self'", rule
    assert policy["base-uri"] == "'none'", rule
    assert headers["X-Content-Type-Options"] == "nosniff", rule
    assert headers["Referrer-Policy"] == "same-origin", rule
    assert "no-store" in headers["Cache-Control"], rule
    assert "Server" not in headers or "/" not in headers["Server"], rule


def test_nothing_within_a_page_needs_the_policy_to_be_lax(app: WebApp) -> None:
    person = app.signed_in(Role.ADMIN)
    for _method, rule, path in routes(app):
        answer = person.get(path)
        if answer.mimetype != "text/html":
            continue
        assert not re.search(r"<[^>]+\son\w+\s*=", answer.text), rule
        assert not re.search(r"<[^>]+\sstyle\s*=", answer.text), rule
        assert not re.search(r"<style|<script(?![^>]*\ssrc=)|javascript:", answer.text), rule
        assert not re.search(r'(?:src|href|action)="(?:https?:)?//', answer.text), rule


# ---- the log -----------------------------------------------------------------------------


def test_the_log_holds_no_query_password_token_or_form(app: WebApp) -> None:
    person, visitor = app.signed_in(Role.ADMIN), app.visitor()
    bearer = app.bearer(Role.ADMIN)
    secrets = ["Doe^Jane", "hunter2-hunter2", PASSWORD, bearer["Authorization"].split()[1]]
    with capture_logs() as logs:
        for method, _rule, path in routes(app):
            if path == "/sign-out":
                continue
            asked: dict[str, Any] = {"method": method, "query_string": {"text": "Doe^Jane"}}
            if method != "GET":
                asked["data"] = dict.fromkeys(("name", "patient_name", "text"), "Doe^Jane")
            person.open(path, **asked)
            visitor.open(path, headers=bearer, **asked)
        attempt(visitor, "hunter2-hunter2", PASSWORD)
        made = person.post("/users/tokens", data={"name": "secret", "role": "viewer"})
        secrets += re.findall(r"mwl_[\w-]{43}", made.text)
    told = repr(logs)
    assert len(secrets) == 5
    assert "web.request" in told
    assert [each for each in secrets if each in told] == []


def attempt(client: Person, name: str, password: str) -> None:
    client.get("/sign-in")
    assert client.post("/sign-in", data={"name": name, "password": password}).status_code == 401
