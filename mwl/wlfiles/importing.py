"""Import a folder of DICOM worklist files, as DCMTK's wlmscpfs and Orthanc keep them, or CSV.

A file, or a line, becomes the same change that an order message would be, from the source
"import"; so importing it twice equals importing it once, and what is wrong with one costs no
other.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from mwl.db import Database
from mwl.errors import Fault, Reason, Rejected
from mwl.orders import OrderChange
from mwl.wlfiles.items import load
from mwl.wlfiles.mapping import change
from mwl.worklist import sheets
from mwl.worklist.groups import apply_each

# wlmscpfs serves *.wl, Orthanc's plugin too; *.dcm is what people name them by hand. A
# lockfile has neither name.
_SUFFIXES = (".wl", ".dcm")
_MOST_PROBLEMS = 10_000  # told one by one
_HL7_FIELD = re.compile(r"[A-Z][A-Z0-9]{2}-[0-9]+")

Seen = Callable[[int], None]
# What was read, by where it stands, or why it could not be.
Changes = Iterable[tuple[str, OrderChange | Rejected]]


@dataclass(slots=True)
class Report:
    """What came of a folder: how many files are on the worklist, and which are not and why.

    Of very many that are not, `problems` has the first ones; `failed` counts them all.
    """

    imported: int = 0
    failed: int = 0
    problems: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def seen(self) -> int:
        """How many files have been done with."""
        return self.imported + self.failed

    def add(self, file: str, outcome: object) -> None:
        """Note what came of a file: an error, or what was done."""
        if not isinstance(outcome, Rejected):
            self.imported += 1
            return
        self.failed += 1
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append((Path(file), _told(outcome)))


def _told(error: Rejected) -> str:
    """Say what is wrong; a file has no field of HL7 that it could be wrong in."""
    faults = error.faults
    return "; ".join(f.text if _HL7_FIELD.match(f.where) else str(f) for f in faults)


def import_folder(database: Database, path: Path, *, now: datetime, zone: ZoneInfo) -> Report:
    """Apply every worklist file below `path`, in the order of their names.

    `zone` is that of the files' wall clock. Raises Outage.
    """
    return bring(database, read_folder(path, zone=zone), Report(), now=now, zone=zone)


def bring(  # noqa: PLR0913 - what, where, and how it is told
    database: Database,
    changes: Changes,
    report: Report,
    *,
    now: datetime,
    zone: ZoneInfo,
    seen: Seen = lambda _: None,
) -> Report:
    """Apply what was read. Raises Outage, and what reading raises.

    What is in the `report` is on disk, also when this ends by an error; `seen` hears how many
    that are, now and then.
    """
    for name, outcome in apply_each(database, changes, now=now, zone=zone):
        report.add(name, outcome)
        seen(report.seen)
    return report


def rehearse(changes: Changes, report: Report, seen: Seen = lambda _: None) -> Report:
    """Read all, and change nothing: `imported` are fit to be. Raises what reading raises."""
    for name, change_ in changes:
        report.add(name, change_)
        seen(report.seen)
    return report


def count_files(path: Path) -> int:
    """Count the worklist files below `path`, and the folders that can't be read."""
    return sum(1 for _ in _files(os.fspath(path)))


def read_folder(path: Path, *, zone: ZoneInfo) -> Iterator[tuple[str, OrderChange | Rejected]]:
    """Read every worklist file below `path`, in the order of their names."""
    for file, unread in _files(os.fspath(path)):
        try:
            yield file, unread or change(load(file), zone)
        except Rejected as error:
            yield file, error


def read_sheet(file: Path, *, zone: ZoneInfo) -> Iterator[tuple[str, OrderChange | Rejected]]:
    """Read a file of CSV, line by line. Raises Rejected where it is none."""
    for line, change_ in sheets.read(file, zone=zone):
        yield f"{file}:{line}", change_


def _files(folder: str) -> Iterator[tuple[str, Rejected | None]]:
    """List worklist files, folder by folder, and folders that can't be read, and why.

    In memory are the names of one folder, and of those that it is in.
    """
    walks = [iter([(folder, True)])]
    while walks:
        path, is_folder = next(walks[-1], ("", False))
        if is_folder:
            try:
                walks.append(iter(_listed(path)))
            except OSError as error:
                text = error.strerror or "can't be read"
                yield path, Rejected(Fault(Reason.MALFORMED, "", text))
        elif not path:
            walks.pop()
        elif os.path.isfile(path):  # noqa: PTH113 - no pipe, that would be waited for
            yield path, None


def _listed(folder: str) -> list[tuple[str, bool]]:
    """List what may be worklist files, and the folders of a folder; no link leads to one."""
    with os.scandir(folder) as entries:
        names = sorted(
            (entry.name, entry.is_dir(follow_symlinks=False))
            for entry in entries
            if entry.name.lower().endswith(_SUFFIXES) or entry.is_dir(follow_symlinks=False)
        )
    return [(f"{folder}{os.sep}{name}", is_folder) for name, is_folder in names]
