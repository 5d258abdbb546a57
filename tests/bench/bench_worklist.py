"""The worklist of a department after years: 100,000 steps scheduled, a million over.

A scanner's query is timed with its association. Beside it stand DCMTK's wlmscpfs and Orthanc's
worklist plugin, which read every item for each query: with 1,000 and 10,000 items, from which
their time for as many as ours is reckoned in a straight line.
"""

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

from mwl.db import Database
from mwl.db.migrate import upgrade
from tests import postgres, serving
from tests.bench import polling, worklists
from tests.bench.bench_index import created
from tests.bench.measure import Result, at_most, contest, quantile
from tests.bench.mllp_load import connections, exchange, order
from tests.bench.scanner import STATION, ask, asking, identifier, orthanc_worklist, wlmscpfs

_FEW, _MANY = 1_000, 10_000
_TIMES = 500  # as quick as they are, at least
_SEEN = 300  # orders that are asked for as soon as they are answered
_PEERS = {"wlmscpfs": (wlmscpfs, STATION), "Orthanc's plugin": (orthanc_worklist, "ORTHANC")}
_numbers = itertools.count(1)


def run() -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        server = postgres.Server(durable=True)
        stack.callback(server.remove)
        urls = {"SQLite": "sqlite:///mwl.db", "PostgreSQL": created(server.url, "worklist")}
        theirs = _theirs(folder)
        for kind, url in urls.items():
            _fill(url, folder / kind / "data")
            with serving.served(folder / kind, MWL_DATABASE__URL=url) as ours:
                yield from _found(kind, ours.ports["dicom"], theirs)
                yield _seen_at_once(kind, ours.ports)
                yield from _polled(kind, ours.ports)


def _theirs(folder: Path) -> dict[str, tuple[float, float]]:
    """Time the peers' answer to one accession number: among a few items, among many."""
    question, found = identifier(AccessionNumber="ACC47"), {}
    for name, (serve, called) in _PEERS.items():
        times = []
        for count in (_FEW, _MANY):
            with serve(folder / f"{called}{count}", count) as port:
                assert ask(port, question, called) == 1
                times += contest(lambda: ask(port, question, called), rounds=3, runs=3)  # noqa: B023
        few, many = times
        found[name] = (few, many)
    return found


def _fill(url: str, data_dir: Path) -> None:
    data_dir.mkdir(parents=True)
    upgrade(url, data_dir)
    with closing(Database(url, data_dir=data_dir)) as database:
        worklists.fill(database)


def _found(kind: str, port: int, theirs: dict[str, tuple[float, float]]) -> Iterator[Result]:
    number = worklists.PAST + 47
    today = f"{datetime.now(UTC):%Y%m%d}"
    questions = {
        "accession": (identifier(AccessionNumber=f"ACC{number}"), 1),
        "patient ID": (identifier(PatientID=f"P{number}"), 1),
        "day and modality": (
            identifier(ScheduledProcedureStepStartDate=today, Modality="CT"),
            worklists.OF_MODALITY,
        ),
    }
    for question, count in questions.values():
        assert ask(port, question) == count
    times = contest(
        *(lambda question=question: ask(port, question) for question, _ in questions.values()),
        rounds=5,
        runs=20,
    )
    for (what, (_, count)), time_s in zip(questions.items(), times, strict=True):
        name = f"C-FIND by {what} among 1,100,000, {count} answers, {kind}"
        yield at_most(name, time_s * 1e3, "ms", 3 if count == 1 else 6)
    slowest = max(times[:2])
    for peer, (few, many) in theirs.items():
        reckoned = many + (many - few) / (_MANY - _FEW) * (worklists.SCHEDULED - _MANY)
        note = (
            f"it takes {few * 1e3:.0f} ms among {_FEW:,}, {many * 1e3:.0f} among {_MANY:,}"
            f" (that alone {many / slowest:.0f} ×), so {reckoned:.1f} s among as many"
        )
        yield Result(
            f"C-FIND by a number, × {peer}, {kind}", reckoned / slowest, "×", _TIMES, note=note
        )


def _seen_at_once(kind: str, ports: dict[str, int]) -> Result:
    """Ask for each order as soon as it is acknowledged."""
    seen = 0
    with connections(ports["hl7"], 1) as (sender,), asking(ports["dicom"]) as scanner:
        for number in itertools.islice(_numbers, _SEEN):
            exchange(sender, order(f"V{number}"))
            seen += scanner.count_pending(identifier(AccessionNumber=f"ACCV{number}"))
    name = f"orders that the next C-FIND after their ACK shows, {kind}"
    return Result(name, seen / _SEEN * 100, "%", 100, note=f"{_SEEN} orders, one by one")


def _polled(kind: str, ports: dict[str, int]) -> Iterator[Result]:
    """200 scanners ask every 5 s, while 200 orders a second come in."""
    load = polling.measure(ports)
    note = (
        f"median {quantile(load.waits, 0.5) * 1e3:.1f}, longest {max(load.waits) * 1e3:.0f} ms of"
        f" {len(load.waits):,}; {load.refused} refused; {load.orders:,} orders, p99"
        f" {quantile(load.acks, 0.99) * 1e3:.0f} ms"
    )
    name = f"200 scanners polling beside 200 orders/s, p95, {kind}"
    yield at_most(name, quantile(load.waits, 0.95) * 1e3, "ms", 50, note)
    yield at_most(f"polls that were refused, {kind}", load.refused, "", 0)
