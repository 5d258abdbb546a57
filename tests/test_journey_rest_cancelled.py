"""What is left of an order is taken away after scanners did the rest: the RIS hears of the end.

On both databases, from the HL7 message or the person to what stands in the outbox.
"""

from datetime import UTC, datetime

import pytest
from sqlalchemy import select
from sqlmodel import SQLModel

from hl7 import profile
from hl7.inbound import Inbound
from hl7.profiles import Profiles
from mwl import procedures
from mwl.outbox import Destination, Destinations
from mwl.performed import Created, Modified, PerformedState, Request
from mwl.procedures import Effects
from mwl.worklist import manual
from tests.builders import omi
from tests.hl7_mapping import BERLIN, DEFAULT

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
STUDY, UID = "1.2.3", "1.2.9.1"
RIS = Destination("ris", sources=frozenset({"RIS^HOSPITAL"}))
TOLD = Destinations((RIS,))
STEPS = [f"IPC|ACC1|RP1|{STUDY}|S{n}|CT||||CT{n}" for n in (1, 2)]


class Site:
    """An order of steps S1 and S2, its RIS, and a scanner."""

    def __init__(self, database):
        self.database = database
        self.way_in = Inbound(
            database, Profiles.single(profile.load(DEFAULT), BERLIN), told=TOLD, clock=lambda: NOW
        )
        self.message(IPC=STEPS)

    def message(self, **fields):
        answer = self.way_in.receive(omi(**fields).encode(), "127.0.0.1:4711")
        assert b"MSA|AA" in answer

    def scan(self, state, step="S1", uid=UID):
        effects = Effects(told=TOLD)
        created = Created(uid, "CT1", "1.2.840.10008.1.2", b"", (Request(STUDY, step),))
        ended = Modified(uid, "CT1", "1.2.840.10008.1.2", b"", PerformedState(state))
        self.database.write(lambda s: procedures.start(s, created, effects=effects, now=NOW))
        self.database.write(lambda s: procedures.update(s, ended, effects=effects, now=NOW))

    def drop(self):
        """State S1 alone: a snapshot."""
        self.message(IPC=STEPS[:1], ORC_1="XO")

    def cancel(self):
        self.message(IPC=STEPS[1:], ORC_1="CA", ORC_5="CA")

    def cancel_by_hand(self):
        which = manual.Which(sps_id="S2")
        self.database.write(
            lambda s: procedures.cancel(s, which, effects=Effects(told=TOLD), now=NOW)
        )

    def rows(self, name):
        table = SQLModel.metadata.tables[name]
        with self.database.read() as session:
            found = session.connection().execute(select(table).order_by(table.c.id))
            return [dict(row) for row in found.mappings()]

    def news(self):
        return [row["payload"]["event"] for row in self.rows("delivery")]

    def status(self):
        (order,) = self.rows("imaging_order")
        return order["status"]


@pytest.fixture
def site(database):
    return Site(database)


@pytest.mark.parametrize("end", ["drop", "cancel", "cancel_by_hand"])
@pytest.mark.parametrize(("scanned", "told"), [("COMPLETED", "CM"), ("DISCONTINUED", "DC")])
def test_the_end_is_told_once(site, end, scanned, told):
    site.scan(scanned)
    assert site.news() == ["IP"]
    getattr(site, end)()
    assert (site.status(), site.news()) == (scanned, ["IP", told])
    site.drop()
    assert site.news() == ["IP", told]


def test_it_tells_what_became_of_each_step(site):
    site.scan("COMPLETED")
    site.drop()
    (procedure,) = site.rows("delivery")[-1]["payload"]["procedures"]
    assert [step["state"] for step in procedure["steps"]] == ["COMPLETED", "CANCELED"]


def test_of_an_order_that_no_scanner_touched_nothing_is_told(site):
    site.message(IPC=STEPS[:1], ORC_1="SC", ORC_5="CM")
    site.cancel()
    assert (site.status(), site.news()) == ("COMPLETED", [])


def test_what_the_message_itself_reports_is_not_told_back(site):
    site.scan("COMPLETED")
    site.message(IPC=STEPS[1:], ORC_1="SC", ORC_5="CM")
    assert (site.status(), site.news()) == ("COMPLETED", ["IP"])


def test_that_a_step_was_given_up_does_not_say_that_the_order_is_done(site):
    site.scan("COMPLETED")
    site.message(IPC=STEPS[1:], ORC_1="SC", ORC_5="DC")
    assert (site.status(), site.news()) == ("COMPLETED", ["IP", "CM"])


def test_a_cancelled_order_is_no_news(site):
    site.message(IPC=STEPS, ORC_1="CA", ORC_5="CA")
    assert (site.status(), site.news()) == ("CANCELED", [])
