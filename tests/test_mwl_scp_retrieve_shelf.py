"""What a retrieval fetches ahead: also after instances that fail, and nothing stays open."""

import os
import socket
from copy import deepcopy
from datetime import UTC, datetime
from functools import cache

import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from mwl import devices
from mwl.config import DeviceTable
from mwl.errors import Outage
from mwl.net import status
from tests.archived import Archived
from tests.dicom_server import dial_fixture, serve_fixture  # noqa: F401 - fixtures
from tests.images import ct_slice
from tests.mover import Mover
from tests.receiver import Receiver
from tests.retriever import CT, Retriever

EXPLICIT = "1.2.840.10008.1.2.1"
ROOT = "1.2.826.0.1.3680043.8.498"
STUDY = {"StudyInstanceUID": f"{ROOT}.1"}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@cache
def _slice(syntax):
    return ct_slice(1, syntax=syntax)


def image(number, syntax=EXPLICIT, **overrides):
    made = deepcopy(_slice(syntax))
    made.StudyInstanceUID = f"{ROOT}.1"
    made.SeriesInstanceUID = f"{ROOT}.1.1"
    made.SOPInstanceUID = f"{ROOT}.1.1.{number}"
    for keyword, value in overrides.items():
        setattr(made, keyword, value)
    return made


def no_class(number):
    """Make an image of a class that the peer doesn't take."""
    return image(number, SOPClassUID="1.2.840.10008.5.1.4.1.1.4")


def no_picture(number):
    """Make an image whose only frame is no JPEG."""
    made = image(number, syntax=str(JPEGBaseline8Bit))
    made.PixelData = encapsulate([b"\xff\xd8 no picture \xff\xd9"])
    made["PixelData"].is_undefined_length = True
    made["PixelData"].VR = "OB"
    return made


@pytest.fixture
def archived(sqlite_database, tmp_path):
    made = Archived(sqlite_database, tmp_path)
    yield made
    made.decoder.close()


@pytest.fixture
def retriever(archived, serve, dial):
    def begin(**settings):
        return Retriever(dial(serve(*archived.services())), [(CT, EXPLICIT)], **settings)

    return begin


@pytest.fixture
def opened(archived, monkeypatch):
    """Give what the store opens, by key: as it is held here, only `close` closes it."""
    found, open_ = {}, archived.store.open

    def opens(key):
        found[key] = open_(key)
        return found[key]

    monkeypatch.setattr(archived.store, "open", opens)
    return found


@pytest.mark.parametrize("failing", [no_class, no_picture])
def test_after_many_that_can_not_be_sent_others_are_still_fetched_ahead(
    retriever, archived, opened, failing
):
    for number in range(1, 21):
        archived.add(failing(number))
    keys = {archived.add(image(number)).key for number in (21, 22, 23)}
    ahead = []

    def answer(_):
        ahead.append(keys <= set(opened))
        return status.SUCCESS

    client = retriever(answer=answer)
    client.get("STUDY", **STUDY)
    assert client.counts() == (None, 3, 20, 0)
    assert ahead == [True] * 3
    assert_closed(opened)


def test_what_is_not_as_it_was_is_closed_like_all_others(retriever, archived, opened, tmp_path):
    for number in range(1, 11):
        made = archived.add(image(number))
        if number % 2:
            os.truncate(tmp_path / "objects" / made.key, made.size + 2)
    client = retriever()
    client.get("STUDY", **STUDY)
    assert client.counts() == (None, 5, 5, 0)
    assert_closed(opened)
    assert len(opened) == 10


@pytest.fixture
def mover(archived, serve, dial, register):
    return lambda: Mover(dial(serve(*archived.services())))


@pytest.fixture
def register(sqlite_database):
    def add(title, port):
        device = DeviceTable(ae_title=title, host="127.0.0.1", port=port)
        now = datetime.now(UTC)
        sqlite_database.write(lambda session: devices.add(session, device, now=now))

    return add


def test_a_move_fetches_ahead_after_many_that_the_destination_refuses(
    mover, register, archived, opened
):
    for number in range(1, 21):
        archived.add(no_class(number))
    keys = {archived.add(image(number)).key for number in (21, 22, 23)}
    ahead = []

    def answer(_):
        ahead.append(keys <= set(opened))
        return status.SUCCESS

    with Receiver() as receiver:
        receiver.accept = lambda each: each.transfer_syntaxes[0] * (each.abstract_syntax == CT)
        receiver.answer = answer
        register("STORE", receiver.port)
        moving = mover()
        moving.move("STORE", "STUDY", **STUDY)
    assert moving.counts() == (None, 3, 20, 0)
    assert ahead == [True] * 3
    assert_closed(opened)


def test_nothing_more_is_fetched_for_a_destination_that_is_given_up(
    mover, register, archived, opened
):
    for number in range(1, 21):
        archived.add(image(number))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    register("GONE", port)
    moving = mover()
    moving.move("GONE", "STUDY", **STUDY)
    assert moving.counts() == (None, 0, 20, 0)
    assert len(opened) <= 8
    assert_closed(opened)


def assert_closed(opened):
    """Check that none of them is open; the final response comes after the last is closed."""
    for each in opened.values():
        with pytest.raises(Outage, match="Bad file descriptor"):
            each.fill([memoryview(bytearray(1))], 0)
