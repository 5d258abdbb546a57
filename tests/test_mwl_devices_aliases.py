"""What came by another title of a scanner is the scanner's, wherever that matters."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from mwl import archive, devices
from mwl.archive import Outcome
from mwl.commitment import Judge
from mwl.config import DeviceTable, DeviceWorklist
from mwl.db.tables import StoredObject
from mwl.orders import OrderState
from mwl.scu import reports
from tests import closing_rows
from tests.archive_rows import CT, NOW, received
from tests.committing import ask, failures, keep, make_store, references
from tests.test_mwl_archive import rows, states
from tests.test_mwl_closing import (
    STUDY,
    complete,
    days,
    did,
    message,
    minutes,
    receive,
    sweep,
    write,
)
from tests.test_mwl_closing import status as order_status
from tests.test_mwl_procedures import Site, item
from tests.test_mwl_wrong_entry import Site as WrongEntry


def known(database, *aliases, stations=(), **more):
    shown = DeviceWorklist(stations=stations)
    device = DeviceTable(ae_title="CT1", aliases=aliases, modality="CT", worklist=shown, **more)
    database.write(lambda session: devices.add(session, device, now=NOW, replace=True))


# --- closing


@pytest.mark.parametrize(
    ("station", "source", "closes"),
    [
        ("CT1", "CT1_STORE", True),
        ("CT1_OLD", "CT1", True),
        ("ct1_old", "CT1_STORE", True),
        ("ROOM7", "CT1_STORE", True),
        ("CT1", "ROOM7", False),
        ("CT2", "CT1_STORE", False),
        ("CT1", "PACS", False),
    ],
)
def test_a_quiet_study_of_any_of_its_titles_closes_what_is_for_any_of_its_stations(
    database, station, source, closes
):
    known(database, "CT1_STORE", "CT1_OLD", stations=("ROOM7",), mpps=False)
    receive(database, message(stations=(station,)))
    write(database, did(closing_rows.store, "1.1", STUDY, at=NOW, source=source))
    sweep(database, minutes(121))
    assert (order_status(database) == "CLOSED") is closes


def test_a_title_that_is_registered_today_holds_for_what_came_before(sqlite_database):
    known(sqlite_database, mpps=False)
    receive(sqlite_database, message())
    write(sqlite_database, did(closing_rows.store, "1.1", STUDY, at=NOW, source="CT1_STORE"))
    sweep(sqlite_database, minutes(121))
    assert order_status(sqlite_database) == "SCHEDULED"
    known(sqlite_database, "CT1_STORE")
    sweep(sqlite_database, minutes(122))
    assert order_status(sqlite_database) == "CLOSED"


def test_where_images_are_kept_is_set_of_the_scanner_by_any_title(database):
    known(database, "CT1_MPPS", close_images="elsewhere")
    receive(database, message())
    assert complete(database, "S1", ae_title="CT1_MPPS") is OrderState.CLOSED


def test_its_own_that_is_quarantined_is_not_here_by_any_title(database):
    known(database, "CT1_STORE")
    receive(database, message())
    write(
        database,
        did(closing_rows.store, "1.1", STUDY, at=NOW, source="PACS"),
        did(closing_rows.set_aside, "1.1", at=NOW, source="CT1_STORE"),
    )
    assert complete(database, "S1", listed=["1.1"]) is OrderState.COMPLETED
    sweep(database, days(2))
    assert order_status(database) == "COMPLETED"


# --- MPPS


def test_an_mpps_goes_on_by_another_title(database):
    site = Site(database)
    known(database, "CT1_MPPS")
    site.orders(item(1))
    site.start()
    assert site.set(ae_title="ct1_mpps") == []
    assert site.complete(ae_title="CT9") == ["changed by CT9, which did not begin it"]


@pytest.mark.parametrize(("source", "is_its_own"), [("CT1_STORE", True), ("CT9", False)])
def test_images_of_a_wrong_entry_are_its_own_by_any_title(database, source, is_its_own):
    known(database, "CT1_STORE")
    site = WrongEntry(database)
    site.message()
    site.begin()
    other = received(9, series=9, study=9, source=source)
    archive.store(database, other)
    site.was_wrong([other.sop_instance_uid])
    assert bool(site.set_aside()) is is_its_own


# --- the archive


def test_a_scanner_is_one_source_whatever_it_sends_by(database):
    known(database, "CT1_STORE")

    def store(**more):
        return archive.store(database, received(1, **more)).outcome

    assert store(source="CT1") is Outcome.STORED
    assert store(source="CT1_STORE", content="b") is Outcome.REPLACED
    assert store(source="CT2", content="c") is Outcome.QUARANTINED
    assert states(database) == ["older", "served", "quarantined"]
    assert [row.source for row in rows(database, StoredObject)] == ["CT1", "CT1_STORE", "CT2"]


# --- storage commitment


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path)


@pytest.mark.parametrize(("title", "failure"), [("CT1_COMMIT", 0x0119), ("CT9", 0)])
def test_it_is_not_promised_what_contradicts_its_own(database, store, title, failure):
    known(database, "CT1_STORE", "CT1_COMMIT")
    keep(database, store, 1, source="PACS")
    keep(database, store, 1, source="CT1_STORE", content=b"another")
    judge = Judge(database, store, lambda uid: uid == CT, "node 1", lambda: NOW)
    asked = ask(database, references(1), title=title).id
    assert judge.one()
    assert (failures(database, asked) == [0]) is (failure == 0)


@pytest.mark.parametrize(
    ("asks_by", "called"),
    [("CT1_COMMIT", "CT1_COMMIT"), ("ct1_commit", "CT1_COMMIT"), ("CT1", "CT1")],
)
def test_the_title_that_asked_is_reported_to(sqlite_database, store, monkeypatch, asks_by, called):
    known(sqlite_database, "CT1_COMMIT", host="127.0.0.1", port=104)
    keep(sqlite_database, store, 1)
    asked = ask(sqlite_database, references(1), title=asks_by).id
    assert Judge(sqlite_database, store, lambda uid: uid == CT, "node 1", lambda: NOW).one()
    peers = []
    monkeypatch.setattr(reports, "report", lambda peer, *_: peers.append(str(peer)) or 0)
    claimed = SimpleNamespace(payload={"commitment": asked}, created_at=datetime.now(UTC))
    reports.CommitmentReporter(sqlite_database)(SimpleNamespace(claimed=claimed))
    assert peers == [f"{called}@127.0.0.1:104"]
