"""Storage commitment over real associations: what is asked, answered and reported on them."""

import threading
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from mwl import commitment
from mwl.commitment import (
    STORAGE_COMMITMENT_PUSH_MODEL,
    WELL_KNOWN_INSTANCE,
    Reference,
    State,
    Worker,
)
from mwl.errors import Outage
from mwl.net.codec import COMMAND
from mwl.net.dimse import NO_DATA_SET, CommandField, Element, encode_command, fragments
from mwl.net.limits import DEFAULTS
from mwl.net.status import NOT_AUTHORIZED
from mwl.scp.commitment import CommitmentService
from mwl.scp.guarded import Guarded
from tests.archive_rows import CT, MR, instance_uid
from tests.committer import Reports, action, association, request
from tests.committing import keep, make_store, references, register, until
from tests.dicom_client import status as status_of
from tests.dicom_server import dial_fixture, serve_fixture  # noqa: F401 - fixtures
from tests.identifiers import encoded

WAIT = timedelta(minutes=60)
EXPLICIT = "1.2.840.10008.1.2.1"
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path)


@pytest.fixture
def worker(database, store):
    """Judge in a thread, as the role `jobs` does."""
    started = Worker(database, store, lambda uid: uid in {CT, MR})
    started.start()
    yield started
    started.stop(10)


def service(database, wait=WAIT):
    return CommitmentService(database, wait)


def rows(database):
    with database.read() as session:
        return commitment.listing(session)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_report_comes_on_the_association_that_is_kept_open(
    database, store, worker, serve, syntax
):
    keep(database, store, 1)
    keep(database, store, 2)
    reports = Reports()
    with association(serve(service(database)).address[1], reports, syntaxes=[syntax]) as opened:
        assert request(opened, references(1, 2)) == 0x0000
        assert reports.next() == (1, "1.2.3", [instance_uid(1), instance_uid(2)], {})
        until(lambda: rows(database)[0]["state"] == State.REPORTED)
    assert reports.is_empty()


def test_a_report_tells_failures_with_their_reasons(database, store, worker, serve):
    keep(database, store, 1)
    keep(database, store, 2)
    reports = Reports()
    asked = [*references(1), *references(2, sop_class=MR), *references(3)]
    port = serve(service(database, timedelta(0))).address[1]
    with association(port, reports) as opened:
        assert request(opened, asked) == 0x0000
        assert reports.next() == (
            2,
            "1.2.3",
            [instance_uid(1)],
            {instance_uid(2): 0x0119, instance_uid(3): 0x0112},
        )


def test_what_is_still_on_its_way_is_waited_for(database, store, worker, serve):
    reports = Reports()
    with association(serve(service(database)).address[1], reports) as opened:
        assert request(opened, references(1)) == 0x0000
        time.sleep(0.3)
        assert reports.is_empty()
        keep(database, store, 1)
        assert reports.next() == (1, "1.2.3", [instance_uid(1)], {})


def test_other_requests_are_answered_while_a_report_is_waited_for(database, store, worker, serve):
    reports = Reports()
    with association(serve(service(database)).address[1], reports) as opened:
        assert request(opened, references(1), "1.2.1") == 0x0000
        assert request(opened, references(2), "1.2.2") == 0x0000
        keep(database, store, 2)
        assert reports.next()[:2] == (1, "1.2.2")
        assert request(opened, references(2), "1.2.3") == 0x0000
        assert reports.next()[:2] == (1, "1.2.3")
        keep(database, store, 1)
        assert reports.next()[:2] == (1, "1.2.1")


def test_a_request_is_durable_before_it_is_answered(database, serve):
    with association(serve(service(database)).address[1]) as opened:
        assert request(opened, references(1, 2)) == 0x0000
        (row,) = rows(database)
        assert (row["ae_title"], row["instances"], row["state"]) == ("CT1", 2, "waiting")


def test_a_stranger_that_leaves_is_told_nothing(database, store, worker, serve):
    with association(serve(service(database)).address[1]) as opened:
        request(opened, references(1))
    keep(database, store, 1)
    until(lambda: rows(database)[0]["state"] == State.UNTOLD)


@pytest.mark.parametrize("leaves_by", ["release", "abort"])
def test_a_device_that_leaves_is_called(database, store, worker, serve, leaves_by):
    register(database, host="127.0.0.1", port=104, commit_report="same")
    keep(database, store, 1)
    with association(serve(service(database)).address[1]) as opened:
        request(opened, references(1, 2))
        assert rows(database)[0]["state"] == State.WAITING
        if leaves_by == "abort":
            opened.abort()
    keep(database, store, 2)
    until(lambda: rows(database)[0]["state"] == State.QUEUED)


