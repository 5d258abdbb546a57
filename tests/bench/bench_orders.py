"""Durable orders over MLLP, each answered AA after its commit is on disk."""

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hl7 import mllp
from tests import postgres
from tests.bench.measure import Result, at_most, quantile
from tests.bench.mllp_load import flood, pace
from tests.builders import orm
from tests.serving import served

_CONNECTIONS = 8
_FLOOD = 6_000
_PACED = 1_000
_RATE = 100.0
_numbers = itertools.count(1)


def run() -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as name, served(Path(name)) as server:
        yield from _measure("SQLite", server.ports["hl7"])
    with tempfile.TemporaryDirectory() as name:
        postgresql = postgres.Server(durable=True)
        try:
            with served(Path(name), MWL_DATABASE__URL=postgresql.url) as server:
                yield from _measure("PostgreSQL", server.ports["hl7"])
        finally:
            postgresql.remove()


def _measure(database: str, port: int) -> Iterator[Result]:
    flood(port, _orders(500), _CONNECTIONS)
    # Before the flood, whose traces the database is still clearing away when it is over.
    waits = pace(port, _orders(_PACED), _CONNECTIONS, _RATE)
    note = f"median {quantile(waits, 0.5) * 1e3:.1f} ms"
    p99_ms = quantile(waits, 0.99) * 1e3
    yield at_most(f"answer at 100 orders/s, p99, {database}", p99_ms, "ms", 20, note)
    taken, waits = flood(port, _orders(_FLOOD), _CONNECTIONS)
    note = f"p99 {quantile(waits, 0.99) * 1e3:.1f} ms"
    yield Result(
        f"durable orders over 8 connections, {database}", _FLOOD / taken, "/s", 1500, note=note
    )


def _orders(count: int) -> list[bytes]:
    """Make orders of new patients: nothing in them is known yet."""
    frames = []
    for number in itertools.islice(_numbers, count):
        text = orm(
            MSH_10=f"B{number}",
            PID_3=f"PID{number}^^^ADT1^MR",
            ORC_2=f"PO{number}^RIS",
            ORC_3=f"FO{number}^RIS",
            OBR_2=f"PO{number}^RIS",
            OBR_3=f"FO{number}^RIS",
            OBR_18=f"ACC{number}",
            OBR_19=f"RP{number}",
            OBR_20=f"SPS{number}",
            ZDS_1=f"1.2.826.0.1.3680043.8.498.{number}",
        )
        frames.append(mllp.frame(text.encode()))
    return frames
