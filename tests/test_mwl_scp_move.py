"""C-MOVE over real associations: what arrives at whom, and what becomes of the rest."""

import socket
import struct
import time
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO

import pytest
from pydicom.filereader import read_dataset
from structlog.testing import capture_logs

from mwl import devices
from mwl.config import DeviceTable
from mwl.net import status
from mwl.net.codec import encode
from mwl.net.limits import DEFAULTS
from mwl.net.negotiation import CALLING_TITLE_NOT_RECOGNIZED
from mwl.net.pdu import Abort, AssociateReject
from tests.archived import Archived, break_off, encoded
from tests.dicom_client import cancel_request
from tests.dicom_server import (  # noqa: F401 - fixtures
    assert_serves,
    dial_fixture,
    serve_fixture,
)
from tests.images import ct_slice
from tests.mover import Mover
from tests.receiver import Receiver, reset

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
PATIENT_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_STUDY_ONLY_MOVE = "1.2.840.10008.5.1.4.1.2.3.2"
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
ROOT = "1.2.826.0.1.3680043.8.498"
STUDY = {"StudyInstanceUID": f"{ROOT}.1"}
SERIES = {**STUDY, "SeriesInstanceUID": f"{ROOT}.1.1"}


def image(series, number, study=1, **overrides):
    return ct_slice(
        number,
        StudyInstanceUID=f"{ROOT}.{study}",
        SeriesInstanceUID=f"{ROOT}.{study}.{series}",
        SOPInstanceUID=uid(series, number, study),
        **overrides,
    )


def uid(series, number, study=1):
    return f"{ROOT}.{study}.{series}.{number}"


@pytest.fixture
def archived(sqlite_database, tmp_path):
    made = Archived(sqlite_database, tmp_path)
    for series, number in ((1, 1), (1, 2), (2, 1), (2, 2)):
        made.add(image(series, number))
    made.add(image(1, 1, study=2, PatientID="PID2"))
    return made


@pytest.fixture
def receiver():
    with Receiver() as made:
        yield made


@pytest.fixture
def register(sqlite_database):
    def add(title, port, **more):
        device = DeviceTable(ae_title=title, host="127.0.0.1" if port else None, port=port, **more)
        now = datetime.now(UTC)
        sqlite_database.write(lambda session: devices.add(session, device, now=now))

    return add


@pytest.fixture
def mover(archived, receiver, register, serve, dial):
    """Associate as `mover(…)`; the receiver is registered as STORE."""
    register("STORE", receiver.port)

    def begin(*given, limits=DEFAULTS, **named):
        begin.server = begin.server or serve(*archived.services(), limits=limits)
        return Mover(dial(begin.server), *given, **named)

    begin.server = None
    return begin


# --- what goes to whom


@pytest.mark.parametrize(
    ("level", "keys", "expected"),
    [
        ("STUDY", STUDY, [uid(1, 1), uid(1, 2), uid(2, 1), uid(2, 2)]),
        ("STUDY", {"StudyInstanceUID": [f"{ROOT}.1", f"{ROOT}.2"]}, "all"),
        ("SERIES", SERIES, [uid(1, 1), uid(1, 2)]),
        ("IMAGE", {**SERIES, "SOPInstanceUID": uid(1, 2)}, [uid(1, 2)]),
        ("STUDY", {"StudyInstanceUID": "1.2.3"}, []),
    ],
)
def test_a_level_names_what_is_moved(mover, receiver, level, keys, expected):
    if expected == "all":
        expected = [uid(1, 1), uid(1, 2), uid(2, 1), uid(2, 2), uid(1, 1, 2)]
    moving = mover()
    assert moving.move("STORE", level, **keys) == status.SUCCESS
    assert list(receiver.received) == expected
    assert moving.counts() == (None, len(expected), 0, 0)
    assert moving.failed is None
    assert receiver.releases == bool(expected)
    moving.client.release()


def test_what_arrives_is_what_was_kept_to_the_byte_and_says_who_asked(mover, receiver):
    moving = mover()
    moving.ask("STORE", "IMAGE", message_id=77, **SERIES, SOPInstanceUID=uid(1, 2))
    assert moving.finish() == status.SUCCESS
    assert receiver.received[uid(1, 2)] == (EXPLICIT, encoded(image(1, 2)))
    (command,) = receiver.commands
    assert command.text(0x1030) == "PACS"
    assert command.number(0x1031) == 77
    (request,) = receiver.requests
    assert (request.called_title.strip(), request.calling_title.strip()) == (b"STORE", b"MWL")


