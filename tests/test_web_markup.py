"""What comes from outside stays text: markup in every field of every table, on every page.

An order is worked off by the real services; then every text that somebody else may have
sent, in whatever table and column there is, is made markup, and every GET route is asked.
"""

import re
from base64 import b64encode
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, Column, Table, select, update
from sqlmodel import AutoString, Session, SQLModel
from werkzeug.routing import Rule

from mwl import audit, devices
from mwl.accounts import Role
from mwl.associations import Publisher, Served
from mwl.audit import Action, Actor, Event
from mwl.db import Database
from mwl.db.tables import Message
from tests.builders import orm, oru
from tests.images import ct_slice
from tests.scene import Scene, worked_off
from tests.web_app import WebApp
from tests.worklist_rows import NOW

EVIL = "<script>alert(1)</script>\"'&"
_ESCAPED = "&lt;script&gt;alert(1)"
_OURS = {"account", "web_session", "token", "secret", "audit_event"}
# What we write ourselves, or what rows are told apart and found by.
_KEPT = re.compile(
    r"state|status|operation|by|matched_by|closed_by|transfer_syntax|encoding|key|name_key"
    r"|(placer|order)_number|origin|commit_report|kind|subject|destination|may|changes"
    r"|zone|close_images|start_local|claimed_by|held_by|ended_by|.*_uid|.*issuer_key|.*physician_key"
)
# Rows are told apart by these: the markup goes on with what was there.
_DIFFERS = {"ae_title", "sps_id", "patient_id", "calling_ae_title", "filler_number"}
_MOST = 8  # rows of a kind
# What gives nothing here: files by their hash, and documents, of which the scene has none.
_WITHOUT = {"/static/<digest>/<name>", "/instances/<int:instance>/document"}
# Where it must be seen, or the test would look in vain.
_SHOWN = (
    *("/worklist", "/worklist/<int:step>/edit", "/worklist/<int:step>/why", "/audit"),
    *("/orders/<int:order>", "/patients/<int:patient>", "/messages", "/messages/<int:message>"),
    "/messages/<int:message>/explain",
    *("/deliveries/<int:delivery>", "/studies", "/studies/<int:study>", "/quarantine", "/devices"),
    *("/studies/<int:study>/series/<int:series>", "/instances/<int:instance>/header", "/mpps"),
    *("/devices/<int:device>", "/devices/<int:device>/try", "/commitments"),
    "/devices/knocks/<int:knock>/register",
    *("/orders/<int:order>/mpps/<int:message>", "/associations"),
    *("/reports", "/reports/<int:report>"),
)


@pytest.fixture
def app(sqlite_database: Database, tmp_path: Path) -> WebApp:
    """The application on a database that is full of markup."""
    scene = worked_off(sqlite_database, tmp_path)
    _send_markup(scene)
    sqlite_database.write(_spoil)
    made = WebApp(sqlite_database, tmp_path)
    _open_markup(made)
    return made


def test_markup_from_outside_is_text_on_every_page(app: WebApp) -> None:
    person = app.signed_in(Role.ADMIN)
    app.database.write(_record_markup)
    answered, shown = set(), set()
    for rule in app.flask.url_map.iter_rules():
        if "GET" not in (rule.methods or ()):
            continue
        for path in _paths(rule):
            answer = person.get(path)
            assert answer.status_code < 500, path
            if answer.status_code not in {302, 404}:
                answered.add(rule.rule)
            if answer.mimetype in {"text/html", "image/svg+xml"}:
                _look(answer.text, path)
                shown |= {rule.rule} if _ESCAPED in answer.text else set()
            else:
                assert answer.mimetype not in {"application/xhtml+xml", "text/xml"}, path
    rules = {r.rule for r in app.flask.url_map.iter_rules() if "GET" in (r.methods or ())}
    assert rules - answered <= _WITHOUT
    assert set(_SHOWN) - shown == set()


def test_what_is_typed_comes_back_as_text(app: WebApp) -> None:
    person = app.signed_in(Role.ADMIN)
    names = ("text", "patient", "accession", "control_id", "device", "who", "subject", "address")
    for rule in app.flask.url_map.iter_rules():
        if "GET" in (rule.methods or ()):
            for path in _paths(rule):
                answer = person.get(path, query_string=dict.fromkeys(names, EVIL))
                _look(answer.text if answer.mimetype == "text/html" else "", path)
        if "POST" in (rule.methods or ()) and rule.rule != "/sign-out":
            for path in _paths(rule):
                given = ("name", "ae_title", "patient_name", "patient_id", "role", "accession")
                answer = person.post(path, data=dict.fromkeys(given, EVIL))
                assert answer.status_code < 500, path
                _look(answer.text if answer.mimetype == "text/html" else "", path)


def _paths(rule: Rule) -> Iterator[str]:
    """Give the paths of a route with each of the first rows."""
    parts = re.split(r"<[^>]+>", rule.rule)
    kinds = re.findall(r"<(int:)?([^>]+)>", rule.rule)
    numbers = [[str(n) for n in range(1, _MOST + 1)] if kind else ["csv"] for kind, _ in kinds]
    for values in product(*numbers):
        yield "".join(part + value for part, value in zip(parts, [*values, ""], strict=True))


