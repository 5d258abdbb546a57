"""Durable orders over MLLP, each answered AA after its commit is on disk."""

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests import postgres
from tests.bench.measure import Result, at_most, quantile
from tests.bench.mllp_load import flood, order, pace
from tests.serving import served

_CONNECTIONS = 8
_FLOOD = 6_000
_PACES = {100: (1_000, 10), 1_000: (10_000, 50)}  # orders a second: how many, the longest p99 in ms
_FLOORS = {"SQLite": 2_000, "PostgreSQL": 1_500}
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
    for rate, (count, most_ms) in _PACES.items():
        waits = pace(port, _orders(count), _CONNECTIONS, float(rate))
        note = f"median {quantile(waits, 0.5) * 1e3:.1f} ms"
        p99_ms = quantile(waits, 0.99) * 1e3
        name = f"answer at {rate:,} orders/s, p99, {database}"
        yield at_most(name, p99_ms, "ms", most_ms, note)
    taken, waits = flood(port, _orders(_FLOOD), _CONNECTIONS)
    note = f"p99 {quantile(waits, 0.99) * 1e3:.1f} ms"
    name = f"durable orders over 8 connections, {database}"
    yield Result(name, _FLOOD / taken, "/s", _FLOORS[database], note=note)


def _orders(count: int) -> list[bytes]:
    return [order(f"B{number}") for number in itertools.islice(_numbers, count)]
