"""The REST API as programs meet it: real requests with a bearer token, and its description."""

import json
from base64 import b64decode
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from playwright.sync_api import Browser

from mwl import audit
from mwl.accounts import Role
from mwl.audit import Wanted
from mwl.config import DeviceTable
from mwl.db import Database
from mwl.errors import Outage
from mwl.journal import Received, Settled, State, digest, record
from tests.browser import live
from tests.web_app import WebApp

ENTRY = {
    "patient_id": "4711",
    "patient_name": "Doe^Jane",
    "birth_date": "19800229",
    "sex": "F",
    "modality": "CT",
    "accession_number": "A1",
    "description": "CT of the head",
    "start": "2030-01-02T14:30",
    "stations": ["CT1"],
}


class Program:
    """What uses the API with a token of one role."""

    def __init__(self, app: WebApp, role: Role = Role.VIEWER) -> None:
        self.client = app.visitor()
        self.headers = app.bearer(role)

    def ask(self, method: str, path: str, body: Any = None, **kwargs: Any) -> Any:
        given = {} if body is None else {"json": body}
        return self.client.open(
            f"/api/v1{path}", method=method, headers=self.headers, **given, **kwargs
        )

    def get(self, path: str, status: int = 200) -> Any:
        answer = self.ask("GET", path)
        assert answer.status_code == status, answer.text
        return answer.json

    def send(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.ask(method, path, body)
        assert answer.status_code == status, answer.text
        return answer.json


@pytest.fixture
def app(database: Database, tmp_path: Path) -> WebApp:
    """The application on a database of each kind."""
    return WebApp(database, tmp_path)


@pytest.fixture
def small(sqlite_database: Database, tmp_path: Path) -> WebApp:
    """The application, where the kind of database is all one."""
    return WebApp(sqlite_database, tmp_path)


def audited(app: WebApp) -> list[tuple[str, str, str]]:
    with app.database.read() as session:
        rows = audit.listing(session, Wanted(), limit=100)
        return [(row.who, row.action, row.subject) for row in reversed(rows)]


def keep_message(app: WebApp, number: int = 1, raw: bytes = b"MSH|^~\\&|RIS|HOSP\r") -> None:
    at = app.now + timedelta(minutes=number)
    received = Received(
        at, "10.0.0.5:40000", raw, digest(raw), "RIS^HOSP", "ORM^O01", f"C{number}", "latin-1"
    )
    settled = Settled(State.REJECTED, "AE", b"MSA|AE\r", error="PID-3: is missing")
    app.database.write(lambda session: record(session, received, settled))


# ---- worklist --------------------------------------------------------------------------


def test_an_entry_is_created_read_changed_and_moved_through_its_states(app: WebApp) -> None:
    program = Program(app, Role.TECHNOLOGIST)
    made = program.send("POST", "/worklist", ENTRY, 201)
    assert made["notes"] == []
    entry = made["entry"]
    step = entry["id"]
    assert entry["patient"] == {
        "patient_id": "4711",
        "issuer": "",
        "name": "Doe^Jane",
        "birth_date": "19800229",
        "sex": "F",
    }
    assert entry["start"] == "2030-01-02T14:30:00+01:00"
    assert (entry["state"], entry["stations"]) == ("SCHEDULED", ["CT1"])
    assert program.get(f"/worklist/{step}") == entry

    changed = program.send("PATCH", f"/worklist/{step}", {"start": "2030-01-02T15:00:00Z"})
    assert changed["entry"]["start"] == "2030-01-02T16:00:00+01:00"
    assert changed["entry"]["description"] == "CT of the head"
    became = {"arrive": "ARRIVED", "ready": "READY", "cancel": "CANCELED", "reopen": "SCHEDULED"}
    for verb, state in became.items():
        done = program.send("POST", f"/worklist/{step}/{verb}")
        assert done["entry"]["state"] == state
    order = f"order:{entry['order']}"
    assert audited(app) == [
        ("token t-technologist", action, order)
        for action in ("create", "view", "change", "arrive", "ready", "cancel", "reopen")
    ]


def test_the_list_is_filtered_and_goes_on_from_its_cursor(app: WebApp) -> None:
    program = Program(app, Role.TECHNOLOGIST)
    for number in range(5):
        entry = {**ENTRY, "accession_number": f"A{number}", "start": f"2030-01-02T1{number}:00"}
        program.send("POST", "/worklist", entry, 201)
    program.send("POST", "/worklist", {**ENTRY, "modality": "MR", "start": "2030-01-03T08:00"}, 201)

    path, seen = "/worklist?day=2030-01-02&limit=2", []
    after = ""
    while after is not None:
        page = program.get(f"{path}&after={after}" if after else path)
        seen += [each["accession_number"] for each in page["items"]]
        assert len(page["items"]) <= 2
        after = page["after"]
    assert seen == ["A0", "A1", "A2", "A3", "A4"]

    def count(query: str) -> int:
        return len(program.get(f"/worklist?{query}")["items"])

    assert count("modality=MR") == 1
    assert count("state=CANCELED") == 0
    assert count("state=SCHEDULED") == 6
    assert count("text=doe") == 6
    assert count("text=A3") == 1
    assert count("flagged=true") == 0
    assert count("device=CT1&day=2030-01-02") == 5
    for sort in ("latest", "changed"):
        first = program.get(f"/worklist?sort={sort}&limit=4")
        rest = program.get(f"/worklist?sort={sort}&limit=4&after={first['after']}")
        assert len({each["id"] for each in [*first["items"], *rest["items"]]}) == 6


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"start": "tomorrow"}, "start: is written like 2026-07-01T10:30"),
        ({"start": 5}, "start: is written like"),
        ({"start": "1066-10-14T09:00"}, "start: has a year from 1900 to 2199"),
        ({"birth_date": "19801301"}, "birth date: is written YYYYMMDD"),
        ({"sex": "X"}, "sex: is F, M or O"),
        ({"accession_number": "1" * 17}, "accession number: longer than 16"),
        ({"patient_id": ""}, "patient ID: "),
        ({"modality": None}, "modality: "),
        ({"patient_name": "Doe\0^Jane"}, "holds a character that is none"),
        ({"patient_name": "\ud800"}, "holds a character that is none"),
        ({"stations": ["CT1\ud800"]}, "holds a character that is none"),
        ({"colour": "red"}, "colour: there is no such key"),
    ],
)
def test_what_is_wrong_with_an_entry_is_told(
    small: WebApp, change: dict[str, Any], told: str
) -> None:
    program = Program(small, Role.TECHNOLOGIST)
    error = program.send("POST", "/worklist", {**ENTRY, **change}, 422)
    assert list(error) == ["error"]
    assert told in error["error"]
    assert audited(small) == []