class _Page(HTMLParser):
    """Find what a browser would run."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "script" and "src" not in given:
            self.runs.append(str(self.get_starttag_text()))
        for name, value in attrs:
            if name.startswith("on") or name in {"alert(1)", "style"}:
                self.runs.append(f"{tag} {name}")
            if name in {"href", "src", "action"} and not re.match(r"[/?#]|$", value or ""):
                self.runs.append(f"{tag} {name}={value}")


def _look(text: str, path: str) -> None:
    assert "<script>alert" not in text, path
    page = _Page()
    page.feed(text)
    assert page.runs == [], path


# ---- a database full of markup -----------------------------------------------------------


def _send_markup(scene: Scene) -> None:
    """Have what comes as bytes hold markup: images, an MPPS, messages, a scanner's visit."""
    told = {"PatientName": EVIL, "StudyDescription": EVIL, "SeriesDescription": EVIL}
    theirs = {"StudyInstanceUID": "1.2.3.4", "SeriesInstanceUID": "1.2.3.4.5"}
    one = ct_slice(1, **told, **theirs)
    scene.archive.add(one, source=EVIL[:16], received_at=scene.now)
    other = ct_slice(2, **{**told, **theirs, "PatientID": "SOMEBODY ELSE"})
    scene.archive.add(other, source="CT1", received_at=scene.now)
    scene.hear(orm(ORC_2="P2", ORC_3="F2", OBR_2="P2", OBR_3="F2", OBR_18="ACC2", ZDS_1="1.2.7"))
    scene.begin("1.2.9.2", PerformedProcedureStepDescription=EVIL)
    page = b64encode(f"<html>{EVIL}</html>".encode()).decode()
    evil = EVIL.replace("&", "\\T\\")
    more = [
        f"OBX|2|ED|{evil}||^TEXT^HTML^Base64^{page}||||||F",
        f"OBX|3|RP|{evil}||javascript:alert(1)^{evil}||||||F",
    ]
    scene.hear(oru(OBX_5=evil, OBX_3=f"1^{evil}", after=more))
    visit = devices.Visit(EVIL, EVIL, EVIL, admitted=True)
    scene.database.write(lambda session: devices.knocked(session, {visit: 1}, now=scene.now))


def _open_markup(app: WebApp) -> None:
    """Have a peer of that name hold an association open."""
    peer = Served(1, EVIL, NOW, EVIL, EVIL, contexts=((EVIL, EVIL),), operation="C-STORE")
    Publisher(app.database, EVIL, lambda: [peer], lambda _: None, clock=lambda: app.now).look()


def _record_markup(session: Session) -> None:
    event = Event(Action.VIEW, EVIL, {EVIL: EVIL})
    audit.record(session, Actor(EVIL, EVIL, EVIL), event, now=NOW)


def _spoil(session: Session) -> None:
    """Make every text of every table markup, but for what rows are found by."""
    conn = session.connection()
    for table in SQLModel.metadata.sorted_tables:
        if table.name in _OURS:
            continue
        for column in table.columns:
            if _KEPT.fullmatch(column.name) or column.foreign_keys:
                continue
            if isinstance(column.type, JSON):
                _spoil_json(session, table, column)
            elif isinstance(column.type, AutoString):
                conn.execute(update(table).values({column: _markup(column)}))
    messages = SQLModel.metadata.tables[str(Message.__tablename__)]
    for row in conn.execute(select(messages.c.id, messages.c.raw, messages.c.ack)).all():
        spoilt = {"raw": _hl7(row.raw), "ack": _hl7(row.ack)}
        conn.execute(update(messages).where(messages.c.id == row.id).values(spoilt))
    deliveries = SQLModel.metadata.tables["delivery"]
    conn.execute(update(deliveries).values(answer=_hl7(b"MSH|^~\\&|RIS\rMSA|AA|1\r")))


def _markup(column: Column[Any]) -> Any:
    return EVIL + column if column.name in _DIFFERS else EVIL


def _spoil_json(session: Session, table: Table, column: Column[Any]) -> None:
    conn = session.connection()
    keys = list(table.primary_key.columns)
    for row in conn.execute(select(*keys, column)).all():
        where = [key == row._mapping[key.name] for key in keys]
        spoilt = _leaves(row._mapping[column.name]) or ([EVIL] if column.name == "flags" else None)
        if spoilt:
            conn.execute(update(table).where(*where).values({column: spoilt}))


def _leaves(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _leaves(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_leaves(each) for each in value]
    return EVIL if isinstance(value, str) else value


def _hl7(raw: bytes) -> bytes:
    """Add a field of markup to every segment but the first, and one that nobody knows."""
    field = EVIL.replace("&", "\\T\\").encode()
    first, *others = bytes(raw).rstrip(b"\r").split(b"\r")
    told = [first, *(segment + b"|" + field for segment in others), b"ZZZ|" + field]
    return b"\r".join(told) + b"\r"
