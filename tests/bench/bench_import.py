"""`mwl worklist import` of a folder of a hundred thousand files, into an empty worklist.

Files a second from the first look at the folder to the last commit; then a tenth of them once
more, as who changes over does.
"""

import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from mwl.db import Database
from mwl.db.migrate import upgrade
from mwl.wlfiles import count_files, import_folder
from tests import postgres
from tests.bench.measure import Result
from tests.test_mwl_wlfiles import entry, save

FILES = int(os.environ.get("MWL_BENCH_FILES", "100000"))
_FLOORS = {"imported": 1_000, "imported again": 500}  # an order that is known is read first
_FIRST = 1_000_000  # so that all numbers are of one length
_ZONE = ZoneInfo("Europe/Berlin")


def run() -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "worklist"
        _fill(folder)
        yield from _measure("SQLite", "sqlite:///mwl.db", Path(name), folder)
        postgresql = postgres.Server(durable=True)
        try:
            yield from _measure("PostgreSQL", postgresql.url, Path(name), folder)
        finally:
            postgresql.remove()


def _fill(folder: Path) -> None:
    """Fill ten folders in it."""
    with warnings.catch_warnings(action="ignore"):  # of a time that is made of such a number
        like = entry(_FIRST, step_ScheduledProcedureStepStartTime="090000")
    like.PatientName = f"Doe^Number{_FIRST}"
    folder.mkdir()
    save(like, folder / "like.wl")
    data = (folder / "like.wl").read_bytes()
    (folder / "like.wl").unlink()
    for tenth in range(10):
        (folder / str(tenth)).mkdir()
    for number in range(FILES):
        name = str(_FIRST + number)
        of_it = data.replace(str(_FIRST).encode(), name.encode())
        (folder / name[-1] / f"{name}.wl").write_bytes(of_it)


def _measure(kind: str, url: str, data: Path, folder: Path) -> Iterator[Result]:
    upgrade(url, data)
    with closing(Database(url, data_dir=data)) as database:
        for what, path in (("imported", folder), ("imported again", folder / "1")):
            os.sync()
            began = time.perf_counter()
            count = count_files(path)
            report = import_folder(database, path, now=datetime.now(UTC), zone=_ZONE)
            taken = time.perf_counter() - began
            assert (report.imported, report.problems) == (count, [])
            note = f"{count:,} files"
            yield Result(f"files {what}, {kind}", count / taken, "/s", _FLOORS[what], note=note)
