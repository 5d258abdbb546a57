"""A journal of 10 million messages (MWL_BENCH_MESSAGES: so many): intake, search, clearing.

Two servers take orders by turns, on databases that are alike but for the messages of
`journals`. Control IDs of the orders are random, as of senders that draw lots: the worst for
an index. Filling takes minutes, and 8 to 12 GB: `python -m tests.bench journal` alone runs it.
"""

import itertools
import os
import random
import secrets
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from threading import Thread

from hl7 import mllp
from mwl import journal
from mwl.config import Journal
from mwl.db import Database
from mwl.db.migrate import upgrade
from mwl.journal import Wanted
from tests import postgres
from tests.bench import journals
from tests.bench.bench_index import created
from tests.bench.measure import Result, at_most, quantile
from tests.bench.mllp_load import flood, pace
from tests.builders import orm
from tests.serving import Serving, served

_MESSAGES = int(os.environ.get("MWL_BENCH_MESSAGES", "10000000"))
_CONNECTIONS = 8
_ROUNDS = 7
_A_ROUND = 1_500  # orders
_SEARCHES = 200
_PACED, _RATE = 1_000, 100.0  # orders, a second
_NO_BOUNDS = Journal(keep_days=0, max_bytes=0)
_ALL_OLD = Journal(keep_days=1, max_bytes=0)
_PAGE = 51  # rows: a page, and whether there are more
_numbers = itertools.count(1)

# What the page of messages asks for beside the ways that have a figure of their own.
_FILTERS = (
    *(Wanted(), Wanted(text="nowhere"), Wanted(patient="P4711"), Wanted(text="ACC4711")),
    *(Wanted(source="ADT^HOSPITAL"), Wanted(source="NOBODY^"), Wanted(type="ADT^A08")),
    *(Wanted(type="ADT^A40"), Wanted(state="rejected"), Wanted(state="failed")),
    *(Wanted(error="PID-3"), Wanted(error="nothing like it"), Wanted(flagged=True)),
    Wanted(since=journals.LAST.replace(hour=8), until=journals.LAST.replace(hour=9)),
    Wanted(source="RIS^HOSPITAL", until=journals.LAST.replace(day=1)),
    Wanted(type="ADT^A08", source="ADT^HOSPITAL", until=journals.LAST.replace(day=1)),
    Wanted(state="rejected", type="ADT^A08", source="ADT^HOSPITAL"),
    Wanted(flagged=True, source="ADT^HOSPITAL", error="PID-3"),
)


def run() -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name, each) for each in ("empty", "full")]
        yield from _measure("SQLite", ["sqlite:///mwl.db"] * 2, folders)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        server = postgres.Server(durable=True)
        stack.callback(server.remove)
        folders = [Path(name, each) for each in ("empty", "full")]
        urls = [created(server.url, f"journal_{each.name}") for each in folders]
        yield from _measure("PostgreSQL", urls, folders)


def _measure(name: str, urls: Sequence[str], folders: Sequence[Path]) -> Iterator[Result]:
    with ExitStack() as stack:
        databases, servers = [], []
        for url, folder, count in zip(urls, folders, (0, _MESSAGES), strict=True):
            database = stack.enter_context(closing(_made(url, folder / "data", count)))
            databases.append(database)
            servers.append(stack.enter_context(served(folder, MWL_DATABASE__URL=url)))
        yield _intake(name, servers)
        yield from _searches(name, databases[1])
        yield _size(name, databases[1])
        yield from _clearing(name, databases[1], servers[1])


def _made(url: str, folder: Path, count: int) -> Database:
    folder.mkdir(parents=True, mode=0o700)
    upgrade(url, folder)
    made = Database(url, data_dir=folder)
    began = time.monotonic()
    if count:
        journals.fill(made, count)
        filled = time.monotonic() - began
        _count(made)
        both = time.monotonic() - began
        print(f"      ({count:,} messages: {filled:.0f} s, counted after {both:.0f} s)", flush=True)
    return made


def _intake(name: str, servers: Sequence[Serving]) -> Result:
    """Take orders on either by turns; tell how the full one keeps up."""
    taken: list[list[float]] = [[], []]
    for number in range(_ROUNDS + 1):
        for server, seconds in zip(servers, taken, strict=True):
            os.sync()
            took, _ = flood(server.ports["hl7"], _orders(_A_ROUND), _CONNECTIONS)
            if number:  # the first is to warm up
                seconds.append(took)
    empty, full = (_A_ROUND / statistics.median(seconds) for seconds in taken)
    note = f"{full:,.0f}/s with {_MESSAGES:,} messages, {empty:,.0f}/s with none"
    return Result(f"orders into a full journal, {name}, × empty", full / empty, "×", 0.8, note=note)