@pytest.mark.parametrize(
    ("sop_class", "level", "keys", "expected"),
    [
        (PATIENT_ROOT_MOVE, "PATIENT", {"PatientID": "PID2"}, [uid(1, 1, 2)]),
        (PATIENT_ROOT_MOVE, "STUDY", {"PatientID": "PID2", "StudyInstanceUID": f"{ROOT}.2"}, 1),
        (PATIENT_ROOT_MOVE, "STUDY", {"PatientID": "PID1", "StudyInstanceUID": f"{ROOT}.2"}, 0),
        (PATIENT_STUDY_ONLY_MOVE, "PATIENT", {"PatientID": "PID2"}, [uid(1, 1, 2)]),
    ],
)
def test_each_root_has_its_levels(mover, receiver, sop_class, level, keys, expected):
    moving = mover(sop_class)
    assert moving.move("STORE", level, **keys) == status.SUCCESS
    got = list(receiver.received)
    assert got == expected if isinstance(expected, list) else len(got) == expected


@pytest.mark.parametrize(
    ("sop_class", "level", "keys"),
    [
        (PATIENT_STUDY_ONLY_MOVE, "SERIES", SERIES),
        (PATIENT_ROOT_MOVE, "STUDY", STUDY),
    ],
)
def test_an_identifier_that_fits_no_level_is_refused(mover, sop_class, level, keys):
    moving = mover(sop_class)
    assert moving.move("STORE", level, **keys) == status.IDENTIFIER_DOES_NOT_MATCH


def test_a_relational_one_needs_nothing_above(mover, receiver):
    moving = mover(relational=True)
    assert moving.move("STORE", "IMAGE", SOPInstanceUID=uid(2, 1)) == status.SUCCESS
    assert list(receiver.received) == [uid(2, 1)]


@pytest.mark.parametrize("port", [None, 104])
def test_a_destination_that_is_none_is_refused_by_name(mover, register, port):
    if port is None:
        register("NOWHERE", None)
    moving = mover()
    assert moving.move("NOWHERE", "STUDY", **STUDY) == status.MOVE_DESTINATION_UNKNOWN
    why = "has no host and port" if port is None else "is not registered"
    assert moving.comment == f"NOWHERE {why}"


@pytest.mark.parametrize(("title", "called"), [("STORE", b"STORE"), ("store_b", b"Store_B")])
def test_what_is_moved_goes_to_the_title_that_was_named(
    mover, receiver, sqlite_database, title, called
):
    alias = {"aliases": ("Store_B",), "host": "127.0.0.1", "port": receiver.port}
    device = DeviceTable(ae_title="STORE", **alias)
    now = datetime.now(UTC)
    sqlite_database.write(lambda session: devices.add(session, device, now=now, replace=True))
    assert mover().move(title, "IMAGE", **SERIES, SOPInstanceUID=uid(1, 2)) == status.SUCCESS
    (request,) = receiver.requests
    assert request.called_title.strip() == called


# --- negotiation


def test_what_the_destination_takes_implicit_alone_is_written_anew(mover, receiver):
    receiver.accept = lambda each: IMPLICIT if IMPLICIT in each.transfer_syntaxes else ""
    moving = mover()
    assert moving.move("STORE", "STUDY", **STUDY) == status.SUCCESS
    for sent, data_set in receiver.received.values():
        assert sent == IMPLICIT
        read_dataset(BytesIO(data_set), True, True).walk(lambda *_: None)
    assert receiver.received[uid(1, 1)] == (IMPLICIT, encoded(image(1, 1), IMPLICIT))


def test_a_class_that_the_destination_refuses_fails_alone(mover, receiver, archived):
    archived.add(image(3, 1, SOPClassUID=MR))
    receiver.accept = lambda each: each.transfer_syntaxes[0] * (each.abstract_syntax != MR)
    moving = mover()
    assert moving.move("STORE", "STUDY", **STUDY) == status.SUB_OPERATIONS_WITH_FAILURES
    assert moving.counts() == (None, 4, 1, 0)
    failed = read_dataset(BytesIO(moving.failed), False, True)
    assert failed.FailedSOPInstanceUIDList == uid(3, 1)
    assert moving.comment == "no presentation context was accepted for it"


