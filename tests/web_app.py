"""The web application on a test's own database, and people who use it without a browser.

app = WebApp(database, tmp_path)
person = app.signed_in(Role.TECHNOLOGIST)         # a Flask test client, signed in
page = person.get("/worklist")
person.post("/worklist/7/cancel")                 # the form's token is added
app.now += timedelta(hours=1)                     # time is an argument
"""

import dataclasses
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from jinja2.bccache import Bucket, BytecodeCache
from werkzeug.test import TestResponse

from mwl import accounts
from mwl.accounts import Role, passwords, people, sessions
from mwl.config import Archive, Settings, Site
from mwl.db import Database
from mwl.roles.web import wiring
from web import create_app
from web.guard import COOKIE

PASSWORD = "correct horse battery"
_HASH = passwords.hashed(PASSWORD)  # hashing takes its time: once for all tests
_TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


class _Compiled(BytecodeCache):
    """Templates as they were compiled for the test before."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if found := self._kept.get(bucket.key + bucket.checksum):
            bucket.bytecode_from_string(found)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._kept[bucket.key + bucket.checksum] = bucket.bytecode_to_string()


_TEMPLATES = _Compiled()


class Person(FlaskClient):
    """A test client whose forms carry the token of a page that was seen before."""

    csrf_token = ""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        method = kwargs.get("method", "GET").upper()
        if kwargs.pop("csrf", True) and method != "GET" and self.csrf_token:
            token = {"X-CSRFToken": self.csrf_token}
            kwargs["headers"] = {**dict(kwargs.get("headers") or {}), **token}
        answer = super().open(*args, **kwargs)
        if answer.mimetype == "text/html" and (found := _TOKEN.search(answer.text)):
            self.csrf_token = found[1]
        return answer


class WebApp:
    """The application, with accounts named after their roles."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        settings: Settings | None = None,
        **tools: Callable[..., Any],
    ) -> None:
        """Make it; `tools` replaces what other edges do for it."""
        self.database = database
        self.now = datetime(2030, 1, 2, 12, tzinfo=UTC)
        self.settings = settings or Settings(
            data_dir=folder,
            site=Site(zone="Europe/Berlin"),
            archive=Archive(objects="objects", min_free_bytes=0),
        )
        given = wiring(self.settings, database, lambda: {"dicom": True, "hl7": True})
        self.objects = given.objects
        self.flask = create_app(
            dataclasses.replace(
                given,
                clock=lambda: self.now,
                tools=dataclasses.replace(given.tools, **tools),
            )
        )
        self.flask.test_client_class = Person
        self.flask.jinja_env.bytecode_cache = _TEMPLATES

    def add_account(self, name: str, role: Role) -> int:
        """Make an account whose password is PASSWORD; give its row."""
        row = {
            "name": name,
            "role": role.value,
            "password_hash": _HASH,
            "must_change": False,
            "disabled": False,
            "failures": 0,
            "created_at": self.now,
        }

        def work(session: Any) -> int:
            found = people._find(session, name)
            if found is None:
                session.connection().execute(people.ACCOUNT.insert().values(row))
                found = people._find(session, name)
            return int(found.id)

        return self.database.write(work)

    def visitor(self) -> Person:
        """Give a client that is not signed in."""
        client: Any = self.flask.test_client()
        return client

    def signed_in(self, role: Role = Role.VIEWER) -> Person:
        """Give a client of an account of this role, made for it."""
        account = self.add_account(role.value, role)
        # As the form does, but for the hashing.
        token = self.database.write(
            lambda session: sessions.begin(session, account, "127.0.0.1", now=self.now)
        )
        client = self.visitor()
        client.set_cookie(COOKIE, token)
        client.get("/account/password")  # gives a form's token
        return client

    def bearer(self, role: Role = Role.VIEWER) -> dict[str, str]:
        """Make a token of this role; give the header that carries it."""
        token = self.database.write(
            lambda s: accounts.add_token(s, f"t-{role.value}", role, days=None, now=self.now)
        )
        return {"Authorization": f"Bearer {token}"}