def test_what_contradicts_how_things_are_is_a_conflict(app: WebApp) -> None:
    program = Program(app, Role.TECHNOLOGIST)
    step = program.send("POST", "/worklist", ENTRY, 201)["entry"]["id"]
    taken = {**ENTRY, "patient_name": "Roe^Richard", "birth_date": "19500101"}
    assert "error" in program.send("POST", "/worklist", taken, 409)
    program.send("POST", f"/worklist/{step}/cancel")
    error = program.send("PATCH", f"/worklist/{step}", {"sex": "M"}, 409)
    assert error == {"error": "the step is CANCELED and can't be changed; reopen it first"}
    program.send("POST", f"/worklist/{step}/arrive", status=409)
    error = program.send("PATCH", f"/worklist/{step}", {}, 422)
    assert "nothing to change" in error["error"]


# ---- messages, orders, studies, devices -------------------------------------------------


def test_a_message_is_found_and_read_as_it_came(app: WebApp) -> None:
    raw = "MSH|^~\\&|RIS|HOSP\rPID|||1||Müller\r".encode("latin-1")
    for number in range(3):
        keep_message(app, number, raw + str(number).encode())
    program = Program(app)
    first = program.get("/messages?limit=2&state=rejected")
    assert [each["control_id"] for each in first["items"]] == ["C2", "C1"]
    rest = program.get(f"/messages?limit=2&state=rejected&after={first['after']}")
    assert [each["control_id"] for each in rest["items"]] == ["C0"]
    assert rest["after"] is None
    assert program.get("/messages?control_id=C1")["items"] == [first["items"][1]]
    assert program.get("/messages?day=2029-12-31")["items"] == []
    assert len(program.get("/messages?day=2030-01-02&error=PID-3")["items"]) == 3

    row = first["items"][1]["id"]
    whole = program.get(f"/messages/{row}")
    assert b64decode(whole["raw"]) == raw + b"1"
    assert "Müller" in whole["text"]
    assert (whole["ack"], whole["ack_code"]) == ("MSA|AE\r", "AE")
    assert whole["error"] == "PID-3: is missing"
    assert audited(app)[-1] == ("token t-viewer", "view", f"message:{row}")