def test_a_device_is_called_unless_it_wants_the_same_association(database, store, worker, serve):
    register(database, host="127.0.0.1", port=104)
    keep(database, store, 1)
    reports = Reports()
    with association(serve(service(database)).address[1], reports) as opened:
        request(opened, references(1))
        until(lambda: rows(database)[0]["state"] == State.QUEUED)
        assert reports.is_empty()


def test_a_refused_report_is_handed_on(database, store, worker, serve):
    register(database, host="127.0.0.1", port=104, commit_report="same")
    keep(database, store, 1)
    reports = Reports(status=0x0110)
    with association(serve(service(database)).address[1], reports) as opened:
        request(opened, references(1))
        reports.next()
        until(lambda: rows(database)[0]["state"] == State.QUEUED)
        assert opened.is_established


def test_a_peer_that_never_answers_a_report_is_called(database, store, worker, serve):
    register(database, host="127.0.0.1", port=104, commit_report="same")
    keep(database, store, 1)
    stuck = threading.Event()
    reports = Reports()

    def take(event):
        stuck.wait(20)
        return 0, None

    reports.take = take
    limits = replace(DEFAULTS, response_timeout_s=0.3)
    with association(serve(service(database), limits=limits).address[1], reports) as opened:
        request(opened, references(1))
        until(lambda: rows(database)[0]["state"] == State.QUEUED)
        stuck.set()


def test_who_may_not_ask_is_told_so(database, serve):
    guarded = Guarded(service(database), lambda peer: peer.calling_title != "CT1")
    port = serve(guarded).address[1]
    with association(port) as opened:
        assert request(opened, references(1)) == NOT_AUTHORIZED
    with association(port, title="CT2") as opened:
        assert request(opened, references(1)) == 0x0000
    assert [row["ae_title"] for row in rows(database)] == ["CT2"]


class Raw:
    """N-ACTION as a test wants it."""

    def __init__(self, server, dial):
        self.client = dial(server).associate(
            (STORAGE_COMMITMENT_PUSH_MODEL,), calling="CT1", transfer_syntaxes=(EXPLICIT,)
        )

    def ask(self, data, *, instance=WELL_KNOWN_INSTANCE, **elements):
        """Send N-ACTION; return the response."""
        command = {
            Element.REQUESTED_SOP_CLASS_UID: STORAGE_COMMITMENT_PUSH_MODEL,
            Element.COMMAND_FIELD: CommandField.N_ACTION,
            Element.MESSAGE_ID: 7,
            Element.DATA_SET_TYPE: NO_DATA_SET if data is None else 1,
            Element.REQUESTED_SOP_INSTANCE_UID: instance,
            Element.ACTION_TYPE_ID: 1,
            **{Element[name]: value for name, value in elements.items()},
        }
        pdus = list(fragments(1, COMMAND, encode_command(command), 16384))
        if data is not None:
            pdus += fragments(1, 0, data, 16384)
        self.client.send(b"".join(pdus))
        return self.client.read_message()[0]


@pytest.fixture
def raw(sqlite_database, serve, dial):
    return Raw(serve(service(sqlite_database)), dial)


GOOD = encoded(action(references(1)), explicit=True)


def without(name, *, in_item=False):
    information = action(references(1))
    delattr(information.ReferencedSOPSequence[0] if in_item else information, name)
    return encoded(information, explicit=True)


@pytest.mark.parametrize(
    ("data", "elements", "expected"),
    [
        (GOOD, {"instance": "1.2.840.10008.1.20.1.2"}, 0x0112),
        (GOOD, {"instance": ""}, 0x0112),
        (GOOD, {"ACTION_TYPE_ID": 2}, 0x0123),
        (GOOD, {"ACTION_TYPE_ID": b""}, 0x0123),
        (GOOD, {"ACTION_TYPE_ID": b"\1\0\0\0"}, 0x0123),
        (None, {}, 0x0120),
        (b"", {}, 0x0120),
        (without("TransactionUID"), {}, 0x0120),
        (without("ReferencedSOPSequence"), {}, 0x0120),
        (without("ReferencedSOPClassUID", in_item=True), {}, 0x0120),
        (without("ReferencedSOPInstanceUID", in_item=True), {}, 0x0120),
        (encoded(action([]), explicit=True), {}, 0x0120),
        (GOOD[:-3], {}, 0x0115),
        (GOOD[:20], {}, 0x0115),
        (b"\x08\0\x95\x11UI\xff\xff1.2", {}, 0x0115),
    ],
)
def test_what_can_not_be_done_is_refused_and_nothing_kept(
    raw, sqlite_database, data, elements, expected
):
    answer = raw.ask(data, **elements)
    assert status_of(answer) == expected
    assert answer.text(Element.ERROR_COMMENT)
    assert rows(sqlite_database) == []
    assert status_of(raw.ask(GOOD)) == 0x0000  # the association goes on