def _searches(name: str, database: Database) -> Iterator[Result]:
    drawn = random.Random(7)
    numbers = [drawn.randrange(_MESSAGES // 4) * 4 + 1 for _ in range(_SEARCHES)]
    orders = [drawn.randrange(_MESSAGES // journals.PER_ORDER) + 1 for _ in range(_SEARCHES)]
    for what, wanted in (
        ("control ID", [Wanted(control_id=f"C{number}") for number in numbers]),
        ("accession number", [Wanted(accession=f"ACC{number}") for number in orders]),
        ("either", [Wanted(text=f"ACC{number}") for number in orders]),
    ):
        waits = [_timed_ms(database, each, must_find=True) for each in wanted]
        worst = f"worst {max(waits):.1f} ms of {_SEARCHES}"
        yield at_most(f"search by {what}, {name}, p99", quantile(waits, 0.99), "ms", 20, note=worst)
    slowest, which = max(
        (min(_timed_ms(database, each) for _ in range(3)), repr(each)) for each in _FILTERS
    )
    yield at_most(f"any other filter, {name}, the slowest", slowest, "ms", 100, _said(which))


def _count(database: Database) -> None:
    """Count what is there, as is done after an update, so that nobody does it meanwhile."""
    for minutes in (0, 2, 4):
        now = journals.LAST + timedelta(minutes=minutes)
        journal.clear(database, _NO_BOUNDS, now, budget_s=3600.0)


def _size(name: str, database: Database) -> Result:
    waits = []
    for _ in range(5):
        asked = time.perf_counter()
        with database.read() as session:
            size = journal.size(session, now=journals.LAST)
        waits.append((time.perf_counter() - asked) * 1e3)
    assert size.messages > _MESSAGES
    note = f"{size.bytes / 1e9:.1f} GB"
    return at_most(f"how large the journal is, {name}", min(waits), "ms", 20, note)


def _clearing(name: str, database: Database, server: Serving) -> Iterator[Result]:
    """Take orders, 100 a second, while messages go as fast as they may."""
    went: list[journal.Cleared] = []
    later = journals.LAST + timedelta(days=3_650)

    def clear() -> None:
        went.append(journal.clear(database, _ALL_OLD, later, budget_s=_PACED / _RATE))

    clearing = Thread(target=clear)
    clearing.start()
    waits = pace(server.ports["hl7"], _orders(_PACED), _CONNECTIONS, _RATE)
    clearing.join()
    rate = (went[0].emptied + went[0].removed) / (_PACED / _RATE)
    yield Result(f"messages that go, {name}", rate, "/s", 500)
    note = f"median {statistics.median(waits) * 1e3:.1f} ms"
    p99 = quantile(waits, 0.99) * 1e3
    yield at_most(f"an answer meanwhile, 100 orders/s, {name}, p99", p99, "ms", 20, note)


def _timed_ms(database: Database, wanted: Wanted, *, must_find: bool = False) -> float:
    began = time.perf_counter()
    with database.read() as session:
        found = journal.search(session, wanted, limit=_PAGE)
    took = time.perf_counter() - began
    assert found or not must_find, wanted
    return took * 1e3


def _said(wanted: str) -> str:
    """Give what is wanted without what is not said."""
    parts = wanted.partition("(")[2].removesuffix(")").split(", ")
    return ", ".join(part for part in parts if not part.endswith(("=''", "=False", "=None")))


def _orders(count: int) -> list[bytes]:
    """Make orders of new patients, with control IDs that were drawn by lot."""
    frames = []
    for number in itertools.islice(_numbers, count):
        message = orm(
            MSH_10=secrets.token_hex(10),
            PID_3=f"NEW{number}^^^ADT1^MR",
            ORC_2=f"NEWP{number}^RIS",
            ORC_3=f"NEWF{number}^RIS",
            OBR_2=f"NEWP{number}^RIS",
            OBR_3=f"NEWF{number}^RIS",
            OBR_18=f"NEWACC{number}",
            OBR_19=f"NEWRP{number}",
            OBR_20=f"NEWSPS{number}",
            ZDS_1=f"1.2.826.0.1.3680043.8.498.{number}",
        )
        frames.append(mllp.frame(message.encode()))
    return frames
