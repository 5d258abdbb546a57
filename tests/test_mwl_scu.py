"""Reports of storage commitment on associations of our own, to listeners of pynetdicom."""

import socket
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from mwl import commitment, outbox
from mwl.commitment import State, Worker
from mwl.scu import CommitmentReporter, Patience
from tests.archive_rows import CT, instance_uid
from tests.committer import Reports, listener
from tests.committing import ask, keep, make_store, references, register, state, until

SHORT = Patience(connect_s=2, associate_s=2, response_s=2)
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:pydicom"),
    # pynetdicom leaves a socket that could not connect to the garbage collector.
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
    ),
]


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path)


@pytest.fixture
def running(database, store):
    """Judge and deliver, as the role `jobs` does."""
    worker = Worker(database, store, lambda uid: uid == CT)
    courier = outbox.Courier(
        database, {outbox.Kind.COMMITMENT_REPORT: CommitmentReporter(database, SHORT)}
    )
    worker.start()
    courier.start()
    yield
    worker.stop(10)
    courier.stop(10)


def requested(database, *numbers, uid="1.2.3", wait=timedelta(0)):
    now = datetime.now(UTC)
    return ask(database, references(*numbers), uid=uid, wait=wait, now=now).id


def delivery(database):
    with database.read() as session:
        return outbox.listing(session)[0]


def free_port():
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return probe.getsockname()[1]


@pytest.mark.parametrize("roles", [(False, True), (True, True), None])
def test_a_report_comes_on_a_new_association(database, store, running, roles):
    keep(database, store, 1)
    reports = Reports()
    with listener(reports, roles=roles) as port:
        register(database, host="127.0.0.1", port=port)
        request = requested(database, 1, 2)
        assert reports.next() == (2, "1.2.3", [instance_uid(1)], {instance_uid(2): 0x0112})
        until(lambda: state(database, request) == State.REPORTED)
    # We call by the title that we were called by.
    assert reports.callers == ["MWL"]
    until(lambda: delivery(database)["state"] == "done")
    assert reports.is_empty()


def test_who_is_down_is_told_when_it_is_up(database, store, running):
    keep(database, store, 1)
    port = free_port()
    register(database, host="127.0.0.1", port=port)
    request = requested(database, 1)
    until(lambda: delivery(database)["error"] if state(database, request) == "queued" else "")
    assert delivery(database)["error"].startswith(f"CT1@127.0.0.1:{port}: can't be reached")
    reports = Reports()
    with listener(reports, port):
        assert reports.next()[:2] == (1, "1.2.3")
        until(lambda: state(database, request) == State.REPORTED)


def test_an_address_that_changed_is_taken_at_the_next_attempt(database, store, running):
    keep(database, store, 1)
    register(database, host="no-such-host.invalid", port=104)
    request = requested(database, 1)
    until(lambda: state(database, request) == "queued" and delivery(database)["error"])
    reports = Reports()
    with listener(reports) as port:
        register(database, host="127.0.0.1", port=port)
        assert reports.next()[0] == 1


def test_a_final_refusal_is_parked_until_somebody_sends_it_again(database, store, running):
    keep(database, store, 1)
    reports = Reports(status=0x0112)
    with listener(reports) as port:
        register(database, host="127.0.0.1", port=port)
        request = requested(database, 1)
        until(lambda: state(database, request) == "queued")
        until(lambda: delivery(database)["state"] == "parked")
        assert "status 0112" in delivery(database)["error"]
        reports.next()
        reports.status = 0x0000
        now = datetime.now(UTC)
        database.write(lambda session: commitment.report_again(session, request, now))
        assert reports.next()[:2] == (1, "1.2.3")
        until(lambda: state(database, request) == State.REPORTED)
    with database.read() as session:
        assert [each["state"] for each in outbox.listing(session)] == ["done"]


def test_a_passing_refusal_is_tried_again(database, store, running):
    keep(database, store, 1)
    reports = Reports(status=0x0110)
    with listener(reports) as port:
        register(database, host="127.0.0.1", port=port)
        request = requested(database, 1)
        reports.next()
        reports.status = 0x0000
        reports.next()
        until(lambda: state(database, request) == State.REPORTED)


@pytest.mark.parametrize(
    ("title", "roles", "expected"),
    [
        ("OTHER", (False, True), "the association is refused: called AE title not recognised"),
        ("CT1", (True, False), "does not take storage commitment reports"),
    ],
)
def test_who_refuses_us_is_named_with_the_reason(database, store, running, title, roles, expected):
    keep(database, store, 1)
    with listener(Reports(), title=title, roles=roles) as port:
        register(database, host="127.0.0.1", port=port)
        request = requested(database, 1)
        until(lambda: state(database, request) == "queued" and delivery(database)["error"])
        assert f"CT1@127.0.0.1:{port}: " in delivery(database)["error"]
        assert expected in delivery(database)["error"]


@pytest.mark.parametrize("says", [b"", b"\x03\0\0\0\0\4\0\1\1\1", b"HTTP/1.1 400 \r\n\r\n"])
def test_who_is_no_dicom_peer_does_no_harm(database, store, running, says):
    keep(database, store, 1)
    with closing(socket.create_server(("127.0.0.1", 0))) as odd:
        register(database, host="127.0.0.1", port=odd.getsockname()[1])
        request = requested(database, 1)
        odd.settimeout(30)
        with closing(odd.accept()[0]) as connection:
            connection.sendall(says)
        until(lambda: state(database, request) == "queued" and delivery(database)["error"])
    assert delivery(database)["state"] == "waiting"


def test_a_device_without_an_address_any_more_parks_its_report(database, store, running):
    keep(database, store, 1)
    register(database, host="127.0.0.1", port=free_port())
    request = requested(database, 1)
    until(lambda: state(database, request) == "queued" and delivery(database)["error"])
    register(database, title="CT1", host=None, port=None)
    until(lambda: delivery(database)["state"] == "parked")
    assert "has no address" in delivery(database)["error"]


def test_what_was_asked_for_anew_is_reported_once(database, store, running):
    port = free_port()
    register(database, host="127.0.0.1", port=port)
    request = requested(database, 1)
    until(lambda: state(database, request) == "queued" and delivery(database)["error"])
    keep(database, store, 1)
    requested(database, 1)
    until(lambda: state(database, request) == "queued")
    reports = Reports()
    with listener(reports, port):
        assert reports.next() == (1, "1.2.3", [instance_uid(1)], {})
        until(lambda: state(database, request) == State.REPORTED)
        time.sleep(1)
        assert reports.is_empty()


def test_thousands_of_instances_are_reported_at_once(sqlite_database, store):
    now = datetime.now(UTC)
    many = references(*range(5000))
    reports = Reports()
    with listener(reports) as port:
        register(sqlite_database, host="127.0.0.1", port=port)
        ask(sqlite_database, many, wait=timedelta(0), now=now)
        worker = Worker(sqlite_database, store, lambda uid: True)
        courier = outbox.Courier(
            sqlite_database,
            {outbox.Kind.COMMITMENT_REPORT: CommitmentReporter(sqlite_database)},
        )
        worker.start()
        courier.start()
        event_type, _, good, bad = reports.next()
        worker.stop(10)
        courier.stop(10)
    assert (event_type, len(good), len(bad)) == (2, 0, 5000)
