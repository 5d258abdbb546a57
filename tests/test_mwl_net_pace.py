"""How long a whole message may take, and how little is kept for who doesn't read."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from mwl.net import pace
from mwl.net.association import Association
from mwl.net.codec import encode_value
from mwl.net.dimse import CommandField, Element, Message
from mwl.net.framing import ReadTimeout
from mwl.net.limits import DEFAULTS
from mwl.net.messages import Elements
from mwl.net.pace import Pace
from mwl.net.status import SUCCESS
from tests.dicom_client import MODALITY_WORKLIST_FIND, DicomClient, request, status
from tests.dicom_server import (  # noqa: F401
    BOTH,
    IDENTIFIER,
    Dial,
    Finder,
    Serve,
    answer,
    dial_fixture,
    last_words,
    serve_fixture,
)

HASTY = replace(DEFAULTS, message_timeout_s=0.15, min_message_bytes_per_s=2000)
MIB = 1024 * 1024


def begin(client: DicomClient) -> None:
    """Send a C-FIND-RQ up to its data set."""
    asked = request(3, CommandField.C_FIND, MODALITY_WORKLIST_FIND, 1, IDENTIFIER)
    client.send(asked[: -len(IDENTIFIER) - 12])


@pytest.fixture(name="clock")
def clock_fixture(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(pace, "monotonic", lambda: now[0])
    return now


# --- pace


@pytest.mark.parametrize(
    ("size", "took_s", "in_time"),
    [
        (0, 60, True),
        (0, 61, False),
        (100, 61, False),
        (MIB, 60 + 255, True),
        (MIB, 60 + 257, False),
        (8192 * MIB, 24 * 3600, True),  # 8 GiB in a day: 800 kbit/s
        (8192 * MIB, 25 * 24 * 3600, False),
    ],
)
def test_a_message_has_time_for_its_bytes(
    clock: list[float], size: int, took_s: float, in_time: bool
) -> None:
    message = Pace(DEFAULTS, 5_000)
    clock[0] += took_s
    if in_time:
        message.judge(5_000 + size)
    else:
        with pytest.raises(ReadTimeout):
            message.judge(5_000 + size)


def test_bytes_that_come_later_give_time_too(clock: list[float]) -> None:
    message = Pace(DEFAULTS, 0)
    for minute in range(1, 600):
        clock[0] += 60
        message.judge(minute * 60 * 4096)
    clock[0] += 121
    with pytest.raises(ReadTimeout):
        message.judge(599 * 60 * 4096)


# --- peers


def test_each_message_has_its_own_time(serve: Serve, dial: Dial) -> None:
    client = dial(serve(answer([]), limits=HASTY)).associate(BOTH)
    for _ in range(4):
        begin(client)
        time.sleep(HASTY.message_timeout_s / 2)
        client.send(encode_value(3, 2, b""))
        assert status(client.read_message()[0]) == SUCCESS
    client.release()


def test_who_does_not_read_has_little_waiting_for_it(serve: Serve, dial: Dial) -> None:
    size, taken = 100_000, [0]

    def pieces() -> Iterator[bytes]:
        for _ in range(20_000):
            taken[0] += 1
            yield bytes(size)

    def perform(association: Association, message: Message) -> None:
        store: Elements = {
            Element.COMMAND_FIELD: int(CommandField.C_STORE),
            Element.AFFECTED_SOP_CLASS_UID: "1.2.840.10008.5.1.4.1.1.7",
        }
        association.request(message.context.id, store, pieces())

    server = serve(Finder(perform), limits=replace(DEFAULTS, write_timeout_s=0.2))
    client = dial(server).associate(BOTH)
    client.send(request(3, CommandField.C_FIND, MODALITY_WORKLIST_FIND, 1, IDENTIFIER))
    deadline = time.monotonic() + 30
    while server.live():
        assert time.monotonic() < deadline, "it waits for ever"
        time.sleep(0.01)
    # What the kernel keeps for the two sockets, and one buffer of ours.
    assert taken[0] * size < 32 * MIB


def test_a_word_to_who_does_not_read_waits_for_the_timer_alone(serve: Serve, dial: Dial) -> None:
    server = serve(answer([b"ab" * 50_000] * 1000), limits=replace(DEFAULTS, write_timeout_s=0.2))
    client = dial(server).associate(BOTH)
    client.send(request(3, CommandField.C_FIND, MODALITY_WORKLIST_FIND, 1, IDENTIFIER))
    deadline = time.monotonic() + 30
    while server.live():
        assert time.monotonic() < deadline, "it waits for ever"
        time.sleep(0.01)
    assert isinstance(client.read_message()[0].field, int)