def test_an_order_tells_its_steps_and_its_story(app: WebApp) -> None:
    technologist = Program(app, Role.TECHNOLOGIST)
    entry = technologist.send("POST", "/worklist", ENTRY, 201)["entry"]
    program = Program(app)
    assert program.get("/orders?accession=A1") == {"items": [entry["order"]]}
    assert program.get("/orders?accession=none") == {"items": []}
    order = program.get(f"/orders/{entry['order']}")
    assert order["patient"]["name"] == "Doe^Jane"
    (procedure,) = order["procedures"]
    (step,) = procedure["steps"]
    assert procedure["accession_number"] == "A1"
    assert procedure["study_instance_uid"].startswith("2.25.")
    assert (step["id"], step["sps_id"]) == (entry["id"], entry["sps_id"])
    assert order["outlook"]["text"]
    assert "Person" in {each["kind"] for each in order["story"]}
    assert audited(app)[-1] == ("token t-viewer", "view", f"order:{entry['order']}")


def test_all_settings_of_a_device_are_given_and_read(small: WebApp) -> None:
    program = Program(small, Role.ADMIN)
    new = {
        "ae_title": "CT1",
        "aliases": ["CT1_OLD"],
        "zone": "Asia/Tokyo",
        "close_images": "elsewhere",
        "worklist": {"modalities": ["CT"], "max_answers": 5, "synonyms": {"CR": ["DX"]}},
        "characters": {"sets": ["ISO_IR 100"], "beyond": "utf-8"},
    }
    made = program.send("POST", "/devices", new, 201)
    assert {name: made[name] for name in ("aliases", "zone", "close_images")} == {
        name: new[name] for name in ("aliases", "zone", "close_images")
    }
    assert made["worklist"].items() >= new["worklist"].items()
    assert made["characters"].items() >= new["characters"].items()
    # What was read can be given again.
    again = {name: made[name] for name in DeviceTable.model_fields if made[name] not in ("", 0)}
    assert program.send("PUT", f"/devices/{made['id']}", again) == made


def test_devices_are_kept_by_administrators(app: WebApp) -> None:
    program = Program(app, Role.ADMIN)
    new = {"ae_title": "CT1", "host": "127.0.0.1", "port": 104, "modality": "CT"}
    made = program.send("POST", "/devices", new, 201)
    row = made["id"]
    assert (made["may"], made["origin"]) == (["worklist", "mpps", "store", "commit"], "manual")
    assert program.send("POST", "/devices", new, 409)["error"].startswith("AE title: is registered")
    changed = program.send("PUT", f"/devices/{row}", {**new, "port": 105, "may": ["worklist"]})
    assert (changed["port"], changed["may"]) == (105, ["worklist"])
    assert Program(app).get("/devices") == {"items": [changed]}
    assert (changed["seen_at"], changed["seen_address"]) == (None, "")
    gone = program.ask("DELETE", f"/devices/{row}")
    assert (gone.status_code, gone.data) == (204, b"")
    assert program.get(f"/devices/{row}", 404) == {"error": "there is no such device"}
    assert program.ask("DELETE", f"/devices/{row}").status_code == 404
    bad = program.send("POST", "/devices", {"ae_title": "CT1", "port": 0}, 422)
    assert bad["error"].startswith("port: ")
    bad = program.send("POST", "/devices", {**new, "worklist": {"hide": ["GONE"]}}, 422)
    assert bad["error"].startswith("worklist.hide.0: ")
    for name in ("PatientSex", "Patient\0Sex"):
        worklist = {"defaults": {name: "O\0"}}
        bad = program.send("POST", "/devices", {**new, "worklist": worklist}, 422)
        assert "holds a character that is none" in bad["error"]
    assert [each[1:] for each in audited(app)] == [
        ("create", "device:CT1"),
        ("change", "device:CT1"),
        ("remove", "device:CT1"),
    ]


