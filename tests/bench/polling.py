"""Scanners that poll for today's list of their modality while a RIS sends orders.

Each poll is what scanners do: connect, associate, ask, release. It is timed from when it was
due, so that a stall counts for every poll that it delays.
"""

import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import Connection

from tests.bench.mllp_load import order, pace
from tests.bench.scanner import ask, identifier
from tests.bench.worklists import MODALITIES

_SCANNERS, _EVERY_S = 200, 5.0
_ORDERS_A_SECOND = 200
_LASTS_S = 20.0
_AT_ONCE = 32  # polls under way
_CONNECTIONS = 8  # of the RIS


@dataclass
class Load:
    """What came of it: seconds from due to answered, of polls and of orders."""

    waits: list[float] = field(default_factory=list)
    acks: list[float] = field(default_factory=list)
    refused: int = 0

    @property
    def orders(self) -> int:
        return len(self.acks)


def measure(ports: dict[str, int]) -> Load:
    """Poll, and send orders from a process of its own meanwhile."""
    load = Load()
    today = f"{datetime.now(UTC):%Y%m%d}"
    questions = [
        identifier(ScheduledProcedureStepStartDate=today, Modality=each) for each in MODALITIES
    ]
    ours, theirs = multiprocessing.get_context("fork").Pipe()
    sender = multiprocessing.get_context("fork").Process(target=_send, args=(ports["hl7"], theirs))
    sender.start()
    ours.recv()  # it is ready
    began = time.perf_counter()

    def poll(number: int) -> None:
        due = began + number * _EVERY_S / _SCANNERS
        try:
            ask(ports["dicom"], questions[number % len(questions)])
        except Exception:
            load.refused += 1
        load.waits.append(time.perf_counter() - due)

    with ThreadPoolExecutor(_AT_ONCE) as scanners:
        for number in range(int(_LASTS_S * _SCANNERS / _EVERY_S)):
            time.sleep(max(0.0, began + number * _EVERY_S / _SCANNERS - time.perf_counter()))
            scanners.submit(poll, number)
    load.acks = ours.recv()
    sender.join()
    return load


def _send(port: int, connection: Connection) -> None:
    orders = [order(f"L{number}") for number in range(int(_LASTS_S * _ORDERS_A_SECOND))]
    connection.send(True)
    connection.send(pace(port, orders, _CONNECTIONS, float(_ORDERS_A_SECOND)))
