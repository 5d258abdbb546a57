"""How orders end, as a person meets it on the command line."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import select
from typer.testing import CliRunner

from mwl import closing
from mwl.cli import app
from mwl.config import Close
from mwl.db.tables import Delivery, RequestedProcedure
from mwl.outbox import Destinations
from tests.worklist_rows import insert_items, item

DESTINATION = """
[[hl7.destination]]
name = "ris"
host = "127.0.0.1"
port = 2576
events = ["CLOSED"]
"""


@pytest.fixture
def mwl(sqlite_database, sqlite_url, tmp_path, monkeypatch):
    """Call the program; it exits with 0 unless told otherwise."""
    config = tmp_path / "site.toml"
    config.write_text(f'[database]\nurl = "{sqlite_url}"\n{DESTINATION}')
    monkeypatch.setenv("MWL_CONFIG", str(config))

    def call(*arguments, code=0):
        done = CliRunner().invoke(app, list(arguments))
        assert done.exit_code == code, done.output
        return done.output

    return call


def listed(mwl, *arguments):
    lines = mwl("worklist", "list", "--json", *arguments).splitlines()
    return {entry["sps_id"]: entry["order_status"] for entry in map(json.loads, lines)}


def two_steps_done(session):
    """Write one COMPLETED order with two procedures, accession number ACC, and another."""
    order, done = {"status": "COMPLETED"}, {"state": "COMPLETED"}
    same = {"accession_number": "ACC"}
    items = [item(n, order=order, step=done, procedure=same) for n in (1, 2)]
    insert_items(session, [*items, item(3)])
    session.flush()
    first, second, _ = session.exec(select(RequestedProcedure)).all()
    second.imaging_order = first.imaging_order
    session.add(second)


def test_a_person_closes_an_order_of_several_steps_and_the_ris_hears(sqlite_database, mwl):
    sqlite_database.write(two_steps_done)
    mwl("worklist", "close", "--accession", "ACC3", code=1)
    mwl("worklist", "close", "--accession", "ACC9", code=1)
    assert mwl("worklist", "close", "--accession", "ACC") == "closed\n"
    assert listed(mwl) == {"SPS1": "CLOSED", "SPS2": "CLOSED", "SPS3": "SCHEDULED"}
    assert listed(mwl, "--status", "closed") == {"SPS1": "CLOSED", "SPS2": "CLOSED"}
    with sqlite_database.read() as session:
        (news,) = session.exec(select(Delivery)).all()
        assert (news.destination, news.payload["event"]) == ("ris", "CLOSED")
    mwl("worklist", "reopen", "--step", "SPS1")
    assert listed(mwl, "--accession", "ACC") == {"SPS1": "IN_PROGRESS", "SPS2": "IN_PROGRESS"}


def test_a_person_finds_what_expired_and_brings_it_back(sqlite_database, mwl):
    past = datetime.now(UTC) - timedelta(days=31)
    old = {"start_at": past, "start_local": f"{past:%Y%m%d%H%M%S}"}
    sqlite_database.write(lambda s: insert_items(s, [item(1, step=old)]))
    now = datetime.now(UTC)
    closing.sweep(sqlite_database, Close(), now, Destinations())
    assert listed(mwl, "--status", "EXPIRED") == {"SPS1": "EXPIRED"}
    assert "EXPIRED" in mwl("worklist", "list")
    mwl("worklist", "reopen", "--step", "SPS1")
    assert listed(mwl, "--status", "EXPIRED") == {}
    assert listed(mwl) == {"SPS1": "SCHEDULED"}


def test_a_person_finds_the_orders_that_ask_for_one(sqlite_database, mwl):
    flags = [closing.ASKED]
    sqlite_database.write(lambda s: insert_items(s, [item(1, order={"flags": flags}), item(2)]))
    assert list(listed(mwl, "--flagged")) == ["SPS1"]
    assert json.loads(mwl("worklist", "list", "--flagged", "--json"))["flags"] == flags
    assert closing.ASKED in mwl("worklist", "list", "--flagged")
    heading, first, second = (each.rstrip() for each in mwl("worklist", "list").splitlines())
    assert heading.endswith("flags")
    assert (first.endswith("!"), second.endswith("!")) == (True, False)


def test_a_state_that_does_not_exist_is_refused_and_the_others_named(mwl):
    assert "EXPIRED, CLOSED" in mwl("worklist", "list", "--status", "LOST", code=2)