def test_more_classes_than_an_association_holds_take_two(mover, receiver, archived):
    for number in range(70):
        archived.add(image(9, number + 1, SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{number + 1000}"))
    moving = mover()
    series = {**STUDY, "SeriesInstanceUID": f"{ROOT}.1.9"}
    assert moving.move("STORE", "SERIES", **series) == status.SUCCESS
    assert len(receiver.received) == 70
    assert [len(each.contexts) for each in receiver.requests] == [128, 12]
    assert receiver.releases == 2


# --- what the destination makes of it


@pytest.mark.parametrize(
    ("code", "final", "counts"),
    [
        (0xA700, status.UNABLE_TO_PERFORM_SUB_OPERATIONS, (None, 0, 4, 0)),
        (0xB007, status.SUB_OPERATIONS_WITH_FAILURES, (None, 0, 0, 4)),
    ],
)
def test_what_the_destination_says_of_each_is_counted(mover, receiver, code, final, counts):
    receiver.answer = lambda _: code
    moving = mover()
    assert moving.move("STORE", "STUDY", **STUDY) == final
    assert moving.counts() == counts
    assert (moving.failed is not None) == bool(counts[2])
    pending = moving.responses[:-1]
    assert pending
    assert all(each.number(0x1020) for each in pending)


def test_nobody_at_the_destination_fails_all_at_once(mover, register):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    register("GONE", port)
    moving = mover()
    assert moving.move("GONE", "STUDY", **STUDY) == status.UNABLE_TO_PERFORM_SUB_OPERATIONS
    assert moving.counts() == (None, 0, 4, 0)
    assert moving.comment.startswith("nobody listens at 127.0.0.1")
    assert len(read_dataset(BytesIO(moving.failed), False, True).FailedSOPInstanceUIDList) == 4


def test_a_destination_that_refuses_us_fails_all_at_once(mover, receiver):
    receiver.refusal = CALLING_TITLE_NOT_RECOGNIZED
    assert isinstance(receiver.refusal, AssociateReject)
    moving = mover()
    assert moving.move("STORE", "STUDY", **STUDY) == status.UNABLE_TO_PERFORM_SUB_OPERATIONS
    assert "calling AE title" in moving.comment
    assert len(receiver.requests) == 1


def test_a_destination_that_breaks_once_is_called_again(mover, receiver):
    receiver.at_instance[1] = reset
    moving = mover()
    assert moving.move("STORE", "STUDY", **STUDY) == status.SUB_OPERATIONS_WITH_FAILURES
    assert moving.counts() == (None, 3, 1, 0)
    assert len(receiver.requests) == 2


def test_a_destination_that_breaks_each_time_is_given_up(mover, receiver):
    receiver.at_instance = dict.fromkeys(range(1, 10), reset)
    moving = mover()
    assert moving.move("STORE", "STUDY", **STUDY) == status.SUB_OPERATIONS_WITH_FAILURES
    assert moving.counts() == (None, 1, 3, 0)
    assert len(receiver.requests) == 2
    assert_serves(mover.server)


def test_a_destination_that_never_answers_is_given_up(mover, receiver, archived):
    archived.limits = replace(DEFAULTS, response_timeout_s=0.2, close_timeout_s=0.2)
    receiver.at_instance[1] = lambda sock: (sock.recv(1 << 30), time.sleep(1))
    moving = mover()
    assert moving.move("STORE", "STUDY", **STUDY) == status.SUB_OPERATIONS_WITH_FAILURES
    assert moving.counts() == (None, 1, 3, 0)
    assert moving.comment == "the peer doesn't answer our request"


# --- what goes wrong with us


def test_what_is_not_there_fails_alone(mover, receiver, archived):
    archived.store.delete(archived.add(image(3, 1)).key)
    archived.add(image(3, 2))
    moving = mover()
    assert moving.move("STORE", "STUDY", **STUDY) == status.SUB_OPERATIONS_WITH_FAILURES
    assert moving.counts() == (None, 5, 1, 0)
    assert uid(3, 2) in receiver.received
    assert moving.comment == "it can't be read from the archive"


@pytest.mark.parametrize("in_pieces", [True, False])
def test_an_object_that_breaks_off_costs_its_association_alone(
    mover, receiver, archived, monkeypatch, in_pieces
):
    archived.add(big_image())
    archived.add(image(4, 1))
    break_off(archived.store, monkeypatch, in_pieces=in_pieces)
    moving = mover()
    assert moving.move("STORE", "STUDY", **STUDY) == status.SUB_OPERATIONS_WITH_FAILURES
    assert moving.counts() == (None, 5, 1, 0)
    assert uid(3, 1) not in receiver.received
    assert uid(4, 1) in receiver.received
    assert receiver.aborted.wait(5)


def test_a_database_that_is_out_is_no_success(mover, sqlite_database, receiver):
    moving = mover()
    sqlite_database.close()
    sqlite_database.path.write_bytes(b"this is no database" * 100)
    assert moving.move("STORE", "STUDY", **STUDY) == status.UNABLE_TO_CALCULATE_MATCHES
    assert not receiver.received


# --- the mover


def test_cancel_ends_it_with_what_remains(mover, receiver):
    moving = mover()
    receiver.at_instance[1] = lambda _: moving.client.send(cancel_request(1, 1))
    assert moving.move("STORE", "STUDY", **STUDY) == status.CANCEL
    remaining, completed, failed, _ = moving.counts()
    assert (remaining, completed, failed) == (2, 2, 0)
    assert receiver.releases == 1
    moving.client.release()


def test_a_mover_that_goes_ends_the_move(mover, receiver):
    moving = mover()
    receiver.at_instance[1] = lambda _: (moving.client.send(encode(Abort(0, 0))), time.sleep(0.05))
    moving.ask("STORE", "STUDY", **STUDY)
    assert_ends(mover.server)
    assert len(receiver.commands) == 2


def test_a_mover_that_goes_in_mid_instance_aborts_it(mover, receiver, archived, monkeypatch):
    monkeypatch.setattr("mwl.scp.retrieve.retrieval._LOOK_S", 0)
    archived.add(big_image())
    moving = mover()

    def leave(_):
        sock = moving.client.socket
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        time.sleep(0.05)

    receiver.at_instance[0] = leave
    with capture_logs():
        moving.ask("STORE", "SERIES", **STUDY, SeriesInstanceUID=f"{ROOT}.1.3")
        assert receiver.aborted.wait(10)
    assert not receiver.received
    assert_ends(mover.server)


def test_a_mover_hears_of_a_long_instance_while_it_goes(mover, archived, monkeypatch):
    monkeypatch.setattr("mwl.scp.retrieve.retrieval._LOOK_S", 0)
    monkeypatch.setattr("mwl.scp.retrieve.retrieval._TELL_S", 0)
    archived.add(big_image())
    moving = mover()
    series = {**STUDY, "SeriesInstanceUID": f"{ROOT}.1.3"}
    assert moving.move("STORE", "SERIES", **series) == status.SUCCESS
    assert len(moving.responses) > 10
    assert moving.responses[0].number(0x1020) == 1


def test_a_mover_hears_of_us_while_the_destination_thinks(mover, receiver, monkeypatch):
    monkeypatch.setattr("mwl.net.association._MEANWHILE_S", 0.01)
    monkeypatch.setattr("mwl.scp.retrieve.retrieval._LOOK_S", 0)
    monkeypatch.setattr("mwl.scp.retrieve.retrieval._TELL_S", 0)
    receiver.answer = lambda _: time.sleep(0.2) or 0
    moving = mover()
    assert moving.move("STORE", "IMAGE", **SERIES, SOPInstanceUID=uid(1, 1)) == status.SUCCESS
    assert len(moving.responses) > 3


def test_a_mover_that_goes_while_the_destination_thinks_ends_the_move(mover, receiver, monkeypatch):
    monkeypatch.setattr("mwl.net.association._MEANWHILE_S", 0.01)
    monkeypatch.setattr("mwl.scp.retrieve.retrieval._LOOK_S", 0)
    moving = mover()

    def think(_):
        moving.client.send(encode(Abort(0, 0)))
        time.sleep(0.2)
        return 0

    receiver.answer = think
    moving.ask("STORE", "STUDY", **STUDY)
    assert receiver.aborted.wait(10)
    assert len(receiver.commands) == 1
    assert_ends(mover.server)


def big_image():
    made = image(3, 1)
    made.PixelData = bytes(16 * 1024 * 1024)
    made["PixelData"].VR = "OW"
    return made


def assert_ends(server):
    deadline = time.monotonic() + 30
    while server.live() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not server.live()
    assert_serves(server)
