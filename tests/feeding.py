"""A journal for tests of pages: messages as a RIS sends them, and what it is told.

feed = Feed(database, now=app.now)
row = feed.send(orm(PID_5="Doe^Jane"))     # taken as from the wire; its row
row = feed.tell("CM", state="parked")      # a delivery about the order of the last message
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, update
from sqlmodel import Session

from hl7 import profile
from hl7.inbound import Inbound
from hl7.profiles import Profiles
from mwl import outbox
from mwl.db import Database
from mwl.db.tables import Delivery, Message
from mwl.outbox import Destination, Destinations, Event
from tests.hl7_mapping import BERLIN, DEFAULT

PEER = "10.0.0.5:4711"
MESSAGE = Message.__table__  # type: ignore[attr-defined]
DELIVERY = Delivery.__table__  # type: ignore[attr-defined]


class Feed:
    """A RIS that sends, and is told. Its clock goes on a second a message."""

    def __init__(
        self, database: Database, *, now: datetime, by: profile.Profile | None = None
    ) -> None:
        self.database = database
        self.now = now
        profiles = Profiles.single(by or profile.load(DEFAULT), BERLIN)
        self._inbound = Inbound(database, profiles, clock=lambda: self.now)

    def send(self, message: str | bytes) -> int:
        """Take a message; give its row in the journal."""
        self.now += timedelta(seconds=1)
        raw = message if isinstance(message, bytes) else message.encode()
        assert self._inbound.receive(raw, PEER) is not None
        return self._last(MESSAGE)

    def tell(self, event: Event, order: int = 1, destination: str = "RIS", **columns: Any) -> int:
        """Queue a delivery about an order, with columns as they came to be; give its row."""
        told = Destinations((Destination(destination, frozenset({event})),))

        def work(session: Session) -> None:
            outbox.status_facts(session, told, order, event, self.now)

        self.database.write(work)
        row = self._last(DELIVERY)
        if columns:
            change = update(DELIVERY).where(DELIVERY.c.id == row).values(**columns)
            self.database.write(lambda session: session.connection().execute(change))
        return row

    def rows(self, table: Any) -> list[Any]:
        with self.database.read() as session:
            return list(session.connection().execute(select(table).order_by(table.c.id)).all())

    def _last(self, table: Any) -> int:
        with self.database.read() as session:
            found: int = session.connection().scalar(select(func.max(table.c.id)))
        return found
