"""Flask's signed cookie, which carries what forms need, under a key that all processes share."""

from typing import Any

from flask import Flask
from flask.sessions import SecureCookieSessionInterface

from mwl import accounts
from mwl.db import Database
from mwl.errors import Outage


class SharedKeySessions(SecureCookieSessionInterface):
    """Signs with the key of the database; while that is out, no form can be sent."""

    def __init__(self, database: Database) -> None:
        """Ask for the key with the first request, not before."""
        self._database = database

    def get_signing_serializer(self, app: Flask) -> Any:
        if not app.secret_key:
            try:
                app.secret_key = accounts.shared_key(self._database, "forms")
            except Outage:
                return None
        return super().get_signing_serializer(app)