# ---- what holds everywhere --------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/worklist/7", 404),
        ("/worklist/99999999999999999999", 404),
        ("/worklist/-1", 404),
        ("/worklist/seven", 404),
        ("/messages/7", 404),
        ("/orders/2147483647", 404),
        ("/studies/7", 404),
        ("/nothing", 404),
        ("/worklist?limit=0", 422),
        ("/worklist?limit=501", 422),
        ("/worklist?limit=many", 422),
        ("/worklist?colour=red", 422),
        ("/worklist?day=2030-02-30", 422),
        ("/worklist?day=20300102", 422),
        ("/worklist?state=bogus", 422),
        ("/worklist?sort=bogus", 422),
        ("/worklist?text=%00", 422),
        ("/worklist?text=" + "x" * 201, 422),
        ("/worklist?flagged=maybe", 422),
        ("/worklist?after=x", 400),
        ("/worklist?after=1~2~3", 422),
        ("/worklist?sort=changed&after=99999999999999999999~1", 422),
        ("/messages?after=x~1", 400),
        ("/messages?after=99999999999999999999~1", 400),
        ("/messages?after=1~99999999999999999999", 400),
        ("/messages?state=bogus", 422),
        ("/messages?day=2030-13-01", 422),
        ("/studies?after=-1", 400),
        ("/studies?day=x", 422),
        ("/orders", 422),
    ],
)
def test_nonsense_is_told_in_the_one_shape(app: WebApp, path: str, status: int) -> None:
    answer = Program(app).ask("GET", path)
    assert answer.status_code == status, answer.text
    assert list(answer.json) == ["error"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"", "application/json", 400),
        (json.dumps(ENTRY).encode(), "text/plain", 415),
        (b"patient_id=1", "application/x-www-form-urlencoded", 415),
        (b"{}", "application/json", 422),
        (b'{"a":"' + b"x" * 2_000_000 + b'"}', "application/json", 413),
    ],
)
def test_a_body_is_json_and_says_so(small: WebApp, body: bytes, kind: str, status: int) -> None:
    program = Program(small, Role.TECHNOLOGIST)
    answer = program.ask("POST", "/worklist", data=body, content_type=kind)
    assert answer.status_code == status
    assert list(answer.json) == ["error"]


def test_no_token_a_wrong_one_an_expired_one_and_too_low_a_role_are_told(small: WebApp) -> None:
    client = small.visitor()
    for headers in ({}, {"Authorization": "Bearer mwl_wrong"}, {"Authorization": "Basic YTpi"}):
        answer = client.get("/api/v1/worklist", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert list(answer.json) == ["error"]
    answer = Program(small).ask("POST", "/worklist", ENTRY)
    assert answer.status_code == 403
    assert list(answer.json) == ["error"]


def test_an_outage_is_told_as_one(small: WebApp, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program(small)

    def out(*_: Any, **__: Any) -> None:
        raise Outage("the database is gone")

    monkeypatch.setattr("mwl.worklist.browse.page", out)
    answer = program.ask("GET", "/worklist")
    assert answer.status_code == 503
    assert list(answer.json) == ["error"]


def test_who_is_signed_in_may_ask_and_changes_with_the_forms_token(small: WebApp) -> None:
    person = small.signed_in(Role.TECHNOLOGIST)
    assert person.get("/api/v1/worklist").status_code == 200
    assert person.post("/api/v1/worklist", json=ENTRY, csrf=False).status_code == 400
    assert person.post("/api/v1/worklist", json=ENTRY).status_code == 201


def test_the_description_is_openapi_3_1_and_names_every_endpoint(small: WebApp) -> None:
    described = Program(small).get("/openapi.json")
    OpenAPIV31SpecValidator(described).validate()
    assert described["openapi"].startswith("3.1")
    paths = described["paths"]
    rules = [r for r in small.flask.url_map.iter_rules() if r.rule.startswith("/api/v1/")]
    own = {"api.openapi", "api.docs"}
    asked = {
        (rule.rule.replace("<int:", "{").replace(">", "}"), method)
        for rule in rules
        if rule.endpoint not in own
        for method in rule.methods or ()
        if method not in {"HEAD", "OPTIONS"}
    }
    told = {(path, method.upper()) for path, methods in paths.items() for method in methods}
    assert told == asked
    for path, methods in paths.items():
        for operation in methods.values():
            assert operation["summary"], path
            assert "For the role" in operation["description"], path
            assert {"400", "401", "403", "503"} <= set(operation["responses"]), path
            assert all(each["description"] for each in operation["parameters"]), path
    named = {each["name"] for each in paths["/api/v1/worklist"]["get"]["parameters"]}
    assert {"day", "device", "sort", "limit", "after"} <= named


def test_every_field_of_the_description_says_what_it_is(small: WebApp) -> None:
    schemas = Program(small).get("/openapi.json")["components"]["schemas"]
    silent = [
        f"{name}.{field}"
        for name, schema in schemas.items()
        for field, given in schema.get("properties", {}).items()
        if "description" not in given and "$ref" not in str(given)
    ]
    assert silent == []


def test_the_description_is_a_page_too(chromium: Browser, small: WebApp) -> None:
    with live(small) as site:
        page = site.open(chromium, Role.VIEWER, "/api/v1/docs")
        assert "REST API" in page.locator("h1").inner_text()
        page.click("summary:has-text('PATCH')")
        site.look(page)
        site.shoot(page, "api")