@pytest.mark.parametrize("uid", ["1.2\\1.3", "1 2", "x" * 65, "1.2\n", "ä"])
def test_what_can_be_no_uid_is_refused(raw, uid):
    data = GOOD
    item = data.index(b"\x08\0\x55\x11")
    value = uid.encode("latin-1")
    value += b" " * (len(value) % 2)
    head, rest = data[:item], data[item + 8 + int.from_bytes(data[item + 6 : item + 8], "little") :]
    element = b"\x08\0\x55\x11UI" + len(value).to_bytes(2, "little") + value
    grown = len(element) - (len(data) - len(head) - len(rest))
    broken = _regrown(head, grown) + element + rest
    assert status_of(raw.ask(broken)) == 0x0115


def _regrown(head, by):
    """Mend the lengths of the sequence and of its item."""
    at = head.index(b"\x08\0\x99\x11SQ")
    data = bytearray(head)
    for place in (at + 8, at + 16):
        length = int.from_bytes(data[place : place + 4], "little")
        if length != 0xFFFFFFFF:
            data[place : place + 4] = (length + by).to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize("uid", ["../../etc/passwd", "1.2..3", "/tmp/x", "%s", "'; --"])
def test_an_odd_uid_is_a_value_like_any_other(sqlite_database, store, serve, uid):
    worker = Worker(sqlite_database, store, lambda each: True)
    worker.start()
    reports = Reports()
    port = serve(service(sqlite_database, timedelta(0))).address[1]
    with association(port, reports) as opened:
        uid = uid.replace(" ", "")
        assert request(opened, [Reference(CT, uid)], uid="1.2.3") == 0x0000
        assert reports.next() == (2, "1.2.3", [], {uid: 0x0112})
    worker.stop(10)


def test_tens_of_thousands_of_instances_are_asked_for_at_once(raw, sqlite_database):
    many = references(*range(20_000))
    assert status_of(raw.ask(_quickly(many))) == 0x0000
    assert rows(sqlite_database)[0]["instances"] == 20_000


def test_more_than_that_is_too_much_at_once(raw, sqlite_database):
    assert status_of(raw.ask(_quickly(references(*range(50_001))))) == 0x0213
    assert status_of(raw.ask(b"\0" * 13_000_000)) == 0x0213
    assert rows(sqlite_database) == []


def _quickly(asked):
    """Encode a request as pydicom would, in less time."""

    def element(tag, value):
        value += b"\0" * (len(value) % 2)
        return b"\x08\0" + tag + b"UI" + len(value).to_bytes(2, "little") + value

    items = []
    for each in asked:
        item = element(b"\x50\x11", each.sop_class_uid.encode())
        item += element(b"\x55\x11", each.sop_instance_uid.encode())
        items.append(b"\xfe\xff\0\xe0" + len(item).to_bytes(4, "little") + item)
    content = b"".join(items)
    head = element(b"\x95\x11", b"1.2.3")
    return head + b"\x08\0\x99\x11SQ\0\0" + len(content).to_bytes(4, "little") + content


def test_without_the_database_nothing_is_promised(sqlite_database, serve, monkeypatch):
    def out(work):
        raise Outage("database: gone")

    with association(serve(service(sqlite_database)).address[1]) as opened:
        monkeypatch.setattr(sqlite_database, "write", out)
        assert request(opened, references(1)) == 0x0213
        monkeypatch.undo()
        assert request(opened, references(1)) == 0x0000


def test_an_outage_while_a_report_is_waited_for_is_waited_out(
    sqlite_database, store, serve, monkeypatch
):
    reports = Reports()
    with association(serve(service(sqlite_database)).address[1], reports) as opened:
        request(opened, references(1))
        read = sqlite_database.read
        outages = []

        def out():
            outages.append(1)
            raise Outage("database: gone")

        monkeypatch.setattr(sqlite_database, "read", out)
        until(lambda: outages)
        monkeypatch.setattr(sqlite_database, "read", read)
        keep(sqlite_database, store, 1)
        worker = Worker(sqlite_database, store, lambda each: True)
        worker.start()
        assert reports.next()[0] == 1
        worker.stop(10)
